//! Promotion-suppression ratio of grid cells (Xu et al. 2019, Definition 1 as recalled: see docs/method.md).

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
