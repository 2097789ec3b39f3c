//! Operators that change shapes by parameters.

use super::{ShapeRule, Shapes};
use crate::core::graph::eval::{
    Fail, Res, Value, bad,
    geometry::{
        axes::{broadcast, size},
        pad::Padding,
        shape,
        slice::spans,
    },
    permutation,
};

pub(super) const RULES: &[(&str, ShapeRule)] = &[
    ("ConstantOfShape", |s| Ok(vec![target(s, 0)?])),
    ("DepthToSpace", |s| blocks(s, false)),
    ("Expand", |s| Ok(vec![broadcast(s.at(0)?, &target(s, 1)?)?])),
    ("Flatten", |s| Ok(vec![shape::flatten(&s.args, s.at(0)?)?])),
    ("Pad", |s| Ok(vec![Padding::of(&s.args, s.at(0)?.len())?.shape(s.at(0)?)?])),
    ("Reshape", |s| Ok(vec![shape::reshape(&s.args, s.at(0)?)?])),
    ("Shape", |s| {
        let rank = s.at(0)?.len();
        let Value::I(v) = crate::core::graph::eval::generate_shape(&s.args, &vec![0; rank]) else { return bad("failed") };
        Ok(vec![vec![v.len()]])
    }),
    ("Size", |_| Ok(vec![vec![]])),
    ("Slice", |s| Ok(vec![spans(&s.args, s.at(0)?)?.iter().map(|p| p.len).collect()])),
    ("SpaceToDepth", |s| blocks(s, true)),
    ("Split", split),
    ("Squeeze", |s| Ok(vec![shape::squeeze(&s.args, s.at(0)?)?])),
    ("Tile", |s| {
        let x = s.at(0)?;
        Ok(vec![shape::repeats(&s.args, x.len())?.iter().zip(x).map(|(r, d)| r * d).collect()])
    }),
    ("Transpose", |s| {
        let x = s.at(0)?;
        Ok(vec![permutation(&s.args, x.len())?.into_iter().map(|i| x[i]).collect()])
    }),
    ("Unsqueeze", |s| Ok(vec![shape::unsqueeze(&s.args, s.at(0)?)?])),
];

fn target(s: &Shapes, i: usize) -> Res<Vec<usize>> {
    s.args.ints(i)?.ok_or_else(|| Fail::Bad("has no target shape".into()))?.into_iter().map(size).collect()
}

fn split(s: &Shapes) -> Res<Vec<Vec<usize>>> {
    let x = s.at(0)?;
    let (at, sizes) = shape::split(&s.args, x)?;
    let part = |d: usize| x.iter().enumerate().map(|(i, &o)| if i == at { d } else { o }).collect();
    Ok(sizes.into_iter().map(part).collect())
}

fn blocks(s: &Shapes, gather: bool) -> Res<Vec<Vec<usize>>> {
    let &[n, c, h, w] = s.at(0)? else { return bad("needs four dimensions") };
    let b = size(s.args.int("blocksize", 1))?.max(1);
    Ok(vec![if gather { vec![n, c * b * b, h / b, w / b] } else { vec![n, c / (b * b), h * b, w * b] }])
}
