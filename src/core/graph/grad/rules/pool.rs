//! Pooling. Max pooling is differentiated one axis at a time, with masks and without scattering.

use super::{
    Cx,
    window::{self, Axis, list, pads},
};
use crate::core::{
    error::Result,
    onnx::{Attr, Dim, Node, TensorType},
};

pub fn global_average(cx: &mut Cx) -> Result<()> {
    let rank = cx.shape(0)?.len();
    let g = cx.lazy()?;
    let gx = cx.b.divide_by_count(&g, cx.x(0)?, &(2..rank).collect::<Vec<_>>());
    cx.push(0, gx)
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
    let b = cx.b;
    let dtype = cx.dtype(0)?;
    let channels = cx.shape(0)?[1];
    let volume: usize = axes.iter().map(|a| a.kernel).product();
    let mut g = cx.g()?;
    if let Some(map) = divisor_correction(&axes, cx.node.int("count_include_pad", 0) == 1) {
        let dims: Vec<usize> = [1, 1].into_iter().chain(axes.iter().map(|a| a.output)).collect();
        g = b.mul(&g, &b.floats(&dims, &map, dtype));
    }
    let plain = axes.iter().all(|a| a.dilation == 1);
    let tiled = plain && axes.iter().all(|a| a.stride == a.kernel && a.begin == 0 && a.output * a.kernel <= a.input);
    let unit =
        plain && axes.iter().all(|a| a.stride == 1 && a.begin < a.kernel && a.end < a.kernel && a.input + a.begin + a.end == a.reach());
    let mut shape = b.shape(&g)?;
    let gx = if tiled {
        for (i, a) in axes.iter().enumerate() {
            shape[i + 2] = Dim::Fixed(a.output * a.kernel);
        }
        let scales: Vec<f32> = [1.0, 1.0].into_iter().chain(axes.iter().map(|a| a.kernel as f32)).collect();
        let scales = b.tensor(crate::core::onnx::TensorData::f32(&[scales.len()], &scales));
        let attrs = [("mode", "nearest".into()), ("coordinate_transformation_mode", "asymmetric".into()), ("nearest_mode", "floor".into())];
        let up = b.emit("Resize", &[&b.scale(&g, 1.0 / volume as f64), "", &scales], &attrs, dtype, shape);
        let tail: Vec<usize> = [0, 0].into_iter().chain(axes.iter().map(|a| a.input - a.output * a.kernel)).collect();
        b.pad(&up, &vec![0; tail.len()], &tail, None)
    } else if unit {
        for (i, a) in axes.iter().enumerate() {
            shape[i + 2] = Dim::Fixed(a.input);
        }
        let attrs = [
            ("kernel_shape", list(&axes, |a| a.kernel)),
            ("strides", list(&axes, |_| 1)),
            ("pads", pads(&axes, |a| a.kernel - 1 - a.begin, |a| a.kernel - 1 - a.end)),
            ("count_include_pad", Attr::Int(1)),
        ];
        b.emit("AveragePool", &[&g], &attrs, dtype, shape)
    } else {
        let c = channels.fixed().ok_or_else(|| cx.unsupported("an unknown number of channels"))?;
        let dims: Vec<usize> = [c, 1].into_iter().chain(axes.iter().map(|a| a.kernel)).collect();
        let weight = b.floats(&dims, &vec![1.0 / volume as f64; c * volume], dtype);
        window::scatter(cx, &g, &weight, &axes, c, channels)
    };
    cx.push(0, gx)
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

/// Rows, then columns: each axis has its own pool, and the first maximum along it takes the gradient. That is the
/// first maximum in row-major order of the whole window.
pub fn max_pool(cx: &mut Cx) -> Result<()> {
    let axes = window::axes(cx, &window::kernel(cx, None)?)?;
    if cx.node.int("storage_order", 0) != 0 {
        return Err(cx.unsupported("column-major storage order"));
    }
    let mut stages = stages(cx, &axes)?;
    let mut g = cx.g()?;
    // Images are handled with the channels last: phases are then cut and woven in long runs, not one number at a time.
    let turn = axes.len() == 2 && !stages.is_empty();
    if turn {
        g = cx.b.transpose(&g, &[0, 2, 3, 1]);
        for stage in &mut stages {
            stage.input = cx.b.transpose(&stage.input, &[0, 2, 3, 1]);
            stage.output = cx.b.transpose(&stage.output, &[0, 2, 3, 1]);
            stage.axis -= 1;
        }
    }
    for stage in stages.iter().rev() {
        g = max_along(cx, &g, stage)?;
    }
    let gx = if turn { cx.b.transpose(&g, &[0, 3, 1, 2]) } else { g };
    cx.push(0, gx)
}

/// One axis of a separated max pool.
struct Stage {
    input: String,
    output: String,
    axis: usize,
    window: Axis,
}

/// Splits the forward pool into one pool per axis, last axis first, keeping the name of its result.
fn stages(cx: &Cx, axes: &[Axis]) -> Result<Vec<Stage>> {
    let b = cx.b;
    let active: Vec<usize> =
        (0..axes.len()).rev().filter(|&i| axes[i].kernel > 1 || axes[i].stride > 1 || axes[i].begin + axes[i].end > 0).collect();
    let beyond = |a: &Axis| a.reach() >= a.begin + a.input + a.kernel || a.begin >= a.kernel;
    if active.len() > 1 && active.iter().any(|&i| beyond(&axes[i])) {
        return Err(cx.unsupported("dilated windows that reach far beyond the input"));
    }
    let mut shape = cx.shape(0)?;
    let mut current = cx.x(0)?.to_owned();
    let mut nodes = Vec::new();
    let mut result = Vec::new();
    for (order, &i) in active.iter().enumerate() {
        let a = axes[i];
        shape[i + 2] = Dim::Fixed(a.output);
        let last = order + 1 == active.len();
        let output =
            if last { cx.y().to_owned() } else { b.value("MaxPool", TensorType { dtype: cx.dtype(0)?, shape: Some(shape.clone()) }) };
        let end = a.reach().saturating_sub(a.begin + a.input);
        let pick = |v: usize| list(axes, |_| 1).with_at(i, v);
        let mut node = Node::new("MaxPool", &[&current], &[&output]);
        node.name = if last { cx.node.name.clone() } else { output.clone() };
        node.attrs.insert("kernel_shape".into(), pick(a.kernel));
        node.attrs.insert("strides".into(), pick(a.stride));
        if a.dilation > 1 {
            node.attrs.insert("dilations".into(), pick(a.dilation));
        }
        let mut ends = vec![0; axes.len() * 2];
        (ends[i], ends[i + axes.len()]) = (a.begin as i64, end as i64);
        node.attrs.insert("pads".into(), Attr::Ints(ends));
        nodes.push(node);
        result.push(Stage { input: std::mem::replace(&mut current, output.clone()), output, axis: i + 2, window: a });
    }
    if result.len() > 1 {
        b.replace_forward(cx.index, nodes);
    }
    Ok(result)
}

trait WithAt {
    fn with_at(self, i: usize, v: usize) -> Self;
}

impl WithAt for Attr {
    fn with_at(mut self, i: usize, v: usize) -> Self {
        if let Self::Ints(list) = &mut self {
            list[i] = v as i64;
        }
        self
    }
}

/// Gradient of a max pool along one axis. Tap t of window j reads padded position `j * stride + t * dilation`: with the
/// padded axis cut into phases modulo the stride, every tap is a contiguous slice of one phase.
fn max_along(cx: &Cx, g: &str, stage: &Stage) -> Result<String> {
    let (b, a) = (cx.b, &stage.window);
    let (s, out) = (a.stride, a.output);
    let length = out + (a.extent() - 1) / s;
    let phases = split_phases(cx, &stage.input, stage.axis, a, length)?;
    let mut parts: Vec<Vec<String>> = vec![Vec::new(); s];
    let mut rest = g.to_owned();
    for t in 0..a.kernel {
        let (phase, shift) = ((t * a.dilation) % s, (t * a.dilation) / s);
        let taken = if t + 1 == a.kernel {
            rest.clone()
        } else {
            let here = b.slice(&phases[phase], stage.axis, shift, shift + out);
            let taken = b.mul(&rest, &b.mask("Equal", &here, &stage.output));
            rest = b.sub(&rest, &taken);
            taken
        };
        parts[phase].push(b.pad_axis(&taken, stage.axis, shift, length - out - shift, None));
    }
    let zero = || b.mul(&b.slice(&phases[0], stage.axis, 0, length), &b.scalar(0.0, b.dtype(g)));
    let summed: Vec<String> = parts.iter().map(|p| if p.is_empty() { zero() } else { b.sum(p) }).collect();
    let joined = interleave(cx, &summed, stage.axis);
    let total = length * s;
    let padded = b.pad_axis(&joined, stage.axis, 0, (a.begin + a.input).saturating_sub(total), None);
    Ok(b.slice(&padded, stage.axis, a.begin, a.begin + a.input))
}

/// The padded input (lowest value outside) cut into `stride` interleaved sequences of `length`.
fn split_phases(cx: &Cx, x: &str, axis: usize, a: &Axis, length: usize) -> Result<Vec<String>> {
    let b = cx.b;
    let (s, total) = (a.stride, length * a.stride);
    let kept = a.input.min(total.saturating_sub(a.begin));
    let lowest = if b.dtype(x) == crate::core::onnx::DType::F16 { -65504.0 } else { f64::from(f32::MIN) };
    let padded = b.pad_axis(&b.slice(x, axis, 0, kept), axis, a.begin, total - a.begin - kept, Some(lowest));
    if s == 1 {
        return Ok(vec![padded]);
    }
    let shape = b.shape(&padded)?;
    let (mut folded, mut piece) = (shape.clone(), shape.clone());
    piece[axis] = Dim::Fixed(length);
    if axis + 1 == shape.len() {
        folded[axis] = Dim::Fixed(length);
        folded.push(Dim::Fixed(s));
        let cut = b.split(&b.reshape(&padded, &folded), axis + 1, &vec![1; s]);
        return Ok(cut.iter().map(|c| b.reshape(c, &piece)).collect());
    }
    // [.., length * s, inner, ..] as [.., length, s * inner, ..]: the phases are contiguous blocks.
    let inner = shape[axis + 1].fixed().ok_or_else(|| cx.unsupported("an unknown spatial size"))?;
    folded[axis] = Dim::Fixed(length);
    folded[axis + 1] = Dim::Fixed(s * inner);
    Ok(b.split(&b.reshape(&padded, &folded), axis + 1, &vec![inner; s]))
}

/// The inverse of [`split_phases`], without the padding.
fn interleave(cx: &Cx, parts: &[String], axis: usize) -> String {
    let b = cx.b;
    if let [one] = parts {
        return one.clone();
    }
    let mut shape = b.ty(&parts[0]).shape.unwrap_or_default();
    let length = shape[axis].fixed().unwrap_or(0);
    let last = axis + 1 == shape.len();
    shape[axis] = Dim::Fixed(length * parts.len());
    let joined = if last {
        let columns: Vec<String> = parts.iter().map(|p| b.unsqueeze(p, &[axis + 1])).collect();
        b.concat(&columns, axis + 1)
    } else {
        b.concat(parts, axis + 1)
    };
    b.reshape(&joined, &shape)
}
