//! Unpaired groups: Mann-Whitney and AUC, Kruskal-Wallis, Dunn's comparisons.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::{multiple::holm, normal_two_sided, rank::midranks, tie_term};

/// Mann-Whitney comparison of two groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// U of the first group: pairs in which it is larger, ties half.
    pub u: f64,
    /// Probability that the first is larger: U / (n1 n2).
    pub auc: f64,
    /// Two-sided p, normal approximation with tie correction.
    pub p: f64,
    /// The same with continuity correction.
    pub p_continuity: f64,
}

impl MannWhitney {
    /// Rank-biserial correlation: 2 AUC - 1.
    pub fn rank_biserial(&self) -> f64 {
        2.0 * self.auc - 1.0
    }
}

/// The comparison; `None` for an empty group, NaN, or when all values are equal.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Option<MannWhitney> {
    let (n1, n2) = (first.len() as f64, second.len() as f64);
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    if first.is_empty() || second.is_empty() || all.iter().any(|v| v.is_nan()) {
        return None;
    }
    let ranks: f64 = midranks(&all)[..first.len()].iter().sum();
    let u = ranks - n1 * (n1 + 1.0) / 2.0;
    let n = n1 + n2;
    let variance = n1 * n2 / 12.0 * (n + 1.0 - tie_term(&all) / (n * (n - 1.0)));
    if variance <= 0.0 {
        return None;
    }
    let distance = (u - n1 * n2 / 2.0).abs();
    let p = |distance: f64| normal_two_sided(distance / variance.sqrt());
    Some(MannWhitney { u, auc: u / (n1 * n2), p: p(distance), p_continuity: p((distance - 0.5).max(0.0)) })
}

/// Kruskal-Wallis comparison of several groups.
#[derive(Debug, Clone, PartialEq)]
pub struct KruskalWallis {
    /// H with tie correction.
    pub h: f64,
    /// Degrees of freedom: groups - 1.
    pub freedom: usize,
    /// p from the chi-squared approximation.
    pub p: f64,
    /// Dunn's comparison of every pair of groups.
    pub pairs: Vec<Dunn>,
}

/// Dunn's comparison (1964) of the mean ranks of two groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dunn {
    /// First group.
    pub first: usize,
    /// Second group.
    pub second: usize,
    /// Difference of the mean ranks in standard errors.
    pub z: f64,
    /// Two-sided p after Holm.
    pub p_holm: f64,
}

/// The comparison; `None` for fewer than two groups, an empty group, NaN, or when all values are equal.
pub fn kruskal_wallis(groups: &[Vec<f64>]) -> Option<KruskalWallis> {
    let all: Vec<f64> = groups.iter().flatten().copied().collect();
    if groups.len() < 2 || groups.iter().any(Vec::is_empty) || all.iter().any(|v| v.is_nan()) {
        return None;
    }
    let ranks = midranks(&all);
    let n = all.len() as f64;
    let mut start = 0;
    let means: Vec<(f64, f64)> = groups
        .iter()
        .map(|g| {
            let sum: f64 = ranks[start..start + g.len()].iter().sum();
            start += g.len();
            (sum / g.len() as f64, g.len() as f64)
        })
        .collect();
    let correction = 1.0 - tie_term(&all) / (n.powi(3) - n);
    if correction <= 0.0 {
        return None;
    }
    let between: f64 = means.iter().map(|(mean, size)| size * (mean - (n + 1.0) / 2.0).powi(2)).sum();
    let h = 12.0 / (n * (n + 1.0)) * between / correction;
    let freedom = groups.len() - 1;
    let p = ChiSquared::new(freedom as f64).ok()?.sf(h);
    Some(KruskalWallis { h, freedom, p, pairs: dunn(&means, n, correction) })
}

fn dunn(means: &[(f64, f64)], n: f64, correction: f64) -> Vec<Dunn> {
    let mut pairs = Vec::new();
    for second in 1..means.len() {
        for first in 0..second {
            let ((a, na), (b, nb)) = (means[first], means[second]);
            let error = (n * (n + 1.0) / 12.0 * correction * (1.0 / na + 1.0 / nb)).sqrt();
            let z = (a - b) / error;
            pairs.push(Dunn { first, second, z, p_holm: normal_two_sided(z) });
        }
    }
    let adjusted = holm(&pairs.iter().map(|d| d.p_holm).collect::<Vec<_>>());
    pairs.iter_mut().zip(adjusted).for_each(|(pair, p)| pair.p_holm = p);
    pairs
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq as close;

    use super::*;

    #[test]
    fn h10_mann_whitney() {
        let test = mann_whitney(&[2.0, 6.0, 5.0, 9.0], &[3.0, 1.0, 2.0]).expect("defined");
        close!(test.u, 10.5);
        close!(test.auc, 0.875);
        close!(test.rank_biserial(), 0.75);
        close!(test.p_continuity, 0.153_576_4, epsilon = 1e-7);
        close!(test.p, 0.108_408_3, epsilon = 1e-7);
        assert_eq!(mann_whitney(&[1.0], &[]), None);
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0]), None);
    }

    #[test]
    fn kruskal_wallis_and_dunn() {
        // scipy 1.17 kruskal; Dunn's z written out in numpy from the same ranks.
        let groups = [vec![1.0, 2.0, 2.0, 5.0], vec![3.0, 6.0, 7.0], vec![8.0, 9.0, 6.0, 10.0, 12.0]];
        let test = kruskal_wallis(&groups).expect("defined");
        close!(test.h, 8.349_413_145_540, epsilon = 1e-9);
        close!(test.p, 0.015_379_703_817, epsilon = 1e-9);
        let z: Vec<f64> = test.pairs.iter().map(|d| d.z).collect();
        let p: Vec<f64> = test.pairs.iter().map(|d| d.p_holm).collect();
        for (got, want) in z.iter().zip([-1.245_077_497_393, -2.883_571_457_507, -1.346_596_300_397]) {
            close!(*got, want, epsilon = 1e-9);
        }
        for (got, want) in p.iter().zip([0.356_220_572_666, 0.011_795_802_844, 0.356_220_572_666]) {
            close!(*got, want, epsilon = 1e-9);
        }
        assert_eq!(kruskal_wallis(&groups[..1]), None);
    }

    #[test]
    fn two_groups_agree_with_mann_whitney() {
        let (a, b) = (vec![2.0, 6.0, 5.0, 9.0], vec![3.0, 1.0, 2.0]);
        let mw = mann_whitney(&a, &b).expect("defined");
        close!(kruskal_wallis(&[a, b]).expect("defined").p, mw.p, epsilon = 1e-9);
    }
}
