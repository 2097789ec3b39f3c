//! Turns what an attack reports into the trace: derives scalars, keeps frames, pauses and stops.

use std::{sync::Arc, time::Instant};

use super::{
    control::Control,
    trace::{StepRecord, Trace},
};
use crate::core::{
    attack::{Outcome, Recorder, Step, scalars},
    error::Result,
    tensor::norm::Norms,
};

/// How many of the best classes every step keeps.
const TOP: usize = 10;

/// Writes into a shared trace and tells somebody about every step.
pub struct TraceRecorder<'a> {
    trace: Arc<Trace>,
    control: Control,
    started: Instant,
    notify: Box<dyn FnMut(usize) + 'a>,
}

impl<'a> TraceRecorder<'a> {
    /// Records into `trace`; `notify` is called with the index of every new step.
    pub fn new(trace: Arc<Trace>, control: Control, notify: impl FnMut(usize) + 'a) -> Self {
        Self { trace, control, started: Instant::now(), notify: Box::new(notify) }
    }

    /// Marks the step that shows the result. When its frame was dropped to save memory, the image is recorded once more.
    pub fn finish(&mut self, outcome: &Outcome) {
        let held = self.trace.frame(outcome.step).is_some_and(|f| f.image == outcome.image);
        let best = match self.trace.step(outcome.step) {
            Some(_) if held => outcome.step,
            shown => {
                let loss = shown.map_or(0.0, |s| s.loss);
                self.push(Step { image: outcome.image.view(), logits: outcome.logits.view(), loss, terms: &[] })
            }
        };
        self.trace.mark_best(best);
    }

    fn push(&mut self, step: Step) -> usize {
        let (label, target) = (self.trace.label, self.trace.target);
        let top = scalars::top(step.logits, TOP);
        let delta = &step.image - &*self.trace.clean;
        let norms = Norms::of(delta.view());
        let record = StepRecord {
            index: 0,
            loss: step.loss,
            terms: step.terms.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            predicted: top.first().map_or(0, |t| t.0),
            top,
            true_logit: step.logits[label],
            target_logit: target.map(|t| step.logits[t]),
            other_logit: scalars::best_other(step.logits, &[Some(label), target].into_iter().flatten().collect::<Vec<_>>()),
            log_sum_exp: scalars::log_sum_exp(step.logits) as f32,
            l0: norms.l0,
            l1: norms.l1 as f32,
            l2: norms.l2 as f32,
            linf: norms.linf as f32,
            seconds: self.started.elapsed().as_secs_f32(),
        };
        let index = self.trace.push(record, step.image);
        (self.notify)(index);
        index
    }
}

impl Recorder for TraceRecorder<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        self.push(step);
        self.control.checkpoint()
    }
}
