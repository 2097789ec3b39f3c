//! The threshold of every unit: a level of its values over all images and positions, in one pass.
//!
//! Only the upper tail decides a high level, so only the tail is kept. The number of values is known beforehand; as long as the tail fits
//! into `capacity` values per unit, the threshold is exact. Beyond that, values are taken or left by a hash of image and position (the
//! same for all units), and the rank of the threshold has the standard error [`Quantiles::rank_error`].
//!
//! Level: NetDissect takes 1000 evenly spaced quantiles with both ends and the sixth largest for .005, which is level 994/999; linear
//! between order statistics. Method report E.4.

use ndarray::ArrayView4;
use rayon::prelude::*;

use super::survey::Summary;
use crate::core::error::{Error, Result};

/// Level of NetDissect for the fraction `q` of the values above the threshold.
pub fn level(q: f64) -> f64 {
    (1.0 - q * 1000.0 / 999.0).clamp(0.0, 1.0)
}

/// Thresholds of the units of one layer in the making.
#[derive(Debug, Clone)]
pub struct Quantiles {
    level: f64,
    /// Share of the positions that are looked at, as a bound on a hash; `None` for all.
    bound: Option<u64>,
    share: f64,
    positions: u64,
    seen: u64,
    tails: Vec<Tail>,
}

#[derive(Debug, Clone)]
struct Tail {
    keep: usize,
    /// At least `keep` values seen so far are not below this.
    cut: f32,
    values: Vec<f32>,
}

impl Quantiles {
    /// For `units` units, `images` images with `positions` values each, and at most `capacity` kept values per unit.
    pub fn new(units: usize, images: usize, positions: usize, level: f64, capacity: usize) -> Self {
        let all = (images as u64) * (positions as u64);
        let needed = tail_length(all, level);
        let capacity = capacity.max(64) as u64;
        let share = if needed <= capacity { 1.0 } else { capacity as f64 / needed as f64 };
        // Sampling is random: room for twelve standard deviations.
        let keep = if share < 1.0 { capacity + 12 * (capacity as f64).sqrt() as u64 } else { needed } as usize;
        let bound = (share < 1.0).then_some((share * 2f64.powi(64)) as u64);
        let tail = Tail { keep: keep.max(1), cut: f32::NEG_INFINITY, values: Vec::new() };
        Self { level, bound, share, positions: positions as u64, seen: 0, tails: vec![tail; units] }
    }

    /// Whether thresholds are exact.
    pub fn is_exact(&self) -> bool {
        self.bound.is_none()
    }

    /// Standard error of the thresholds' rank, as a fraction of all values; 0 when exact.
    pub fn rank_error(&self) -> f64 {
        if self.is_exact() { 0.0 } else { (self.level * (1.0 - self.level) * (1.0 - self.share) / (self.seen as f64).max(1.0)).sqrt() }
    }

    /// Bytes that the kept values take at most.
    pub fn bytes(&self) -> usize {
        // Twice: a tail is cut back when it has doubled.
        self.tails.iter().map(|t| t.keep.saturating_mul(2 * size_of::<f32>())).fold(0, usize::saturating_add)
    }

    /// Takes in the maps `[N, U, h, w]` of the images from number `first` on, and their summaries in the same order. Values must be finite.
    pub fn push(&mut self, first: usize, maps: ArrayView4<f32>, summaries: &[Summary]) -> Result<()> {
        let maps = maps.as_standard_layout();
        let (n, units, h, w) = maps.dim();
        let per = (h * w) as u64;
        if units != self.tails.len() || per != self.positions || summaries.len() != n * units {
            return Err(Error::Engine("the layer changed its shape between images".into()));
        }
        let all = maps.as_slice().expect("standard layout");
        let taken: Vec<Vec<u32>> = match self.bound {
            None => Vec::new(),
            Some(bound) => {
                (0..n as u64).map(|i| (0..per).filter(|p| hash((first as u64 + i) * per + p) < bound).map(|p| p as u32).collect()).collect()
            }
        };
        self.seen += if self.bound.is_none() { n as u64 * per } else { taken.iter().map(|t| t.len() as u64).sum() };
        let per = per as usize;
        self.tails.par_iter_mut().enumerate().with_min_len(16).for_each(|(unit, tail)| {
            for image in 0..n {
                let at = image * units + unit;
                if summaries[at].max <= tail.cut {
                    continue;
                }
                let map = &all[at * per..][..per];
                match taken.get(image) {
                    None => tail.extend(map.iter().copied()),
                    Some(positions) => tail.extend(positions.iter().map(|p| map[*p as usize])),
                }
            }
        });
        Ok(())
    }

