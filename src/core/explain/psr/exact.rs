//! Exact evaluation: one forward run per cell, in batches, most useful cells first.

use std::time::Instant;

use ndarray::{Array2, Array4, Axis, s};

use super::{Grid, Mode, Progress, PsrMap, Question, judge};
use crate::core::{error::Result, oracle::Oracle};

/// Evaluates every cell by undoing it. `order` holds row-major cell numbers; cells it leaves out come last. `progress`
/// is called after every batch. Cells that the perturbation does not touch cost nothing.
pub fn exact(oracle: &mut dyn Oracle, question: &Question, order: &[usize], progress: Progress) -> Result<PsrMap> {
    exact_from(oracle, question, order, &[], progress)
}

/// [`exact`] that goes on from exact maps of the same two images and classes, finished or not, on this grid or another: a cell
/// that holds the same changed pixels as a cell of theirs is not run again. On the same grid that is every cell they have;
/// on a finer one, every cell that holds all the change of the cell it was cut from.
pub fn exact_from(oracle: &mut dyn Oracle, question: &Question, order: &[usize], known: &[&PsrMap], progress: Progress) -> Result<PsrMap> {
    question.check(oracle)?;
    let begun = Instant::now();
    let (clean, adversarial, grid) = (question.clean, question.adversarial, question.grid);
    let (t0, t) = question.classes;
    let mut map = question.empty_map();
    let base = oracle.logits(adversarial.insert_axis(Axis(0)))?;
    map.forwards = 1;
    let mut waiting = Vec::new();
    let carried = Carried::new(question, known);
    for cell in complete(order, grid.len()) {
        if grid.untouched(clean, adversarial, cell) {
            map.cells[cell] = Some(judge(&grid, cell, 0.0, 0.0, &question.settings));
        } else if let Some((s_raw, b_raw)) = carried.effect(&grid, cell) {
            map.cells[cell] = Some(judge(&grid, cell, s_raw, b_raw, &question.settings));
        } else {
            waiting.push(cell);
        }
    }
    let (c, h, w) = clean.dim();
    for chunk in waiting.chunks(oracle.batch().max(1)) {
        let mut images = Array4::<f32>::zeros((chunk.len(), c, h, w));
        for (row, cell) in chunk.iter().enumerate() {
            images.slice_mut(s![row, .., .., ..]).assign(&adversarial);
            grid.restore(images.index_axis_mut(Axis(0), row), clean, *cell);
        }
        let logits = oracle.logits(images.view())?;
        for (row, cell) in chunk.iter().enumerate() {
            let s_raw = logits[(row, t0)] - base[(0, t0)];
            let b_raw = base[(0, t)] - logits[(row, t)];
            map.cells[*cell] = Some(judge(&grid, *cell, s_raw, b_raw, &question.settings));
        }
        map.forwards += chunk.len();
        map.seconds = begun.elapsed().as_secs_f32();
        progress(&map)?;
    }
    map.seconds = begun.elapsed().as_secs_f32();
    if waiting.is_empty() {
        progress(&map)?;
    }
    Ok(map)
}

/// What earlier maps already know about the same perturbation.
struct Carried<'a> {
    /// Whether any channel of a pixel changed.
    changed: Array2<bool>,
    known: Vec<&'a PsrMap>,
}

impl<'a> Carried<'a> {
    fn new(question: &Question, known: &[&'a PsrMap]) -> Self {
        let (_, h, w) = question.clean.dim();
        let fits = |m: &&PsrMap| m.settings.mode == Mode::Exact && m.classes == question.classes && (m.grid.height, m.grid.width) == (h, w);
        let known: Vec<&PsrMap> = known.iter().copied().filter(fits).collect();
        let mut changed = Array2::from_elem((h, w), false);
        if !known.is_empty() {
            for ((c, y, x), v) in question.clean.indexed_iter() {
                changed[(y, x)] |= *v != question.adversarial[(c, y, x)];
            }
        }
        Self { changed, known }
    }

    fn count(&self, [top, left, h, w]: [usize; 4]) -> usize {
        self.changed.slice(s![top..top + h, left..left + w]).iter().filter(|c| **c).count()
    }

    /// Raw effects of a cell that an earlier map has under another outline.
    fn effect(&self, grid: &Grid, cell: usize) -> Option<(f32, f32)> {
        if self.known.is_empty() {
            return None;
        }
        let bounds = grid.bounds(cell);
        let [top, left, h, w] = bounds;
        let part = self.changed.slice(s![top..top + h, left..left + w]);
        let (y, x) = part.indexed_iter().find(|(_, c)| **c).map(|((y, x), _)| (top + y, left + x))?;
        let mine = self.count(bounds);
        self.known.iter().find_map(|map| {
            let index = map.grid.cell_at(y, x);
            let theirs = map.cells.get(index).copied().flatten()?;
            let other = map.grid.bounds(index);
            let shared = self.count(intersection(bounds, other));
            (shared == mine && shared == self.count(other)).then_some((theirs.s_raw, theirs.b_raw))
        })
    }
}

/// The common part of two rectangles that share a pixel.
fn intersection(a: [usize; 4], b: [usize; 4]) -> [usize; 4] {
    let (top, left) = (a[0].max(b[0]), a[1].max(b[1]));
    let (bottom, right) = ((a[0] + a[2]).min(b[0] + b[2]), (a[1] + a[3]).min(b[1] + b[3]));
    [top, left, bottom.saturating_sub(top), right.saturating_sub(left)]
}

/// Cells on ever finer lattices: after n of them the picture is covered about evenly.
pub fn coarse_to_fine(grid: &Grid) -> Vec<usize> {
    let (rows, cols) = (grid.rows(), grid.cols());
    let mut stride = rows.max(cols).max(1).next_power_of_two();
    let mut seen = vec![false; rows * cols];
    let mut order = Vec::with_capacity(rows * cols);
    loop {
        // The middle of each lattice square stands for it.
        for row in (stride / 2..rows).step_by(stride) {
            for col in (stride / 2..cols).step_by(stride) {
                let cell = row * cols + col;
                if !std::mem::replace(&mut seen[cell], true) {
                    order.push(cell);
                }
            }
        }
        if stride == 1 {
            return order;
        }
        stride /= 2;
    }
}

/// Cells by the size of an estimate's raw effects, largest first; cells without one come last.
pub fn most_influential_first(estimate: &PsrMap) -> Vec<usize> {
    let size = |i: &usize| estimate.cells[*i].map_or(-1.0, |c| c.s_raw.abs() + c.b_raw.abs());
    let mut order: Vec<usize> = (0..estimate.cells.len()).collect();
    order.sort_by(|a, b| size(b).total_cmp(&size(a)));
    order
}

/// The order without strangers or repeats, with what it left out appended.
fn complete(order: &[usize], len: usize) -> Vec<usize> {
    let mut seen = vec![false; len];
    let given = order.iter().copied().chain(0..len);
    given.filter(|cell| *cell < len && !std::mem::replace(&mut seen[*cell], true)).collect()
}
