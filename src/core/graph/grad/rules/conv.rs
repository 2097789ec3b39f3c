//! Convolutions. Stride 1: a Conv with flipped, transposed weights; strided: one such Conv per phase ([`phases`]), and
//! ConvTranspose with explicit pads where that is faster or the weights are not constant.

use prost::bytes::Bytes;

use super::{
    Cx, phases,
    window::{self, Axis, list, pads},
};
use crate::core::{
    error::Result,
    onnx::{Attr, Dim, TensorData},
};

pub fn conv(cx: &mut Cx) -> Result<()> {
    let kernel = window::kernel(cx, Some(1))?;
    let axes = window::axes(cx, &kernel)?;
    let group = cx.node.int("group", 1).max(1) as usize;
    let g = cx.g()?;
    if cx.needs(0) && !past_concat(cx, &g, &axes, group)? {
        let gx = data(cx, &g, cx.x(1)?, &axes, group, cx.shape(0)?)?;
        cx.push(0, gx)?;
    }
    if cx.needs(1) {
        let gw = weight(cx, &g, &axes, group)?;
        cx.push(1, gw)?;
    }
    bias(cx, &g)
}

/// A convolution that alone reads a Concat of channels: one convolution per operand instead of one that would be cut up. True when
/// the gradients were handed over.
fn past_concat(cx: &mut Cx, g: &str, axes: &[Axis], group: usize) -> Result<bool> {
    let (b, x) = (cx.b, cx.x(0)?);
    let Some(concat) = cx.producer(x).filter(|n| n.op == "Concat" && n.domain.is_empty() && n.int("axis", 0) == 1) else {
        return Ok(false);
    };
    let constant = b.constant(cx.x(1)?).filter(|t| t.dtype.size().is_some());
    let (true, true, Some(constant)) = (group == 1, cx.private(x), constant) else { return Ok(false) };
    let sizes: Option<Vec<usize>> = concat.inputs.iter().map(|i| b.shape(i).ok().and_then(|s| s.get(1).and_then(|d| d.fixed()))).collect();
    // Narrow operands waste part of a blocked convolution, many of them repeat the reading of the gradient.
    let Some(sizes) = sizes.filter(|s| s.len() <= 4 && s.iter().all(|c| c % 16 == 0) && s.iter().sum::<usize>() == constant.dims[1]) else {
        return Ok(false);
    };
    let mut start = 0;
    for (operand, &size) in concat.inputs.iter().zip(&sizes) {
        if cx.depends_on(operand) {
            let part = b.derived(&format!("channels {start} {size} {}", cx.x(1)?), || channels(&constant, start, size));
            let gx = data(cx, g, &part, axes, 1, b.shape(operand)?)?;
            cx.push_to(operand, gx);
        }
        start += size;
    }
    cx.skip(0);
    Ok(true)
}

/// `w[:, start..start + size]`.
fn channels(w: &TensorData, start: usize, size: usize) -> TensorData {
    let step = w.bytes.len() / (w.dims[0] * w.dims[1]);
    let bytes: Vec<u8> =
        w.bytes.chunks_exact(step * w.dims[1]).flat_map(|row| &row[start * step..(start + size) * step]).copied().collect();
    let mut dims = w.dims.clone();
    dims[1] = size;
    TensorData { dtype: w.dtype, dims, bytes: Bytes::from(bytes) }
}

fn bias(cx: &mut Cx, g: &str) -> Result<()> {
    if cx.needs(2) {
        let rank = cx.b.shape(g)?.len();
        let over: Vec<usize> = (0..rank).filter(|&a| a != 1).collect();
        let gb = cx.b.reduce_sum(g, &over, false);
        cx.push(2, gb)?;
    }
    Ok(())
}

