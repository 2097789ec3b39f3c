//! TopK, CumSum, NonZero.

use super::{
    Args, Res, Rule, Value, bad, flat,
    geometry::axes::{axis, size, strides},
    value::array,
};

pub(super) const RULES: &[(&str, Rule)] = &[("CumSum", cumulative), ("NonZero", non_zero), ("TopK", top_k)];

/// How many elements a `TopK` keeps, and along which axis.
pub fn top_k_size(a: &Args, rank: usize) -> Res<(usize, usize)> {
    let k = match a.ints(1)? {
        Some(list) => list.first().copied().unwrap_or(0),
        None => a.int("k", 0),
    };
    Ok((axis(a.int("axis", -1), rank)?, size(k)?))
}

fn top_k(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?.to_floats();
    let (at, k) = top_k_size(a, x.ndim())?;
    let largest = a.int("largest", 1) != 0;
    let (outer, d, inner): (usize, usize, usize) = (x.shape()[..at].iter().product(), x.shape()[at], x.shape()[at + 1..].iter().product());
    if k > d {
        return bad(format!("keeps {k} of {d} elements"));
    }
    let data = flat(&x);
    let mut shape = x.shape().to_vec();
    shape[at] = k;
    let (mut values, mut places) = (vec![0.0; outer * k * inner], vec![0; outer * k * inner]);
    for o in 0..outer {
        for i in 0..inner {
            let value = |j: usize| data[(o * d + j) * inner + i];
            let mut order: Vec<usize> = (0..d).collect();
            order.sort_by(|&p, &q| if largest { value(q).total_cmp(&value(p)) } else { value(p).total_cmp(&value(q)) });
            for (j, &best) in order[..k].iter().enumerate() {
                values[(o * k + j) * inner + i] = value(best);
                places[(o * k + j) * inner + i] = best as i64;
            }
        }
    }
    let values = if matches!(a.value(0)?, Value::F(_)) {
        Value::F(array(&shape, values))
    } else {
        Value::ints(&shape, values.into_iter().map(|v| v as i64).collect())
    };
    Ok(vec![values, Value::ints(&shape, places)])
}

fn cumulative(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?.to_floats();
    let at = axis(a.scalar(1)?.unwrap_or(0.0) as i64, x.ndim())?;
    let (exclusive, reverse) = (a.int("exclusive", 0) != 0, a.int("reverse", 0) != 0);
    let mut y = x;
    for mut lane in y.lanes_mut(ndarray::Axis(at)) {
        let d = lane.len();
        let mut sum = 0.0;
        for j in 0..d {
            let j = if reverse { d - 1 - j } else { j };
            let v = lane[j];
            lane[j] = if exclusive { sum } else { sum + v };
            sum += v;
        }
    }
    Ok(vec![if matches!(a.value(0)?, Value::F(_)) { Value::F(y) } else { Value::I(y.mapv(|v| v as i64)) }])
}

fn non_zero(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?.to_floats();
    let own = strides(x.shape());
    let hits: Vec<usize> = flat(&x).iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, _)| i).collect();
    let out = (0..x.ndim()).flat_map(|k| hits.iter().map(move |&i| (k, i))).map(|(k, i)| (i / own[k] % x.shape()[k]) as i64).collect();
    Ok(vec![Value::ints(&[x.ndim(), hits.len()], out)])
}
