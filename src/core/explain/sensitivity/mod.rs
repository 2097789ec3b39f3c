//! Which units an attack moves, and whether those are the interpretable ones (method report F).
//!
//! The unit of replication is the clean image: repeated attacks on one image are averaged before any test. `D` is the paired change of a
//! unit's response from x0 to x'. Signed D is tested against zero; |D| is compared with |D| under noise of the same norms on the same
//! image, because |D| is never negative and a test of it against zero would mean nothing.

mod association;
mod noise;
mod rotation;
mod units;

pub use association::{Association, AtThreshold, Categories, associate};
pub use noise::matched_noise;
pub use rotation::{Rotation, rotated_association};
pub use units::analyse;

use ndarray::Array2;

/// Responses of one layer's units over a folder, images by units.
#[derive(Debug, Clone)]
pub struct Sample {
    /// On the clean image.
    pub clean: Array2<f64>,
    /// Signed change, averaged over the attacks on that image.
    pub change: Array2<f64>,
    /// Absolute change, averaged over the attacks on that image.
    pub size: Array2<f64>,
    /// Absolute change under noise of the same norms, averaged over its draws.
    pub noise: Array2<f64>,
}

/// What is the same for all layers.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// False discovery rate that counts as significant.
    pub level: f64,
    /// Random sign patterns, bootstrap resamples.
    pub draws: usize,
    /// Random rotations of the channels.
    pub rotations: usize,
    /// IoU from which a unit counts as interpretable; a convention (0.04 in Bau et al. 2017).
    pub iou: f64,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: 0.05, draws: 1000, rotations: 20, iou: 0.04, seed: 0 }
    }
}

/// One unit over all images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Number in its layer.
    pub unit: usize,
    /// The same response on every clean and attacked image: excluded from tests.
    pub dead: bool,
    /// Mean response over clean images.
    pub clean_mean: f64,
    /// Spread (standard deviation) over clean images.
    pub clean_sd: f64,
    /// Share of clean images with a response above zero.
    pub firing: f64,
    /// Mean signed change.
    pub change: f64,
    /// Mean |D|.
    pub size: f64,
    /// Mean signed change over the clean spread.
    pub shift: Option<f64>,
    /// Mean |D| over the clean spread: the sensitivity that units are ranked by.
    pub sensitivity: Option<f64>,
    /// The same under noise.
    pub noise: Option<f64>,
    /// d_z of signed D.
    pub d_z: Option<f64>,
    /// Matched-pairs rank-biserial correlation of signed D.
    pub rank_biserial: Option<f64>,
    /// Wilcoxon signed-rank test of signed D.
    pub p: Option<f64>,
    /// After Benjamini-Hochberg within the layer.
    pub q: Option<f64>,
    /// After Benjamini-Yekutieli within the layer.
    pub q_by: Option<f64>,
    /// Paired t test of signed D.
    pub p_t: Option<f64>,
    /// Family-wise p over the layer from random signs.
    pub p_family: Option<f64>,
    /// d_z of |D| under the attack minus |D| under noise.
    pub excess_d_z: Option<f64>,
    /// Wilcoxon signed-rank test of that difference.
    pub p_noise: Option<f64>,
    /// After Benjamini-Hochberg within the layer.
    pub q_noise: Option<f64>,
}

/// One layer over all images.
#[derive(Debug, Clone)]
pub struct LayerResult {
    /// Every unit, in the order of the layer.
    pub units: Vec<Unit>,
    /// Units in the tests.
    pub tested: usize,
    /// Tested units with q at or below the level.
    pub significant: usize,
    /// Of these, units whose mean change is positive.
    pub promoted: usize,
    /// Tested units that move more than under noise, at the level.
    pub beyond_noise: usize,
    /// Tested units with |d_z| of at least 0.2, 0.5, 0.8.
    pub by_effect: [usize; 3],
}

/// What dissection says about a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Concept {
    /// Best concept.
    pub label: String,
    /// Its category.
    pub category: String,
    /// Intersection over union.
    pub iou: f64,
}

#[cfg(test)]
mod tests;
