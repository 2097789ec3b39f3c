//! APGD: Croce, Hein 2020 (arXiv 2003.01690): PGD without a step size to choose. The step starts at 2 eps and is halved
//! at checkpoints where the loss stopped rising; losses are cross-entropy and the scale-free DLR.

use ndarray::{Array1, Array2, Array3, Axis, Zip};

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    ball::Norm,
    goal::{self, Goal, Journal, Single},
    gradient_sign, scalars,
};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
};

/// Auto-PGD.
pub struct Apgd;

const PARAMS: &[ParamSpec] = &[
    gradient_sign::EPS,
    gradient_sign::NORM,
    gradient_sign::steps("100"),
    gradient_sign::random_start("yes"),
    ParamSpec {
        name: "loss",
        kind: Kind::Choice(&["ce", "dlr"]),
        default: "ce",
        unit: "",
        help: "Cross-entropy, or the difference-of-logits ratio (at least 3 classes; 4 with a target).",
    },
    gradient_sign::RESTARTS,
    ParamSpec {
        name: "progress",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: "0.75",
        unit: "",
        help: "Share of rising steps below which the step size is halved.",
    },
    ParamSpec {
        name: "until-success",
        kind: Kind::Flag,
        default: "no",
        unit: "",
        help: "Stop at the first image that is classified as wished.",
    },
];

impl Attack for Apgd {
    fn about(&self) -> About {
        About { name: "apgd", summary: "Auto-PGD: strong and without a step size to choose; good for judging robustness.", params: PARAMS }
    }

    fn steps(&self, params: &Params) -> usize {
        (params.int("steps") as usize + 1).saturating_mul(params.int("restarts") as usize)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let needed = if goal.targeted { 4 } else { 3 };
        let dlr = params.choice("loss") == "dlr";
        if dlr && oracle.classes() < needed {
            return Err(Error::Parameter(format!(
                "the DLR loss needs {needed} classes and this model has {}; choose loss ce",
                oracle.classes()
            )));
        }
        let setup = Setup {
            goal,
            dlr,
            norm: Norm::of(params),
            eps: params.float("eps") as f32,
            steps: params.int("steps") as usize,
            random_start: params.flag("random-start"),
            progress: params.float("progress"),
            until_success: params.flag("until-success"),
        };
        let mut journal = Journal::new(recorder);
        let mut last = setup.pass(oracle, problem, &mut journal, 0)?;
        for restart in 1..params.int("restarts") as u64 {
            if setup.until_success && last.success {
                break;
            }
            last = setup.pass(oracle, problem, &mut journal, restart)?;
        }
        Ok(journal.finish(last))
    }
}

struct Setup {
    goal: Goal,
    dlr: bool,
    norm: Norm,
    eps: f32,
    steps: usize,
    random_start: bool,
    progress: f64,
    until_success: bool,
}

/// The step size's schedule: checkpoints whose distance shrinks.
struct Schedule {
    window: usize,
    shrink: usize,
    least: usize,
    since: usize,
    risen: usize,
    halved: bool,
    best_before: f32,
}

impl Schedule {
    fn new(steps: usize, loss: f32) -> Self {
        let share = |f: f64| ((f * steps as f64) as usize).max(1);
        Self { window: share(0.22), shrink: share(0.03), least: share(0.06), since: 0, risen: 0, halved: false, best_before: loss }
    }

    /// Counts a step; `true` when the step size is to be halved.
    fn halve(&mut self, rose: bool, best: f32, progress: f64) -> bool {
        self.since += 1;
        self.risen += usize::from(rose);
        if self.since < self.window {
            return false;
        }
        let slow = (self.risen as f64) <= progress * self.window as f64;
        let stuck = !self.halved && self.best_before >= best;
        self.halved = slow || stuck;
        self.best_before = best;
        (self.since, self.risen) = (0, 0);
        self.window = self.window.saturating_sub(self.shrink).max(self.least);
        self.halved
    }
}

impl Setup {
    /// One run from one start: `steps + 1` evaluations, each recorded.
    fn pass(&self, oracle: &mut dyn Oracle, problem: &Problem, journal: &mut Journal, restart: u64) -> Result<Outcome> {
        let mut x = self.norm.start(problem, self.eps, self.random_start, restart);
        let mut x_old = x.clone();
        let mut step_size = 2.0 * self.eps;
        let (mut e, mut last) = self.evaluate(oracle, problem, journal, &x, step_size)?;
        let (mut best_loss, mut best_x, mut best_grad) = (e.loss, x.clone(), e.grad.clone());
        let mut schedule = Schedule::new(self.steps, e.loss);
        for k in 0..self.steps {
            if self.until_success && last.success {
                break;
            }
            let mut z = x.clone();
            z.scaled_add(step_size, &self.norm.unit(e.grad.clone()));
            self.norm.project(&mut z, &problem.image, self.eps);
            let keep = if k == 0 { 1.0 } else { 0.75 };
            let mut next = x.clone();
            Zip::from(&mut next).and(&z).and(&x_old).for_each(|n, z, old| *n += keep * (z - *n) + (1.0 - keep) * (*n - old));
            self.norm.project(&mut next, &problem.image, self.eps);
            x_old = std::mem::replace(&mut x, next);
            let before = e.loss;
            (e, last) = self.evaluate(oracle, problem, journal, &x, step_size)?;
            let rose = e.loss > before;
            if e.loss > best_loss {
                (best_loss, best_x, best_grad) = (e.loss, x.clone(), e.grad.clone());
            }
            if schedule.halve(rose, best_loss, self.progress) {
                step_size /= 2.0;
                x.assign(&best_x);
                e.grad.assign(&best_grad);
                e.loss = best_loss;
            }
        }
        Ok(last)
    }

