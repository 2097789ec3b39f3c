//! Reading by index.

use super::{
    Args, Fail, Res, Rule, Value, bad, flat,
    geometry::axes::{axis, strides},
    value::{array, same_kind},
};

pub(super) const RULES: &[(&str, Rule)] =
    &[("Compress", compress), ("Gather", gather), ("GatherElements", elements), ("GatherND", nd), ("OneHot", one_hot)];

/// A possibly negative index into an axis of `d` elements.
pub(super) fn index(i: i64, d: usize) -> Res<usize> {
    let at = if i < 0 { i + d as i64 } else { i };
    if (0..d as i64).contains(&at) { Ok(at as usize) } else { bad(format!("reads element {i} of {d}")) }
}

/// Elements of `x` at flat offsets.
fn take(x: &Value, shape: &[usize], offsets: Vec<usize>) -> Vec<Value> {
    vec![same_kind!(x, v => array(shape, offsets.into_iter().map(|o| flat(v)[o]).collect()))]
}

fn gather(a: &Args) -> Res<Vec<Value>> {
    let (x, indices) = (a.value(0)?, a.value(1)?);
    let xs = x.shape();
    let at = axis(a.int("axis", 0), xs.len())?;
    let (outer, inner): (usize, usize) = (xs[..at].iter().product(), xs[at + 1..].iter().product());
    let list = indices.to_ints().into_iter().map(|i| index(i, xs[at])).collect::<Res<Vec<_>>>()?;
    let shape: Vec<usize> = xs[..at].iter().chain(indices.shape()).chain(&xs[at + 1..]).copied().collect();
    let mut offsets = Vec::with_capacity(shape.iter().product());
    for o in 0..outer {
        for &j in &list {
            offsets.extend((0..inner).map(|i| (o * xs[at] + j) * inner + i));
        }
    }
    Ok(take(x, &shape, offsets))
}

fn elements(a: &Args) -> Res<Vec<Value>> {
    let (x, indices) = (a.value(0)?, a.value(1)?);
    let offsets = element_offsets(x.shape(), indices, axis(a.int("axis", 0), x.shape().len())?)?;
    Ok(take(x, indices.shape(), offsets))
}

/// Flat offsets that `GatherElements` reads and `ScatterElements` writes.
pub(super) fn element_offsets(data: &[usize], indices: &Value, at: usize) -> Res<Vec<usize>> {
    if indices.shape().len() != data.len() {
        return bad("has indices of another rank than its data");
    }
    let (own, to) = (strides(data), strides(indices.shape()));
    let place = |(o, i): (usize, i64)| -> Res<usize> {
        let mut sum = 0;
        for k in 0..data.len() {
            sum += own[k] * if k == at { index(i, data[k])? } else { o / to[k] % indices.shape()[k] };
        }
        Ok(sum)
    };
    indices.to_ints().into_iter().enumerate().map(place).collect()
}

/// Flat offsets of the blocks that `GatherND`/`ScatterND` address, and the size of one block.
pub(super) fn block_offsets(data: &[usize], indices: &Value, batch: usize) -> Res<(Vec<usize>, usize)> {
    let Some(&depth) = indices.shape().last() else { return bad("has a scalar as its indices") };
    if batch + depth > data.len() || batch >= indices.shape().len() {
        return bad("has indices longer than its data's dimensions");
    }
    let own = strides(data);
    let block: usize = data[batch + depth..].iter().product();
    let batch_block: usize = data[batch..].iter().product();
    let tuples_per_batch: usize = indices.shape()[batch..indices.shape().len() - 1].iter().product();
    let list = indices.to_ints();
    let tuples: usize = indices.shape()[..indices.shape().len() - 1].iter().product();
    let mut out = Vec::with_capacity(tuples);
    for t in 0..tuples {
        let mut offset = if batch == 0 { 0 } else { t / tuples_per_batch.max(1) * batch_block };
        for k in 0..depth {
            offset += index(list[t * depth + k], data[batch + k])? * own[batch + k];
        }
        out.push(offset);
    }
    Ok((out, block))
}

fn nd(a: &Args) -> Res<Vec<Value>> {
    let (x, indices) = (a.value(0)?, a.value(1)?);
    let batch = a.int("batch_dims", 0).max(0) as usize;
    let (starts, block) = block_offsets(x.shape(), indices, batch)?;
    let is = indices.shape();
    let shape: Vec<usize> = is[..is.len() - 1].iter().chain(&x.shape()[batch + is[is.len() - 1]..]).copied().collect();
    Ok(take(x, &shape, starts.into_iter().flat_map(|s| s..s + block).collect()))
}

fn compress(a: &Args) -> Res<Vec<Value>> {
    let (x, mask) = (a.value(0)?, a.ints(1)?.ok_or_else(|| Fail::Bad("has no condition".into()))?);
    let kept: Vec<usize> = mask.iter().enumerate().filter(|(_, m)| **m != 0).map(|(i, _)| i).collect();
    if !a.node.attrs.contains_key("axis") {
        return Ok(take(x, &[kept.len()], kept));
    }
    let at = axis(a.int("axis", 0), x.shape().len())?;
    let xs = x.shape();
    let (outer, inner): (usize, usize) = (xs[..at].iter().product(), xs[at + 1..].iter().product());
    let mut shape = xs.to_vec();
    shape[at] = kept.len();
    let offsets = (0..outer).flat_map(|o| kept.iter().flat_map(move |&j| (0..inner).map(move |i| (o * xs[at] + j) * inner + i))).collect();
    Ok(take(x, &shape, offsets))
}

fn one_hot(a: &Args) -> Res<Vec<Value>> {
    let (indices, values) = (a.value(0)?, a.value(2)?);
    let depth = a.scalar(1)?.unwrap_or(0.0) as usize;
    let rank = indices.shape().len();
    let at = axis(a.int("axis", -1), rank + 1)?;
    let inner: usize = indices.shape()[at..].iter().product();
    let mut shape = indices.shape().to_vec();
    shape.insert(at, depth);
    let list = indices.to_ints();
    let hot = |o: usize| {
        let (outer, k, i) = (o / (depth * inner), o / inner % depth, o % inner);
        let v = list[outer * inner + i];
        usize::from(v == k as i64 || v + depth as i64 == k as i64)
    };
    let count = shape.iter().product();
    Ok(take(values, &shape, (0..count).map(hot).collect()))
}
