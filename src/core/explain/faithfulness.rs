//! Whether a map can be believed: what happens to the class's probability when the pixels it calls important go, or come.
//!
//! Deletion and insertion (RISE, Petsiuk et al. 2018): pixels ranked by the map, replaced by (or restored over) the pixel that the
//! preprocessing maps to 0, twenty equal steps, area under the curve by trapezoids over the whole fraction. A good map
//! has a small deletion area and a large insertion area. Both depend on the model and the image, so the same is done
//! with the map's values dealt to other places: a map that does no better than that points at nothing.
//!
//! ROAD (Rong et al. 2022): the most (MoRF) or least (LeRF) relevant 10..90 % are replaced by the linear interpolation of what
//! is left plus noise of 0.01; the summary is the mean of (LeRF - MoRF) / 2, above 0 for a map that helps.

use ndarray::{Array2, Array3, Array4, ArrayView2, ArrayView3, Axis};
use rand::{RngExt as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::{impute, upsample::bilinear};
use crate::core::{
    error::{Error, Result},
    oracle::Oracle,
    scalars,
};

/// Steps of deletion and insertion.
pub const STEPS: usize = 20;
/// Fractions removed in ROAD.
pub const ROAD: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/// Maps with shuffled values that the map is compared to.
pub const CONTROLS: usize = 3;
const NOISE: f32 = 0.01;

/// Probability of the class over the fraction of pixels removed or restored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curve {
    /// Fraction of the pixels.
    pub fractions: Vec<f64>,
    /// Softmax probability of the class.
    pub scores: Vec<f64>,
}

impl Curve {
    /// Area under the curve by trapezoids, over the width of its fractions: the mean probability.
    pub fn auc(&self) -> f64 {
        let width = self.fractions.last().zip(self.fractions.first()).map_or(0.0, |(b, a)| b - a);
        let pieces = self.fractions.windows(2).zip(self.scores.windows(2));
        pieces.map(|(x, y)| (x[1] - x[0]) * (y[0] + y[1]) / 2.0).sum::<f64>() / width.max(f64::MIN_POSITIVE)
    }
}

/// Everything measured about one map.
#[derive(Debug, Clone, PartialEq)]
pub struct Faithfulness {
    /// Class whose probability is followed.
    pub class: usize,
    /// Most relevant pixels removed first.
    pub deletion: Curve,
    /// Most relevant pixels restored first.
    pub insertion: Curve,
    /// Mean areas of deletion and insertion over maps with shuffled values.
    pub control: (f64, f64),
    /// ROAD, most relevant first.
    pub morf: Curve,
    /// ROAD, least relevant first.
    pub lerf: Curve,
    /// Images run.
    pub forwards: usize,
}

impl Faithfulness {
    /// Mean of (LeRF - MoRF) / 2.
    pub fn road(&self) -> f64 {
        let sum: f64 = self.lerf.scores.iter().zip(&self.morf.scores).map(|(l, m)| (l - m) / 2.0).sum();
        sum / self.morf.scores.len().max(1) as f64
    }
}

/// Measures a map `[h, w]` (any size: it is enlarged half-pixel bilinear) of one image for a class. `progress` gets images run and
/// their number; an error ends the work.
pub fn evaluate(
    oracle: &mut dyn Oracle,
    image: ArrayView3<f32>,
    map: ArrayView2<f32>,
    class: usize,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Faithfulness> {
    let (_, h, w) = image.dim();
    if class >= oracle.classes() {
        return Err(Error::Parameter(format!("class {class} does not exist; this model has classes 0 to {}", oracle.classes() - 1)));
    }
    if map.is_empty() || map.iter().any(|v| !v.is_finite()) {
        return Err(Error::Input("the map has no finite values, so its pixels have no order".into()));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let total = (1 + CONTROLS) * 2 * (STEPS + 1) + 2 * ROAD.len();
    let mut asked = Asked { oracle, class, done: 0, total, progress };
    let order = ranked(map, [h, w]);
    let (deletion, insertion) = asked.both_ways(image, &order)?;
    let mut control = (0.0, 0.0);
    for _ in 0..CONTROLS {
        let (d, i) = asked.both_ways(image, &ranked(shuffled(map, &mut rng).view(), [h, w]))?;
        control = (control.0 + d.auc() / CONTROLS as f64, control.1 + i.auc() / CONTROLS as f64);
    }
    let morf = asked.road(image, &order, &mut rng)?;
    let reversed: Vec<usize> = order.iter().rev().copied().collect();
    let lerf = asked.road(image, &reversed, &mut rng)?;
    Ok(Faithfulness { class, deletion, insertion, control, morf, lerf, forwards: asked.done })
}

/// Row-major pixels, the map's largest first; equal ones in reading order.
fn ranked(map: ArrayView2<f32>, size: [usize; 2]) -> Vec<usize> {
    let large = bilinear(map, size);
    let values: Vec<f32> = large.iter().copied().collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order
}

/// The same values at other places.
fn shuffled(map: ArrayView2<f32>, rng: &mut ChaCha8Rng) -> Array2<f32> {
    let mut values: Vec<f32> = map.iter().copied().collect();
    values.shuffle(rng);
    let mut values = values.into_iter();
    Array2::from_shape_simple_fn(map.raw_dim(), || values.next().unwrap_or_default())
}

/// A standard normal number (Box, Muller).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v) = (rng.random_range(f32::MIN_POSITIVE..1.0), rng.random_range(0.0..std::f32::consts::TAU));
    (-2.0 * u.ln()).sqrt() * v.cos()
}

struct Asked<'a> {
    oracle: &'a mut dyn Oracle,
    class: usize,
    done: usize,
    total: usize,
    progress: &'a mut dyn FnMut(usize, usize) -> Result<()>,
}

