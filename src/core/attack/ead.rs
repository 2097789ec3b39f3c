//! EAD: Chen, Sharma, Zhang, Yi, Hsieh 2018 (arXiv 1709.04114).
//!
//! `c * hinge + ||d||^2 + beta ||d||_1` by iterative shrinkage with extrapolation. The gradient is taken at the
//! extrapolated point, success is tested at the shrunken one. The published code shrinks by beta, which is the proximal
//! step of a weight beta/lr; `shrink prox` shrinks by lr*beta, the step of beta itself.
//!
//! The search over c takes its middle on a logarithmic scale, unlike the published code: L1 falls steeply towards the smallest
//! constant that works, and the bounds are a factor of ten apart.

use ndarray::{Array1, Array3, Zip};

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Picture, Problem, Recorder,
    away::{self, Away, Extras, Seat},
    constant_search::{self, ConstantSearch, Lane, Pace},
    goal::{self, Goal, Journal, Judged},
};
use crate::core::{
    error::Result,
    oracle::{Objective, Oracle},
    stepper::{Rule, States},
    tensor::norm::Sums,
};

/// Elastic-net attack.
pub struct Ead;

const PARAMS: &[ParamSpec] = &[
    constant_search::steps("100"),
    constant_search::SEARCH_STEPS,
    constant_search::SEARCH,
    ParamSpec { name: "lr", kind: Kind::Float { min: 1e-8, max: 10.0 }, default: "0.01", unit: "", help: "First step size." },
    ParamSpec {
        name: "decay",
        kind: Kind::Choice(&["sqrt", "none"]),
        default: "sqrt",
        unit: "",
        help: "The step size falls with the square root of the steps left, or stays (then the effective L1 weight is the same in every step).",
    },
    constant_search::c0("0.001"),
    ParamSpec { name: "beta", kind: Kind::Float { min: 0.0, max: 1000.0 }, default: "0.01", unit: "", help: "Weight of the L1 norm." },
    constant_search::KAPPA,
    ParamSpec {
        name: "rule",
        kind: Kind::Choice(&["en", "l1"]),
        default: "en",
        unit: "",
        help: "Which successful image is kept: least elastic net (beta L1 + L2^2), or least L1.",
    },
    ParamSpec {
        name: "shrink",
        kind: Kind::Choice(&["published", "prox"]),
        default: "published",
        unit: "",
        help: "Shrink by beta as the published code does (an effective L1 weight of beta/lr), or by lr*beta, the proximal step.",
    },
    constant_search::ABORT_EARLY,
];

impl Attack for Ead {
    fn about(&self) -> About {
        About { name: "ead", summary: "Elastic net (EAD): few pixels, by an L1 term beside L2.", params: PARAMS }
    }

    fn on_device(&self) -> bool {
        true
    }

    fn steps(&self, params: &Params) -> usize {
        constant_search::most_steps(params).saturating_add(1)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let setup = Setup {
            problem,
            pace: Pace { steps: params.int("steps") as usize, abort: params.flag("abort-early") },
            lr: params.float("lr") as f32,
            decay: params.choice("decay") == "sqrt",
            beta: params.float("beta") as f32,
            kappa: params.float("kappa") as f32,
            l1_rule: params.choice("rule") == "l1",
            prox: params.choice("shrink") == "prox",
            goal,
        };
        let mut journal = Journal::new(recorder);
        let clean = goal::logits(oracle, problem.image.view())?;
        goal::refuse_probabilities(clean.view())?;
        let start = setup.judge((0.0, 0.0), clean, params.float("c0") as f32);
        journal.step(&problem.image, &start.logits, start.loss as f32, &start.terms)?;
        let search = ConstantSearch::of(params, 10.0, constant_search::width(params, oracle)).geometric();
        let last = constant_search::search(search, |constants| {
            let labels = vec![goal.class; constants.len()];
            let objective = Objective::Margin { labels: &labels, targeted: goal.targeted, kappa: setup.kappa };
            let start = problem.image.view();
            if let Some(shared) = away::open(oracle, problem, Rule::Shrink, objective, start, constants, Extras::default())? {
                let lanes = Seat::each(&shared, constants);
                let resume = |lane: &Away, states: &States| {
                    Ok(Point { c: lane.c, x: states.of("pixels", lane.index)?, p: states.of("point", lane.index)? })
                };
                let ended = constant_search::abreast(lanes, setup.pace, goal, &mut journal, |lanes, k| {
                    away::either(&shared, lanes, |l| setup.step_away(l, k), resume, |oracle, l| setup.step(oracle, l, k))
                })?;
                return Ok((ended.found, ended.last));
            }
            let lanes = constants.iter().map(|c| Point { c: *c, x: problem.image.clone(), p: problem.image.clone() }).collect();
            let ended = constant_search::abreast(lanes, setup.pace, goal, &mut journal, |lanes, k| setup.step(oracle, lanes, k))?;
            Ok((ended.found, ended.last))
        })?;
        Ok(journal.finish(last))
    }
}

