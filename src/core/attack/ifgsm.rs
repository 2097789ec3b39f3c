//! IFGSM, also called BIM: Kurakin, Goodfellow, Bengio 2017 (arXiv 1607.02533). With `smallest-eps` the radius itself is
//! searched on the grid used in the code published with EAD and StrAttack (L-inf: multiples of 0.001; L2: of 0.01).

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    ball::Norm,
    goal::Journal,
    gradient_sign::{self, Rule},
};
use crate::core::{
    error::{Error, Result},
    oracle::Oracle,
};

/// IFGSM / BIM.
pub struct Ifgsm;

const PARAMS: &[ParamSpec] = &[
    gradient_sign::EPS,
    gradient_sign::ALPHA,
    gradient_sign::steps("10"),
    gradient_sign::NORM,
    gradient_sign::random_start("no"),
    ParamSpec {
        name: "smallest-eps",
        kind: Kind::Choice(&["off", "bisect", "grid"]),
        default: "off",
        unit: "",
        help: "Look for the smallest eps that works, at most `eps`, with alpha = eps/steps: by halving, or over the whole grid.",
    },
];

impl Attack for Ifgsm {
    fn about(&self) -> About {
        About { name: "ifgsm", summary: "Iterated gradient sign (BIM): spreads a small change over the whole image.", params: PARAMS }
    }

    fn on_device(&self) -> bool {
        true
    }

    fn steps(&self, params: &Params) -> usize {
        let passes = match params.choice("smallest-eps") {
            "grid" => cells(params).unwrap_or(1),
            "bisect" => cells(params).unwrap_or(1).ilog2() as usize + 2,
            _ => 1,
        };
        passes.saturating_mul(Rule::of(params).steps + 1)
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let rule = Rule::of(params);
        match params.choice("smallest-eps") {
            "grid" => scan(&rule, cells(params)?, oracle, problem, recorder),
            "bisect" => bisect(&rule, cells(params)?, oracle, problem, recorder),
            _ => gradient_sign::restarted(&rule, 1, oracle, problem, recorder),
        }
    }
}

/// Spacing of the grid of radii.
fn spacing(norm: Norm) -> f64 {
    match norm {
        Norm::Linf => 0.001,
        Norm::L2 => 0.01,
    }
}

/// How many radii of the grid are at most `eps`.
fn cells(params: &Params) -> Result<usize> {
    let spacing = spacing(Norm::of(params));
    let count = (params.float("eps") / spacing + 1e-9).floor() as usize;
    if count == 0 {
        return Err(Error::Parameter(format!("the smallest eps is searched in steps of {spacing}; give an eps of at least that")));
    }
    Ok(count)
}

fn at(rule: &Rule, index: usize) -> Rule {
    let eps = (index as f64 * spacing(rule.norm)) as f32;
    Rule { eps, alpha: eps / rule.steps.max(1) as f32, ..*rule }
}

fn scan(rule: &Rule, cells: usize, oracle: &mut dyn Oracle, problem: &Problem, recorder: &mut dyn Recorder) -> Result<Outcome> {
    let mut journal = Journal::new(recorder);
    let mut index = 1;
    loop {
        let last = at(rule, index).pass(oracle, problem, &mut journal, 0)?;
        if last.success || index >= cells {
            return Ok(last);
        }
        index += 1;
    }
}

/// Assumes that a larger radius never hurts: the largest first, then halving.
fn bisect(rule: &Rule, cells: usize, oracle: &mut dyn Oracle, problem: &Problem, recorder: &mut dyn Recorder) -> Result<Outcome> {
    let mut journal = Journal::new(recorder);
    let mut best = at(rule, cells).pass(oracle, problem, &mut journal, 0)?;
    if !best.success {
        return Ok(best);
    }
    let (mut fails, mut works) = (0, cells);
    while works - fails > 1 {
        let middle = fails + (works - fails) / 2;
        let tried = at(rule, middle).pass(oracle, problem, &mut journal, 0)?;
        if tried.success {
            (works, best) = (middle, tried);
        } else {
            fails = middle;
        }
    }
    Ok(best)
}
