//! Paired comparisons on the differences of pairs: t test, sign-flip permutation, effect sizes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{mean, std_dev, t_two_sided};

/// Paired t test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedT {
    /// t with n - 1 degrees of freedom; infinite when all differences are equal and not zero.
    pub t: f64,
    /// Two-sided p.
    pub p: f64,
}

/// The t test of the differences against 0. `None` for fewer than two pairs, or when all differences are zero.
pub fn paired_t(differences: &[f64]) -> Option<PairedT> {
    let t = standardised(differences)? * (differences.len() as f64).sqrt();
    Some(PairedT { t, p: t_two_sided(t, differences.len() as f64 - 1.0)? })
}

/// d_z = mean / standard deviation of the differences. Infinite when they are all equal and not zero; `None` for fewer than two pairs or
/// all-zero differences.
pub fn standardised(differences: &[f64]) -> Option<f64> {
    if differences.len() < 2 || differences.iter().any(|d| d.is_nan()) {
        return None;
    }
    let (m, sd) = (mean(differences), std_dev(differences));
    match (m == 0.0, sd == 0.0) {
        (true, true) => None,
        (false, true) => Some(m.signum() * f64::INFINITY),
        _ => Some(m / sd),
    }
}

/// Family-wise p-values of many units measured on the same images: the largest |t| over units under common random signs (Westfall and
/// Young 1993, single step). `differences[unit][image]`; units without spread get 1.
pub fn sign_flip_max(differences: &[Vec<f64>], draws: usize, seed: u64) -> Vec<f64> {
    let images = differences.first().map_or(0, Vec::len);
    let size = |d: &[f64], sum: f64| {
        let n = d.len() as f64;
        let squares: f64 = d.iter().map(|v| v * v).sum();
        let variance = (squares - sum * sum / n) / (n - 1.0);
        if variance > 1e-12 * squares / n { sum.abs() / (n * variance).sqrt() } else { 0.0 }
    };
    let seen: Vec<f64> = differences.iter().map(|d| size(d, d.iter().sum())).collect();
    let mut hits = vec![0usize; differences.len()];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..draws {
        let signs: Vec<f64> = (0..images).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect();
        let flipped = |d: &Vec<f64>| size(d, d.iter().zip(&signs).map(|(d, s)| d * s).sum());
        let largest = differences.iter().map(flipped).fold(0.0, f64::max);
        for (hit, t) in hits.iter_mut().zip(&seen) {
            *hit += usize::from(*t == 0.0 || largest >= *t);
        }
    }
    hits.iter().map(|h| (h + 1) as f64 / (draws + 1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq as close;

    use super::*;

    // 3.14 is an observation.
    #[allow(clippy::approx_constant)]
    fn differences() -> Vec<f64> {
        let x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let y = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        x.iter().zip(y).map(|(x, y)| x - y).collect()
    }

    #[test]
    fn h10_paired_t() {
        let test = paired_t(&differences()).expect("defined");
        close!(test.t, 3.035_375_4, epsilon = 1e-7);
        close!(test.p, 0.016_176_6, epsilon = 1e-7);
        close!(standardised(&differences()).expect("defined"), 1.011_791_8, epsilon = 1e-7);
    }

    #[test]
    fn nothing_changed_has_no_test() {
        assert_eq!(paired_t(&[0.0, 0.0, 0.0]), None);
        assert_eq!(paired_t(&[1.0]), None);
        assert_eq!(paired_t(&[1.0, 1.0]).expect("defined").p, 0.0);
    }

    #[test]
    fn flips_of_one_unit_agree_with_all_patterns_and_with_the_t_test() {
        let one = |d: &[f64], draws: usize| sign_flip_max(&[d.to_vec()], draws, 3)[0];
        // |sum| is 6 only for +++ and ---; for nine pairs all 512 patterns were enumerated in numpy.
        close!(one(&[1.0, 2.0, 3.0], 20_000), 0.25, epsilon = 0.01);
        close!(one(&differences(), 20_000), 0.027_343_75, epsilon = 0.004);
        assert_eq!(one(&[0.0, 0.0], 10), 1.0);
        let d: Vec<f64> = (0..40).map(|i| ((i * 37 % 19) as f64 - 9.0) / 4.0 + 0.45).collect();
        close!(one(&d, 4000), paired_t(&d).expect("defined").p, epsilon = 0.03);
        assert_eq!(one(&d, 4000), one(&d, 4000));
        let clear: Vec<f64> = (0..40).map(|i| 1.0 + f64::from(i % 3) / 10.0).collect();
        assert_eq!(one(&clear, 999), 0.001, "never zero, but as small as the draws allow");
    }

    #[test]
    fn the_largest_of_many_is_harder_to_beat() {
        let noise = |seed: usize| (0..20).map(|i| (((i * 7919 + seed * 104_729) % 101) as f64 - 50.0) / 25.0).collect::<Vec<f64>>();
        let mut units: Vec<Vec<f64>> = (0..30).map(noise).collect();
        units.push(noise(77).iter().map(|v| v * 0.3 + 1.5).collect());
        units.push(vec![0.0; 20]);
        let p = sign_flip_max(&units, 500, 1);
        assert!(p[30] < 0.01, "{}", p[30]);
        assert_eq!(p[31], 1.0);
        for (unit, p) in units.iter().zip(&p).take(30) {
            assert!(*p + 0.05 >= sign_flip_max(std::slice::from_ref(unit), 500, 1)[0], "family-wise is not smaller than alone");
        }
    }
}
