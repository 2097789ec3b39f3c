//! The loop of StrAttack: ADMM, here or where the network runs. See [`super::strattack`] for the problem.

use ndarray::{Array1, Array3, Zip};

use super::{
    Params, Picture, Problem,
    away::{self, Away, Extras, Seat},
    constant_search::{self, Ended, Lane, Pace},
    goal::{self, Goal, Journal, Judged},
    groups::{self, Groups},
};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    stepper::{Reading, Rule, States, Windows},
};

/// The problem, its weights and groups.
pub(super) struct Admm<'a> {
    pub problem: &'a Problem,
    pub goal: Goal,
    clean_logits: Array1<f32>,
    groups: Groups,
    /// The groups as a loop elsewhere takes them.
    pub windows: Windows,
    pub released: bool,
    pub pace: Pace,
    tau: f64,
    pub gamma: f32,
    pub rho: f32,
    pub eta: f32,
    pub eps: f32,
    pub kappa: f32,
    tolerance: f64,
    fewest: bool,
}

/// Steps without any change of success before small residuals end a constant.
const SETTLED: usize = 10;

/// One constant: z with its copies and their duals.
struct Copies {
    c: f32,
    z: Array3<f32>,
    delta: Array3<f32>,
    w: Array3<f32>,
    y: Vec<Array3<f32>>,
    /// Scaled duals of delta, w and each y.
    u: Array3<f32>,
    s: Array3<f32>,
    v: Vec<Array3<f32>>,
    image: Array3<f32>,
    /// For what is computed on the way.
    memory: Array3<f32>,
    trail: Trail,
    /// Whether an update comes before the next copies.
    due: bool,
}

/// What an early end goes by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trail {
    /// Primal and dual residual of the last update.
    residuals: Option<(f64, f64)>,
    /// Whether the last image succeeded, and for how many steps that has not changed.
    state: (bool, usize),
    /// Whether going on would change nothing.
    pub done: bool,
}

impl Lane for Copies {
    fn picture(&self) -> Picture<'_> {
        Picture::Here(self.image.view())
    }

    fn done(&self) -> bool {
        self.trail.done
    }
}

impl<'a> Admm<'a> {
    pub fn new(problem: &'a Problem, params: &Params, goal: Goal, clean_logits: Array1<f32>) -> Self {
        let (_, height, width) = problem.image.dim();
        let released = params.choice("variant") == "released";
        let side = match params.int("group") as usize {
            0 if height.min(width) > 32 => 13,
            0 => 2,
            side => side,
        };
        let stride = if params.int("stride") == 0 { side } else { params.int("stride") as usize };
        let groups = Groups::new(height, width, side, stride, !released);
        let groups = if released { groups.flattened() } else { groups };
        Self {
            problem,
            goal,
            clean_logits,
            windows: groups.matrices(height, width),
            groups,
            released,
            pace: Pace { steps: params.int("steps") as usize, abort: false },
            tau: params.float("tau"),
            gamma: params.float("gamma") as f32,
            rho: params.float("rho") as f32,
            eta: params.float("eta") as f32,
            eps: params.float("eps") as f32,
            kappa: params.float("kappa") as f32,
            tolerance: params.float("tolerance"),
            fewest: params.choice("keep") == "groups",
        }
    }

    fn lane(&self, c: f32) -> Copies {
        let zero = Array3::<f32>::zeros(self.problem.image.raw_dim());
        let several = vec![zero.clone(); self.groups.classes.len()];
        let [z, delta, w, u, s, memory] = std::array::from_fn(|_| zero.clone());
        let (image, trail) = (self.problem.image.clone(), Trail::default());
        Copies { c, z, delta, w, y: several.clone(), u, s, v: several, image, memory, trail, due: false }
    }

    /// What a loop elsewhere had come to.
    fn resumed(&self, lane: &Away, states: &States) -> Result<Copies> {
        let v = states.whole("v", lane.index)?;
        let v: Option<Vec<Array3<f32>>> = v.outer_iter().map(|v| v.into_dimensionality().ok().map(|v| v.to_owned())).collect();
        let v = v.ok_or_else(|| Error::Engine("the device gave 'v' back in another shape; use --update host".into()))?;
        let [z, u, s] = ["z", "u", "s"].map(|role| states.of(role, lane.index));
        Ok(Copies { z: z?, u: u?, s: s?, v, trail: lane.trail, ..self.lane(lane.c) })
    }

