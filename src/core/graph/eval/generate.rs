//! Constants, ranges and shapes.

use ndarray::{ArrayD, IxDyn};

use super::{Args, Fail, Res, Rule, Value, bad, geometry::axes::size, value::same_kind};
use crate::core::onnx::Attr;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("EyeLike", eye),
    ("Range", range),
    ("Shape", |a| Ok(vec![shape(a, a.value(0)?.shape())])),
    ("Size", |a| Ok(vec![Value::ints(&[], vec![a.value(0)?.len() as i64])])),
];

/// What `Shape` gives for a tensor of this shape, `start` and `end` (opset 15) included.
pub fn shape(a: &Args, input: &[usize]) -> Value {
    let rank = input.len() as i64;
    let place = |v: i64| if v < 0 { v + rank } else { v }.clamp(0, rank) as usize;
    let (from, to) = (place(a.int("start", 0)), place(a.int("end", rank)));
    Value::vector(input.get(from..to.max(from)).unwrap_or(&[]).iter().map(|&d| d as i64).collect())
}

fn constant(a: &Args) -> Res<Vec<Value>> {
    let value = a.node.attrs.iter().find_map(|(name, attr)| match (name.as_str(), attr) {
        ("value", Attr::Tensor(t)) => Value::from_tensor(t),
        ("value_float", Attr::Float(v)) => Some(Value::floats(&[], vec![f64::from(*v)])),
        ("value_floats", Attr::Floats(v)) => Some(Value::floats(&[v.len()], v.iter().map(|&x| f64::from(x)).collect())),
        ("value_int", Attr::Int(v)) => Some(Value::ints(&[], vec![*v])),
        ("value_ints", Attr::Ints(v)) => Some(Value::vector(v.clone())),
        _ => None,
    });
    value.map(|v| vec![v]).ok_or_else(|| Fail::Bad("holds a constant of a kind that cannot be computed with".into()))
}

fn constant_of_shape(a: &Args) -> Res<Vec<Value>> {
    let dims = a.ints(0)?.ok_or_else(|| Fail::Bad("has no shape".into()))?.into_iter().map(size).collect::<Res<Vec<_>>>()?;
    let value = match a.node.attrs.get("value") {
        Some(Attr::Tensor(t)) => Value::from_tensor(t)
            .filter(|v| v.len() == 1)
            .ok_or_else(|| Fail::Bad("repeats a value of a kind that cannot be computed with".into()))?,
        _ => Value::floats(&[1], vec![0.0]),
    };
    Ok(vec![same_kind!(value, v => ArrayD::from_elem(IxDyn(&dims), *v.first().expect("one element")))])
}

fn eye(a: &Args) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    let &[rows, columns] = x.shape() else { return bad("needs a matrix") };
    let k = a.int("k", 0);
    let one = |i: usize| (i % columns) as i64 - (i / columns) as i64 == k;
    let float = crate::core::onnx::DType::from_onnx(a.int("dtype", if matches!(x, Value::F(_)) { 1 } else { 7 }) as i32).is_float();
    Ok(vec![if float {
        Value::floats(&[rows, columns], (0..rows * columns).map(|i| f64::from(u8::from(one(i)))).collect())
    } else {
        Value::ints(&[rows, columns], (0..rows * columns).map(|i| i64::from(one(i))).collect())
    }])
}

/// Longest range counted out: positions of the pixels of the largest images, and more.
const LONGEST: f64 = (1u32 << 24) as f64;

fn range(a: &Args) -> Res<Vec<Value>> {
    let part = |i: usize| a.scalar(i)?.ok_or_else(|| Fail::Bad("has an empty bound".into()));
    let (start, limit, delta) = (part(0)?, part(1)?, part(2)?);
    let count = ((limit - start) / delta).ceil().max(0.0);
    if !count.is_finite() || count > LONGEST {
        return bad("counts without end");
    }
    let steps = 0..count as usize;
    Ok(vec![match a.value(0)? {
        Value::F(_) => Value::floats(&[count as usize], steps.map(|i| start + i as f64 * delta).collect()),
        _ => Value::vector(steps.map(|i| (start as i64).wrapping_add((i as i64).wrapping_mul(delta as i64))).collect()),
    }])
}
