//! Selection: Slice, Split, Gather and scattering.

use super::Cx;
use crate::core::{
    error::Result,
    graph::grad::{builder::Builder, dims},
    onnx::{Attr, DType, Dim, TensorType},
};

/// Gradient of `y = x[indices]` along an axis of size `size`, where `g` has one position per index.
pub fn gather_transpose(b: &Builder, g: &str, axis: usize, indices: &[usize], size: usize) -> String {
    let run = indices.windows(2).all(|w| w[1] == w[0] + 1);
    if let (true, Some(&first)) = (run, indices.first()) {
        return b.pad_axis(g, axis, first, size - first - indices.len(), None);
    }
    let mut sources: Vec<Vec<usize>> = vec![Vec::new(); size];
    for (position, &i) in indices.iter().enumerate() {
        sources[i].push(position);
    }
    let most = sources.iter().map(Vec::len).max().unwrap_or(0);
    // Positions without a source read a row of zeros appended at the end.
    let open = sources.iter().any(|s| s.len() < most);
    let extended = if open { b.pad_axis(g, axis, 0, 1, None) } else { g.to_owned() };
    let rounds: Vec<String> = (0..most)
        .map(|k| {
            let at: Vec<i64> = sources.iter().map(|s| s.get(k).map_or(indices.len() as i64, |&p| p as i64)).collect();
            let mut shape = b.ty(g).shape.unwrap_or_default();
            shape[axis] = Dim::Fixed(size);
            b.emit("Gather", &[&extended, &b.ints(&at)], &[("axis", Attr::Int(axis as i64))], b.dtype(g), shape)
        })
        .collect();
    b.sum(&rounds)
}

pub fn gather(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let (x, shape) = (cx.x(0)?, cx.shape(0)?);
    let axis = dims::axis(cx.node.int("axis", 0), shape.len());
    let g = cx.g()?;
    let picked = cx.shape(1)?;
    let constant = cx.constant(1).and_then(|t| t.to_i64());
    if let (Some(indices), Some(size)) = (constant, shape[axis].fixed()) {
        let indices: Vec<usize> = indices.iter().map(|&i| if i < 0 { (i + size as i64).max(0) as usize } else { i as usize }).collect();
        let mut flat = shape.clone();
        flat[axis] = Dim::Fixed(indices.len());
        let open = flat.iter().filter(|d| d.fixed().is_none()).count();
        if indices.iter().all(|&i| i < size) && !indices.is_empty() && open <= 1 {
            let gx = gather_transpose(b, &b.reshape(&g, &flat), axis, &indices, size);
            return cx.push(0, gx);
        }
    }
    // Computed indices: scatter rows, with the gathered axis first.
    let lead: Vec<usize> = (0..axis).collect();
    let k = picked.len();
    let out_rank = shape.len() - 1 + k;
    let to_front: Vec<usize> = (axis..axis + k).chain(lead.iter().copied()).chain(axis + k..out_rank).collect();
    let order: Vec<usize> = std::iter::once(axis).chain(lead).chain(axis + 1..shape.len()).collect();
    let mut back = vec![0; order.len()];
    for (i, &p) in order.iter().enumerate() {
        back[p] = i;
    }
    let zeros = b.zeros_like(&b.transpose(x, &order), b.dtype(&g));
    let indices = b.unsqueeze(&b.cast(cx.x(1)?, DType::I64), &[k]);
    let rows = b.transpose(&g, &to_front);
    let shape = b.shape(&zeros)?;
    let scattered = b.emit("ScatterND", &[&zeros, &indices, &rows], &[("reduction", "add".into())], b.dtype(&g), shape);
    let gx = b.transpose(&scattered, &back);
    cx.push(0, gx)
}

pub fn gather_elements(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let g = cx.g()?;
    let zeros = b.zeros_like(cx.x(0)?, b.dtype(&g));
    let attrs = [("axis", Attr::Int(cx.node.int("axis", 0))), ("reduction", "add".into())];
    let gx = b.emit("ScatterElements", &[&zeros, cx.x(1)?, &g], &attrs, b.dtype(&g), cx.shape(0)?);
    cx.push(0, gx)
}

pub fn gather_nd(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    if cx.node.int("batch_dims", 0) != 0 {
        return Err(cx.unsupported("batch dimensions"));
    }
    let g = cx.g()?;
    let zeros = b.zeros_like(cx.x(0)?, b.dtype(&g));
    let gx = b.emit("ScatterND", &[&zeros, cx.x(1)?, &g], &[("reduction", "add".into())], b.dtype(&g), cx.shape(0)?);
    cx.push(0, gx)
}

pub fn scatter_nd(cx: &mut Cx) -> Result<()> {
    scatter(cx, ["ScatterND", "GatherND"], &[])
}

pub fn scatter_elements(cx: &mut Cx) -> Result<()> {
    let axis = cx.node.int("axis", 0);
    scatter(cx, ["ScatterElements", "GatherElements"], &[("axis", Attr::Int(axis))])
}

/// Overwritten places send their gradient to the updates; without `reduction` indices must not repeat (the standard says so).
fn scatter(cx: &mut Cx, [put, take]: [&str; 2], attrs: &[(&str, Attr)]) -> Result<()> {
    let b = cx.b;
    let g = cx.g()?;
    let (indices, updates) = (cx.x(1)?, cx.x(2)?);
    let add = match cx.node.text("reduction", "none").as_str() {
        "none" => false,
        "add" => true,
        _ => return Err(cx.unsupported("a reduction other than add")),
    };
    if cx.needs(0) {
        let gx = if add {
            g.clone()
        } else {
            let zeros = b.zeros_like(updates, b.dtype(&g));
            b.emit(put, &[&g, indices, &zeros], attrs, b.dtype(&g), cx.shape(0)?)
        };
        cx.push(0, gx)?;
    }
    if cx.needs(2) {
        let gu = b.emit(take, &[&g, indices], attrs, b.dtype(&g), cx.shape(2)?);
        cx.push(2, gu)?;
    }
    Ok(())
}

