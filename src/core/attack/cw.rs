//! C&W L2: Carlini, Wagner 2017 (arXiv 1608.04644).
//!
//! `x(v) = (tanh(v) + 1) / 2`, v = v0 + m, Adam on m for `||x(v) - x(v0)||^2 + c * (max(margin, -kappa) + kappa)`, with a
//! binary search for the smallest c that works. The published guard `atanh(0.999999 (2 x0 - 1))` keeps saturated pixels
//! movable; the image is `x0 + (x(v) - x(v0))`, so that nothing moves before m does.

use ndarray::{Array1, Array3};

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Picture, Problem, Recorder,
    away::{self, Away, Extras, Seat},
    constant_search::{self, ConstantSearch, Lane, Pace},
    goal::{self, Goal, Journal, Judged},
    tanh::tanh,
};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    stepper::{self, Rule, States},
};

/// Carlini and Wagner, L2.
pub struct Cw;

const PARAMS: &[ParamSpec] = &[
    constant_search::steps("100"),
    constant_search::SEARCH_STEPS,
    constant_search::SEARCH,
    ParamSpec { name: "lr", kind: Kind::Float { min: 1e-8, max: 10.0 }, default: "0.01", unit: "", help: "Adam's step size." },
    constant_search::c0("0.001"),
    constant_search::KAPPA,
    constant_search::ABORT_EARLY,
];

impl Attack for Cw {
    fn about(&self) -> About {
        About { name: "cw", summary: "Carlini-Wagner L2: looks for the smallest Euclidean change.", params: PARAMS }
    }

    fn on_device(&self) -> bool {
        true
    }

    fn steps(&self, params: &Params) -> usize {
        constant_search::most_steps(params)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let kappa = params.float("kappa") as f32;
        let pace = Pace { steps: params.int("steps") as usize, abort: params.flag("abort-early") };
        let search = ConstantSearch::of(params, 10.0, constant_search::width(params, oracle));
        let mut journal = Journal::new(recorder);
        let last = constant_search::search(search, |constants| {
            let (lr, labels) = (params.float("lr"), vec![goal.class; constants.len()]);
            let objective = Objective::Margin { labels: &labels, targeted: goal.targeted, kappa };
            let image = &problem.image;
            if let Some(shared) = away::open(oracle, problem, Rule::Adam, objective, image.view(), constants, Extras::default())? {
                let lanes = Seat::each(&shared, constants);
                let ended = constant_search::abreast(lanes, pace, goal, &mut journal, |lanes, k| {
                    let resume = |lane: &Away, states: &States| Tanh::resumed(image, lr, lane, states, k);
                    away::either(
                        &shared,
                        lanes,
                        |lanes| step_away(goal, kappa, lr, lanes, k),
                        resume,
                        |oracle, lanes| step(oracle, problem, goal, kappa, lanes, k),
                    )
                })?;
                return Ok((ended.found, ended.last));
            }
            let lanes = constants.iter().map(|c| Tanh::new(&problem.image, lr, *c)).collect();
            let ended = constant_search::abreast(lanes, pace, goal, &mut journal, |lanes, k| step(oracle, problem, goal, kappa, lanes, k))?;
            Ok((ended.found, ended.last))
        })?;
        Ok(journal.finish(last))
    }
}

/// A step of Adam where there is a gradient already, then the next gradient, which tells how good the image is.
fn step(oracle: &mut dyn Oracle, problem: &Problem, goal: Goal, kappa: f32, lanes: &mut [&mut Tanh], k: usize) -> Result<Vec<Judged>> {
    let none = vec![(); lanes.len()];
    constant_search::each(lanes, none, |lane, ()| lane.descend(problem));
    let images: Vec<_> = lanes.iter().map(|l| l.image.view()).collect();
    let evaluated = goal.hinges(oracle, &images, kappa)?;
    let mut judged = Vec::new();
    for (lane, e) in lanes.iter_mut().zip(evaluated) {
        if k == 0 {
            goal::refuse_probabilities(e.logits.view())?;
        }
        let distance = goal::squared_distance(&lane.image, &problem.image);
        lane.gradient = Some(e.grad);
        judged.push(judge(goal, kappa, lane.c, e.logits, e.loss, distance));
    }
    Ok(judged)
}

/// The same where the network runs: each run judges the images and takes the step that follows.
fn step_away(goal: Goal, kappa: f32, lr: f64, lanes: &mut [&mut Away], k: usize) -> Result<Vec<Judged>> {
    let (rate, epsilon) = adam(lr, k as i32 + 1);
    let mut judged = Vec::new();
    for (reading, lane) in away::step(lanes, &[rate, epsilon])?.into_iter().zip(lanes) {
        if k == 0 {
            goal::refuse_probabilities(reading.logits.view())?;
        }
        judged.push(judge(goal, kappa, lane.c, reading.logits, reading.loss.unwrap_or(f32::NAN), reading.norms.l2.powi(2)));
    }
    Ok(judged)
}

