//! Quantisation, straight through: rounding passes the gradient, saturation stops it.

use super::Cx;
use crate::core::{
    error::Result,
    graph::grad::dims,
    onnx::{DType, Dim, Node},
};

/// Smallest and largest value of a quantised type.
fn range(dtype: DType) -> Option<(f64, f64)> {
    Some(match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65535.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => return None,
    })
}

/// A scale or zero point shaped to broadcast against the data.
fn along_axis(cx: &Cx, node: &Node, value: &str, rank: usize) -> Result<String> {
    let shape = cx.b.shape(value)?;
    if node.int("block_size", 0) != 0 {
        return Err(cx.unsupported("blocked scales"));
    }
    let [count] = shape[..] else { return Ok(value.to_owned()) };
    if count == Dim::Fixed(1) {
        return Ok(value.to_owned());
    }
    let mut to = vec![Dim::Fixed(1); rank];
    to[dims::axis(node.int("axis", 1), rank)] = count;
    Ok(cx.b.reshape(value, &to))
}

/// 1 where quantising does not saturate.
fn inside(cx: &Cx, node: &Node) -> Result<String> {
    let b = cx.b;
    let (Some(x), Some(scale)) = (node.input(0), node.input(1)) else { return Err(cx.unsupported("missing operands")) };
    let dtype = b.dtype(x);
    let rank = b.shape(x)?.len();
    let (low, high) = range(b.dtype(&node.outputs[0])).ok_or_else(|| cx.unsupported("a type of unknown range"))?;
    let scale = along_axis(cx, node, scale, rank)?;
    let zero = match node.input(2) {
        Some(z) => along_axis(cx, node, &b.cast(z, dtype), rank)?,
        None => b.scalar(0.0, dtype),
    };
    let bound = |limit: f64| b.mul(&b.from_scalar(limit, &zero), &scale);
    let above = b.compare("Greater", x, &bound(low - 0.5));
    let below = b.compare("Less", x, &bound(high + 0.5));
    Ok(b.cast(&b.compare("And", &above, &below), dtype))
}

pub fn quantize(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let g = cx.g()?;
    let rank = cx.shape(0)?.len();
    let scale = along_axis(cx, cx.node, cx.x(1)?, rank)?;
    let gx = b.mul(&b.div(&g, &scale), &inside(cx, cx.node)?);
    cx.push(0, gx)
}

pub fn dequantize(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let g = cx.g()?;
    if let Some(source) = cx.producer(cx.x(0)?).filter(|p| p.op == "QuantizeLinear") {
        let same = |i: usize| match (source.input(i), cx.node.input(i)) {
            (Some(a), Some(c)) => a == c || (b.constant(a).is_some() && b.constant(a) == b.constant(c)),
            (a, c) => a == c,
        };
        if same(1) && same(2) && source.attrs.get("axis") == cx.node.attrs.get("axis") {
            // Quantise and back with one scale: the two factors cancel.
            let gx = b.mul(&g, &inside(cx, source)?);
            cx.push_to(source.input(0).unwrap_or_default(), gx);
            cx.skip(0);
            return Ok(());
        }
    }
    let rank = cx.shape(0)?.len();
    let scale = along_axis(cx, cx.node, cx.x(1)?, rank)?;
    let gx = b.mul(&g, &scale);
    cx.push(0, gx)
}
