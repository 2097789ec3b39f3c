//! `psescope pse`: the promotion-suppression map of a recorded run, of a fresh attack, or of a stored adversarial image.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, ValueEnum};
use ndarray::{Array3, Axis};

use super::attack::perform;
use crate::{
    cli::{
        args::{AttackArgs, ModelArgs, parse_number},
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{
        attack::scalars,
        error::Error,
        explain::psr::{self, Grid, Mode, PsrMap, Question, Settings},
        oracle::Oracle as _,
        tensor::image as pixels,
    },
    engine::trace::file,
    report::{json, picture, text},
};

/// Promotion-suppression map of a perturbation.
#[derive(Debug, Args)]
pub struct PseCommand {
    /// A run written by `psescope attack --out`, or an ONNX model followed by an image.
    #[arg(value_name = "RUN.pse | MODEL")]
    first: PathBuf,
    /// Clean image, when the first argument is a model.
    image: Option<PathBuf>,
    /// Explain this stored adversarial image (float32 [C,H,W] or [1,C,H,W], pixel space) instead of attacking.
    #[arg(long, value_name = "FILE.npy")]
    adv: Option<PathBuf>,
    #[command(flatten)]
    attack: AttackArgs,
    #[command(flatten)]
    map: MapArgs,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write the map over the adversarial image as PNG.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    png: Option<PathBuf>,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// Grid and ratio.
#[derive(Debug, Args)]
#[command(next_help_heading = "Map")]
struct MapArgs {
    /// Cells per side; the last row and column take what is left.
    #[arg(long, value_name = "N", default_value_t = 14)]
    grid: usize,
    /// How cells are evaluated: exact (a forward run each), linear (one gradient), path (gradients along the way).
    #[arg(long, value_enum, default_value_t = ModeArg::Exact)]
    mode: ModeArg,
    /// Smallest effect counted, in logits. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "0.1", value_parser = parse_number)]
    psr_floor: f32,
    /// A cell is dominated when |log2(b/s)| exceeds this. A convention recalled from the paper.
    #[arg(long, value_name = "X", default_value = "1", value_parser = parse_number)]
    psr_threshold: f32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArg {
    Exact,
    Linear,
    Path,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Exact => Self::Exact,
            ModeArg::Linear => Self::Linear,
            ModeArg::Path => Self::Path,
        }
    }
}

/// What is explained.
struct Case {
    session: Session,
    clean: Arc<Array3<f32>>,
    adversarial: Array3<f32>,
    label: usize,
    target: usize,
}

impl PseCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut case = match &self.image {
            None => self.of_run(&self.first)?,
            Some(image) => self.of_model(&self.first, image)?,
        };
        let map = self.explain(&mut case)?;
        let logits =
            |s: &mut Session, image: &Array3<f32>| s.network.logits(image.view().insert_axis(Axis(0))).map(|z| z.row(0).to_owned());
        let (clean, adversarial) = (logits(&mut case.session, &case.clean)?, logits(&mut case.session, &case.adversarial)?);
        let whole = map.whole(clean.view(), adversarial.view());
        let labels = &case.session.subject.names;
        let name = |c: usize| labels.get(c).cloned().unwrap_or_default();
        if let Some(path) = &self.png {
            picture::save(path, &picture::psr_overlay(case.adversarial.view(), &map, 0.6))?;
        }
        if self.json {
            say!("{}", json::pse(&map, &whole));
        } else {
            say!("{}", text::pse(&map, &whole, &name(case.label), &name(case.target)).trim_end());
        }
        Ok(Done::Yes)
    }

    fn of_run(&self, path: &Path) -> anyhow::Result<Case> {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
            return Err(Error::Parameter("give an image after the model, or a run written by `psescope attack --out`".into()).into());
        }
        let run = file::load(path)?;
        let best = run
            .trace
            .best()
            .or_else(|| run.trace.len().checked_sub(1))
            .and_then(|i| run.trace.nearest_frame(i))
            .and_then(|i| run.trace.frame(i));
        let frame = best.ok_or_else(|| Error::Input(format!("{} holds no frames; record it again", path.display())))?;
        let mut session = Session::open(Path::new(&run.meta.model), &self.model_args)?;
        if session.subject.sha256 != run.meta.model_sha256 {
            return Err(Error::Model(format!(
                "{} is not the model this run was recorded on (its contents differ); give the original file",
                run.meta.model
            ))
            .into());
        }
        let target = match run.meta.target {
            Some(target) => target,
            None => reached(&mut session, &frame.image)?,
        };
        Ok(Case { session, clean: Arc::clone(&run.trace.clean), adversarial: frame.image.clone(), label: run.meta.label, target })
    }

    fn of_model(&self, model: &Path, image: &Path) -> anyhow::Result<Case> {
        let mut session = Session::open(model, &self.model_args)?;
        let request = self.attack.request(&session.subject.labels)?;
        if let Some(adv) = &self.adv {
            let (clean, logits) = session.predict(image)?;
            let adversarial = stored(adv, session.network.image_shape())?;
            let label = request.label.unwrap_or_else(|| scalars::predicted(logits.view()));
            let target = match request.target {
                crate::engine::command::Target::Class(class) => class,
                _ => reached(&mut session, &adversarial)?,
            };
            return Ok(Case { session, clean, adversarial, label, target });
        }
        let attacked = perform(&mut session, image, &self.attack)?;
        if attacked.stopped {
            return Err(Error::Stopped.into());
        }
        let problem = &attacked.prepared.problem;
        let target = match problem.target {
            Some(target) => target,
            None => reached(&mut session, &attacked.image)?,
        };
        Ok(Case { session, clean: Arc::new(problem.image.clone()), label: problem.label, adversarial: attacked.image, target })
    }

    fn explain(&self, case: &mut Case) -> anyhow::Result<PsrMap> {
        let (_, height, width) = case.clean.dim();
        let grid = Grid::by_count(height, width, self.map.grid)?;
        let settings = Settings { floor: self.map.psr_floor, threshold: self.map.psr_threshold, mode: self.map.mode.into() };
        let question =
            Question { clean: case.clean.view(), adversarial: case.adversarial.view(), classes: (case.label, case.target), grid, settings };
        let bar = progress::bar(grid.rows() * grid.cols(), "cells");
        let control = interruptible();
        let _bound = control.bind(case.session.network.interrupt());
        let map = psr::evaluate(&mut case.session.network, &question, &mut |map: &PsrMap| {
            bar.set_position(map.cells.iter().flatten().count() as u64);
            control.checkpoint()
        })?;
        bar.finish_and_clear();
        Ok(map)
    }
}

/// The class an adversarial image reached: the target of an untargeted attack.
fn reached(session: &mut Session, image: &Array3<f32>) -> anyhow::Result<usize> {
    Ok(scalars::predicted(session.network.logits(image.view().insert_axis(Axis(0)))?.row(0)))
}

fn stored(path: &Path, shape: [usize; 3]) -> anyhow::Result<Array3<f32>> {
    let bytes = std::fs::read(path).map_err(|e| Error::Input(format!("cannot read {}: {e}; give a .npy file", path.display())))?;
    Ok(pixels::from_npy(&bytes, shape)?)
}
