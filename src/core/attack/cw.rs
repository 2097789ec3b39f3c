//! C&W L2: Carlini, Wagner 2017 (arXiv 1608.04644).
//!
//! `x(v) = (tanh(v) + 1) / 2`, v = v0 + m, Adam on m for `||x(v) - x(v0)||^2 + c * (max(margin, -kappa) + kappa)`, with a
//! binary search for the smallest c that works. The published guard `atanh(0.999999 (2 x0 - 1))` keeps saturated pixels
//! movable; the image is `x0 + (x(v) - x(v0))`, so that nothing moves before m does.

use ndarray::Array3;

use super::{
    Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    constant_search::{self, ConstantSearch, Plateau},
    goal::{self, Goal, Journal},
};
use crate::core::{error::Result, oracle::Oracle};

/// Carlini and Wagner, L2.
pub struct Cw;

const PARAMS: &[ParamSpec] = &[
    constant_search::steps("100"),
    constant_search::SEARCH_STEPS,
    ParamSpec { name: "lr", kind: Kind::Float { min: 1e-8, max: 10.0 }, default: "0.01", unit: "", help: "Adam's step size." },
    constant_search::c0("0.001"),
    constant_search::KAPPA,
    constant_search::ABORT_EARLY,
];

impl Attack for Cw {
    fn name(&self) -> &'static str {
        "cw"
    }

    fn summary(&self) -> &'static str {
        "Carlini-Wagner L2: looks for the smallest Euclidean change."
    }

    fn params(&self) -> &'static [ParamSpec] {
        PARAMS
    }

    fn steps(&self, params: &Params) -> usize {
        (params.int("steps") as usize).saturating_mul(params.int("search-steps") as usize)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let rounds = params.int("search-steps") as usize;
        let mut search = ConstantSearch::new(params.float("c0"), 10.0, rounds);
        let mut journal = Journal::new(recorder);
        let mut last = None;
        for round in 0..rounds {
            let c = search.constant(round) as f32;
            let (found, end) = self::round(oracle, problem, params, goal, c, &mut journal)?;
            last = Some(end);
            search.update(found);
        }
        // `search-steps` is at least 1, so a last image exists.
        let last = last.expect("the search has at least one round");
        Ok(journal.finish(last))
    }
}

/// One constant: `steps` gradient runs. Returns whether any image succeeded, and the last image.
fn round(
    oracle: &mut dyn Oracle,
    problem: &Problem,
    params: &Params,
    goal: Goal,
    c: f32,
    journal: &mut Journal,
) -> Result<(bool, Outcome)> {
    let steps = params.int("steps") as usize;
    let kappa = params.float("kappa") as f32;
    let mut state = Tanh::new(&problem.image, params.float("lr"));
    let mut plateau = Plateau::new(steps, params.flag("abort-early"));
    let mut found = false;
    let mut k = 0;
    loop {
        let e = goal.hinge(oracle, state.image.view(), kappa)?;
        if k == 0 {
            goal::refuse_probabilities(e.logits.view())?;
        }
        let distance = goal::squared_distance(&state.image, &problem.image);
        let loss = distance + f64::from(c * (e.loss + kappa));
        let step =
            journal.step(&state.image, &e.logits, loss as f32, &[("c", c), ("distance", distance as f32), ("hinge", e.loss + kappa)])?;
        let success = goal.reached(e.logits.view(), kappa);
        if success {
            found = true;
            journal.keep(distance, &state.image, &e.logits, true, step);
        }
        if plateau.reached(k, loss) || k + 1 >= steps {
            let success = goal.success(e.logits.view());
            return Ok((found, Outcome { image: state.image, logits: e.logits, success, step }));
        }
        let mut gradient = e.grad;
        gradient *= c;
        state.descend(problem, gradient);
        k += 1;
    }
}

/// The change of variables with Adam's state.
struct Tanh {
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
}

impl Tanh {
    fn new(image: &Array3<f32>, lr: f64) -> Self {
        let clean: Vec<f32> = image.iter().copied().collect();
        let v0: Vec<f32> = clean.iter().map(|x| (0.999_999 * (2.0 * f64::from(*x) - 1.0)).atanh() as f32).collect();
        let t0: Vec<f32> = v0.iter().map(|v| v.tanh()).collect();
        let zero = vec![0.0; clean.len()];
        let image = image.as_standard_layout().into_owned();
        Self { t: t0.clone(), m: zero.clone(), first: zero.clone(), second: zero, clean, v0, t0, count: 0, lr, image }
    }

    /// One Adam step for `||x(v) - x(v0)||^2 + hinge`, given c times the hinge's image gradient.
    fn descend(&mut self, problem: &Problem, mut gradient: Array3<f32>) {
        const B1: f32 = 0.9;
        const B2: f32 = 0.999;
        self.count += 1;
        goal::mask(problem, &mut gradient);
        let rate = (self.lr * (1.0 - f64::from(B2).powi(self.count)).sqrt() / (1.0 - f64::from(B1).powi(self.count))) as f32;
        // Adam's epsilon, 1e-8, scaled to this form of the bias correction.
        let epsilon = (1e-8 * (1.0 - f64::from(B2).powi(self.count)).sqrt()) as f32;
        for ((i, g), x) in gradient.iter().enumerate().zip(self.image.iter_mut()) {
            // x - x0 is (t - t0) / 2 and dx/dv is (1 - t^2) / 2.
            let (t, t0) = (self.t[i], self.t0[i]);
            let g = (g + (t - t0)) * (1.0 - t * t) * 0.5;
            let first = B1 * self.first[i] + (1.0 - B1) * g;
            let second = B2 * self.second[i] + (1.0 - B2) * g * g;
            (self.first[i], self.second[i]) = (first, second);
            self.m[i] -= rate * first / (second.sqrt() + epsilon);
            let t = (self.v0[i] + self.m[i]).tanh();
            self.t[i] = t;
            *x = (self.clean[i] + (t - t0) * 0.5).clamp(0.0, 1.0);
        }
    }
}
