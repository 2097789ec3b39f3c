//! Unit by unit at one layer: how a unit answers the clean and the adversarial image, what that change does to the logits,
//! and what happens when the unit is put back or taken away.
//!
//! With A the layer's activation on x0, A' on x', g_c the gradient of logit c at x' with respect to the layer:
//!
//! * estimated effect on logit c: `sum_p g_c,k(p) (A'_k(p) - A_k(p))`, first order, exact when the rest is linear;
//! * exact effect: `Z_c(x') - Z_c(x' with unit k's map put back to A_k)`, one forward run per unit, many in a batch;
//! * unit PSR as for pixels: `s = max(-effect on the true logit, floor)`, `b = max(effect on the target logit, floor)`,
//!   `r = log2(b / s)`;
//! * standardised change: change of the mean response over the standard deviation of that response on reference images.

use ndarray::{Array1, Array2, Array4, ArrayView1, ArrayView3, ArrayView4, Axis};

use super::psr::{self, Kind};
use crate::core::{
    error::{Error, Result},
    oracle::{LayerInfo, Replacement, UnitGate, Units},
};

/// Mean, maximum and Euclidean length of a unit's map.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Response {
    /// Mean over positions.
    pub mean: f32,
    /// Maximum over positions.
    pub max: f32,
    /// Euclidean length over positions.
    pub l2: f32,
}

/// One unit of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitChange {
    /// Index in the layer.
    pub unit: usize,
    /// On the clean image.
    pub clean: Response,
    /// On the adversarial image.
    pub adversarial: Response,
    /// Change of the mean response.
    pub change: f32,
    /// The same over its standard deviation on reference images; `None` without them or for a unit that never varies.
    pub standardised: Option<f32>,
    /// What the unit's change adds to the true logit.
    pub effect_true: f32,
    /// What it adds to the target logit.
    pub effect_target: f32,
    /// Unit PSR: `log2(b / s)`.
    pub r: f32,
    /// Its type.
    pub kind: Kind,
}

/// How far units vary from image to image.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Standard deviation (n - 1) of every unit's mean response.
    pub deviation: Array1<f32>,
    /// Over which images, in a few words.
    pub origin: String,
}

/// All units of a layer.
#[derive(Debug, Clone)]
pub struct UnitTable {
    /// The layer.
    pub layer: LayerInfo,
    /// True and target class.
    pub classes: (usize, usize),
    /// Whether effects were measured by patching; else they are first-order estimates.
    pub exact: bool,
    /// Floor and threshold of the unit PSR.
    pub settings: psr::Settings,
    /// Logits of the clean and of the adversarial image.
    pub logits: [Array1<f32>; 2],
    /// Images that the standardised changes rest on; `None` without any.
    pub spread: Option<String>,
    /// One per unit, by index.
    pub units: Vec<UnitChange>,
    /// `[2, C, H, W]`: the maps on the clean and on the adversarial image.
    pub maps: Array4<f32>,
}

/// The two images and the two classes.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// x0.
    pub clean: ArrayView3<'a, f32>,
    /// x'.
    pub adversarial: ArrayView3<'a, f32>,
    /// True and target class.
    pub classes: (usize, usize),
}

impl Case<'_> {
    fn both(&self) -> Result<Array4<f32>> {
        ndarray::stack(Axis(0), &[self.clean, self.adversarial])
            .map_err(|_| Error::Input("clean and adversarial image differ in size; give two of the model's input size".into()))
    }
}