    /// The thresholds, one per unit.
    pub fn finish(self) -> Vec<f64> {
        let (seen, level) = (self.seen, self.level);
        self.tails.into_par_iter().map(|tail| tail.threshold(seen, level)).collect()
    }
}

impl Tail {
    fn extend(&mut self, values: impl Iterator<Item = f32>) {
        for value in values {
            if value > self.cut {
                self.values.push(value);
                if self.values.len() >= self.keep * 2 {
                    self.shrink();
                }
            }
        }
    }

    fn shrink(&mut self) {
        if self.values.len() > self.keep {
            let (_, cut, _) = self.values.select_nth_unstable_by(self.keep - 1, |a, b| b.total_cmp(a));
            self.cut = *cut;
            self.values.truncate(self.keep);
        }
    }

    fn threshold(mut self, seen: u64, level: f64) -> f64 {
        self.values.sort_unstable_by(|a, b| b.total_cmp(a));
        let at = level * (seen.max(1) - 1) as f64;
        let (low, fraction) = (at.floor(), at - at.floor());
        // Values equal to the cut are not kept twice: what lies below the kept ones is the cut.
        let from_top = |rank: u64| self.values.get(rank as usize).copied().unwrap_or(self.cut.max(f32::MIN));
        let from_top = |ascending: f64| f64::from(from_top((seen.max(1) - 1).saturating_sub(ascending as u64)));
        let (a, b) = (from_top(low), from_top((low + 1.0).min((seen.max(1) - 1) as f64)));
        a + fraction * (b - a)
    }
}

/// How many of the largest values the level needs.
fn tail_length(values: u64, level: f64) -> u64 {
    values - (level * values.saturating_sub(1) as f64).floor() as u64
}

/// A well-mixed number per position (the finaliser of splitmix64).
fn hash(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array4, s};
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::core::dissect::survey::summaries;

    fn maps(images: usize, units: usize, side: usize) -> Array4<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        // Rectified, with ties: what layers give.
        Array4::from_shape_simple_fn((images, units, side, side), || ((rng.random::<f32>() - 0.6) * 50.0).round().max(0.0))
    }

    fn sorted(maps: &Array4<f32>, unit: usize, level: f64) -> f64 {
        let mut all: Vec<f32> = maps.slice(s![.., unit, .., ..]).iter().copied().collect();
        all.sort_unstable_by(f32::total_cmp);
        let at = level * (all.len() - 1) as f64;
        let (a, b) = (f64::from(all[at.floor() as usize]), f64::from(all[at.ceil() as usize]));
        a + (at - at.floor()) * (b - a)
    }

    fn run(maps: &Array4<f32>, level: f64, capacity: usize) -> (Vec<f64>, bool, f64) {
        let (n, units, h, w) = maps.dim();
        let mut quantiles = Quantiles::new(units, n, h * w, level, capacity);
        for first in (0..n).step_by(3) {
            let piece = maps.slice(s![first..(first + 3).min(n), .., .., ..]);
            let summaries = summaries(piece.as_slice().unwrap(), h * w);
            quantiles.push(first, piece, &summaries).unwrap();
        }
        let (exact, error) = (quantiles.is_exact(), quantiles.rank_error());
        (quantiles.finish(), exact, error)
    }

    #[test]
    fn exact_while_the_tail_fits() {
        let maps = maps(20, 3, 9);
        for q in [0.005, 0.02, 0.5, 1.0] {
            let (got, exact, error) = run(&maps, level(q), 100_000);
            assert!(exact && error == 0.0);
            for (unit, value) in got.iter().enumerate() {
                approx::assert_relative_eq!(*value, sorted(&maps, unit, level(q)), epsilon = 1e-9);
            }
        }
        approx::assert_relative_eq!(level(0.005), 994.0 / 999.0, epsilon = 1e-15);
    }

    #[test]
    fn sampled_beyond() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
        let maps = Array4::from_shape_simple_fn((60, 2, 40, 40), || rng.random::<f32>());
        let (got, exact, error) = run(&maps, level(0.05), 800);
        assert!(!exact && error > 0.0);
        for value in got {
            // Uniform values: the threshold is its own rank.
            assert!((value - level(0.05)).abs() < 5.0 * error, "{value} {error}");
        }
    }

    #[test]
    fn edge_cases() {
        let dead = Array4::zeros((2, 1, 3, 3));
        assert_eq!(run(&dead, level(0.005), 100).0, [0.0]);
        let one = Array4::from_elem((1, 1, 1, 1), -3.5);
        assert_eq!(run(&one, level(0.005), 100).0, [-3.5]);
        let other = Array4::zeros((1, 1, 2, 2));
        assert!(Quantiles::new(1, 1, 9, 0.9, 10).push(0, other.view(), &[Summary::default()]).is_err());
    }
}
