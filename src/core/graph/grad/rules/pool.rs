//! Pooling by means and norms, and global pooling.

use super::{
    Cx,
    window::{self, Axis, list, pads},
};
use crate::core::{
    error::Result,
    onnx::{Attr, Dim},
};

pub fn global_average(cx: &mut Cx) -> Result<()> {
    let shape = cx.shape(0)?;
    let rank = shape.len();
    let g = cx.lazy()?;
    if let Some(gx) = spread_mean(cx, &g, &shape)? {
        return cx.push(0, gx);
    }
    let gx = cx.b.divide_by_count(&g, cx.x(0)?, &(2..rank).collect::<Vec<_>>());
    cx.push(0, gx)
}

/// The gradient `[N, C, 1, 1]` of a mean over an image, as an AveragePool over windows that each hold that one element and padding.
/// It brings the gradient into ONNX Runtime's blocked layout; a broadcast product would keep the whole residual stream out of it.
pub fn spread_mean(cx: &Cx, g: &str, shape: &[Dim]) -> Result<Option<String>> {
    const BLOCK: usize = 16;
    const LARGEST: usize = 64;
    let b = cx.b;
    let [_, Dim::Fixed(channels), Dim::Fixed(h), Dim::Fixed(w)] = *shape else { return Ok(None) };
    if !cx.private(cx.x(0)?) {
        return super::channel::spread(cx, g, shape);
    }
    let pooled = b.shape(g)?;
    if channels < BLOCK
        || h.max(w) > LARGEST
        || h * w == 1
        || pooled.get(1..) != Some(&[Dim::Fixed(channels), Dim::Fixed(1), Dim::Fixed(1)])
    {
        return Ok(None);
    }
    let ints = |v: &[usize]| Attr::Ints(v.iter().map(|&d| d as i64).collect());
    let attrs = [
        ("kernel_shape", ints(&[h, w])),
        ("strides", ints(&[1, 1])),
        ("pads", ints(&[h - 1, w - 1, h - 1, w - 1])),
        ("count_include_pad", Attr::Int(1)),
    ];
    Ok(Some(b.emit("AveragePool", &[g], &attrs, b.dtype(g), shape.to_vec())))
}

/// The first maximum gets the gradient.
pub fn global_max(cx: &mut Cx) -> Result<()> {
    let (b, x) = (cx.b, cx.x(0)?);
    let shape = cx.shape(0)?;
    let sizes: Vec<usize> =
        shape[2..].iter().map(|d| d.fixed()).collect::<Option<_>>().ok_or_else(|| cx.unsupported("an unknown spatial size"))?;
    let n: usize = sizes.iter().product();
    let g = cx.g()?;
    let flat = b.reshape(x, &[shape[0], shape[1], Dim::Fixed(n)]);
    let pooled = [shape[0], shape[1], Dim::Fixed(1)];
    let attrs = [("axis", Attr::Int(2)), ("keepdims", Attr::Int(1))];
    let best = b.emit("ArgMax", &[&flat], &attrs, crate::core::onnx::DType::I64, pooled.to_vec());
    let positions = b.tensor(crate::core::onnx::TensorData::i64(&[1, 1, n], &(0..n as i64).collect::<Vec<_>>()));
    let first = b.cast(&b.compare("Equal", &best, &positions), cx.dtype(0)?);
    let gx = b.reshape_like(&b.mul(&b.reshape(&g, &pooled), &first), x);
    cx.push(0, gx)
}

pub fn average_pool(cx: &mut Cx) -> Result<()> {
    let axes = window::axes(cx, &window::kernel(cx, None)?)?;
    let mut g = cx.g()?;
    if let Some(map) = divisor_correction(&axes, cx.node.int("count_include_pad", 0) == 1) {
        let dims: Vec<usize> = [1, 1].into_iter().chain(axes.iter().map(|a| a.output)).collect();
        g = cx.b.mul(&g, &cx.b.floats(&dims, &map, cx.dtype(0)?));
    }
    let gx = over_windows(cx, &g, &axes)?;
    cx.push(0, gx)
}

/// `sign(x) |x|^(p - 1) y^(1 - p)` per window; 0 where a window is all zero, as for the norm of a zero vector.
pub fn lp_pool(cx: &mut Cx) -> Result<()> {
    let axes = window::axes(cx, &window::kernel(cx, None)?)?;
    let volume: usize = axes.iter().map(|a| a.kernel).product();
    let p = cx.node.int("p", 2);
    let share = cx.b.scale(&per_length(cx, p)?, volume as f64);
    let gx = lp_slope(cx, &over_windows(cx, &share, &axes)?, p)?;
    cx.push(0, gx)
}

/// As [`lp_pool`] with one window over everything.
pub fn global_lp(cx: &mut Cx) -> Result<()> {
    let p = cx.node.int("p", 2);
    let share = per_length(cx, p)?;
    let gx = lp_slope(cx, &share, p)?;
    cx.push(0, gx)
}

