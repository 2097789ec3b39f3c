//! Many tests at once. Adjusted p-values in the order of the input.

/// Benjamini and Hochberg (1995): false discovery rate for independent or positively dependent tests.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    step_up(p, 1.0)
}

/// Benjamini and Yekutieli (2001): false discovery rate under any dependence.
pub fn benjamini_yekutieli(p: &[f64]) -> Vec<f64> {
    step_up(p, (1..=p.len()).map(|j| 1.0 / j as f64).sum())
}

/// Holm (1979): family-wise error under any dependence.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; p.len()];
    let mut running: f64 = 0.0;
    for (i, index) in ascending(p).into_iter().enumerate() {
        running = running.max((p.len() - i) as f64 * p[index]).min(1.0);
        out[index] = running;
    }
    out
}

fn step_up(p: &[f64], factor: f64) -> Vec<f64> {
    let m = p.len() as f64;
    let mut out = vec![0.0; p.len()];
    let mut running: f64 = 1.0;
    for (i, index) in ascending(p).into_iter().enumerate().rev() {
        running = running.min(factor * m * p[index] / (i + 1) as f64);
        out[index] = running;
    }
    out
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    order
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq as close;

    use super::*;

    const P: [f64; 10] = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216];

    #[test]
    fn h10_benjamini_hochberg() {
        let want = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.105_714_3, 0.216, 0.216, 0.216];
        for (got, want) in benjamini_hochberg(&P).iter().zip(want) {
            close!(*got, want, epsilon = 1e-7);
        }
    }

    #[test]
    fn yekutieli_is_hochberg_times_the_harmonic_sum_up_to_one() {
        let harmonic: f64 = (1..=10).map(|j| 1.0 / f64::from(j)).sum();
        for (by, bh) in benjamini_yekutieli(&P).iter().zip(benjamini_hochberg(&P)) {
            close!(*by, (bh * harmonic).min(1.0), epsilon = 1e-12);
        }
    }

    #[test]
    fn holm_by_hand_and_in_the_order_of_the_input() {
        let got = holm(&[0.03, 0.01, 0.04]);
        for (got, want) in got.iter().zip([0.06, 0.03, 0.06]) {
            close!(*got, want, epsilon = 1e-12);
        }
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
        assert_eq!(benjamini_hochberg(&[0.9, 0.2]), [0.9, 0.4]);
    }
}
