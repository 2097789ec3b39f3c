//! Normalisations. With `xhat = (x - mean) * inv`: `gx = inv * (g - mean(g) - xhat * mean(g * xhat))`, written so that everything
//! small is multiplied first and `xhat` is never formed.

use super::Cx;
use crate::core::{
    error::Result,
    graph::grad::dims::{self, product},
    onnx::{Attr, DType, Dim, TensorType},
};

/// Mean and reciprocal standard deviation over axes, computed anew.
fn statistics(cx: &Cx, x: &str, axes: &[usize], epsilon: f64) -> (String, String) {
    let b = cx.b;
    let mean = b.reduce("ReduceMean", x, axes, true);
    let centred = b.sub(x, &mean);
    let variance = b.reduce("ReduceMean", &b.mul(&centred, &centred), axes, true);
    let inv = b.unary("Reciprocal", &b.unary("Sqrt", &b.shift(&variance, epsilon)));
    (centred, inv)
}

/// The formula above, from `x - mean` and `inv`; `centre` is false for normalisations that keep the mean.
fn backward(cx: &Cx, g: &str, centred: &str, inv: &str, axes: &[usize], centre: bool) -> String {
    let b = cx.b;
    let along = b.mul(&b.mul(&b.reduce("ReduceMean", &b.mul(g, centred), axes, true), inv), inv);
    let mut rest = b.sub(g, &b.mul(centred, &along));
    if centre {
        rest = b.sub(&rest, &b.reduce("ReduceMean", g, axes, true));
    }
    b.mul(&rest, inv)
}

/// A per-channel vector `[C]` as `[C, 1, ...]`, to broadcast against `[N, C, ...]`.
fn per_channel(cx: &Cx, vector: &str, rank: usize) -> Result<String> {
    let shape = cx.b.shape(vector)?;
    let mut to = vec![Dim::Fixed(1); rank.saturating_sub(1)];
    if let (Some(first), Some(c)) = (to.first_mut(), shape.first()) {
        *first = *c;
    }
    Ok(cx.b.reshape(vector, &to))
}

fn epsilon(cx: &Cx) -> f64 {
    f64::from(cx.node.float("epsilon", 1e-5))
}

pub fn batch(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let rank = cx.shape(0)?.len();
    let dtype = cx.dtype(0)?;
    if cx.node.int("training_mode", 0) != 0 {
        let axes: Vec<usize> = (0..rank).filter(|&a| a != 1).collect();
        let g = cx.g()?;
        let gs = b.mul(&g, &per_channel(cx, cx.x(1)?, rank)?);
        let (centred, inv) = statistics(cx, cx.x(0)?, &axes, epsilon(cx));
        let gx = backward(cx, &gs, &centred, &inv, &axes, true);
        return cx.push(0, gx);
    }
    let constant = |i: usize| cx.constant(i).and_then(|t| t.to_f64());
    let slope = if let (Some(scale), Some(variance)) = (constant(1), constant(4)) {
        let slope: Vec<f64> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon(cx)).sqrt()).collect();
        let mut dims = vec![1; rank.saturating_sub(1).max(1)];
        dims[0] = slope.len();
        b.floats(&dims, &slope, dtype)
    } else {
        let root = b.unary("Sqrt", &b.shift(cx.x(4)?, epsilon(cx)));
        per_channel(cx, &b.div(cx.x(1)?, &root), rank)?
    };
    cx.chain(&slope)
}

pub fn layer(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let shape = cx.shape(0)?;
    let (x, dtype) = (cx.x(0)?, cx.dtype(0)?);
    let from = dims::axis(cx.node.int("axis", -1), shape.len());
    let axes: Vec<usize> = (from..shape.len()).collect();
    let g = cx.g()?;
    let gs = b.mul(&g, cx.x(1)?);
    let (centred, inv) = if dtype == DType::F64 || b.opset() < 17 {
        statistics(cx, x, &axes, epsilon(cx))
    } else {
        let kept = (0..shape.len()).map(|i| if i < from { shape[i] } else { Dim::Fixed(1) }).collect::<Vec<_>>();
        let ty = TensorType { dtype: if cx.node.int("stash_type", 1) == 1 { DType::F32 } else { dtype }, shape: Some(kept) };
        let mean = b.cast(&b.forward_output(cx.index, 1, ty.clone()), dtype);
        let inv = b.cast(&b.forward_output(cx.index, 2, ty), dtype);
        (b.sub(x, &mean), inv)
    };
    let gx = backward(cx, &gs, &centred, &inv, &axes, true);
    cx.push(0, gx)
}

pub fn rms(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let shape = cx.shape(0)?;
    let x = cx.x(0)?;
    let axes: Vec<usize> = (dims::axis(cx.node.int("axis", -1), shape.len())..shape.len()).collect();
    let g = cx.g()?;
    let gs = b.mul(&g, cx.x(1)?);
    let power = b.reduce("ReduceMean", &b.mul(x, x), &axes, true);
    let inv = b.unary("Reciprocal", &b.unary("Sqrt", &b.shift(&power, epsilon(cx))));
    let gx = backward(cx, &gs, x, &inv, &axes, false);
    cx.push(0, gx)
}

