//! The effect of a perturbation inside and outside a region: of the cells, and of each side taken back as a whole.

use ndarray::{Array4, ArrayView2, Axis};

use super::{Cell, Grid, PsrMap, Question, Shares, effect};
use crate::core::{
    error::{Error, Result},
    oracle::Oracle,
};

/// One side of a region.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// Cells with most of their pixels on this side, among the evaluated ones.
    pub cells: usize,
    /// Types of those cells.
    pub shares: Shares,
    /// Sums of their raw effects: suppression, promotion.
    pub totals: (f64, f64),
    /// Share of the squared change `||d||^2` that lies on this side, by pixels.
    pub change: f64,
    /// Exact effect of taking back the perturbation on this side alone, by pixels.
    pub whole: Cell,
}

/// Both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Within the region.
    pub inside: Side,
    /// Everything else.
    pub outside: Side,
    /// Share of the image's pixels within.
    pub area: f64,
    /// Images run.
    pub forwards: usize,
}

/// For every cell, row-major, whether more than half of its pixels lie in the region.
pub fn mostly_inside(grid: &Grid, region: ArrayView2<bool>) -> Vec<bool> {
    let count = |i: usize| {
        let [top, left, h, w] = grid.bounds(i);
        let within = region.slice(ndarray::s![top..top + h, left..left + w]).iter().filter(|b| **b).count();
        2 * within > h * w
    };
    (0..grid.len()).map(count).collect()
}

/// Splits a map along a region `[H, W]`. Three forward runs: x', and x' with either side taken back.
pub fn split(oracle: &mut dyn Oracle, question: &Question, map: &PsrMap, region: ArrayView2<bool>) -> Result<Split> {
    question.check(oracle)?;
    let (c, h, w) = question.clean.dim();
    if region.dim() != (h, w) || map.grid != question.grid {
        return Err(Error::Input(format!("the region has {:?} values and the image {h}x{w} pixels", region.dim())));
    }
    let mut images = Array4::<f32>::zeros((3, c, h, w));
    for (i, mut image) in images.outer_iter_mut().enumerate() {
        image.assign(&question.adversarial);
        for (mut plane, clean) in image.outer_iter_mut().zip(question.clean.outer_iter()).filter(|_| i > 0) {
            let undone = i == 1;
            ndarray::Zip::from(&mut plane).and(&clean).and(&region).for_each(|v, x0, within| {
                if *within == undone {
                    *v = *x0;
                }
            });
        }
    }
    let mut logits = Vec::new();
    for chunk in images.axis_chunks_iter(Axis(0), oracle.batch().max(1)) {
        logits.extend(oracle.logits(chunk)?.outer_iter().map(|z| (z[question.classes.0], z[question.classes.1])));
    }
    let base = logits[0];
    let mut squares = [0.0f64; 2];
    for ((_, y, x), v) in question.adversarial.indexed_iter().map(|(at, v)| (at, v - question.clean[at])) {
        squares[usize::from(!region[(y, x)])] += f64::from(v).powi(2);
    }
    let total = (squares[0] + squares[1]).max(f64::MIN_POSITIVE);
    let within = mostly_inside(&map.grid, region);
    let side = |i: usize| {
        let mut part = map.clone();
        for (cell, inside) in part.cells.iter_mut().zip(&within) {
            if *inside != (i == 0) {
                *cell = None;
            }
        }
        let (z0, z) = logits[1 + i];
        Side {
            cells: part.evaluated().count(),
            shares: part.shares(),
            totals: part.totals(),
            change: squares[i] / total,
            whole: effect(z0 - base.0, base.1 - z, &question.settings),
        }
    };
    let area = region.iter().filter(|b| **b).count() as f64 / region.len().max(1) as f64;
    Ok(Split { inside: side(0), outside: side(1), area, forwards: 3 })
}
