//! Axes, strides and broadcasting.

use super::super::args::{Args, Fail, Res, bad};

/// A possibly negative axis of a tensor with this many dimensions.
pub fn axis(a: i64, rank: usize) -> Res<usize> {
    let r = rank as i64;
    if a < -r || a >= r {
        return bad(format!("has axis {a} on a tensor with {rank} dimensions"));
    }
    Ok(if a < 0 { (a + r) as usize } else { a as usize })
}

/// Row-major strides.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut s = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        s[i - 1] = s[i] * shape[i];
    }
    s
}

/// Shape two shapes broadcast to.
pub fn broadcast(a: &[usize], b: &[usize]) -> Res<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() >= rank { s[i + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => bad(format!("combines shapes {a:?} and {b:?}, which do not broadcast")),
        })
        .collect()
}

/// Strides with which a tensor of shape `from` is read when broadcast to `to`: 0 along repeated axes.
pub fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let skip = to.len() - from.len();
    (0..to.len()).map(|i| if i < skip || from[i - skip] == 1 { 0 } else { own[i - skip] }).collect()
}

/// Visits every index of `shape` in row-major order with the matching offset under each list of strides.
pub fn walk<const K: usize>(shape: &[usize], strides: [&[usize]; K], mut visit: impl FnMut([usize; K])) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    let mut offsets = [0; K];
    loop {
        visit(offsets);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for k in 0..K {
                offsets[k] += strides[k][axis];
            }
            if index[axis] < shape[axis] {
                break;
            }
            for k in 0..K {
                offsets[k] -= strides[k][axis] * shape[axis];
            }
            index[axis] = 0;
        }
    }
}

/// Which axes an operator reduces, and whether they stay as 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduction {
    /// Sorted axes; empty means nothing is reduced.
    pub axes: Vec<usize>,
    /// `keepdims`.
    pub keep: bool,
}

impl Reduction {
    /// Reads the attribute or the input form of `Reduce*`.
    pub fn of(args: &Args, rank: usize) -> Res<Self> {
        let listed = match args.node.ints("axes") {
            Some(a) => Some(a.to_vec()),
            None => args.ints(1)?,
        };
        let mut axes: Vec<usize> = listed.unwrap_or_default().into_iter().map(|a| axis(a, rank)).collect::<Res<_>>()?;
        if axes.is_empty() && args.int("noop_with_empty_axes", 0) == 0 {
            axes = (0..rank).collect();
        }
        axes.sort_unstable();
        axes.dedup();
        Ok(Self { axes, keep: args.int("keepdims", 1) != 0 })
    }

    /// Shape after the reduction.
    pub fn shape(&self, input: &[usize]) -> Vec<usize> {
        let kept = |i: &usize| !self.axes.contains(i);
        if self.keep {
            (0..input.len()).map(|i| if kept(&i) { input[i] } else { 1 }).collect()
        } else {
            (0..input.len()).filter(kept).map(|i| input[i]).collect()
        }
    }
}

/// Axes listed in attribute `axes` or in input `i`, made non-negative.
pub fn listed(args: &Args, i: usize, rank: usize) -> Res<Option<Vec<usize>>> {
    let list = match args.node.ints("axes") {
        Some(a) => Some(a.to_vec()),
        None => args.ints(i)?,
    };
    list.map(|l| l.into_iter().map(|a| axis(a, rank)).collect()).transpose()
}

/// A size given as a signed integer.
pub fn size(v: i64) -> Res<usize> {
    usize::try_from(v).map_err(|_| Fail::Bad(format!("asks for the size {v}")))
}
