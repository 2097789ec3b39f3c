//! Statistics of a layer's units from its values: mean, maximum, length and distance to a reference, in one pass over both.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};
use ndarray::{Array2, ArrayD, ArrayViewD, Axis};
use rayon::prelude::*;

/// Vectors that are summed in single precision before their sum goes to double precision.
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
///
/// Samples are shared out to threads; one is done before another thread would have woken up.
pub(super) fn measure(value: &ArrayViewD<f32>, units_first: bool, units: usize, base: Option<&ArrayD<f32>>) -> [Array2<f32>; 4] {
    let n = value.len_of(Axis(0));
    let value = value.as_standard_layout();
    let all = value.as_slice().unwrap_or_default();
    let size = all.len() / n.max(1);
    let positions = size / units.max(1);
    let base = base.and_then(|b| b.as_slice()).filter(|b| b.len() == size);
    let level = Level::new();
    let of = |sample: &[f32]| match units_first {
        true => dispatch!(level, simd => contiguous(simd, sample, base, positions)),
        false => interleaved(sample, base, units),
    };
    let samples: Vec<Vec<Sums>> = match n {
        0 | 1 => all.chunks_exact(size.max(1)).map(of).collect(),
        _ => all.par_chunks_exact(size.max(1)).map(of).collect(),
    };
    let mut out = [(); 4].map(|()| Array2::<f32>::zeros((n, units)));
    for (i, sums) in samples.into_iter().enumerate() {
        for (u, s) in sums.into_iter().enumerate() {
            let mean = (s.sum / positions.max(1) as f64) as f32;
            for (table, v) in out.iter_mut().zip([mean, s.top, s.square.sqrt() as f32, s.distance.sqrt() as f32]) {
                table[(i, u)] = v;
            }
        }
    }
    out
}

/// All units of a sample whose positions follow each other. Loops and no closures: a closure is compiled for any processor.
#[inline(always)]
fn contiguous<S: Simd>(simd: S, values: &[f32], base: Option<&[f32]>, positions: usize) -> Vec<Sums> {
    let mut all = vec![Sums::NONE; values.len() / positions.max(1)];
    let maps = all.iter_mut().zip(values.chunks_exact(positions.max(1)));
    if let Some(base) = base {
        for ((total, map), base) in maps.zip(base.chunks_exact(positions.max(1))) {
            *total = unit::<S, true>(simd, map, base);
        }
    } else {
        for (total, map) in maps {
            *total = unit::<S, false>(simd, map, map);
        }
    }
    all
}

/// One unit. Vectors have the same width and are added up in the same order whatever the processor offers, so that the sums are the same too.
#[inline(always)]
fn unit<S: Simd, const SHIFT: bool>(simd: S, values: &[f32], base: &[f32]) -> Sums {
    let ((blocks, rest), (others, other)) = (values.as_chunks::<16>(), base.as_chunks::<16>());
    let zero = f32x16::splat(simd, 0.0);
    let (mut total, mut top) = (Sums::NONE, f32x16::splat(simd, f32::NEG_INFINITY));
    for (blocks, others) in blocks.chunks(RUN).zip(others.chunks(RUN)) {
        let (mut sum, mut square, mut distance) = (zero, zero, zero);
        for (block, other) in blocks.iter().zip(others) {
            let v = f32x16::load_array_ref(simd, block);
            sum += v;
            square += v * v;
            top = v.simd_gt(top).select(v, top);
            if SHIFT {
                let away = v - f32x16::load_array_ref(simd, other);
                distance += away * away;
            }
        }
        for (total, lanes) in [(&mut total.sum, sum), (&mut total.square, square), (&mut total.distance, distance)] {
            *total += lanes.as_slice().iter().map(|v| f64::from(*v)).sum::<f64>();
        }
    }
    for (v, r) in rest.iter().zip(other) {
        add(&mut total, *v, *r);
    }
    Sums { top: top.as_slice().iter().copied().fold(total.top, f32::max), ..total }
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
