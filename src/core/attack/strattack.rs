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
    Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    constant_search::{self, ConstantSearch},
    goal::{self, Goal, Journal},
    groups::{self, Groups},
};
use crate::core::{error::Result, oracle::Oracle};

/// Group-sparse attack.
pub struct StrAttack;

const PARAMS: &[ParamSpec] = &[
    constant_search::steps("100"),
    ParamSpec { default: "6", ..constant_search::SEARCH_STEPS },
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
        name: "variant",
        kind: Kind::Choice(&["exact", "released"]),
        default: "exact",
        unit: "",
        help: "The stated problem, or what the authors' code does.",
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
    fn name(&self) -> &'static str {
        "strattack"
    }

    fn summary(&self) -> &'static str {
        "StrAttack: changes a few square groups of pixels and leaves the rest untouched."
    }

    fn params(&self) -> &'static [ParamSpec] {
        PARAMS
    }

    fn steps(&self, params: &Params) -> usize {
        let stages = 1 + usize::from(params.flag("refine"));
        (params.int("steps") as usize).saturating_mul(params.int("search-steps") as usize).saturating_mul(stages)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let clean = goal::logits(oracle, problem.image.view())?;
        goal::refuse_probabilities(clean.view())?;
        let admm = Admm::new(problem, params, goal, clean);
        let mut journal = Journal::new(recorder);
        let mut search = ConstantSearch::new(params.float("c0"), admm.growth(), admm.rounds);
        let mut last = None;
        for round in 0..admm.rounds {
            let (found, end) = admm.round(oracle, search.constant(round) as f32, &mut journal)?;
            last = Some(end);
            search.update(found);
        }
        if params.flag("refine") {
            admm.refine(oracle, &mut journal)?;
        }
        Ok(journal.finish(last.expect("the search has at least one round of at least one step")))
    }
}

struct Admm<'a> {
    problem: &'a Problem,
    goal: Goal,
    clean_logits: Array1<f32>,
    groups: Groups,
    released: bool,
    steps: usize,
    rounds: usize,
    tau: f64,
    gamma: f32,
    rho: f32,
    eta: f32,
    eps: f32,
    kappa: f32,
}

