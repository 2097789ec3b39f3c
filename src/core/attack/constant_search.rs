//! Binary search for the constant c that weighs the hinge against the distance (C&W, EAD, StrAttack): one after another,
//! or several at once. Constants tried at once share the oracle's calls and nothing else.

use rayon::prelude::*;

use super::{
    Kind, Outcome, ParamSpec, Params, Picture,
    goal::{Goal, Journal, Judged},
};
use crate::core::{error::Result, oracle::Oracle};

pub(super) const SEARCH_STEPS: ParamSpec = ParamSpec {
    name: "search-steps",
    kind: Kind::Int { min: 1, max: 100 },
    default: "9",
    unit: "rounds",
    help: "Rounds of the binary search for c.",
};

pub(super) const SEARCH: ParamSpec = ParamSpec {
    name: "search",
    kind: Kind::Choice(&["auto", "sequential", "batched"]),
    default: "auto",
    unit: "",
    help: "One constant after another, or up to eight at once (of each such batch the best image is recorded); auto batches on GPUs.",
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
/// Most constants that are tried at once: more narrow the bounds by less than they cost.
const WIDEST: usize = 8;
/// An engine that wants more images at once than this gains from a batch. ONNX Runtime on a processor asks for eight, and
/// gains nothing.
pub(super) const PROFITS: usize = 8;

/// How many constants are tried at once: one, unless the `search` parameter or the engine says otherwise.
pub(super) fn width(params: &Params, oracle: &dyn Oracle) -> usize {
    if super::batched(params, oracle) { oracle.batch().clamp(2, WIDEST) } else { 1 }
}

/// One constant on its way.
pub(super) trait Lane {
    /// The image it has come to.
    fn picture(&self) -> Picture<'_>;

    /// Whether going on would change nothing.
    fn done(&self) -> bool {
        false
    }
}

/// How a group of constants ended.
pub(super) struct Ended {
    /// Which of them reached the goal at any step.
    pub found: Vec<bool>,
    /// Which of them gave a new best.
    pub improved: Vec<bool>,
    /// The image recorded last.
    pub last: Outcome,
}

/// How long a group of constants runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Steps of each constant, at least 1.
    pub steps: usize,
    /// Whether constants whose loss has stopped falling end early.
    pub abort: bool,
}

/// Takes some constants through their steps, abreast. `advance` brings the lanes it is given to their image of the step
/// and judges it.
pub(super) fn abreast<L: Lane>(
    mut lanes: Vec<L>,
    pace: Pace,
    goal: Goal,
    journal: &mut Journal,
    mut advance: impl FnMut(&mut [&mut L], usize) -> Result<Vec<Judged>>,
) -> Result<Ended> {
    let n = lanes.len();
    let (mut found, mut improved, mut going) = (vec![false; n], vec![false; n], vec![true; n]);
    let mut plateaus = vec![Plateau::new(pace.steps, pace.abort); n];
    let mut k = 0;
    loop {
        let places: Vec<usize> = (0..n).filter(|i| going[*i]).collect();
        let mut active: Vec<&mut L> = lanes.iter_mut().zip(&going).filter(|(_, going)| **going).map(|(lane, _)| lane).collect();
        let mut judged = advance(&mut active, k)?;
        let recorded = journal.record(&judged, |i| active[i].picture())?;
        improved[places[recorded.index]] |= recorded.better;
        for (place, judged) in places.iter().zip(&judged) {
            found[*place] |= judged.cost.is_some();
            going[*place] = !plateaus[*place].reached(k, judged.loss);
        }
        for (place, lane) in places.iter().zip(&active) {
            going[*place] &= !lane.done();
        }
        k += 1;
        if k >= pace.steps || !going.contains(&true) {
            let image = active[recorded.index].picture().array()?.into_owned();
            let logits = judged.swap_remove(recorded.index).logits;
            let last = Outcome { image, success: goal.success(logits.view()), logits, step: recorded.step };
            return Ok(Ended { found, improved, last });
        }
    }
}

/// Does something to every lane, on several threads when there are several lanes.
pub(super) fn each<L: Lane + Send, T: Send>(lanes: &mut [&mut L], with: Vec<T>, act: impl Fn(&mut L, T) + Sync) {
    match lanes {
        [lane] => with.into_iter().for_each(|t| act(lane, t)),
        several => several.par_iter_mut().zip(with).for_each(|(lane, t)| act(lane, t)),
    }
}

/// Tries the constants of a search, round by round. `group` runs the constants it is given, each from the same start and
/// without influence on each other, and says which of them worked and what was recorded last.
pub(super) fn search(mut state: ConstantSearch, mut group: impl FnMut(&[f32]) -> Result<(Vec<bool>, Outcome)>) -> Result<Outcome> {
    let mut last = None;
    for round in 0..state.rounds() {
        let constants = state.constants(round);
        let (found, end) = group(&constants.iter().map(|c| *c as f32).collect::<Vec<_>>())?;
        state.update(&constants, &found);
        last = Some(end);
    }
    Ok(last.expect("a search has at least one round"))
}

/// Upper bound of the number of recorded steps.
pub(super) fn most_steps(params: &Params) -> usize {
    (params.int("steps") as usize).saturating_mul(params.int("search-steps") as usize)
}

/// State of the search.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConstantSearch {
    c: f64,
    lower: f64,
    upper: f64,
    growth: f64,
    rounds: usize,
    width: usize,
    geometric: bool,
}