/// Gradient of the data of shape `x_shape`, for weights `w`.
fn data(cx: &Cx, g: &str, w: &str, axes: &[Axis], group: usize, x_shape: Vec<Dim>) -> Result<String> {
    let b = cx.b;
    let channels = x_shape[1];
    let depthwise = Dim::Fixed(group) == channels;
    let unit = axes.iter().all(|a| a.stride == 1 && a.begin < a.extent() && a.end < a.extent());
    let point = axes.iter().all(|a| a.kernel == 1 && a.begin == 0 && a.end == 0);
    if unit
        && (group == 1 || depthwise)
        && let Some(constant) = b.constant(w).filter(|t| t.dtype.size().is_some())
    {
        // Depthwise with m outputs per channel: the m kernels of a channel become the m inputs of its group.
        let flipped =
            b.derived(
                &format!("flip {group} {w}"),
                || if group == 1 { flip_transpose(&constant) } else { flip_depthwise(&constant, group) },
            );
        let mut shape = x_shape.clone();
        shape[0] = b.shape(g)?[0];
        let attrs = [
            ("kernel_shape", list(axes, |a| a.kernel)),
            ("dilations", list(axes, |a| a.dilation)),
            ("strides", list(axes, |_| 1)),
            ("pads", pads(axes, |a| a.extent() - 1 - a.begin, |a| a.extent() - 1 - a.end)),
            ("group", Attr::Int(group as i64)),
        ];
        return Ok(b.emit("Conv", &[g, &flipped], &attrs, b.dtype(g), shape));
    }
    if (group == 1 || depthwise)
        && let Some(gx) = phases::data(cx, g, w, axes, group, &x_shape)?
    {
        return Ok(gx);
    }
    if point && axes.iter().all(|a| a.stride == 1) && group == 1 {
        // Weights computed in the graph: a 1x1 kernel needs no flip.
        let order: Vec<usize> = [1, 0].into_iter().chain(2..axes.len() + 2).collect();
        let turned = b.transpose(w, &order);
        let attrs = [("kernel_shape", list(axes, |_| 1))];
        return Ok(b.emit("Conv", &[g, &turned], &attrs, b.dtype(g), x_shape));
    }
    Ok(window::scatter(cx, g, w, axes, group, channels))
}

/// Gradient of weights that depend on the image: correlation of input and gradient with batch and channels swapped.
fn weight(cx: &Cx, g: &str, axes: &[Axis], group: usize) -> Result<String> {
    let b = cx.b;
    if group != 1 {
        return Err(cx.unsupported("grouped weights that depend on the image"));
    }
    let order: Vec<usize> = [1, 0].into_iter().chain(2..axes.len() + 2).collect();
    let (xt, gt) = (b.transpose(cx.x(0)?, &order), b.transpose(g, &order));
    let attrs =
        [("strides", list(axes, |a| a.dilation)), ("dilations", list(axes, |a| a.stride)), ("pads", pads(axes, |a| a.begin, |a| a.end))];
    let mut shape = cx.shape(1)?;
    shape.swap(0, 1);
    let exact = shape.clone();
    for (i, a) in axes.iter().enumerate() {
        // An unread tail of the input gives surplus kernel positions.
        let span = (a.output - 1) * a.stride + 1;
        shape[i + 2] = Dim::Fixed((a.input + a.begin + a.end - span) / a.dilation + 1);
    }
    let mut gw = b.emit("Conv", &[&xt, &gt], &attrs, b.dtype(g), shape);
    for (i, d) in exact.iter().enumerate().skip(2) {
        gw = b.slice(&gw, i, 0, d.fixed().unwrap_or(1));
    }
    Ok(b.transpose(&gw, &order))
}

/// `[O, I, k...]` to `[I, O, k...]` with reversed kernels.
pub(super) fn flip_transpose(w: &TensorData) -> TensorData {
    let (o, i) = (w.dims[0], w.dims[1]);
    rearrange(w, [i, o], |a, c| c * i + a)
}

