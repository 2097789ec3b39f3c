//! Many images at once: that a batch gives each image what it gets alone, a map of 529 cells, and a search at several constants.

use std::time::Instant;

use ndarray::{Array3, Array4, Axis};

use super::{Bench, Found, cost::photo};
use crate::core::{
    attack::{self, Params, Problem, Recorder, Step, scalars},
    error::{Error, Result},
    explain::psr::{self, Grid, Question, Settings},
    oracle::{Objective, Oracle},
    tensor::norm::Norms,
};

fn distance<'a>(a: impl Iterator<Item = &'a f32>, b: impl Iterator<Item = &'a f32>) -> f64 {
    let (mut off, mut size) = (0.0f64, f64::MIN_POSITIVE);
    for (a, b) in a.zip(b) {
        off = off.max(f64::from((a - b).abs()));
        size = size.max(f64::from(b.abs()));
    }
    off / size
}

/// Logits and gradients of a batch against those of its images alone.
pub fn batches(bench: &Bench) -> Result<Found> {
    let mut network = bench.subject.network(&bench.backend)?;
    let image = photo(&network);
    let (c, h, w) = image.dim();
    let count = network.batch().clamp(2, 8);
    let images = Array4::from_shape_fn((count, c, h, w), |(n, c, y, x)| image[(c, (y + n) % h, x)]);
    let logits = network.logits(images.view())?;
    let labels: Vec<usize> = logits.outer_iter().map(scalars::predicted).collect();
    let together = network.gradient(images.view(), Objective::CrossEntropy { labels: &labels })?;
    let (mut worst, mut cosine) = (0.0f64, 1.0f64);
    for n in 0..count {
        let one = images.index_axis(Axis(0), n).insert_axis(Axis(0));
        let alone = network.gradient(one, Objective::CrossEntropy { labels: &labels[n..=n] })?;
        worst = worst.max(distance(logits.row(n).iter(), alone.logits.iter()));
        let dot = |a: &mut dyn Iterator<Item = (f32, f32)>| a.map(|(a, b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let (a, b) = (together.grad.index_axis(Axis(0), n), alone.grad.index_axis(Axis(0), 0));
        let pairs = |x: ndarray::ArrayView3<f32>, y: ndarray::ArrayView3<f32>| x.iter().copied().zip(y.iter().copied()).collect::<Vec<_>>();
        let product = dot(&mut pairs(a, b).into_iter());
        let lengths = (dot(&mut pairs(a, a).into_iter()) * dot(&mut pairs(b, b).into_iter())).sqrt();
        cosine = cosine.min(product / lengths.max(f64::MIN_POSITIVE));
    }
    let text = format!("{count} images at once: logits off by {worst:.1e}, gradients' cosine {cosine:.6}");
    let (logit, angle) = if bench.half { (0.05, 0.9) } else { (1e-3, 0.999) };
    Ok(Found::passed_if(worst < logit && cosine > angle, text, &[("logits", worst), ("cosine", cosine)]))
}

/// An exact map of 23 by 23 cells: every cell a forward run.
pub fn cells(bench: &Bench) -> Result<Found> {
    const SIDE: usize = 23;
    let mut network = bench.subject.network(&bench.backend)?;
    let clean = photo(&network);
    let (_, h, w) = clean.dim();
    let adversarial: Array3<f32> = clean.mapv(|v| if v > 0.5 { v - 0.03 } else { v + 0.03 });
    let grid = Grid::by_count(h, w, SIDE)?;
    let question = Question { clean: clean.view(), adversarial: adversarial.view(), classes: (0, 1), grid, settings: Settings::default() };
    // The first batch compiles kernels and fills caches.
    network.logits(adversarial.view().insert_axis(Axis(0)))?;
    let started = Instant::now();
    let map = psr::evaluate(&mut network, &question, &mut |_| Ok(()))?;
    let seconds = started.elapsed().as_secs_f64();
    // One cell by hand.
    let at = grid.len() / 2;
    let mut restored = adversarial.clone();
    grid.restore(restored.view_mut(), clean.view(), at);
    let single = |network: &mut dyn Oracle, x: &Array3<f32>| network.logits(x.view().insert_axis(Axis(0)));
    let (with, without) = (single(&mut network, &adversarial)?, single(&mut network, &restored)?);
    let by_hand = without[(0, 0)] - with[(0, 0)];
    let cell = map.cells[at].ok_or_else(|| Error::Engine("a cell of the map is missing".into()))?;
    let size = with.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = f64::from((cell.s_raw - by_hand).abs() / size);
    let text = format!(
        "{} cells in {seconds:.2} s, {:.0} forward runs a second; a cell by hand off by {off:.1e}",
        grid.len(),
        map.forwards as f64 / seconds
    );
    let good = map.is_complete() && off < if bench.half { 0.05 } else { 1e-3 };
    Ok(Found::passed_if(
        good,
        text,
        &[("cells", grid.len() as f64), ("forwards", map.forwards as f64), ("seconds", seconds), ("cell", off)],
    ))
}

/// Watches nothing.
struct Nobody;

impl Recorder for Nobody {
    fn step(&mut self, _: Step) -> Result<()> {
        Ok(())
    }
}

/// C&W with one constant after another, and with several at once.
pub fn search(bench: &Bench) -> Result<Found> {
    let attack = attack::find("cw").ok_or_else(|| Error::Parameter("there is no attack 'cw'".into()))?;
    let mut network = bench.subject.network(&bench.backend)?;
    let image = photo(&network);
    let clean = network.logits(image.view().insert_axis(Axis(0)))?;
    let problem = Problem { label: scalars::predicted(clean.row(0)), image, target: None, mask: None, seed: 1 };
    let mut ends = Vec::new();
    for search in ["sequential", "batched"] {
        let params =
            Params::check(attack.params(), [("steps", "25"), ("search-steps", "3"), ("c0", "10"), ("lr", "0.05"), ("search", search)])?;
        let started = Instant::now();
        let outcome = attack.run(&mut network, &problem, &params, &mut Nobody)?;
        let length = Norms::between(problem.image.view(), outcome.image.view())?.l2;
        ends.push((outcome.success, length, started.elapsed().as_secs_f64()));
    }
    let ((one, l2, slow), (several, also, fast)) = (ends[0], ends[1]);
    let text = format!("one by one L2 {l2:.3} in {slow:.2} s, at once {also:.3} in {fast:.2} s");
    Ok(Found::passed_if(one && several, text, &[("l2", l2), ("l2_at_once", also), ("seconds", slow), ("seconds_at_once", fast)]))
}
