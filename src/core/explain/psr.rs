//! Promotion-suppression ratio of grid cells (Xu et al. 2019, Definition 1 as recalled: see docs/method.md).
//!
//! For x' = x0 + d, true class t0, target t and a cell G:
//! `s = max(Z(x' - d o G)[t0] - Z(x')[t0], floor)`, `b = max(Z(x')[t] - Z(x' - d o G)[t], floor)`, `r = log2(b / s)`.

mod exact;
mod grid;
mod linear;
mod split;
mod summary;
mod timeline;

pub use exact::{coarse_to_fine, exact, exact_from, most_influential_first};
pub use linear::{linear, path};
pub use split::{Side, Split, mostly_inside, split};
pub use summary::{Shares, effect, judge, relative_floor};
pub use timeline::{Moment, moment, sample, turning_point};

use ndarray::ArrayView3;

use crate::core::{
    error::{Error, Result},
    oracle::Oracle,
};

/// Points on the line from x0 to x' that [`Mode::Path`] averages over, unless told otherwise.
pub const PATH_POINTS: usize = 16;

/// How the effect of a cell is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One forward run per cell.
    Exact,
    /// One gradient at x': a first-order estimate.
    Linear,
    /// The gradient averaged along the line from x0 to x': an estimate whose sum is exact.
    Path,
}

/// What a cell does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Mainly lowers the true class's logit: s > threshold ratio * b.
    Suppression,
    /// Mainly raises the target's logit.
    Promotion,
    /// Both.
    Balanced,
    /// Both raw values at or below the floor: nothing measurable happened. Counted as balanced by the definition.
    Inert,
}

impl Kind {
    /// Word used in files and on screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suppression => "suppression",
            Self::Promotion => "promotion",
            Self::Balanced => "balanced",
            Self::Inert => "inert",
        }
    }
}

impl Mode {
    /// Word used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Linear => "linear",
            Self::Path => "path",
        }
    }

    /// The mode with this name.
    pub fn from_name(name: &str) -> Result<Self> {
        [Self::Exact, Self::Linear, Self::Path]
            .into_iter()
            .find(|m| m.name().eq_ignore_ascii_case(name.trim()))
            .ok_or_else(|| Error::Parameter(format!("there is no mode '{name}'; choose exact, linear or path")))
    }
}

/// Parameters of the ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Smallest s and b, in logit units.
    pub floor: f32,
    /// A cell is dominated when |log2(b/s)| exceeds this.
    pub threshold: f32,
    /// How effects are evaluated.
    pub mode: Mode,
}

impl Default for Settings {
    /// Floor 0.1 logits, threshold 1, exact: conventions recalled from the paper.
    fn default() -> Self {
        Self { floor: 0.1, threshold: 1.0, mode: Mode::Exact }
    }
}

impl Settings {
    /// The settings when they make sense.
    pub fn check(self) -> Result<Self> {
        if !(self.floor > 0.0 && self.floor.is_finite()) {
            return Err(Error::Parameter(format!("the floor must be above 0 logits, not {}", self.floor)));
        }
        if !(self.threshold >= 0.0 && self.threshold.is_finite()) {
            return Err(Error::Parameter(format!("the threshold must be 0 or more, not {}", self.threshold)));
        }
        Ok(self)
    }
}

/// Rectangular cells that partition the image; the last row and column may be smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Image height in pixels.
    pub height: usize,
    /// Image width in pixels.
    pub width: usize,
    /// Cell height in pixels.
    pub cell_h: usize,
    /// Cell width in pixels.
    pub cell_w: usize,
}

/// One cell's effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Row of the cell.
    pub row: usize,
    /// Column of the cell.
    pub col: usize,
    /// How much the true logit recovers when the cell is undone (raw).
    pub s_raw: f32,
    /// How much the target logit loses when the cell is undone (raw).
    pub b_raw: f32,
    /// Floored.
    pub s: f32,
    /// Floored.
    pub b: f32,
    /// log2(b / s).
    pub r: f32,
    /// Its type.
    pub kind: Kind,
}

/// A whole map; cells not yet evaluated are `None` while it is being refined.
#[derive(Debug, Clone)]
pub struct PsrMap {
    /// Cells.
    pub grid: Grid,
    /// Parameters used.
    pub settings: Settings,
    /// Row-major, `rows * cols`.
    pub cells: Vec<Option<Cell>>,
    /// True and target class.
    pub classes: (usize, usize),
    /// Forward runs spent (images, not batches).
    pub forwards: usize,
    /// Wall seconds.
    pub seconds: f32,
}

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// x0, `[C, H, W]`.
    pub clean: ArrayView3<'a, f32>,
    /// x', same shape.
    pub adversarial: ArrayView3<'a, f32>,
    /// True class t0 and target t (untargeted: the class predicted on x').
    pub classes: (usize, usize),
    /// Cells.
    pub grid: Grid,
    /// Floor, threshold, mode.
    pub settings: Settings,
}

/// Takes the map after every batch, cells still missing; an error (such as [`Error::Stopped`]) ends the evaluation.
pub type Progress<'a> = &'a mut dyn FnMut(&PsrMap) -> Result<()>;

/// Evaluates a map in the mode the settings name: exact from coarse to fine, linear, or path with [`PATH_POINTS`].
pub fn evaluate(oracle: &mut dyn Oracle, question: &Question, progress: Progress) -> Result<PsrMap> {
    match question.settings.mode {
        Mode::Exact => exact(oracle, question, &coarse_to_fine(&question.grid), progress),
        Mode::Linear => linear(oracle, question).and_then(|map| progress(&map).map(|()| map)),
        Mode::Path => path(oracle, question, PATH_POINTS, progress),
    }
}

impl Question<'_> {
    /// Refuses what has no answer.
    fn check(&self, oracle: &dyn Oracle) -> Result<()> {
        self.settings.check()?;
        let (t0, t) = self.classes;
        let classes = oracle.classes();
        if t0 == t {
            return Err(Error::Parameter(format!(
                "promotion and suppression need two classes, but true class and target are both {t0}: the attack has not changed the prediction, so give a target"
            )));
        }
        if t0.max(t) >= classes {
            return Err(Error::Parameter(format!(
                "class {} does not exist; this model has classes 0 to {}",
                t0.max(t),
                classes.saturating_sub(1)
            )));
        }
        let (c, h, w) = self.clean.dim();
        if self.adversarial.dim() != (c, h, w) || [c, h, w] != oracle.image_shape() {
            return Err(Error::Input(format!(
                "clean image {:?}, adversarial image {:?} and the model's input {:?} must have one shape",
                self.clean.dim(),
                self.adversarial.dim(),
                oracle.image_shape()
            )));
        }
        if (self.grid.height, self.grid.width) != (h, w) || self.grid.cell_h == 0 || self.grid.cell_w == 0 {
            return Err(Error::Parameter(format!(
                "the grid is made for {}x{} pixels and the image has {w}x{h}",
                self.grid.width, self.grid.height
            )));
        }
        Ok(())
    }

    fn empty_map(&self) -> PsrMap {
        PsrMap {
            grid: self.grid,
            settings: self.settings,
            cells: vec![None; self.grid.len()],
            classes: self.classes,
            forwards: 0,
            seconds: 0.0,
        }
    }
}
