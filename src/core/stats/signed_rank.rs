//! Wilcoxon's signed-rank test (Wilcoxon 1945; zeros after Pratt 1959).

use super::{normal_two_sided, rank::midranks, tie_term};

/// What becomes of pairs without a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zeros {
    /// They leave the sample before ranking (Wilcoxon).
    #[default]
    Drop,
    /// They are ranked with the others, then leave (Pratt).
    Pratt,
}

/// Where the p-value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// All sign patterns of the ranks at hand, ties included.
    Exact,
    /// Normal approximation with tie correction, without continuity correction.
    Normal,
}

/// Most pairs for which all sign patterns are counted.
pub const EXACT_UP_TO: usize = 50;

/// Result of the test of `differences` against a symmetric distribution around zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRank {
    /// Sum of the ranks of positive differences.
    pub plus: f64,
    /// Sum of the ranks of negative differences.
    pub minus: f64,
    /// Pairs with a difference.
    pub used: usize,
    /// Two-sided p.
    pub p: f64,
    /// Where p comes from.
    pub tail: Tail,
}

impl SignedRank {
    /// The smaller rank sum, the usual statistic.
    pub fn statistic(&self) -> f64 {
        self.plus.min(self.minus)
    }

    /// Matched-pairs rank-biserial correlation `(W+ - W-) / (W+ + W-)`, -1..1.
    pub fn rank_biserial(&self) -> f64 {
        (self.plus - self.minus) / (self.plus + self.minus)
    }
}

/// The test, exact up to [`EXACT_UP_TO`] pairs. `None` when nothing differs or a value is NaN.
pub fn signed_rank(differences: &[f64], zeros: Zeros) -> Option<SignedRank> {
    signed_rank_by(differences, zeros, if differences.len() <= EXACT_UP_TO { Tail::Exact } else { Tail::Normal })
}

/// The same with a chosen tail.
pub fn signed_rank_by(differences: &[f64], zeros: Zeros, tail: Tail) -> Option<SignedRank> {
    if differences.iter().any(|d| d.is_nan()) {
        return None;
    }
    let kept: Vec<f64> = differences.iter().copied().filter(|d| zeros == Zeros::Pratt || *d != 0.0).collect();
    let sizes: Vec<f64> = kept.iter().map(|d| d.abs()).collect();
    let ranks = midranks(&sizes);
    let sum = |positive: bool| kept.iter().zip(&ranks).filter(|(d, _)| **d != 0.0 && (**d > 0.0) == positive).map(|(_, r)| r).sum::<f64>();
    let (plus, minus) = (sum(true), sum(false));
    let signed: Vec<f64> = kept.iter().zip(&ranks).filter(|(d, _)| **d != 0.0).map(|(_, r)| *r).collect();
    if signed.is_empty() {
        return None;
    }
    let p = match tail {
        Tail::Exact => exact(&signed, plus.min(minus)),
        Tail::Normal => normal(&sizes, plus),
    };
    Some(SignedRank { plus, minus, used: signed.len(), p, tail })
}

/// Share of the 2^n sign patterns whose smaller side is at most `smaller`, both sides. Midranks are halves, so doubled ranks are whole
/// numbers and the number of patterns for every sum follows by one pass per rank.
fn exact(ranks: &[f64], smaller: f64) -> f64 {
    let doubled: Vec<usize> = ranks.iter().map(|r| (2.0 * r).round() as usize).collect();
    let mut patterns = vec![0.0f64; doubled.iter().sum::<usize>() + 1];
    patterns[0] = 1.0;
    let mut reach = 0;
    for rank in doubled {
        reach += rank;
        for sum in (rank..=reach).rev() {
            patterns[sum] += patterns[sum - rank];
        }
    }
    let all: f64 = patterns.iter().sum();
    let limit = (2.0 * smaller).round() as usize;
    (2.0 * patterns[..=limit].iter().sum::<f64>() / all).min(1.0)
}

