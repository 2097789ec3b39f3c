//! Gradients against finite differences in double precision, and which provider runs them.

use std::{collections::HashMap, sync::Arc};

use ndarray::Axis;

use super::{Bench, Found, directional, models};
use crate::{
    core::{
        error::{Error, Result},
        graph::eval::{self, Value},
        oracle::Oracle as _,
    },
    runtime::{Affine, Network, placement::by_provider},
};

/// Logits and gradient of a generated network against the reference evaluator.
pub fn small(bench: &Bench, name: &str) -> Result<Found> {
    let prepared = Arc::new(models::network(name)?);
    let affine = Affine::normalise(&[0.5; 3], &[0.25; 3], false);
    let mut network = Network::new(Arc::clone(&prepared), Arc::clone(&bench.backend), affine.clone())?;
    let image = models::image(1);
    let batch = image.view().insert_axis(Axis(0));
    let logits = network.logits(batch)?;
    let input = affine.forward(batch, prepared.layout).mapv(f64::from);
    let feeds = HashMap::from([(prepared.image.clone(), Value::F(input))]);
    let exact = match eval::run(&prepared.graph, &feeds, &[&prepared.logits])?.remove(&prepared.logits) {
        Some(Value::F(exact)) => exact,
        _ => return Err(Error::Model("the reference evaluator gave no logits".into())),
    };
    let size = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let logit = logits.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / size;
    let check = directional::directional(&mut network, &affine)?;
    let limit = if bench.half { 0.05 } else { 1e-3 };
    let text = format!("logits off by {logit:.1e} of the largest, gradient by {:.1e} along {} directions", check.error, check.directions);
    Ok(Found::passed_if(logit < limit && check.error < limit, text, &[("logits", logit), ("gradient", check.error)]))
}

/// How much of the model's gradient graph runs where.
pub fn placement(bench: &Bench) -> Result<Found> {
    let network = bench.subject.network(&bench.backend)?;
    let Some(placed) = network.placement(true)? else {
        return Ok(Found::passed_if(true, "one provider: everything runs on the processor".into(), &[]));
    };
    let counts = by_provider(&placed);
    let total: usize = counts.iter().map(|c| c.1).sum();
    let here = counts.iter().find(|c| c.0 == "CPU").map_or(0, |c| c.1);
    let words: Vec<String> = counts.iter().map(|(p, n)| format!("{n} on {p}")).collect();
    let text = format!("gradient of {total} nodes: {}", words.join(", "));
    // A handful of shape computations may stay on the processor; half of the graph may not.
    let good = total > 0 && (!bench.gpu || here * 2 < total);
    Ok(Found::passed_if(good, text, &[("nodes", total as f64), ("on_cpu", here as f64)]))
}
