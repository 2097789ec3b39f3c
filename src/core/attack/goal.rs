//! What every attack shares: the checked problem, its direction, margins, single-image calls and step numbers.

use ndarray::{Array1, Array3, ArrayView1, ArrayView3, Axis, Zip};

use super::{Outcome, Problem, Recorder, Step, scalars};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
};

/// Direction of an attack: towards a target or away from the true class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// The class the losses look at: the target, or the true class.
    pub class: usize,
    /// Whether that class is to be reached.
    pub targeted: bool,
}

/// Logits, loss and gradient of one image.
pub(super) struct Single {
    pub logits: Array1<f32>,
    pub loss: f32,
    pub grad: Array3<f32>,
}

impl Goal {
    /// Checks the problem against the oracle.
    pub fn of(problem: &Problem, oracle: &dyn Oracle) -> Result<Self> {
        let (c, h, w) = problem.image.dim();
        let shape = oracle.image_shape();
        let classes = oracle.classes();
        if [c, h, w] != shape {
            return Err(Error::Input(format!("the image has shape {:?} and the model takes {shape:?}; resize it first", [c, h, w])));
        }
        if problem.image.iter().any(|v| !(0.0..=1.0).contains(v)) {
            return Err(Error::Input("the image has values outside 0..1; scale its pixels first".into()));
        }
        if let Some(mask) = &problem.mask
            && mask.dim() != (h, w)
        {
            return Err(Error::Input(format!("the mask has shape {:?} and the image {:?}", mask.dim(), (h, w))));
        }
        for class in [Some(problem.label), problem.target].into_iter().flatten() {
            if class >= classes {
                return Err(Error::Parameter(format!(
                    "class {class} does not exist; this model has classes 0 to {}",
                    classes.saturating_sub(1)
                )));
            }
        }
        match problem.target {
            Some(target) if target == problem.label => {
                Err(Error::Parameter(format!("the target is the true class ({target}); choose another one, or attack without a target")))
            }
            Some(target) => Ok(Self { class: target, targeted: true }),
            None => Ok(Self { class: problem.label, targeted: false }),
        }
    }

    /// Margin that an attack wants below 0 (C.1): best other minus target, or true class minus best other.
    pub fn margin(&self, logits: ArrayView1<f32>) -> f32 {
        let own = logits[self.class];
        let other = scalars::best_other(logits, &[self.class]);
        if self.targeted { other - own } else { own - other }
    }

    /// Whether the image is classified as wished, with at least `kappa` to spare. Strict: a tie is no success.
    pub fn reached(&self, logits: ArrayView1<f32>, kappa: f32) -> bool {
        self.margin(logits) < -kappa
    }

    /// Whether the prediction itself is as wished.
    pub fn success(&self, logits: ArrayView1<f32>) -> bool {
        self.reached(logits, 0.0)
    }

    /// +1 when the cross-entropy at [`Goal::class`] is to grow, -1 when it is to shrink.
    pub fn ascent(&self) -> f32 {
        if self.targeted { -1.0 } else { 1.0 }
    }

    /// Cross-entropy and its gradient.
    pub fn cross_entropy(&self, oracle: &mut dyn Oracle, image: ArrayView3<f32>) -> Result<Single> {
        gradient(oracle, image, Objective::CrossEntropy { labels: &[self.class] })
    }

    /// C&W hinge `max(margin, -kappa)` and its gradient.
    pub fn hinge(&self, oracle: &mut dyn Oracle, image: ArrayView3<f32>, kappa: f32) -> Result<Single> {
        gradient(oracle, image, Objective::Margin { labels: &[self.class], targeted: self.targeted, kappa })
    }
}

/// Objective and gradient of one image.
pub(super) fn gradient(oracle: &mut dyn Oracle, image: ArrayView3<f32>, objective: Objective) -> Result<Single> {
    let e = oracle.gradient(image.insert_axis(Axis(0)), objective)?;
    Ok(Single { logits: e.logits.index_axis_move(Axis(0), 0), loss: e.loss[0], grad: e.grad.index_axis_move(Axis(0), 0) })
}

/// Logits of one image.
pub(super) fn logits(oracle: &mut dyn Oracle, image: ArrayView3<f32>) -> Result<Array1<f32>> {
    Ok(oracle.logits(image.insert_axis(Axis(0)))?.index_axis_move(Axis(0), 0))
}

/// Refuses outputs that are probabilities: margins between them saturate and the constants lose their meaning.
pub(super) fn refuse_probabilities(logits: ArrayView1<f32>) -> Result<()> {
    let sum: f64 = logits.iter().map(|v| f64::from(*v)).sum();
    if logits.len() > 1 && logits.iter().all(|v| (-1e-4..=1.0001).contains(v)) && (sum - 1.0).abs() < 1e-3 {
        return Err(Error::Model(
            "the model's output looks like probabilities; this attack needs logits, so cut the final softmax off".into(),
        ));
    }
    Ok(())
}

/// Zeroes what the mask forbids.
pub(super) fn mask(problem: &Problem, values: &mut Array3<f32>) {
    if let Some(mask) = &problem.mask {
        for mut channel in values.axis_iter_mut(Axis(0)) {
            Zip::from(&mut channel).and(mask).for_each(|v, m| *v *= *m);
        }
    }
}

/// Sum of squared differences, f64.
pub(super) fn squared_distance(a: &Array3<f32>, b: &Array3<f32>) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Sum of absolute differences, f64.
pub(super) fn l1_distance(a: &Array3<f32>, b: &Array3<f32>) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).abs()).sum()
}

/// Counts the steps given to the recorder and keeps the best image seen.
pub(super) struct Journal<'a> {
    recorder: &'a mut dyn Recorder,
    next: usize,
    best: Option<(f64, Outcome)>,
}

impl<'a> Journal<'a> {
    pub fn new(recorder: &'a mut dyn Recorder) -> Self {
        Self { recorder, next: 0, best: None }
    }

    /// Records a step and returns its number.
    pub fn step(&mut self, image: &Array3<f32>, logits: &Array1<f32>, loss: f32, terms: &[(&'static str, f32)]) -> Result<usize> {
        self.recorder.step(Step { image: image.view(), logits: logits.view(), loss, terms })?;
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Keeps an image when it costs less than the best so far; says whether it did.
    pub fn keep(&mut self, cost: f64, image: &Array3<f32>, logits: &Array1<f32>, success: bool, step: usize) -> bool {
        let better = self.best.as_ref().is_none_or(|(least, _)| cost < *least);
        if better {
            self.best = Some((cost, Outcome { image: image.clone(), logits: logits.clone(), success, step }));
        }
        better
    }

    /// Changes what the best kept image costs, when the cost itself changes its meaning.
    pub fn recost(&mut self, cost: f64) {
        if let Some((least, _)) = &mut self.best {
            *least = cost;
        }
    }

    /// Image of the best kept so far.
    pub fn best_image(&self) -> Option<&Array3<f32>> {
        self.best.as_ref().map(|(_, o)| &o.image)
    }

    /// The best kept, or the given last image.
    pub fn finish(self, last: Outcome) -> Outcome {
        self.best.map_or(last, |(_, best)| best)
    }
}
