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

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    admm::Admm,
    constant_search::{self, ConstantSearch},
    goal::{self, Goal, Journal},
    refinement,
};
use crate::core::{
    error::{Error, Result},
    oracle::Oracle,
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
