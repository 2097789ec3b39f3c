//! One image of a sensitivity study: clean, attacked and noisy responses of all units of some layers.

use std::{path::Path, sync::Arc};

use ndarray::{Array2, Array3, ArrayView3, Axis, stack};
use serde::{Deserialize, Serialize};

use super::{Response, seed};
use crate::{
    core::{
        error::{Error, Result},
        explain::sensitivity::{Sample, matched_noise},
        oracle::{LayerInfo, Oracle as _, Units},
    },
    engine::{command::AttackRequest, control::Control, run, subject::Subject},
    runtime::Network,
};

/// What is measured on every image.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The attack.
    pub request: AttackRequest,
    /// Layers.
    pub layers: Vec<String>,
    /// Attacks on each image, with different seeds; averaged before anything is tested.
    pub repeats: usize,
    /// Noise perturbations per attack.
    pub noises: usize,
    /// Whether attacks that missed their goal count too.
    pub include_failed: bool,
}

/// Averages over the attacks on one image, one number per unit.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Change {
    /// Clean response.
    pub clean: Vec<f64>,
    /// Signed change.
    pub change: Vec<f64>,
    /// Absolute change.
    pub size: Vec<f64>,
    /// Absolute change under noise.
    pub noise: Vec<f64>,
}

/// One image.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Measured {
    /// Path below the folder.
    pub name: String,
    /// Class it is taken for.
    pub label: usize,
    /// Seed of the first attack.
    pub seed: u64,
    /// Attacks run.
    pub attacks: usize,
    /// Attacks that reached their goal.
    pub successes: usize,
    /// Mean L2 norm of the perturbations that count.
    pub l2: f64,
    /// L2 norm of the noise over that of the perturbation: below 1 where the box cut it off.
    pub noise_ratio: f64,
    /// Per layer, then mean and max; empty when no attack counts.
    pub layers: Vec<[Change; 2]>,
}

impl Measured {
    /// Whether it enters the statistics.
    pub fn counts(&self) -> bool {
        !self.layers.is_empty()
    }
}

/// Opens, attacks and measures one image.
pub fn measure(network: &mut Network, subject: &Subject, path: &Path, name: &str, plan: &Plan, control: &Control) -> Result<Measured> {
    let clean = Arc::new(subject.image(path)?);
    let logits = network.logits(clean.view().insert_axis(Axis(0)))?.row(0).to_owned();
    let first = seed(plan.request.seed, name, 0);
    let mut kept: Vec<Array3<f32>> = Vec::new();
    let (mut label, mut successes) = (0, 0);
    for repeat in 0..plan.repeats {
        let request = AttackRequest { seed: first.wrapping_add(repeat as u64), ..plan.request.clone() };
        let prepared = run::prepare(&request, Arc::clone(&clean), logits.view(), None)?;
        label = prepared.problem.label;
        let success = prepared.run(network, control, |_| {})?;
        successes += usize::from(success);
        let frame = prepared.trace.best().and_then(|i| prepared.trace.frame(i));
        if let Some(frame) = frame.filter(|f| (success || plan.include_failed) && f.image != *clean) {
            kept.push(frame.image.clone());
        }
    }
    let mut measured = Measured {
        name: name.to_owned(),
        label,
        seed: first,
        attacks: plan.repeats,
        successes,
        l2: 0.0,
        noise_ratio: 0.0,
        layers: Vec::new(),
    };
    if !kept.is_empty() {
        respond(network, clean.view(), &kept, plan, &mut measured)?;
    }
    Ok(measured)
}

fn respond(network: &mut dyn Units, clean: ArrayView3<f32>, attacked: &[Array3<f32>], plan: &Plan, measured: &mut Measured) -> Result<()> {
    let mut noisy = Vec::new();
    for (i, image) in attacked.iter().enumerate() {
        for draw in 0..plan.noises {
            // Noise has a stream of its own, away from the attacks' seeds.
            let seed = measured.seed.rotate_left(32).wrapping_add((i * plan.noises + draw) as u64);
            noisy.push(matched_noise(clean, image.view(), seed));
        }
    }
    let length = |image: &Array3<f32>| image.iter().zip(clean).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    measured.l2 = attacked.iter().map(length).sum::<f64>() / attacked.len() as f64;
    measured.noise_ratio = noisy.iter().map(length).sum::<f64>() / noisy.len().max(1) as f64 / measured.l2;
    let batch: Vec<ArrayView3<f32>> = std::iter::once(clean).chain(attacked.iter().chain(&noisy).map(|a| a.view())).collect();
    let batch = stack(Axis(0), &batch).map_err(|e| Error::Engine(format!("the images do not fit together: {e}")))?;
    let names: Vec<&str> = plan.layers.iter().map(String::as_str).collect();
    let responses = network.responses(batch.view(), &names, None)?;
    measured.layers = responses.layers.iter().map(|l| [&l.mean, &l.max].map(|values| change(values, attacked.len()))).collect();
    Ok(())
}

