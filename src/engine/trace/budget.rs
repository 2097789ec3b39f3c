//! Which frames survive when the byte budget is full: every second one goes, landmarks stay.

use std::collections::BTreeSet;

/// Doubles the stride until at most half the capacity of ordinary frames is left. The first and the last frame always
/// stay; special ones (best, class changes) stay while they fit into half the capacity, then they are thinned evenly too.
/// Returns the surviving indices and the new stride.
pub fn halve(kept: &[usize], stride: usize, capacity: usize, special: impl Fn(usize) -> bool) -> (BTreeSet<usize>, usize) {
    let half = (capacity / 2).max(2);
    let on = |stride: usize| kept.iter().copied().filter(move |i| i % stride == 0);
    let mut stride = stride;
    while on(stride).count() > half {
        stride *= 2;
    }
    let specials: Vec<usize> = kept.iter().copied().filter(|&i| special(i) && i % stride != 0).collect();
    let step = specials.len().div_ceil(half - 1).max(1);
    let mut keep: BTreeSet<usize> = on(stride).chain(specials.into_iter().step_by(step)).collect();
    keep.extend(kept.first());
    keep.extend(kept.last());
    (keep, stride)
}
