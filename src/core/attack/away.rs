//! Attacks whose images stay where the network runs: what their loops share, and how they go on here when that fails.

use std::cell::RefCell;

use ndarray::{Array3, ArrayView3, ArrayView4, Axis};

use super::{Picture, Problem, Remote, constant_search::Lane, goal::Judged, strattack::Trail};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    stepper::{Job, Reading, Rule, States, Stepper, Windows},
    tensor::norm::Norms,
};

/// A loop that several images of it share.
pub(super) type Shared<'a> = RefCell<Box<dyn Stepper + 'a>>;

/// What a rule needs beside its objective.
#[derive(Clone, Copy, Default)]
pub(super) struct Extras<'a> {
    pub windows: Option<&'a Windows>,
    pub support: Option<ArrayView3<'a, f32>>,
}

/// Opens a loop that begins at one image, or with several constants at copies of it, when the oracle offers it.
pub(super) fn open<'a>(
    oracle: &'a mut dyn Oracle,
    problem: &Problem,
    rule: Rule,
    objective: Objective,
    start: ArrayView3<f32>,
    constants: &[f32],
    extras: Extras,
) -> Result<Option<Shared<'a>>> {
    let mask = problem.mask.as_ref().map(|m| m.view());
    let count = constants.len().max(1);
    let (c, h, w) = start.dim();
    let starts = start.view();
    let starts = starts.insert_axis(Axis(0));
    let starts: ArrayView4<f32> = starts
        .broadcast((count, c, h, w))
        .ok_or_else(|| Error::Input("the images of a search have different shapes; run the attack again".into()))?;
    let Extras { windows, support } = extras;
    let job = Job { rule, objective, clean: problem.image.view(), starts, mask, constants, windows, support };
    Ok(oracle.stepper(&job)?.map(RefCell::new))
}

/// One image of a loop, as the last step described it.
pub(super) struct Away<'a, 'b> {
    stepper: &'a Shared<'b>,
    /// Its place in the loop.
    pub index: usize,
    /// Weight of its objective.
    pub c: f32,
    /// What StrAttack's early end goes by.
    pub trail: Trail,
    norms: Norms,
}

impl<'a, 'b> Away<'a, 'b> {
    /// The image with this place and constant.
    pub fn new(stepper: &'a Shared<'b>, index: usize, c: f32) -> Self {
        Self { stepper, index, c, trail: Trail::default(), norms: Norms::default() }
    }

    /// [`Stepper::mark`] of its loop.
    pub fn mark(&self) {
        self.stepper.borrow_mut().mark();
    }

    /// [`Stepper::back`] of its loop.
    pub fn back(&self) {
        self.stepper.borrow_mut().back();
    }

    /// Takes over what a step said about it.
    fn tell(&mut self, reading: &Reading) {
        self.norms = reading.norms;
    }
}

impl Lane for Away<'_, '_> {
    fn picture(&self) -> Picture<'_> {
        Picture::There(self)
    }

    fn done(&self) -> bool {
        self.trail.done
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

/// An image of a search: there until a step fails, here from then on.
pub(super) enum Seat<'a, 'b, H> {
    There(Away<'a, 'b>),
    Here(H),
}

impl<'a, 'b, H> Seat<'a, 'b, H> {
    /// The images of a loop, one for each constant.
    pub fn each(stepper: &'a Shared<'b>, constants: &[f32]) -> Vec<Self> {
        constants.iter().enumerate().map(|(index, c)| Self::There(Away::new(stepper, index, *c))).collect()
    }
}

impl<H: Lane> Lane for Seat<'_, '_, H> {
    fn picture(&self) -> Picture<'_> {
        match self {
            Self::There(lane) => lane.picture(),
            Self::Here(lane) => lane.picture(),
        }
    }

    fn done(&self) -> bool {
        match self {
            Self::There(lane) => lane.done(),
            Self::Here(lane) => lane.done(),
        }
    }
}

/// A step of a search there. When the engine fails, `resume` makes of what it gives back what the loop `here` works on, and the step
/// is done here, as all later ones are.
pub(super) fn either<H>(
    shared: &Shared,
    lanes: &mut [&mut Seat<H>],
    there: impl FnOnce(&mut [&mut Away]) -> Result<Vec<Judged>>,
    resume: impl Fn(&Away, &States) -> Result<H>,
    here: impl FnOnce(&mut dyn Oracle, &mut [&mut H]) -> Result<Vec<Judged>>,
) -> Result<Vec<Judged>> {
    let mut away: Vec<&mut Away> = Vec::new();
    for lane in lanes.iter_mut() {
        if let Seat::There(lane) = &mut **lane {
            away.push(lane);
        }
    }
    if !away.is_empty() {
        let failure = match there(&mut away) {
            Err(failure) => failure,
            judged => return judged,
        };
        let states = shared.borrow_mut().leave(failure)?;
        for lane in lanes.iter_mut() {
            if let Seat::There(away) = &**lane {
                **lane = Seat::Here(resume(away, &states)?);
            }
        }
    }
    let mut near: Vec<&mut H> = Vec::new();
    for lane in lanes.iter_mut() {
        if let Seat::Here(lane) = &mut **lane {
            near.push(lane);
        }
    }
    here(shared.borrow_mut().oracle(), &mut near)
}
