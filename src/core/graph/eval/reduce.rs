//! Reductions, ArgMax and ArgMin.

use super::{
    Args, Res, Rule, Value, bad, flat,
    geometry::axes::{Reduction, axis, strides, walk},
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("ArgMax", |a| arg(a, |x, best| x > best)),
    ("ArgMin", |a| arg(a, |x, best| x < best)),
    ("ReduceL1", |a| reduce(a, |v| v.iter().map(|x| x.abs()).sum())),
    ("ReduceL2", |a| reduce(a, |v| v.iter().map(|x| x * x).sum::<f64>().sqrt())),
    ("ReduceLogSum", |a| reduce(a, |v| v.iter().sum::<f64>().ln())),
    ("ReduceLogSumExp", |a| {
        reduce(a, |v| {
            let top = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if top.is_infinite() { top } else { top + v.iter().map(|x| (x - top).exp()).sum::<f64>().ln() }
        })
    }),
    ("ReduceMax", |a| reduce(a, |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max))),
    ("ReduceMean", |a| reduce(a, |v| v.iter().sum::<f64>() / v.len() as f64)),
    ("ReduceMin", |a| reduce(a, |v| v.iter().copied().fold(f64::INFINITY, f64::min))),
    ("ReduceProd", |a| reduce(a, |v| v.iter().product())),
    ("ReduceSum", |a| reduce(a, |v| v.iter().sum())),
    ("ReduceSumSquare", |a| reduce(a, |v| v.iter().map(|x| x * x).sum())),
];

fn reduce(a: &Args, f: impl Fn(&[f64]) -> f64) -> Res<Vec<Value>> {
    let input = a.value(0)?;
    let x = input.to_floats();
    let reduction = Reduction::of(a, x.ndim())?;
    let steps = strides(x.shape());
    let kept: Vec<usize> = (0..x.ndim()).filter(|i| !reduction.axes.contains(i)).collect();
    let pick = |axes: &[usize], of: &[usize]| -> Vec<usize> { axes.iter().map(|&i| of[i]).collect() };
    let mut inner = Vec::new();
    walk(&pick(&reduction.axes, x.shape()), [&pick(&reduction.axes, &steps)], |[o]| inner.push(o));
    let data = flat(&x);
    let mut out = Vec::new();
    walk(&pick(&kept, x.shape()), [&pick(&kept, &steps)], |[base]| {
        let values: Vec<f64> = inner.iter().map(|o| data[base + o]).collect();
        out.push(f(&values));
    });
    let shape = reduction.shape(x.shape());
    Ok(vec![match input {
        Value::F(_) => Value::F(array(&shape, out)),
        Value::I(_) => Value::ints(&shape, out.into_iter().map(|v| v as i64).collect()),
        Value::B(_) => Value::B(array(&shape, out.into_iter().map(|v| v != 0.0).collect())),
    }])
}

fn arg(a: &Args, better: fn(f64, f64) -> bool) -> Res<Vec<Value>> {
    let x = a.value(0)?.to_floats();
    let at = axis(a.int("axis", 0), x.ndim())?;
    let last = a.int("select_last_index", 0) != 0;
    let (outer, d, inner): (usize, usize, usize) = (x.shape()[..at].iter().product(), x.shape()[at], x.shape()[at + 1..].iter().product());
    if d == 0 {
        return bad("looks for the largest of nothing");
    }
    let data = flat(&x);
    let mut out = Vec::with_capacity(outer * inner);
    for o in 0..outer {
        for i in 0..inner {
            let value = |j: usize| data[(o * d + j) * inner + i];
            let best = (1..d).fold(0, |b, j| if better(value(j), value(b)) || last && value(j) == value(b) { j } else { b });
            out.push(best as i64);
        }
    }
    let shape = Reduction { axes: vec![at], keep: a.int("keepdims", 1) != 0 }.shape(x.shape());
    Ok(vec![Value::ints(&shape, out)])
}
