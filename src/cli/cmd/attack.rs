//! `psescope attack`: one attack without the interface.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::{Args, ValueEnum};
use ndarray::{Array1, Array3, Axis};

use crate::{
    cli::{
        args::{AttackArgs, ModelArgs, output_dir},
        compare::Comparison,
        exit::Done,
        progress,
        session::{Session, interruptible},
        tell,
    },
    core::{error::Error, oracle::Oracle as _},
    engine::{
        command::AttackRequest,
        control::Control,
        findings::Findings,
        keep::{self, About},
        region::{self, Region},
        run::{self, Prepared},
        together,
        trace::{
            StepRecord, Trace,
            file::{self, RunMeta},
            maps::Maps,
        },
    },
    report::{
        explain,
        json::{self, AttackReport},
        npy, picture, text,
    },
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
    /// Write the recorded run here; `psescope pse` and `psescope show` read it. With several targets one file each: RUN-434.pse, and
    /// folders named after the class in --png and --npy.
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
    /// Norm by which the closest of several targets is chosen among those that were reached.
    #[arg(long, value_name = "NORM", default_value = "l2", help_heading = "Output")]
    closest_by: ClosestBy,
    /// Of several targets report and write the closest alone; all of them when none was reached.
    #[arg(long, help_heading = "Output")]
    only_closest: bool,
    /// End with 1 when no attack reached its goal.
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
    /// Wall seconds; of attacks that ran at once, those of all of them.
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
    session.say_update(&request);
    let mut attacked = perform_all(session, &x0, &clean, vec![request], control)?;
    Ok(attacked.swap_remove(0))
}

/// Runs the attacks with progress on stderr: at once where the engine profits, else one after another. Two that come to the same target
/// are one. At least one is returned; those that a signal kept from beginning are not.
pub fn perform_all(
    session: &mut Session,
    x0: &Arc<Array3<f32>>,
    clean: &Array1<f32>,
    requests: Vec<AttackRequest>,
    control: &Control,
) -> anyhow::Result<Vec<Attacked>> {
    let mut jobs: Vec<((AttackRequest, Option<Region>), Prepared)> = Vec::new();
    let budget = run::FRAME_BUDGET / requests.len().max(1);
    for request in requests {
        let mut prepared = run::prepare(&request, Arc::clone(x0), clean.view(), None)?.with_budget(budget);
        if jobs.iter().any(|(_, other)| other.problem.target == prepared.problem.target) {
            continue;
        }
        let region = restrict(session, x0, &request, &mut prepared, control)?;
        jobs.push(((request, region), prepared));
    }
    let bar = progress::bar(jobs.iter().map(|(_, p)| p.steps()).sum(), "steps");
    let _bound = control.bind(session.network.interrupt());
    let (requests, prepared): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
    let mut outcomes: Vec<(Result<bool, Error>, f64)> = Vec::new();
    let started = Instant::now();
    if prepared.len() > 1 && prepared[0].batched(&session.network) {
        let ended = together::run(&prepared, &mut session.network, control, |_, _| bar.inc(1));
        outcomes.extend(ended.into_iter().map(|o| (o, started.elapsed().as_secs_f64())));
    } else {
        for one in &prepared {
            let started = Instant::now();
            let outcome = one.run(&mut session.network, control, |_| bar.inc(1));
            outcomes.push((outcome, started.elapsed().as_secs_f64()));
            if control.stopped() {
                break;
            }
        }
    }
    bar.finish_and_clear();
    let ended = requests.into_iter().zip(prepared).zip(outcomes);
    ended.map(|(((request, region), prepared), (outcome, seconds))| finish(request, region, prepared, clean, outcome, seconds)).collect()
}

/// Cuts out the region that the attack is restricted to.
fn restrict(
    session: &mut Session,
    x0: &Arc<Array3<f32>>,
    request: &AttackRequest,
    prepared: &mut Prepared,
    control: &Control,
) -> anyhow::Result<Option<Region>> {
    let Some(text) = &request.within else { return Ok(None) };
    let classes = (prepared.problem.label, prepared.problem.target);
    let Session { network, subject, .. } = session;
    let found = region::resolve(network, &subject.labels, x0.view(), classes, text, &mut |_, _| control.checkpoint())?;
    prepared.problem.mask = Some(found.weights());
    Ok(Some(found))
}