/// Mean and variance under the null with zeros (Pratt) and ties taken out; `sizes` holds the zeros that were ranked.
fn normal(sizes: &[f64], plus: f64) -> f64 {
    let n = sizes.len() as f64;
    let zeros = sizes.iter().filter(|s| **s == 0.0).count() as f64;
    let nonzero: Vec<f64> = sizes.iter().copied().filter(|s| *s != 0.0).collect();
    let mean = n * (n + 1.0) / 4.0 - zeros * (zeros + 1.0) / 4.0;
    let variance = (n * (n + 1.0) * (2.0 * n + 1.0) - zeros * (zeros + 1.0) * (2.0 * zeros + 1.0)) / 24.0 - tie_term(&nonzero) / 48.0;
    normal_two_sided((plus - mean) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq as close;

    use super::*;

    const X: [f64; 9] = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
    // 3.14 is an observation.
    #[allow(clippy::approx_constant)]
    const Y: [f64; 9] = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];

    fn differences() -> Vec<f64> {
        X.iter().zip(Y).map(|(x, y)| x - y).collect()
    }

    #[test]
    fn h10_wilcoxon() {
        let test = signed_rank(&differences(), Zeros::Drop).expect("defined");
        assert_eq!((test.statistic(), test.used, test.tail), (5.0, 9, Tail::Exact));
        close!(test.p, 0.039_062_5, epsilon = 1e-15);
        close!(test.rank_biserial(), (40.0 - 5.0) / 45.0, epsilon = 1e-15);
        close!(signed_rank_by(&differences(), Zeros::Drop, Tail::Normal).expect("defined").p, 0.038_151_7, epsilon = 1e-7);
    }

    /// All sign patterns, counted one by one.
    fn brute(differences: &[f64], zeros: Zeros) -> f64 {
        let seen = signed_rank(differences, zeros).expect("defined").statistic();
        let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
        let moving: Vec<usize> = (0..sizes.len()).filter(|i| sizes[*i] != 0.0).collect();
        let mut extreme = 0u32;
        for signs in 0..1u32 << moving.len() {
            let mut flipped = sizes.clone();
            for (bit, i) in moving.iter().enumerate() {
                flipped[*i] *= if signs >> bit & 1 == 1 { -1.0 } else { 1.0 };
            }
            let test = signed_rank(&flipped, zeros).expect("defined");
            extreme += u32::from(test.statistic() <= seen + 1e-9);
        }
        f64::from(extreme) / f64::from(1u32 << moving.len())
    }

    #[test]
    fn exact_tail_counts_sign_patterns_with_ties_and_zeros() {
        let samples: [&[f64]; 4] =
            [&[1.0, 1.0, -1.0, 2.0, 3.0, 3.0], &[0.0, 0.0, 1.0, -2.0, 4.0, 4.0, 5.0], &[-1.0, -2.0, -3.0, -4.0], &[2.0, 2.0, 2.0, -2.0]];
        for sample in samples {
            for zeros in [Zeros::Drop, Zeros::Pratt] {
                let p = signed_rank(sample, zeros).expect("defined").p;
                close!(p, brute(sample, zeros), epsilon = 1e-12);
            }
        }
    }

    #[test]
    fn zeros_are_named_and_matter() {
        let d = [0.0, 0.0, 0.5, -1.0, 2.0, 3.0];
        let (drop, pratt) = (signed_rank(&d, Zeros::Drop).expect("defined"), signed_rank(&d, Zeros::Pratt).expect("defined"));
        assert_eq!((drop.plus, drop.minus, drop.used), (8.0, 2.0, 4));
        assert_eq!((pratt.plus, pratt.minus, pratt.used), (14.0, 4.0, 4));
        assert_eq!(signed_rank(&[0.0, 0.0], Zeros::Pratt), None);
        assert_eq!(signed_rank(&[f64::NAN, 1.0], Zeros::Drop), None);
    }

    #[test]
    fn normal_tail_with_ties_and_pratt() {
        // scipy 1.17 wilcoxon(d, zero_method=..., correction=False, method="approx").
        let d = [0.0, 0.0, 1.0, 1.0, -1.0, 2.0, 3.0, 3.0, -2.0, 4.0, 5.0];
        close!(signed_rank_by(&d, Zeros::Drop, Tail::Normal).expect("defined").p, 0.056_705_722_8, epsilon = 1e-7);
        close!(signed_rank_by(&d, Zeros::Pratt, Tail::Normal).expect("defined").p, 0.059_827_190_4, epsilon = 1e-7);
    }
}
