//! APGD: Croce, Hein 2020 (arXiv 2003.01690): PGD without a step size to choose. The step starts at 2 eps and is halved
//! at checkpoints where the loss stopped rising; losses are cross-entropy and the scale-free DLR.

use ndarray::{Array1, Array3};

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Picture, Problem, Recorder,
    away::{self, Away, Extras, Shared},
    ball::Norm,
    constant_search::Lane as _,
    goal::{self, Goal, Journal},
    gradient_sign,
};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    stepper::{Rule, States},
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

    fn on_device(&self) -> bool {
        true
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

/// The images of a pass: the last one, the one before it and the best, with gradients where a step may begin.
struct Walk {
    x: Array3<f32>,
    previous: Array3<f32>,
    gradient: Array3<f32>,
    best: (Array3<f32>, Array3<f32>),
    /// Memory for the step without momentum.
    z: Array3<f32>,
    /// Whether the next step begins at the best image. Put off until then: the last step's image is still asked for.
    back: bool,
}

/// Where a pass takes place.
enum Place<'a, 'b> {
    Here(Box<Walk>),
    There(Away<'a, 'b>),
}

impl Setup {
    /// One run from one start: `steps + 1` evaluations, each recorded.
    fn pass(&self, oracle: &mut dyn Oracle, problem: &Problem, journal: &mut Journal, restart: u64) -> Result<Outcome> {
        let start = self.norm.start(problem, self.eps, self.random_start, restart);
        let rule = Rule::Auto { eps: self.eps, l2: self.norm == Norm::L2 };
        let classes = [problem.label, self.goal.class];
        let objective = self.objective(&classes);
        if let Some(shared) = away::open(oracle, problem, rule, objective, start.view(), &[], Extras::default())? {
            let place = Place::There(Away::new(&shared, 0, 1.0));
            return self.walk(place, journal, &mut |place, step, keep| self.there(&shared, problem, place, step, keep));
        }
        let place = Place::Here(Box::new(Walk::at(start)));
        self.walk(place, journal, &mut |place, step, keep| self.evaluate(oracle, problem, place, step, keep))
    }

    /// The loop: `advance` takes a step of a length, `keep` of it beside momentum, and gives logits and the loss to be raised.
    fn walk<'a, 'b>(
        &self,
        mut place: Place<'a, 'b>,
        journal: &mut Journal,
        advance: &mut dyn FnMut(&mut Place<'a, 'b>, f32, f32) -> Result<(Array1<f32>, f32)>,
    ) -> Result<Outcome> {
        let mut step_size = 2.0 * self.eps;
        let (mut logits, mut loss) = advance(&mut place, 0.0, 0.0)?;
        let mut number = self.record(&place, journal, &logits, loss, step_size)?;
        let mut best = loss;
        place.mark();
        let mut schedule = Schedule::new(self.steps, loss);
        for k in 0..self.steps {
            if self.until_success && self.goal.success(logits.view()) {
                break;
            }
            let before = loss;
            (logits, loss) = advance(&mut place, step_size, if k == 0 { 1.0 } else { 0.75 })?;
            number = self.record(&place, journal, &logits, loss, step_size)?;
            let rose = loss > before;
            if loss > best {
                best = loss;
                place.mark();
            }
            if schedule.halve(rose, best, self.progress) {
                step_size /= 2.0;
                loss = best;
                place.back();
            }
        }
        let image = place.picture().array()?.into_owned();
        Ok(Outcome { image, success: self.goal.success(logits.view()), logits, step: number })
    }

    /// Records the image and keeps it when it is the best.
    fn record(&self, place: &Place, journal: &mut Journal, logits: &Array1<f32>, loss: f32, step_size: f32) -> Result<usize> {
        let step = journal.report(place.picture(), logits, loss, &[("step size", step_size)])?;
        let success = self.goal.success(logits.view());
        let cost = -f64::from(loss).clamp(-1e6, 1e6) - if success { 1e9 } else { 0.0 };
        journal.keep_picture(cost, &place.picture(), logits, success, step)?;
        Ok(step)
    }

    /// A step where the network runs; here, and from then on, when that fails.
    fn there(&self, shared: &Shared, problem: &Problem, place: &mut Place, step: f32, keep: f32) -> Result<(Array1<f32>, f32)> {
        if let Place::There(lane) = place {
            let radius = (self.norm == Norm::L2).then_some(self.eps);
            let scalars: Vec<f32> = [Some(step * self.ascent()), Some(keep), radius].into_iter().flatten().collect();
            match away::step(&mut [lane], &scalars) {
                Ok(mut readings) => {
                    let reading = readings.swap_remove(0);
                    return Ok((reading.logits, self.ascent() * reading.loss.unwrap_or(f32::NAN)));
                }
                Err(failure) => {
                    let states = shared.borrow_mut().leave(failure)?;
                    *place = Place::Here(Box::new(Walk::resumed(&states, self.ascent())?));
                }
            }
        }
        self.evaluate(shared.borrow_mut().oracle(), problem, place, step, keep)
    }

    /// A step here: the next image, its loss and masked gradient.
    fn evaluate(&self, oracle: &mut dyn Oracle, problem: &Problem, place: &mut Place, step: f32, keep: f32) -> Result<(Array1<f32>, f32)> {
        let Place::Here(walk) = place else { return Err(Error::Engine("the image is on the device; run the attack again".into())) };
        if keep > 0.0 {
            walk.advance(self.norm, &problem.image, self.eps, step, keep);
        }
        let mut e = goal::gradient(oracle, walk.x.view(), self.objective(&[problem.label, self.goal.class]))?;
        if self.ascent() < 0.0 {
            e.loss = -e.loss;
            e.grad.mapv_inplace(|g| -g);
        }
        goal::mask(problem, &mut e.grad);
        walk.gradient = e.grad;
        Ok((e.logits, e.loss))
    }

    /// The objective, given the true class and the class that the goal looks at.
    fn objective<'c>(&self, classes: &'c [usize; 2]) -> Objective<'c> {
        let (label, class) = classes.split_at(1);
        if self.dlr {
            Objective::Ratio { labels: label, targets: self.goal.targeted.then_some(class) }
        } else {
            Objective::CrossEntropy { labels: class }
        }
    }

    /// +1 where the objective is to grow, -1 where it is to shrink.
    fn ascent(&self) -> f32 {
        if self.dlr { 1.0 } else { self.goal.ascent() }
    }
}

