//! Lengths of a perturbation, pixel space, accumulated in f64.

use ndarray::{ArrayView3, Axis};

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
        let (mut l1, mut squares, mut linf) = (0.0f64, 0.0f64, 0.0f64);
        for &v in delta {
            let v = f64::from(v).abs();
            l1 += v;
            squares += v * v;
            linf = linf.max(v);
        }
        let (_, height, width) = delta.dim();
        let mut changed = vec![false; height * width];
        for channel in delta.axis_iter(Axis(0)) {
            for (flag, v) in changed.iter_mut().zip(&channel) {
                *flag |= v.abs() > CHANGED;
            }
        }
        Self { l0: changed.iter().filter(|c| **c).count(), l1, l2: squares.sqrt(), linf }
    }

    /// Norms of `to - from`; the shapes must agree.
    pub fn between(from: ArrayView3<f32>, to: ArrayView3<f32>) -> Result<Self> {
        if from.dim() != to.dim() {
            return Err(Error::Input(format!("two images of different shapes cannot be compared: {:?} and {:?}", from.dim(), to.dim())));
        }
        Ok(Self::of((&to - &from).view()))
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
    fn zero_and_mismatch() {
        let a = Array3::<f32>::ones((3, 2, 2));
        assert_eq!(Norms::between(a.view(), a.view()).unwrap(), Norms::default());
        assert!(Norms::between(a.view(), Array3::zeros((3, 2, 1)).view()).is_err());
    }
}
