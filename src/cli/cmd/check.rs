//! `psescope grad --check`: the gradient against directional finite differences of the forward graph.

use ndarray::{Array2, Array4, Axis};
use rand::{RngExt as _, SeedableRng as _};

use crate::{
    cli::args::ModelArgs,
    core::oracle::{Objective, Oracle as _},
    engine::subject::Subject,
    runtime::Runtime,
};

/// Result of a check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Directions tried.
    pub directions: usize,
    /// Largest disagreement over the size of the directional derivative (median direction).
    pub error: f64,
}

const DIRECTIONS: usize = 8;

/// Compares `g . v` with central differences of the same linear combination of logits, for random directions v.
///
/// float32 limits the steps: each direction tries several and keeps the best agreement, so a wrong rule shows as an error near one, a right
/// one as about 1e-3. Kinks (ReLU, max) between the two points add to the error.
pub fn directional(subject: &Subject, args: &ModelArgs) -> anyhow::Result<Check> {
    let backend = Runtime::open(&args.runtime())?.backend();
    let mut network = subject.network(&backend)?;
    let [c, h, w] = network.image_shape();
    let classes = network.classes();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let x = Array4::from_shape_simple_fn((1, c, h, w), || rng.random_range(0.2f32..0.8));
    let cotangent = Array2::from_shape_simple_fn((1, classes), || rng.random_range(-1.0f32..1.0));
    let evaluation = network.gradient(x.view(), Objective::Linear { cotangent: cotangent.view() })?;
    let mut value = |x: &Array4<f32>| -> anyhow::Result<f64> {
        let logits = network.logits(x.view())?;
        Ok(logits.index_axis(Axis(0), 0).iter().zip(cotangent.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum())
    };
    let mut errors = Vec::new();
    for _ in 0..DIRECTIONS {
        // A direction with a component along the gradient: otherwise the derivative drowns in rounding.
        let noise = Array4::from_shape_simple_fn((1, c, h, w), || rng.random_range(-1.0f32..1.0));
        let norm = |a: &Array4<f32>| a.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        let v = &noise / norm(&noise) + &evaluation.grad / norm(&evaluation.grad).max(f32::MIN_POSITIVE);
        let expected: f64 = evaluation.grad.iter().zip(&v).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let mut best = f64::INFINITY;
        for step in [1e-1f32, 3e-2, 1e-2, 3e-3] {
            let difference = (value(&(&x + &(&v * step)))? - value(&(&x - &(&v * step)))?) / (2.0 * f64::from(step));
            best = best.min((difference - expected).abs() / expected.abs().max(1e-12));
        }
        errors.push(best);
    }
    errors.sort_by(f64::total_cmp);
    Ok(Check { directions: DIRECTIONS, error: errors[DIRECTIONS / 2] })
}
