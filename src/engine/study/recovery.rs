//! Recovery curves: the most sensitive units of a layer are zeroed, and every image of a folder is looked at again.

use std::{path::Path, sync::Arc};

use ndarray::{Array2, Array3, ArrayView3, Axis, concatenate};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::seed;
use crate::{
    core::{
        error::{Error, Result},
        explain::recovery::{AtK, Right, at_k, ranking},
        oracle::{Gated, Oracle as _, Replacement, UnitGate, Units},
        scalars,
    },
    engine::{command::AttackRequest, control::Control, run, subject::Subject},
};

/// From which images the sensitive units are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// For each image from all others: the mask has not seen the image it is tried on.
    Others,
    /// From all images: optimistic, because the same images choose and judge.
    All,
}

impl Ranking {
    /// Word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Others => "others",
            Self::All => "all",
        }
    }
}

/// What is tried.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The attack.
    pub request: AttackRequest,
    /// Layer whose units are masked.
    pub layer: String,
    /// Numbers of units, ascending.
    pub top: Vec<usize>,
    /// Random masks of every size.
    pub draws: usize,
    /// Where the ranking comes from.
    pub ranking: Ranking,
    /// Whether attacks are run again on the masked network.
    pub adaptive: bool,
}

/// An image whose attack reached its goal.
#[derive(Debug, Clone)]
pub struct Attacked {
    /// Path below the folder.
    pub name: String,
    /// Class of the clean image: what recovery means.
    pub label: usize,
    /// Seed of the attack.
    pub seed: u64,
    clean: Arc<Array3<f32>>,
    adversarial: Array3<f32>,
    response: Vec<f64>,
    size: Vec<f64>,
}

/// Attacks one image and reads the layer's mean responses; `None` when the goal was missed.
pub fn attack<N: Units>(
    network: &mut N,
    subject: &Subject,
    path: &Path,
    name: &str,
    plan: &Plan,
    control: &Control,
) -> Result<Option<Attacked>> {
    let clean = Arc::new(subject.image(path)?);
    let logits = network.logits(clean.view().insert_axis(Axis(0)))?.row(0).to_owned();
    let seed = seed(plan.request.seed, name, 0);
    let prepared = run::prepare(&AttackRequest { seed, ..plan.request.clone() }, Arc::clone(&clean), logits.view(), None)?;
    let success = prepared.run(network, control, |_| {})?;
    let frame = prepared.trace.best().and_then(|i| prepared.trace.frame(i)).filter(|_| success);
    let Some(frame) = frame else { return Ok(None) };
    let both = concatenate(Axis(0), &[clean.view().insert_axis(Axis(0)), frame.image.view().insert_axis(Axis(0))])
        .map_err(|e| Error::Engine(e.to_string()))?;
    let responses = network.responses(both.view(), &[&plan.layer], None)?;
    let mean = &responses.layers.first().ok_or_else(|| Error::Engine(format!("layer '{}' gave nothing", plan.layer)))?.mean;
    let row = |r: usize| mean.row(r).iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let (response, after) = (row(0), row(1));
    let size = response.iter().zip(&after).map(|(a, b)| (b - a).abs()).collect();
    Ok(Some(Attacked {
        name: name.to_owned(),
        label: prepared.problem.label,
        seed,
        clean,
        adversarial: frame.image.clone(),
        response,
        size,
    }))
}

/// What one image gives: for every number of units the chosen mask, then the random ones; and the attacks on the masked network.
struct Tried {
    clean: Vec<bool>,
    attacked: Vec<bool>,
    adaptive: Vec<bool>,
}

