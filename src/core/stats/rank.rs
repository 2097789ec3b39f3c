//! Correlation: Spearman, partial Spearman, Kendall tau-b, point-biserial.

use super::{normal_two_sided, t_two_sided};

/// Ranks from 1, ties sharing the mean of their ranks.
pub fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && values[order[end]] == values[order[start]] {
            end += 1;
        }
        for at in &order[start..end] {
            ranks[*at] = (start + end + 1) as f64 / 2.0;
        }
        start = end;
    }
    ranks
}

/// Spearman's rank correlation with midranks; `None` for fewer than two pairs, unequal lengths, NaN, or when one side
/// is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 2 || a.iter().chain(b).any(|v| v.is_nan()) {
        return None;
    }
    pearson(&midranks(a), &midranks(b))
}

/// Pearson's correlation; `None` when a side is constant or a value is NaN.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len() as f64;
    let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        ab += (x - ma) * (y - mb);
        aa += (x - ma).powi(2);
        bb += (y - mb).powi(2);
    }
    (aa > 0.0 && bb > 0.0).then(|| (ab / (aa * bb).sqrt()).clamp(-1.0, 1.0))
}

/// A correlation with its two-sided p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Correlation {
    /// -1..1.
    pub r: f64,
    /// Two-sided p; for Spearman and point-biserial from Student's t.
    pub p: f64,
    /// Pairs.
    pub n: usize,
}

/// `t = r sqrt(f / (1 - r^2))` with f degrees of freedom.
fn tested(r: f64, n: usize, freedom: f64) -> Option<Correlation> {
    Some(Correlation { r, p: t_two_sided(r * (freedom / (1.0 - r * r)).sqrt(), freedom)?, n })
}

/// Spearman's correlation with p from Student's t; `None` also for fewer than three pairs.
pub fn spearman_test(a: &[f64], b: &[f64]) -> Option<Correlation> {
    tested(spearman(a, b)?, a.len(), a.len() as f64 - 2.0)
}

/// Correlation of a yes/no variable with a number: Pearson's with 0 and 1, which assumes a linear scale.
pub fn point_biserial(yes: &[bool], values: &[f64]) -> Option<Correlation> {
    if yes.len() != values.len() || yes.len() < 3 || values.iter().any(|v| v.is_nan()) {
        return None;
    }
    let numbers: Vec<f64> = yes.iter().map(|y| f64::from(u8::from(*y))).collect();
    tested(pearson(&numbers, values)?, yes.len(), yes.len() as f64 - 2.0)
}

/// Kendall's tau-b with the normal approximation of its p (tie corrected).
pub fn kendall(a: &[f64], b: &[f64]) -> Option<Correlation> {
    let n = a.len();
    if n != b.len() || n < 2 || a.iter().chain(b).any(|v| v.is_nan()) {
        return None;
    }
    let sign = |x: f64, y: f64| x.partial_cmp(&y).map_or(0.0, |o| f64::from(o as i8));
    let mut score = 0.0;
    for i in 1..n {
        score += (0..i).map(|j| sign(a[i], a[j]) * sign(b[i], b[j])).sum::<f64>();
    }
    // Pairs tied on one side, and the two further tie terms of the variance.
    let ties = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted.chunk_by(|x, y| x == y).map(|g| g.len() as f64).fold([0.0; 3], |[pairs, third, spread], t| {
            [pairs + t * (t - 1.0) / 2.0, third + t * (t - 1.0) * (t - 2.0), spread + t * (t - 1.0) * (2.0 * t + 5.0)]
        })
    };
    let ([ta, ta3, ta5], [tb, tb3, tb5]) = (ties(a), ties(b));
    let m = n as f64;
    let pairs = m * (m - 1.0) / 2.0;
    let scale = ((pairs - ta) * (pairs - tb)).sqrt();
    if scale == 0.0 {
        return None;
    }
    let mut variance = (m * (m - 1.0) * (2.0 * m + 5.0) - ta5 - tb5) / 18.0 + 2.0 * ta * tb / (m * (m - 1.0));
    if n > 2 {
        variance += ta3 * tb3 / (9.0 * m * (m - 1.0) * (m - 2.0));
    }
    Some(Correlation { r: (score / scale).clamp(-1.0, 1.0), p: normal_two_sided(score / variance.sqrt()), n })
}

