//! Checks of a machine's engine: gradients, updates in the graph, maps of many cells, searches at several constants at once, and what
//! a step costs beside the bare engine. What they measure is printed with the card's name; nothing is compared with other machines.

pub mod cost;
pub mod directional;
mod gradients;
mod maps;
pub mod models;
mod updates;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use serde::Serialize;

use super::subject::Subject;
use crate::{
    core::error::{Error, Result},
    runtime::{Runtime, backend::Backend},
};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// As it must be.
    Passed,
    /// Wrong, or it could not run.
    Failed,
    /// A goal for speed was missed: no error, and a busy machine misses it too.
    Slow,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it ended.
    pub verdict: Mark,
    /// One line for people.
    pub text: String,
    /// The numbers in it.
    pub figures: BTreeMap<&'static str, f64>,
    /// Wall seconds it took.
    pub seconds: f64,
}

/// What a check found, before anybody looked at the clock.
struct Found {
    verdict: Mark,
    text: String,
    figures: BTreeMap<&'static str, f64>,
}

impl Found {
    fn new(verdict: Mark, text: String, figures: &[(&'static str, f64)]) -> Self {
        Self { verdict, text, figures: figures.iter().copied().collect() }
    }

    fn passed_if(good: bool, text: String, figures: &[(&'static str, f64)]) -> Self {
        Self::new(if good { Mark::Passed } else { Mark::Failed }, text, figures)
    }
}

/// Where the checks run.
struct Bench<'a> {
    backend: Arc<dyn Backend>,
    subject: &'a Subject,
    /// Half precision: wider tolerances, which are said.
    half: bool,
    /// Whether a GPU runs the graphs.
    gpu: bool,
}

/// Overlapping windows, and both stages.
const STRATTACK: &[(&str, &str)] =
    &[("steps", "20"), ("search-steps", "2"), ("c0", "5"), ("tau", "0.2"), ("group", "4"), ("stride", "3"), ("search", "sequential")];

type Job = fn(&Bench) -> Result<Found>;

/// Every check, in order: name, and what it does.
const CHECKS: &[(&str, Job)] = &[
    ("gradient: residual", |b| gradients::small(b, "residual")),
    ("gradient: gated", |b| gradients::small(b, "gated")),
    ("gradient: attention", |b| gradients::small(b, "attention")),
    ("placement", gradients::placement),
    ("update: ifgsm", |b| updates::equal(b, "ifgsm", &[("steps", "10")])),
    ("update: mifgsm", |b| updates::equal(b, "mifgsm", &[("steps", "10")])),
    ("update: pgd l2", |b| updates::equal(b, "pgd", &[("steps", "10"), ("norm", "l2"), ("eps", "0.5"), ("alpha", "0.1")])),
    ("update: cw", |b| updates::equal(b, "cw", &[("steps", "20"), ("search-steps", "3"), ("c0", "0.1"), ("search", "sequential")])),
    ("update: ead", |b| updates::equal(b, "ead", &[("steps", "20"), ("search-steps", "3"), ("c0", "0.1"), ("search", "sequential")])),
    ("update: apgd", |b| updates::equal(b, "apgd", &[("steps", "20"), ("progress", "1")])),
    ("update: apgd l2", |b| updates::equal(b, "apgd", &[("steps", "20"), ("progress", "1"), ("norm", "l2"), ("eps", "0.5")])),
    ("update: strattack", |b| updates::equal(b, "strattack", STRATTACK)),
    ("batches", maps::batches),
    ("map of cells", maps::cells),
    ("search at once", maps::search),
    ("step: ifgsm", |b| cost::check(b, "ifgsm")),
    ("step: cw", |b| cost::check(b, "cw")),
    ("step: ead", |b| cost::check(b, "ead")),
];

/// Runs every check on an engine; `subject` is the model for everything that is timed. `progress` is told what begins; its error ends
/// the test.
pub fn run(runtime: &Runtime, subject: &Subject, half: bool, progress: &mut dyn FnMut(&str) -> Result<()>) -> Result<Vec<Check>> {
    let bench = Bench { backend: runtime.backend(), subject, half, gpu: runtime.report().device != "CPU" };
    let mut checks = Vec::new();
    for (name, job) in CHECKS {
        progress(name)?;
        let started = Instant::now();
        let found = match job(&bench) {
            Ok(found) => found,
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => Found::new(Mark::Failed, error.to_string(), &[]),
        };
        let Found { verdict, text, figures } = found;
        checks.push(Check { name: (*name).to_owned(), verdict, text, figures, seconds: started.elapsed().as_secs_f64() });
    }
    Ok(checks)
}