/// The curve over all images. `progress` is called after every image.
pub fn curve(network: &mut dyn Units, images: &[Attacked], plan: &Plan, control: &Control, progress: &mut dyn FnMut()) -> Result<Vec<AtK>> {
    let units = images.first().map_or(0, |i| i.response.len());
    if let Some(k) = plan.top.iter().find(|k| **k > units) {
        return Err(Error::Parameter(format!("--top {k} asks for more units than layer '{}' has ({units})", plan.layer)));
    }
    let random = random_orders(units, plan.draws, plan.request.seed);
    let (responses, sizes): (Vec<Vec<f64>>, Vec<Vec<f64>>) = images.iter().map(|i| (i.response.clone(), i.size.clone())).unzip();
    let mut tried = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let rows: Vec<usize> = (0..images.len()).filter(|i| plan.ranking == Ranking::All || *i != at).collect();
        let order = ranking(&responses, &sizes, &rows);
        tried.push(try_image(network, image, &order, &random, plan, control)?);
        progress();
    }
    let per_k = 1 + plan.draws;
    let column =
        |c: usize| Right { clean: tried.iter().map(|t| t.clean[c]).collect(), attacked: tried.iter().map(|t| t.attacked[c]).collect() };
    let bare = column(0);
    let point = |(i, k): (usize, &usize)| {
        let first = 1 + i * per_k;
        let random: Vec<Right> = if *k == 0 { Vec::new() } else { (first + 1..first + per_k).map(column).collect() };
        let adaptive = plan.adaptive.then(|| tried.iter().filter(|t| t.adaptive[i]).count());
        at_k(*k, &bare, &column(first), &random, adaptive)
    };
    Ok(plan.top.iter().enumerate().filter_map(point).collect())
}

/// Masks: none, then for every number of units the chosen one and the random ones. One random order serves all images and sizes: a mask is
/// a property of the network, not of an image.
fn masks(order: &[usize], random: &[Vec<usize>], top: &[usize]) -> Array2<f32> {
    let units = order.len();
    let rows: Vec<(&[usize], usize)> = std::iter::once((order, 0))
        .chain(top.iter().flat_map(|k| std::iter::once((order, *k)).chain(random.iter().map(|r| (r.as_slice(), *k)))))
        .collect();
    let mut masks = Array2::ones((rows.len(), units));
    for (mut row, (order, k)) in masks.outer_iter_mut().zip(rows) {
        order[..k].iter().for_each(|u| row[*u] = 0.0);
    }
    masks
}

fn random_orders(units: usize, draws: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..draws)
        .map(|_| {
            let mut order: Vec<usize> = (0..units).collect();
            order.shuffle(&mut rng);
            order
        })
        .collect()
}

fn try_image(
    network: &mut dyn Units,
    image: &Attacked,
    order: &[usize],
    random: &[Vec<usize>],
    plan: &Plan,
    control: &Control,
) -> Result<Tried> {
    let masks = masks(order, random, &plan.top);
    let mut right = |pixels: ArrayView3<f32>| -> Result<Vec<bool>> {
        let mut out = Vec::with_capacity(masks.nrows());
        for rows in masks.axis_chunks_iter(Axis(0), 32) {
            control.checkpoint()?;
            let gate = UnitGate { layer: plan.layer.clone(), mask: rows.to_owned(), replacement: Replacement::Zero };
            let logits = network.gated_logits(pixels.insert_axis(Axis(0)), &[gate])?;
            out.extend(logits.outer_iter().map(|z| scalars::predicted(z) == image.label));
        }
        Ok(out)
    };
    let (clean, attacked) = (right(image.clean.view())?, right(image.adversarial.view())?);
    let mut adaptive = Vec::new();
    for k in plan.top.iter().filter(|_| plan.adaptive) {
        adaptive.push(again(network, image, &order[..*k], plan, control)?);
    }
    Ok(Tried { clean, attacked, adaptive })
}

/// The same attack on the masked network. An image that the mask alone takes from its class counts as reached.
fn again(network: &mut dyn Units, image: &Attacked, masked: &[usize], plan: &Plan, control: &Control) -> Result<bool> {
    let gate = UnitGate::zero(&plan.layer, image.response.len(), masked);
    let mut gated = Gated::new(network, vec![gate]);
    let logits = gated.logits(image.clean.view().insert_axis(Axis(0)))?.row(0).to_owned();
    let request = AttackRequest { seed: image.seed, label: Some(image.label), ..plan.request.clone() };
    match run::prepare(&request, Arc::clone(&image.clean), logits.view(), None) {
        Ok(prepared) => prepared.run(&mut gated, control, |_| {}),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_nested_and_in_the_promised_order() {
        let random = random_orders(4, 2, 1);
        let got = masks(&[2, 0, 1, 3], &random, &[0, 2]);
        assert_eq!(got.dim(), (1 + 2 * 3, 4));
        assert!(got.row(0).iter().chain(got.row(1)).all(|v| *v == 1.0));
        assert_eq!(got.row(4).to_vec(), [0.0, 1.0, 0.0, 1.0]);
        for row in 4..7 {
            assert_eq!(got.row(row).iter().filter(|v| **v == 0.0).count(), 2);
        }
        assert_eq!(random_orders(4, 2, 1), random);
    }
}
