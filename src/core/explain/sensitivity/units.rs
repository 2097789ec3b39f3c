//! Per-unit effects and tests, corrected within the layer.

use ndarray::{ArrayView1, Axis};

use super::{LayerResult, Sample, Settings, Unit};
use crate::core::stats::{
    mean,
    multiple::{benjamini_hochberg, benjamini_yekutieli},
    paired::{paired_t, sign_flip_max, standardised},
    signed_rank::{Zeros, signed_rank},
    std_dev,
};

/// Limits of |d_z| that are counted.
const EFFECTS: [f64; 3] = [0.2, 0.5, 0.8];

/// Effects and tests of every unit of a layer.
pub fn analyse(sample: &Sample, settings: &Settings) -> LayerResult {
    let mut units: Vec<Unit> = (0..sample.clean.ncols()).map(|unit| describe(sample, unit)).collect();
    let tested: Vec<usize> = units.iter().filter(|u| !u.dead).map(|u| u.unit).collect();
    // A unit with spread whose pairs never differ says nothing against the null.
    let p: Vec<f64> = tested.iter().map(|u| units[*u].p.unwrap_or(1.0)).collect();
    let p_noise: Vec<f64> = tested.iter().map(|u| units[*u].p_noise.unwrap_or(1.0)).collect();
    let changes: Vec<Vec<f64>> = tested.iter().map(|u| sample.change.column(*u).to_vec()).collect();
    let family = sign_flip_max(&changes, settings.draws, settings.seed);
    let (q, q_by, q_noise) = (benjamini_hochberg(&p), benjamini_yekutieli(&p), benjamini_hochberg(&p_noise));
    for (i, u) in tested.iter().enumerate() {
        let unit = &mut units[*u];
        (unit.p, unit.q, unit.q_by) = (Some(p[i]), Some(q[i]), Some(q_by[i]));
        (unit.p_noise, unit.q_noise, unit.p_family) = (Some(p_noise[i]), Some(q_noise[i]), Some(family[i]));
    }
    let significant = |unit: &&Unit| unit.q.is_some_and(|q| q <= settings.level);
    LayerResult {
        tested: tested.len(),
        significant: units.iter().filter(significant).count(),
        promoted: units.iter().filter(significant).filter(|u| u.change > 0.0).count(),
        beyond_noise: units
            .iter()
            .filter(|u| u.q_noise.is_some_and(|q| q <= settings.level) && u.excess_d_z.is_some_and(|d| d > 0.0))
            .count(),
        by_effect: EFFECTS.map(|limit| units.iter().filter(|u| u.d_z.is_some_and(|d| d.abs() >= limit)).count()),
        units,
    }
}

fn describe(sample: &Sample, unit: usize) -> Unit {
    let column = |values: &ndarray::Array2<f64>| -> Vec<f64> { values.index_axis(Axis(1), unit).to_vec() };
    let (clean, change, size, noise) = (column(&sample.clean), column(&sample.change), column(&sample.size), column(&sample.noise));
    let dead = constant(sample.clean.column(unit)) && size.iter().chain(&noise).all(|d| *d == 0.0);
    let clean_sd = std_dev(&clean);
    let over_spread = |value: f64| (clean_sd > 0.0).then(|| value / clean_sd);
    let test = signed_rank(&change, Zeros::Drop);
    let excess: Vec<f64> = size.iter().zip(&noise).map(|(a, b)| a - b).collect();
    Unit {
        unit,
        dead,
        clean_mean: mean(&clean),
        clean_sd,
        firing: clean.iter().filter(|v| **v > 0.0).count() as f64 / clean.len() as f64,
        change: mean(&change),
        size: mean(&size),
        shift: over_spread(mean(&change)),
        sensitivity: over_spread(mean(&size)),
        noise: over_spread(mean(&noise)),
        d_z: standardised(&change),
        rank_biserial: test.map(|t| t.rank_biserial()),
        p: test.map(|t| t.p),
        q: None,
        q_by: None,
        p_t: paired_t(&change).map(|t| t.p),
        p_family: None,
        excess_d_z: standardised(&excess),
        p_noise: signed_rank(&excess, Zeros::Drop).map(|t| t.p),
        q_noise: None,
    }
}

fn constant(values: ArrayView1<f64>) -> bool {
    values.iter().all(|v| *v == values[0])
}