fn finish(
    request: AttackRequest,
    region: Option<Region>,
    prepared: Prepared,
    clean: &Array1<f32>,
    outcome: Result<bool, Error>,
    seconds: f64,
) -> anyhow::Result<Attacked> {
    let (success, stopped) = match outcome {
        Ok(success) => (success, false),
        Err(Error::Stopped) => (false, true),
        Err(error) => return Err(error.into()),
    };
    let frame = prepared.trace.best().and_then(|i| prepared.trace.frame(i));
    let image = frame.map_or_else(|| prepared.problem.image.clone(), |f| f.image.clone());
    Ok(Attacked { request, prepared, clean: clean.clone(), image, success, region, stopped, seconds })
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
        tell::note(missing);
    }
    Ok(findings.maps)
}

impl AttackCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut session = Session::open(&self.model, &self.model_args)?;
        let control = interruptible();
        let (x0, clean) = session.predict(&self.image)?;
        let requests = self.attack.requests(&session.subject.labels, Some(clean.view()))?;
        if let Some(first) = requests.first() {
            session.say_update(first);
        }
        let mut attacked = perform_all(&mut session, &x0, &clean, requests, &control)?;
        let mut closest = closest(&attacked, self.closest_by);
        if self.only_closest
            && let Some(at) = closest
        {
            attacked = vec![attacked.swap_remove(at)];
            closest = Some(0);
        }
        let several = attacked.len() > 1;
        for one in &attacked {
            self.write_files(&mut session, one, several)?;
        }
        let mut logits = Vec::new();
        for one in &attacked {
            logits.push(session.network.logits(one.image.view().insert_axis(Axis(0)))?.row(0).to_owned());
        }
        let mut comparisons = Vec::new();
        for one in &attacked {
            comparisons.push(self.comparison(&mut session, &x0, &clean, one, &control)?);
        }
        let image = self.image.display().to_string();
        let each = attacked.iter().zip(&comparisons).zip(&logits);
        let parts = each.map(|((one, comparison), logits)| self.report(&session, &image, (one, comparison.as_ref()), logits)).collect();
        self.tell(parts, closest, &attacked)?;
        if attacked.iter().any(|a| a.stopped) {
            return Err(Error::Stopped.into());
        }
        Ok(if self.exit_code && !attacked.iter().any(|a| a.success) { Done::Robust } else { Done::Yes })
    }

    /// The same attack without its region, beside it.
    fn comparison(
        &self,
        session: &mut Session,
        x0: &Arc<Array3<f32>>,
        clean: &Array1<f32>,
        attacked: &Attacked,
        control: &Control,
    ) -> anyhow::Result<Option<Comparison>> {
        let Some(region) = attacked.region.as_ref().filter(|_| self.compare && !attacked.stopped) else { return Ok(None) };
        let request = AttackRequest { within: None, ..attacked.request.clone() };
        let everywhere = perform_all(session, x0, clean, vec![request], control)?.swap_remove(0);
        Ok(Some(Comparison::of(session, region, attacked, &everywhere)?))
    }

    fn report(&self, session: &Session, image: &str, what: (&Attacked, Option<&Comparison>), logits: &Array1<f32>) -> Report {
        let (attacked, comparison) = what;
        let report = AttackReport {
            context: session.context(image),
            attack: &self.attack.attack,
            params: &attacked.prepared.params,
            seed: self.attack.seed,
            trace: &attacked.prepared.trace,
            clean: attacked.clean.view(),
            adversarial: logits.view(),
            success: attacked.success,
            seconds: attacked.seconds,
        };
        if !self.json {
            let mut text = text::attack(&report);
            if let Some(region) = &attacked.region {
                text.push_str(&format!("  within    {}: {:.1} % of the pixels\n", region.text, region.area() * 100.0));
            }
            if let Some(comparison) = comparison {
                text.push_str(&comparison.to_text());
            }
            return Report::Text(text);
        }
        let mut out = report.to_json();
        if let Some(region) = &attacked.region {
            out["within"] = explain::region(region);
        }
        if let Some(comparison) = comparison {
            out["compare"] = comparison.to_json();
        }
        Report::Json(out)
    }

    /// Prints one report as it is, several as a list that says which is closest.
    fn tell(&self, parts: Vec<Report>, closest: Option<usize>, attacked: &[Attacked]) -> anyhow::Result<()> {
        let several = parts.len() > 1;
        let mut runs = Vec::new();
        for part in parts {
            match part {
                Report::Text(text) => say!("{}", text.trim_end()),
                Report::Json(value) if several => runs.push(value),
                Report::Json(value) => say_json!(value),
            }
        }
        if !runs.is_empty() {
            say_json!(json::attacks(runs, closest, self.closest_by.name()));
        } else if several && !self.json {
            let reached = attacked.iter().filter(|a| a.success).count();
            let nearest = closest.map(|at| format!("; the smallest {} is that of {}", self.closest_by.name(), target_name(&attacked[at])));
            say!("{reached} of {} reached their goal{}", attacked.len(), nearest.unwrap_or_default());
        }
        Ok(())
    }

    /// Files of one run; of several, each in a folder or under a name that ends in its target.
    fn write_files(&self, session: &mut Session, attacked: &Attacked, several: bool) -> anyhow::Result<()> {
        let folder = |dir: &Path| if several { dir.join(target_name(attacked)) } else { dir.to_owned() };
        let clean = &attacked.prepared.problem.image;
        let delta = &attacked.image - clean;
        if let Some(dir) = &self.npy {
            let dir = folder(dir);
            output_dir(&dir)?;
            for (name, array) in [("x0.npy", clean), ("adv.npy", &attacked.image), ("delta.npy", &delta)] {
                npy::write(&dir.join(name), array)?;
            }
        }
        if let Some(dir) = &self.png {
            let dir = folder(dir);
            output_dir(&dir)?;
            picture::save(&dir.join("clean.png"), &picture::photo(clean.view()))?;
            picture::save(&dir.join("adversarial.png"), &picture::photo(attacked.image.view()))?;
            picture::save(&dir.join("perturbation.png"), &picture::perturbation(delta.view()))?;
        }
        if let Some(path) = &self.out {
            let trace = &attacked.prepared.trace;
            let path = if several { with_target(path, attacked) } else { path.clone() };
            let meta = keep::meta(self.about(session, attacked), &attacked.request, trace);
            let maps = if self.explain { explain(session, meta.clone(), trace)? } else { Maps::default() };
            file::save_with(&path, &meta, trace, &maps)?;
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

/// A report, as it will be printed.
enum Report {
    Text(String),
    Json(serde_json::Value),
}

/// A norm by which results are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClosestBy {
    L0,
    L1,
    L2,
    Linf,
}

impl ClosestBy {
    fn name(self) -> &'static str {
        match self {
            Self::L0 => "l0",
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Linf => "linf",
        }
    }

    fn of(self, record: &StepRecord) -> f64 {
        match self {
            Self::L0 => record.l0 as f64,
            Self::L1 => f64::from(record.l1),
            Self::L2 => f64::from(record.l2),
            Self::Linf => f64::from(record.linf),
        }
    }
}

/// The successful result with the smallest norm.
fn closest(attacked: &[Attacked], by: ClosestBy) -> Option<usize> {
    let size = |a: &Attacked| a.prepared.trace.best().and_then(|b| a.prepared.trace.step(b)).map_or(f64::INFINITY, |r| by.of(&r));
    (0..attacked.len()).filter(|i| attacked[*i].success).min_by(|a, b| size(&attacked[*a]).total_cmp(&size(&attacked[*b])))
}

/// The class number, or `untargeted`.
fn target_name(attacked: &Attacked) -> String {
    attacked.prepared.problem.target.map_or_else(|| "untargeted".into(), |t| t.to_string())
}

/// `run.pse` to `run-434.pse`.
fn with_target(path: &Path, attacked: &Attacked) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{extension}", target_name(attacked)))
}
