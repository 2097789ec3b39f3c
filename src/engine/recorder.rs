//! Turns what an attack reports into the trace: derives scalars, keeps frames, pauses and stops.

use std::{sync::Arc, time::Instant};

use ndarray::ArrayView3;

use super::{
    control::Control,
    trace::{StepRecord, Trace},
};
use crate::core::{
    attack::{Recorder, Step, scalars},
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

    /// Marks the step that holds the attack's result, appending it when no recorded frame is that image (a search ends
    /// with its best image, which need not be the last one it looked at).
    pub fn finish(&mut self, image: ArrayView3<f32>, logits: ndarray::ArrayView1<f32>) {
        let last = self.trace.len().checked_sub(1);
        let held = last.and_then(|i| self.trace.frame(i)).is_some_and(|f| f.image == image);
        let best = match last {
            Some(index) if held => index,
            _ => {
                let loss = last.and_then(|i| self.trace.step(i)).map_or(0.0, |s| s.loss);
                self.push(Step { image, logits, loss, terms: &[] })
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