impl<'a> Admm<'a> {
    fn new(problem: &'a Problem, params: &Params, goal: Goal, clean_logits: Array1<f32>) -> Self {
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
            groups,
            released,
            steps: params.int("steps") as usize,
            rounds: params.int("search-steps") as usize,
            tau: params.float("tau"),
            gamma: params.float("gamma") as f32,
            rho: params.float("rho") as f32,
            eta: params.float("eta") as f32,
            eps: params.float("eps") as f32,
            kappa: params.float("kappa") as f32,
        }
    }

    fn growth(&self) -> f64 {
        if self.released { 5.0 } else { 10.0 }
    }

    /// ADMM for one constant, from zero. Returns whether the round succeeded, and its last image.
    fn round(&self, oracle: &mut dyn Oracle, c: f32, journal: &mut Journal) -> Result<(bool, Outcome)> {
        let (rho, clean) = (self.rho, &self.problem.image);
        let zero = Array3::<f32>::zeros(clean.raw_dim());
        let copies = self.groups.classes.len() as f32;
        let pull = if self.released { 2.0 * rho } else { rho };
        let (mut z, mut u, mut s) = (zero.clone(), zero.clone(), zero.clone());
        let mut v = vec![zero; self.groups.classes.len()];
        let mut found = false;
        let mut k = 0;
        loop {
            let delta = (&z - &u) * (rho / (rho + 2.0 * self.gamma));
            let mut w = &z - &s;
            self.clip(&mut w);
            let y: Vec<Array3<f32>> =
                self.groups.classes.iter().zip(&v).map(|(class, v)| groups::shrink(class, &(&z - v), self.tau / f64::from(rho))).collect();
            let (better, success, end) = self.candidate(oracle, &y, c, journal)?;
            found |= if self.released { better } else { success };
            k += 1;
            if k >= self.steps {
                return Ok((found, end));
            }
            let mut gradient = self.goal.hinge(oracle, (clean + &z).view(), self.kappa)?.grad;
            goal::mask(self.problem, &mut gradient);
            let eta = self.eta * (k as f32).sqrt();
            let total = eta + pull + rho + rho * copies;
            Zip::from(&mut z).and(&gradient).and(&delta).and(&u).for_each(|z, g, d, u| *z = eta * *z - c * g + pull * (d + u));
            Zip::from(&mut z).and(&w).and(&s).for_each(|z, w, s| *z += rho * (w + s));
            for (y, v) in y.iter().zip(&v) {
                Zip::from(&mut z).and(y).and(v).for_each(|z, y, v| *z += rho * (y + v));
            }
            z.mapv_inplace(|z| z / total);
            let raise = |dual: &mut Array3<f32>, copy: &Array3<f32>| Zip::from(dual).and(copy).and(&z).for_each(|u, d, z| *u += d - z);
            raise(&mut u, &delta);
            raise(&mut s, &w);
            y.iter().zip(&mut v).for_each(|(y, v)| raise(v, y));
        }
    }

    /// Evaluates the sparse copy. Returns whether it is a new best, whether it succeeds, and the image.
    fn candidate(&self, oracle: &mut dyn Oracle, y: &[Array3<f32>], c: f32, journal: &mut Journal) -> Result<(bool, bool, Outcome)> {
        let d = self.merge(y);
        let image = self.apply(&d);
        let untouched = image == self.problem.image;
        let logits = if untouched { self.clean_logits.clone() } else { goal::logits(oracle, image.view())? };
        let end = self.record(&image, logits, c, journal)?;
        let success = self.goal.reached(end.logits.view(), self.kappa);
        let moved = &end.image - &self.problem.image;
        let squares = goal::squared_distance(&end.image, &self.problem.image);
        let cost = if self.released { squares } else { f64::from(self.gamma) * squares + self.tau * self.groups.lengths(&moved).0 };
        let better = success && journal.keep(cost, &end.image, &end.logits, true, end.step);
        Ok((better, success, end))
    }

    /// Mean of the copies where none of them is zero, so that a pixel of a dropped group stays dropped.
    fn merge(&self, y: &[Array3<f32>]) -> Array3<f32> {
        let mut sum = y[0].clone();
        for copy in &y[1..] {
            Zip::from(&mut sum).and(copy).for_each(|s, y| *s = if *s == 0.0 || *y == 0.0 { 0.0 } else { *s + y });
        }
        sum.mapv_inplace(|v| v / y.len() as f32);
        sum
    }

    /// Clips a change to the box and to eps.
    fn clip(&self, d: &mut Array3<f32>) {
        Zip::from(d).and(&self.problem.image).for_each(|d, x| *d = d.clamp((-x).max(-self.eps), (1.0 - x).min(self.eps)));
    }

    fn apply(&self, d: &Array3<f32>) -> Array3<f32> {
        let mut d = d.clone();
        self.clip(&mut d);
        (&self.problem.image + &d).mapv(|v| v.clamp(0.0, 1.0))
    }

    fn record(&self, image: &Array3<f32>, logits: Array1<f32>, c: f32, journal: &mut Journal) -> Result<Outcome> {
        let moved = image - &self.problem.image;
        let squares = goal::squared_distance(image, &self.problem.image);
        let (lengths, active) = self.groups.lengths(&moved);
        let hinge = (self.goal.margin(logits.view()) + self.kappa).max(0.0);
        let loss = c * hinge + self.gamma * squares as f32 + (self.tau * lengths) as f32;
        let step =
            journal.step(image, &logits, loss, &[("c", c), ("distance", squares as f32), ("groups", active as f32), ("hinge", hinge)])?;
        Ok(Outcome { image: image.clone(), success: self.goal.success(logits.view()), logits, step })
    }

    /// Lowers L2 on the support of the best image; does nothing when there is none.
    fn refine(&self, oracle: &mut dyn Oracle, journal: &mut Journal) -> Result<()> {
        let Some(best) = journal.best_image().map(|b| b - &self.problem.image) else {
            return Ok(());
        };
        journal.recost(goal::squared_distance(&(&best + &self.problem.image), &self.problem.image));
        let mut search = ConstantSearch::new(5.0, self.growth(), self.rounds);
        for round in 0..self.rounds {
            let Some(start) = journal.best_image().map(|b| b - &self.problem.image) else {
                return Ok(());
            };
            // The released code also drops the smallest 3 % of what is left, again in each round.
            let floor = if self.released { third_percentile(&start) } else { 0.0 };
            let support = start.mapv(|v| if v.abs() > floor { 1.0f32 } else { 0.0 });
            let found = self.refine_round(oracle, search.constant(round) as f32, start, &support, journal)?;
            search.update(found);
        }
        Ok(())
    }

    fn refine_round(
        &self,
        oracle: &mut dyn Oracle,
        c: f32,
        mut z: Array3<f32>,
        support: &Array3<f32>,
        journal: &mut Journal,
    ) -> Result<bool> {
        let rho = self.rho;
        let weight = self.eta + if self.released { 2.0 * rho } else { rho };
        let mut u = Array3::<f32>::zeros(z.raw_dim());
        let mut found = false;
        for _ in 0..self.steps {
            let mut d = (&z - &u) * (rho / (rho + self.gamma / 100.0));
            d *= support;
            let image = self.apply(&d);
            let mut e = self.goal.hinge(oracle, image.view(), self.kappa)?;
            goal::mask(self.problem, &mut e.grad);
            let end = self.record(&image, e.logits, c, journal)?;
            let d = &image - &self.problem.image;
            if self.goal.reached(end.logits.view(), self.kappa) {
                found = true;
                journal.keep(goal::squared_distance(&image, &self.problem.image), &image, &end.logits, true, end.step);
            }
            Zip::from(&mut z).and(&d).and(&u).and(&e.grad).and(support).for_each(|z, d, u, g, m| {
                *z = (self.eta * *z + rho * (d + u) - c * m * g) / weight;
            });
            Zip::from(&mut u).and(&d).and(&z).for_each(|u, d, z| *u += d - z);
        }
        Ok(found)
    }
}

/// Third percentile of the absolute non-zero values, linearly interpolated.
fn third_percentile(values: &Array3<f32>) -> f32 {
    let mut sizes: Vec<f32> = values.iter().map(|v| v.abs()).filter(|v| *v > 0.0).collect();
    if sizes.is_empty() {
        return 0.0;
    }
    sizes.sort_unstable_by(f32::total_cmp);
    let at = 0.03 * (sizes.len() - 1) as f32;
    let below = sizes[at as usize];
    let above = sizes[(at as usize + 1).min(sizes.len() - 1)];
    below + (above - below) * at.fract()
}
