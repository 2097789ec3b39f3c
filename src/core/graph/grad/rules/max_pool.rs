//! Max pooling, differentiated one axis at a time, with masks and without scattering.

use super::{
    Cx,
    window::{self, Axis, list},
};
use crate::core::{
    error::Result,
    onnx::{Attr, DType, Dim, Node, TensorType},
};

/// Rows, then columns: each axis has its own pool, and the first maximum along it takes the gradient. That is the
/// first maximum in row-major order of the whole window.
pub fn max_pool(cx: &mut Cx) -> Result<()> {
    let axes = window::axes(cx, &window::kernel(cx, None)?)?;
    if cx.node.int("storage_order", 0) != 0 {
        return Err(cx.unsupported("column-major storage order"));
    }
    let mut stages = stages(cx, &axes)?;
    let mut g = cx.g()?;
    let operands = operands(cx)?;
    if rectified(cx, operands.as_deref()) {
        // The winner is positive exactly where the maximum is: the mask of the Relu before, on a smaller map.
        g = cx.b.mul(&g, &cx.b.positive(cx.y()));
    }
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
    let Some(operands) = operands.filter(|_| turn) else {
        let gx = if turn { cx.b.transpose(&g, &[0, 3, 1, 2]) } else { g };
        return cx.push(0, gx);
    };
    // The parts of a Concat, while the channels are last: each then enters the blocked layout on its own.
    let sizes: Vec<usize> = operands.iter().map(|(_, size)| *size).collect();
    for (part, (operand, _)) in cx.b.split(&g, 3, &sizes).iter().zip(&operands) {
        if cx.depends_on(operand) {
            let gx = cx.b.transpose(part, &[0, 3, 1, 2]);
            cx.push_to(operand, gx);
        }
    }
    cx.skip(0);
    Ok(())
}

/// Operands and channels of the Concat that makes the input for this pool alone.
fn operands(cx: &Cx) -> Result<Option<Vec<(String, usize)>>> {
    let x = cx.x(0)?;
    let Some(concat) = cx.producer(x).filter(|n| n.op == "Concat" && n.domain.is_empty() && n.int("axis", 0) == 1) else {
        return Ok(None);
    };
    if !cx.private(x) {
        return Ok(None);
    }
    let channels = |i: &String| Some((i.clone(), cx.b.shape(i).ok()?.get(1)?.fixed()?));
    Ok(concat.inputs.iter().map(channels).collect())
}

/// Whether the input is, or joins, outputs of Relu that only this pool reads; those then need no mask of their own.
fn rectified(cx: &Cx, operands: Option<&[(String, usize)]>) -> bool {
    let own = [(cx.node.inputs[0].clone(), 0)];
    let sources = operands.unwrap_or(&own);
    let all = sources.iter().all(|(v, _)| cx.private(v) && cx.producer(v).is_some_and(|p| p.op == "Relu" && p.domain.is_empty()));
    if all {
        sources.iter().for_each(|(v, _)| cx.set_masked(v));
    }
    all
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

/// Where one tap of the windows `from..to` reads: positions `start`, `start + stride`, ... of the input.
struct Tap {
    from: usize,
    to: usize,
    start: usize,
}

/// The windows whose tap `t` lies inside the input; `None` when there are none.
fn tap(a: &Axis, t: usize) -> Option<Tap> {
    // Window j reads position j * stride + t * dilation - begin.
    let reach = t * a.dilation;
    let from = a.begin.saturating_sub(reach).div_ceil(a.stride);
    let to = (a.input + a.begin).saturating_sub(reach).div_ceil(a.stride).min(a.output);
    (from < to).then(|| Tap { from, to, start: from * a.stride + reach - a.begin })
}

/// Gradient of a max pool along one axis: tap by tap, whatever equals the maximum takes what is left, the last tap the rest.
fn max_along(cx: &Cx, g: &str, stage: &Stage) -> Result<String> {
    let (b, a, axis) = (cx.b, &stage.window, stage.axis);
    let (s, length) = (a.stride, a.input.div_ceil(a.stride));
    let lowest = if b.dtype(g) == DType::F16 { -65504.0 } else { f64::from(f32::MIN) };
    let mut parts: Vec<Vec<String>> = vec![Vec::new(); s];
    let mut rest = g.to_owned();
    for t in 0..a.kernel {
        let Some(tap) = tap(a, t) else { continue };
        let taken = if t + 1 == a.kernel {
            rest.clone()
        } else {
            let read = b.stride_slice(&stage.input, axis, tap.start, tap.to - tap.from, s);
            let here = b.pad_axis(&read, axis, tap.from, a.output - tap.to, Some(lowest));
            let taken = b.mul(&rest, &b.mask("Equal", &here, &stage.output));
            rest = b.sub(&rest, &taken);
            taken
        };
        let inside = b.slice(&taken, axis, tap.from, tap.to);
        let at = tap.start / s;
        parts[tap.start % s].push(b.pad_axis(&inside, axis, at, length - at - (tap.to - tap.from), None));
    }
    let Some(some) = parts.iter().flatten().next().cloned() else { return Err(cx.unsupported("windows outside the input")) };
    let summed: Vec<String> = parts.iter().map(|p| if p.is_empty() { b.zeros_like(&some, b.dtype(g)) } else { b.sum(p) }).collect();
    Ok(b.slice(&interleave(cx, &summed, axis), axis, 0, a.input))
}

/// Phases of equal length to one sequence.
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