impl Asked<'_> {
    /// Probability of the class on each image, made one by one in batches.
    fn probabilities(&mut self, count: usize, make: &mut dyn FnMut(usize) -> Array3<f32>) -> Result<Vec<f64>> {
        let mut out = Vec::with_capacity(count);
        let batch = self.oracle.batch().max(1);
        for start in (0..count).step_by(batch) {
            let images: Vec<Array3<f32>> = (start..(start + batch).min(count)).map(&mut *make).collect();
            let (c, h, w) = images[0].dim();
            let mut stack = Array4::zeros((images.len(), c, h, w));
            for (mut slot, image) in stack.outer_iter_mut().zip(&images) {
                slot.assign(image);
            }
            let logits = self.oracle.logits(stack.view())?;
            out.extend(logits.outer_iter().map(|z| scalars::prob(z, self.class)));
            self.done += images.len();
            (self.progress)(self.done, self.total)?;
        }
        Ok(out)
    }

    /// Deletion and insertion in one order of pixels.
    fn both_ways(&mut self, image: ArrayView3<f32>, order: &[usize]) -> Result<(Curve, Curve)> {
        let (_, _, w) = image.dim();
        let neutral = self.oracle.neutral();
        let mut blank = image.to_owned();
        for (mut plane, value) in blank.axis_iter_mut(Axis(0)).zip(&neutral) {
            plane.fill(*value);
        }
        let upto = |i: usize| (i * order.len()).div_ceil(STEPS).min(order.len());
        let mut run = |from: ArrayView3<f32>, to: ArrayView3<f32>| -> Result<Curve> {
            let mut now = from.to_owned();
            let mut moved = 0;
            let mut make = |i: usize| {
                for pixel in &order[moved..upto(i)] {
                    let (y, x) = (pixel / w, pixel % w);
                    now.slice_mut(ndarray::s![.., y, x]).assign(&to.slice(ndarray::s![.., y, x]));
                }
                moved = upto(i);
                now.clone()
            };
            let scores = self.probabilities(STEPS + 1, &mut make)?;
            let fractions = (0..=STEPS).map(|i| upto(i) as f64 / order.len() as f64).collect();
            Ok(Curve { fractions, scores })
        };
        Ok((run(image, blank.view())?, run(blank.view(), image)?))
    }

    /// ROAD with the first pixels of an order removed.
    fn road(&mut self, image: ArrayView3<f32>, order: &[usize], rng: &mut ChaCha8Rng) -> Result<Curve> {
        let (_, h, w) = image.dim();
        let mut make = |i: usize| {
            let mut missing = Array2::from_elem((h, w), false);
            for pixel in &order[..(ROAD[i] * order.len() as f64).round() as usize] {
                missing[(pixel / w, pixel % w)] = true;
            }
            let mut filled = impute::fill(image, missing.view());
            for ((_, y, x), v) in filled.indexed_iter_mut() {
                if missing[(y, x)] {
                    *v += NOISE * normal(rng);
                }
            }
            filled
        };
        let scores = self.probabilities(ROAD.len(), &mut make)?;
        Ok(Curve { fractions: ROAD.to_vec(), scores })
    }
}