struct Setup<'a> {
    problem: &'a Problem,
    pace: Pace,
    lr: f32,
    decay: bool,
    beta: f32,
    kappa: f32,
    l1_rule: bool,
    prox: bool,
    goal: Goal,
}

/// One constant: the image and the extrapolated point.
struct Point {
    c: f32,
    x: Array3<f32>,
    p: Array3<f32>,
}

impl Lane for Point {
    fn picture(&self) -> Picture<'_> {
        Picture::Here(self.x.view())
    }
}

impl Setup<'_> {
    fn step(&self, oracle: &mut dyn Oracle, lanes: &mut [&mut Point], k: usize) -> Result<Vec<Judged>> {
        let points: Vec<_> = lanes.iter().map(|l| l.p.view()).collect();
        let gradients = self.goal.hinges(oracle, &points, self.kappa)?.into_iter().map(|e| e.grad).collect();
        constant_search::each(lanes, gradients, |lane, gradient| self.advance(lane, gradient, k));
        let images: Vec<_> = lanes.iter().map(|l| l.x.view()).collect();
        let logits = goal::logits_of(oracle, &images)?;
        let lengths = |x| {
            let sums = Sums::between(&self.problem.image, x);
            (sums.l1, sums.squares)
        };
        Ok(lanes.iter().zip(logits).map(|(lane, logits)| self.judge(lengths(&lane.x), logits, lane.c)).collect())
    }

    /// The same where the network runs.
    fn step_away(&self, lanes: &mut [&mut Away], k: usize) -> Result<Vec<Judged>> {
        let (rate, threshold, theta) = self.schedule(k);
        let readings = away::step(lanes, &[rate, threshold, theta])?;
        let each = readings.into_iter().zip(lanes);
        Ok(each.map(|(r, lane)| self.judge((r.norms.l1, r.norms.l2.powi(2)), r.logits, lane.c)).collect())
    }

    /// Step size, shrinkage and extrapolation of a step.
    fn schedule(&self, k: usize) -> (f32, f32, f32) {
        let left = if self.decay { (1.0 - k as f32 / self.pace.steps as f32).sqrt() } else { 1.0 };
        let rate = self.lr * left;
        (rate, if self.prox { rate * self.beta } else { self.beta }, k as f32 / (k as f32 + 3.0))
    }

    /// The shrinkage step and the extrapolation, given the hinge's gradient.
    fn advance(&self, lane: &mut Point, mut gradient: Array3<f32>, k: usize) {
        let (clean, c) = (&self.problem.image, lane.c);
        // Where nothing may change the point never leaves the clean image: masking the gradient alone is enough.
        goal::mask(self.problem, &mut gradient);
        let (rate, threshold, theta) = self.schedule(k);
        Zip::from(&mut lane.p).and(&mut lane.x).and(clean).and(&gradient).for_each(|p, x, x0, g| {
            let new = shrink(*p - rate * (c * g + 2.0 * (*p - x0)), *x0, threshold);
            *p = new + theta * (new - *x);
            *x = new;
        });
    }

    /// Judges an image by L1 and squared L2 of its change.
    fn judge(&self, (l1, squares): (f64, f64), logits: Array1<f32>, c: f32) -> Judged {
        let margin = self.goal.margin(logits.view());
        let hinge = (margin + self.kappa).max(0.0);
        let cost = if self.l1_rule { l1 } else { f64::from(self.beta) * l1 + squares };
        Judged {
            loss: f64::from(c * hinge) + squares + f64::from(self.beta) * l1,
            terms: vec![("c", c), ("distance", squares as f32), ("l1", l1 as f32), ("hinge", hinge)],
            cost: self.goal.reached(logits.view(), self.kappa).then_some(cost),
            margin,
            logits,
        }
    }
}

/// Shrinkage-thresholding towards the clean value, into 0..1; values within the threshold return exactly to it.
fn shrink(q: f32, clean: f32, threshold: f32) -> f32 {
    let change = q - clean;
    if change > threshold {
        (q - threshold).min(1.0)
    } else if change < -threshold {
        (q + threshold).max(0.0)
    } else {
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinkage() {
        assert_eq!(shrink(0.3 + 0.01, 0.3, 0.02).to_bits(), 0.3f32.to_bits());
        assert_eq!(shrink(0.5, 0.25, 0.125), 0.375);
        assert_eq!(shrink(2.0, 0.25, 0.125), 1.0);
        assert_eq!(shrink(-1.0, 0.25, 0.125), 0.0);
    }
}
