//! Slice.

use super::{
    Args, Res, Rule, Value, flat,
    geometry::{axes::strides, slice::spans},
    value::{array, same_kind},
};

pub(super) const RULES: &[(&str, Rule)] = &[("Slice", slice)];

fn slice(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let spans = spans(a, x.shape())?;
    let shape: Vec<usize> = spans.iter().map(|s| s.len).collect();
    let (own, to) = (strides(x.shape()), strides(&shape));
    let offset =
        |o: usize| spans.iter().enumerate().map(|(i, s)| (s.start + s.step * (o / to[i] % s.len) as i64) as usize * own[i]).sum::<usize>();
    let count: usize = shape.iter().product();
    Ok(vec![same_kind!(x, v => array(&shape, (0..count).map(|o| flat(v)[offset(o)]).collect()))])
}
