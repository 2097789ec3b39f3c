//! The append-only store. The worker pushes, everybody else reads; readers never block the worker for long.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

use super::budget;

/// Scalars of one step. About 250 bytes, so that every step of any attack can be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step number, from 0 (the starting image).
    pub index: usize,
    /// The attack's objective.
    #[serde(with = "numbers")]
    pub loss: f32,
    /// Named terms of the objective and search constants.
    #[serde(with = "numbers::pairs")]
    pub terms: Vec<(String, f32)>,
    /// Best classes with their logits, best first (at most ten).
    #[serde(with = "numbers::pairs")]
    pub top: Vec<(usize, f32)>,
    /// Logit of the true class.
    #[serde(with = "numbers")]
    pub true_logit: f32,
    /// Logit of the target class, when there is one.
    pub target_logit: Option<f32>,
    /// Largest logit among all other classes (neither true nor target); minus infinity when there are none.
    #[serde(with = "maybe_finite")]
    pub other_logit: f32,
    /// log of the sum of exponentials of all logits: `exp(logit - log_sum_exp)` is a probability.
    #[serde(with = "numbers")]
    pub log_sum_exp: f32,
    /// Predicted class.
    pub predicted: usize,
    /// Pixels with any channel changed by more than 1e-6.
    pub l0: usize,
    /// Sum of absolute changes, pixel space.
    #[serde(with = "numbers")]
    pub l1: f32,
    /// Euclidean length of the change, pixel space.
    #[serde(with = "numbers")]
    pub l2: f32,
    /// Largest absolute change, pixel space.
    #[serde(with = "numbers")]
    pub linf: f32,
    /// Wall seconds since the run began.
    #[serde(with = "numbers")]
    pub seconds: f32,
}

/// JSON has no infinities: they become null, and null reads as minus infinity.
mod maybe_finite {
    use serde::{Deserialize, Deserializer};

    pub use super::numbers::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NEG_INFINITY))
    }
}

/// Numbers that a diverging attack may have made infinite or undefined: null in JSON, and null reads as not-a-number.
pub(super) mod numbers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN))
    }

    /// The same for a list.
    pub mod list {
        use super::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(values.iter().map(|v| v.is_finite().then_some(*v)))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
            let values = Vec::<Option<f32>>::deserialize(deserializer)?;
            Ok(values.into_iter().map(|v| v.unwrap_or(f32::NAN)).collect())
        }
    }

    /// The same for named or numbered values.
    pub mod pairs {
        use super::{Deserialize, Deserializer, Serialize, Serializer};

        pub fn serialize<K: Serialize, S: Serializer>(values: &[(K, f32)], serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(values.iter().map(|(k, v)| (k, v.is_finite().then_some(*v))))
        }

        pub fn deserialize<'de, K: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(K, f32)>, D::Error> {
            let values = Vec::<(K, Option<f32>)>::deserialize(deserializer)?;
            Ok(values.into_iter().map(|(k, v)| (k, v.unwrap_or(f32::NAN))).collect())
        }
    }
}

impl StepRecord {
    /// Softmax probability of a logit of this step.
    pub fn prob(&self, logit: f32) -> f32 {
        (logit - self.log_sum_exp).exp()
    }
}

/// The perturbation of one step, `[C, H, W]`, pixel space.
#[derive(Debug)]
pub struct Frame {
    /// Step number.
    pub index: usize,
    /// x' - x0.
    pub delta: Array3<f32>,
    /// x'.
    pub image: Array3<f32>,
}

/// The record of one run.
#[derive(Debug)]
pub struct Trace {
    /// Clean image.
    pub clean: Arc<Array3<f32>>,
    /// True class.
    pub label: usize,
    /// Target class, when there is one.
    pub target: Option<usize>,
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    steps: Vec<StepRecord>,
    frames: BTreeMap<usize, Arc<Frame>>,
    best: Option<usize>,
    stride: usize,
    capacity: usize,
}

impl Trace {
    /// An empty record that keeps at most `budget` bytes of frames (never fewer than eight frames).
    pub fn new(clean: Arc<Array3<f32>>, label: usize, target: Option<usize>, budget: usize) -> Self {
        let capacity = (budget / (clean.len() * 2 * size_of::<f32>()).max(1)).max(8);
        let inner = Inner { steps: Vec::new(), frames: BTreeMap::new(), best: None, stride: 1, capacity };
        Self { clean, label, target, inner: RwLock::new(inner) }
    }

    /// A finished record, as read from a file. Every given frame is kept.
    pub fn restore(
        clean: Arc<Array3<f32>>,
        label: usize,
        target: Option<usize>,
        steps: Vec<StepRecord>,
        deltas: impl Iterator<Item = (usize, Array3<f32>)>,
        best: Option<usize>,
    ) -> Self {
        let frames: BTreeMap<_, _> =
            deltas.map(|(index, delta)| (index, Arc::new(Frame { index, image: &*clean + &delta, delta }))).collect();
        let inner = Inner { steps, best, stride: 1, capacity: frames.len().max(8), frames };
        Self { clean, label, target, inner: RwLock::new(inner) }
    }

    /// Whether the frame of the next step would be kept for longer than the step after it.
    pub fn wants(&self, predicted: usize) -> bool {
        let inner = self.read();
        let changes = inner.steps.last().is_some_and(|last| last.predicted != predicted);
        changes || inner.steps.len().is_multiple_of(inner.stride)
    }

