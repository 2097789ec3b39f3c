//! The loop behind BIM / IFGSM (Kurakin et al. 2017), PGD (Madry et al. 2018) and MI-FGSM (Dong et al. 2018):
//!
//! `x <- clip_box(P_eps(x + alpha * s * step(g)))`, g the gradient of the cross-entropy at the class in question, s = +1
//! away from the true class and -1 towards a target. With momentum `m <- mu m + g / ||g||_1` takes the place of g.
//! Every step reports the image whose gradient was just taken, so that recording costs no extra run.

use ndarray::Array3;

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    away::{self, Away, Extras},
    ball::{self, Norm},
    constant_search::Lane as _,
    goal::{self, Goal, Journal},
    scalars,
};
use crate::core::{
    error::Result,
    oracle::{Objective, Oracle},
    stepper,
};

pub(super) const EPS: ParamSpec = ParamSpec {
    name: "eps",
    kind: Kind::Float { min: 0.0, max: 1000.0 },
    default: "8/255",
    unit: "pixel value",
    help: "Radius of the ball around the image that the result stays in.",
};

pub(super) const ALPHA: ParamSpec = ParamSpec {
    name: "alpha",
    kind: Kind::Float { min: 0.0, max: 1000.0 },
    default: "2/255",
    unit: "pixel value",
    help: "Length of one step, in the chosen norm.",
};

pub(super) const NORM: ParamSpec =
    ParamSpec { name: "norm", kind: Kind::Choice(Norm::WORDS), default: "linf", unit: "", help: "Norm of eps and of the step." };

pub(super) const fn steps(default: &'static str) -> ParamSpec {
    ParamSpec { name: "steps", kind: Kind::Int { min: 1, max: 1_000_000 }, default, unit: "steps", help: "Number of steps." }
}

pub(super) const fn random_start(default: &'static str) -> ParamSpec {
    ParamSpec { name: "random-start", kind: Kind::Flag, default, unit: "", help: "Start at a random point of the ball." }
}

pub(super) const RESTARTS: ParamSpec = ParamSpec {
    name: "restarts",
    kind: Kind::Int { min: 1, max: 1000 },
    default: "1",
    unit: "runs",
    help: "Independent runs from different random points; the best is kept.",
};

/// An attack that is nothing but this loop; its table says whether it has momentum and restarts.
pub(super) struct GradientSign(pub About);

impl Attack for GradientSign {
    fn about(&self) -> About {
        self.0
    }

    fn on_device(&self) -> bool {
        true
    }

    fn steps(&self, params: &Params) -> usize {
        (Rule::of(params).steps + 1).saturating_mul(restarts(params))
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        restarted(&Rule::of(params), restarts(params), oracle, problem, recorder)
    }
}

fn restarts(params: &Params) -> usize {
    if params.has("restarts") { params.int("restarts") as usize } else { 1 }
}

/// Settings of one pass of the loop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub eps: f32,
    pub alpha: f32,
    pub steps: usize,
    pub norm: Norm,
    pub random_start: bool,
    /// Momentum decay; `None` for none.
    pub mu: Option<f32>,
}

impl Rule {
    /// From the parameters; momentum where the attack's table has it.
    pub fn of(params: &Params) -> Self {
        Self {
            eps: params.float("eps") as f32,
            alpha: params.float("alpha") as f32,
            steps: params.int("steps").max(0) as usize,
            norm: Norm::of(params),
            random_start: params.flag("random-start"),
            mu: params.has("mu").then(|| params.float("mu") as f32),
        }
    }

