//! EAD: Chen, Sharma, Zhang, Yi, Hsieh 2018 (arXiv 1709.04114).
//!
//! `c * hinge + ||d||^2 + beta ||d||_1` by iterative shrinkage with extrapolation. The gradient is taken at the
//! extrapolated point, success is tested at the shrunken one. The published code shrinks by beta, which is the proximal
//! step of a weight beta/lr; `shrink prox` shrinks by lr*beta, the step of beta itself.

use ndarray::{Array1, Array3, Zip};

use super::{
    Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    constant_search::{self, ConstantSearch, Plateau},
    goal::{self, Goal, Journal},
};
use crate::core::{error::Result, oracle::Oracle};

/// Elastic-net attack.
pub struct Ead;

const PARAMS: &[ParamSpec] = &[
    constant_search::steps("100"),
    constant_search::SEARCH_STEPS,
    ParamSpec {
        name: "lr",
        kind: Kind::Float { min: 1e-8, max: 10.0 },
        default: "0.01",
        unit: "",
        help: "First step size; it falls with the square root of what is left.",
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
    fn name(&self) -> &'static str {
        "ead"
    }

    fn summary(&self) -> &'static str {
        "Elastic net (EAD): few pixels, by an L1 term beside L2."
    }

    fn params(&self) -> &'static [ParamSpec] {
        PARAMS
    }

    fn steps(&self, params: &Params) -> usize {
        (params.int("steps") as usize).saturating_mul(params.int("search-steps") as usize).saturating_add(1)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let setup = Setup {
            steps: params.int("steps") as usize,
            lr: params.float("lr") as f32,
            beta: params.float("beta") as f32,
            kappa: params.float("kappa") as f32,
            l1_rule: params.choice("rule") == "l1",
            prox: params.choice("shrink") == "prox",
            abort: params.flag("abort-early"),
            goal,
        };
        let rounds = params.int("search-steps") as usize;
        let mut search = ConstantSearch::new(params.float("c0"), 10.0, rounds);
        let mut journal = Journal::new(recorder);
        let clean = goal::logits(oracle, problem.image.view())?;
        goal::refuse_probabilities(clean.view())?;
        let c = search.constant(0) as f32;
        let step = setup.record(problem, &mut journal, &problem.image, &clean, c)?;
        let mut last = Outcome { image: problem.image.clone(), success: goal.success(clean.view()), logits: clean, step };
        for round in 0..rounds {
            let found = setup.round(oracle, problem, search.constant(round) as f32, &mut journal, &mut last)?;
            search.update(found);
        }
        Ok(journal.finish(last))
    }
}

struct Setup {
    steps: usize,
    lr: f32,
    beta: f32,
    kappa: f32,
    l1_rule: bool,
    prox: bool,
    abort: bool,
    goal: Goal,
}

impl Setup {
    fn round(&self, oracle: &mut dyn Oracle, problem: &Problem, c: f32, journal: &mut Journal, last: &mut Outcome) -> Result<bool> {
        let clean = &problem.image;
        let mut x = clean.clone();
        let mut p = clean.clone();
        let mut plateau = Plateau::new(self.steps, self.abort);
        let mut found = false;
        for k in 0..self.steps {
            let mut gradient = self.goal.hinge(oracle, p.view(), self.kappa)?.grad;
            Zip::from(&mut gradient).and(&p).and(clean).for_each(|g, p, c0| *g = c * *g + 2.0 * (p - c0));
            goal::mask(problem, &mut gradient);
            let rate = self.lr * (1.0 - k as f32 / self.steps as f32).sqrt();
            let threshold = if self.prox { rate * self.beta } else { self.beta };
            let theta = k as f32 / (k as f32 + 3.0);
            Zip::from(&mut p).and(&mut x).and(clean).and(&gradient).for_each(|p, x, x0, g| {
                let new = shrink(*p - rate * g, *x0, threshold);
                *p = new + theta * (new - *x);
                *x = new;
            });
            let logits = goal::logits(oracle, x.view())?;
            let step = self.record(problem, journal, &x, &logits, c)?;
            let (l1, squares) = (goal::l1_distance(&x, clean), goal::squared_distance(&x, clean));
            if self.goal.reached(logits.view(), self.kappa) {
                found = true;
                let cost = if self.l1_rule { l1 } else { f64::from(self.beta) * l1 + squares };
                journal.keep(cost, &x, &logits, true, step);
            }
            let loss = f64::from(c * self.hinge(&logits)) + squares + f64::from(self.beta) * l1;
            let stuck = plateau.reached(k, loss);
            if stuck || k + 1 == self.steps {
                *last = Outcome { image: x, success: self.goal.success(logits.view()), logits, step };
                return Ok(found);
            }
        }
        Ok(found)
    }

    fn hinge(&self, logits: &Array1<f32>) -> f32 {
        (self.goal.margin(logits.view()) + self.kappa).max(0.0)
    }

    fn record(&self, problem: &Problem, journal: &mut Journal, x: &Array3<f32>, logits: &Array1<f32>, c: f32) -> Result<usize> {
        let (l1, squares) = (goal::l1_distance(x, &problem.image) as f32, goal::squared_distance(x, &problem.image) as f32);
        let hinge = self.hinge(logits);
        let loss = c * hinge + squares + self.beta * l1;
        journal.step(x, logits, loss, &[("c", c), ("distance", squares), ("l1", l1), ("hinge", hinge)])
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
