//! Writing by index.

use super::{
    Args, Res, Rule, Value, bad, flat,
    gather::{block_offsets, element_offsets},
    geometry::axes::axis,
};

pub(super) const RULES: &[(&str, Rule)] = &[("Scatter", elements), ("ScatterElements", elements), ("ScatterND", nd)];

fn elements(a: &Args) -> Res<Vec<Value>> {
    let (x, indices) = (a.value(0)?, a.value(1)?);
    let offsets = element_offsets(x.shape(), indices, axis(a.int("axis", 0), x.shape().len())?)?;
    write(a, &offsets)
}

fn nd(a: &Args) -> Res<Vec<Value>> {
    let (starts, block) = block_offsets(a.value(0)?.shape(), a.value(1)?, 0)?;
    write(a, &starts.into_iter().flat_map(|s| s..s + block).collect::<Vec<_>>())
}

fn write(a: &Args, offsets: &[usize]) -> Res<Vec<Value>> {
    let mut out = a.value(0)?.clone();
    let updates = a.value(2)?;
    if updates.len() != offsets.len() {
        return bad("has another number of updates than of indices");
    }
    let how = a.node.text("reduction", "none");
    macro_rules! apply {
        ($to:expr, $from:expr, $max:expr, $min:expr) => {{
            let to = $to.as_slice_mut().expect("row-major");
            for (&o, &v) in offsets.iter().zip(flat($from)) {
                to[o] = match how.as_str() {
                    "none" => v,
                    "add" => to[o] + v,
                    "mul" => to[o] * v,
                    "max" => $max(to[o], v),
                    "min" => $min(to[o], v),
                    other => return bad(format!("uses the reduction '{other}', which is not supported")),
                };
            }
        }};
    }
    match (&mut out, updates) {
        (Value::F(to), Value::F(from)) => apply!(to, from, f64::max, f64::min),
        (Value::I(to), Value::I(from)) => apply!(to, from, i64::max, i64::min),
        (Value::B(to), Value::B(from)) => offsets.iter().zip(flat(from)).for_each(|(&o, &v)| to.as_slice_mut().expect("row-major")[o] = v),
        _ => return bad("mixes element types"),
    }
    Ok(vec![out])
}