/// Spearman's correlation of `a` and `b` with the controls held fixed: the correlation of what is left of the ranks after a linear fit
/// on the ranks of the controls. Constant controls are ignored.
pub fn partial_spearman(a: &[f64], b: &[f64], controls: &[&[f64]]) -> Option<Correlation> {
    let n = a.len();
    let all = [a, b].into_iter().chain(controls.iter().copied());
    if all.clone().any(|v| v.len() != n || v.iter().any(|x| x.is_nan())) || n < controls.len() + 3 {
        return None;
    }
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for control in controls {
        let scale = length(&centred(&midranks(control)));
        let rest = without(centred(&midranks(control)), &basis);
        // A control that the others explain adds nothing.
        let size = length(&rest);
        if size > 1e-9 * scale && scale > 0.0 {
            basis.push(rest.into_iter().map(|v| v / size).collect());
        }
    }
    let left = |values: &[f64]| {
        let whole = centred(&midranks(values));
        let size = length(&whole);
        let rest = without(whole, &basis);
        (length(&rest) > 1e-9 * size && size > 0.0).then_some(rest)
    };
    tested(pearson(&left(a)?, &left(b)?)?, n, n as f64 - 2.0 - basis.len() as f64)
}

fn centred(values: &[f64]) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|v| v - mean).collect()
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// What is left of a vector after removing its parts along orthonormal directions.
fn without(mut values: Vec<f64>, basis: &[Vec<f64>]) -> Vec<f64> {
    for direction in basis {
        let along: f64 = values.iter().zip(direction).map(|(v, d)| v * d).sum();
        values.iter_mut().zip(direction).for_each(|(v, d)| *v -= along * d);
    }
    values
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq as close;

    use super::*;

    const A: [f64; 7] = [0.01, 0.02, 0.02, 0.05, 0.07, 0.11, 0.30];
    const B: [f64; 7] = [3.0, 1.0, 2.0, 2.0, 6.0, 5.0, 9.0];

    #[test]
    fn h10_spearman() {
        close!(spearman(&A, &B).unwrap(), 0.718_181_8, epsilon = 1e-6);
        close!(spearman_test(&A, &B).unwrap().p, 0.069_095_6, epsilon = 1e-7);
        assert_eq!(midranks(&A), [1.0, 2.5, 2.5, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
        assert_eq!(spearman_test(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(spearman_test(&[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0]).unwrap().p, 0.0);
    }

    #[test]
    fn h10_kendall() {
        let tau = kendall(&A, &B).unwrap();
        close!(tau.r, 0.55, epsilon = 1e-9);
        close!(tau.p, 0.091_087_057_416, epsilon = 1e-9);
        assert_eq!(kendall(&[1.0, 1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn h10_point_biserial() {
        let got = point_biserial(&[false, false, false, true, true, true, true], &B).unwrap();
        close!(got.r, 0.661_437_8, epsilon = 1e-7);
        assert_eq!(point_biserial(&[true, true, true], &[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn partial_of_one_control_is_the_textbook_formula() {
        let c = [2.0, 1.0, 4.0, 3.0, 7.0, 5.0, 6.0];
        let (ab, ac, bc) = (spearman(&A, &B).unwrap(), spearman(&A, &c).unwrap(), spearman(&B, &c).unwrap());
        let want = (ab - ac * bc) / ((1.0 - ac * ac) * (1.0 - bc * bc)).sqrt();
        let got = partial_spearman(&A, &B, &[&c]).unwrap();
        close!(got.r, want, epsilon = 1e-12);
        close!(partial_spearman(&A, &B, &[&c, &c]).unwrap().r, want, epsilon = 1e-9);
        close!(partial_spearman(&A, &B, &[]).unwrap().r, ab, epsilon = 1e-12);
        close!(partial_spearman(&A, &B, &[&[1.0; 7]]).unwrap().r, ab, epsilon = 1e-12);
        assert_eq!(partial_spearman(&A, &B, &[&A]), None, "nothing is left of a once it is held fixed");
    }
}
