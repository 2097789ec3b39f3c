//! In what two models differ on an image.

use std::cmp::Ordering;

use super::Row;

/// What is different; see [`Row::difference`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// The clean image is taken for another class.
    pub label: bool,
    /// The attack reaches its goal on one of them only.
    pub goal: bool,
}

impl Difference {
    /// Whether anything is.
    pub fn any(self) -> bool {
        self.label || self.goal
    }

    /// Word for tables; empty when nothing differs.
    pub fn word(self) -> &'static str {
        match (self.label, self.goal) {
            (true, true) => "both",
            (true, false) => "class",
            (false, true) => "goal",
            (false, false) => "",
        }
    }
}

impl Row {
    /// In what the second model differs from the first; `None` where there is no second one, or it said nothing of this image. Classes
    /// are compared by name, since two models may number them differently.
    pub fn difference(&self) -> Option<Difference> {
        let second = self.compare_predicted_name.as_deref()?;
        let first = self.predicted_name.as_deref()?;
        let goal = self.success.zip(self.compare_success).is_some_and(|(a, b)| a != b);
        Some(Difference { label: !first.eq_ignore_ascii_case(second), goal })
    }

    /// Length of the second model's perturbation minus the first's.
    pub fn l2_difference(&self) -> Option<f32> {
        Some(self.compare_l2? - self.l2?)
    }
}

/// Rows on which the models differ most first: in the outcome and the class, in the outcome, in the class; then by how far the flips and
/// the lengths of the perturbations are apart. Rows without a second model come last.
pub fn disagreement(a: &Row, b: &Row) -> Ordering {
    let never = |step: Option<i64>| step.unwrap_or(i64::from(i32::MAX));
    let key = |r: &Row| {
        let difference = r.difference();
        let what = difference.map_or(-1, |d| 2 * i8::from(d.goal) + i8::from(d.label));
        let flips = difference.map_or(0, |_| never(r.flipped_at).abs_diff(never(r.compare_flipped_at)));
        (what, flips)
    };
    let length = |r: &Row| r.l2_difference().map_or(0.0, f32::abs);
    key(b).cmp(&key(a)).then(length(b).total_cmp(&length(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(names: (&str, &str), goals: (bool, bool), flips: (Option<i64>, Option<i64>), l2: (f32, f32)) -> Row {
        Row {
            predicted_name: Some(names.0.into()),
            compare_predicted_name: Some(names.1.into()),
            success: Some(goals.0),
            compare_success: Some(goals.1),
            flipped_at: flips.0,
            compare_flipped_at: flips.1,
            l2: Some(l2.0),
            compare_l2: Some(l2.1),
            ..Row::default()
        }
    }

    #[test]
    fn differences_by_hand() {
        let same = row(("cat", "Cat"), (true, true), (Some(1), Some(1)), (1.0, 1.0));
        assert_eq!(same.difference(), Some(Difference::default()));
        let both = row(("cat", "dog"), (true, false), (Some(1), None), (1.0, 3.0));
        assert_eq!((both.difference().map(Difference::word), both.l2_difference()), (Some("both"), Some(2.0)));
        assert_eq!(Row { compare_success: None, ..both.clone() }.difference().map(Difference::word), Some("class"));
        assert_eq!(Row { compare_predicted_name: None, ..both }.difference(), None, "nothing is known");
    }

    #[test]
    fn the_greatest_disagreement_comes_first() {
        let rows = [
            Row::default(),
            row(("cat", "cat"), (true, true), (Some(1), Some(1)), (1.0, 1.0)),
            row(("cat", "cat"), (true, true), (Some(1), Some(1)), (1.0, 2.0)),
            row(("cat", "cat"), (true, true), (Some(1), Some(4)), (1.0, 1.0)),
            row(("cat", "dog"), (true, true), (Some(1), Some(1)), (1.0, 1.0)),
            row(("cat", "cat"), (true, false), (Some(1), None), (1.0, 1.0)),
            row(("cat", "dog"), (false, true), (None, Some(2)), (1.0, 1.0)),
        ];
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| disagreement(&rows[*a], &rows[*b]));
        assert_eq!(order, [6, 5, 4, 3, 2, 1, 0]);
    }
}