/// The kept elements get the gradient; their places are the operator's second output.
pub fn top_k(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let g = cx.g()?;
    let ty = TensorType { dtype: DType::I64, shape: Some(b.shape(cx.y())?) };
    let places = b.forward_output(cx.index, 1, ty);
    let zeros = b.zeros_like(cx.x(0)?, b.dtype(&g));
    let axis = [("axis", Attr::Int(cx.node.int("axis", -1)))];
    let gx = b.emit("ScatterElements", &[&zeros, &places, &g], &axis, b.dtype(&g), cx.shape(0)?);
    cx.push(0, gx)
}

/// One sliced axis: the first selected element in ascending order, the distance between them, and whether they are reversed.
struct Cut {
    axis: usize,
    low: usize,
    step: usize,
    count: usize,
    reversed: bool,
}

pub fn slice(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let shape = cx.shape(0)?;
    let cuts = cuts(cx)?;
    let mut g = cx.g()?;
    let reversed: Vec<usize> = cuts.iter().filter(|c| c.reversed).map(|c| c.axis).collect();
    g = b.flip(&g, &reversed);
    let (mut before, mut after) = (vec![0; shape.len()], vec![0; shape.len()]);
    for cut in &cuts {
        let size = shape[cut.axis].fixed().unwrap_or(0);
        let mut length = cut.count;
        if cut.step > 1 && cut.count > 1 {
            // Zeros between the elements: a new axis padded to the step, folded into this one.
            let mut folded = b.shape(&g)?;
            let opened = b.pad_axis(&b.unsqueeze(&g, &[cut.axis + 1]), cut.axis + 1, 0, cut.step - 1, None);
            folded[cut.axis] = Dim::Fixed(cut.count * cut.step);
            length = (cut.count - 1) * cut.step + 1;
            let kept = (cut.count * cut.step).min(size - cut.low);
            g = b.slice(&b.reshape(&opened, &folded), cut.axis, 0, kept);
            length = length.max(kept);
        }
        before[cut.axis] = cut.low;
        after[cut.axis] = size - cut.low - length;
    }
    let gx = b.pad(&g, &before, &after, None);
    cx.push(0, gx)
}

/// The axes that a Slice really cuts.
fn cuts(cx: &Cx) -> Result<Vec<Cut>> {
    let (shape, y) = (cx.shape(0)?, cx.b.shape(cx.y())?);
    let lacks = || cx.unsupported("computed bounds");
    let starts = cx.ints(1, "starts")?.ok_or_else(lacks)?;
    let ends = cx.ints(2, "ends")?.ok_or_else(lacks)?;
    let axes = cx.ints(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = cx.ints(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    let mut result = Vec::new();
    for (i, &a) in axes.iter().enumerate() {
        let axis = dims::axis(a, shape.len());
        let step = steps[i];
        let Some(size) = shape[axis].fixed() else {
            // The batch axis may be named as long as nothing is cut.
            if starts[i] == 0 && step == 1 && (ends[i] >= i64::from(i32::MAX) || y[axis] == shape[axis]) {
                continue;
            }
            return Err(cx.unsupported("a cut through an axis of unknown size"));
        };
        let n = size as i64;
        let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let cut = if step > 0 {
            let (start, end) = (wrap(starts[i]).clamp(0, n), wrap(ends[i]).clamp(0, n));
            let count = ((end - start).max(0) + step - 1) / step;
            Cut { axis, low: start as usize, step: step as usize, count: count as usize, reversed: false }
        } else {
            let (start, end) = (wrap(starts[i]).clamp(-1, n - 1), wrap(ends[i]).clamp(-1, n - 1));
            let count = ((start - end).max(0) - step - 1) / -step;
            Cut {
                axis,
                low: (start + step * (count - 1)).max(0) as usize,
                step: step.unsigned_abs() as usize,
                count: count as usize,
                reversed: true,
            }
        };
        if cut.count == 0 {
            return Err(cx.unsupported("an empty result"));
        }
        if cut.count < size || cut.reversed {
            result.push(cut);
        }
    }
    Ok(result)
}

/// Joins the gradients of the parts; parts nobody reads are padding of their neighbours.
pub fn split(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let shape = cx.shape(0)?;
    let axis = dims::axis(cx.node.int("axis", 0), shape.len());
    let mut parts: Vec<String> = Vec::new();
    let mut before = 0;
    for (k, output) in cx.node.outputs.iter().enumerate() {
        if output.is_empty() {
            return Err(cx.unsupported("an omitted output"));
        }
        let length = b.shape(output)?[axis].fixed().ok_or_else(|| cx.unsupported("an axis of unknown size"))?;
        match (cx.lazy_of(k), parts.last_mut()) {
            (Some(g), _) => {
                let full = b.expand_like(&g, output)?;
                parts.push(b.pad_axis(&full, axis, before, 0, None));
                before = 0;
            }
            (None, Some(last)) => *last = b.pad_axis(last, axis, 0, length, None),
            (None, None) => before += length,
        }
    }
    let gx = b.concat(&parts, axis);
    cx.push(0, gx)
}
