//! Exact evaluation: one forward run per cell, in batches, most useful cells first.

use std::time::Instant;

use ndarray::{Array4, Axis, s};

use super::{Grid, Progress, PsrMap, Question, judge};
use crate::core::{error::Result, oracle::Oracle};

/// Evaluates every cell by undoing it. `order` holds row-major cell numbers; cells it leaves out come last. `progress`
/// is called after every batch. Cells that the perturbation does not touch cost nothing.
pub fn exact(oracle: &mut dyn Oracle, question: &Question, order: &[usize], progress: Progress) -> Result<PsrMap> {
    question.check(oracle)?;
    let begun = Instant::now();
    let (clean, adversarial, grid) = (question.clean, question.adversarial, question.grid);
    let (t0, t) = question.classes;
    let mut map = question.empty_map();
    let base = oracle.logits(adversarial.insert_axis(Axis(0)))?;
    map.forwards = 1;
    let mut waiting = Vec::new();
    for cell in complete(order, grid.len()) {
        if grid.untouched(clean, adversarial, cell) {
            map.cells[cell] = Some(judge(&grid, cell, 0.0, 0.0, &question.settings));
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