    /// Some constants from the first step to the last.
    pub fn round(&self, oracle: &mut dyn Oracle, constants: &[f32], journal: &mut Journal) -> Result<Ended> {
        let labels = vec![self.goal.class; constants.len()];
        let objective = Objective::Margin { labels: &labels, targeted: self.goal.targeted, kappa: self.kappa };
        let zero = Array3::zeros(self.problem.image.raw_dim());
        let extras = Extras { windows: Some(&self.windows), support: None };
        if let Some(shared) = away::open(oracle, self.problem, Rule::Admm { eps: self.eps }, objective, zero.view(), constants, extras)? {
            let lanes = Seat::each(&shared, constants);
            let resume = |lane: &Away, states: &States| self.resumed(lane, states);
            return constant_search::abreast(lanes, self.pace, self.goal, journal, |lanes, k| {
                away::either(&shared, lanes, |l| self.step_away(l, k), resume, |oracle, l| self.step(oracle, l, k))
            });
        }
        let lanes = constants.iter().map(|c| self.lane(*c)).collect();
        constant_search::abreast(lanes, self.pace, self.goal, journal, |lanes, k| self.step(oracle, lanes, k))
    }

    /// Weights of an update: the linearisation's, that of the first copy, and their sum with the others'.
    fn weights(&self, k: usize) -> (f32, f32, f32) {
        let pull = if self.released { 2.0 * self.rho } else { self.rho };
        let eta = self.eta * (k as f32).sqrt();
        (eta, pull, eta + pull + self.rho + self.rho * self.groups.classes.len() as f32)
    }

    /// How much of z the first copy takes.
    fn share(&self) -> f32 {
        self.rho / (self.rho + 2.0 * self.gamma)
    }

    /// An update of z and the duals where there are copies already, then new copies; the sparse one is judged.
    fn step(&self, oracle: &mut dyn Oracle, lanes: &mut [&mut Copies], k: usize) -> Result<Vec<Judged>> {
        if lanes.iter().all(|l| l.due) {
            let points: Vec<Array3<f32>> = lanes.iter().map(|l| &self.problem.image + &l.z).collect();
            let views: Vec<_> = points.iter().map(|p| p.view()).collect();
            let gradients = self.goal.hinges(oracle, &views, self.kappa)?.into_iter().map(|e| e.grad).collect();
            constant_search::each(lanes, gradients, |lane, gradient| self.update(lane, gradient, k));
        }
        let none = vec![(); lanes.len()];
        constant_search::each(lanes, none, |lane, ()| self.split(lane));
        // An image that was not touched is known already.
        let touched: Vec<bool> = lanes.iter().map(|l| l.image != self.problem.image).collect();
        let views: Vec<_> = lanes.iter().zip(&touched).filter(|(_, t)| **t).map(|(l, _)| l.image.view()).collect();
        let mut fresh = goal::logits_of(oracle, &views)?.into_iter();
        let mut judged = Vec::new();
        for (lane, touched) in lanes.iter_mut().zip(touched) {
            let logits = if touched { fresh.next() } else { None }.unwrap_or_else(|| self.clean_logits.clone());
            let mut found = self.judge(self.measure(&lane.image), logits, lane.c);
            self.settle(&mut lane.trail, &mut found);
            lane.due = true;
            judged.push(found);
        }
        Ok(judged)
    }

    /// The same where the network runs: each run makes the copies and takes the update that follows.
    fn step_away(&self, lanes: &mut [&mut Away], k: usize) -> Result<Vec<Judged>> {
        let (eta, pull, total) = self.weights(k + 1);
        let threshold = (self.tau / f64::from(self.rho)) as f32;
        let readings = away::step(lanes, &[eta, pull, self.rho, total, self.share(), threshold])?;
        let mut judged = Vec::new();
        for (reading, lane) in readings.into_iter().zip(lanes) {
            let measured = Measured::told(&reading);
            let logits = if measured.squares > 0.0 { reading.logits } else { self.clean_logits.clone() };
            let mut found = self.judge(measured, logits, lane.c);
            self.settle(&mut lane.trail, &mut found);
            // These are of the update behind this image.
            lane.trail.residuals = Some((reading.residuals[0].into(), reading.residuals[1].into()));
            judged.push(found);
        }
        Ok(judged)
    }

    /// Tells the residuals, and ends a constant where they are small and its success has not changed for a while.
    fn settle(&self, trail: &mut Trail, found: &mut Judged) {
        if let Some((primal, dual)) = trail.residuals {
            found.terms.extend([("primal residual", primal as f32), ("dual residual", dual as f32)]);
        }
        let success = found.cost.is_some();
        trail.state = (success, if trail.state.0 == success { trail.state.1 + 1 } else { 0 });
        let small = trail.residuals.is_some_and(|(primal, dual)| primal.max(dual) < self.tolerance);
        trail.done = small && trail.state.1 >= SETTLED;
    }

