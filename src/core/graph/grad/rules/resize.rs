//! Resize: a linear map per axis, so its gradient is a product with the transposed interpolation matrix.

use super::Cx;
use crate::core::{
    error::Result,
    graph::{
        eval::{Args, Value, geometry::resize::Resampling},
        grad::dims,
    },
    onnx::{Attr, Dim},
};

pub fn resize(cx: &mut Cx) -> Result<()> {
    let b = cx.b;
    let (shape, out) = (cx.shape(0)?, b.shape(cx.y())?);
    let dtype = cx.dtype(0)?;
    let plan = plan(cx, &shape, &out)?;
    let mut g = cx.g()?;
    let mut matrices = Vec::new();
    for (axis, scale) in plan.axes.iter().enumerate() {
        let taps = plan.taps(axis).map_err(|f| f.at(cx.node))?;
        let untouched = scale.input == scale.output && taps.iter().enumerate().all(|(i, t)| t.as_deref() == Some(&[(i, 1.0)]));
        if untouched {
            continue;
        }
        let (Some(from), Some(to)) = (shape[axis].fixed(), out[axis].fixed()) else { return Err(cx.unsupported("an unknown size")) };
        let mut m = vec![0.0; to * from];
        for (row, taps) in taps.iter().enumerate() {
            // Outside the region of interest the output is a constant.
            taps.iter().flatten().for_each(|&(column, weight)| m[row * from + column] += weight);
        }
        matrices.push((axis, from, to, m));
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

/// The resampling as the evaluator reads it, for a batch of one.
fn plan(cx: &Cx, shape: &[Dim], out: &[Dim]) -> Result<Resampling> {
    let single = |s: &[Dim]| s.iter().map(|d| d.at(1)).collect::<Option<Vec<_>>>();
    let (Some(input), Some(output)) = (single(shape), single(out)) else { return Err(cx.unsupported("an unknown size")) };
    let mut values: Vec<Option<Value>> = (0..cx.node.inputs.len()).map(|i| cx.constant(i).and_then(|t| Value::from_tensor(&t))).collect();
    if cx.node.input(3).is_some() && values[3].is_none() {
        // Sizes computed from the batch: the output's shape says the same.
        let per_axis = cx
            .node
            .ints("axes")
            .map_or_else(|| (0..input.len()).collect(), |v| v.iter().map(|&a| dims::axis(a, input.len())).collect::<Vec<_>>());
        values[3] = Some(Value::vector(per_axis.iter().map(|&a| output[a] as i64).collect()));
    }
    let values: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    Resampling::of(&Args { node: cx.node, opset: cx.b.opset(), values: &values }, &input).map_err(|f| f.at(cx.node))
}
