//! Layer by layer: what an adversarial image changes in a network, from the statistics of one run.
//!
//! For a layer with activation A on the clean image and A' on the adversarial one, and `D_k = mean(A'_k) - mean(A_k)` the
//! change of unit k's mean response over positions:
//!
//! * scale = mean over units of `max(|mean(A_k)|, |mean(A'_k)|)`, the layer's typical response;
//! * a unit is promoted when `D_k > tolerance * scale`, suppressed when `D_k < -tolerance * scale`, else unchanged;
//! * promoted mass = sum of D_k over the promoted units, suppressed mass = sum of |D_k| over the suppressed ones;
//! * L2 = `||A' - A||`, relative change = `L2 / ||A||`, cosine of A and A', over all units and positions;
//! * turning point = the first layer whose cosine is below a threshold.
//!
//! The paper's rule is not known (docs/method.md); tolerance and threshold are ours and can be set.

use ndarray::{ArrayView3, Axis};

use crate::core::{
    error::{Error, Result},
    oracle::{LayerInfo, Responses, UnitResponses, Units},
};

/// What counts as a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Fraction of the layer's typical response that a unit must move by.
    pub tolerance: f64,
    /// Cosine below which clean and adversarial activation have parted.
    pub turning: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tolerance: 0.01, turning: 0.9 }
    }
}

impl Settings {
    /// Refuses values that mean nothing.
    pub fn check(self) -> Result<Self> {
        if !(self.tolerance.is_finite() && self.tolerance >= 0.0) {
            return Err(Error::Parameter(format!("the tolerance is {}; give a number of at least 0", self.tolerance)));
        }
        if !(-1.0..=1.0).contains(&self.turning) {
            return Err(Error::Parameter(format!("the turning threshold is {}; a cosine lies between -1 and 1", self.turning)));
        }
        Ok(self)
    }
}

/// One layer of the comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerChange {
    /// The layer.
    pub info: LayerInfo,
    /// Units whose mean response rose.
    pub promoted: usize,
    /// Units whose mean response fell.
    pub suppressed: usize,
    /// Units within the tolerance.
    pub unchanged: usize,
    /// Sum of the rises, in the layer's own unit.
    pub promoted_mass: f64,
    /// Sum of the falls, as a positive number.
    pub suppressed_mass: f64,
    /// `||A' - A||`.
    pub l2: f64,
    /// `||A' - A|| / ||A||`; `None` when the clean activation is zero.
    pub relative_change: Option<f64>,
    /// Cosine between A and A'; `None` when one of them is zero.
    pub cosine: Option<f64>,
}

/// Compares image `row` (counted from 1) of a comparison with its reference, layer by layer.
pub fn compare(infos: &[LayerInfo], responses: &Responses, row: usize, settings: Settings) -> Result<Vec<LayerChange>> {
    let one = |(info, r): (&LayerInfo, &UnitResponses)| -> Result<LayerChange> {
        let shift = r.shift.as_ref().filter(|s| row < s.nrows());
        let shift = shift.ok_or_else(|| Error::Engine("the responses hold no comparison with a reference image".into()))?;
        Ok(change(info, r, shift.row(row).iter().map(|v| f64::from(*v)), row, settings))
    };
    infos.iter().zip(&responses.layers).map(one).collect()
}

/// Runs the network on some images and compares each with the clean one: a list of layers per image.
pub fn between(
    network: &mut dyn Units,
    infos: &[LayerInfo],
    clean: ArrayView3<f32>,
    images: &[ArrayView3<f32>],
    settings: Settings,
) -> Result<Vec<Vec<LayerChange>>> {
    let names: Vec<&str> = infos.iter().map(|l| l.name.as_str()).collect();
    let batch = ndarray::stack(Axis(0), images).map_err(|e| Error::Input(format!("the images differ in size ({e})")))?;
    let responses = network.responses(batch.view(), &names, Some(clean))?;
    (1..=images.len()).map(|row| compare(infos, &responses, row, settings)).collect()
}