    /// One pass: `steps + 1` records. Returns the last image.
    pub fn pass(&self, oracle: &mut dyn Oracle, problem: &Problem, journal: &mut Journal, restart: u64) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let start = self.norm.start(problem, self.eps, self.random_start, restart);
        let x = match self.away(oracle, problem, goal, &start, journal)? {
            Some(x) => x,
            None => self.here(oracle, problem, goal, Point::at(start), journal)?,
        };
        let logits = goal::logits(oracle, x.view())?;
        let step = journal.step(&x, &logits, scalars::cross_entropy(logits.view(), goal.class) as f32, &[("eps", self.eps)])?;
        Ok(Outcome { success: goal.success(logits.view()), image: x, logits, step })
    }

    /// The loop itself, in this program: the image after the last step.
    fn here(&self, oracle: &mut dyn Oracle, problem: &Problem, goal: Goal, point: Point, journal: &mut Journal) -> Result<Array3<f32>> {
        let Point { mut x, mut momentum, step } = point;
        for _ in step..self.steps {
            let e = goal.cross_entropy(oracle, x.view())?;
            journal.step(&x, &e.logits, e.loss, &[("eps", self.eps)])?;
            let mut direction = e.grad;
            goal::mask(problem, &mut direction);
            if let Some(mu) = self.mu {
                accumulate(momentum.get_or_insert_with(|| Array3::zeros(x.raw_dim())), &direction, mu);
            }
            // The mask needs no second look: what it zeroes stays zero in the momentum and in every unit step.
            let direction = momentum.as_ref().unwrap_or(&direction);
            self.norm.step(&mut x, direction, self.alpha * goal.ascent(), &problem.image, self.eps);
        }
        Ok(x)
    }

    /// The same where the network runs, when that is on offer; a step that fails there and all after it are done here.
    fn away(
        &self,
        oracle: &mut dyn Oracle,
        problem: &Problem,
        goal: Goal,
        start: &Array3<f32>,
        journal: &mut Journal,
    ) -> Result<Option<Array3<f32>>> {
        let momentum = self.mu.is_some();
        let (rule, radius) = match self.norm {
            Norm::Linf => (stepper::Rule::Sign { eps: self.eps, momentum }, None),
            Norm::L2 => (stepper::Rule::Normal { momentum }, Some(self.eps)),
        };
        let objective = Objective::CrossEntropy { labels: &[goal.class] };
        let shared = away::open(oracle, problem, rule, objective, start.view(), &[], Extras::default())?;
        let Some(shared) = shared else { return Ok(None) };
        let scalars: Vec<f32> = [Some(self.alpha * goal.ascent()), radius, self.mu].into_iter().flatten().collect();
        let mut lane = Away::new(&shared, 0, 1.0);
        for step in 0..self.steps {
            let reading = match away::step(&mut [&mut lane], &scalars) {
                Ok(mut readings) => readings.swap_remove(0),
                Err(failure) => {
                    let states = shared.borrow_mut().leave(failure)?;
                    let momentum = momentum.then(|| states.of("momentum", 0)).transpose()?;
                    let point = Point { x: states.of("pixels", 0)?, momentum, step };
                    return self.here(shared.borrow_mut().oracle(), problem, goal, point, journal).map(Some);
                }
            };
            let loss = reading.loss.unwrap_or(f32::NAN);
            journal.report(lane.picture(), &reading.logits, loss, &[("eps", self.eps)])?;
        }
        let last = shared.borrow_mut().current(0)?;
        Ok(Some(last))
    }
}

/// Where the loop is: image, momentum once there is any, steps done.
struct Point {
    x: Array3<f32>,
    momentum: Option<Array3<f32>>,
    step: usize,
}

impl Point {
    fn at(start: Array3<f32>) -> Self {
        Self { x: start, momentum: None, step: 0 }
    }
}

/// Runs the loop `restarts` times and returns the successful image with the largest progress of the loss, else the
/// one that came closest.
pub(super) fn restarted(
    rule: &Rule,
    restarts: usize,
    oracle: &mut dyn Oracle,
    problem: &Problem,
    recorder: &mut dyn Recorder,
) -> Result<Outcome> {
    let goal = Goal::of(problem, oracle)?;
    let mut journal = Journal::new(recorder);
    // Success outweighs any loss.
    let cost = |o: &Outcome| {
        let progress = scalars::cross_entropy(o.logits.view(), goal.class) * f64::from(goal.ascent());
        -progress.clamp(-1e6, 1e6) - if o.success { 1e9 } else { 0.0 }
    };
    let mut last = rule.pass(oracle, problem, &mut journal, 0)?;
    for restart in 1..restarts as u64 {
        journal.keep(cost(&last), &last.image, &last.logits, last.success, last.step);
        last = rule.pass(oracle, problem, &mut journal, restart)?;
    }
    journal.keep(cost(&last), &last.image, &last.logits, last.success, last.step);
    Ok(journal.finish(last))
}

/// `m <- mu m + g / ||g||_1`; a zero or non-finite gradient adds nothing.
fn accumulate(momentum: &mut Array3<f32>, gradient: &Array3<f32>, mu: f32) {
    let length = ball::sums(gradient).l1;
    let factor = if length > 0.0 && length.is_finite() { (1.0 / length) as f32 } else { 0.0 };
    if factor > 0.0 && factor.is_finite() {
        momentum.zip_mut_with(gradient, |m, g| *m = mu * *m + factor * g);
    } else {
        momentum.mapv_inplace(|m| mu * m);
    }
}
