//! Reductions.

use super::{ShapeRule, Shapes};
use crate::core::graph::eval::{
    Res,
    geometry::axes::{Reduction, axis},
    top_k_size,
};

pub(super) const RULES: &[(&str, ShapeRule)] = &[
    ("ArgMax", arg),
    ("ArgMin", arg),
    ("ReduceL1", reduce),
    ("ReduceL2", reduce),
    ("ReduceLogSum", reduce),
    ("ReduceLogSumExp", reduce),
    ("ReduceMax", reduce),
    ("ReduceMean", reduce),
    ("ReduceMin", reduce),
    ("ReduceProd", reduce),
    ("ReduceSum", reduce),
    ("ReduceSumSquare", reduce),
    ("TopK", top_k),
];

fn reduce(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let x = s.at(0)?;
    Ok(vec![Reduction::of(&s.args, x.len())?.shape(x)])
}

fn arg(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let x = s.at(0)?;
    Ok(vec![Reduction { axes: vec![axis(s.args.int("axis", 0), x.len())?], keep: s.args.int("keepdims", 1) != 0 }.shape(x)])
}

fn top_k(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let mut x = s.at(0)?.to_vec();
    let (at, k) = top_k_size(&s.args, x.len())?;
    x[at] = k;
    Ok(vec![x; 2])
}
