//! Statistics of a layer's units from its values: mean, maximum, length and distance to a reference, in one pass over both.

use ndarray::{Array2, ArrayD, ArrayViewD, Axis};
use rayon::prelude::*;

/// Values side by side in single precision.
const LANES: usize = 16;
/// Blocks that are summed before the sum goes to double precision; they stay in the fastest cache while several sums are made of them.
const RUN: usize = 32;

/// Sums of one unit on one image.
#[derive(Debug, Clone, Copy)]
struct Sums {
    sum: f64,
    top: f32,
    square: f64,
    distance: f64,
}

impl Sums {
    const NONE: Self = Self { sum: 0.0, top: f32::NEG_INFINITY, square: 0.0, distance: 0.0 };
}

/// Mean, maximum, length and distance to `base` (a value of one sample; without it 0) of every unit of `value`, whose
/// dimensions are samples, units and positions when `units_first`, else samples, positions and units. `[N, units]` each.
pub(super) fn measure(value: &ArrayViewD<f32>, units_first: bool, units: usize, base: Option<&ArrayD<f32>>) -> [Array2<f32>; 4] {
    let n = value.len_of(Axis(0));
    let value = value.as_standard_layout();
    let all = value.as_slice().unwrap_or_default();
    let size = all.len() / n.max(1);
    let positions = size / units.max(1);
    let base = base.and_then(|b| b.as_slice()).filter(|b| b.len() == size);
    let mut out = [(); 4].map(|()| Array2::<f32>::zeros((n, units)));
    for (i, sample) in all.chunks_exact(size.max(1)).enumerate() {
        let sums: Vec<Sums> = if units_first {
            let one = |(u, map): (usize, &[f32])| contiguous(map, base.map(|b| &b[u * positions..][..positions]));
            sample.par_chunks(positions.max(1)).enumerate().with_min_len(8).map(one).collect()
        } else {
            interleaved(sample, base, units)
        };
        for (u, s) in sums.into_iter().enumerate() {
            let mean = (s.sum / positions.max(1) as f64) as f32;
            for (table, v) in out.iter_mut().zip([mean, s.top, s.square.sqrt() as f32, s.distance.sqrt() as f32]) {
                table[(i, u)] = v;
            }
        }
    }
    out
}

/// One unit whose positions follow each other. One plain loop per sum: each compiles to vector instructions, all together would not.
fn contiguous(values: &[f32], base: Option<&[f32]>) -> Sums {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let (others, other) = base.unwrap_or_default().as_chunks::<LANES>();
    let (mut total, mut top) = (Sums::NONE, [f32::NEG_INFINITY; LANES]);
    for (i, blocks) in blocks.chunks(RUN).enumerate() {
        total.sum += sum(blocks, blocks, |v, _| v);
        total.square += sum(blocks, blocks, |v, _| v * v);
        if base.is_some() {
            total.distance += sum(blocks, &others[i * RUN..], |v, r| (v - r) * (v - r));
        }
        for block in blocks {
            for (top, v) in top.iter_mut().zip(block) {
                *top = if *v > *top { *v } else { *top };
            }
        }
    }
    for (i, v) in rest.iter().enumerate() {
        add(&mut total, *v, other.get(i).copied().unwrap_or(*v));
    }
    Sums { top: top.iter().copied().fold(total.top, f32::max), ..total }
}

/// Sum over blocks of what `term` makes of two values.
fn sum(blocks: &[[f32; LANES]], others: &[[f32; LANES]], term: impl Fn(f32, f32) -> f32) -> f64 {
    let mut lanes = [0.0f32; LANES];
    for (v, r) in blocks.iter().zip(others) {
        for ((lane, v), r) in lanes.iter_mut().zip(v).zip(r) {
            *lane += term(*v, *r);
        }
    }
    lanes.iter().map(|v| f64::from(*v)).sum()
}

/// All units of a sample whose units follow each other at every position.
fn interleaved(values: &[f32], base: Option<&[f32]>, units: usize) -> Vec<Sums> {
    let mut all = vec![Sums::NONE; units];
    // Without a base, its own values: the distance is 0.
    for (values, base) in values.chunks_exact(units.max(1)).zip(base.unwrap_or(values).chunks_exact(units.max(1))) {
        for ((total, v), r) in all.iter_mut().zip(values).zip(base) {
            add(total, *v, *r);
        }
    }
    all
}

fn add(total: &mut Sums, v: f32, r: f32) {
    total.sum += f64::from(v);
    total.top = total.top.max(v);
    total.square += f64::from(v) * f64::from(v);
    total.distance += f64::from(v - r) * f64::from(v - r);
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    #[test]
    fn statistics_are_those_of_the_definition() {
        for (c, h, w) in [(3, 1, 1), (5, 7, 9), (2, 41, 23), (9, 2, 4)] {
            let value = |n: usize, c: usize, y: usize, x: usize| ((n * 131 + c * 37 + y * 11 + x * 5) % 97) as f32 * 0.21 - 7.0;
            let maps = Array4::from_shape_fn((2, c, h, w), |(n, c, y, x)| value(n, c, y, x));
            let base = Array4::from_shape_fn((1, c, h, w), |(_, c, y, x)| value(5, c, x, y));
            let last = |a: &Array4<f32>| a.view().permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned().into_dyn();
            let (first, base_last) = (base.clone().into_dyn(), last(&base));
            for known in [true, false] {
                let by_unit = measure(&maps.view().into_dyn(), true, c, known.then_some(&first));
                let by_position = measure(&last(&maps).view(), false, c, known.then_some(&base_last));
                for (n, k) in (0..2).flat_map(|n| (0..c).map(move |k| (n, k))) {
                    let map: Vec<f64> = maps.slice(ndarray::s![n, k, .., ..]).iter().map(|v| f64::from(*v)).collect();
                    let other = base.slice(ndarray::s![0, k, .., ..]);
                    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
                    let l2 = length(&mut map.iter().copied());
                    let shift = if known { length(&mut map.iter().zip(other).map(|(a, b)| a - f64::from(*b))) } else { 0.0 };
                    let mean = map.iter().sum::<f64>() / map.len() as f64;
                    let expected = [mean, map.iter().copied().fold(f64::MIN, f64::max), l2, shift];
                    for (i, want) in expected.into_iter().enumerate() {
                        for got in [&by_unit[i], &by_position[i]] {
                            approx::assert_relative_eq!(f64::from(got[(n, k)]), want, max_relative = 1e-6, epsilon = 1e-6);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn small_differences_between_large_values_survive() {
        let base = ArrayD::from_elem(vec![1, 1, 50, 50], 1000.0);
        let mut value = base.clone();
        value[[0, 0, 25, 25]] += 0.001;
        let [.., shift] = measure(&value.view(), true, 1, Some(&base));
        approx::assert_relative_eq!(shift[(0, 0)], value[[0, 0, 25, 25]] - 1000.0, max_relative = 1e-6);
    }
}
