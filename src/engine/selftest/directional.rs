//! A gradient against directional finite differences of the forward graph.

use std::{collections::HashMap, time::Instant};

use ndarray::{Array2, Array4, ArrayD, Axis};
use rand::{RngExt as _, SeedableRng as _};

use crate::{
    core::{
        error::Result,
        graph::{
            Prepared,
            eval::{self, Value},
        },
        oracle::{Objective, Oracle as _},
    },
    runtime::{Affine, Network},
};

/// Result of a check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Directions tried.
    pub directions: usize,
    /// Disagreement over the size of the directional derivative: the largest over directions in float64, the median in float32.
    pub error: f64,
    /// Whether the differences were taken in float64 on the reference evaluator, or in float32 on the engine.
    pub float64: bool,
}

/// Longest the reference evaluator may take for one image before the engine is used instead.
const PATIENCE_SECONDS: f64 = 8.0;

/// What is compared: `sum(cotangent * logits)` around `image`, and its gradient there.
struct Point {
    image: Array4<f32>,
    cotangent: Array2<f32>,
    gradient: Array4<f32>,
}

/// Compares `g . v` with central differences of the same linear combination of logits, for random directions v.
///
/// Differences are taken in float64 on the reference evaluator, so that rounding does not limit them. A model that takes it too long is
/// differenced in float32 on the engine: there a right rule shows as about 1e-3, a wrong one as an error near one.
pub fn directional(network: &mut Network, affine: &Affine) -> Result<Check> {
    let [c, h, w] = network.image_shape();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let image = Array4::from_shape_simple_fn((1, c, h, w), || rng.random_range(0.2f32..0.8));
    let cotangent = Array2::from_shape_simple_fn((1, network.classes()), || rng.random_range(-1.0f32..1.0));
    let gradient = network.gradient(image.view(), Objective::Linear { cotangent: cotangent.view() })?.grad;
    let point = Point { image, cotangent, gradient };
    match in_float64(network.prepared(), affine, &point, &mut rng) {
        Some(check) => Ok(check),
        None => in_float32(network, &point, &mut rng),
    }
}

impl Point {
    /// A direction of length about 1.4 with a component along the gradient (otherwise the derivative drowns in rounding), and `g . v`.
    fn direction(&self, rng: &mut impl rand::Rng) -> (Array4<f32>, f64) {
        let noise = Array4::from_shape_simple_fn(self.image.raw_dim(), || rng.random_range(-1.0f32..1.0));
        let norm = |a: &Array4<f32>| a.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        let v = &noise / norm(&noise) + &self.gradient / norm(&self.gradient).max(f32::MIN_POSITIVE);
        let expected = self.gradient.iter().zip(&v).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        (v, expected)
    }

    fn combine(&self, logits: impl Iterator<Item = f64>) -> f64 {
        logits.zip(&self.cotangent).map(|(z, c)| z * f64::from(*c)).sum()
    }
}

fn relative(difference: f64, expected: f64) -> f64 {
    (difference - expected).abs() / expected.abs().max(1e-12)
}

/// `None` when the evaluator does not know an operator or takes too long.
fn in_float64(prepared: &Prepared, affine: &Affine, point: &Point, rng: &mut impl rand::Rng) -> Option<Check> {
    const DIRECTIONS: usize = 3;
    const STEP: f64 = 1e-4;
    let double = |a: ArrayD<f32>| a.mapv(f64::from);
    let at = double(affine.forward(point.image.view(), prepared.layout));
    let linear = Affine { offset: vec![0.0; affine.offset.len()], ..affine.clone() };
    let value = |input: ArrayD<f64>| -> Option<f64> {
        let feeds = HashMap::from([(prepared.image.clone(), Value::F(input))]);
        match eval::run(&prepared.graph, &feeds, &[&prepared.logits]).ok()?.remove(&prepared.logits)? {
            Value::F(logits) => Some(point.combine(logits.iter().copied())),
            _ => None,
        }
    };
    let started = Instant::now();
    if value(at.clone()).is_none() || started.elapsed().as_secs_f64() > PATIENCE_SECONDS {
        return None;
    }
    let mut worst = 0.0f64;
    for _ in 0..DIRECTIONS {
        let (v, expected) = point.direction(rng);
        let step = double(linear.forward(v.view(), prepared.layout)) * STEP;
        let (Some(above), Some(below)) = (value(&at + &step), value(&at - &step)) else { return None };
        worst = worst.max(relative((above - below) / (2.0 * STEP), expected));
    }
    Some(Check { directions: DIRECTIONS, error: worst, float64: true })
}

/// Each direction tries several steps and keeps the best agreement; kinks (ReLU, max) between the two points add to the error.
fn in_float32(network: &mut Network, point: &Point, rng: &mut impl rand::Rng) -> Result<Check> {
    const DIRECTIONS: usize = 8;
    let mut value = |image: &Array4<f32>| -> Result<f64> {
        let logits = network.logits(image.view())?;
        Ok(point.combine(logits.index_axis(Axis(0), 0).iter().map(|z| f64::from(*z))))
    };
    let mut errors = Vec::new();
    for _ in 0..DIRECTIONS {
        let (v, expected) = point.direction(rng);
        let mut best = f64::INFINITY;
        for step in [1e-1f32, 3e-2, 1e-2, 3e-3] {
            let above = value(&(&point.image + &(&v * step)))?;
            let below = value(&(&point.image - &(&v * step)))?;
            best = best.min(relative((above - below) / (2.0 * f64::from(step)), expected));
        }
        errors.push(best);
    }
    errors.sort_by(f64::total_cmp);
    Ok(Check { directions: DIRECTIONS, error: errors[DIRECTIONS / 2], float64: false })
}