/// `[C * m, 1, k...]` to `[C, m, k...]` with reversed kernels.
pub(super) fn flip_depthwise(w: &TensorData, group: usize) -> TensorData {
    let m = w.dims[0] / group;
    rearrange(w, [group, m], |c, j| c * m + j)
}

/// Copies kernels, reversed, to a new order: kernel (a, b) of the result is kernel `from(a, b)` of the source.
fn rearrange(w: &TensorData, lead: [usize; 2], from: impl Fn(usize, usize) -> usize) -> TensorData {
    let size = w.dtype.size().unwrap_or(4);
    let k: usize = w.dims[2..].iter().product();
    let mut bytes = Vec::with_capacity(w.bytes.len());
    for a in 0..lead[0] {
        for c in 0..lead[1] {
            let at = from(a, c) * k * size;
            for element in w.bytes[at..at + k * size].chunks_exact(size).rev() {
                bytes.extend_from_slice(element);
            }
        }
    }
    let dims = lead.into_iter().chain(w.dims[2..].iter().copied()).collect();
    TensorData { dtype: w.dtype, dims, bytes: Bytes::from(bytes) }
}

/// The gradient of a transposed convolution is the convolution with the same weights.
pub fn conv_transpose(cx: &mut Cx) -> Result<()> {
    let kernel = window::kernel(cx, Some(1))?;
    let axes = transposed_axes(cx, &kernel)?;
    let b = cx.b;
    let g = cx.g()?;
    let group = cx.node.int("group", 1).max(1);
    if cx.needs(1) {
        return Err(cx.unsupported("weights that depend on the image"));
    }
    if cx.needs(0) {
        let attrs = [
            ("kernel_shape", list(&axes, |a| a.kernel)),
            ("dilations", list(&axes, |a| a.dilation)),
            ("strides", list(&axes, |a| a.stride)),
            ("pads", pads(&axes, |a| a.begin, |a| a.end)),
            ("group", Attr::Int(group)),
        ];
        let gx = b.emit("Conv", &[&g, cx.x(1)?], &attrs, b.dtype(&g), cx.shape(0)?);
        cx.push(0, gx)?;
    }
    bias(cx, &g)
}

/// Pads of a transposed convolution, from its output size when they are implied.
fn transposed_axes(cx: &Cx, kernel: &[usize]) -> Result<Vec<Axis>> {
    let (x, y) = (cx.shape(0)?, cx.b.shape(cx.y())?);
    let n = kernel.len();
    let attr = |name: &str, i: usize, default: i64| cx.node.ints(name).and_then(|v| v.get(i)).copied().unwrap_or(default);
    let size = |s: &[Dim], i: usize| s[i + 2].fixed().ok_or_else(|| cx.unsupported("an unknown spatial size"));
    let mode = cx.node.text("auto_pad", "NOTSET");
    let implied = mode.starts_with("SAME") || cx.node.ints("output_shape").is_some();
    let mut result = Vec::with_capacity(n);
    for (i, &k) in kernel.iter().enumerate() {
        let (small, large) = (size(&x, i)?, size(&y, i)?);
        let mut a = Axis {
            input: large,
            output: small,
            kernel: k,
            stride: attr("strides", i, 1).max(1) as usize,
            dilation: attr("dilations", i, 1).max(1) as usize,
            begin: 0,
            end: 0,
        };
        if implied {
            let total = (a.reach() + attr("output_padding", i, 0).max(0) as usize).saturating_sub(large);
            let half = total / 2;
            a.begin = if mode == "SAME_UPPER" { half } else { total - half };
            a.end = total - a.begin;
        } else if mode != "VALID" {
            let (begin, end) = (attr("pads", i, 0), attr("pads", i + n, 0));
            if begin < 0 || end < 0 {
                return Err(cx.unsupported("negative pads"));
            }
            (a.begin, a.end) = (begin as usize, end as usize);
        }
        result.push(a);
    }
    Ok(result)
}