fn change(info: &LayerInfo, r: &UnitResponses, shift: impl Iterator<Item = f64>, row: usize, settings: Settings) -> LayerChange {
    let pairs: Vec<(f64, f64)> = r.mean.row(0).iter().zip(r.mean.row(row)).map(|(a, b)| (f64::from(*a), f64::from(*b))).collect();
    let scale = pairs.iter().map(|(a, b)| a.abs().max(b.abs())).sum::<f64>() / pairs.len().max(1) as f64;
    let least = settings.tolerance * scale;
    let (mut promoted, mut suppressed, mut promoted_mass, mut suppressed_mass) = (0, 0, 0.0, 0.0);
    for d in pairs.iter().map(|(a, b)| b - a) {
        if d > least {
            promoted += 1;
            promoted_mass += d;
        } else if d < -least {
            suppressed += 1;
            suppressed_mass -= d;
        }
    }
    let square = |row: usize| r.l2.row(row).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let (a, b, d) = (square(0).sqrt(), square(row).sqrt(), shift.map(|v| v * v).sum::<f64>().sqrt());
    LayerChange {
        info: info.clone(),
        promoted,
        suppressed,
        unchanged: pairs.len() - promoted - suppressed,
        promoted_mass,
        suppressed_mass,
        l2: d,
        relative_change: (a > 0.0).then(|| d / a),
        cosine: cosine(a, b, d),
    }
}

/// From three lengths: `1 - (d^2 - (a - b)^2) / 2ab`, which keeps small angles that a dot product would round away.
fn cosine(a: f64, b: f64, d: f64) -> Option<f64> {
    (a > 0.0 && b > 0.0).then(|| (1.0 - (d * d - (a - b).powi(2)) / (2.0 * a * b)).clamp(-1.0, 1.0))
}

/// The first layer where clean and adversarial activation part.
pub fn turning_point(changes: &[LayerChange], settings: Settings) -> Option<usize> {
    changes.iter().position(|c| c.cosine.is_some_and(|v| v < settings.turning))
}

