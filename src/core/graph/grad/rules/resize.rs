//! Resize: a linear map per axis, so its gradient is a product with the transposed interpolation matrix.

use super::Cx;
use crate::core::{
    error::Result,
    onnx::{Attr, Dim},
};

pub fn resize(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let (shape, out) = (cx.shape(0)?, b.shape(cx.y())?);
    let dtype = cx.dtype(0)?;
    let scales = scales(cx, &shape, &out)?;
    let mut g = cx.g()?;
    let mut matrices = Vec::new();
    for axis in 0..shape.len() {
        if shape[axis] == out[axis] && scales[axis] == 1.0 {
            continue;
        }
        let (Some(from), Some(to)) = (shape[axis].fixed(), out[axis].fixed()) else { return Err(cx.unsupported("an unknown size")) };
        matrices.push((axis, from, to, matrix(cx, from, to, scales[axis])?));
    }
    if let Some(gx) = repeated(cx, &g, &matrices)? {
        return cx.push(0, gx);
    }
    let rank = shape.len();
    for (axis, from, to, m) in matrices.iter().rev() {
        let (axis, from, to) = (*axis, *from, *to);
        if axis + 1 == rank {
            g = b.matmul(&g, &b.floats(&[to, from], m, dtype));
            continue;
        }
        let turned: Vec<f64> = (0..from).flat_map(|c| (0..to).map(move |r| m[r * from + c])).collect();
        let left = b.floats(&[from, to], &turned, dtype);
        if axis + 2 == rank {
            g = b.matmul(&left, &g);
        } else {
            let mut order: Vec<usize> = (0..rank).collect();
            order.swap(axis, rank - 2);
            g = b.transpose(&b.matmul(&left, &b.transpose(&g, &order)), &order);
        }
    }
    cx.push(0, g)
}

/// Enlarging by whole factors without interpolation: the sum over each block.
fn repeated(cx: &Cx, g: &str, matrices: &[(usize, usize, usize, Vec<f64>)]) -> Result<Option<String>> {
    let shape = cx.shape(0)?;
    let mut kernel = vec![1; shape.len().saturating_sub(2)];
    for (axis, from, to, m) in matrices {
        let factor = to / from;
        if *axis < 2 || factor * from != *to || (0..*to).any(|r| m[r * from + r / factor] != 1.0) {
            return Ok(None);
        }
        kernel[axis - 2] = factor as i64;
    }
    if matrices.is_empty() || kernel.is_empty() {
        return Ok(None);
    }
    let volume: i64 = kernel.iter().product();
    let attrs = [("kernel_shape", Attr::Ints(kernel.clone())), ("strides", Attr::Ints(kernel))];
    let pooled = cx.b.emit("AveragePool", &[g], &attrs, cx.dtype(0)?, shape);
    Ok(Some(cx.b.scale(&pooled, volume as f64)))
}

/// Scale of each axis: as written, else from the sizes.
fn scales(cx: &Cx, shape: &[Dim], out: &[Dim]) -> Result<Vec<f32>> {
    let rank = shape.len();
    let upsample = cx.node.op == "Upsample";
    if cx.node.text("keep_aspect_ratio_policy", "stretch") != "stretch" && cx.node.input(3).is_some() {
        return Err(cx.unsupported("keep_aspect_ratio_policy"));
    }
    let floats = |i: usize| {
        cx.constant(i).and_then(|t| t.to_f64()).filter(|v| !v.is_empty()).map(|v| v.iter().map(|&f| f as f32).collect::<Vec<_>>())
    };
    let written = match cx.node.attrs.get("scales") {
        Some(Attr::Floats(v)) => Some(v.clone()),
        _ if upsample || cx.node.inputs.len() == 2 => floats(1),
        _ => floats(2),
    };
    let axes: Vec<usize> = match cx.node.ints("axes") {
        Some(v) => v.iter().map(|&a| crate::core::graph::grad::dims::axis(a, rank)).collect(),
        None => (0..rank).collect(),
    };
    let mut result: Vec<f32> = shape
        .iter()
        .zip(out)
        .map(|(a, b)| if let (Some(a), Some(b)) = (a.fixed(), b.fixed()) { b as f32 / a as f32 } else { 1.0 })
        .collect();
    if let Some(written) = written.filter(|w| w.len() == axes.len()) {
        for (&axis, s) in axes.iter().zip(written) {
            result[axis] = s;
        }
    }
    Ok(result)
}

