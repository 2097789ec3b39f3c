//! Statistics for small samples of images and large families of units (method report F).
//!
//! Everything works on plain slices of `f64`, is deterministic (random procedures take a seed), and answers `None` where a quantity is
//! undefined: no pairs, a constant side, NaN.

pub mod bootstrap;
pub mod counts;
pub mod groups;
pub mod multiple;
pub mod paired;
pub mod rank;
pub mod signed_rank;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Arithmetic mean; NaN for nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation (n - 1); NaN for fewer than two values.
pub fn std_dev(values: &[f64]) -> f64 {
    let m = mean(values);
    (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

/// Median; NaN for nothing.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Linearly interpolated quantile at level 0..1 (the usual definition, type 7); NaN for nothing.
pub fn quantile(values: &[f64], level: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = level.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// Two-sided p of a standard normal statistic.
fn normal_two_sided(z: f64) -> f64 {
    let normal = Normal::standard();
    (2.0 * normal.sf(z.abs())).min(1.0)
}

/// Two-sided p of a Student t statistic; `None` without degrees of freedom.
fn t_two_sided(t: f64, freedom: f64) -> Option<f64> {
    if t.is_infinite() {
        return Some(0.0);
    }
    let distribution = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some((2.0 * distribution.sf(t.abs())).min(1.0))
}

/// Sum of t^3 - t over groups of equal values: the tie term of rank statistics.
fn tie_term(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .chunk_by(|a, b| a == b)
        .map(|group| {
            let t = group.len() as f64;
            t.powi(3) - t
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let v = [4.0, 1.0, 3.0, 2.0];
        approx::assert_abs_diff_eq!(mean(&v), 2.5);
        approx::assert_abs_diff_eq!(median(&v), 2.5);
        approx::assert_abs_diff_eq!(quantile(&v, 0.25), 1.75);
        approx::assert_abs_diff_eq!(std_dev(&v), 1.290_994_448_735_805_6, epsilon = 1e-12);
        assert!(mean(&[]).is_nan() && median(&[]).is_nan());
        approx::assert_abs_diff_eq!(tie_term(&[1.0, 2.0, 1.0, 1.0, 2.0]), 24.0 + 6.0);
    }

    #[test]
    fn tails_of_the_distributions() {
        approx::assert_abs_diff_eq!(normal_two_sided(-1.959_963_984_540_054), 0.05, epsilon = 1e-10);
        approx::assert_abs_diff_eq!(t_two_sided(2.306_004_135_204_166_4, 8.0).expect("p"), 0.05, epsilon = 1e-10);
        assert_eq!(t_two_sided(1.0, 0.0), None);
        assert!(normal_two_sided(9.0) > 1e-19 && normal_two_sided(9.0) < 3e-19, "no cancellation in the far tail");
    }
}
