//! Explanations of one step: what the worker and the headless commands both call.

use std::sync::Arc;

use ndarray::{ArrayView1, Axis};

use super::trace::{Frame, Trace};
use crate::core::{
    error::{Error, Result},
    explain::psr::{self, Grid, Mode, Moment, PsrMap, Settings},
    oracle::Oracle,
    scalars,
};

/// The kept frame of a step, or the nearest one kept.
pub fn frame(trace: &Trace, step: usize) -> Result<Arc<Frame>> {
    trace.nearest_frame(step).and_then(|i| trace.frame(i)).ok_or_else(|| Error::Input("this run has no frames yet".into()))
}

/// What a map of a step is asked with.
pub struct PsrRequest<'a> {
    /// Step of the run.
    pub step: usize,
    /// Height and width of a cell in pixels.
    pub cell: [usize; 2],
    /// Floor, threshold, mode.
    pub settings: Settings,
    /// Exact maps of the same step.
    pub known: &'a [Arc<PsrMap>],
    /// An estimate on the same grid.
    pub estimate: Option<&'a PsrMap>,
}

/// Promotion-suppression map of a step. `publish` gets the map as it fills; its last call has `true`.
pub fn psr(
    oracle: &mut dyn Oracle,
    trace: &Trace,
    request: &PsrRequest,
    publish: &mut dyn FnMut(&PsrMap, bool) -> Result<()>,
) -> Result<()> {
    let frame = frame(trace, request.step)?;
    let (_, height, width) = trace.clean.dim();
    let target = match trace.target {
        Some(target) => target,
        // Untargeted: the class the image is taken for now.
        None => scalars::predicted(oracle.logits(frame.image.view().insert_axis(Axis(0)))?.row(0)),
    };
    let grid = Grid::rectangular(height, width, request.cell)?;
    let problem = psr::Question {
        clean: trace.clean.view(),
        adversarial: frame.image.view(),
        classes: (trace.label, target),
        grid,
        settings: request.settings,
    };
    let mut progress = |map: &PsrMap| publish(map, false);
    let map = match request.settings.mode {
        Mode::Exact => {
            let order = match request.estimate.filter(|e| e.grid == grid) {
                Some(estimate) => psr::most_influential_first(estimate),
                None => psr::coarse_to_fine(&grid),
            };
            let known: Vec<&PsrMap> = request.known.iter().map(AsRef::as_ref).collect();
            psr::exact_from(oracle, &problem, &order, &known, &mut progress)?
        }
        _ => psr::evaluate(oracle, &problem, &mut progress)?,
    };
    publish(&map, true)
}

/// Promotion and suppression over the kept frames of a run, about `most` of them, on the classes, grid and settings of `question` (its
/// adversarial image is not looked at). `publish` gets what there is after every step.
pub fn timeline(
    oracle: &mut dyn Oracle,
    trace: &Trace,
    question: &psr::Question,
    clean: ArrayView1<f32>,
    most: usize,
    publish: &mut dyn FnMut(&[Moment]) -> Result<()>,
) -> Result<Vec<Moment>> {
    let mut moments = Vec::new();
    for step in psr::sample(&trace.frames(), most) {
        let frame = frame(trace, step)?;
        let now = oracle.logits(frame.image.view().insert_axis(Axis(0)))?.row(0).to_owned();
        let at = psr::Question { adversarial: frame.image.view(), ..*question };
        moments.push(psr::moment(oracle, &at, step, clean, now.view())?);
        publish(&moments)?;
    }
    Ok(moments)
}
