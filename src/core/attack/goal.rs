//! What every attack shares: the checked problem, its direction, margins, single-image calls and step numbers.

use ndarray::{Array1, Array3, ArrayView1, ArrayView3, Axis, CowArray, Ix4, Zip};

use super::{Outcome, Picture, Problem, Recorder, Step, scalars};
use crate::core::{
    error::{Error, Result},
    oracle::{Objective, Oracle},
    tensor::norm::Sums,
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

    /// C&W hinge `max(margin, -kappa)` and its gradient for several images, each by itself.
    pub fn hinges(&self, oracle: &mut dyn Oracle, images: &[ArrayView3<f32>], kappa: f32) -> Result<Vec<Single>> {
        let labels = vec![self.class; images.len()];
        let objective = Objective::Margin { labels: &labels, targeted: self.targeted, kappa };
        if let [image] = images {
            return Ok(vec![gradient(oracle, *image, objective)?]);
        }
        let e = oracle.gradient(stack(images).view(), objective)?;
        let rows = e.logits.outer_iter().zip(&e.loss).zip(e.grad.outer_iter());
        Ok(rows.map(|((z, loss), grad)| Single { logits: z.to_owned(), loss: *loss, grad: grad.to_owned() }).collect())
    }
}

/// Objective and gradient of one image.
pub(super) fn gradient(oracle: &mut dyn Oracle, image: ArrayView3<f32>, objective: Objective) -> Result<Single> {
    let e = oracle.gradient(image.insert_axis(Axis(0)), objective)?;
    Ok(Single { logits: e.logits.index_axis_move(Axis(0), 0), loss: e.loss[0], grad: e.grad.index_axis_move(Axis(0), 0) })
}

/// Images of the same shape as a batch; one alone is not copied.
fn stack<'a>(images: &[ArrayView3<'a, f32>]) -> CowArray<'a, f32, Ix4> {
    match images {
        [one] => one.insert_axis(Axis(0)).into(),
        several => ndarray::stack(Axis(0), several).expect("a search has at least one image, and all of one shape").into(),
    }
}

/// Logits of several images.
pub(super) fn logits_of(oracle: &mut dyn Oracle, images: &[ArrayView3<f32>]) -> Result<Vec<Array1<f32>>> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    Ok(oracle.logits(stack(images).view())?.outer_iter().map(|z| z.to_owned()).collect())
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
    Sums::between(b, a).squares
}

/// What a search found out about an image.
pub(super) struct Judged {
    pub logits: Array1<f32>,
    /// Objective and its terms.
    pub loss: f64,
    pub terms: Vec<(&'static str, f32)>,
    /// What it costs, when it reached the goal.
    pub cost: Option<f64>,
    /// How far it is from the goal.
    pub margin: f32,
}

impl Judged {
    /// Successful ones by cost, then the others by margin.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self.cost, other.cost) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (None, None) => self.margin.total_cmp(&other.margin),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

/// Which of several images was recorded.
pub(super) struct Recorded {
    /// Its place among them.
    pub index: usize,
    /// Under which number.
    pub step: usize,
    /// Whether it is the best so far.
    pub better: bool,
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
        self.report(Picture::Here(image.view()), logits, loss, terms)
    }

    /// The same for an image that may be elsewhere.
    pub fn report(&mut self, image: Picture, logits: &Array1<f32>, loss: f32, terms: &[(&'static str, f32)]) -> Result<usize> {
        self.recorder.step(Step { image: image.again(), logits: logits.view(), loss, terms })?;
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Records the best of the images evaluated together (the only one, in a sequential search), and keeps it when it
    /// succeeds at less cost than any before. A step thus always describes one image, and K constants at once leave as many
    /// steps as one constant.
    pub fn record<'i>(&mut self, judged: &[Judged], image: impl Fn(usize) -> Picture<'i>) -> Result<Recorded> {
        let best = (0..judged.len()).min_by(|a, b| judged[*a].order(&judged[*b]));
        let index = best.expect("a search evaluates at least one image");
        let (image, best) = (image(index), &judged[index]);
        let mut terms = best.terms.clone();
        if judged.len() > 1 {
            terms.push(("at once", judged.len() as f32));
        }
        let step = self.report(image, &best.logits, best.loss as f32, &terms)?;
        let better = match best.cost.filter(|cost| self.improves(*cost)) {
            Some(cost) => self.keep_picture(cost, &image, &best.logits, true, step)?,
            None => false,
        };
        Ok(Recorded { index, step, better })
    }

    /// Whether this costs less than the best so far.
    fn improves(&self, cost: f64) -> bool {
        self.best.as_ref().is_none_or(|(least, _)| cost < *least)
    }

    /// Keeps an image when it costs less than the best so far; says whether it did.
    pub fn keep(&mut self, cost: f64, image: &Array3<f32>, logits: &Array1<f32>, success: bool, step: usize) -> bool {
        let better = self.improves(cost);
        if better {
            self.best = Some((cost, Outcome { image: image.clone(), logits: logits.clone(), success, step }));
        }
        better
    }

    /// The same for an image that may be elsewhere, and is copied only when it is kept.
    pub fn keep_picture(&mut self, cost: f64, image: &Picture, logits: &Array1<f32>, success: bool, step: usize) -> Result<bool> {
        let better = self.improves(cost);
        if better {
            self.best = Some((cost, Outcome { image: image.array()?.into_owned(), logits: logits.clone(), success, step }));
        }
        Ok(better)
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
        self.recorder.last(last.step, &last.image);
        self.best.map_or(last, |(_, best)| best)
    }
}
