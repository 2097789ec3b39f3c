//! Softmax and its logarithm, from their outputs.

use super::Cx;
use crate::core::{error::Result, graph::grad::dims};

/// The axis; older operator sets flatten everything after it, which is the same only for the last one.
fn axis(cx: &Cx) -> Result<usize> {
    let rank = cx.shape(0)?.len();
    let old = cx.b.opset() < 13;
    let axis = dims::axis(cx.node.int("axis", if old { 1 } else { -1 }), rank);
    if old && axis + 1 != rank {
        return Err(cx.unsupported("flattening axes of an old operator set"));
    }
    Ok(axis)
}

pub fn softmax(cx: &mut Cx) -> Result<()> {
    let (b, y, at) = (cx.b, cx.y(), axis(cx)?);
    let g = cx.g()?;
    let total = b.reduce_sum(&b.mul(&g, y), &[at], true);
    let gx = b.mul(y, &b.sub(&g, &total));
    cx.push(0, gx)
}

pub fn log_softmax(cx: &mut Cx) -> Result<()> {
    let (b, y, at) = (cx.b, cx.y(), axis(cx)?);
    let g = cx.g()?;
    let total = b.reduce_sum(&g, &[at], true);
    let gx = b.sub(&g, &b.mul(&b.unary("Exp", y), &total));
    cx.push(0, gx)
}
