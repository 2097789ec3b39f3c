//! Promotion and suppression over the iterations of an attack. The effect of the whole perturbation is exact (it needs only
//! logits); the shares of the cells are linear estimates, one gradient pair per iteration looked at.

use ndarray::ArrayView1;

use super::{Cell, Question, Shares, effect, linear};
use crate::core::{error::Result, oracle::Oracle};

/// One iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Step of the run.
    pub step: usize,
    /// Types of the cells: a linear estimate.
    pub shares: Shares,
    /// Sums of the cells' raw effects, suppression and promotion: a linear estimate.
    pub totals: (f64, f64),
    /// Effect of the whole perturbation so far: exact.
    pub whole: Cell,
}

/// Looks at one iteration. The logits are those of x0 and of this iteration's image.
pub fn moment(oracle: &mut dyn Oracle, question: &Question, step: usize, clean: ArrayView1<f32>, now: ArrayView1<f32>) -> Result<Moment> {
    let map = linear(oracle, question)?;
    let (t0, t) = question.classes;
    let whole = effect(clean[t0] - now[t0], now[t] - clean[t], &question.settings);
    Ok(Moment { step, shares: map.shares(), totals: map.totals(), whole })
}

/// When the perturbation as a whole turned from mainly suppressing the true class to mainly promoting the target: the first
/// moment with b > s (floored, exact) from which on that stays so, when an earlier moment had s > b.
pub fn turning_point(moments: &[Moment]) -> Option<usize> {
    let promotes = |m: &Moment| m.whole.b > m.whole.s;
    let first = moments.iter().rposition(|m| !promotes(m)).map(|at| at + 1)?;
    let before = moments[..first].iter().any(|m| m.whole.s > m.whole.b);
    moments.get(first).filter(|_| before).map(|m| m.step)
}

/// Which of the kept frames to look at: all, or about `most` evenly spread ones with the first and the last.
pub fn sample(frames: &[usize], most: usize) -> Vec<usize> {
    if frames.len() <= most.max(2) {
        return frames.to_vec();
    }
    let last = frames.len() - 1;
    (0..most.max(2)).map(|i| frames[i * last / (most.max(2) - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::explain::psr::Settings;

    fn moments(effects: &[(f32, f32)]) -> Vec<Moment> {
        let moment = |(step, (s, b)): (usize, &(f32, f32))| Moment {
            step: 10 * step,
            shares: Shares::default(),
            totals: (0.0, 0.0),
            whole: effect(*s, *b, &Settings::default()),
        };
        effects.iter().enumerate().map(moment).collect()
    }

    #[test]
    fn the_turn_is_the_last_change_from_suppression_to_promotion() {
        assert_eq!(turning_point(&moments(&[(0.0, 0.0), (2.0, 1.0), (3.0, 4.0), (3.0, 2.0), (3.0, 5.0), (3.0, 9.0)])), Some(40));
        assert_eq!(turning_point(&moments(&[(1.0, 2.0), (1.0, 3.0)])), None, "it promoted from the start");
        assert_eq!(turning_point(&moments(&[(0.0, 0.0), (1.0, 3.0)])), None, "nothing is no suppression");
        assert_eq!(turning_point(&moments(&[(2.0, 1.0), (1.0, 3.0), (4.0, 3.0)])), None, "it turned back");
        assert_eq!(turning_point(&[]), None);
    }

    #[test]
    fn samples_keep_both_ends() {
        let frames: Vec<usize> = (0..100).map(|i| 3 * i).collect();
        let some = sample(&frames, 12);
        assert_eq!((some.len(), some[0], some[11]), (12, 0, 297));
        assert!(some.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(sample(&frames[..5], 12), frames[..5]);
    }
}
