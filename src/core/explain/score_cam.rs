//! Score-CAM (Wang et al. 2020): a channel counts by the score that its own place leaves when all else is faded out.
//!
//! `w = softmax_k( Z_c(x o N(up(A_k))) )` over all channels, `N` the min-max per channel to 0..1, `up` half-pixel bilinear to
//! the image's size, before the min-max. Subtracting the score of a baseline would cancel in the softmax. `x o m` fades
//! towards the pixel that the preprocessing maps to 0, as a product after the preprocessing does. A constant channel has
//! the mask 0. One forward run per channel: slow for wide layers, so it reports progress and can be stopped.

use ndarray::{Array3, Array4, ArrayView2, ArrayView3, Axis};

use super::upsample::bilinear;
use crate::core::{error::Result, oracle::Oracle};

/// Weight of every channel of an activation `[K, h, w]` for a class; they add up to 1. `progress` gets channels done and
/// their number after every batch; an error ends the work.
pub fn weights(
    oracle: &mut dyn Oracle,
    image: ArrayView3<f32>,
    activation: &Array3<f32>,
    class: usize,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<f32>> {
    let (c, h, w) = image.dim();
    let channels = activation.dim().0;
    let neutral = oracle.neutral();
    let mut scores = Vec::with_capacity(channels);
    let all: Vec<usize> = (0..channels).collect();
    for chunk in all.chunks(oracle.batch().max(1)) {
        let mut images = Array4::<f32>::zeros((chunk.len(), c, h, w));
        for (mut masked, k) in images.outer_iter_mut().zip(chunk) {
            let mask = unit(activation.index_axis(Axis(0), *k), [h, w]);
            for ((mut plane, source), base) in masked.outer_iter_mut().zip(image.outer_iter()).zip(&neutral) {
                ndarray::Zip::from(&mut plane).and(&source).and(&mask).for_each(|o, x, m| *o = base + (x - base) * m);
            }
        }
        scores.extend(oracle.logits(images.view())?.column(class).iter().map(|z| f64::from(*z)));
        progress(scores.len(), channels)?;
    }
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = scores.iter().map(|z| (z - largest).exp()).sum();
    Ok(scores.iter().map(|z| ((z - largest).exp() / total) as f32).collect())
}

/// A channel at the image's size, min-max to 0..1; zero where it is constant.
fn unit(channel: ArrayView2<f32>, size: [usize; 2]) -> ndarray::Array2<f32> {
    let large = bilinear(channel, size);
    let (low, high) = large.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
    let range = high - low;
    large.mapv(|v| if range > 0.0 { (v - low) / range } else { 0.0 })
}
