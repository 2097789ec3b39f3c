//! MI-FGSM: Dong et al. 2018 (arXiv 1710.06081). The loop of IFGSM on an accumulated direction.

use super::{
    Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    gradient_sign::{self, Rule},
};
use crate::core::{error::Result, oracle::Oracle};

/// Momentum iterative gradient sign.
pub struct MiFgsm;

const PARAMS: &[ParamSpec] = &[
    gradient_sign::EPS,
    gradient_sign::ALPHA,
    gradient_sign::steps("10"),
    gradient_sign::NORM,
    gradient_sign::random_start("no"),
    ParamSpec {
        name: "mu",
        kind: Kind::Float { min: 0.0, max: 10.0 },
        default: "1",
        unit: "",
        help: "How much of the earlier direction is kept each step.",
    },
];

impl Attack for MiFgsm {
    fn name(&self) -> &'static str {
        "mifgsm"
    }

    fn summary(&self) -> &'static str {
        "Gradient sign with momentum: steadier directions, better transfer to other models."
    }

    fn params(&self) -> &'static [ParamSpec] {
        PARAMS
    }

    fn steps(&self, params: &Params) -> usize {
        Rule::of(params).steps + 1
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let rule = Rule { random_start: params.flag("random-start"), mu: Some(params.float("mu") as f32), ..Rule::of(params) };
        gradient_sign::restarted(&rule, 1, oracle, problem, recorder)
    }
}
