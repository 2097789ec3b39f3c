//! An attack's loop that stays where the network runs: the state of the images lives there, a step returns logits, loss and norms.
//!
//! An [`super::oracle::Oracle`] may offer it; an attack that is offered none does the same arithmetic itself, and that loop is the
//! reference.

use std::collections::BTreeMap;

use ndarray::{Array1, Array3, ArrayD, ArrayView2, ArrayView3, ArrayView4, Axis, Ix3};

use super::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    tensor::norm::Norms,
};

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
    /// APGD's step: as `Sign`, or with `l2` as `Normal`, with the momentum of the last two images.
    Auto {
        /// Half-width or radius, pixel values.
        eps: f32,
        /// Whether the ball is that of L2.
        l2: bool,
    },
    /// StrAttack's ADMM; [`Job::starts`] are changes, not images.
    Admm {
        /// Largest change of any value.
        eps: f32,
    },
    /// StrAttack's refinement on [`Job::support`]; [`Job::starts`] are changes, not images.
    Refine {
        /// Largest change of any value.
        eps: f32,
    },
}

impl Rule {
    /// How many numbers [`Stepper::step`] takes: `Sign` step and mu; `Normal` step, eps and mu (mu only with momentum); `Adam` rate
    /// and epsilon; `Shrink` rate, threshold and theta; `Auto` step, the share of the step beside momentum (0 moves nothing) and in L2
    /// eps; `Admm` eta, the first copy's weight, rho, their total, the first copy's share of z, threshold; `Refine` eta, rho, their
    /// total, share.
    pub fn scalars(self) -> usize {
        match self {
            Self::Sign { momentum, .. } => 1 + usize::from(momentum),
            Self::Normal { momentum } => 2 + usize::from(momentum),
            Self::Adam => 2,
            Self::Shrink => 3,
            Self::Auto { l2, .. } => 2 + usize::from(l2),
            Self::Admm { .. } => 6,
            Self::Refine { .. } => 4,
        }
    }
}

/// `atanh` of a clean pixel under the guard published with C&W, which keeps saturated pixels movable: where `Adam` starts.
pub fn base(pixel: f32) -> f32 {
    (0.999_999 * (2.0 * f64::from(pixel) - 1.0)).atanh() as f32
}

/// Square windows over the image, in M classes of disjoint ones: each class is a grid, described by its rows and columns apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// 1 where a row of windows covers a row of pixels, `[M, R, H]`.
    pub rows: Array3<f32>,
    /// The same for columns, `[M, Q, W]`.
    pub columns: Array3<f32>,
    /// 1 where a row of pixels takes its factor from a row of windows: one at most. Differs from `rows` where windows overlap.
    pub row_spread: Array3<f32>,
    /// The same for columns.
    pub column_spread: Array3<f32>,
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
    /// Weight of the objective per image; `Adam`, `Shrink`, `Admm` and `Refine` have it.
    pub constants: &'a [f32],
    /// Windows of `Admm` and `Refine`.
    pub windows: Option<&'a Windows>,
    /// Where `Refine` may change the image, `[C, H, W]`, 0 or 1.
    pub support: Option<ArrayView3<'a, f32>>,
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
    /// Of `Admm` and `Refine`: the sum of the windows' lengths of its change, and how many are not 0.
    pub windows: [f32; 2],
    /// Of `Admm`: primal and dual residual after the update.
    pub residuals: [f32; 2],
}

/// What a loop had come to, by the names of its rule's states, images (or constants) along the first axis: `pixels` and `momentum`
/// (`Sign`, `Normal`), `pixels`, `moved`, `first`, `second` (`Adam`), `pixels`, `point` (`Shrink`), `pixels`, `previous`, `gradient`,
/// and once marked `best_pixels`, `best_gradient` (`Auto`), `z`, `u`, `s`, `v` `[N, M, C, H, W]` (`Admm`), `z`, `u` (`Refine`).
#[derive(Debug, Clone, Default)]
pub struct States(pub BTreeMap<&'static str, ArrayD<f32>>);

impl States {
    /// A state of one image, as it is.
    pub fn whole(&self, role: &str, index: usize) -> Result<ArrayD<f32>> {
        let state = self.0.get(role).filter(|s| s.shape().first().is_some_and(|n| index < *n));
        let state = state.ok_or_else(|| Error::Engine(format!("the device gave no '{role}' back; use --update host")))?;
        Ok(state.index_axis(Axis(0), index).to_owned())
    }

    /// A state of one image, `[C, H, W]`.
    pub fn of(&self, role: &str, index: usize) -> Result<Array3<f32>> {
        let state = self.whole(role, index)?.into_dimensionality::<Ix3>();
        state.map_err(|_| Error::Engine(format!("the device gave '{role}' back in another shape; use --update host")))
    }
}

/// A loop that is open.
pub trait Stepper {
    /// One run. `Shrink` and `Auto` move the images and describe the result, all others describe them as they are and then move them.
    /// The number of scalars is that of [`Rule::scalars`]. After an error the states are those before the step.
    fn step(&mut self, scalars: &[f32]) -> Result<Vec<Reading>>;

    /// `Auto`: remembers what the last step described, with its gradient.
    fn mark(&mut self);

    /// `Auto`: the next step begins at what was marked.
    fn back(&mut self);

    /// Ends the loop after a step failed: its states, for a caller who goes on by himself. The failure itself where nobody can go on.
    fn leave(&mut self, failure: Error) -> Result<States>;

    /// The network that the loop ran on.
    fn oracle(&mut self) -> &mut dyn Oracle;

    /// A copy of an image that the last step described, `[C, H, W]`.
    fn image(&mut self, index: usize) -> Result<Array3<f32>>;

    /// A copy of an image as it is now.
    fn current(&mut self, index: usize) -> Result<Array3<f32>>;
}