/// Interpolation weights `[to, from]` along one axis. Coordinates in f32, as engines compute them.
fn matrix(cx: &Cx, from: usize, to: usize, scale: f32) -> Result<Vec<f64>> {
    let upsample = cx.node.op == "Upsample" || cx.b.opset() < 11;
    let mode = cx.node.text("mode", "nearest");
    let transform = cx.node.text("coordinate_transformation_mode", if upsample { "asymmetric" } else { "half_pixel" });
    let rounding = cx.node.text("nearest_mode", if upsample { "floor" } else { "round_prefer_floor" });
    if cx.node.int("antialias", 0) != 0 && scale < 1.0 && mode != "nearest" {
        return Err(cx.unsupported("antialias"));
    }
    let mut m = vec![0.0; to * from];
    let last = from as i64 - 1;
    for r in 0..to {
        let x = coordinate(cx, &transform, r, from, to, scale)?;
        let mut add = |i: i64, w: f64| m[r * from + i.clamp(0, last) as usize] += w;
        match mode.as_str() {
            "nearest" => {
                let i = match rounding.as_str() {
                    "floor" => x.floor(),
                    "ceil" => x.ceil(),
                    "round_prefer_ceil" => (x + 0.5).floor(),
                    _ => (x - 0.5).ceil(),
                };
                add(i as i64, 1.0);
            }
            "linear" | "bilinear" => {
                let x = x.clamp(0.0, last as f32);
                let f = f64::from(x - x.floor());
                add(x.floor() as i64, 1.0 - f);
                add(x.floor() as i64 + 1, f);
            }
            _ => {
                let a = f64::from(cx.node.float("cubic_coeff_a", -0.75));
                let f = f64::from(x - x.floor());
                let exclude = cx.node.int("exclude_outside", 0) != 0;
                let taps: Vec<(i64, f64)> = (-1..=2)
                    .map(|t| (x.floor() as i64 + t, cubic((f - t as f64).abs(), a)))
                    .filter(|(i, _)| !exclude || (0..=last).contains(i))
                    .collect();
                let total: f64 = if exclude { taps.iter().map(|t| t.1).sum() } else { 1.0 };
                taps.iter().for_each(|&(i, w)| add(i, w / total));
            }
        }
    }
    Ok(m)
}

/// Keys' cubic convolution kernel.
fn cubic(d: f64, a: f64) -> f64 {
    if d <= 1.0 { ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0 } else { ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a }
}

/// Where output position `r` reads the input.
fn coordinate(cx: &Cx, transform: &str, r: usize, from: usize, to: usize, scale: f32) -> Result<f32> {
    let i = r as f32;
    Ok(match transform {
        "half_pixel" => (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => {
            if to > 1 {
                (i + 0.5) / scale - 0.5
            } else {
                0.0
            }
        }
        "align_corners" => {
            if to > 1 {
                i * (from - 1) as f32 / (to - 1) as f32
            } else {
                0.0
            }
        }
        "asymmetric" => i / scale,
        "tf_half_pixel_for_nn" => (i + 0.5) / scale,
        "half_pixel_symmetric" => {
            let adjustment = to as f32 / (scale * from as f32);
            from as f32 / 2.0 * (1.0 - adjustment) + (i + 0.5) / scale - 0.5
        }
        _ => return Err(cx.unsupported("this coordinate transformation")),
    })
}
