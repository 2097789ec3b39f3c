//! Attacks whose images stay where the network runs: what the loops of gradient sign, C&W and EAD share then.

use std::cell::RefCell;

use ndarray::{Array3, ArrayView3, ArrayView4, Axis};

use super::{Picture, Problem, Remote, constant_search::Lane};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    stepper::{Job, Reading, Rule, Stepper},
    tensor::norm::Norms,
};

/// A loop that several images of it share.
pub(super) type Shared<'a> = RefCell<Box<dyn Stepper + 'a>>;

/// Opens a loop that begins at one image, or at several copies of the clean one, when the oracle offers it.
pub(super) fn open<'a>(
    oracle: &'a mut dyn Oracle,
    problem: &Problem,
    rule: Rule,
    objective: Objective,
    start: ArrayView3<f32>,
    constants: &[f32],
) -> Result<Option<Shared<'a>>> {
    let mask = problem.mask.as_ref().map(|m| m.view());
    let count = constants.len().max(1);
    let (c, h, w) = start.dim();
    let starts = start.view();
    let starts = starts.insert_axis(Axis(0));
    let starts: ArrayView4<f32> = starts
        .broadcast((count, c, h, w))
        .ok_or_else(|| Error::Input("the images of a search have different shapes; run the attack again".into()))?;
    let job = Job { rule, objective, clean: problem.image.view(), starts, mask, constants };
    Ok(oracle.stepper(&job)?.map(RefCell::new))
}

/// One image of a loop, as the last step described it.
pub(super) struct Away<'a, 'b> {
    stepper: &'a Shared<'b>,
    /// Its place in the loop.
    pub index: usize,
    /// Weight of its objective.
    pub c: f32,
    norms: Norms,
}

impl<'a, 'b> Away<'a, 'b> {
    /// The images of a loop, one for each constant.
    pub fn each(stepper: &'a Shared<'b>, constants: &[f32]) -> Vec<Self> {
        constants.iter().enumerate().map(|(index, c)| Self { stepper, index, c: *c, norms: Norms::default() }).collect()
    }

    /// Takes over what a step said about it.
    pub fn tell(&mut self, reading: &Reading) {
        self.norms = reading.norms;
    }
}

impl Lane for Away<'_, '_> {
    fn picture(&self) -> Picture<'_> {
        Picture::There(self)
    }
}

impl Remote for Away<'_, '_> {
    fn image(&self) -> Result<Array3<f32>> {
        self.stepper.borrow_mut().image(self.index)
    }

    fn norms(&self) -> Norms {
        self.norms
    }
}

/// One step of a loop: what it says about the images that are still going, in their order.
pub(super) fn step(lanes: &mut [&mut Away], scalars: &[f32]) -> Result<Vec<Reading>> {
    let Some(first) = lanes.first() else { return Ok(Vec::new()) };
    let readings = first.stepper.borrow_mut().step(scalars)?;
    let of = |lane: &mut &mut Away| {
        let reading = readings.get(lane.index).cloned();
        let reading = reading.ok_or_else(|| Error::Engine("the engine returned too few images; use --update host".into()))?;
        lane.tell(&reading);
        Ok(reading)
    };
    lanes.iter_mut().map(of).collect()
}
