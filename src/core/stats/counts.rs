//! Yes or no per image: McNemar's test, intervals of proportions.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

/// Changes up to which the tail of the binomial distribution is summed term by term; 2^-1000 is still a normal number.
const SUMMED: u64 = 1000;

/// Exact two-sided McNemar test of paired yes/no outcomes: `first` pairs changed from yes to no, `second` from no to yes. 1 when nothing
/// changed.
pub fn mcnemar(first: u64, second: u64) -> f64 {
    let (n, few) = (first + second, first.min(second));
    if n <= SUMMED {
        // Binomial coefficients one after another: simple p-values come out as such.
        let terms = (0..few).scan(0.5f64.powi(n as i32), |term, i| {
            *term *= (n - i) as f64 / (i + 1) as f64;
            Some(*term)
        });
        return (2.0 * (0.5f64.powi(n as i32) + terms.sum::<f64>())).min(1.0);
    }
    Binomial::new(0.5, n).map_or(1.0, |binomial| (2.0 * binomial.cdf(few)).min(1.0))
}

/// Wilson's score interval of a proportion at this confidence (0.95 for the usual one); `None` for no trials.
pub fn wilson(hits: usize, trials: usize, confidence: f64) -> Option<(f64, f64)> {
    if trials == 0 || hits > trials || !(0.0..1.0).contains(&confidence) {
        return None;
    }
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let (n, p) = (trials as f64, hits as f64 / trials as f64);
    let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    Some(((centre - half).max(0.0), (centre + half).min(1.0)))
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq as close;

    use super::*;

    #[test]
    fn mcnemar_is_a_sign_test_of_the_changes() {
        close!(mcnemar(0, 5), 2.0 / 32.0, epsilon = 1e-12);
        close!(mcnemar(1, 7), 2.0 * 9.0 / 256.0, epsilon = 1e-12);
        close!(mcnemar(3, 3), 1.0);
        close!(mcnemar(0, 0), 1.0);
        close!(mcnemar(2, 9), mcnemar(9, 2));
        assert_eq!((mcnemar(1, 0), mcnemar(0, 5), mcnemar(2, 3)), (1.0, 0.0625, 1.0));
        // scipy.stats.binomtest: 400 of 1000 and 401 of 1001, on both sides of the switch.
        close!(mcnemar(400, 600) * 1e10, 2.728_464_16, epsilon = 1e-5);
        close!(mcnemar(401, 600) * 1e10, 3.421_817, epsilon = 1e-4);
    }

    #[test]
    fn wilson_interval() {
        // 8 of 10 at 95 %: 0.49016, 0.94332 (Wilson 1927, computed independently).
        let (low, high) = wilson(8, 10, 0.95).expect("defined");
        close!(low, 0.490_16, epsilon = 1e-5);
        close!(high, 0.943_32, epsilon = 1e-5);
        assert_eq!(wilson(0, 0, 0.95), None);
        let (low, high) = wilson(0, 24, 0.95).expect("defined");
        assert!(low.abs() < 1e-12 && high > 0.1 && high < 0.15);
    }
}
