//! One image: predicted, attacked, explained.

use std::{sync::Arc, time::Instant};

use ndarray::{Array1, Array3, ArrayView3, Axis};
use sha2::{Digest as _, Sha256};

use super::{
    Item, Row,
    runs::{FRAMES, Runs},
};
use crate::{
    core::{
        attack::{Outcome, Recorder, Step, scalars},
        error::{Error, Result},
        explain::{
            cam::{self, Method},
            interpretability::{Threshold, interpretability},
            layers,
            psr::{self, Grid, Mode, Question},
            upsample,
        },
        oracle::{LayerInfo, Layers, Oracle, Responses, Units},
        tensor::norm::Norms,
    },
    engine::{
        command::AttackRequest,
        control::Control,
        keep,
        recorder::TraceRecorder,
        region, run,
        subject::{Subject, image_bytes},
        trace::Trace,
    },
};

/// Units named in a row.
const UNITS: usize = 5;

/// What a triage asks of a network besides attacks and maps.
pub trait Examined: Layers {
    /// Layers that are searched for the turning point, first to last.
    fn compared_layers(&self) -> Vec<LayerInfo>;

    /// Responses of all units of these layers to the clean image (row 0) and the adversarial one (row 1).
    fn pair(&mut self, clean: ArrayView3<f32>, adversarial: ArrayView3<f32>, layers: &[&str]) -> Result<Responses>;
}

impl<T: Units> Examined for T {
    fn compared_layers(&self) -> Vec<LayerInfo> {
        layers::select(self, "auto").unwrap_or_default()
    }

    fn pair(&mut self, clean: ArrayView3<f32>, adversarial: ArrayView3<f32>, layers: &[&str]) -> Result<Responses> {
        self.responses(adversarial.insert_axis(Axis(0)), layers, Some(clean))
    }
}

/// What is done to every image.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The attack.
    pub request: AttackRequest,
    /// Whether the perturbation is explained too (promotion and suppression, interpretability).
    pub explain: bool,
    /// Cells per side of the promotion-suppression map.
    pub grid: usize,
    /// Floor, threshold, and how cells are evaluated.
    pub psr: psr::Settings,
    /// Percentile of the class activation map above which a pixel belongs to the class's region.
    pub percentile: f32,
}

impl Settings {
    /// Settings with their usual values: a linear map of 14 by 14 cells, the region above the 70th percentile.
    pub fn new(request: AttackRequest) -> Self {
        let psr = psr::Settings { mode: Mode::Linear, ..psr::Settings::default() };
        Self { request, explain: true, grid: 14, psr, percentile: 70.0 }
    }
}

/// A model to be tried on an image.
pub struct Contender<'a> {
    /// Preprocessing and labels.
    pub subject: &'a Subject,
    /// The network.
    pub network: &'a mut dyn Examined,
    /// The attack, with classes in this model's numbering.
    pub request: &'a AttackRequest,
}

/// Where the first model's run is kept.
#[derive(Clone, Copy)]
pub struct Keeping<'a> {
    /// The folder.
    pub runs: &'a Runs,
    /// Provider and engine that run the attack.
    pub provider: &'a str,
}

/// Counts steps and remembers the first that left the true class. Pictures go to a record, if there is one.
struct Tally<'a> {
    control: &'a Control,
    label: usize,
    steps: usize,
    flipped: Option<usize>,
    record: Option<TraceRecorder<'a>>,
}

impl Recorder for Tally<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        if self.flipped.is_none() && scalars::predicted(step.logits) != self.label {
            self.flipped = Some(self.steps);
        }
        self.steps += 1;
        match &mut self.record {
            Some(record) => record.step(step),
            None => self.control.checkpoint(),
        }
    }

    fn last(&mut self, step: usize, image: &Array3<f32>) {
        if let Some(record) = &mut self.record {
            record.last(step, image);
        }
    }
}

/// An attack that came to its end.
struct Attacked {
    clean: Arc<Array3<f32>>,
    clean_logits: Array1<f32>,
    outcome: Outcome,
    label: usize,
    target: Option<usize>,
    steps: usize,
    flipped: Option<usize>,
    /// All its steps, when they are kept.
    trace: Option<Arc<Trace>>,
}

/// The row of an image. What is wrong with the image itself is written into the row; an error returned here ends the triage.
pub fn assess(
    item: &Item,
    (model, keeping): (Contender, Option<Keeping>),
    other: Option<Contender>,
    settings: &Settings,
    control: &Control,
) -> Result<Row> {
    let begun = Instant::now();
    let path = item.path.to_string_lossy().into_owned();
    let mut row = Row { index: Some(item.index as i64), path: Some(path), ..Row::default() };
    let mut said = Vec::new();
    match filled(&mut row, item, (model, keeping), other, settings, control) {
        Ok(()) => {}
        Err(error @ (Error::Input(_) | Error::Parameter(_))) => said.push(error.to_string()),
        Err(fatal) => return Err(fatal),
    }
    row.error = (!said.is_empty()).then(|| said.join("; "));
    row.seconds = Some(begun.elapsed().as_secs_f32());
    Ok(row)
}

