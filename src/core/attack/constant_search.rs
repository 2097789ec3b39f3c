//! Binary search for the constant c that weighs the hinge against the distance (C&W, EAD, StrAttack), one image alone.

use super::{Kind, ParamSpec};

pub(super) const SEARCH_STEPS: ParamSpec = ParamSpec {
    name: "search-steps",
    kind: Kind::Int { min: 1, max: 100 },
    default: "9",
    unit: "rounds",
    help: "Rounds of the binary search for c.",
};

pub(super) const KAPPA: ParamSpec = ParamSpec {
    name: "kappa",
    kind: Kind::Float { min: 0.0, max: 1000.0 },
    default: "0",
    unit: "logits",
    help: "Confidence: how far the wished class must be ahead.",
};

pub(super) const ABORT_EARLY: ParamSpec = ParamSpec {
    name: "abort-early",
    kind: Kind::Flag,
    default: "no",
    unit: "",
    help: "End a round when a tenth of its steps lowered the loss by less than 0.01 %: faster, but often with a larger change.",
};

pub(super) const fn c0(default: &'static str) -> ParamSpec {
    ParamSpec {
        name: "c0",
        kind: Kind::Float { min: 1e-10, max: 1e10 },
        default,
        unit: "",
        help: "First value of c, the weight of the classification term.",
    }
}

pub(super) const fn steps(default: &'static str) -> ParamSpec {
    ParamSpec {
        name: "steps",
        kind: Kind::Int { min: 1, max: 1_000_000 },
        default,
        unit: "steps",
        help: "Steps in each round of the search.",
    }
}

/// Upper bound that means "no success yet".
const NONE: f64 = 1e10;

/// State of the search.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConstantSearch {
    c: f64,
    lower: f64,
    upper: f64,
    growth: f64,
    rounds: usize,
}

impl ConstantSearch {
    pub fn new(c0: f64, growth: f64, rounds: usize) -> Self {
        Self { c: c0, lower: 0.0, upper: NONE, growth, rounds }
    }

    /// The constant of a round. From ten rounds on, the last one uses the smallest constant known to work, as the
    /// authors of C&W do.
    pub fn constant(&self, round: usize) -> f64 {
        let last = self.rounds >= 10 && round + 1 == self.rounds;
        if last && self.upper < NONE { self.upper } else { self.c }
    }

    /// Takes the result of a round.
    pub fn update(&mut self, success: bool) {
        if success {
            self.upper = self.upper.min(self.c);
        } else {
            self.lower = self.lower.max(self.c);
        }
        self.c = if self.upper < NONE { (self.lower + self.upper) / 2.0 } else { (self.c * self.growth).min(NONE) };
    }
}

/// Ends a round whose loss has stopped falling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plateau {
    every: usize,
    previous: f64,
    on: bool,
}

impl Plateau {
    pub fn new(steps: usize, on: bool) -> Self {
        Self { every: (steps / 10).max(1), previous: f64::INFINITY, on }
    }

    /// Whether to stop after this step.
    pub fn reached(&mut self, step: usize, loss: f64) -> bool {
        if !self.on || !step.is_multiple_of(self.every) {
            return false;
        }
        let stuck = loss > 0.9999 * self.previous;
        self.previous = loss;
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_then_halves() {
        let mut s = ConstantSearch::new(1.0, 10.0, 9);
        s.update(false);
        assert_eq!(s.constant(1), 10.0);
        s.update(true);
        assert_eq!(s.constant(2), 5.5);
        s.update(false);
        assert_eq!(s.constant(3), 7.75);
    }

    #[test]
    fn last_of_ten_rounds_uses_what_worked() {
        let mut s = ConstantSearch::new(4.0, 10.0, 10);
        s.update(true);
        assert_eq!((s.constant(1), s.constant(9)), (2.0, 4.0));
    }
}
