//! First-order estimates: one gradient at x', or the gradient averaged along the line from x0 to x' (whose cell sums
//! add up to the exact total as the number of points grows: the fundamental theorem of calculus).

use std::time::Instant;

use ndarray::{Array2, Array3, Array4, Axis, s};

use super::{Mode, Progress, PsrMap, Question, judge};
use crate::core::{
    error::Result,
    oracle::{Objective, Oracle},
};

/// One gradient run at x'.
pub fn linear(oracle: &mut dyn Oracle, question: &Question) -> Result<PsrMap> {
    question.check(oracle)?;
    let begun = Instant::now();
    let mut map = question.empty_map();
    map.settings.mode = Mode::Linear;
    let gradients = both(oracle, question, question.adversarial.to_owned(), &mut map)?;
    fill(question, &gradients, &mut map);
    map.seconds = begun.elapsed().as_secs_f32();
    Ok(map)
}

/// The gradient averaged over the midpoints of `points` equal pieces of the line; `progress` sees each refinement.
pub fn path(oracle: &mut dyn Oracle, question: &Question, points: usize, progress: Progress) -> Result<PsrMap> {
    question.check(oracle)?;
    let begun = Instant::now();
    let points = points.max(1);
    let mut map = question.empty_map();
    map.settings.mode = Mode::Path;
    let delta = &question.adversarial - &question.clean;
    let mut sum: Option<[Array3<f32>; 2]> = None;
    for j in 0..points {
        let at = (j as f32 + 0.5) / points as f32;
        let image = &question.clean + &(&delta * at);
        let [g0, g] = both(oracle, question, image, &mut map)?;
        let total = match sum.take() {
            None => [g0, g],
            Some([s0, s]) => [s0 + g0, s + g],
        };
        let mean = [&total[0] / (j + 1) as f32, &total[1] / (j + 1) as f32];
        fill(question, &mean, &mut map);
        map.seconds = begun.elapsed().as_secs_f32();
        progress(&map)?;
        sum = Some(total);
    }
    Ok(map)
}

/// Gradients of Z[t0] and Z[t] at one image, as a batch of two where the oracle takes that.
fn both(oracle: &mut dyn Oracle, question: &Question, image: Array3<f32>, map: &mut PsrMap) -> Result<[Array3<f32>; 2]> {
    let (c, h, w) = image.dim();
    let classes = [question.classes.0, question.classes.1];
    let batch = oracle.batch();
    map.forwards += 2;
    let mut run = |wanted: &[usize]| -> Result<Array4<f32>> {
        let mut images = Array4::zeros((wanted.len(), c, h, w));
        let mut cotangent = Array2::zeros((wanted.len(), oracle.classes()));
        for (row, class) in wanted.iter().enumerate() {
            images.slice_mut(s![row, .., .., ..]).assign(&image);
            cotangent[(row, *class)] = 1.0;
        }
        Ok(oracle.gradient(images.view(), Objective::Linear { cotangent: cotangent.view() })?.grad)
    };
    let (g0, g) = if batch < 2 {
        (run(&classes[..1])?, run(&classes[1..])?)
    } else {
        let pair = run(&classes)?;
        let (first, second) = pair.view().split_at(Axis(0), 1);
        (first.to_owned(), second.to_owned())
    };
    Ok([g0.index_axis_move(Axis(0), 0), g.index_axis_move(Axis(0), 0)])
}

/// Undoing a cell moves x' by -d there: Z[t0] changes by -(grad . d), and Z[t] loses (grad . d).
fn fill(question: &Question, [g0, g]: &[Array3<f32>; 2], map: &mut PsrMap) {
    let delta = &question.adversarial - &question.clean;
    let s = question.grid.sum((g0 * &delta).view());
    let b = question.grid.sum((g * &delta).view());
    for (cell, (s, b)) in s.iter().zip(&b).enumerate() {
        map.cells[cell] = Some(judge(&question.grid, cell, -*s as f32, *b as f32, &question.settings));
    }
}