fn filled(
    row: &mut Row,
    item: &Item,
    (model, keeping): (Contender, Option<Keeping>),
    other: Option<Contender>,
    settings: &Settings,
    control: &Control,
) -> Result<()> {
    let bytes = image_bytes(&item.path)?;
    row.sha256 = Some(hash(&bytes));
    let Contender { subject, network, request } = model;
    let clean = Arc::new(subject.decode(&item.path, &bytes)?);
    let logits = one(network, clean.view())?;
    let name = |class: usize| subject.labels.name(class).to_owned();
    let predicted = scalars::predicted(logits.view());
    row.predicted_index = Some(predicted as i64);
    row.predicted_name = Some(name(predicted));
    row.predicted_prob = Some(scalars::prob(logits.view(), predicted) as f32);
    let request = labelled(request, item, subject)?;
    let label = request.label.unwrap_or(predicted);
    if label < logits.len() {
        row.true_index = Some(label as i64);
        row.true_name = Some(name(label));
        row.true_prob = Some(scalars::prob(logits.view(), label) as f32);
        row.clean_margin = Some(logits[label] - scalars::best_other(logits.view(), &[label]));
    }
    let keeping = keeping.filter(|k| k.runs.ended().is_none());
    let attacked = attack(network, subject, &request, (Arc::clone(&clean), &logits), keeping.is_some(), control)?;
    record(row, &attacked, &name);
    if let (Some(keeping), Some(trace)) = (keeping, &attacked.trace) {
        row.run = kept(keeping, item, subject, &request, trace, &logits);
    }
    if settings.explain {
        explain(row, network, &attacked, settings, control)?;
    }
    match other {
        Some(other) => compare(row, item, &bytes, other, &attacked, control),
        None => Ok(()),
    }
}

/// The request with the true class that the list gave this image.
fn labelled(request: &AttackRequest, item: &Item, subject: &Subject) -> Result<AttackRequest> {
    let label = item.label.as_deref().map(|l| subject.labels.find(l)).transpose()?;
    Ok(AttackRequest { label: label.or(request.label), ..request.clone() })
}

/// Keeps a run as `psescope attack --out` would write it.
fn kept(keeping: Keeping, item: &Item, subject: &Subject, request: &AttackRequest, trace: &Trace, logits: &Array1<f32>) -> Option<String> {
    let image = item.path.to_string_lossy();
    let about = keep::About {
        model: subject.path.display().to_string(),
        model_sha256: &subject.sha256,
        image: image.clone().into_owned(),
        preprocessing: subject.preprocess.describe(),
        provider: keeping.provider.to_owned(),
        labels: &subject.names,
        clean_logits: &logits.to_vec(),
    };
    keeping.runs.keep(&image, &keep::meta(about, request, trace), trace)
}

fn attack(
    network: &mut dyn Examined,
    subject: &Subject,
    request: &AttackRequest,
    (clean, logits): (Arc<Array3<f32>>, &Array1<f32>),
    recorded: bool,
    control: &Control,
) -> Result<Attacked> {
    let mut prepared = run::prepare(request, Arc::clone(&clean), logits.view(), None)?.with_budget(FRAMES);
    let (label, target) = (prepared.problem.label, prepared.problem.target);
    if let Some(text) = &request.within {
        let found = region::resolve(&mut *network, &subject.labels, clean.view(), (label, target), text, &mut |_, _| control.checkpoint())?;
        prepared.problem.mask = Some(found.weights());
    }
    let record = recorded.then(|| TraceRecorder::new(Arc::clone(&prepared.trace), control.clone(), |_| {}));
    let mut tally = Tally { control, label, steps: 0, flipped: None, record };
    let outcome = prepared.outcome(network, &mut tally)?;
    if let Some(record) = &mut tally.record {
        record.finish(&outcome);
    }
    let trace = tally.record.is_some().then(|| Arc::clone(&prepared.trace));
    Ok(Attacked {
        clean,
        clean_logits: logits.clone(),
        outcome,
        label,
        target,
        steps: tally.steps.saturating_sub(1),
        flipped: tally.flipped,
        trace,
    })
}

fn record(row: &mut Row, attacked: &Attacked, name: &dyn Fn(usize) -> String) {
    let logits = attacked.outcome.logits.view();
    let reached = scalars::predicted(logits);
    let norms = Norms::of((&attacked.outcome.image - &*attacked.clean).view());
    row.target_index = attacked.target.map(|t| t as i64);
    row.target_name = attacked.target.map(name);
    row.adversarial_index = Some(reached as i64);
    row.adversarial_name = Some(name(reached));
    row.adversarial_prob = Some(scalars::prob(logits, reached) as f32);
    row.success = Some(attacked.outcome.success);
    row.steps = Some(attacked.steps as i64);
    row.flipped_at = attacked.flipped.map(|f| f as i64);
    row.l0 = Some(norms.l0 as i64);
    row.l1 = Some(norms.l1 as f32);
    row.l2 = Some(norms.l2 as f32);
    row.linf = Some(norms.linf as f32);
}

