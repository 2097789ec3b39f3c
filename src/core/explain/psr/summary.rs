//! From raw effects to types, shares and totals.

use ndarray::ArrayView1;

use super::{Cell, Grid, Kind, PsrMap, Settings};
use crate::core::stats::rank;

/// Ratios this close to the threshold (relative) count as on it, hence as balanced: logits are f32 differences.
const TIE: f64 = 1e-5;

/// How many cells are of each type, as fractions of the evaluated ones.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shares {
    /// Suppression-dominated.
    pub suppression: f32,
    /// Promotion-dominated.
    pub promotion: f32,
    /// Balanced, without the inert ones.
    pub balanced: f32,
    /// Both effects at or below the floor.
    pub inert: f32,
}

/// A cell from its raw effects.
pub fn judge(grid: &Grid, index: usize, s_raw: f32, b_raw: f32, settings: &Settings) -> Cell {
    let cell = effect(s_raw, b_raw, settings);
    Cell { row: index / grid.cols(), col: index % grid.cols(), ..cell }
}

/// Floors, ratio and type of any pair of raw effects, at row and column 0. For the whole perturbation give the total
/// changes: `Z(x0)[t0] - Z(x')[t0]` and `Z(x')[t] - Z(x0)[t]`.
pub fn effect(s_raw: f32, b_raw: f32, settings: &Settings) -> Cell {
    let floor = settings.floor;
    let (s, b) = (s_raw.max(floor), b_raw.max(floor));
    // Compared as products: the logarithm of an exact ratio may round to either side of the threshold.
    let factor = f64::from(settings.threshold).exp2() * (1.0 + TIE);
    let (s64, b64) = (f64::from(s), f64::from(b));
    // Floors of NaN effects are the floor itself, so that a broken run shows as inert rather than as a finding.
    let kind = if !(s_raw > floor || b_raw > floor) {
        Kind::Inert
    } else if s64 > factor * b64 {
        Kind::Suppression
    } else if b64 > factor * s64 {
        Kind::Promotion
    } else {
        Kind::Balanced
    };
    Cell { row: 0, col: 0, s_raw, b_raw, s, b, r: (b64 / s64).log2() as f32, kind }
}

/// A floor relative to the spread of the clean logits: `fraction` times their standard deviation. Unlike a fixed number
/// of logits it does not change its meaning when a model scales its logits.
pub fn relative_floor(clean_logits: ArrayView1<f32>, fraction: f32) -> f32 {
    let n = clean_logits.len().max(1) as f64;
    let mean = clean_logits.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = clean_logits.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    ((variance.sqrt() * f64::from(fraction)) as f32).max(f32::MIN_POSITIVE)
}

impl PsrMap {
    /// Whether every cell has been evaluated.
    pub fn is_complete(&self) -> bool {
        self.cells.iter().all(Option::is_some)
    }

    /// Cells evaluated so far.
    pub fn evaluated(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().flatten()
    }

    /// Share of each type among the evaluated cells; zeros when there are none.
    pub fn shares(&self) -> Shares {
        let total = self.evaluated().count();
        if total == 0 {
            return Shares::default();
        }
        let share = |kind| self.evaluated().filter(|c| c.kind == kind).count() as f32 / total as f32;
        Shares {
            suppression: share(Kind::Suppression),
            promotion: share(Kind::Promotion),
            balanced: share(Kind::Balanced),
            inert: share(Kind::Inert),
        }
    }

    /// Sums of the raw effects over the evaluated cells: suppression, promotion.
    pub fn totals(&self) -> (f64, f64) {
        self.evaluated().fold((0.0, 0.0), |(s, b), c| (s + f64::from(c.s_raw), b + f64::from(c.b_raw)))
    }

    /// The effect of the whole perturbation, from the logits of x0 and x'.
    pub fn whole(&self, clean: ArrayView1<f32>, adversarial: ArrayView1<f32>) -> Cell {
        let (t0, t) = self.classes;
        effect(clean[t0] - adversarial[t0], adversarial[t] - clean[t], &self.settings)
    }

    /// How far the cells' sums are from the effect of the whole: 0 for a network that is linear along d. Suppression,
    /// promotion, in logits.
    pub fn additivity_gap(&self, whole: &Cell) -> (f64, f64) {
        let (s, b) = self.totals();
        (s - f64::from(whole.s_raw), b - f64::from(whole.b_raw))
    }

    /// Spearman's rank correlation of the raw effects with another map of the same grid (suppression, promotion), over
    /// cells that both have; `None` where it is undefined.
    pub fn rank_correlation(&self, other: &Self) -> (Option<f64>, Option<f64>) {
        let pairs: Vec<(&Cell, &Cell)> =
            self.cells.iter().zip(&other.cells).filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?))).collect();
        let column =
            |f: fn(&Cell) -> f32| -> (Vec<f64>, Vec<f64>) { pairs.iter().map(|(a, b)| (f64::from(f(a)), f64::from(f(b)))).unzip() };
        let (s, b) = (column(|c| c.s_raw), column(|c| c.b_raw));
        (rank::spearman(&s.0, &s.1), rank::spearman(&b.0, &b.1))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn h1_types_at_the_boundaries() {
        let settings = Settings::default();
        let raw = [(0.4f32, 0.0f32), (0.6, 0.3), (-0.1, 0.2), (0.0, 0.1)];
        let got: Vec<Cell> = raw.iter().map(|(s, b)| effect(*s, *b, &settings)).collect();
        let kinds: Vec<Kind> = got.iter().map(|c| c.kind).collect();
        assert_eq!(kinds, [Kind::Suppression, Kind::Balanced, Kind::Balanced, Kind::Inert]);
        for (cell, r) in got.iter().zip([-2.0, -1.0, 1.0, 0.0]) {
            approx::assert_abs_diff_eq!(cell.r, r, epsilon = 1e-6);
        }
    }

    #[test]
    fn beyond_the_boundary_is_dominated() {
        let settings = Settings { floor: 0.01, ..Settings::default() };
        assert_eq!(effect(1.0, 2.001, &settings).kind, Kind::Promotion);
        assert_eq!(effect(2.001, 1.0, &settings).kind, Kind::Suppression);
        assert_eq!(effect(1.0, 2.0, &settings).kind, Kind::Balanced);
        assert_eq!(effect(f32::NAN, f32::NAN, &settings).kind, Kind::Inert);
    }

    #[test]
    fn swap_symmetry_negates_r() {
        let settings = Settings::default();
        for (s, b) in [(0.4, 0.0), (0.6, 0.3), (3.0, 0.7)] {
            assert_eq!(effect(s, b, &settings).r, -effect(b, s, &settings).r);
        }
    }

    #[test]
    fn relative_floor_follows_the_scale() {
        let z = array![1.0f32, -1.0, 3.0, 5.0];
        let floor = relative_floor(z.view(), 0.1);
        approx::assert_abs_diff_eq!(floor, 0.1 * 5.0f32.sqrt(), epsilon = 1e-6);
        approx::assert_abs_diff_eq!(relative_floor((&z * 4.0).view(), 0.1), 4.0 * floor, epsilon = 1e-6);
    }
}
