//! DeepFool, L2: Moosavi-Dezfooli, Fawzi, Frossard 2016 (arXiv 1511.04599): steps to the nearest boundary of the
//! linearised classifier. A fast probe of how far the decision is. With a target only that boundary counts.

use ndarray::{Array2, Array3, Axis};

use super::{
    About, Attack, Kind, Outcome, ParamSpec, Params, Problem, Recorder,
    ball::l2,
    goal::{self, Goal, Journal},
    gradient_sign, scalars,
};
use crate::core::{
    error::Result,
    oracle::{Objective, Oracle},
};

/// DeepFool.
pub struct DeepFool;

const PARAMS: &[ParamSpec] = &[
    gradient_sign::steps("50"),
    ParamSpec {
        name: "candidates",
        kind: Kind::Int { min: 1, max: 1000 },
        default: "10",
        unit: "classes",
        help: "How many of the best other classes are considered in each step.",
    },
    ParamSpec {
        name: "overshoot",
        kind: Kind::Float { min: 0.0, max: 10.0 },
        default: "0.02",
        unit: "",
        help: "The change is lengthened by this fraction to cross the boundary.",
    },
];

impl Attack for DeepFool {
    fn about(&self) -> About {
        About { name: "deepfool", summary: "DeepFool: a quick look at how near the closest decision boundary is.", params: PARAMS }
    }

    fn steps(&self, params: &Params) -> usize {
        params.int("steps") as usize + 1
    }

    fn run(&self, oracle: &mut dyn Oracle, problem: &Problem, params: &Params, recorder: &mut dyn Recorder) -> Result<Outcome> {
        let goal = Goal::of(problem, oracle)?;
        let lengthen = 1.0 + params.float("overshoot") as f32;
        let mut journal = Journal::new(recorder);
        let mut x = problem.image.clone();
        let mut total = Array3::<f32>::zeros(x.raw_dim());
        let mut taken = 0;
        loop {
            let logits = goal::logits(oracle, x.view())?;
            let step = journal.step(&x, &logits, goal.margin(logits.view()), &[])?;
            let success = goal.success(logits.view());
            if success || taken == params.int("steps") {
                return Ok(Outcome { image: x, logits, success, step });
            }
            let candidates: Vec<usize> = match problem.target {
                Some(target) => vec![target],
                None => {
                    let best = scalars::top(logits.view(), params.int("candidates") as usize + 1);
                    best.into_iter().map(|t| t.0).filter(|c| *c != problem.label).collect()
                }
            };
            // A target must beat the present prediction, whatever it is; otherwise the true class is to be left.
            let from = if goal.targeted { scalars::predicted(logits.view()) } else { problem.label };
            match nearest(oracle, problem, &x, from, &candidates)? {
                Some(toward) => total += &toward,
                None => return Ok(Outcome { image: x, logits, success, step }),
            }
            x = (&problem.image + &(&total * lengthen)).mapv(|v| v.clamp(0.0, 1.0));
            taken += 1;
        }
    }
}

/// The shortest step over the boundary between `from` and a candidate, by linearisation; `None` without any gradient.
fn nearest(oracle: &mut dyn Oracle, problem: &Problem, x: &Array3<f32>, from: usize, candidates: &[usize]) -> Result<Option<Array3<f32>>> {
    let mut best: Option<(f64, Array3<f32>)> = None;
    for chunk in candidates.chunks(oracle.batch().max(1)) {
        let mut cotangent = Array2::zeros((chunk.len(), oracle.classes()));
        for (row, class) in chunk.iter().enumerate() {
            cotangent[(row, *class)] += 1.0;
            cotangent[(row, from)] -= 1.0;
        }
        let (c, h, w) = x.dim();
        let images = x.broadcast((chunk.len(), c, h, w)).expect("an image broadcasts over a batch").to_owned();
        let e = oracle.gradient(images.view(), Objective::Linear { cotangent: cotangent.view() })?;
        for (row, gap) in e.loss.iter().enumerate() {
            let mut direction = e.grad.index_axis(Axis(0), row).to_owned();
            goal::mask(problem, &mut direction);
            let length = l2(&direction);
            if !(length > 1e-12 && length.is_finite()) {
                continue;
            }
            // A little more than the gap, so that rounding cannot leave the image on the boundary.
            let distance = (f64::from(gap.abs()) + 1e-4) / length;
            if best.as_ref().is_none_or(|(least, _)| distance < *least) {
                direction *= (distance / length) as f32;
                best = Some((distance, direction));
            }
        }
    }
    Ok(best.map(|(_, step)| step))
}
