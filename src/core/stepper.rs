//! An attack's loop that stays where the network runs: the state of the images lives there, a step returns logits, loss and norms.
//!
//! An [`super::oracle::Oracle`] may offer it; an attack that is offered none does the same arithmetic itself, and that loop is the
//! reference.

use ndarray::{Array1, Array3, ArrayView2, ArrayView3, ArrayView4};

use super::{error::Result, oracle::Objective, tensor::norm::Norms};

/// How an image follows from a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// `x + step * sign(g)`, into the box of half-width `eps` and 0..1.
    Sign {
        /// Half-width, pixel values.
        eps: f32,
        /// Whether momentum takes the gradient's place.
        momentum: bool,
    },
    /// `x + step * g / ||g||`, into the ball of radius `eps` and 0..1.
    Normal {
        /// Whether momentum takes the gradient's place.
        momentum: bool,
    },
    /// Adam on `x = (tanh(v) + 1) / 2`, for `||x - x0||^2 + c * objective`.
    Adam,
    /// Shrinkage with extrapolation, for `c * objective + ||x - x0||^2 + beta ||x - x0||_1`.
    Shrink,
}

impl Rule {
    /// How many numbers [`Stepper::step`] takes: `Sign` step and mu; `Normal` step, eps and mu (mu only with momentum); `Adam` rate
    /// and epsilon; `Shrink` rate, threshold and theta.
    pub fn scalars(self) -> usize {
        match self {
            Self::Sign { momentum, .. } => 1 + usize::from(momentum),
            Self::Normal { momentum } => 2 + usize::from(momentum),
            Self::Adam => 2,
            Self::Shrink => 3,
        }
    }
}

/// `atanh` of a clean pixel under the guard published with C&W, which keeps saturated pixels movable: where `Adam` starts.
pub fn base(pixel: f32) -> f32 {
    (0.999_999 * (2.0 * f64::from(pixel) - 1.0)).atanh() as f32
}

/// A loop to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a, 'o> {
    /// The update.
    pub rule: Rule,
    /// What is differentiated, per image: cross-entropy or margin.
    pub objective: Objective<'o>,
    /// Clean image `[C, H, W]`, 0..1.
    pub clean: ArrayView3<'a, f32>,
    /// Where each image begins, `[N, C, H, W]`.
    pub starts: ArrayView4<'a, f32>,
    /// Where pixels may change, `[H, W]`.
    pub mask: Option<ArrayView2<'a, f32>>,
    /// Weight of the objective per image; only `Adam` and `Shrink` have it.
    pub constants: &'a [f32],
}

/// What a step says about one image.
#[derive(Debug, Clone)]
pub struct Reading {
    /// `[K]`.
    pub logits: Array1<f32>,
    /// Objective at this image; not of `Shrink`, which differentiates elsewhere.
    pub loss: Option<f32>,
    /// Lengths of its change, summed in double precision and returned in single.
    pub norms: Norms,
}

/// A loop that is open.
pub trait Stepper {
    /// One run. All rules but `Shrink` describe the images as they are and then move them; `Shrink` moves them and describes the
    /// result. The number of scalars is that of [`Rule::scalars`].
    fn step(&mut self, scalars: &[f32]) -> Result<Vec<Reading>>;

    /// A copy of an image that the last step described, `[C, H, W]`.
    fn image(&mut self, index: usize) -> Result<Array3<f32>>;

    /// A copy of an image as it is now.
    fn current(&mut self, index: usize) -> Result<Array3<f32>>;
}
