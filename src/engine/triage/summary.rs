//! What a finished triage amounts to.

use serde::Serialize;

use super::{Row, difference::Difference};
use crate::core::stats;

/// Counts, rates and medians over the images without errors. A rate over no images is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Rows.
    pub images: usize,
    /// Rows with an error.
    pub errors: usize,
    /// Images whose clean prediction is the true class (always all of them when no labels were given).
    pub clean_correct: usize,
    /// Attacks that reached their goal.
    pub successes: usize,
    /// Their share of the attacked images.
    pub success_rate: Option<f64>,
    /// Median first step that left the true class, over the images that were flipped.
    pub median_flipped_at: Option<f64>,
    /// Median L2 norm of the successful attacks.
    pub median_l2: Option<f64>,
    /// Median largest change of the successful attacks.
    pub median_linf: Option<f64>,
    /// Mean share of suppression-dominated cells.
    pub mean_suppression: Option<f64>,
    /// Mean share of promotion-dominated cells.
    pub mean_promotion: Option<f64>,
    /// Median interpretability lift.
    pub median_is_lift: Option<f64>,
    /// Images made for the first model that fool the second; null where none could be handed over (another input size).
    pub transfers: Option<usize>,
    /// Attacks on the second model that reached their goal.
    pub compare_successes: Option<usize>,
    /// Images on which the models differ: in the clean prediction, or in whether the attack reaches its goal.
    pub compare_differ: Option<usize>,
    /// Sum of the seconds spent on images.
    pub seconds: f64,
}

impl Summary {
    /// Of these rows.
    pub fn of(rows: &[Row]) -> Self {
        let numbers = |f: &dyn Fn(&Row) -> Option<f64>| -> Vec<f64> { rows.iter().filter_map(f).collect() };
        let won = |value: fn(&Row) -> Option<f32>| numbers(&move |r: &Row| value(r).filter(|_| r.success == Some(true)).map(f64::from));
        let count = |f: &dyn Fn(&Row) -> bool| rows.iter().filter(|r| f(r)).count();
        let attacked = count(&|r| r.success.is_some());
        let successes = count(&|r| r.success == Some(true));
        let compared = rows.iter().any(|r| r.compare_predicted_index.is_some());
        Self {
            images: rows.len(),
            errors: count(&|r| r.error.is_some()),
            clean_correct: count(&|r| r.true_index.is_some() && r.true_index == r.predicted_index),
            successes,
            success_rate: (attacked > 0).then(|| successes as f64 / attacked as f64),
            median_flipped_at: median(numbers(&|r| r.flipped_at.map(|v| v as f64))),
            median_l2: median(won(|r| r.l2)),
            median_linf: median(won(|r| r.linf)),
            mean_suppression: mean(&numbers(&|r| r.pse_suppression.map(f64::from))),
            mean_promotion: mean(&numbers(&|r| r.pse_promotion.map(f64::from))),
            median_is_lift: median(numbers(&|r| r.is_lift.map(f64::from))),
            transfers: rows.iter().any(|r| r.compare_transfers.is_some()).then(|| count(&|r| r.compare_transfers == Some(true))),
            compare_successes: compared.then(|| count(&|r| r.compare_success == Some(true))),
            compare_differ: compared.then(|| count(&|r| r.difference().is_some_and(Difference::any))),
            seconds: numbers(&|r| r.seconds.map(f64::from)).iter().sum(),
        }
    }
}

/// The rows that gave way most easily: successful attacks first, then by the step that flipped them, the length of the change, and the
/// confidence that was lost.
pub fn weakest(rows: &[Row], count: usize) -> Vec<&Row> {
    let mut order: Vec<&Row> = rows.iter().filter(|r| r.success.is_some()).collect();
    order.sort_by(|a, b| weakness(a, b));
    order.truncate(count);
    order
}

/// Weaker first; rows without a result last.
pub fn weakness(a: &Row, b: &Row) -> std::cmp::Ordering {
    let key = |r: &Row| (r.success.is_none(), r.success == Some(false), r.flipped_at.unwrap_or(i64::MAX));
    let number = |v: Option<f32>| v.unwrap_or(f32::INFINITY);
    key(a)
        .cmp(&key(b))
        .then(number(a.l2).total_cmp(&number(b.l2)))
        .then(number(a.true_prob).total_cmp(&number(b.true_prob)))
        .then(a.index.cmp(&b.index))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn median(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| stats::median(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: i64, success: Option<bool>, flipped: Option<i64>, l2: f32) -> Row {
        Row {
            index: Some(index),
            success,
            flipped_at: flipped,
            l2: Some(l2),
            true_index: Some(1),
            predicted_index: Some(1),
            ..Row::default()
        }
    }

    #[test]
    fn counts_and_medians_by_hand() {
        let mut rows = vec![row(0, Some(true), Some(3), 1.0), row(1, Some(true), Some(1), 3.0), row(2, Some(false), None, 9.0)];
        rows.push(Row { error: Some("no image".into()), ..Row::default() });
        let s = Summary::of(&rows);
        assert_eq!((s.images, s.errors, s.clean_correct, s.successes), (4, 1, 3, 2));
        assert_eq!((s.success_rate, s.median_flipped_at, s.median_l2), (Some(2.0 / 3.0), Some(2.0), Some(2.0)));
        assert_eq!((s.transfers, s.median_linf), (None, None));
        assert_eq!(Summary::of(&[]).success_rate, None);
    }

    #[test]
    fn the_weakest_gave_way_first() {
        let rows =
            [row(0, Some(false), None, 0.1), row(1, Some(true), Some(2), 5.0), row(2, Some(true), Some(1), 2.0), row(3, None, None, 0.0)];
        let order: Vec<i64> = weakest(&rows, 9).iter().filter_map(|r| r.index).collect();
        assert_eq!(order, [2, 1, 0]);
    }
}