fn judge(goal: Goal, kappa: f32, c: f32, logits: Array1<f32>, loss: f32, distance: f64) -> Judged {
    let hinge = loss + kappa;
    Judged {
        loss: distance + f64::from(c * hinge),
        terms: vec![("c", c), ("distance", distance as f32), ("hinge", hinge)],
        cost: goal.reached(logits.view(), kappa).then_some(distance),
        margin: goal.margin(logits.view()),
        logits,
    }
}

const ROW_MAJOR: &str = "images and gradients are made row-major";
const B1: f32 = 0.9;
const B2: f32 = 0.999;

/// Step size and epsilon of the step with this number, from 1, with the bias correction in them.
fn adam(lr: f64, count: i32) -> (f32, f32) {
    let second = (1.0 - f64::from(B2).powi(count)).sqrt();
    // Adam's epsilon, 1e-8, scaled to this form of the bias correction.
    ((lr * second / (1.0 - f64::from(B1).powi(count))) as f32, (1e-8 * second) as f32)
}

/// One constant: the change of variables with Adam's state.
struct Tanh {
    c: f32,
    clean: Vec<f32>,
    /// atanh of the guarded clean pixels.
    v0: Vec<f32>,
    /// tanh(v0): what the guard makes of the clean pixels, -1..1.
    t0: Vec<f32>,
    t: Vec<f32>,
    m: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    count: i32,
    lr: f64,
    image: Array3<f32>,
    /// The hinge's gradient at the image, once it is known.
    gradient: Option<Array3<f32>>,
}

impl Lane for Tanh {
    fn picture(&self) -> Picture<'_> {
        Picture::Here(self.image.view())
    }
}

impl Tanh {
    fn new(image: &Array3<f32>, lr: f64, c: f32) -> Self {
        let clean: Vec<f32> = image.iter().copied().collect();
        let v0: Vec<f32> = clean.iter().map(|x| stepper::base(*x)).collect();
        let t0: Vec<f32> = v0.iter().map(|v| tanh(*v)).collect();
        let zero = vec![0.0; clean.len()];
        let image = image.as_standard_layout().into_owned();
        let gradient = None;
        Self { c, t: t0.clone(), m: zero.clone(), first: zero.clone(), second: zero, clean, v0, t0, count: 0, lr, image, gradient }
    }

    /// What a loop elsewhere had come to before its step `k`.
    fn resumed(image: &Array3<f32>, lr: f64, lane: &Away, states: &States, k: usize) -> Result<Self> {
        let state = |role: &str| Ok::<_, Error>(states.of(role, lane.index)?.iter().copied().collect::<Vec<f32>>());
        let (m, first, second) = (state("moved")?, state("first")?, state("second")?);
        let new = Self::new(image, lr, lane.c);
        let t = new.v0.iter().zip(&m).map(|(v, m)| tanh(v + m)).collect();
        Ok(Self { t, m, first, second, count: k as i32, image: states.of("pixels", lane.index)?, ..new })
    }

    /// One Adam step for `||x(v) - x(v0)||^2 + c hinge`, where there is a gradient already.
    fn descend(&mut self, problem: &Problem) {
        let Some(gradient) = self.gradient.take() else { return };
        self.count += 1;
        let mut gradient = if gradient.is_standard_layout() { gradient } else { gradient.as_standard_layout().into_owned() };
        goal::mask(problem, &mut gradient);
        let (rate, epsilon) = adam(self.lr, self.count);
        // Slices of one length, so that the loop runs on several pixels at once.
        let (n, c) = (self.clean.len(), self.c);
        let gradient = gradient.as_slice().expect(ROW_MAJOR);
        let image = self.image.as_slice_mut().expect(ROW_MAJOR);
        let (gradient, image) = (&gradient[..n], &mut image[..n]);
        let (clean, v0, t0) = (&self.clean[..n], &self.v0[..n], &self.t0[..n]);
        let (t, m) = (&mut self.t[..n], &mut self.m[..n]);
        let (first, second) = (&mut self.first[..n], &mut self.second[..n]);
        for i in 0..n {
            // x - x0 is (t - t0) / 2 and dx/dv is (1 - t^2) / 2.
            let g = (c * gradient[i] + (t[i] - t0[i])) * (1.0 - t[i] * t[i]) * 0.5;
            first[i] = B1 * first[i] + (1.0 - B1) * g;
            second[i] = B2 * second[i] + (1.0 - B2) * g * g;
            m[i] -= rate * first[i] / (second[i].sqrt() + epsilon);
            t[i] = tanh(v0[i] + m[i]);
            image[i] = (clean[i] + (t[i] - t0[i]) * 0.5).clamp(0.0, 1.0);
        }
    }
}
