//! Control: the same responses in a randomly rotated basis. Network dissection uses such rotations to show that single units, and not
//! just the space they span, carry concepts; an association between units and labels that survives them is not about units.

use ndarray::{Array2, ArrayViewMut1, s};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Concept, Sample};
use crate::core::stats::{mean, quantile, rank::spearman, std_dev};

/// Spearman's correlation of sensitivity and IoU under random rotations of the layer's channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotation {
    /// Rotations drawn.
    pub draws: usize,
    /// Mean correlation.
    pub mean: f64,
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

/// The control. Labels stay with the numbers of the units while the responses are rotated; only responses that are linear in the
/// activation (spatial means) rotate with it. Repeated attacks must have been averaged as signed changes, so |D| here is |mean D|.
pub fn rotated_association(sample: &Sample, concepts: &[Option<Concept>], draws: usize, seed: u64) -> Option<Rotation> {
    let mut values = Vec::with_capacity(draws);
    for draw in 0..draws {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(draw as u64 + 1);
        let images = sample.clean.nrows();
        // One rotation for both: clean responses above, changes below.
        let mut both = ndarray::concatenate(ndarray::Axis(0), &[sample.clean.view(), sample.change.view()]).ok()?;
        rotate(&mut both, &mut rng);
        let (mut turned, mut iou) = (Vec::new(), Vec::new());
        for (unit, concept) in concepts.iter().enumerate().take(both.ncols()) {
            let Some(concept) = concept else { continue };
            let clean = both.slice(s![..images, unit]).to_vec();
            let size = mean(&both.slice(s![images.., unit]).iter().map(|d| d.abs()).collect::<Vec<_>>());
            let spread = std_dev(&clean);
            if spread > 0.0 {
                turned.push(size / spread);
                iou.push(concept.iou);
            }
        }
        values.extend(spearman(&turned, &iou));
    }
    (!values.is_empty()).then(|| Rotation {
        draws: values.len(),
        mean: mean(&values),
        low: quantile(&values, 0.025),
        high: quantile(&values, 0.975),
    })
}

/// Rows times a random orthogonal matrix, uniform (Haar), as a product of reflections (Stewart 1980): K^2 operations a row.
pub(super) fn rotate(rows: &mut Array2<f64>, rng: &mut ChaCha8Rng) {
    let units = rows.ncols();
    for start in 0..units {
        let mut axis: Vec<f64> = (start..units).map(|_| gaussian(rng)).collect();
        let size = axis.iter().map(|v| v * v).sum::<f64>().sqrt();
        let sign = if axis[0] < 0.0 { -1.0 } else { 1.0 };
        axis[0] += sign * size;
        let square: f64 = axis.iter().map(|v| v * v).sum();
        for mut row in rows.outer_iter_mut() {
            reflect(&mut row.slice_mut(s![start..]), &axis, square);
            row[start] *= -sign;
        }
    }
}

fn reflect(part: &mut ArrayViewMut1<f64>, axis: &[f64], square: f64) {
    if square == 0.0 {
        return;
    }
    let along: f64 = part.iter().zip(axis).map(|(v, a)| v * a).sum::<f64>() * 2.0 / square;
    part.iter_mut().zip(axis).for_each(|(v, a)| *v -= along * a);
}

fn gaussian(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
