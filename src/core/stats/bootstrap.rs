//! Percentile bootstrap intervals (Efron 1979).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::quantile;

/// An interval with what it was made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Resamples in which the statistic was defined.
    pub draws: usize,
}

/// Percentile interval of a statistic of `n` cases: `statistic` gets the indices of a resample. `None` when it is undefined in more than
/// half of the resamples.
pub fn interval(
    n: usize,
    draws: usize,
    confidence: f64,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    if n == 0 || draws == 0 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut sample = vec![0usize; n];
    let mut values = Vec::with_capacity(draws);
    for _ in 0..draws {
        sample.iter_mut().for_each(|i| *i = rng.random_range(0..n));
        values.extend(statistic(&sample).filter(|v| v.is_finite()));
    }
    if values.len() * 2 <= draws {
        return None;
    }
    let tail = (1.0 - confidence) / 2.0;
    Some(Interval { low: quantile(&values, tail), high: quantile(&values, 1.0 - tail), draws: values.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stats::{mean, std_dev};

    #[test]
    fn the_mean_of_many_is_known_to_two_standard_errors() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i * 7919 % 1009) / 100.0).collect();
        let got =
            interval(values.len(), 2000, 0.95, 1, |s| Some(s.iter().map(|i| values[*i]).sum::<f64>() / s.len() as f64)).expect("defined");
        let error = std_dev(&values) / (values.len() as f64).sqrt();
        approx::assert_relative_eq!(got.low, mean(&values) - 1.96 * error, epsilon = 0.05);
        approx::assert_relative_eq!(got.high, mean(&values) + 1.96 * error, epsilon = 0.05);
        let again = interval(values.len(), 2000, 0.95, 1, |s| Some(s.iter().map(|i| values[*i]).sum::<f64>() / s.len() as f64));
        assert_eq!(again, Some(got));
    }

    #[test]
    fn undefined_statistics_give_no_interval() {
        assert_eq!(interval(5, 100, 0.95, 0, |_| None), None);
        assert_eq!(interval(0, 100, 0.95, 0, |_| Some(1.0)), None);
    }
}