    /// Appends a step and, if it falls on the current stride or changes the class, its frame. Without an image it has none.
    pub fn push<'a>(&self, record: StepRecord, image: impl Into<Option<ArrayView3<'a, f32>>>) -> usize {
        self.append(record, image.into().map(|image| (image.to_owned(), &image - &*self.clean)))
    }

    /// The same with an image and its change that are given away.
    pub fn append(&self, mut record: StepRecord, picture: Option<(Array3<f32>, Array3<f32>)>) -> usize {
        let mut inner = self.write();
        let index = inner.steps.len();
        record.index = index;
        inner.steps.push(record);
        // The newest frame is always there: the one before it goes if only being newest kept it.
        if let Some(previous) = index.checked_sub(1)
            && !inner.keeps(previous)
        {
            inner.frames.remove(&previous);
        }
        if let Some((image, delta)) = picture {
            inner.hold(Frame { index, delta, image });
        }
        index
    }

    /// Keeps the frame of a step that has none.
    pub fn keep(&self, index: usize, image: ArrayView3<f32>) {
        let mut inner = self.write();
        if index < inner.steps.len() {
            inner.hold(Frame { index, delta: &image - &*self.clean, image: image.to_owned() });
        }
    }

    /// Marks the step whose image is the attack's result; its frame is kept from now on.
    pub fn mark_best(&self, index: usize) {
        self.write().best = Some(index);
    }

    /// The step marked as best.
    pub fn best(&self) -> Option<usize> {
        self.read().best
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.read().steps.len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One step.
    pub fn step(&self, index: usize) -> Option<StepRecord> {
        self.read().steps.get(index).cloned()
    }

    /// Looks at all steps without copying them.
    pub fn with_steps<R>(&self, look: impl FnOnce(&[StepRecord]) -> R) -> R {
        look(&self.read().steps)
    }

    /// First step that is not classified as the true class.
    pub fn flipped_at(&self) -> Option<usize> {
        self.with_steps(|s| s.iter().position(|r| r.predicted != self.label))
    }

    /// Frame of a step, when it was kept.
    pub fn frame(&self, index: usize) -> Option<Arc<Frame>> {
        self.read().frames.get(&index).cloned()
    }

    /// The kept frame closest to a step; the earlier one on a tie.
    pub fn nearest_frame(&self, index: usize) -> Option<usize> {
        let inner = self.read();
        let before = inner.frames.range(..=index).next_back().map(|(i, _)| *i);
        let after = inner.frames.range(index..).next().map(|(i, _)| *i);
        match (before, after) {
            (Some(b), Some(a)) => Some(if index - b <= a - index { b } else { a }),
            (b, a) => b.or(a),
        }
    }

    /// Steps whose frames are kept, ascending.
    pub fn frames(&self) -> Vec<usize> {
        self.read().frames.keys().copied().collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(|e| e.into_inner())
    }
}

impl Inner {
    fn hold(&mut self, frame: Frame) {
        self.frames.insert(frame.index, Arc::new(frame));
        if self.frames.len() > self.capacity {
            self.thin();
        }
    }

    fn changes_class(&self, index: usize) -> bool {
        index > 0 && self.steps[index].predicted != self.steps[index - 1].predicted
    }

    fn keeps(&self, index: usize) -> bool {
        index.is_multiple_of(self.stride) || Some(index) == self.best || self.changes_class(index)
    }

    fn thin(&mut self) {
        let kept: Vec<usize> = self.frames.keys().copied().collect();
        let special = |i: usize| Some(i) == self.best || self.changes_class(i);
        let (keep, stride) = budget::halve(&kept, self.stride, self.capacity, special);
        self.stride = stride;
        self.frames.retain(|i, _| keep.contains(i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(predicted: usize) -> StepRecord {
        StepRecord {
            index: 0,
            loss: 0.0,
            terms: vec![],
            top: vec![],
            true_logit: 0.0,
            target_logit: None,
            other_logit: 0.0,
            log_sum_exp: 0.0,
            predicted,
            l0: 0,
            l1: 0.0,
            l2: 0.0,
            linf: 0.0,
            seconds: 0.0,
        }
    }

    #[test]
    fn memory_is_bounded_and_landmarks_survive() {
        let clean = Arc::new(Array3::zeros((1, 2, 2)));
        let trace = Trace::new(Arc::clone(&clean), 0, None, 16 * 32);
        for i in 0..10_000usize {
            let image = Array3::from_elem((1, 2, 2), i as f32);
            trace.push(record(usize::from(i >= 777)), image.view());
            if i == 333 {
                trace.mark_best(333);
            }
        }
        let frames = trace.frames();
        assert!(frames.len() <= 17, "{frames:?}");
        for landmark in [0, 333, 777, 9_999] {
            assert!(frames.contains(&landmark), "{landmark} missing in {frames:?}");
            assert_eq!(trace.frame(landmark).expect("kept").delta[[0, 0, 0]], landmark as f32);
        }
        assert_eq!(trace.len(), 10_000);
        assert_eq!(trace.flipped_at(), Some(777));
    }

    #[test]
    fn oscillating_classes_do_not_break_the_budget() {
        let trace = Trace::new(Arc::new(Array3::zeros((1, 2, 2))), 0, None, 16 * 32);
        for i in 0..5_000usize {
            trace.push(record(i % 2), Array3::zeros((1, 2, 2)).view());
        }
        assert!(trace.frames().len() <= 17);
        assert!(trace.frame(0).is_some() && trace.frame(4_999).is_some());
    }

    #[test]
    fn nearest_frame_prefers_the_earlier_on_a_tie() {
        let trace = Trace::new(Arc::new(Array3::zeros((1, 1, 1))), 0, None, 0);
        for _ in 0..100 {
            trace.push(record(0), Array3::zeros((1, 1, 1)).view());
        }
        let frames = trace.frames();
        let (a, b) = (frames[1], frames[2]);
        assert_eq!(trace.nearest_frame(a), Some(a));
        assert_eq!(trace.nearest_frame((a + b) / 2), Some(a));
    }
}
