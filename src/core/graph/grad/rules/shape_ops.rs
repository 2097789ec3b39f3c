//! Operators that move elements without changing them.

use super::{Cx, index::gather_transpose};
use crate::core::{
    error::Result,
    graph::grad::dims,
    onnx::{Attr, Dim},
};

/// Reshape, Flatten, Squeeze, Unsqueeze.
pub fn reshape(cx: &mut Cx) -> Result<()> {
    let g = cx.g()?;
    let gx = cx.b.reshape_like(&g, cx.x(0)?);
    cx.push(0, gx)
}

pub fn transpose(cx: &mut Cx) -> Result<()> {
    let g = cx.lazy()?;
    let rank = cx.shape(0)?.len();
    let perm: Vec<usize> =
        cx.node.ints("perm").map_or_else(|| (0..rank).rev().collect(), |p| p.iter().map(|&v| dims::axis(v, rank)).collect());
    let mut inverse = vec![0; rank];
    for (i, &p) in perm.iter().enumerate() {
        inverse[p] = i;
    }
    let g = if cx.b.shape(&g)?.len() == rank { g } else { cx.b.expand_like(&g, cx.y())? };
    let gx = cx.b.transpose(&g, &inverse);
    cx.push(0, gx)
}

/// The operands' parts: one Split when all are wanted, else a Slice each.
pub fn concat(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let g = cx.g()?;
    let rank = b.shape(&g)?.len();
    let axis = dims::axis(cx.node.int("axis", 0), rank);
    let n = cx.node.inputs.len();
    let sizes =
        (0..n).map(|i| cx.shape(i)?[axis].fixed().ok_or_else(|| cx.unsupported("operands of unknown size"))).collect::<Result<Vec<_>>>()?;
    if (0..n).all(|i| cx.needs(i)) {
        for (i, part) in b.split(&g, axis, &sizes).into_iter().enumerate() {
            cx.push(i, part)?;
        }
        return Ok(());
    }
    let mut start = 0;
    for (i, size) in sizes.iter().enumerate() {
        if cx.needs(i) {
            let part = b.slice(&g, axis, start, start + size);
            cx.push(i, part)?;
        }
        start += size;
    }
    Ok(())
}

pub fn expand(cx: &mut Cx) -> Result<()> {
    let g = cx.g()?;
    cx.push_summed(0, &g)
}

pub fn tile(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let shape = cx.shape(0)?;
    let repeats = cx.ints(1, "repeats")?.ok_or_else(|| cx.unsupported("computed repeats"))?;
    let g = cx.g()?;
    let (mut opened, mut axes) = (Vec::new(), Vec::new());
    for (d, &r) in shape.iter().zip(&repeats) {
        if r > 1 {
            if d.fixed().is_none() {
                return Err(cx.unsupported("a repeated axis of unknown size"));
            }
            axes.push(opened.len());
            opened.push(Dim::Fixed(r as usize));
        }
        opened.push(*d);
    }
    let gx = b.reduce_sum(&b.reshape(&g, &opened), &axes, false);
    cx.push(0, gx)
}

pub fn depth_to_space(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let (x, shape) = (cx.x(0)?, cx.shape(0)?);
    let g = cx.g()?;
    let block = cx.node.int("blocksize", 1).max(1) as usize;
    let gx = if cx.node.text("mode", "DCR") == "DCR" {
        b.emit("SpaceToDepth", &[&g], &[("blocksize", Attr::Int(block as i64))], b.dtype(&g), shape)
    } else {
        let fixed = dims::all_fixed(&shape[1..]).ok_or_else(|| cx.unsupported("an unknown size"))?;
        let cut = [fixed[0] / (block * block), fixed[1], block, fixed[2], block].map(Dim::Fixed);
        let opened: Vec<Dim> = std::iter::once(shape[0]).chain(cut).collect();
        b.reshape_like(&b.transpose(&b.reshape(&g, &opened), &[0, 1, 3, 5, 2, 4]), x)
    };
    cx.push(0, gx)
}

pub fn space_to_depth(cx: &mut Cx) -> Result<()> {
    let g = cx.g()?;
    let attrs = [("blocksize", Attr::Int(cx.node.int("blocksize", 1))), ("mode", "DCR".into())];
    let gx = cx.b.emit("DepthToSpace", &[&g], &attrs, cx.b.dtype(&g), cx.shape(0)?);
    cx.push(0, gx)
}

pub fn trilu(cx: &mut Cx) -> Result<()> {
    let g = cx.g()?;
    let mut inputs = vec![g.as_str()];
    inputs.extend(cx.node.input(1));
    let gx = cx.b.emit("Trilu", &inputs, &[("upper", Attr::Int(cx.node.int("upper", 1)))], cx.dtype(0)?, cx.shape(0)?);
    cx.push(0, gx)
}

/// Constant padding is cut off; reflected, repeated and wrapped borders add up where they came from.
pub fn pad(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let shape = cx.shape(0)?;
    let amounts = match cx.node.ints("paddings") {
        Some(v) => v.to_vec(),
        None => cx.ints(1, "pads")?.ok_or_else(|| cx.unsupported("no amounts"))?,
    };
    let axes: Vec<usize> = match cx.ints(3, "axes")? {
        Some(v) => v.iter().map(|&a| dims::axis(a, shape.len())).collect(),
        None => (0..shape.len()).collect(),
    };
    let mode = cx.node.text("mode", "constant");
    let mut g = cx.g()?;
    for (k, &axis) in axes.iter().enumerate() {
        let (begin, end) = (amounts[k], amounts[k + axes.len()]);
        if begin == 0 && end == 0 {
            continue;
        }
        let size = shape[axis].fixed().ok_or_else(|| cx.unsupported("a padded axis of unknown size"))?;
        let n = size as i64;
        g = if mode == "constant" {
            let from = begin.max(0) as usize;
            let kept = (n + begin.min(0) + end.min(0)).max(0) as usize;
            let inner = b.slice(&g, axis, from, from + kept);
            b.pad_axis(&inner, axis, (-begin).max(0) as usize, (-end).max(0) as usize, None)
        } else {
            let place = |i: i64| match mode.as_str() {
                "edge" => i.clamp(0, n - 1),
                "wrap" => i.rem_euclid(n),
                _ if n == 1 => 0,
                _ => {
                    let m = i.rem_euclid(2 * n - 2);
                    if m < n { m } else { 2 * n - 2 - m }
                }
            };
            let indices: Vec<usize> = (-begin..n + end).map(|i| place(i) as usize).collect();
            gather_transpose(b, &g, axis, &indices, size)
        };
    }
    cx.push(0, g)?;
    if cx.needs(2) {
        return Err(cx.unsupported("an image-dependent fill value"));
    }
    Ok(())
}
