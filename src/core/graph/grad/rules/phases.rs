//! Strided convolutions by phases: the positions of the input that share a remainder modulo the stride read the same taps, so the
//! gradient there is one small convolution at stride 1. The phases are woven together with the channels last, where every copy is
//! a long run.

use super::{Cx, conv, window::Axis};
use crate::core::{
    error::Result,
    onnx::{Attr, Dim, TensorData},
};

/// Fewer channels than this (stems) waste most of a blocked convolution: a ConvTranspose is faster.
const BLOCK: usize = 16;

/// Which taps reach one phase of one axis.
struct Phase {
    /// Kernel positions in the flipped kernel, ascending.
    taps: Vec<usize>,
    /// Padding of the gradient.
    begin: usize,
    end: usize,
}

/// Gradient of the data of a strided convolution with constant weights; `None` where ConvTranspose does better.
pub fn data(cx: &Cx, g: &str, w: &str, axes: &[Axis], group: usize, x_shape: &[Dim]) -> Result<Option<String>> {
    let b = cx.b;
    let Some(constant) = b.constant(w).filter(|t| t.dtype.size().is_some()) else { return Ok(None) };
    let [rows, columns] = axes else { return Ok(None) };
    let Some(channels) = x_shape[1].fixed().filter(|&c| c >= BLOCK) else { return Ok(None) };
    if axes.iter().any(|a| a.dilation != 1 || a.stride > 4) || axes.iter().all(|a| a.stride == 1) {
        return Ok(None);
    }
    let (Some(row_phases), Some(column_phases)) = (phases(rows), phases(columns)) else { return Ok(None) };
    let all = row_phases.iter().chain(&column_phases).all(|p| !p.taps.is_empty());
    let point = axes.iter().all(|a| a.kernel == 1 && a.begin == 0);
    // Windows that do not overlap leave ConvTranspose no sums to form.
    if !point && (!all || (group == 1 && axes.iter().all(|a| a.kernel <= a.stride))) {
        return Ok(None);
    }
    let flipped = if group == 1 { conv::flip_transpose(&constant) } else { conv::flip_depthwise(&constant, group) };
    let (high, wide) = (rows.input.div_ceil(rows.stride), columns.input.div_ceil(columns.stride));
    let batch = b.shape(g)?[0];
    let mut parts = Vec::new();
    for (i, r) in row_phases.iter().enumerate() {
        for (j, c) in column_phases.iter().enumerate().filter(|(_, c)| !r.taps.is_empty() && !c.taps.is_empty()) {
            let kernel = b.derived(&format!("phase {i} {j} {axes:?} {group} {w}"), || pick(&flipped, &r.taps, &c.taps));
            let attrs = [
                ("kernel_shape", Attr::Ints(vec![r.taps.len() as i64, c.taps.len() as i64])),
                ("pads", Attr::Ints([r.begin, c.begin, r.end, c.end].map(|v| v as i64).to_vec())),
                ("group", Attr::Int(group as i64)),
            ];
            let shape = vec![batch, x_shape[1], Dim::Fixed(high), Dim::Fixed(wide)];
            let part = b.emit("Conv", &[g, &kernel], &attrs, b.dtype(g), shape);
            parts.push(b.transpose(&part, &[0, 2, 3, 1]));
        }
    }
    Ok(Some(weave(cx, &parts, [high, wide], channels, [rows, columns])))
}

/// The phases of an axis; `None` when one would need the gradient cropped.
fn phases(a: &Axis) -> Option<Vec<Phase>> {
    let count = a.input.div_ceil(a.stride) as i64;
    let (stride, begin) = (a.stride as i64, a.begin as i64);
    let phase = |r: i64| {
        // Tap t of window o reads input o * stride + t - begin.
        let reach: Vec<(i64, i64)> =
            (0..a.kernel as i64).rev().filter(|t| (r + begin - t) % stride == 0).map(|t| ((r + begin - t) / stride, t)).collect();
        let (Some(&(low, _)), Some(&(high, _))) = (reach.first(), reach.last()) else {
            return Some(Phase { taps: Vec::new(), begin: 0, end: 0 });
        };
        let (before, after) = (-low, count - 1 + high - (a.output as i64 - 1));
        let taps = reach.iter().map(|&(_, t)| a.kernel - 1 - t as usize).collect();
        (before >= 0 && after >= 0).then_some(Phase { taps, begin: before as usize, end: after as usize })
    };
    (0..stride).map(phase).collect()
}

/// Part of every kernel of `[A, B, k, k]`.
fn pick(w: &TensorData, rows: &[usize], columns: &[usize]) -> TensorData {
    let size = w.dtype.size().unwrap_or(4);
    let (high, wide) = (w.dims[2], w.dims[3]);
    let mut bytes = Vec::with_capacity(w.bytes.len() / (high * wide) * rows.len() * columns.len());
    for kernel in w.bytes.chunks_exact(high * wide * size) {
        for r in rows {
            for c in columns {
                let at = (r * wide + c) * size;
                bytes.extend_from_slice(&kernel[at..at + size]);
            }
        }
    }
    TensorData { dtype: w.dtype, dims: vec![w.dims[0], w.dims[1], rows.len(), columns.len()], bytes: bytes.into() }
}

/// Phases `[N, h, w, C]`, row by row, to `[N, C, H, W]`; a single one stands for the first, the others being 0.
fn weave(cx: &Cx, parts: &[String], [high, wide]: [usize; 2], channels: usize, [rows, columns]: [&Axis; 2]) -> String {
    let b = cx.b;
    let (s, t) = (rows.stride, columns.stride);
    let batch = b.ty(&parts[0]).shape.map_or(Dim::Unknown, |d| d[0]);
    let joined = match parts {
        [one] if s * t > 1 => b.pad_axis(one, 3, 0, (s * t - 1) * channels, None),
        _ => b.concat(parts, 3),
    };
    let opened = b.reshape(&joined, &[batch, Dim::Fixed(high), Dim::Fixed(wide), Dim::Fixed(s), Dim::Fixed(t * channels)]);
    let rows_first = b.transpose(&opened, &[0, 1, 3, 2, 4]);
    let whole = b.reshape(&rows_first, &[batch, Dim::Fixed(high * s), Dim::Fixed(wide * t), Dim::Fixed(channels)]);
    let cut = b.slice(&b.slice(&whole, 1, 0, rows.input), 2, 0, columns.input);
    b.transpose(&cut, &[0, 3, 1, 2])
}