/// The layers a selection names: `auto` (ends of blocks that everything passes through), `all`, or parts of names
/// separated by commas. The order is that of the network.
pub fn select(network: &dyn Units, selection: &str) -> Result<Vec<LayerInfo>> {
    let all = network.unit_layers();
    let main = network.main_layers();
    let wanted: Vec<&str> = selection.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    let nothing = || Error::Model("this model has no layer with units that can be compared; psescope inspect shows what is in it".into());
    let chosen: Vec<LayerInfo> = match wanted.as_slice() {
        [] | ["auto"] => all.iter().filter(|l| main.contains(&l.name)).cloned().collect(),
        ["all"] => all.clone(),
        parts => {
            // A whole name means that layer alone: 'fire2' is not 'fire2/squeeze'.
            let exact = |part: &str| all.iter().any(|l| l.name == part);
            if let Some(part) = parts.iter().find(|p| !all.iter().any(|l| l.name.contains(**p))) {
                let some = all.iter().map(|l| l.name.as_str()).take(6).collect::<Vec<_>>().join(", ");
                return Err(Error::Parameter(format!("no layer has '{part}' in its name; the first ones are {some}")));
            }
            let fits = |name: &str| parts.iter().any(|p| if exact(p) { name == *p } else { name.contains(*p) });
            all.iter().filter(|l| fits(&l.name)).cloned().collect()
        }
    };
    let chosen = if chosen.is_empty() { all } else { chosen };
    if chosen.is_empty() { Err(nothing()) } else { Ok(chosen) }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn info(units: usize) -> LayerInfo {
        LayerInfo { name: "l".into(), op: "Relu".into(), units, spatial: [1, 1] }
    }

    /// Responses of vectors: mean, max and signed value agree, L2 is the absolute value.
    fn vectors(clean: [f32; 4], adversarial: [f32; 4]) -> Responses {
        let mean = Array2::from_shape_fn((2, 4), |(n, k)| if n == 0 { clean[k] } else { adversarial[k] });
        let shift = Array2::from_shape_fn((2, 4), |(n, k)| if n == 0 { 0.0 } else { (adversarial[k] - clean[k]).abs() });
        let l2 = mean.mapv(f32::abs);
        let layer = UnitResponses { max: mean.clone(), mean, l2, shift: Some(shift) };
        Responses { logits: array![[0.0], [0.0]], layers: vec![layer] }
    }

    #[test]
    fn counts_masses_and_angles_of_a_vector() {
        let r = vectors([1.0, 2.0, 0.0, 2.0], [2.0, 1.0, 0.0, 2.001]);
        let got = &compare(&[info(4)], &r, 1, Settings::default()).unwrap()[0];
        assert_eq!((got.promoted, got.suppressed, got.unchanged), (1, 1, 2));
        approx::assert_abs_diff_eq!(got.promoted_mass, 1.0, epsilon = 1e-6);
        approx::assert_abs_diff_eq!(got.suppressed_mass, 1.0, epsilon = 1e-6);
        let (a, b) = ([1.0f64, 2.0, 0.0, 2.0], [2.0f64, 1.0, 0.0, 2.001]);
        let dot: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
        let length = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        approx::assert_abs_diff_eq!(got.cosine.unwrap(), dot / length(&a) / length(&b), epsilon = 1e-6);
        approx::assert_abs_diff_eq!(got.relative_change.unwrap(), (2.0f64 + 1e-6).sqrt() / 3.0, epsilon = 1e-6);
        // A tolerance of zero counts the smallest change.
        let strict = &compare(&[info(4)], &r, 1, Settings { tolerance: 0.0, ..Settings::default() }).unwrap()[0];
        assert_eq!((strict.promoted, strict.suppressed, strict.unchanged), (2, 1, 1));
    }

    #[test]
    fn the_same_image_changes_nothing_and_dead_layers_have_no_angle() {
        let same = vectors([1.0, 2.0, 0.0, 2.0], [1.0, 2.0, 0.0, 2.0]);
        let got = &compare(&[info(4)], &same, 1, Settings::default()).unwrap()[0];
        assert_eq!((got.unchanged, got.l2, got.cosine, got.relative_change), (4, 0.0, Some(1.0), Some(0.0)));
        assert_eq!(turning_point(std::slice::from_ref(got), Settings::default()), None);
        let dead = &compare(&[info(4)], &vectors([0.0; 4], [1.0, 0.0, 0.0, 0.0]), 1, Settings::default()).unwrap()[0];
        assert_eq!((dead.cosine, dead.relative_change, dead.promoted), (None, None, 1));
    }

    #[test]
    fn small_angles_survive_and_opposites_part() {
        let tiny = vectors([1.0, 1.0, 1.0, 1.0], [1.001, 0.999, 1.0, 1.0]);
        let got = compare(&[info(4)], &tiny, 1, Settings::default()).unwrap();
        let away = 1.0 - got[0].cosine.unwrap();
        assert!((2e-7..3e-7).contains(&away), "{away}");
        let flipped = compare(&[info(4)], &vectors([1.0; 4], [-1.0; 4]), 1, Settings::default()).unwrap();
        approx::assert_abs_diff_eq!(flipped[0].cosine.unwrap(), -1.0, epsilon = 1e-9);
        let all = [got[0].clone(), flipped[0].clone(), got[0].clone()];
        assert_eq!(turning_point(&all, Settings::default()), Some(1));
        assert!(Settings { tolerance: -1.0, turning: 0.5 }.check().is_err());
        assert!(Settings { tolerance: 0.0, turning: 1.5 }.check().is_err());
    }
}
