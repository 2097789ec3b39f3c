//! Questions about the network itself at one step of a run: its layers, the units of a layer, and what masking them changes.
//! What the worker answers them with; nothing here knows of threads or screens.

use std::sync::Arc;

use ndarray::{Array1, ArrayView3, Axis};

use super::{analysis, concepts::concepts_for, trace::Trace};
use crate::core::{
    dissect::ConceptLabels,
    error::{Error, Result},
    explain::{
        insight::UndoneFacts,
        layers::{self, LayerChange},
        psr,
        units::{self, Case, Fill, Spread, UnitTable},
    },
    oracle::{LayerInfo, UnitGate, Units},
    scalars,
};

/// A question. Two questions are the same when they are equal, so that answers can be kept by question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Every layer at this step; all of them, or those that everything passes through.
    Layers {
        /// All.
        all: bool,
    },
    /// The cosine of every layer over the kept steps.
    Over {
        /// All layers.
        all: bool,
    },
    /// The units of a layer; `None` is the last one with maps that everything passes through.
    Units {
        /// Tensor name.
        layer: Option<String>,
        /// True and target class.
        classes: (usize, usize),
    },
    /// The measured effect of these units: each is put back to its clean map.
    Exact {
        /// Tensor name.
        layer: String,
        /// True and target class.
        classes: (usize, usize),
        /// Units.
        units: Vec<usize>,
    },
    /// Logits with these units taken away or put back.
    Mask(Mask),
    /// The most moved units of a layer zeroed in growing numbers, until [`MASKS`] are tried.
    Undo {
        /// Tensor name; `None` as for the units.
        layer: Option<String>,
    },
}

/// Units that do not answer as they would.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mask {
    /// Tensor name.
    pub layer: String,
    /// Units, in order.
    pub units: Vec<usize>,
    /// What they give instead.
    pub fill: Fill,
}

/// Cosines of layers over steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Over {
    /// Steps looked at.
    pub steps: Vec<usize>,
    /// One row per layer, one value per step; `None` where one of the activations is zero.
    pub cosines: Vec<(String, Vec<Option<f64>>)>,
}

/// An answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Ask::Layers`].
    Layers(Arc<Vec<LayerChange>>),
    /// To [`Ask::Over`]; whether it is complete.
    Over(Arc<Over>, bool),
    /// To [`Ask::Units`].
    Units(Arc<UnitTable>, Option<Arc<ConceptLabels>>),
    /// To [`Ask::Exact`]: effects on the true and on the target logit, one per unit asked for.
    Exact(Vec<(f32, f32)>),
    /// To [`Ask::Mask`]: logits of the clean and of the adversarial image through the mask.
    Mask([Array1<f32>; 2]),
    /// To [`Ask::Undo`].
    Undo(UndoneFacts),
    /// The question was stopped; whoever still wants the answer asks again.
    Stopped,
}

/// News of a question that is still being worked on.
#[derive(Debug, Clone)]
pub enum News {
    /// An answer that still grows.
    Growing(Answer),
    /// Parts done, parts in all.
    Part(usize, usize),
}

/// Takes news; its error ends the work.
pub type Publish<'a> = &'a mut dyn FnMut(News) -> Result<()>;

/// Numbers of units that are zeroed in turn.
pub const MASKS: [usize; 6] = [1, 2, 5, 10, 20, 50];
/// Most steps that a curve over time looks at.
const STEPS: usize = 60;

/// Gives the spread of a layer's units over reference images, where there are any.
pub type SpreadOf<'a> = dyn FnMut(&mut dyn Units, &str, Publish) -> Result<Option<Spread>> + 'a;

/// What is known besides the run.
pub struct Known<'a> {
    /// The model file.
    pub model_sha256: &'a str,
    /// Reference images that the person gave.
    pub spread: &'a mut SpreadOf<'a>,
}

/// Spread over the images of the concept data that named the units.
fn of_concepts(labels: &ConceptLabels) -> Option<Spread> {
    let deviation = labels.levels()?.deviation.iter().map(|d| *d as f32).collect();
    Some(Spread { deviation, origin: "the concept images".into() })
}

