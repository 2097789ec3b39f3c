//! QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear's float part.

use ndarray::ArrayD;

use super::{Args, Res, Rule, Value, bad, flat, geometry::axes::axis, value::array};
use crate::core::onnx::DType;

pub(super) const RULES: &[(&str, Rule)] = &[("DequantizeLinear", dequantize), ("QuantizeLinear", quantize)];

/// For each element of `shape`, the index of its scale: one for all, one per index of `axis`, or one per block.
fn scale_index(a: &Args, shape: &[usize], scale: &ArrayD<f64>) -> Res<Vec<usize>> {
    let count: usize = shape.iter().product();
    if scale.len() == 1 {
        return Ok(vec![0; count]);
    }
    let at = axis(a.int("axis", 1), shape.len())?;
    let inner: usize = shape[at + 1..].iter().product();
    let block = a.int("block_size", 0).max(0) as usize;
    if block > 0 && scale.ndim() == shape.len() {
        let d = scale.shape()[at];
        return Ok((0..count).map(|i| (i / (inner * shape[at]) * d + i / inner % shape[at] / block) * inner + i % inner).collect());
    }
    if scale.len() != shape[at] {
        return bad(format!("has {} scales for an axis of {}", scale.len(), shape[at]));
    }
    Ok((0..count).map(|i| i / inner % shape[at]).collect())
}

fn zero_points(a: &Args, count: usize) -> Res<Vec<f64>> {
    Ok(a.optional(2)?.map_or_else(|| vec![0.0; count], |z| z.to_floats().into_iter().collect()))
}

fn dequantize(a: &Args) -> Res<Vec<Value>> {
    let (x, scale) = (a.value(0)?.to_floats(), a.f(1)?);
    let index = scale_index(a, x.shape(), scale)?;
    let (zero, scales) = (zero_points(a, scale.len())?, flat(scale));
    Ok(vec![Value::F(array(x.shape(), flat(&x).iter().zip(index).map(|(v, i)| (v - zero[i]) * scales[i]).collect()))])
}

fn quantize(a: &Args) -> Res<Vec<Value>> {
    let (x, scale) = (a.f(0)?, a.f(1)?);
    let index = scale_index(a, x.shape(), scale)?;
    let (zero, scales) = (zero_points(a, scale.len())?, flat(scale));
    // Values do not carry their width: without an `output_dtype`, a negative zero point tells int8 from uint8.
    let to = DType::from_onnx(a.int("output_dtype", 0) as i32);
    let (lo, hi) = match to {
        DType::I8 => (-128.0, 127.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U16 => (0.0, 65535.0),
        DType::U8 => (0.0, 255.0),
        _ if zero.iter().any(|z| *z < 0.0) => (-128.0, 127.0),
        _ => (0.0, 255.0),
    };
    let q = flat(x).iter().zip(index).map(|(v, i)| ((v / scales[i]).round_ties_even() + zero[i]).clamp(lo, hi) as i64).collect();
    Ok(vec![Value::ints(x.shape(), q)])
}
