//! Lengths of a perturbation, pixel space, accumulated in f64.

use ndarray::{Array3, ArrayView3};

use crate::core::error::{Error, Result};

/// A pixel counts as changed when any channel moved by more than this.
pub const CHANGED: f32 = 1e-6;

/// Four lengths of one perturbation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Norms {
    /// Pixels (not values) with any channel changed by more than [`CHANGED`].
    pub l0: usize,
    /// Sum of absolute changes.
    pub l1: f64,
    /// Euclidean length.
    pub l2: f64,
    /// Largest absolute change.
    pub linf: f64,
}

impl Norms {
    /// Norms of a perturbation `[C, H, W]`.
    pub fn of(delta: ArrayView3<f32>) -> Self {
        let delta = delta.as_standard_layout();
        let values = delta.as_slice().expect(ROW_MAJOR);
        let (_, height, width) = delta.dim();
        let (sums, l0) = (Sums::of(values), changed(values, height * width));
        Self { l0, l1: sums.l1, l2: sums.squares.sqrt(), linf: sums.largest }
    }

    /// Norms of `to - from`; the shapes must agree.
    pub fn between(from: ArrayView3<f32>, to: ArrayView3<f32>) -> Result<Self> {
        if from.dim() != to.dim() {
            return Err(Error::Input(format!("two images of different shapes cannot be compared: {:?} and {:?}", from.dim(), to.dim())));
        }
        Ok(Self::of((&to - &from).view()))
    }
}

/// How many pixels are changed in any channel. Block by block, so that what is remembered between channels stays in registers.
fn changed(values: &[f32], pixels: usize) -> usize {
    const BLOCK: usize = 64;
    let mut count = 0;
    for first in (0..pixels).step_by(BLOCK) {
        let mut flags = [0u8; BLOCK];
        for channel in values.chunks_exact(pixels) {
            let block = &channel[first..pixels.min(first + BLOCK)];
            for (flag, v) in flags.iter_mut().zip(block) {
                *flag |= u8::from(v.abs() > CHANGED);
            }
        }
        count += usize::from(flags.iter().sum::<u8>());
    }
    count
}

/// Sums over changes, in f64.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// Of absolute values.
    pub l1: f64,
    /// Of squares.
    pub squares: f64,
    /// The largest absolute value.
    pub largest: f64,
}

const ROW_MAJOR: &str = "the standard layout is one slice";

/// Values added side by side, so that no addition waits for the one before it.
const LANES: usize = 8;

/// Sums in lanes; always in the same order.
#[derive(Default)]
struct Lanes {
    l1: [f64; LANES],
    squares: [f64; LANES],
    largest: [f32; LANES],
}

impl Lanes {
    fn add(&mut self, values: [f32; LANES]) {
        for (lane, value) in values.into_iter().enumerate() {
            let wide = f64::from(value.abs());
            self.l1[lane] += wide;
            self.squares[lane] += wide * wide;
            self.largest[lane] = self.largest[lane].max(value.abs());
        }
    }

    fn total(self) -> Sums {
        let largest = self.largest.into_iter().fold(0.0, f32::max);
        Sums { l1: self.l1.iter().sum(), squares: self.squares.iter().sum(), largest: largest.into() }
    }
}

/// What is left of a slice, filled up with zeros, which change no sum.
fn filled(rest: &[f32]) -> [f32; LANES] {
    std::array::from_fn(|i| rest.get(i).copied().unwrap_or(0.0))
}

impl Sums {
    /// Of some values.
    pub fn of(values: &[f32]) -> Self {
        let (chunks, rest) = values.as_chunks();
        let mut lanes = Lanes::default();
        chunks.iter().for_each(|chunk| lanes.add(*chunk));
        lanes.add(filled(rest));
        lanes.total()
    }

    /// Of the differences of two arrays of one shape.
    pub fn between(from: &Array3<f32>, to: &Array3<f32>) -> Self {
        let (from, to) = (from.as_standard_layout(), to.as_standard_layout());
        let (from, to) = (from.as_slice().expect(ROW_MAJOR), to.as_slice().expect(ROW_MAJOR));
        let ((a, left), (b, right)) = (to.as_chunks::<LANES>(), from.as_chunks::<LANES>());
        let mut lanes = Lanes::default();
        for (a, b) in a.iter().zip(b) {
            lanes.add(std::array::from_fn(|i| a[i] - b[i]));
        }
        let (left, right) = (filled(left), filled(right));
        lanes.add(std::array::from_fn(|i| left[i] - right[i]));
        lanes.total()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    #[test]
    fn known_lengths() {
        let delta = array![[[3.0f32, 0.0], [0.0, 0.0]], [[4.0, 0.0], [0.0, 5e-7]]];
        let n = Norms::of(delta.view());
        assert_eq!(n.l0, 1);
        approx::assert_abs_diff_eq!(n.l1, 7.0000005, epsilon = 1e-9);
        approx::assert_abs_diff_eq!(n.l2, 5.0, epsilon = 1e-9);
        assert_eq!(n.linf, 4.0);
    }

    #[test]
    fn lanes_do_not_change_sums() {
        for n in [0, 1, 7, 8, 9, 64, 1001] {
            let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.013).collect();
            let sums = Sums::of(&values);
            let exact = |f: &dyn Fn(f64) -> f64| values.iter().map(|v| f(f64::from(*v))).sum::<f64>();
            approx::assert_relative_eq!(sums.l1, exact(&f64::abs), max_relative = 1e-13);
            approx::assert_relative_eq!(sums.squares, exact(&|v| v * v), max_relative = 1e-13);
            assert_eq!(sums.largest, values.iter().fold(0.0, |m: f64, v| m.max(f64::from(v.abs()))));
        }
    }

    #[test]
    fn pixels_are_counted_once_in_every_block() {
        for (height, width) in [(1, 1), (7, 9), (8, 8), (5, 27), (16, 40)] {
            let delta = Array3::from_shape_fn((3, height, width), |(c, y, x)| if (y * width + x) % (c + 3) == 0 { -0.1 } else { 5e-7 });
            let pixels = (0..height * width).filter(|i| [3, 4, 5].iter().any(|n| i % n == 0)).count();
            assert_eq!(Norms::of(delta.view()).l0, pixels, "{height} by {width}");
        }
        assert_eq!(Norms::of(Array3::zeros((3, 0, 4)).view()).l0, 0);
    }

    #[test]
    fn zero_and_mismatch() {
        let a = Array3::<f32>::ones((3, 2, 2));
        assert_eq!(Norms::between(a.view(), a.view()).unwrap(), Norms::default());
        assert!(Norms::between(a.view(), Array3::zeros((3, 2, 1)).view()).is_err());
    }
}
