//! Geometry of sliding windows: what Conv, ConvTranspose and the pooling operators share.

use super::Cx;
use crate::core::{
    error::Result,
    onnx::{Attr, Dim},
};

/// One spatial axis of a window operator.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// Input size.
    pub input: usize,
    /// Output size.
    pub output: usize,
    /// Kernel size.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Dilation.
    pub dilation: usize,
    /// Padding at the start.
    pub begin: usize,
    /// Padding at the end, as written (with `ceil_mode` the last window may reach beyond it).
    pub end: usize,
}

impl Axis {
    /// Size of the dilated kernel.
    pub fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// How far the windows reach, from the first padded element.
    pub fn reach(&self) -> usize {
        (self.output - 1) * self.stride + self.extent()
    }
}

/// The spatial axes of a node with input `[N, C, ...]` and output `[N, C', ...]`.
pub fn axes(cx: &Cx, kernel: &[usize]) -> Result<Vec<Axis>> {
    let (x, y) = (cx.shape(0)?, cx.b.shape(cx.y())?);
    let n = kernel.len();
    let size = |s: &[Dim], i: usize| s.get(i + 2).and_then(|d| d.fixed()).ok_or_else(|| cx.unsupported("an unknown spatial size"));
    let attr = |name: &str, i: usize, default: i64| cx.node.ints(name).and_then(|v| v.get(i)).copied().unwrap_or(default);
    let mut result = Vec::with_capacity(n);
    for (i, &k) in kernel.iter().enumerate() {
        let mut a = Axis {
            input: size(&x, i)?,
            output: size(&y, i)?,
            kernel: k,
            stride: attr("strides", i, 1).max(1) as usize,
            dilation: attr("dilations", i, 1).max(1) as usize,
            begin: 0,
            end: 0,
        };
        match cx.node.text("auto_pad", "NOTSET").as_str() {
            "VALID" => {}
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                let total = a.reach().saturating_sub(a.input);
                let small = total / 2;
                (a.begin, a.end) = if mode == "SAME_UPPER" { (small, total - small) } else { (total - small, small) };
            }
            _ => {
                let (begin, end) = (attr("pads", i, 0), attr("pads", i + n, 0));
                if begin < 0 || end < 0 {
                    return Err(cx.unsupported("negative pads"));
                }
                (a.begin, a.end) = (begin as usize, end as usize);
            }
        }
        result.push(a);
    }
    Ok(result)
}

/// Kernel sizes from the attribute, else from the weight `[_, _, k...]`.
pub fn kernel(cx: &Cx, weight: Option<usize>) -> Result<Vec<usize>> {
    if let Some(k) = cx.node.ints("kernel_shape") {
        return Ok(k.iter().map(|&v| v.max(1) as usize).collect());
    }
    let Some(weight) = weight else { return Err(cx.unsupported("no kernel_shape")) };
    cx.shape(weight)?.iter().skip(2).map(|d| d.fixed().ok_or_else(|| cx.unsupported("an unknown kernel size"))).collect()
}

/// A list attribute over the axes.
pub fn list(axes: &[Axis], f: impl Fn(&Axis) -> usize) -> Attr {
    Attr::Ints(axes.iter().map(|a| f(a) as i64).collect())
}

/// A pads attribute: starts, then ends.
pub fn pads(axes: &[Axis], begin: impl Fn(&Axis) -> usize, end: impl Fn(&Axis) -> usize) -> Attr {
    Attr::Ints(axes.iter().map(|a| begin(a) as i64).chain(axes.iter().map(|a| end(a) as i64)).collect())
}

/// ConvTranspose from output gradients to the input: explicit pads and output_padding, never output_shape
/// (ONNX Runtime then ignores the pads). `weight` is `[C_out, C_in / group, k...]`.
pub fn scatter(cx: &Cx, g: &str, weight: &str, axes: &[Axis], group: usize, channels: Dim) -> String {
    let b = cx.b;
    // Windows that end before the padded input does leave a tail without gradient; those that reach further are cropped.
    let tail = |a: &Axis| (a.begin + a.input).saturating_sub(a.reach());
    let crop = |a: &Axis| a.reach().saturating_sub(a.begin + a.input);
    let padded = |a: &Axis| if tail(a) < a.stride { tail(a) } else { 0 };
    let mut shape = b.ty(g).shape.unwrap_or_default();
    shape[1] = channels;
    for (i, a) in axes.iter().enumerate() {
        shape[i + 2] = Dim::Fixed(a.reach() + padded(a) - a.begin - crop(a));
    }
    let mut attrs = vec![
        ("kernel_shape", list(axes, |a| a.kernel)),
        ("strides", list(axes, |a| a.stride)),
        ("dilations", list(axes, |a| a.dilation)),
        ("pads", pads(axes, |a| a.begin, crop)),
        ("group", Attr::Int(group as i64)),
    ];
    if axes.iter().any(|a| padded(a) > 0) {
        attrs.push(("output_padding", list(axes, padded)));
    }
    let gx = b.emit("ConvTranspose", &[g, weight], &attrs, b.dtype(g), shape);
    let rest: Vec<usize> = axes.iter().map(|a| tail(a) - padded(a)).collect();
    let after: Vec<usize> = [0, 0].into_iter().chain(rest).collect();
    b.pad(&gx, &vec![0; after.len()], &after, None)
}
