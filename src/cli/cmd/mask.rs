//! `psescope mask`: takes units away or puts them back to clean, and shows whether that undoes the attack.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use ndarray::{Array1, Array2, ArrayView1, Axis};
use serde_json::json;

use super::units::{LabelArgs, no_labels, table, with_concept};
use crate::{
    cli::{
        args::ModelArgs,
        case::{Case, CaseArgs},
        exit::Done,
        progress,
        session::interruptible,
    },
    core::{
        error::Error,
        explain::{
            psr,
            units::{self, Fill},
        },
        onnx::{read, write},
        oracle::{Gated, Oracle as _, UnitGate},
        scalars,
        tensor::{configs, norm::Norms},
    },
    engine::{command::AttackRequest, files, run},
    report::network::{self, Adaptive, MaskReport},
};

/// Predictions with units masked or patched.
#[derive(Debug, Args)]
pub struct MaskCommand {
    #[command(flatten)]
    case: CaseArgs,
    /// Layer (tensor name, see `psescope layers`).
    #[arg(long, value_name = "LAYER", help_heading = "Mask")]
    layer: String,
    /// Step of the run; its result without it.
    #[arg(long, value_name = "N", help_heading = "Mask")]
    step: Option<usize>,
    #[command(flatten)]
    which: Which,
    /// What --top ranks by.
    #[arg(long, value_enum, default_value_t = By::Change, help_heading = "Mask")]
    by: By,
    #[command(flatten)]
    labels: LabelArgs,
    /// What masked units give instead.
    #[arg(long, value_enum, default_value_t = FillArg::Zero, help_heading = "Mask")]
    patch: FillArg,
    /// Attack the masked network again, with the same attack.
    #[arg(long, help_heading = "Mask")]
    adaptive: bool,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write the masked model as plain ONNX.
    #[arg(long, value_name = "OUT.onnx", help_heading = "Output")]
    save: Option<PathBuf>,
    #[command(flatten)]
    model_args: ModelArgs,
}

/// Which units.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The K units that answer the perturbation most.
    #[arg(long, value_name = "K", help_heading = "Mask")]
    top: Option<usize>,
    /// These units.
    #[arg(long, value_name = "1,5,9", value_delimiter = ',', help_heading = "Mask")]
    units: Option<Vec<usize>>,
    /// Every unit whose label contains this, or of this category.
    #[arg(long, value_name = "NAME", help_heading = "Mask")]
    concept: Option<String>,
    /// The whole layer.
    #[arg(long, help_heading = "Mask")]
    all: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    /// Absolute change of the mean response.
    Change,
    /// Push from the true to the target class, gradient x change.
    Effect,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FillArg {
    /// Zero.
    Zero,
    /// Their maps on the clean image.
    Clean,
}

impl From<FillArg> for Fill {
    fn from(fill: FillArg) -> Self {
        match fill {
            FillArg::Zero => Self::Zero,
            FillArg::Clean => Self::Clean,
        }
    }
}

/// Largest difference between the logits of the saved model and of the gated one, over the largest logit.
const AGREEMENT: f32 = 1e-3;