/// Promotion and suppression (when there are two classes to speak of), interpretability (when there is a map).
fn explain(row: &mut Row, network: &mut dyn Examined, attacked: &Attacked, settings: &Settings, control: &Control) -> Result<()> {
    let (clean, adversarial) = (attacked.clean.view(), attacked.outcome.image.view());
    let (_, height, width) = clean.dim();
    let target = attacked.target.unwrap_or_else(|| scalars::predicted(attacked.outcome.logits.view()));
    if target != attacked.label {
        let grid = Grid::by_count(height, width, settings.grid)?;
        let question = Question { clean, adversarial, classes: (attacked.label, target), grid, settings: settings.psr };
        let map = psr::evaluate(network, &question, &mut |_| control.checkpoint())?;
        let shares = map.shares();
        row.pse_mode = Some(settings.psr.mode.name().to_owned());
        row.pse_type = Some(map.whole(attacked.clean_logits.view(), attacked.outcome.logits.view()).kind.name().to_owned());
        row.pse_suppression = Some(shares.suppression);
        row.pse_promotion = Some(shares.promotion);
        row.pse_balanced = Some(shares.balanced);
        row.pse_inert = Some(shares.inert);
    }
    parting(row, network, clean, adversarial)?;
    let method = if network.linear_head().is_some() { Method::Cam } else { Method::GradCam };
    let map = match cam::compute(network, clean, method, None, attacked.label) {
        Ok(map) => map,
        Err(error @ (Error::Stopped | Error::Engine(_))) => return Err(error),
        // A network without layers that have positions: there is no map, and the columns stay null.
        Err(_) => return Ok(()),
    };
    let large = upsample::bilinear(map.defined().view(), [height, width]);
    let delta = &attacked.outcome.image - &*attacked.clean;
    if let Ok(Some(score)) = interpretability(large.view(), delta.view(), Threshold::Percentile(settings.percentile)) {
        row.is_score = Some(score.score as f32);
        row.is_area = Some(score.area as f32);
        row.is_lift = score.lift.map(|l| l as f32);
    }
    Ok(())
}

/// The layer where the two images part, and its units that changed most.
fn parting(row: &mut Row, network: &mut dyn Examined, clean: ArrayView3<f32>, adversarial: ArrayView3<f32>) -> Result<()> {
    let infos = network.compared_layers();
    if infos.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = infos.iter().map(|l| l.name.as_str()).collect();
    let responses = network.pair(clean, adversarial, &names)?;
    let settings = layers::Settings::default();
    let changes = layers::compare(&infos, &responses, 1, settings)?;
    let Some(at) = layers::turning_point(&changes, settings) else { return Ok(()) };
    let mean = &responses.layers[at].mean;
    let mut moved: Vec<(usize, f32)> = mean.row(1).iter().zip(mean.row(0)).map(|(after, before)| after - before).enumerate().collect();
    moved.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    moved.truncate(UNITS);
    row.turning_point = Some(infos[at].name.clone());
    row.top_units = serde_json::to_string(&moved).ok();
    Ok(())
}

/// What a second model makes of the image, of the adversarial image, and of the same attack.
fn compare(row: &mut Row, item: &Item, bytes: &[u8], other: Contender, first: &Attacked, control: &Control) -> Result<()> {
    let Contender { subject, network, request } = other;
    let clean = Arc::new(subject.decode(&item.path, bytes)?);
    let logits = one(network, clean.view())?;
    let name = |class: usize| Some(subject.labels.name(class).to_owned());
    let predicted = scalars::predicted(logits.view());
    row.compare_predicted_index = Some(predicted as i64);
    row.compare_predicted_name = name(predicted);
    row.compare_predicted_prob = Some(scalars::prob(logits.view(), predicted) as f32);
    let request = labelled(request, item, subject)?;
    let second = attack(network, subject, &request, (Arc::clone(&clean), &logits), false, control)?;
    row.compare_success = Some(second.outcome.success);
    row.compare_flipped_at = second.flipped.map(|f| f as i64);
    row.compare_l2 = Some(Norms::of((&second.outcome.image - &*clean).view()).l2 as f32);
    // Pixels can only be handed over between models of one input size.
    if first.outcome.image.dim() == clean.dim() {
        let transferred = scalars::predicted(one(network, first.outcome.image.view())?.view());
        row.compare_transfer_index = Some(transferred as i64);
        row.compare_transfer_name = name(transferred);
        row.compare_transfers = Some(second.target.map_or(transferred != second.label, |t| transferred == t));
    }
    Ok(())
}

fn one(network: &mut dyn Examined, image: ArrayView3<f32>) -> Result<Array1<f32>> {
    let oracle: &mut dyn Oracle = network;
    Ok(oracle.logits(image.insert_axis(Axis(0)))?.index_axis_move(Axis(0), 0))
}

/// SHA-256 of a file's bytes, hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