impl Walk {
    fn at(start: Array3<f32>) -> Self {
        let zero = Array3::zeros(start.raw_dim());
        Self { previous: start.clone(), gradient: zero.clone(), best: (start.clone(), zero.clone()), z: zero, x: start, back: false }
    }

    /// What a loop elsewhere had come to; its gradients are the objective's, whichever way that is to go.
    fn resumed(states: &States, ascent: f32) -> Result<Self> {
        let uphill = |role| Ok::<_, Error>(states.of(role, 0)? * ascent);
        let (x, gradient) = (states.of("pixels", 0)?, uphill("gradient")?);
        let marked = states.0.contains_key("best_pixels");
        let best = if marked { (states.of("best_pixels", 0)?, uphill("best_gradient")?) } else { (x.clone(), gradient.clone()) };
        Ok(Self { z: x.clone(), x, previous: states.of("previous", 0)?, gradient, best, back: false })
    }

    fn advance(&mut self, norm: Norm, clean: &Array3<f32>, eps: f32, step: f32, keep: f32) {
        if std::mem::take(&mut self.back) {
            self.x.assign(&self.best.0);
            self.gradient.assign(&self.best.1);
        }
        // The image before the last one is not needed again: its memory takes the next one.
        norm.step_on(&mut self.previous, &self.x, &self.gradient, [step, keep], clean, eps, &mut self.z);
        std::mem::swap(&mut self.x, &mut self.previous);
    }
}

impl Place<'_, '_> {
    fn picture(&self) -> Picture<'_> {
        match self {
            Self::Here(walk) => Picture::Here(walk.x.view()),
            Self::There(lane) => lane.picture(),
        }
    }

    /// Remembers the image as the best.
    fn mark(&mut self) {
        match self {
            Self::Here(walk) => {
                walk.best.0.assign(&walk.x);
                walk.best.1.assign(&walk.gradient);
            }
            Self::There(lane) => lane.mark(),
        }
    }

    /// The next step begins at the best image.
    fn back(&mut self) {
        match self {
            Self::Here(walk) => walk.back = true,
            Self::There(lane) => lane.back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints() {
        let mut s = Schedule::new(100, 0.0);
        assert!((0..22).all(|i| !s.halve(true, i as f32, 0.75)));
        assert_eq!(s.window, 19);
        assert!((0..19).any(|_| s.halve(false, 21.0, 0.75)));
    }
}