    /// The copies of z, and the image of the sparse one.
    fn split(&self, lane: &mut Copies) {
        let Copies { z, delta, w, y, u, s, v, image, memory, .. } = lane;
        let share = self.share();
        Zip::from(delta).and(&*z).and(u).for_each(|d, z, u| *d = (z - *u) * share);
        Zip::from(w).and(&*z).and(s).and(&self.problem.image).for_each(|w, z, s, x| *w = self.clipped(z - *s, *x));
        let threshold = self.tau / f64::from(self.rho);
        for ((class, y), v) in self.groups.classes.iter().zip(&mut *y).zip(v) {
            Zip::from(&mut *memory).and(&*z).and(v).for_each(|q, z, v| *q = z - *v);
            groups::shrink(class, memory, threshold, y);
        }
        match &y[..] {
            [one] => self.apply(one, image),
            several => self.apply(&merge(several), image),
        }
    }

    /// The linearised update of z, then the duals.
    fn update(&self, lane: &mut Copies, mut gradient: Array3<f32>, k: usize) {
        let (rho, c) = (self.rho, lane.c);
        goal::mask(self.problem, &mut gradient);
        let (eta, pull, total) = self.weights(k);
        let Copies { z, delta, w, y, u, s, v, memory, .. } = lane;
        memory.assign(z);
        Zip::from(&mut *z).and(&gradient).and(&*delta).and(&*u).and(&*w).and(&*s).for_each(|z, g, d, u, w, s| {
            *z = eta * *z - c * g + pull * (d + u);
            *z += rho * (w + s);
        });
        for (y, v) in y.iter().zip(&*v) {
            Zip::from(&mut *z).and(y).and(v).for_each(|z, y, v| *z += rho * (y + v));
        }
        z.mapv_inplace(|z| z / total);
        let mut primal = 0.0f64;
        let mut raise = |dual: &mut Array3<f32>, copy: &Array3<f32>| {
            Zip::from(dual).and(copy).and(&*z).for_each(|u, d, z| *u += d - z);
            primal = primal.max(goal::squared_distance(copy, z).sqrt());
        };
        raise(u, delta);
        raise(s, w);
        y.iter().zip(v).for_each(|(y, v)| raise(v, y));
        lane.trail.residuals = Some((primal, f64::from(rho) * goal::squared_distance(z, memory).sqrt()));
    }

    /// A change of a value inside the box and eps. Not `clamp`, whose check of its bounds keeps loops from running on several at once.
    fn clipped(&self, change: f32, clean: f32) -> f32 {
        change.max((-clean).max(-self.eps)).min((1.0 - clean).min(self.eps))
    }

    /// The image that a change makes, inside the box and eps.
    pub fn apply(&self, change: &Array3<f32>, image: &mut Array3<f32>) {
        let made = |d: f32, x: f32| (x + self.clipped(d, x)).clamp(0.0, 1.0);
        Zip::from(image).and(change).and(&self.problem.image).for_each(|i, d, x| *i = made(*d, *x));
    }

    /// The change that an image makes.
    pub fn measure(&self, image: &Array3<f32>) -> Measured {
        let (lengths, active) = self.groups.lengths(&(image - &self.problem.image));
        Measured { squares: goal::squared_distance(image, &self.problem.image), lengths, active }
    }

    /// What an image is worth: its groups or the stated objective, or in released mode L2 alone.
    pub fn judge(&self, measured: Measured, logits: Array1<f32>, c: f32) -> Judged {
        let Measured { squares, lengths, active } = measured;
        let margin = self.goal.margin(logits.view());
        let hinge = (margin + self.kappa).max(0.0);
        let weight = f64::from(self.gamma) * squares + self.tau * lengths;
        let cost = match (self.released, self.fewest) {
            (true, _) => squares,
            // The fraction below one orders images with equally many groups.
            (false, true) => active as f64 + squares / (1.0 + squares),
            (false, false) => weight,
        };
        Judged {
            loss: f64::from(c * hinge) + weight,
            terms: vec![("c", c), ("distance", squares as f32), ("groups", active as f32), ("hinge", hinge)],
            cost: self.goal.reached(logits.view(), self.kappa).then_some(cost),
            margin,
            logits,
        }
    }
}

/// A change by squared L2, sum of the groups' lengths and number of groups that are not zero.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    pub squares: f64,
    lengths: f64,
    active: usize,
}

impl Measured {
    /// As a loop elsewhere told it.
    pub fn told(reading: &Reading) -> Self {
        let [lengths, active] = reading.windows;
        Self { squares: reading.norms.l2.powi(2), lengths: lengths.into(), active: active as usize }
    }
}

/// Mean of the copies where none of them is zero, so that a pixel of a dropped group stays dropped.
fn merge(y: &[Array3<f32>]) -> Array3<f32> {
    let mut sum = y[0].clone();
    for copy in &y[1..] {
        Zip::from(&mut sum).and(copy).for_each(|s, y| *s = if *s == 0.0 || *y == 0.0 { 0.0 } else { *s + y });
    }
    sum.mapv_inplace(|v| v / y.len() as f32);
    sum
}