/// The table with first-order effects; with a spread of the same layer also with standardised changes.
pub fn table(network: &mut dyn Units, case: Case, layer: &str, spread: Option<&Spread>, settings: psr::Settings) -> Result<UnitTable> {
    let settings = settings.check()?;
    let images = case.both()?;
    let info = info(network, layer)?;
    let responses = network.responses(images.view(), &[layer], None)?;
    let maps = network.unit_maps(images.view(), layer)?;
    let adversarial = case.adversarial.insert_axis(Axis(0));
    let (t0, t) = case.classes;
    let effects: [Array1<f32>; 2] = [
        estimated(&maps, &network.unit_gradient(adversarial, layer, t0)?.gradient),
        estimated(&maps, &network.unit_gradient(adversarial, layer, t)?.gradient),
    ];
    let r = responses.layers.first().ok_or_else(|| Error::Engine("the engine gave no responses".into()))?;
    let response = |n: usize, k: usize| Response { mean: r.mean[(n, k)], max: r.max[(n, k)], l2: r.l2[(n, k)] };
    let unit = |k: usize| {
        let (clean, adversarial) = (response(0, k), response(1, k));
        let change = adversarial.mean - clean.mean;
        let deviation = spread.and_then(|s| s.deviation.get(k)).copied().filter(|s| *s > 0.0);
        let (effect_true, effect_target) = (effects[0][k], effects[1][k]);
        let (ratio, kind) = judged(effect_true, effect_target, settings);
        UnitChange {
            unit: k,
            clean,
            adversarial,
            change,
            standardised: deviation.map(|s| change / s),
            effect_true,
            effect_target,
            r: ratio,
            kind,
        }
    };
    let units = (0..r.mean.ncols()).map(unit).collect();
    let logits = [0, 1].map(|n| responses.logits.row(n).to_owned());
    Ok(UnitTable {
        layer: info,
        classes: case.classes,
        exact: false,
        settings,
        logits,
        spread: spread.map(|s| s.origin.clone()),
        units,
        maps,
    })
}

fn judged(effect_true: f32, effect_target: f32, settings: psr::Settings) -> (f32, Kind) {
    let cell = psr::effect(-effect_true, effect_target, &settings);
    (cell.r, cell.kind)
}

/// The layer of this name; the error names some that there are.
pub fn info(network: &dyn Units, layer: &str) -> Result<LayerInfo> {
    let all = network.unit_layers();
    all.iter().find(|l| l.name == layer).cloned().ok_or_else(|| {
        let some = all.iter().rev().take(5).map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ");
        Error::Parameter(format!("there is no layer '{layer}' with units; the last ones are {some} (psescope layers lists them)"))
    })
}

/// `sum_p g_k(p) (A'_k(p) - A_k(p))` per unit.
fn estimated(maps: &Array4<f32>, gradient: &Array4<f32>) -> Array1<f32> {
    let (a, b) = (maps.index_axis(Axis(0), 0), maps.index_axis(Axis(0), 1));
    let g = gradient.index_axis(Axis(0), 0);
    let one = |((a, b), g): ((ndarray::ArrayView2<f32>, ndarray::ArrayView2<f32>), ndarray::ArrayView2<f32>)| {
        a.iter().zip(&b).zip(&g).map(|((a, b), g)| f64::from(*g) * f64::from(b - a)).sum::<f64>() as f32
    };
    a.outer_iter().zip(b.outer_iter()).zip(g.outer_iter()).map(one).collect()
}

/// Measures the effect of units by putting each back to its clean map, and replaces the estimates. `progress` gets the
/// number of units done and may end the work.
pub fn measure(network: &mut dyn Units, case: Case, table: &mut UnitTable, progress: &mut dyn FnMut(usize) -> Result<()>) -> Result<()> {
    let all: Vec<usize> = (0..table.units.len()).collect();
    let effects = effects(network, Case { classes: table.classes, ..case }, &table.layer.name, &all, progress)?;
    for (unit, effect) in table.units.iter_mut().zip(effects) {
        (unit.effect_true, unit.effect_target) = effect;
        (unit.r, unit.kind) = judged(effect.0, effect.1, table.settings);
    }
    table.exact = true;
    Ok(())
}

