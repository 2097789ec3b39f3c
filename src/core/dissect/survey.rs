//! The first look at a layer's maps: what thresholds, best images and spread need, from one pass over the values.

use fearless_simd::{Level, Simd, dispatch};
use ndarray::ArrayView4;
use rayon::prelude::*;

use super::{
    levels::{Levels, Moments},
    quantile::Quantiles,
    tops::Tops,
};
use crate::core::error::{Error, Result};

/// Values that are summed side by side.
const LANES: usize = 16;
/// Maps that a thread takes at a time.
const TOGETHER: usize = 64;

/// What is known of one map.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Mean over positions.
    pub mean: f64,
    /// Largest value.
    pub max: f32,
    /// Whether every value is a finite number.
    pub finite: bool,
}

/// One layer in the making.
#[derive(Debug, Clone)]
pub struct Survey {
    quantiles: Quantiles,
    tops: Tops,
    moments: Moments,
}

/// What a survey found.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// Standard error of the thresholds' rank as a fraction of the values; 0 when they are exact.
    pub rank_error: f64,
    /// Largest value and image number, best first, one list per unit.
    pub tops: Vec<Vec<(f32, usize)>>,
    /// Threshold, mean and spread per unit.
    pub levels: Levels,
}

impl Survey {
    /// For units whose thresholds `quantiles` finds, with this many best images each.
    pub fn new(units: usize, quantiles: Quantiles, tops: usize) -> Self {
        Self { quantiles, tops: Tops::new(units, tops), moments: Moments::new(units) }
    }

    /// Takes in the maps `[N, U, h, w]` of the images from number `first` on. Values must be finite.
    pub fn push(&mut self, first: usize, maps: ArrayView4<f32>) -> Result<()> {
        let maps = maps.as_standard_layout();
        let (_, units, h, w) = maps.dim();
        let summaries = summaries(maps.as_slice().expect("standard layout"), h * w);
        if let Some(bad) = summaries.iter().position(|s| !s.finite) {
            let (image, unit) = (first + bad / units, bad % units);
            let text = format!("unit {unit} is not a finite number on image {image}; leave that image or layer out");
            return Err(Error::Input(text));
        }
        self.quantiles.push(first, maps.view(), &summaries)?;
        for (i, image) in summaries.chunks(units.max(1)).enumerate() {
            self.tops.push(first + i, image);
            self.moments.push(image);
        }
        Ok(())
    }

    /// What was found.
    pub fn finish(self) -> Surveyed {
        let rank_error = self.quantiles.rank_error();
        Surveyed { rank_error, tops: self.tops.finish(), levels: self.moments.finish(self.quantiles.finish()) }
    }
}

/// The summary of every map of `positions` values.
pub fn summaries(values: &[f32], positions: usize) -> Vec<Summary> {
    if positions == 0 {
        return Vec::new();
    }
    let mut out = vec![Summary::default(); values.len() / positions];
    let level = Level::new();
    values.par_chunks(positions * TOGETHER).zip(out.par_chunks_mut(TOGETHER)).for_each(|(maps, out)| {
        dispatch!(level, simd => summarise(simd, maps, positions, out));
    });
    out
}

/// Loops and no closures, and inlined: the rest is compiled for any processor. Sums take the same order on each.
#[inline(always)]
fn summarise<S: Simd>(_: S, maps: &[f32], positions: usize, out: &mut [Summary]) {
    const EXPONENT: u32 = 0x7f80_0000;
    for (map, out) in maps.chunks_exact(positions).zip(out) {
        let (blocks, rest) = map.as_chunks::<LANES>();
        let (mut sums, mut tops, mut odd) = ([0.0f64; LANES], [f32::NEG_INFINITY; LANES], [0u32; LANES]);
        for block in blocks {
            for (((sum, top), odd), v) in sums.iter_mut().zip(&mut tops).zip(&mut odd).zip(block) {
                *sum += f64::from(*v);
                *top = if *v > *top { *v } else { *top };
                *odd |= u32::from(v.to_bits() & EXPONENT == EXPONENT);
            }
        }
        let (mut sum, mut max, mut finite) = (0.0, f32::NEG_INFINITY, true);
        for ((lane, top), odd) in sums.iter().zip(tops).zip(odd) {
            sum += lane;
            max = max.max(top);
            finite &= odd == 0;
        }
        for v in rest {
            sum += f64::from(*v);
            max = max.max(*v);
            finite &= v.is_finite();
        }
        *out = Summary { mean: sum / positions as f64, max, finite };
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;
    use crate::core::dissect::quantile::level;

    #[test]
    fn summaries_are_those_of_single_maps() {
        for (maps, positions) in [(21, 35), (8, 16), (3, 1), (16, 7), (150, 169)] {
            let values: Vec<f32> = (0..maps * positions).map(|i| ((i * 7919) % 1013) as f32 * 0.37 - 140.0).collect();
            for (map, got) in values.chunks(positions).zip(summaries(&values, positions)) {
                let mean = map.iter().map(|v| f64::from(*v)).sum::<f64>() / positions as f64;
                approx::assert_relative_eq!(got.mean, mean, max_relative = 1e-14);
                // To the last bit: result files must not depend on how the work is cut.
                assert_eq!(got, summaries(map, positions)[0]);
                assert_eq!(got.max, map.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                assert!(got.finite);
            }
        }
        assert!(summaries(&[], 0).is_empty());
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        for (at, bad) in [((1, 2, 0, 3), f32::NAN), ((0, 1, 4, 4), f32::INFINITY), ((1, 0, 4, 3), f32::NEG_INFINITY)] {
            let mut maps = Array4::from_elem((2, 3, 5, 5), 0.5);
            maps[at] = bad;
            let mut survey = Survey::new(3, Quantiles::new(3, 2, 25, level(0.005), 100), 2);
            let told = survey.push(7, maps.view()).unwrap_err().to_string();
            assert!(told.contains(&format!("unit {}", at.1)) && told.contains(&format!("image {}", 7 + at.0)), "{told}");
        }
    }
}
