//! `psescope insight`: what is known about a perturbation, in sentences.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use ndarray::{ArrayView3, Axis};
use serde_json::json;

use crate::{
    cli::{
        args::ModelArgs,
        case::{Case, CaseArgs},
        exit::Done,
        session::interruptible,
    },
    core::{
        error::{Error, Result},
        explain::{
            cam::{self, Method},
            insight::{Facts, LayerFacts, PlaceFacts, Sentence, TypeFacts, UnitFacts, sentences},
            interpretability::{Threshold, interpretability},
            layers,
            psr::{self, Grid, Mode, Question, Settings},
            units,
            upsample::bilinear,
        },
        oracle::{Layers as _, Oracle as _, Units as _},
        scalars,
        tensor::norm::Norms,
    },
    engine::{
        concepts::concepts_for,
        findings::{GRID, PERCENTILE},
        inspect,
    },
    runtime::Network,
};

/// Units named in the sentence.
const NAMED: usize = 4;

/// What is known about a perturbation, in sentences.
#[derive(Debug, Args)]
pub struct InsightCommand {
    #[command(flatten)]
    case: CaseArgs,
    /// How the promotion-suppression map is evaluated: linear and path are estimates, and the sentence says so.
    #[arg(long, value_enum, default_value_t = ModeArg::Linear, help_heading = "Insight")]
    mode: ModeArg,
    /// Layer whose units are named and masked. Without it, the last one with maps that everything passes through.
    #[arg(long, value_name = "L", help_heading = "Insight")]
    layer: Option<String>,
    /// Step of the run; its result without it. The nearest step whose picture was kept is taken.
    #[arg(long, value_name = "N", help_heading = "Insight")]
    step: Option<usize>,
    /// Print one JSON object.
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    model_args: ModelArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArg {
    Exact,
    Linear,
    Path,
}

impl InsightCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut case = self.case.open(&self.model_args)?;
        case.at_step(self.step)?;
        let control = interruptible();
        let _bound = control.bind(case.session.network.interrupt());
        let facts = self.facts(&mut case).context("insight")?;
        let said = sentences(&facts);
        if self.json {
            let sentence = |s: &Sentence| {
                let numbers: serde_json::Map<_, _> = s.numbers.iter().map(|(name, v)| ((*name).to_owned(), json!(v))).collect();
                json!({"topic": s.topic.name(), "text": s.text, "estimate": s.estimate, "known": s.known, "evidence": s.topic.evidence(), "numbers": numbers})
            };
            say_json!(
                json!({"schema": "psescope.insight/1", "version": env!("CARGO_PKG_VERSION"), "model": case.session.model, "image": case.image,
                       "true": case.label, "target": case.target, "sentences": said.iter().map(sentence).collect::<Vec<_>>()})
            );
        } else {
            for sentence in &said {
                say!("{:<7} {}  [psescope {}]", sentence.topic.name(), sentence.text, sentence.topic.evidence());
            }
        }
        Ok(Done::Yes)
    }

    fn facts(&self, case: &mut Case) -> Result<Facts> {
        let (clean, adversarial) = (case.clean.clone(), case.adversarial.clone());
        let (label, target) = (case.label, case.target);
        let names = case.session.subject.names.clone();
        let name = |c: usize| names.get(c).map_or_else(|| format!("class {c}"), |n| n.split(',').next().unwrap_or(n).to_owned());
        let network = &mut case.session.network;
        let z = |n: &mut Network, image: ArrayView3<f32>| n.logits(image.insert_axis(Axis(0))).map(|z| z.row(0).to_owned());
        let (before, after) = (z(network, clean.view())?, z(network, adversarial.view())?);
        let now = scalars::predicted(after.view());
        let delta = &adversarial - &*clean;
        let norms = Norms::of(delta.view());
        let mut facts = Facts {
            truth: name(label),
            target: name(target),
            now: name(now),
            flipped: now != label,
            norms: Some((norms.l0, norms.l2, norms.linf)),
            ..Facts::default()
        };
        if label == target || norms.l2 == 0.0 {
            return Ok(facts);
        }
        let mode = match self.mode {
            ModeArg::Exact => Mode::Exact,
            ModeArg::Linear => Mode::Linear,
            ModeArg::Path => Mode::Path,
        };
        let (_, height, width) = clean.dim();
        let settings = Settings { mode, ..Settings::default() };
        let grid = Grid::by_count(height, width, GRID)?;
        let question = Question { clean: clean.view(), adversarial: adversarial.view(), classes: (label, target), grid, settings };
        let map = psr::evaluate(network, &question, &mut |_| Ok(()))?;
        let whole = map.whole(before.view(), after.view());
        facts.kind = Some(TypeFacts { shares: map.shares(), whole: whole.kind, suppressed: whole.s_raw, promoted: whole.b_raw, mode });
        let method = if network.linear_head().is_some() { Method::Cam } else { Method::GradCam };
        if !network.spatial_layers().is_empty() {
            for class in [label, target] {
                let cam = cam::compute(network, clean.view(), method, None, class)?;
                let large = bilinear(cam.raw.view(), [height, width]);
                let score = interpretability(large.view(), delta.view(), Threshold::Percentile(PERCENTILE))?;
                facts.places.extend(score.map(|score| PlaceFacts { class: name(class), score }));
            }
        }
        let standard = layers::Settings::default();
        if let Ok(infos) = layers::select(network, "auto") {
            let changes = layers::between(network, &infos, clean.view(), &[adversarial.view()], standard)?.swap_remove(0);
            facts.layers = Some(LayerFacts::of(&changes, standard));
        }
        let layer = self.layer.clone().map_or_else(|| inspect::usual(network), Ok);
        if let Ok(layer) = layer {
            let concepts = concepts_for(&case.session.subject.sha256, &layer);
            let case = units::Case { clean: clean.view(), adversarial: adversarial.view(), classes: (label, target) };
            let concept = |u: usize| {
                concepts.as_ref().and_then(|c| c.unit(u)).filter(|c| c.detected()).map(|c| format!("{}, IoU {:.2}", c.label, c.iou))
            };
            let first = moved(network, case, &layer)?.into_iter().take(NAMED).map(|(u, d)| (u, d, concept(u))).collect();
            facts.undone = (now != label).then(|| inspect::undo(network, case, layer.clone(), &mut |_| Ok(()))).transpose()?;
            facts.units = Some(UnitFacts { layer, units: first, origin: concepts.as_ref().map(|c| c.origin().to_owned()) });
        }
        Ok(facts)
    }
}

/// Units that moved, by the change of their mean response, largest first.
fn moved(network: &mut Network, case: units::Case, layer: &str) -> Result<Vec<(usize, f64)>> {
    let responses = network.responses(case.adversarial.insert_axis(Axis(0)), &[layer], Some(case.clean))?;
    let mean = &responses.layers.first().ok_or_else(|| Error::Engine(format!("layer '{layer}' gave nothing")))?.mean;
    let mut moved: Vec<(usize, f64)> =
        mean.row(0).iter().zip(mean.row(1)).map(|(a, b)| f64::from(*b) - f64::from(*a)).enumerate().filter(|(_, d)| *d != 0.0).collect();
    moved.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    Ok(moved)
}
