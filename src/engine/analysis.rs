//! Explanations of one step: what the worker and the headless commands both call.

use std::sync::Arc;

use ndarray::{ArrayView3, Axis};

use super::trace::{Frame, Trace};
use crate::core::{
    attack::scalars,
    error::{Error, Result},
    explain::{
        cam::{self, CamMap, Method},
        psr::{self, Grid, PsrMap, Settings},
    },
    oracle::{Layers, Oracle},
};

/// The kept frame of a step, or the nearest one kept.
pub fn frame(trace: &Trace, step: usize) -> Result<Arc<Frame>> {
    trace.nearest_frame(step).and_then(|i| trace.frame(i)).ok_or_else(|| Error::Input("this run has no frames yet".into()))
}

/// Promotion-suppression map of a step. `publish` gets the map as it fills; its last call has `true`.
pub fn psr(
    oracle: &mut dyn Oracle,
    trace: &Trace,
    step: usize,
    cell: usize,
    settings: Settings,
    publish: &mut dyn FnMut(&PsrMap, bool) -> Result<()>,
) -> Result<()> {
    let frame = frame(trace, step)?;
    let (_, height, width) = trace.clean.dim();
    let target = match trace.target {
        Some(target) => target,
        // Untargeted: the class the image is taken for now.
        None => scalars::predicted(oracle.logits(frame.image.view().insert_axis(Axis(0)))?.row(0)),
    };
    let problem = psr::Problem {
        clean: trace.clean.view(),
        adversarial: frame.image.view(),
        label: trace.label,
        target,
        grid: Grid::with_cell(height, width, cell)?,
        settings,
    };
    let map = psr::evaluate(oracle, &problem, &mut |map: &PsrMap| publish(map, false))?;
    publish(&map, true)
}

/// Class activation map at a layer; the method's natural layer when none is named.
pub fn cam(network: &mut dyn Layers, image: ArrayView3<f32>, method: Method, layer: Option<&str>, class: usize) -> Result<CamMap> {
    let classes = network.classes();
    if class >= classes {
        return Err(Error::Parameter(format!("class {class} does not exist: the model has {classes} classes, 0 to {}", classes - 1)));
    }
    let chosen = match layer {
        Some(name) => name.to_owned(),
        None => default_layer(network)?,
    };
    cam::compute(network, image, method, &chosen, class)
}

/// The tensor that is averaged before the linear head, else the last spatial layer.
fn default_layer(network: &dyn Layers) -> Result<String> {
    if let Some(head) = network.linear_head() {
        return Ok(head.layer);
    }
    let last = network.spatial_layers().pop();
    last.map(|l| l.name).ok_or_else(|| Error::Model("the model has no spatial layer to draw a map at; name a tensor with --layer".into()))
}