/// `g y^(1 - p)`.
fn per_length(cx: &mut Cx, p: i64) -> Result<String> {
    let (g, b) = (cx.g()?, cx.b);
    if p == 1 {
        return Ok(g);
    }
    let length = cx.y();
    let safe = b.add(length, &b.mask_scalar("Equal", length, 0.0));
    let below = if p == 2 { safe } else { power(cx, &safe, p - 1)? };
    Ok(b.div(&g, &below))
}

/// `h sign(x) |x|^(p - 1)`.
fn lp_slope(cx: &Cx, h: &str, p: i64) -> Result<String> {
    let (b, x) = (cx.b, cx.x(0)?);
    if p == 2 {
        return Ok(b.mul(x, h));
    }
    let signed = b.mul(&b.unary("Sign", x), h);
    Ok(if p == 1 { signed } else { b.mul(&power(cx, &b.unary("Abs", x), p - 1)?, &signed) })
}

fn power(cx: &Cx, x: &str, exponent: i64) -> Result<String> {
    let (b, dtype) = (cx.b, cx.dtype(0)?);
    Ok(b.emit("Pow", &[x, &b.floats(&[], &[exponent as f64], dtype)], &[], dtype, b.shape(x)?))
}

/// Every value of `g` divided by the kernel's volume and added to all places of its window.
fn over_windows(cx: &Cx, g: &str, axes: &[Axis]) -> Result<String> {
    let b = cx.b;
    let dtype = cx.dtype(0)?;
    let channels = cx.shape(0)?[1];
    let volume: usize = axes.iter().map(|a| a.kernel).product();
    let plain = axes.iter().all(|a| a.dilation == 1);
    let tiled = plain && axes.iter().all(|a| a.stride == a.kernel && a.begin == 0 && a.output * a.kernel <= a.input);
    let unit =
        plain && axes.iter().all(|a| a.stride == 1 && a.begin < a.kernel && a.end < a.kernel && a.input + a.begin + a.end == a.reach());
    let mut shape = b.shape(g)?;
    let gx = if tiled {
        for (i, a) in axes.iter().enumerate() {
            shape[i + 2] = Dim::Fixed(a.output * a.kernel);
        }
        let scales: Vec<f32> = [1.0, 1.0].into_iter().chain(axes.iter().map(|a| a.kernel as f32)).collect();
        let scales = b.tensor(crate::core::onnx::TensorData::f32(&[scales.len()], &scales));
        let attrs = [("mode", "nearest".into()), ("coordinate_transformation_mode", "asymmetric".into()), ("nearest_mode", "floor".into())];
        let up = b.emit("Resize", &[&b.scale(g, 1.0 / volume as f64), "", &scales], &attrs, dtype, shape);
        let tail: Vec<usize> = [0, 0].into_iter().chain(axes.iter().map(|a| a.input - a.output * a.kernel)).collect();
        b.pad(&up, &vec![0; tail.len()], &tail, None)
    } else if unit {
        for (i, a) in axes.iter().enumerate() {
            shape[i + 2] = Dim::Fixed(a.input);
        }
        let attrs = [
            ("kernel_shape", list(axes, |a| a.kernel)),
            ("strides", list(axes, |_| 1)),
            ("pads", pads(axes, |a| a.kernel - 1 - a.begin, |a| a.kernel - 1 - a.end)),
            ("count_include_pad", Attr::Int(1)),
        ];
        b.emit("AveragePool", &[g], &attrs, dtype, shape)
    } else {
        let c = channels.fixed().ok_or_else(|| cx.unsupported("an unknown number of channels"))?;
        let dims: Vec<usize> = [c, 1].into_iter().chain(axes.iter().map(|a| a.kernel)).collect();
        let weight = b.floats(&dims, &vec![1.0 / volume as f64; c * volume], dtype);
        window::scatter(cx, g, &weight, axes, c, channels)
    };
    Ok(gx)
}

/// Kernel volume over the number of elements each window counts; `None` where that is 1 everywhere.
fn divisor_correction(axes: &[Axis], include: bool) -> Option<Vec<f64>> {
    let counts = |a: &Axis| -> Vec<usize> {
        let (low, high) = if include { (0, a.begin + a.input + a.end) } else { (a.begin, a.begin + a.input) };
        (0..a.output).map(|o| (0..a.kernel).filter(|t| (low..high).contains(&(o * a.stride + t * a.dilation))).count().max(1)).collect()
    };
    let mut map = vec![1.0];
    for a in axes {
        let c = counts(a);
        map = map.iter().flat_map(|&m| c.iter().map(move |&v| m * a.kernel as f64 / v as f64)).collect();
    }
    map.iter().any(|&v| v != 1.0).then_some(map)
}
