//! What masking the most sensitive units brings back, what it costs, and what masking as many random units would have done.
//!
//! Images are paired with themselves, so counts are compared by McNemar's exact test; the random control is a distribution over draws.

use crate::core::stats::{
    counts::{mcnemar, wilson},
    mean, quantile,
};

/// Whether each image is taken for its true class: clean, attacked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Right {
    /// Clean images.
    pub clean: Vec<bool>,
    /// Attacked images.
    pub attacked: Vec<bool>,
}

/// Counts under one number of masked units.
#[derive(Debug, Clone, PartialEq)]
pub struct AtK {
    /// Units masked.
    pub k: usize,
    /// Clean images still taken for their class.
    pub clean: usize,
    /// Attacked images taken for their true class.
    pub recovered: usize,
    /// 95 % Wilson interval of the share of clean images.
    pub clean_interval: (f64, f64),
    /// 95 % Wilson interval of the share of recovered images.
    pub recovered_interval: (f64, f64),
    /// McNemar against the network without a mask: clean.
    pub clean_p: f64,
    /// McNemar against the network without a mask: attacked.
    pub recovered_p: f64,
    /// Random masks of the same size; `None` without draws.
    pub random: Option<RandomMasks>,
    /// Attacks run again on the masked network that reached their goal; `None` when they were not run.
    pub adaptive: Option<usize>,
}

/// The same counts under random masks of the same size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomMasks {
    /// Draws.
    pub draws: usize,
    /// Share of recovered images: mean, 2.5th and 97.5th percentile over draws.
    pub recovered: [f64; 3],
    /// Share of clean images still right: the same.
    pub clean: [f64; 3],
    /// Share of draws (with one added for the mask itself) that recover at least as many.
    pub recovered_p: f64,
    /// Share of draws (likewise) that cost at least as many clean images.
    pub clean_p: f64,
}

/// Counts and tests. `bare` is the network without a mask, `random` one entry per draw. `None` without images.
pub fn at_k(k: usize, bare: &Right, masked: &Right, random: &[Right], adaptive: Option<usize>) -> Option<AtK> {
    let n = masked.clean.len();
    let (clean, recovered) = (count(&masked.clean), count(&masked.attacked));
    Some(AtK {
        k,
        clean,
        recovered,
        clean_interval: wilson(clean, n, 0.95)?,
        recovered_interval: wilson(recovered, n, 0.95)?,
        clean_p: changed(&bare.clean, &masked.clean),
        recovered_p: changed(&bare.attacked, &masked.attacked),
        random: random_masks(n, clean, recovered, random),
        adaptive,
    })
}

fn count(right: &[bool]) -> usize {
    right.iter().filter(|r| **r).count()
}

fn changed(before: &[bool], after: &[bool]) -> f64 {
    let flips = |from: bool| before.iter().zip(after).filter(|(b, a)| **b == from && **a != from).count() as u64;
    mcnemar(flips(true), flips(false))
}

fn random_masks(n: usize, clean: usize, recovered: usize, random: &[Right]) -> Option<RandomMasks> {
    if random.is_empty() || n == 0 {
        return None;
    }
    let share = |f: fn(&Right) -> &Vec<bool>| -> Vec<f64> { random.iter().map(|r| count(f(r)) as f64 / n as f64).collect() };
    let (recoveries, cleans) = (share(|r| &r.attacked), share(|r| &r.clean));
    let spread = |values: &[f64]| [mean(values), quantile(values, 0.025), quantile(values, 0.975)];
    let p = |hits: usize| (hits + 1) as f64 / (random.len() + 1) as f64;
    Some(RandomMasks {
        draws: random.len(),
        recovered: spread(&recoveries),
        clean: spread(&cleans),
        recovered_p: p(random.iter().filter(|r| count(&r.attacked) >= recovered).count()),
        clean_p: p(random.iter().filter(|r| count(&r.clean) <= clean).count()),
    })
}

/// Units by sensitivity, largest first: mean |D| over the spread of the clean responses, over the images in `rows`. Units without spread
/// come last, in their own order.
pub fn ranking(clean: &[Vec<f64>], size: &[Vec<f64>], rows: &[usize]) -> Vec<usize> {
    let units = clean.first().map_or(0, Vec::len);
    let score = |unit: usize| {
        let values: Vec<f64> = rows.iter().map(|i| clean[*i][unit]).collect();
        let spread = crate::core::stats::std_dev(&values);
        let moved = mean(&rows.iter().map(|i| size[*i][unit]).collect::<Vec<_>>());
        if spread > 0.0 { moved / spread } else { -1.0 }
    };
    let scores: Vec<f64> = (0..units).map(score).collect();
    let mut order: Vec<usize> = (0..units).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(clean: &[u8], attacked: &[u8]) -> Right {
        let flags = |v: &[u8]| v.iter().map(|b| *b == 1).collect();
        Right { clean: flags(clean), attacked: flags(attacked) }
    }

    #[test]
    fn counts_tests_and_control() {
        let bare = right(&[1; 8], &[0; 8]);
        let masked = right(&[1, 1, 1, 1, 1, 1, 0, 0], &[1, 1, 1, 1, 1, 0, 0, 0]);
        let random = vec![right(&[1; 8], &[1, 0, 0, 0, 0, 0, 0, 0]), right(&[1, 1, 1, 1, 1, 1, 1, 0], &[1, 1, 1, 1, 1, 1, 0, 0])];
        let got = at_k(3, &bare, &masked, &random, Some(4)).unwrap();
        assert_eq!((got.k, got.clean, got.recovered, got.adaptive), (3, 6, 5, Some(4)));
        approx::assert_abs_diff_eq!(got.recovered_p, 2.0 / 32.0, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(got.clean_p, 0.5, epsilon = 1e-12);
        let control = got.random.unwrap();
        approx::assert_abs_diff_eq!(control.recovered[0], 3.5 / 8.0);
        approx::assert_abs_diff_eq!(control.recovered_p, 2.0 / 3.0);
        approx::assert_abs_diff_eq!(control.clean_p, 1.0 / 3.0);
        assert!(got.recovered_interval.0 < 0.625 && got.recovered_interval.1 > 0.625);
        assert_eq!(at_k(0, &bare, &bare, &[], None).unwrap().random, None);
        assert_eq!(at_k(0, &Right::default(), &Right::default(), &[], None), None);
    }

    #[test]
    fn the_ranking_uses_only_the_rows_it_may() {
        let clean = vec![vec![0.0, 0.0, 1.0], vec![1.0, 1.0, 1.0], vec![2.0, 4.0, 1.0]];
        let size = vec![vec![1.0, 1.0, 9.0], vec![1.0, 1.0, 9.0], vec![1.0, 99.0, 9.0]];
        assert_eq!(ranking(&clean, &size, &[0, 1]), [0, 1, 2], "equal scores keep their order, no spread comes last");
        assert_eq!(ranking(&clean, &size, &[0, 1, 2]), [1, 0, 2]);
    }
}
