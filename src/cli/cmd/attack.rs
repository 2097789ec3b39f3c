//! `psescope attack`: one attack without the interface.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::Args;
use ndarray::{Array1, Array3, Axis};

use crate::{
    cli::{
        args::{AttackArgs, ModelArgs, output_dir},
        compare::Comparison,
        exit::Done,
        progress,
        session::{Session, interruptible},
    },
    core::{error::Error, oracle::Oracle as _},
    engine::{
        command::AttackRequest,
        control::Control,
        findings::Findings,
        keep::{self, About},
        region::{self, Region},
        run::{self, Prepared},
        trace::{
            Trace,
            file::{self, RunMeta},
            maps::Maps,
        },
    },
    report::{explain, json::AttackReport, npy, picture, text},
};

/// Attack one image.
#[derive(Debug, Args)]
pub struct AttackCommand {
    /// ONNX model.
    model: PathBuf,
    /// Image file, or a .npy array [C,H,W] with values 0..1.
    image: PathBuf,
    #[command(flatten)]
    attack: AttackArgs,
    /// Write the recorded run here; `psescope pse` and `psescope show` read it.
    #[arg(long, value_name = "RUN.pse", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Compute the promotion-suppression map and the activation maps of the result too, and keep them in the run.
    #[arg(long, requires = "out", help_heading = "Output")]
    explain: bool,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write clean.png, adversarial.png and perturbation.png into this folder.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    png: Option<PathBuf>,
    /// Write x0.npy, adv.npy and delta.npy (float32 [C,H,W], pixel space) into this folder.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    npy: Option<PathBuf>,
    /// With --within: run the same attack everywhere too, and print success, norms, interpretability score and promotion-suppression shares of both.
    #[arg(long, requires = "within", help_heading = "Output")]
    compare: bool,
    /// End with 1 when the attack did not reach its goal.
    #[arg(long, help_heading = "Output")]
    exit_code: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// An attack that ran to its end, or was stopped.
pub struct Attacked {
    /// What was asked for.
    pub request: AttackRequest,
    /// Problem and trace.
    pub prepared: Prepared,
    /// Clean logits.
    pub clean: Array1<f32>,
    /// Image of the result.
    pub image: Array3<f32>,
    /// Whether the goal was reached.
    pub success: bool,
    /// Where it was allowed to change pixels, when not everywhere.
    pub region: Option<Region>,
    /// Whether a signal ended it early.
    pub stopped: bool,
    /// Wall seconds.
    pub seconds: f64,
}

/// Opens the image and runs the attack, with progress on stderr.
pub fn perform(session: &mut Session, image: &Path, args: &AttackArgs) -> anyhow::Result<Attacked> {
    let request = args.request(&session.subject.labels)?;
    attack(session, image, request, &interruptible())
}

/// Opens the image and runs what is asked for.
fn attack(session: &mut Session, image: &Path, request: AttackRequest, control: &Control) -> anyhow::Result<Attacked> {
    let (x0, clean) = session.predict(image)?;
    let mut prepared = run::prepare(&request, Arc::clone(&x0), clean.view(), None)?;
    let mut region = None;
    if let Some(text) = &request.within {
        let classes = (prepared.problem.label, prepared.problem.target);
        let found =
            region::resolve(&mut session.network, &session.subject.labels, x0.view(), classes, text, &mut |_, _| control.checkpoint())?;
        prepared.problem.mask = Some(found.weights());
        region = Some(found);
    }
    let bar = progress::bar(prepared.steps(), "steps");
    let started = Instant::now();
    let _bound = control.bind(session.network.interrupt());
    let outcome = prepared.run(&mut session.network, control, |index| bar.set_position(index as u64));
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let (success, stopped) = match outcome {
        Ok(success) => (success, false),
        Err(Error::Stopped) => (false, true),
        Err(error) => return Err(error.into()),
    };
    let frame = prepared.trace.best().and_then(|i| prepared.trace.frame(i));
    let image = frame.map_or_else(|| (*x0).clone(), |f| f.image.clone());
    Ok(Attacked { request, prepared, clean, image, success, region, stopped, seconds })
}

/// The maps of the result; what the model cannot give is said on stderr.
fn explain(session: &mut Session, meta: RunMeta, trace: &Arc<Trace>) -> anyhow::Result<Maps> {
    let mut findings = Findings::new(meta, Arc::clone(trace), Maps::default(), None)?;
    let bar = progress::bar(100, "% of the maps");
    let control = interruptible();
    let _bound = control.bind(session.network.interrupt());
    findings.complete(&mut session.network, &mut |_, part| {
        bar.set_position((part * 100.0) as u64);
        control.checkpoint()
    })?;
    bar.finish_and_clear();
    for missing in &findings.missing {
        let _ = writeln!(std::io::stderr(), "psescope: note: {missing}");
    }
    Ok(findings.maps)
}

impl AttackCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut session = Session::open(&self.model, &self.model_args)?;
        let control = interruptible();
        let request = self.attack.request(&session.subject.labels)?;
        let attacked = attack(&mut session, &self.image, request.clone(), &control)?;
        let comparison = match &attacked.region {
            Some(region) if self.compare && !attacked.stopped => {
                let everywhere = attack(&mut session, &self.image, AttackRequest { within: None, ..request }, &control)?;
                Some(Comparison::of(&mut session, region, &attacked, &everywhere)?)
            }
            _ => None,
        };
        let logits = session.network.logits(attacked.image.view().insert_axis(Axis(0)))?.row(0).to_owned();
        self.write_files(&mut session, &attacked)?;
        let image = self.image.display().to_string();
        let report = AttackReport {
            context: session.context(&image),
            attack: &self.attack.attack,
            params: &attacked.prepared.params,
            seed: self.attack.seed,
            trace: &attacked.prepared.trace,
            clean: attacked.clean.view(),
            adversarial: logits.view(),
            success: attacked.success,
            seconds: attacked.seconds,
        };
        if self.json {
            let mut out = report.to_json();
            if let Some(region) = &attacked.region {
                out["within"] = explain::region(region);
            }
            if let Some(comparison) = &comparison {
                out["compare"] = comparison.to_json();
            }
            say!("{out}");
        } else {
            say!("{}", text::attack(&report).trim_end());
            if let Some(region) = &attacked.region {
                say!("  within    {}: {:.1} % of the pixels", region.text, region.area() * 100.0);
            }
            if let Some(comparison) = &comparison {
                say!("{}", comparison.to_text().trim_end());
            }
        }
        if attacked.stopped {
            return Err(Error::Stopped.into());
        }
        Ok(if self.exit_code && !attacked.success { Done::Robust } else { Done::Yes })
    }

    fn write_files(&self, session: &mut Session, attacked: &Attacked) -> anyhow::Result<()> {
        let clean = &attacked.prepared.problem.image;
        let delta = &attacked.image - clean;
        if let Some(dir) = &self.npy {
            output_dir(dir)?;
            for (name, array) in [("x0.npy", clean), ("adv.npy", &attacked.image), ("delta.npy", &delta)] {
                npy::write(&dir.join(name), array)?;
            }
        }
        if let Some(dir) = &self.png {
            output_dir(dir)?;
            picture::save(&dir.join("clean.png"), &picture::photo(clean.view()))?;
            picture::save(&dir.join("adversarial.png"), &picture::photo(attacked.image.view()))?;
            picture::save(&dir.join("perturbation.png"), &picture::perturbation(delta.view()))?;
        }
        if let Some(path) = &self.out {
            let trace = &attacked.prepared.trace;
            let meta = keep::meta(self.about(session, attacked), &attacked.request, trace);
            let maps = if self.explain { explain(session, meta.clone(), trace)? } else { Maps::default() };
            file::save_with(path, &meta, trace, &maps)?;
        }
        Ok(())
    }

    fn about<'a>(&self, session: &'a Session, attacked: &'a Attacked) -> About<'a> {
        About {
            model: session.model.clone(),
            model_sha256: &session.subject.sha256,
            image: self.image.display().to_string(),
            preprocessing: session.subject.preprocess.describe(),
            provider: session.provider.clone(),
            labels: &session.subject.names,
            clean_logits: attacked.clean.as_slice().unwrap_or_default(),
        }
    }
}
