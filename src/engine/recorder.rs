//! Turns what an attack reports into the trace: derives scalars, keeps frames, pauses and stops.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ndarray::Array3;

use super::{
    control::Control,
    trace::{StepRecord, Trace},
};
use crate::core::{
    attack::{Outcome, Picture, Recorder, Step, scalars},
    error::Result,
    tensor::norm::Norms,
};

/// How many of the best classes every step keeps.
const TOP: usize = 10;
/// How old the newest picture may get while images stay on a device.
const GLANCE: Duration = Duration::from_millis(50);

/// Writes into a shared trace and tells somebody about every step.
pub struct TraceRecorder<'a> {
    trace: Arc<Trace>,
    control: Control,
    started: Instant,
    /// When the newest picture was taken over from the device.
    shown: Instant,
    notify: Box<dyn FnMut(usize) + 'a>,
}

impl<'a> TraceRecorder<'a> {
    /// Records into `trace`; `notify` is called with the index of every new step.
    pub fn new(trace: Arc<Trace>, control: Control, notify: impl FnMut(usize) + 'a) -> Self {
        Self { trace, control, started: Instant::now(), shown: Instant::now(), notify: Box::new(notify) }
    }

    /// Marks the step that shows the result, and brings its frame back when that was not kept.
    pub fn finish(&mut self, outcome: &Outcome) {
        let frame = self.trace.frame(outcome.step);
        let held = frame.as_ref().map(|f| f.image == outcome.image);
        let best = match self.trace.step(outcome.step) {
            Some(_) if held == Some(true) => outcome.step,
            // Its picture was dropped, or never left the device.
            Some(_) if held.is_none() => {
                self.trace.mark_best(outcome.step);
                self.trace.keep(outcome.step, outcome.image.view());
                return;
            }
            shown => {
                let loss = shown.map_or(0.0, |s| s.loss);
                let image = Picture::Here(outcome.image.view());
                self.push(&Step { image, logits: outcome.logits.view(), loss, terms: &[] }, Some(outcome.image.clone()))
            }
        };
        self.trace.mark_best(best);
    }

    /// Whether a picture on the device is to be copied: where the trace keeps it, and now and then for those who watch.
    fn copies(&mut self, step: &Step) -> bool {
        let wanted = !step.image.is_remote()
            || self.trace.wants(scalars::predicted(step.logits))
            || self.control.paused()
            || self.control.stopped()
            || self.shown.elapsed() > GLANCE;
        if wanted {
            self.shown = Instant::now();
        }
        wanted
    }

    /// Records a step; with its picture when that is to be kept.
    fn push(&mut self, step: &Step, picture: Option<Array3<f32>>) -> usize {
        let picture = picture.map(|image| {
            let delta = &image - &*self.trace.clean;
            (image, delta)
        });
        let (label, target) = (self.trace.label, self.trace.target);
        let top = scalars::top(step.logits, TOP);
        let norms = picture.as_ref().map_or_else(|| step.image.norms(&self.trace.clean), |(_, delta)| Norms::of(delta.view()));
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
        let index = self.trace.append(record, picture);
        (self.notify)(index);
        index
    }
}

impl Recorder for TraceRecorder<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        let copy = if self.copies(&step) { Some(step.image.array()?.into_owned()) } else { None };
        let copied = copy.is_some();
        let index = self.push(&step, copy);
        let going = self.control.checkpoint();
        if !copied && going.is_err() {
            // Somebody stopped it just now: what it had come to is worth a copy.
            self.trace.keep(index, step.image.array()?.view());
        }
        going
    }

    fn last(&mut self, step: usize, image: &Array3<f32>) {
        if self.trace.frame(step).is_none() {
            self.trace.keep(step, image.view());
        }
    }
}
