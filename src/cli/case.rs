//! What the explaining commands explain: a recorded run, a fresh attack, or a stored adversarial image.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use ndarray::{Array3, Axis};

use super::{
    args::{AttackArgs, ModelArgs},
    cmd::attack::perform,
    recorded,
    session::Session,
};
use crate::{
    core::{error::Error, oracle::Oracle as _, scalars, tensor::image as pixels},
    engine::{
        command::{AttackRequest, Target},
        recorded::find_model,
        trace::{Trace, file},
        triage::listing,
    },
};

/// The arguments that name a case.
#[derive(Debug, Args)]
pub struct CaseArgs {
    /// A run written by `psescope attack --out`, or an ONNX model followed by an image.
    #[arg(value_name = "RUN.pse | MODEL")]
    first: PathBuf,
    /// Clean image, when the first argument is a model.
    image: Option<PathBuf>,
    /// Explain this stored adversarial image (float32 [C,H,W] or [1,C,H,W], pixel space) instead of attacking.
    #[arg(long, value_name = "FILE.npy")]
    adv: Option<PathBuf>,
    /// The model of a recorded run, when it is not where it was.
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    model: Option<PathBuf>,
    #[command(flatten)]
    attack: AttackArgs,
}

/// A clean image, an adversarial one, and the model they belong to.
pub struct Case {
    /// The open model.
    pub session: Session,
    /// Path of the clean image as given or recorded.
    pub image: String,
    /// `[C, H, W]`, pixel space.
    pub clean: Arc<Array3<f32>>,
    /// Same shape.
    pub adversarial: Array3<f32>,
    /// True class.
    pub label: usize,
    /// Target class; of an untargeted attack the class it reached.
    pub target: usize,
    /// Steps of the attack, when there was one.
    pub trace: Option<Arc<Trace>>,
    /// The attack that made the image, or that would be run again: target and true class resolved.
    pub request: AttackRequest,
}

impl Case {
    /// Takes the image of another step, or of the kept step closest to it; says which. Without a step, the result's.
    pub fn at_step(&mut self, step: Option<usize>) -> anyhow::Result<Option<usize>> {
        let Some(trace) = &self.trace else {
            return match step {
                None => Ok(None),
                Some(_) => Err(Error::Parameter("--step needs a run: give RUN.pse, or an attack instead of --adv".into()).into()),
            };
        };
        let Some(step) = step else { return Ok(trace.best().or_else(|| trace.len().checked_sub(1))) };
        if step >= trace.len() {
            return Err(
                Error::Parameter(format!("step {step} does not exist; the run has steps 0 to {}", trace.len().saturating_sub(1))).into()
            );
        }
        let frame = trace.nearest_frame(step).and_then(|i| trace.frame(i));
        let frame = frame.ok_or_else(|| Error::Input("this run holds no frames; record it again".into()))?;
        self.adversarial = frame.image.clone();
        // Without a target, promotion is towards what the image is taken for at that step.
        if self.request.target == Target::Untargeted
            && let Some(record) = trace.step(frame.index).filter(|r| r.predicted != self.label)
        {
            self.target = record.predicted;
        }
        Ok(Some(frame.index))
    }
}

impl CaseArgs {
    /// Opens the model and the two images, attacking if need be.
    pub fn open(&self, model_args: &ModelArgs) -> anyhow::Result<Case> {
        match (&self.image, &self.adv) {
            (None, _) if is_run(&self.first) => of_run(&self.first, self.model.as_deref(), model_args),
            (None, _) => {
                let first = self.first.display();
                Err(Error::Parameter(format!("{first} is no run, and alone it is not enough: give a model and an image, or a RUN.pse"))
                    .into())
            }
            (Some(image), Some(adversarial)) => self.of_files(image, adversarial, model_args),
            (Some(image), None) => self.of_attack(image, model_args),
        }
    }

    fn of_files(&self, image: &Path, adversarial: &Path, model_args: &ModelArgs) -> anyhow::Result<Case> {
        let mut session = Session::open(&self.first, model_args)?;
        let request = self.attack.request(&session.subject.labels)?;
        let (clean, logits) = session.predict(image)?;
        let adversarial = stored(adversarial, session.network.image_shape())?;
        let label = request.label.unwrap_or_else(|| scalars::predicted(logits.view()));
        let target = match request.target {
            Target::Class(class) => class,
            _ => reached(&mut session, &adversarial)?,
        };
        let request = AttackRequest { label: Some(label), ..request };
        Ok(Case { session, image: image.display().to_string(), clean, adversarial, label, target, trace: None, request })
    }

    fn of_attack(&self, image: &Path, model_args: &ModelArgs) -> anyhow::Result<Case> {
        let mut session = Session::open(&self.first, model_args)?;
        let attacked = perform(&mut session, image, &self.attack)?;
        if attacked.stopped {
            return Err(Error::Stopped.into());
        }
        let problem = &attacked.prepared.problem;
        let target = match problem.target {
            Some(target) => target,
            None => reached(&mut session, &attacked.image)?,
        };
        let (clean, label) = (Arc::new(problem.image.clone()), problem.label);
        let trace = Some(Arc::clone(&attacked.prepared.trace));
        let request = AttackRequest { target: wanted(problem.target), label: Some(label), ..attacked.request };
        Ok(Case { session, image: image.display().to_string(), clean, adversarial: attacked.image, label, target, trace, request })
    }
}

/// Whether a lone argument is meant as a run: by its name, or because it is neither a model nor a picture.
fn is_run(path: &Path) -> bool {
    let other = |e: &std::ffi::OsStr| e.eq_ignore_ascii_case("onnx") || listing::is_image(path);
    !path.extension().is_some_and(other)
}

fn wanted(target: Option<usize>) -> Target {
    target.map_or(Target::Untargeted, Target::Class)
}

/// The result of a recorded run, on the model it was recorded on.
pub fn of_run(path: &Path, model: Option<&Path>, model_args: &ModelArgs) -> anyhow::Result<Case> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
        return Err(Error::Parameter("give an image after the model, or a run written by `psescope attack --out`".into()).into());
    }
    let run = file::load(path)?;
    let frame = run.result().ok_or_else(|| Error::Input(format!("{} holds no frames; record it again", path.display())))?;
    let model = find_model(&run.meta, path, model).map_err(Error::Model)?;
    let mut session = recorded::open_model(&run.meta, &run.trace, &model, model_args)?;
    let target = match run.meta.target {
        Some(target) => target,
        None => reached(&mut session, &frame.image)?,
    };
    let (clean, adversarial, label) = (Arc::clone(&run.trace.clean), frame.image.clone(), run.meta.label);
    let (attack, params, seed, within) = (run.meta.attack, run.meta.params, run.meta.seed, run.meta.within);
    let request = AttackRequest { attack, params, target: wanted(run.meta.target), label: Some(label), seed, within };
    Ok(Case { session, image: run.meta.image, clean, adversarial, label, target, trace: Some(run.trace), request })
}

/// The class an adversarial image reached: the target of an untargeted attack.
fn reached(session: &mut Session, image: &Array3<f32>) -> anyhow::Result<usize> {
    Ok(scalars::predicted(session.network.logits(image.view().insert_axis(Axis(0)))?.row(0)))
}

/// An adversarial image from a .npy file.
pub fn stored(path: &Path, shape: [usize; 3]) -> anyhow::Result<Array3<f32>> {
    let bytes = std::fs::read(path).map_err(|e| Error::Input(format!("cannot read {}: {e}; give a .npy file", path.display())))?;
    Ok(pixels::from_npy(&bytes, shape)?)
}