    /// Loss to be raised and its masked gradient; records the image and keeps it when it is the best.
    fn evaluate(
        &self,
        oracle: &mut dyn Oracle,
        problem: &Problem,
        journal: &mut Journal,
        x: &Array3<f32>,
        step_size: f32,
    ) -> Result<(Single, Outcome)> {
        let mut e = if self.dlr { self.ratio(oracle, problem.label, x)? } else { self.entropy(oracle, x)? };
        goal::mask(problem, &mut e.grad);
        let step = journal.step(x, &e.logits, e.loss, &[("step size", step_size)])?;
        let success = self.goal.success(e.logits.view());
        let cost = -f64::from(e.loss).clamp(-1e6, 1e6) - if success { 1e9 } else { 0.0 };
        journal.keep(cost, x, &e.logits, success, step);
        let outcome = Outcome { image: x.clone(), logits: e.logits.clone(), success, step };
        Ok((e, outcome))
    }

    fn entropy(&self, oracle: &mut dyn Oracle, x: &Array3<f32>) -> Result<Single> {
        let mut e = self.goal.cross_entropy(oracle, x.view())?;
        if self.goal.targeted {
            e.loss = -e.loss;
            e.grad.mapv_inplace(|g| -g);
        }
        Ok(e)
    }

    /// DLR: its cotangent depends on the logits, so they are needed first.
    fn ratio(&self, oracle: &mut dyn Oracle, label: usize, x: &Array3<f32>) -> Result<Single> {
        let logits = goal::logits(oracle, x.view())?;
        let (loss, cotangent) = dlr(&logits, self.goal, label);
        let row: Array2<f32> = cotangent.insert_axis(Axis(0));
        let e = goal::gradient(oracle, x.view(), Objective::Linear { cotangent: row.view() })?;
        Ok(Single { loss, ..e })
    }
}

/// Value and gradient with respect to the logits of `-(Z_y - max_other) / (Z_1 - Z_3)`, or with a target of
/// `-(Z_y - Z_t) / (Z_1 - (Z_3 + Z_4) / 2)`, y being the true class.
fn dlr(logits: &Array1<f32>, goal: Goal, label: usize) -> (f32, Array1<f32>) {
    let order = scalars::top(logits.view(), 4);
    let z = |c: usize| f64::from(logits[c]);
    let ordered = |i: usize| order[i].0;
    let runner = |avoid: usize| if ordered(0) == avoid { ordered(1) } else { ordered(0) };
    let (own, other) = (label, if goal.targeted { goal.class } else { runner(label) });
    let below: &[(usize, f64)] = if goal.targeted { &[(ordered(2), 0.5), (ordered(3), 0.5)] } else { &[(ordered(2), 1.0)] };
    let bottom = z(ordered(0)) - below.iter().map(|(c, w)| w * z(*c)).sum::<f64>() + 1e-12;
    let top = z(other) - z(own);
    let mut cotangent = Array1::<f64>::zeros(logits.len());
    cotangent[other] += 1.0 / bottom;
    cotangent[own] -= 1.0 / bottom;
    cotangent[ordered(0)] -= top / (bottom * bottom);
    for (c, w) in below {
        cotangent[*c] += w * top / (bottom * bottom);
    }
    ((top / bottom) as f32, cotangent.mapv(|v| if v.is_finite() { v as f32 } else { 0.0 }))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn dlr_is_the_published_ratio() {
        // Sorted: 2.5 (1), 1.0 (0), 0.9 (4), 0.3 (2), -1.0 (3).
        let z = array![1.0f32, 2.5, 0.3, -1.0, 0.9];
        let cases = [
            (1, Goal { class: 1, targeted: false }, -(2.5 - 1.0) / (2.5 - 0.9)),
            (0, Goal { class: 0, targeted: false }, -(1.0 - 2.5) / (2.5 - 0.9)),
            (1, Goal { class: 3, targeted: true }, -(2.5 + 1.0) / (2.5 - (0.9 + 0.3) / 2.0)),
            (3, Goal { class: 1, targeted: true }, -(-1.0 - 2.5) / (2.5 - (0.9 + 0.3) / 2.0)),
        ];
        for (label, goal, want) in cases {
            approx::assert_abs_diff_eq!(dlr(&z, goal, label).0, want, epsilon = 1e-6);
            // Neither a shift nor a scale of the logits changes it.
            approx::assert_abs_diff_eq!(dlr(&(&z * 7.0 + 3.0), goal, label).0, want, epsilon = 1e-5);
        }
        // Equal logits: no number, but no NaN either.
        let (value, grad) = dlr(&array![1.0f32, 1.0, 1.0, 1.0], cases[0].1, 1);
        assert!(value == 0.0 && grad.iter().all(|g| g.is_finite()));
    }

    #[test]
    fn dlr_gradient_is_its_derivative() {
        let z = array![1.0f32, 2.5, 0.3, -1.0, 0.9];
        for (label, class, targeted) in [(1, 1, false), (0, 0, false), (1, 3, true), (4, 1, true)] {
            let goal = Goal { class, targeted };
            let (_, grad) = dlr(&z, goal, label);
            for c in 0..z.len() {
                let moved = |h: f32| {
                    let mut m = z.clone();
                    m[c] += h;
                    dlr(&m, goal, label).0
                };
                approx::assert_abs_diff_eq!((moved(1e-2) - moved(-1e-2)) / 2e-2, grad[c], epsilon = 2e-3);
            }
        }
    }

    #[test]
    fn checkpoints() {
        let mut s = Schedule::new(100, 0.0);
        assert!((0..22).all(|i| !s.halve(true, i as f32, 0.75)));
        assert_eq!(s.window, 19);
        assert!((0..19).any(|_| s.halve(false, 21.0, 0.75)));
    }
}