/// Answers a question about a step. `publish` gets news meanwhile, and may end the work.
pub fn answer(network: &mut dyn Units, trace: &Trace, step: usize, ask: &Ask, known: &mut Known, publish: Publish) -> Result<Answer> {
    let frame = analysis::frame(trace, step)?;
    let case = |classes| Case { clean: trace.clean.view(), adversarial: frame.image.view(), classes };
    let whoever = (trace.label, trace.target.unwrap_or(trace.label));
    Ok(match ask {
        Ask::Layers { all } => Answer::Layers(Arc::new(compared(network, trace, &[frame.image.view()], *all)?.swap_remove(0))),
        Ask::Over { all } => Answer::Over(Arc::new(over(network, trace, *all, publish)?), true),
        Ask::Units { layer, classes } => {
            let layer = layer.clone().map_or_else(|| usual(network), Ok)?;
            let labels = concepts_for(known.model_sha256, &layer);
            let spread = match (known.spread)(network, &layer, publish)? {
                None => labels.as_ref().and_then(of_concepts),
                given => given,
            };
            let table = units::table(network, case(*classes), &layer, spread.as_ref(), psr::Settings::default())?;
            Answer::Units(Arc::new(table), labels.map(Arc::new))
        }
        Ask::Exact { layer, classes, units } => {
            Answer::Exact(units::effects(network, case(*classes), layer, units, &mut |done| publish(News::Part(done, units.len())))?)
        }
        Ask::Mask(mask) => {
            let case = case(whoever);
            let gate = units::gate(network, case, &mask.layer, &mask.units, mask.fill)?;
            let logits = units::gated(network, case, &gate)?;
            Answer::Mask([0, 1].map(|row| logits.row(row).to_owned()))
        }
        Ask::Undo { layer } => {
            let layer = layer.clone().map_or_else(|| usual(network), Ok)?;
            Answer::Undo(undo(network, case(whoever), layer, publish)?)
        }
    })
}

/// The last layer with maps that everything passes through and that does not hold the classes themselves; else the last such layer.
pub fn usual(network: &dyn Units) -> Result<String> {
    let main = network.main_layers();
    let classes = network.classes();
    let fits = |l: &LayerInfo| l.units > 1 && l.units != classes && main.contains(&l.name);
    let all = network.unit_layers();
    let found = all.iter().rfind(|l| fits(l) && l.spatial[0] * l.spatial[1] > 1).or_else(|| all.iter().rfind(|l| fits(l)));
    found.or(all.last()).map(|l| l.name.clone()).ok_or_else(|| Error::Model("this model has no layer with units".into()))
}

fn compared(network: &mut dyn Units, trace: &Trace, images: &[ArrayView3<f32>], all: bool) -> Result<Vec<Vec<LayerChange>>> {
    let infos = layers::select(network, if all { "all" } else { "auto" })?;
    layers::between(network, &infos, trace.clean.view(), images, layers::Settings::default())
}

fn over(network: &mut dyn Units, trace: &Trace, all: bool, publish: Publish) -> Result<Over> {
    let kept = trace.frames();
    let count = kept.len().min(STEPS);
    let steps: Vec<usize> = (0..count).map(|i| kept[i * (kept.len() - 1) / count.saturating_sub(1).max(1)]).collect();
    let mut out = Over::default();
    for chunk in steps.chunks(network.batch().max(2) * 2) {
        let frames: Vec<_> = chunk.iter().filter_map(|&s| trace.frame(s)).collect();
        if frames.is_empty() {
            continue;
        }
        let images: Vec<ArrayView3<f32>> = frames.iter().map(|f| f.image.view()).collect();
        for (frame, changes) in frames.iter().zip(compared(network, trace, &images, all)?) {
            if out.cosines.is_empty() {
                out.cosines = changes.iter().map(|c| (c.info.name.clone(), Vec::new())).collect();
            }
            out.steps.push(frame.index);
            for ((_, row), change) in out.cosines.iter_mut().zip(&changes) {
                row.push(change.cosine);
            }
        }
        publish(News::Growing(Answer::Over(Arc::new(out.clone()), false)))?;
        publish(News::Part(out.steps.len(), steps.len()))?;
    }
    Ok(out)
}

/// Zeroes the units whose mean response moved most, [`MASKS`] of them in turn. The classes are the true one and any other.
pub fn undo(network: &mut dyn Units, case: Case, layer: String, publish: Publish) -> Result<UndoneFacts> {
    let responses = network.responses(case.adversarial.insert_axis(Axis(0)), &[&layer], Some(case.clean))?;
    let mean = &responses.layers.first().ok_or_else(|| Error::Engine(format!("layer '{layer}' gave nothing")))?.mean;
    let change = |k: &usize| (mean[(1, *k)] - mean[(0, *k)]).abs();
    let mut moved: Vec<usize> = (0..mean.ncols()).filter(|k| change(k) > 0.0).collect();
    moved.sort_by(|a, b| change(b).total_cmp(&change(a)).then(a.cmp(b)));
    let mut tried = Vec::new();
    let sizes: Vec<usize> = MASKS.into_iter().filter(|k| *k <= moved.len()).collect();
    for &k in &sizes {
        let logits = units::gated(network, case, &UnitGate::zero(&layer, mean.ncols(), &moved[..k]))?;
        let right = |row: usize| scalars::predicted(logits.row(row)) == case.classes.0;
        tried.push((k, right(1), right(0)));
        publish(News::Part(tried.len(), sizes.len()))?;
    }
    Ok(UndoneFacts { layer, tried })
}