/// Rows: the clean image, the attacked ones, the noisy ones.
fn change(values: &Array2<f32>, attacked: usize) -> Change {
    let (rows, units) = values.dim();
    let difference = |row: usize, unit: usize| f64::from(values[(row, unit)]) - f64::from(values[(0, unit)]);
    let average = |range: std::ops::Range<usize>, f: fn(f64) -> f64| -> Vec<f64> {
        let n = range.len().max(1) as f64;
        (0..units).map(|u| range.clone().map(|r| f(difference(r, u))).sum::<f64>() / n).collect()
    };
    Change {
        clean: values.row(0).iter().map(|v| f64::from(*v)).collect(),
        change: average(1..attacked + 1, |d| d),
        size: average(1..attacked + 1, f64::abs),
        noise: average(attacked + 1..rows, f64::abs),
    }
}

/// The responses of one layer over the images that count.
pub fn sample(images: &[Measured], layer: usize, response: Response) -> Sample {
    let rows: Vec<&Change> = images.iter().filter(|m| m.counts()).map(|m| &m.layers[layer][response as usize]).collect();
    let units = rows.first().map_or(0, |r| r.clean.len());
    let table = |f: fn(&Change) -> &Vec<f64>| Array2::from_shape_fn((rows.len(), units), |(i, u)| f(rows[i])[u]);
    Sample { clean: table(|c| &c.clean), change: table(|c| &c.change), size: table(|c| &c.size), noise: table(|c| &c.noise) }
}

/// The layers studied unless some are named: the last one at every resolution, without maps of the classes themselves.
pub fn usual_layers(layers: &[LayerInfo], classes: usize) -> Vec<LayerInfo> {
    let mut chosen: Vec<LayerInfo> = Vec::new();
    for layer in layers.iter().filter(|l| l.units != classes && l.units > 1) {
        chosen.retain(|c| c.spatial != layer.spatial);
        chosen.push(layer.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn averages_of_signed_and_absolute_changes() {
        let values = array![[1.0f32, 0.0], [2.0, -1.0], [0.0, -3.0], [1.5, 0.0]];
        let got = change(&values, 2);
        assert_eq!(got.clean, [1.0, 0.0]);
        assert_eq!(got.change, [0.0, -2.0]);
        assert_eq!(got.size, [1.0, 2.0]);
        assert_eq!(got.noise, [0.5, 0.0]);
    }

    #[test]
    fn a_sample_leaves_out_images_without_an_attack_that_counts() {
        let part = |v: f64| Change { clean: vec![v], change: vec![v], size: vec![v], noise: vec![v] };
        let image = |layers| Measured { name: "x".into(), label: 0, seed: 0, attacks: 1, successes: 0, l2: 0.0, noise_ratio: 0.0, layers };
        let images = [image(vec![[part(1.0), part(2.0)]]), image(Vec::new()), image(vec![[part(3.0), part(4.0)]])];
        assert_eq!(sample(&images, 0, Response::Mean).clean, array![[1.0], [3.0]]);
        assert_eq!(sample(&images, 0, Response::Max).size, array![[2.0], [4.0]]);
    }

    #[test]
    fn the_usual_layers_are_the_last_of_every_resolution() {
        let layer = |name: &str, units, side| LayerInfo { name: name.into(), op: "Relu".into(), units, spatial: [side, side] };
        let layers = [layer("a", 8, 32), layer("b", 8, 32), layer("c", 16, 16), layer("z", 10, 16)];
        let names: Vec<String> = usual_layers(&layers, 10).into_iter().map(|l| l.name).collect();
        assert_eq!(names, ["b", "c"]);
    }
}