impl ConstantSearch {
    /// A search from `c0` that multiplies by `growth` until something works. With `width` constants at once as many rounds
    /// are made as narrow the bounds at least as far as `rounds` halvings.
    pub fn new(c0: f64, growth: f64, rounds: usize, width: usize) -> Self {
        Self { c: c0, lower: 0.0, upper: NONE, growth, rounds, width, geometric: false }
    }

    /// A search as the parameters say.
    pub fn of(params: &Params, growth: f64, width: usize) -> Self {
        Self::new(params.float("c0"), growth, params.int("search-steps") as usize, width)
    }

    /// The same search with the middle taken on a logarithmic scale: finer near the lower of two bounds a decade apart.
    pub fn geometric(self) -> Self {
        Self { geometric: true, ..self }
    }

    /// The constant at this fraction of the way between the bounds.
    fn between(&self, part: f64) -> f64 {
        if self.geometric && self.lower > 0.0 {
            self.lower * (self.upper / self.lower).powf(part)
        } else {
            self.lower + (self.upper - self.lower) * part
        }
    }

    fn rounds(&self) -> usize {
        ((self.rounds as f64 / (self.width as f64 + 1.0).log2()).ceil() as usize).max(1)
    }

    /// The constants of a round: a ladder until something works, then evenly spaced ones between the bounds. From ten
    /// rounds on, the last one of a sequential search uses the smallest constant known to work, as the authors of C&W do.
    fn constants(&self, round: usize) -> Vec<f64> {
        let n = self.width;
        let known = self.upper < NONE;
        if n == 1 {
            let last = self.rounds >= 10 && round + 1 == self.rounds;
            return vec![if last && known { self.upper } else { self.c }];
        }
        let ladder = |i: usize| (self.c * self.growth.powi(i as i32)).min(NONE);
        let between = |i: usize| self.between((i + 1) as f64 / (n + 1) as f64);
        (0..n).map(|i| if known { between(i) } else { ladder(i) }).collect()
    }

    /// Takes the results of a round: the smallest constant that worked bounds from above, the largest below it that did
    /// not from below.
    fn update(&mut self, tried: &[f64], found: &[bool]) {
        let results = || tried.iter().copied().zip(found.iter().copied());
        self.upper = results().filter(|(_, found)| *found).map(|(c, _)| c).fold(self.upper, f64::min);
        self.lower = results().filter(|(c, found)| !*found && *c < self.upper).map(|(c, _)| c).fold(self.lower, f64::max);
        let largest = tried.iter().copied().fold(self.c, f64::max);
        self.c = if self.upper < NONE { self.between(0.5) } else { (largest * self.growth).min(NONE) };
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

    fn tell(s: &mut ConstantSearch, success: bool) {
        let tried = s.constants(0);
        s.update(&tried, &[success]);
    }

    #[test]
    fn grows_then_halves() {
        let mut s = ConstantSearch::new(1.0, 10.0, 9, 1);
        assert_eq!(s.rounds(), 9);
        tell(&mut s, false);
        assert_eq!(s.constants(1), [10.0]);
        tell(&mut s, true);
        assert_eq!(s.constants(2), [5.5]);
        tell(&mut s, false);
        assert_eq!(s.constants(3), [7.75]);
    }

    #[test]
    fn a_logarithmic_middle_lies_nearer_to_what_failed() {
        let mut s = ConstantSearch::new(1.0, 10.0, 9, 1).geometric();
        tell(&mut s, false);
        tell(&mut s, true);
        assert!((s.constants(2)[0] - 10f64.sqrt()).abs() < 1e-12);
        // Nothing has failed yet: there is no logarithm of zero, so it halves.
        let mut s = ConstantSearch::new(1.0, 10.0, 9, 1).geometric();
        tell(&mut s, true);
        assert_eq!(s.constants(1), [0.5]);
    }

    #[test]
    fn last_of_ten_rounds_uses_what_worked() {
        let mut s = ConstantSearch::new(4.0, 10.0, 10, 1);
        tell(&mut s, true);
        assert_eq!((s.constants(1), s.constants(9)), (vec![2.0], vec![4.0]));
    }

    #[test]
    fn several_at_once_climb_then_divide() {
        let mut s = ConstantSearch::new(0.001, 10.0, 9, 3);
        // Two halvings a round.
        assert_eq!(s.rounds(), 5);
        let first = s.constants(0);
        assert_eq!(first.len(), 3);
        s.update(&first, &[false; 3]);
        let second = s.constants(1);
        assert!((second[0] - 1.0).abs() < 1e-12 && (second[2] - 100.0).abs() < 1e-9, "{second:?}");
        // A larger constant that fails above one that works does not raise the lower bound.
        s.update(&second, &[false, true, false]);
        let third = s.constants(2);
        assert!((third[0] - 3.25).abs() < 1e-9 && (third[2] - 7.75).abs() < 1e-9, "{third:?}");
    }

    #[test]
    fn both_searches_end_at_the_same_constant() {
        for boundary in [0.0005, 0.0421, 3.0, 7777.0] {
            let end = |width| {
                let mut s = ConstantSearch::new(0.001, 10.0, 24, width);
                for round in 0..s.rounds() {
                    let tried = s.constants(round);
                    let found: Vec<bool> = tried.iter().map(|c| *c >= boundary).collect();
                    s.update(&tried, &found);
                }
                s.upper
            };
            for width in [1, 2, 5, 8] {
                assert!((end(width) / boundary - 1.0).abs() < 2e-3, "{boundary} {width}: {}", end(width));
            }
        }
    }
}
