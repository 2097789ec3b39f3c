//! Explanations of one step: what the worker and the headless commands both call.

use std::sync::Arc;

use ndarray::Axis;

use super::trace::{Frame, Trace};
use crate::core::{
    attack::scalars,
    error::{Error, Result},
    explain::psr::{self, Grid, PsrMap, Settings},
    oracle::Oracle,
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
    let problem = psr::Question {
        clean: trace.clean.view(),
        adversarial: frame.image.view(),
        classes: (trace.label, target),
        grid: Grid::square(height, width, cell)?,
        settings,
    };
    let map = psr::evaluate(oracle, &problem, &mut |map: &PsrMap| publish(map, false))?;
    publish(&map, true)
}