/// Measured effects of some units on the true and on the target logit, in the order asked for: what is lost when the unit is put back
/// to its clean map.
pub fn effects(
    network: &mut dyn Units,
    case: Case,
    layer: &str,
    units: &[usize],
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<(f32, f32)>> {
    let info = info(network, layer)?;
    if let Some(unit) = units.iter().find(|u| **u >= info.units) {
        return Err(Error::Parameter(format!("unit {unit} does not exist; '{layer}' has units 0 to {}", info.units.saturating_sub(1))));
    }
    let (t0, t) = case.classes;
    let adversarial = case.adversarial.insert_axis(Axis(0));
    let bare = network.logits(adversarial)?;
    let clean = network.activation(case.clean.insert_axis(Axis(0)), layer)?;
    let mut out = Vec::with_capacity(units.len());
    for chunk in units.chunks(network.batch().max(1) * 4) {
        let mask = Array2::from_shape_fn((chunk.len(), info.units), |(n, k)| if k == chunk[n] { 0.0 } else { 1.0 });
        let gate = UnitGate { layer: layer.to_owned(), mask, replacement: Replacement::Activation(clean.clone()) };
        let logits = network.gated_logits(adversarial, &[gate])?;
        out.extend(logits.outer_iter().map(|z| (bare[(0, t0)] - z[t0], bare[(0, t)] - z[t])));
        progress(out.len())?;
    }
    Ok(out)
}

/// Mean responses `[N, C]` of a layer's units to images `[N, C, H, W]`.
pub fn means(network: &mut dyn Units, images: ArrayView4<f32>, layer: &str) -> Result<Array2<f32>> {
    let layer = network.responses(images, &[layer], None)?.layers.into_iter().next();
    layer.map(|r| r.mean).ok_or_else(|| Error::Engine("the engine gave no responses".into()))
}

/// Standard deviation (n - 1) of every unit's mean response `[N, C]`; two images or more.
pub fn deviation(means: &Array2<f32>) -> Array1<f32> {
    means.mapv(f64::from).std_axis(Axis(0), 1.0).mapv(|v| v as f32)
}

/// What takes the place of masked units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fill {
    /// Zero.
    #[default]
    Zero,
    /// Their maps on the clean image.
    Clean,
}

/// Gate that takes units away or puts them back.
pub fn gate(network: &mut dyn Units, case: Case, layer: &str, units: &[usize], fill: Fill) -> Result<UnitGate> {
    let info = info(network, layer)?;
    if let Some(unit) = units.iter().find(|u| **u >= info.units) {
        return Err(Error::Parameter(format!("unit {unit} does not exist; '{layer}' has units 0 to {}", info.units.saturating_sub(1))));
    }
    let mut gate = UnitGate::zero(layer, info.units, units);
    if fill == Fill::Clean {
        gate.replacement = Replacement::Activation(network.activation(case.clean.insert_axis(Axis(0)), layer)?);
    }
    Ok(gate)
}

/// Logits `[2, K]` of the clean and the adversarial image through a gate.
pub fn gated(network: &mut dyn Units, case: Case, gate: &UnitGate) -> Result<Array2<f32>> {
    network.gated_logits(case.both()?.view(), std::slice::from_ref(gate))
}

/// Whether both images give the same logits, up to rounding: then nothing of the perturbation gets past what was put back to clean.
pub fn nothing_passes(clean: ArrayView1<f32>, adversarial: ArrayView1<f32>) -> bool {
    let scale = clean.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    clean.iter().zip(adversarial).all(|(a, b)| (a - b).abs() <= 1e-5 * scale)
}

/// Units by sensitivity: largest absolute change of the mean response first, over its spread where that is known.
pub fn most_sensitive(table: &UnitTable) -> Vec<usize> {
    by_size(table, |u| u.standardised.unwrap_or(u.change))
}

/// Units by the absolute change of their mean response, whatever their spread.
pub fn most_moved(table: &UnitTable) -> Vec<usize> {
    by_size(table, |u| u.change)
}

fn by_size(table: &UnitTable, value: impl Fn(&UnitChange) -> f32) -> Vec<usize> {
    let mut order: Vec<&UnitChange> = table.units.iter().collect();
    order.sort_by(|a, b| value(b).abs().total_cmp(&value(a).abs()).then(a.unit.cmp(&b.unit)));
    order.into_iter().map(|u| u.unit).collect()
}

/// Units by what they do: largest push from the true to the target class first.
pub fn most_effective(table: &UnitTable) -> Vec<usize> {
    let push = |u: &UnitChange| u.effect_target - u.effect_true;
    let mut order: Vec<&UnitChange> = table.units.iter().collect();
    order.sort_by(|a, b| push(b).total_cmp(&push(a)).then(a.unit.cmp(&b.unit)));
    order.into_iter().map(|u| u.unit).collect()
}
