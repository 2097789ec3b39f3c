//! StrAttack: Xu et al. 2019 (arXiv 1808.01664): few square groups of pixels, by ADMM.
//!
//! `c * hinge(x0 + d) + gamma ||d||^2 + tau sum_g ||d_g||`, d in the box and `|d| <= eps`. One copy of d per term: z
//! (hinge, linearised), delta (L2), w (box), y (groups, one copy per class of disjoint windows). The image that counts is
//! the sparse copy y. Afterwards a refinement lowers L2 on y's support.
//!
//! `mode exact` solves that problem. `mode released` follows the authors' code: the delta block weighs double in the
//! z update (in effect 2 gamma), overlapping windows overwrite each other, border pixels outside all windows are free, a
//! round counts as success only when it found a new best, the refinement divides by `eta + 2 rho`. Its images may leave
//! 0..1; ours are clipped.

use ndarray::{Array1, Array3, Zip};

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Picture, Problem, Recorder,
    away::{self, Away, Extras, Seat},
    constant_search::{self, ConstantSearch, Ended, Lane, Pace},
    goal::{self, Goal, Journal, Judged},
    groups::{self, Groups},
    refinement,
};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    stepper::{Reading, Rule, States, Windows},
};

/// Group-sparse attack.
pub struct StrAttack;

const PARAMS: &[ParamSpec] = &[
    constant_search::steps("100"),
    ParamSpec { default: "6", ..constant_search::SEARCH_STEPS },
    constant_search::SEARCH,
    constant_search::c0("2.5"),
    ParamSpec {
        name: "tau",
        kind: Kind::Float { min: 0.0, max: 1e6 },
        default: "2",
        unit: "",
        help: "Weight of the groups: larger means fewer groups.",
    },
    ParamSpec { name: "gamma", kind: Kind::Float { min: 0.0, max: 1e6 }, default: "1", unit: "", help: "Weight of the squared L2 norm." },
    ParamSpec { name: "rho", kind: Kind::Float { min: 1e-6, max: 1e6 }, default: "1", unit: "", help: "ADMM's penalty." },
    ParamSpec {
        name: "eta",
        kind: Kind::Float { min: 1e-6, max: 1e6 },
        default: "5",
        unit: "",
        help: "Weight of the linearisation: larger means smaller steps.",
    },
    ParamSpec {
        name: "group",
        kind: Kind::Int { min: 0, max: 4096 },
        default: "0",
        unit: "pixels",
        help: "Side of a group; 0 is 13, or 2 for images up to 32 pixels.",
    },
    ParamSpec {
        name: "stride",
        kind: Kind::Int { min: 0, max: 4096 },
        default: "0",
        unit: "pixels",
        help: "Distance between groups; 0 is the side, less makes them overlap.",
    },
    ParamSpec {
        name: "eps",
        kind: Kind::Float { min: 0.0, max: 1.0 },
        default: "1",
        unit: "pixel value",
        help: "Largest change of any value.",
    },
    constant_search::KAPPA,
    ParamSpec {
        name: "tolerance",
        kind: Kind::Float { min: 0.0, max: 1e6 },
        default: "0",
        unit: "",
        help: "End a constant when ADMM's primal and dual residuals are below this and ten steps changed nothing about success; 0 never does.",
    },
    ParamSpec {
        name: "variant",
        kind: Kind::Choice(&["exact", "released"]),
        default: "exact",
        unit: "",
        help: "The stated problem, or what the authors' code does.",
    },
    ParamSpec {
        name: "keep",
        kind: Kind::Choice(&["groups", "objective"]),
        default: "groups",
        unit: "",
        help: "Which successful image is kept: fewest changed groups (then least L2), or least gamma L2^2 + tau sum of group lengths.",
    },
    ParamSpec {
        name: "refine",
        kind: Kind::Flag,
        default: "yes",
        unit: "",
        help: "Afterwards lower L2 without touching further pixels (as many steps again).",
    },
];

impl Attack for StrAttack {
    fn about(&self) -> About {
        About {
            name: "strattack",
            summary: "StrAttack: changes a few square groups of pixels and leaves the rest untouched.",
            params: PARAMS,
        }
    }

    fn on_device(&self) -> bool {
        true
    }

    fn steps(&self, params: &Params) -> usize {
        constant_search::most_steps(params).saturating_mul(1 + usize::from(params.flag("refine")))
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        if params.choice("variant") == "released" && params.choice("search") == "batched" {
            let text = "the released variant judges each constant by those before it; choose search sequential, or variant exact";
            return Err(Error::Parameter(text.into()));
        }
        let clean = goal::logits(oracle, problem.image.view())?;
        goal::refuse_probabilities(clean.view())?;
        let admm = Admm::new(problem, params, goal, clean);
        let width = if admm.released { 1 } else { constant_search::width(params, oracle) };
        let growth = if admm.released { 5.0 } else { 10.0 };
        let mut journal = Journal::new(recorder);
        let last = constant_search::search(ConstantSearch::of(params, growth, width), |constants| {
            let ended = admm.round(oracle, constants, &mut journal)?;
            Ok((if admm.released { ended.improved } else { ended.found }, ended.last))
        })?;
        if params.flag("refine") {
            let search = ConstantSearch::new(5.0, growth, params.int("search-steps") as usize, width);
            refinement::refine(&admm, search, oracle, &mut journal)?;
        }
        Ok(journal.finish(last))
    }
}

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
        let [z, delta, w, u, s] = std::array::from_fn(|_| zero.clone());
        let (image, trail) = (self.problem.image.clone(), Trail::default());
        Copies { c, z, delta, w, y: several.clone(), u, s, v: several, image, trail, due: false }
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
    fn round(&self, oracle: &mut dyn Oracle, constants: &[f32], journal: &mut Journal) -> Result<Ended> {
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
        lane.delta = (&lane.z - &lane.u) * self.share();
        lane.w = &lane.z - &lane.s;
        self.clip(&mut lane.w);
        let threshold = self.tau / f64::from(self.rho);
        lane.y = self.groups.classes.iter().zip(&lane.v).map(|(class, v)| groups::shrink(class, &(&lane.z - v), threshold)).collect();
        lane.image = self.apply(&merge(&lane.y));
    }

    /// The linearised update of z, then the duals.
    fn update(&self, lane: &mut Copies, mut gradient: Array3<f32>, k: usize) {
        let (rho, c) = (self.rho, lane.c);
        goal::mask(self.problem, &mut gradient);
        let (eta, pull, total) = self.weights(k);
        let Copies { z, delta, w, y, u, s, v, .. } = lane;
        let before = z.clone();
        Zip::from(&mut *z).and(&gradient).and(&*delta).and(&*u).for_each(|z, g, d, u| *z = eta * *z - c * g + pull * (d + u));
        Zip::from(&mut *z).and(&*w).and(&*s).for_each(|z, w, s| *z += rho * (w + s));
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
        lane.trail.residuals = Some((primal, f64::from(rho) * goal::squared_distance(z, &before).sqrt()));
    }

    /// Clips a change to the box and to eps.
    fn clip(&self, d: &mut Array3<f32>) {
        Zip::from(d).and(&self.problem.image).for_each(|d, x| *d = d.clamp((-x).max(-self.eps), (1.0 - x).min(self.eps)));
    }

    /// The image that a change makes, inside the box and eps.
    pub fn apply(&self, d: &Array3<f32>) -> Array3<f32> {
        let mut d = d.clone();
        self.clip(&mut d);
        (&self.problem.image + &d).mapv(|v| v.clamp(0.0, 1.0))
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