pub fn instance(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let rank = cx.shape(0)?.len();
    let axes: Vec<usize> = (2..rank).collect();
    let g = cx.g()?;
    let gs = b.mul(&g, &per_channel(cx, cx.x(1)?, rank)?);
    let (centred, inv) = statistics(cx, cx.x(0)?, &axes, epsilon(cx));
    let gx = backward(cx, &gs, &centred, &inv, &axes, true);
    cx.push(0, gx)
}

/// Scale per group before operator set 21, per channel since.
pub fn group(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let (x, shape) = (cx.x(0)?, cx.shape(0)?);
    let groups = cx.node.int("num_groups", 1).max(1) as usize;
    let size = match product(&shape[1..]) {
        Dim::Fixed(n) => n / groups,
        _ => return Err(cx.unsupported("an unknown size")),
    };
    let folded = [shape[0], Dim::Fixed(groups), Dim::Fixed(size)];
    let g = cx.g()?;
    let per_group = b.shape(cx.x(1)?)?.first() == Some(&Dim::Fixed(groups)) && shape[1] != Dim::Fixed(groups);
    let gs = if per_group {
        let scale = b.reshape(cx.x(1)?, &[Dim::Fixed(groups), Dim::Fixed(1)]);
        b.mul(&b.reshape(&g, &folded), &scale)
    } else {
        b.reshape(&b.mul(&g, &per_channel(cx, cx.x(1)?, shape.len())?), &folded)
    };
    let (centred, inv) = statistics(cx, &b.reshape(x, &folded), &[2], epsilon(cx));
    let gx = backward(cx, &gs, &centred, &inv, &[2], true);
    let gx = b.reshape_like(&gx, x);
    cx.push(0, gx)
}

pub fn mean_variance(cx: &mut Cx) -> Result<()> {
    let rank = cx.shape(0)?.len();
    let axes: Vec<usize> = cx.node.ints("axes").unwrap_or(&[0, 2, 3]).iter().map(|&a| dims::axis(a, rank)).collect();
    let g = cx.g()?;
    let (centred, inv) = statistics(cx, cx.x(0)?, &axes, 0.0);
    let gx = backward(cx, &g, &centred, &inv, &axes, true);
    cx.push(0, gx)
}

/// `y = x * s^-beta` with `s = bias + alpha * (mean of squares over a window of channels)`.
pub fn lrn(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let (x, shape, dtype) = (cx.x(0)?, cx.shape(0)?, cx.dtype(0)?);
    let size = cx.node.int("size", 1).max(1);
    let attr = |name: &str, default: f32| f64::from(cx.node.float(name, default));
    let (alpha, beta, bias) = (attr("alpha", 1e-4), attr("beta", 0.75), attr("bias", 1.0));
    let folded = [shape[0], Dim::Fixed(1), shape[1], product(&shape[2..])];
    if folded[3].fixed().is_none() {
        return Err(cx.unsupported("an unknown spatial size"));
    }
    let (before, after) = ((size - 1) / 2, size / 2);
    let window = |v: &str, lo: i64, hi: i64| {
        let attrs =
            [("kernel_shape", Attr::Ints(vec![size, 1])), ("pads", Attr::Ints(vec![lo, 0, hi, 0])), ("count_include_pad", Attr::Int(1))];
        let pooled = b.emit("AveragePool", &[&b.reshape(v, &folded)], &attrs, dtype, folded.to_vec());
        b.reshape_like(&pooled, x)
    };
    let s = b.shift(&b.scale(&window(&b.mul(x, x), before, after), alpha), bias);
    let g = cx.g()?;
    let direct = b.mul(&g, &b.binary("Pow", &s, &b.scalar(-beta, dtype)));
    let shared = window(&b.div(&b.mul(&g, cx.y()), &s), after, before);
    let gx = b.sub(&direct, &b.mul(&b.scale(x, 2.0 * alpha * beta), &shared));
    cx.push(0, gx)
}

/// `y = x / |x|` along one axis; 0 for a zero vector.
pub fn lp(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let (x, y) = (cx.x(0)?, cx.y());
    let axis = dims::axis(cx.node.int("axis", -1), cx.shape(0)?.len());
    let g = cx.g()?;
    let manhattan = cx.node.int("p", 2) == 1;
    let length = b.reduce(if manhattan { "ReduceL1" } else { "ReduceL2" }, x, &[axis], true);
    let empty = b.mask_scalar("Equal", &length, 0.0);
    let along = b.reduce_sum(&b.mul(&g, y), &[axis], true);
    let direction = if manhattan { b.unary("Sign", x) } else { y.to_owned() };
    let slope = b.div(&b.sub(&g, &b.mul(&direction, &along)), &b.add(&length, &empty));
    let gx = b.mul(&slope, &b.from_scalar(1.0, &empty));
    cx.push(0, gx)
}
