//! PGD: Madry et al. 2018 (arXiv 1706.06083). The loop of IFGSM from a random point of the ball, with restarts.

use super::{
    Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    gradient_sign::{self, Rule},
};
use crate::core::{error::Result, oracle::Oracle};

/// Projected gradient descent with random start.
pub struct Pgd;

const PARAMS: &[ParamSpec] = &[
    gradient_sign::EPS,
    gradient_sign::ALPHA,
    gradient_sign::steps("40"),
    gradient_sign::NORM,
    gradient_sign::random_start("yes"),
    ParamSpec {
        name: "restarts",
        kind: Kind::Int { min: 1, max: 1000 },
        default: "1",
        unit: "runs",
        help: "Independent runs from different random points; the best is kept.",
    },
];

impl Attack for Pgd {
    fn name(&self) -> &'static str {
        "pgd"
    }

    fn summary(&self) -> &'static str {
        "Projected gradient descent from a random start, with restarts."
    }

    fn params(&self) -> &'static [ParamSpec] {
        PARAMS
    }

    fn steps(&self, params: &Params) -> usize {
        (Rule::of(params).steps + 1).saturating_mul(params.int("restarts") as usize)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let rule = Rule { random_start: params.flag("random-start"), ..Rule::of(params) };
        gradient_sign::restarted(&rule, params.int("restarts") as usize, oracle, problem, recorder)
    }
}
