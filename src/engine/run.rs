//! One attack from request to ending: the path that the inspector and the headless commands share.

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView1};

use super::{
    command::{AttackRequest, Target},
    control::Control,
    recorder::TraceRecorder,
    trace::Trace,
};
use crate::core::{
    attack::{
        self, Outcome, Params, Problem, Recorder, scalars,
        targets::{self, Rule},
    },
    error::{Error, Result},
    oracle::Oracle,
};

/// Bytes of frames a run keeps. At 256 MiB, 9000 steps on EfficientNet-Lite0 had taken 614 MB resident in all.
pub const FRAME_BUDGET: usize = 192 << 20;

/// A checked request, ready to run.
pub struct Prepared {
    attack: &'static dyn attack::Attack,
    /// Checked parameters, defaults filled in.
    pub params: Params,
    /// What is attacked.
    pub problem: Problem,
    /// The record it will write.
    pub trace: Arc<Trace>,
}

/// Checks a request against the image and its clean logits: resolves label and target, fills in parameters.
pub fn prepare(
    request: &AttackRequest,
    image: Arc<Array3<f32>>,
    clean_logits: ArrayView1<f32>,
    mask: Option<Array2<f32>>,
) -> Result<Prepared> {
    let (attack, params) = request.checked()?;
    let classes = clean_logits.len();
    let label = request.label.unwrap_or_else(|| scalars::predicted(clean_logits));
    let exists = |class: usize| match class < classes {
        true => Ok(class),
        false => Err(Error::Parameter(format!("class {class} does not exist: the model has {classes} classes, 0 to {}", classes - 1))),
    };
    let label = exists(label)?;
    let target = resolve_target(&request.target, clean_logits, label, request.seed)?.map(exists).transpose()?;
    if target == Some(label) {
        return Err(Error::Parameter(format!("target and true class are both {label}; choose another target")));
    }
    let trace = Arc::new(Trace::new(Arc::clone(&image), label, target, FRAME_BUDGET));
    let problem = Problem { image: (*image).clone(), label, target, mask, seed: request.seed };
    Ok(Prepared { attack, params, problem, trace })
}

fn resolve_target(target: &Target, logits: ArrayView1<f32>, label: usize, seed: u64) -> Result<Option<usize>> {
    let rule = match target {
        Target::Untargeted => return Ok(None),
        Target::Class(class) => return Ok(Some(*class)),
        Target::Random => Rule::Random,
        Target::Second => Rule::Second,
        Target::LeastLikely => Rule::LeastLikely,
    };
    targets::pick(rule, logits, label, seed).map(Some)
}

impl Prepared {
    /// The same with another budget for its frames, in bytes.
    pub fn with_budget(mut self, bytes: usize) -> Self {
        let Trace { clean, label, target, .. } = &*self.trace;
        self.trace = Arc::new(Trace::new(Arc::clone(clean), *label, *target, bytes));
        self
    }

    /// Whether the attack and others like it should run at the same time on this engine.
    pub fn batched(&self, oracle: &dyn Oracle) -> bool {
        attack::batched(&self.params, oracle)
    }

    /// Upper bound of the number of steps, for progress.
    pub fn steps(&self) -> usize {
        self.attack.steps(&self.params)
    }

    /// Runs the attack with a recorder of the caller's own; the trace stays empty.
    pub fn outcome(&self, oracle: &mut dyn Oracle, recorder: &mut dyn Recorder) -> Result<Outcome> {
        self.attack.run(oracle, &self.problem, &self.params, recorder)
    }

    /// The last step that reached the goal and has its picture: what a run that was cut short amounts to.
    fn last_success(&self) -> Option<usize> {
        let Problem { label, target, .. } = self.problem;
        let reached = |class: usize| target.map_or(class != label, |t| class == t);
        let frames = self.trace.frames();
        self.trace.with_steps(|s| frames.into_iter().rev().find(|&i| s.get(i).is_some_and(|r| reached(r.predicted))))
    }

    /// Marks what a run that did not come to its end amounts to.
    pub fn cut_short(&self) {
        if let Some(step) = self.last_success().or(self.trace.len().checked_sub(1)) {
            self.trace.mark_best(step);
        }
    }

    /// Runs to the end and says whether the goal was reached. Whatever was recorded before a failure or a stop stays in the trace.
    pub fn run(&self, oracle: &mut dyn Oracle, control: &Control, notify: impl FnMut(usize)) -> Result<bool> {
        let mut recorder = TraceRecorder::new(Arc::clone(&self.trace), control.clone(), notify);
        match self.attack.run(oracle, &self.problem, &self.params, &mut recorder) {
            Ok(outcome) => {
                recorder.finish(&outcome);
                Ok(outcome.success)
            }
            Err(error) => {
                self.cut_short();
                Err(error)
            }
        }
    }
}
