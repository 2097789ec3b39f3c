//! Reductions. Their gradients stay small and are broadcast by whoever reads them.

use super::Cx;
use crate::core::{error::Result, graph::grad::dims, onnx::Attr};

/// The reduced axes.
fn axes(cx: &Cx) -> Result<Vec<usize>> {
    let rank = cx.shape(0)?.len();
    Ok(match cx.ints(1, "axes")? {
        Some(v) if !v.is_empty() => {
            let mut axes: Vec<usize> = v.iter().map(|&a| dims::axis(a, rank)).collect();
            axes.sort_unstable();
            axes
        }
        _ if cx.node.int("noop_with_empty_axes", 0) != 0 => Vec::new(),
        _ => (0..rank).collect(),
    })
}

/// The axes, and the gradient with the reduced axes kept as 1.
fn opened(cx: &mut Cx) -> Result<(Vec<usize>, String)> {
    let axes = axes(cx)?;
    let g = cx.g()?;
    let g = keep(cx, &axes, &g);
    Ok((axes, g))
}

/// The reduced value with the reduced axes kept as 1.
fn keep(cx: &Cx, axes: &[usize], value: &str) -> String {
    if cx.node.int("keepdims", 1) != 0 { value.to_owned() } else { cx.b.unsqueeze(value, axes) }
}

pub fn sum(cx: &mut Cx) -> Result<()> {
    let (_, g) = opened(cx)?;
    cx.push(0, g)
}

pub fn mean(cx: &mut Cx) -> Result<()> {
    let (axes, g) = opened(cx)?;
    let shape = cx.shape(0)?;
    if axes == [2, 3]
        && let Some(gx) = super::pool::spread_mean(cx, &g, &shape)?
    {
        return cx.push(0, gx);
    }
    let gx = cx.b.divide_by_count(&g, cx.x(0)?, &axes);
    cx.push(0, gx)
}

/// ReduceMax, ReduceMin: ties share equally, as torch.amax does.
pub fn extremum(cx: &mut Cx) -> Result<()> {
    let (axes, g) = opened(cx)?;
    let b = cx.b;
    let best = keep(cx, &axes, cx.y());
    let mask = b.mask("Equal", cx.x(0)?, &best);
    let share = b.div(&g, &b.reduce_sum(&mask, &axes, true));
    let gx = b.mul(&mask, &share);
    cx.push(0, gx)
}

pub fn l1(cx: &mut Cx) -> Result<()> {
    let (_, g) = opened(cx)?;
    let gx = cx.b.mul(&cx.b.unary("Sign", cx.x(0)?), &g);
    cx.push(0, gx)
}

/// 0 for a zero vector, as torch.norm.
pub fn l2(cx: &mut Cx) -> Result<()> {
    let (axes, g) = opened(cx)?;
    let b = cx.b;
    let length = keep(cx, &axes, cx.y());
    let safe = b.add(&length, &b.mask_scalar("Equal", &length, 0.0));
    let gx = b.mul(cx.x(0)?, &b.div(&g, &safe));
    cx.push(0, gx)
}

pub fn log_sum(cx: &mut Cx) -> Result<()> {
    let (axes, g) = opened(cx)?;
    let total = keep(cx, &axes, &cx.b.unary("Exp", cx.y()));
    let gx = cx.b.div(&g, &total);
    cx.push(0, gx)
}

pub fn log_sum_exp(cx: &mut Cx) -> Result<()> {
    let (axes, g) = opened(cx)?;
    let b = cx.b;
    let share = b.unary("Exp", &b.sub(cx.x(0)?, &keep(cx, &axes, cx.y())));
    let gx = b.mul(&share, &g);
    cx.push(0, gx)
}

pub fn sum_square(cx: &mut Cx) -> Result<()> {
    let (_, g) = opened(cx)?;
    let gx = cx.b.mul(cx.x(0)?, &cx.b.scale(&g, 2.0));
    cx.push(0, gx)
}

/// The running sum in the other direction.
pub fn cum_sum(cx: &mut Cx) -> Result<()> {
    let g = cx.g()?;
    let attrs = [("exclusive", Attr::Int(cx.node.int("exclusive", 0))), ("reverse", Attr::Int(1 - cx.node.int("reverse", 0)))];
    let gx = cx.b.emit("CumSum", &[&g, cx.x(1)?], &attrs, cx.dtype(0)?, cx.shape(0)?);
    cx.push(0, gx)
}

/// The product of the others, each computed with its own element set to 1: exact where an element is 0.
pub fn product(cx: &mut Cx) -> Result<()> {
    const MOST: usize = 64;
    let (axes, g) = opened(cx)?;
    let b = cx.b;
    let (x, shape, dtype) = (cx.x(0)?, cx.shape(0)?, cx.dtype(0)?);
    let [axis] = axes[..] else { return Err(cx.unsupported("several axes")) };
    let n = shape[axis].fixed().filter(|n| *n <= MOST).ok_or_else(|| cx.unsupported("a long or unknown axis"))?;
    let mut dims = vec![1; shape.len() + 1 - axis];
    (dims[0], dims[1]) = (n, n);
    let own: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect();
    let (own, others) = (b.floats(&dims, &own, dtype), b.floats(&dims, &own.iter().map(|v| 1.0 - v).collect::<Vec<_>>(), dtype));
    let each = b.add(&b.mul(&b.unsqueeze(x, &[axis]), &others), &own);
    let gx = b.mul(&b.reduce("ReduceProd", &each, &[axis + 1], false), &g);
    cx.push(0, gx)
}
