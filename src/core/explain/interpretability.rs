//! Interpretability score: how much of the perturbation lies in the class-discriminative region.
//!
//! `B = map > nu`, `IS = ||B o d||_2 / ||d||_2`. For a perturbation of equal size everywhere IS is sqrt(area of B)
//! whatever the map says, so the score is only ever given with that baseline. The threshold used in the paper is not
//! known; see docs/method.md.

use ndarray::{Array2, ArrayView2, ArrayView3, Axis};

use crate::core::error::{Error, Result};

/// How the region is cut out of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// This percentile of the map's values (0..100, linearly interpolated): 70 covers about 30 % of the pixels.
    Percentile(f32),
    /// This fraction of the map's largest value.
    OfMaximum(f32),
    /// This value.
    Value(f32),
}

/// The score with what it has to be compared to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interpretability {
    /// The value of the map above which a pixel belongs to the region.
    pub nu: f32,
    /// IS, 0..1.
    pub score: f64,
    /// Fraction of the pixels in the region.
    pub area: f64,
    /// sqrt(area): the score of a perturbation spread evenly.
    pub baseline: f64,
    /// score / baseline; `None` for an empty region.
    pub lift: Option<f64>,
}

/// The region of a map `[H, W]` that lies strictly above the threshold, and the threshold as a value.
pub fn region(map: ArrayView2<f32>, threshold: Threshold) -> Result<(Array2<bool>, f32)> {
    if map.is_empty() || map.iter().any(|v| !v.is_finite()) {
        return Err(Error::Input("the map has no finite values, so no region can be cut out of it".into()));
    }
    let nu = match threshold {
        Threshold::Percentile(p) => quantile(&sorted(map), p),
        Threshold::OfMaximum(f) => f * map.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v)),
        Threshold::Value(v) => v,
    };
    Ok((map.mapv(|v| v > nu), nu))
}

/// IS of a perturbation `[C, H, W]` for a map `[H, W]` of the image's size. `Ok(None)` when the perturbation is zero:
/// the score is undefined then. An empty region (a constant map) scores 0 with no lift.
pub fn interpretability(map: ArrayView2<f32>, delta: ArrayView3<f32>, threshold: Threshold) -> Result<Option<Interpretability>> {
    let (_, height, width) = delta.dim();
    if map.dim() != (height, width) {
        return Err(Error::Input(format!("the map has {:?} values and the image {height}x{width} pixels; upsample it first", map.dim())));
    }
    let (inside, nu) = region(map, threshold)?;
    Ok(of_region(inside.view(), delta, nu))
}

/// IS of a perturbation `[C, H, W]` for a region `[H, W]` that is already cut out; `nu` is only handed on.
pub fn of_region(inside: ArrayView2<bool>, delta: ArrayView3<f32>, nu: f32) -> Option<Interpretability> {
    let (mut all, mut kept) = (0.0f64, 0.0f64);
    for channel in delta.axis_iter(Axis(0)) {
        for (d, b) in channel.iter().zip(&inside) {
            let square = f64::from(*d).powi(2);
            all += square;
            kept += if *b { square } else { 0.0 };
        }
    }
    if all == 0.0 {
        return None;
    }
    let area = inside.iter().filter(|b| **b).count() as f64 / inside.len() as f64;
    let (score, baseline) = ((kept / all).sqrt(), area.sqrt());
    Some(Interpretability { nu, score, area, baseline, lift: (baseline > 0.0).then(|| score / baseline) })
}

/// The score at several percentiles, for a curve; the map is sorted once.
pub fn curve(map: ArrayView2<f32>, delta: ArrayView3<f32>, percentiles: &[f32]) -> Result<Vec<Option<Interpretability>>> {
    // What does not fit is refused there.
    interpretability(map, delta, Threshold::Value(0.0))?;
    let values = sorted(map);
    let score = |p: &f32| {
        let nu = quantile(&values, *p);
        of_region(map.mapv(|v| v > nu).view(), delta, nu)
    };
    Ok(percentiles.iter().map(score).collect())
}

fn sorted(map: ArrayView2<f32>) -> Vec<f32> {
    let mut values: Vec<f32> = map.iter().copied().collect();
    values.sort_unstable_by(f32::total_cmp);
    values
}

/// Linearly interpolated.
fn quantile(values: &[f32], p: f32) -> f32 {
    let at = f64::from(p.clamp(0.0, 100.0)) / 100.0 * (values.len() - 1) as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    (f64::from(low) + f64::from(high - low) * (at - at.floor())) as f32
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    fn score(map: &[f32], delta: &[f32]) -> Option<Interpretability> {
        let map = Array2::from_shape_vec((1, map.len()), map.to_vec()).unwrap();
        let delta = Array3::from_shape_vec((1, 1, delta.len()), delta.to_vec()).unwrap();
        interpretability(map.view(), delta.view(), Threshold::Value(0.5)).unwrap()
    }

    #[test]
    fn h8() {
        let d = [-0.4, 0.3, 0.2, -0.1];
        let inside = score(&[1.0, 0.0, 1.0, 0.0], &d).unwrap();
        approx::assert_abs_diff_eq!(inside.score, 0.816_496_580_927_726, epsilon = 1e-7);
        approx::assert_abs_diff_eq!(inside.baseline, 0.5f64.sqrt(), epsilon = 1e-12);
        let outside = score(&[0.0, 1.0, 0.0, 1.0], &d).unwrap();
        approx::assert_abs_diff_eq!(inside.score.powi(2) + outside.score.powi(2), 1.0, epsilon = 1e-12);
        let flat = score(&[1.0, 0.0, 1.0, 0.0], &[0.1, -0.1, -0.1, 0.1]).unwrap();
        approx::assert_abs_diff_eq!(flat.score, std::f64::consts::FRAC_1_SQRT_2, epsilon = 1e-7);
        approx::assert_abs_diff_eq!(flat.lift.unwrap(), 1.0, epsilon = 1e-12);
        assert_eq!(score(&[1.0; 4], &d).unwrap().score, 1.0);
    }

    #[test]
    fn undefined_and_empty() {
        assert!(score(&[1.0; 4], &[0.0; 4]).is_none());
        let constant = array![[2.0f32, 2.0]];
        let got = interpretability(constant.view(), array![[[0.1f32, 0.2]]].view(), Threshold::Percentile(70.0)).unwrap().unwrap();
        assert_eq!((got.score, got.area, got.lift), (0.0, 0.0, None));
        let map = Array2::from_shape_fn((10, 10), |(y, x)| (y * 10 + x) as f32);
        let (inside, nu) = region(map.view(), Threshold::Percentile(70.0)).unwrap();
        assert_eq!(inside.iter().filter(|b| **b).count(), 30);
        approx::assert_abs_diff_eq!(nu, 69.3, epsilon = 1e-4);
        assert_eq!(curve(map.view(), Array3::ones((3, 10, 10)).view(), &[0.0, 50.0, 90.0]).unwrap().len(), 3);
        assert!(interpretability(map.view(), Array3::ones((3, 9, 10)).view(), Threshold::Value(0.0)).is_err());
    }
}