impl MaskCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut case = self.case.open(&self.model_args)?;
        let labels = self.labels.of(&case.session, &self.layer)?;
        let step = case.at_step(self.step)?;
        let chosen = match (&self.which.units, &self.which.concept, &labels) {
            (Some(units), ..) => sorted(units.clone()),
            (None, Some(name), Some(labels)) => with_concept(labels, name, self.labels.iou)?,
            (None, Some(_), None) => return Err(no_labels("--concept", &self.layer)),
            _ if self.which.all => (0..units::info(&case.session.network, &self.layer)?.units).collect(),
            _ => self.ranked(&mut case)?,
        };
        let network = &mut case.session.network;
        let (clean, adversarial) = (Arc::clone(&case.clean), case.adversarial.clone());
        let question = units::Case { clean: clean.view(), adversarial: adversarial.view(), classes: (case.label, case.target) };
        let gate = units::gate(network, question, &self.layer, &chosen, self.patch.into())?;
        let both = ndarray::stack(Axis(0), &[clean.view(), adversarial.view()])?;
        let before = network.logits(both.view())?;
        let after = units::gated(network, question, &gate)?;
        let saved = self.save.is_some().then(|| self.write(&mut case, &gate, &after)).transpose()?;
        let adaptive = if self.adaptive { Some(attacked(&mut case, &gate, after.row(0))?) } else { None };
        let report = MaskReport {
            layer: &self.layer,
            units: &chosen,
            selection: self.selection(&labels),
            fill: self.patch.into(),
            step,
            classes: question.classes,
            before: &before,
            after: &after,
            saved: saved.as_deref(),
            adaptive: adaptive.as_ref(),
        };
        let context = case.session.context(&case.image);
        if self.json {
            say_json!(network::mask(&report, &context));
        } else {
            say!("{}", network::mask_text(&report, &context).trim_end());
        }
        Ok(Done::Yes)
    }

    fn ranked(&self, case: &mut Case) -> anyhow::Result<Vec<usize>> {
        let k = self.which.top.unwrap_or(0);
        if k == 0 {
            return Err(Error::Parameter("--top needs at least one unit".into()).into());
        }
        let table = table(case, &self.layer, None, psr::Settings::default(), false)?;
        let order = match self.by {
            By::Change => units::most_sensitive(&table),
            By::Effect => units::most_effective(&table),
        };
        if k > order.len() {
            return Err(Error::Parameter(format!("--top {k} is more than the {} units of '{}'", order.len(), self.layer)).into());
        }
        Ok(order[..k].to_vec())
    }

    fn selection(&self, labels: &Option<crate::core::dissect::ConceptLabels>) -> serde_json::Value {
        let origin = labels.as_ref().map(|l| l.origin().to_owned());
        match (&self.which.units, &self.which.concept) {
            (Some(_), _) => json!({"by": "units"}),
            _ if self.which.all => json!({"by": "all"}),
            (_, Some(name)) => json!({"by": "concept", "concept": name, "iou": self.labels.iou, "labels": origin}),
            _ => {
                json!({"by": "top", "k": self.which.top, "ranking": match self.by { By::Change => "change", By::Effect => "effect" }, "estimate": matches!(self.by, By::Effect)})
            }
        }
    }

    /// Writes the masked model, reads it back and runs it: its logits must be the gated ones.
    fn write(&self, case: &mut Case, gate: &UnitGate, expected: &Array2<f32>) -> anyhow::Result<String> {
        let Some(path) = &self.save else { return Err(Error::Parameter("--save needs a file".into()).into()) };
        let mut graph = case.session.network.masked_model(gate)?;
        describe(case, &mut graph.metadata);
        let bytes = write::to_bytes(&graph);
        let again = read::parse(bytes.clone().into(), &mut |_| Err(Error::Model("the masked model refers to other files".into())))?;
        let both = ndarray::stack(Axis(0), &[case.clean.view(), case.adversarial.view()])?;
        let got = case.session.network.sibling(again)?.logits(both.view())?;
        let scale = expected.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        let apart = got.iter().zip(expected).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / scale;
        if apart.is_nan() || apart > AGREEMENT {
            return Err(Error::Engine(format!(
                "the masked model's logits differ by {apart:.1e} from those of the masked network; nothing was written, please report this"
            ))
            .into());
        }
        files::save(path, &bytes)?;
        Ok(path.display().to_string())
    }
}

fn sorted(mut units: Vec<usize>) -> Vec<usize> {
    units.sort_unstable();
    units.dedup();
    units
}

/// What a reader of the file needs besides the graph: class names and preprocessing.
fn describe(case: &Case, metadata: &mut std::collections::BTreeMap<String, String>) {
    let subject = &case.session.subject;
    metadata.insert("psescope.preprocess".into(), configs::to_json(&subject.preprocess));
    metadata.entry("names".into()).or_insert_with(|| json!(subject.names.as_slice()).to_string());
}

/// The same attack on the gated network.
fn attacked(case: &mut Case, gate: &UnitGate, clean: ArrayView1<f32>) -> anyhow::Result<Adaptive> {
    let request = AttackRequest { label: Some(case.label), ..case.request.clone() };
    let prepared = run::prepare(&request, Arc::clone(&case.clean), clean, None)?;
    let bar = progress::bar(prepared.steps(), "steps on the masked network");
    let control = interruptible();
    let _bound = control.bind(case.session.network.interrupt());
    let mut gated = Gated::new(&mut case.session.network, vec![gate.clone()]);
    let success = prepared.run(&mut gated, &control, |index| bar.set_position(index as u64))?;
    bar.finish_and_clear();
    let frame = prepared.trace.best().and_then(|i| prepared.trace.frame(i));
    let image = frame.map_or_else(|| (*case.clean).clone(), |f| f.image.clone());
    let logits: Array1<f32> = gated.logits(image.view().insert_axis(Axis(0)))?.row(0).to_owned();
    // A network that errs on the clean image needs no attack.
    let clean_correct = scalars::predicted(clean) == case.label;
    let norms = Norms::of((&image - &*case.clean).view());
    Ok(Adaptive { attack: request.attack, success, clean_correct, steps: prepared.trace.len().saturating_sub(1), norms, logits })
}
