//! Numbers derived from one row of logits. Pure; f64 inside.

use ndarray::{Array1, ArrayView1};

/// The `n` largest logits with their classes, best first; equal logits in class order, NaN last.
pub fn top(logits: ArrayView1<f32>, n: usize) -> Vec<(usize, f32)> {
    let key = |v: f32| if v.is_nan() { f32::NEG_INFINITY } else { v };
    let mut order: Vec<(usize, f32)> = logits.iter().copied().enumerate().collect();
    let by = |a: &(usize, f32), b: &(usize, f32)| key(b.1).total_cmp(&key(a.1)).then(a.0.cmp(&b.0));
    if n < order.len() && n > 0 {
        order.select_nth_unstable_by(n, by);
    }
    order.truncate(n);
    order.sort_unstable_by(by);
    order
}

/// Class with the largest logit; the first of equals. 0 for an empty row.
pub fn predicted(logits: ArrayView1<f32>) -> usize {
    top(logits, 1).first().map_or(0, |t| t.0)
}

/// `ln(sum exp(Z))`, without overflow.
pub fn log_sum_exp(logits: ArrayView1<f32>) -> f64 {
    let max = logits.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
    if !max.is_finite() {
        return max;
    }
    max + logits.iter().map(|v| (f64::from(*v) - max).exp()).sum::<f64>().ln()
}

/// Softmax probability of one class.
pub fn prob(logits: ArrayView1<f32>, class: usize) -> f64 {
    (f64::from(logits[class]) - log_sum_exp(logits)).exp()
}

/// Largest logit among the classes that are not excluded; minus infinity when there is none.
pub fn best_other(logits: ArrayView1<f32>, excluded: &[usize]) -> f32 {
    logits.iter().enumerate().filter(|(c, _)| !excluded.contains(c)).fold(f32::NEG_INFINITY, |m, (_, v)| m.max(*v))
}

/// Cross-entropy at a class, natural logarithm.
pub fn cross_entropy(logits: ArrayView1<f32>, class: usize) -> f64 {
    log_sum_exp(logits) - f64::from(logits[class])
}

/// Value and slope with respect to the logits of [`super::oracle::Objective::Ratio`] at the true class `label`.
pub fn ratio(logits: ArrayView1<f32>, label: usize, target: Option<usize>) -> (f32, Array1<f32>) {
    let order = top(logits, 4);
    let z = |c: usize| f64::from(logits[c]);
    let ordered = |i: usize| order[i].0;
    let other = target.unwrap_or_else(|| ordered(usize::from(ordered(0) == label)));
    let below: &[(usize, f64)] = if target.is_some() { &[(ordered(2), 0.5), (ordered(3), 0.5)] } else { &[(ordered(2), 1.0)] };
    let bottom = z(ordered(0)) - below.iter().map(|(c, w)| w * z(*c)).sum::<f64>() + 1e-12;
    let above = z(other) - z(label);
    let mut slope = Array1::<f64>::zeros(logits.len());
    slope[other] += 1.0 / bottom;
    slope[label] -= 1.0 / bottom;
    slope[ordered(0)] -= above / (bottom * bottom);
    for (c, w) in below {
        slope[*c] += w * above / (bottom * bottom);
    }
    ((above / bottom) as f32, slope.mapv(|v| if v.is_finite() { v as f32 } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_published_ratio() {
        // Sorted: 2.5 (1), 1.0 (0), 0.9 (4), 0.3 (2), -1.0 (3).
        let z = array![1.0f32, 2.5, 0.3, -1.0, 0.9];
        let cases = [
            (1, None, -(2.5 - 1.0) / (2.5 - 0.9)),
            (0, None, -(1.0 - 2.5) / (2.5 - 0.9)),
            (1, Some(3), -(2.5 + 1.0) / (2.5 - (0.9 + 0.3) / 2.0)),
            (3, Some(1), -(-1.0 - 2.5) / (2.5 - (0.9 + 0.3) / 2.0)),
        ];
        for (label, target, want) in cases {
            approx::assert_abs_diff_eq!(ratio(z.view(), label, target).0, want, epsilon = 1e-6);
            // Neither a shift nor a scale of the logits changes it.
            approx::assert_abs_diff_eq!(ratio((&z * 7.0 + 3.0).view(), label, target).0, want, epsilon = 1e-5);
        }
        // Equal logits: no number, but no NaN either.
        let (value, slope) = ratio(array![1.0f32, 1.0, 1.0, 1.0].view(), 1, None);
        assert!(value == 0.0 && slope.iter().all(|g| g.is_finite()));
    }

    #[test]
    fn the_ratios_slope_is_its_derivative() {
        let z = array![1.0f32, 2.5, 0.3, -1.0, 0.9];
        for (label, target) in [(1, None), (0, None), (1, Some(3)), (4, Some(1))] {
            let (_, slope) = ratio(z.view(), label, target);
            for c in 0..z.len() {
                let moved = |h: f32| {
                    let mut m = z.clone();
                    m[c] += h;
                    ratio(m.view(), label, target).0
                };
                approx::assert_abs_diff_eq!((moved(1e-2) - moved(-1e-2)) / 2e-2, slope[c], epsilon = 2e-3);
            }
        }
    }

    #[test]
    fn rows_of_logits() {
        let z = array![1.0f32, 3.0, 3.0, f32::NAN, -2.0];
        assert_eq!(top(z.view(), 2), [(1, 3.0), (2, 3.0)]);
        assert_eq!(top(z.view(), 0), []);
        assert_eq!(top(z.view(), 9).len(), 5);
        assert_eq!(predicted(z.view()), 1);
        let big = array![1000.0f32, 1000.0];
        approx::assert_abs_diff_eq!(prob(big.view(), 0), 0.5, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(cross_entropy(big.view(), 1), std::f64::consts::LN_2, epsilon = 1e-9);
        assert_eq!(best_other(big.view(), &[0, 1]), f32::NEG_INFINITY);
        assert_eq!(best_other(array![5.0f32, 1.0, 2.0].view(), &[0]), 2.0);
    }
}
