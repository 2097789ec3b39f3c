//! Casts. Float to float keeps full precision: rounding is the caller's business.

use super::{Args, Res, Rule, Value, bad};
use crate::core::onnx::DType;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Cast", |a| cast(a, DType::from_onnx(a.int("to", 1) as i32))),
    ("CastLike", |a| {
        let like = match a.value(1)? {
            Value::F(_) => DType::F64,
            Value::I(_) => DType::I64,
            Value::B(_) => DType::Bool,
        };
        cast(a, like)
    }),
];

fn cast(a: &Args, to: DType) -> Res<Vec<Value>> {
    let x = a.value(0)?;
    Ok(vec![match (x, to) {
        (_, DType::Other(_)) => return bad("casts to a type that cannot be computed with"),
        (x, t) if t.is_float() => Value::F(x.to_floats()),
        (x, DType::Bool) => Value::B(x.to_floats().mapv(|v| v != 0.0)),
        (x, t) => {
            let wrap = |v: i64| match t {
                DType::I8 => i64::from(v as i8),
                DType::U8 => i64::from(v as u8),
                DType::I16 => i64::from(v as i16),
                DType::U16 => i64::from(v as u16),
                DType::I32 => i64::from(v as i32),
                DType::U32 => i64::from(v as u32),
                _ => v,
            };
            Value::ints(x.shape(), x.to_ints().into_iter().map(wrap).collect())
        }
    }])
}
