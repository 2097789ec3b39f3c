//! The loop in the graph against the loop on the host, attack by attack.

use std::sync::Arc;

use ndarray::{Array3, Axis};

use super::{Bench, Found, models};
use crate::{
    core::{
        attack::{self, Params, Problem, Recorder, Step, scalars},
        error::{Error, Result},
        oracle::Oracle as _,
    },
    runtime::{Affine, Network},
};

/// Counts steps and those that never left the device.
#[derive(Default)]
struct Count {
    steps: usize,
    away: usize,
}

impl Recorder for Count {
    fn step(&mut self, step: Step) -> Result<()> {
        self.steps += 1;
        self.away += usize::from(step.image.is_remote());
        Ok(())
    }
}

/// Runs an attack both ways on a generated network and compares the images it ends with.
pub fn equal(bench: &Bench, name: &str, params: &[(&str, &str)]) -> Result<Found> {
    let attack = attack::find(name).ok_or_else(|| Error::Parameter(format!("there is no attack '{name}'")))?;
    let params = Params::check(attack.params(), params.iter().copied())?;
    let prepared = Arc::new(models::network("residual")?);
    let image = models::image(2);
    let mut ends: Vec<(Array3<f32>, bool, Count)> = Vec::new();
    for resident in [false, true] {
        let affine = Affine::normalise(&[0.5; 3], &[0.25; 3], false);
        let mut network = Network::new(Arc::clone(&prepared), Arc::clone(&bench.backend), affine)?.with_resident(resident);
        let clean = network.logits(image.view().insert_axis(Axis(0)))?;
        let label = scalars::predicted(clean.row(0));
        let problem = Problem { image: image.clone(), label, target: None, mask: None, seed: 1 };
        let mut count = Count::default();
        let outcome = attack.run(&mut network, &problem, &params, &mut count)?;
        ends.push((outcome.image, outcome.success, count));
    }
    let [(host, reached, here), (device, also, there)] = <[_; 2]>::try_from(ends).map_err(|_| Error::Engine("an end is missing".into()))?;
    let differences: Vec<f32> = host.iter().zip(&device).map(|(a, b)| (a - b).abs()).collect();
    let largest = differences.iter().copied().fold(0.0, f32::max);
    let moved = host.iter().zip(&image).map(|(a, b)| (a - b).abs()).fold(f32::MIN_POSITIVE, f32::max);
    // Two compilations of one graph may round differently: a sign turns where the gradient is next to nothing.
    let share = differences.iter().filter(|d| **d > 0.02 * moved).count() as f64 / differences.len() as f64;
    let good = reached == also && here.steps == there.steps && there.away > 0 && share < if bench.half { 0.5 } else { 0.02 };
    let text = match (there.away, largest) {
        (0, _) => "nothing ran in the graph".into(),
        (_, 0.0) => format!("{} steps, the same to the last bit", there.steps),
        _ => format!("{} steps, largest difference {largest:.1e}, {:.2} % of values differ visibly", there.steps, 100.0 * share),
    };
    Ok(Found::passed_if(good, text, &[("largest", largest.into()), ("share", share), ("moved", moved.into())]))
}
