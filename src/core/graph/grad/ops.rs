//! Typed helpers over [`Builder::emit`]: one per operator the rules use.

use super::{
    builder::Builder,
    dims::{self, all_fixed, broadcast, reshape_target},
};
use crate::core::{
    error::Result,
    onnx::{Attr, DType, Dim, TensorType},
};

impl Builder {
    fn known(&self, v: &str) -> Vec<Dim> {
        self.ty(v).shape.unwrap_or_default()
    }

    /// Elementwise operator of one operand, same type.
    pub fn unary(&self, op: &str, x: &str) -> String {
        self.emit(op, &[x], &[], self.dtype(x), self.known(x))
    }

    /// Elementwise operator of two broadcast operands, same type.
    pub fn binary(&self, op: &str, a: &str, b: &str) -> String {
        self.emit(op, &[a, b], &[], self.dtype(a), broadcast(&self.known(a), &self.known(b)))
    }

    /// a + b
    pub fn add(&self, a: &str, b: &str) -> String {
        self.binary("Add", a, b)
    }

    /// a - b
    pub fn sub(&self, a: &str, b: &str) -> String {
        self.binary("Sub", a, b)
    }

    /// a * b
    pub fn mul(&self, a: &str, b: &str) -> String {
        self.binary("Mul", a, b)
    }

    /// a / b
    pub fn div(&self, a: &str, b: &str) -> String {
        self.binary("Div", a, b)
    }

    /// -x
    pub fn neg(&self, x: &str) -> String {
        self.unary("Neg", x)
    }

    /// x * factor; x itself for factor 1. A factor that `x` already carries is taken over.
    pub fn scale(&self, x: &str, factor: f64) -> String {
        if let Some((inner, first)) = self.scaled(x) {
            return self.scale(&inner, first * factor);
        }
        if (factor - 1.0).abs() < f64::EPSILON { x.to_owned() } else { self.mul(x, &self.scalar(factor, self.dtype(x))) }
    }

    /// The operands of an emitted product with a scalar constant.
    fn scaled(&self, x: &str) -> Option<(String, f64)> {
        let product = self.emitted(x).filter(|n| n.op == "Mul")?;
        let factor = self.constant(&product.inputs[1]).filter(|c| c.dims.is_empty())?.to_f64()?[0];
        Some((product.inputs[0].clone(), factor))
    }

    /// A sum of parts that were padded with zeros to complement each other along one axis, as their Concat.
    fn join_padded(&self, parts: &[String]) -> Option<String> {
        let rank = self.known(&parts[0]).len();
        let mut pieces = Vec::new();
        for part in parts {
            let pad = self.emitted(part).filter(|n| n.op == "Pad" && n.inputs.len() == 2)?;
            let amounts = self.constant(&pad.inputs[1])?.to_i64()?;
            let mut open = (0..rank).filter(|&i| amounts[i] != 0 || amounts[i + rank] != 0);
            let (axis, None) = (open.next()?, open.next()) else { return None };
            let end = self.known(part)[axis].fixed()? as i64 - amounts[axis + rank];
            pieces.push((axis, amounts[axis], end, pad.inputs[0].clone()));
        }
        pieces.sort();
        let (axis, size) = (pieces[0].0, self.known(&parts[0])[pieces[0].0].fixed()? as i64);
        let meet = pieces.windows(2).all(|p| p[0].0 == p[1].0 && p[0].2 == p[1].1);
        if !meet || pieces[0].1 != 0 || pieces.last()?.2 != size {
            return None;
        }
        Some(self.concat(&pieces.into_iter().map(|p| p.3).collect::<Vec<_>>(), axis))
    }

    /// x + term; x itself for 0.
    pub fn shift(&self, x: &str, term: f64) -> String {
        if term == 0.0 { x.to_owned() } else { self.add(x, &self.scalar(term, self.dtype(x))) }
    }

    /// value - x
    pub fn from_scalar(&self, value: f64, x: &str) -> String {
        self.sub(&self.scalar(value, self.dtype(x)), x)
    }

    /// Sum of several values.
    pub fn sum(&self, parts: &[String]) -> String {
        if let [one] = parts {
            return one.clone();
        }
        if let Some(joined) = self.join_padded(parts) {
            return joined;
        }
        if let [a, b] = parts {
            return self.add(a, b);
        }
        let shape = parts.iter().map(|p| self.known(p)).fold(Vec::new(), |a, s| broadcast(&a, &s));
        let inputs: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.emit("Sum", &inputs, &[], self.dtype(inputs[0]), shape)
    }

    /// Conversion; x itself when it has the type.
    pub fn cast(&self, x: &str, to: DType) -> String {
        if self.dtype(x) == to {
            x.to_owned()
        } else {
            self.emit("Cast", &[x], &[("to", Attr::Int(i64::from(to.to_onnx())))], to, self.known(x))
        }
    }

    /// Comparison or logical operator.
    pub fn compare(&self, op: &str, a: &str, b: &str) -> String {
        self.emit(op, &[a, b], &[], DType::Bool, broadcast(&self.known(a), &self.known(b)))
    }

    /// 1 where `a op b`, else 0, in the type of `a`.
    pub fn mask(&self, op: &str, a: &str, b: &str) -> String {
        self.cast(&self.compare(op, a, b), self.dtype(a))
    }

    /// 1 where `a op value`, else 0.
    pub fn mask_scalar(&self, op: &str, a: &str, value: f64) -> String {
        self.mask(op, a, &self.scalar(value, self.dtype(a)))
    }

    /// 1 where `x > 0`, else 0, for x that is nowhere negative.
    ///
    /// In f32 a HardSigmoid with a slope that lifts every normal number above 1: one operator instead of two, and ONNX Runtime
    /// keeps it in its blocked layout.
    pub fn positive(&self, x: &str) -> String {
        self.beyond(x, 0.0, true).unwrap_or_else(|| self.mask_scalar("Greater", x, 0.0))
    }

    /// `1 - x` for x in 0..=1: in f32 as a HardSigmoid, which is as exact and stays in the blocked layout.
    pub fn complement(&self, x: &str) -> String {
        if self.dtype(x) != DType::F32 {
            return self.from_scalar(1.0, x);
        }
        let attrs = [("alpha", (-1.0f32).into()), ("beta", 1.0f32.into())];
        self.emit("HardSigmoid", &[x], &attrs, DType::F32, self.known(x))
    }

    /// 1 where x is above (else below) a bound, 0 where it equals it; f32 values on that side of an ordinary bound only.
    pub fn beyond(&self, x: &str, bound: f32, above: bool) -> Option<String> {
        // Powers of two scale exactly, so the ramp is 0 at the bound alone and the nearest other number is already above 1.
        let steep = if bound == 0.0 { 2f32.powi(127) } else { 2f32.powi(90) };
        let ordinary = bound == 0.0 || (2f32.powi(-30)..=2f32.powi(30)).contains(&bound.abs());
        if self.dtype(x) != DType::F32 || !ordinary {
            return None;
        }
        let slope = if above { steep } else { -steep };
        let attrs = [("alpha", slope.into()), ("beta", (-slope * bound).into())];
        Some(self.emit("HardSigmoid", &[x], &attrs, DType::F32, self.known(x)))
    }

    /// A reduction with axes given the way the operator set wants them.
    pub fn reduce(&self, op: &str, x: &str, axes: &[usize], keep: bool) -> String {
        if axes.is_empty() {
            return x.to_owned();
        }
        let shape = self.known(x);
        let out = shape
            .iter()
            .enumerate()
            .filter(|(i, _)| keep || !axes.contains(i))
            .map(|(i, d)| if axes.contains(&i) { Dim::Fixed(1) } else { *d })
            .collect();
        let ints: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let keepdims = ("keepdims", Attr::Int(i64::from(keep)));
        if self.opset() >= if op == "ReduceSum" { 13 } else { 18 } {
            self.emit(op, &[x, &self.ints(&ints)], &[keepdims], self.dtype(x), out)
        } else {
            self.emit(op, &[x], &[("axes", Attr::Ints(ints)), keepdims], self.dtype(x), out)
        }
    }

    /// Sum over axes.
    pub fn reduce_sum(&self, x: &str, axes: &[usize], keep: bool) -> String {
        self.reduce("ReduceSum", x, axes, keep)
    }

    /// The shape of a value as a tensor: a constant when it is fixed.
    pub fn shape_tensor(&self, v: &str) -> String {
        let shape = self.ty(v).shape;
        if let Some(fixed) = shape.as_deref().and_then(all_fixed) {
            return self.ints(&fixed.iter().map(|&d| d as i64).collect::<Vec<_>>());
        }
        self.emit("Shape", &[v], &[], DType::I64, vec![Dim::Fixed(shape.map_or(0, |s| s.len()))])
    }

    /// Reshape to dimensions of which at most one is open.
    pub fn reshape(&self, x: &str, to: &[Dim]) -> String {
        if self.known(x) == to {
            return x.to_owned();
        }
        let target = reshape_target(to).unwrap_or_else(|| to.iter().map(|d| d.fixed().map_or(0, |v| v as i64)).collect());
        self.emit("Reshape", &[x, &self.ints(&target)], &[], self.dtype(x), to.to_vec())
    }

    /// Reshape to the shape of another value.
    pub fn reshape_like(&self, x: &str, like: &str) -> String {
        let to = self.known(like);
        if self.known(x) == to {
            return x.to_owned();
        }
        if reshape_target(&to).is_some() {
            self.reshape(x, &to)
        } else {
            self.emit("Reshape", &[x, &self.shape_tensor(like)], &[], self.dtype(x), to)
        }
    }

    /// Permutes axes; x itself for the identity.
    pub fn transpose(&self, x: &str, perm: &[usize]) -> String {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return x.to_owned();
        }
        let shape = self.known(x);
        let out = perm.iter().map(|&p| shape[p]).collect();
        self.emit("Transpose", &[x], &[("perm", Attr::Ints(perm.iter().map(|&p| p as i64).collect()))], self.dtype(x), out)
    }

    /// Swaps the last two axes.
    pub fn swap_last(&self, x: &str) -> String {
        let rank = self.known(x).len();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 1, rank - 2);
        self.transpose(x, &perm)
    }

    /// Inserts axes of size 1 (positions in the result, ascending).
    pub fn unsqueeze(&self, x: &str, axes: &[usize]) -> String {
        if axes.is_empty() {
            return x.to_owned();
        }
        let mut shape = self.known(x);
        for &a in axes {
            shape.insert(a.min(shape.len()), Dim::Fixed(1));
        }
        let ints: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        self.emit("Unsqueeze", &[x, &self.ints(&ints)], &[], self.dtype(x), shape)
    }

    /// Removes axes of size 1.
    pub fn squeeze(&self, x: &str, axes: &[usize]) -> String {
        if axes.is_empty() {
            return x.to_owned();
        }
        let shape = self.known(x).iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| *d).collect();
        let ints: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        self.emit("Squeeze", &[x, &self.ints(&ints)], &[], self.dtype(x), shape)
    }

    /// `x[start..end]` along an axis whose size is known, step 1.
    pub fn slice(&self, x: &str, axis: usize, start: usize, end: usize) -> String {
        let mut shape = self.known(x);
        if start == 0 && shape[axis] == Dim::Fixed(end) {
            return x.to_owned();
        }
        shape[axis] = Dim::Fixed(end - start);
        let at = |v: usize| self.ints(&[v as i64]);
        self.emit("Slice", &[x, &at(start), &at(end), &at(axis)], &[], self.dtype(x), shape)
    }

    /// `count` elements of an axis of known size, every `step`th from `start` on.
    pub fn stride_slice(&self, x: &str, axis: usize, start: usize, count: usize, step: usize) -> String {
        if step == 1 {
            return self.slice(x, axis, start, start + count);
        }
        let mut shape = self.known(x);
        shape[axis] = Dim::Fixed(count);
        let at = |v: usize| self.ints(&[v as i64]);
        let end = start + (count - 1) * step + 1;
        self.emit("Slice", &[x, &at(start), &at(end), &at(axis), &at(step)], &[], self.dtype(x), shape)
    }

    /// Reverses axes.
    pub fn flip(&self, x: &str, axes: &[usize]) -> String {
        if axes.is_empty() {
            return x.to_owned();
        }
        let shape = self.known(x);
        let all = |v: i64| self.ints(&vec![v; axes.len()]);
        let ax = self.ints(&axes.iter().map(|&a| a as i64).collect::<Vec<_>>());
        self.emit("Slice", &[x, &all(-1), &all(i64::MIN + 1), &ax, &all(-1)], &[], self.dtype(x), shape)
    }

    /// Pads with a constant (0 when `None`); amounts per axis.
    pub fn pad(&self, x: &str, before: &[usize], after: &[usize], fill: Option<f64>) -> String {
        if before.iter().chain(after).all(|&p| p == 0) {
            return x.to_owned();
        }
        let grow = |(i, d): (usize, &Dim)| {
            if before[i] + after[i] == 0 { *d } else { d.fixed().map_or(Dim::Unknown, |v| Dim::Fixed(v + before[i] + after[i])) }
        };
        let shape = self.known(x).iter().enumerate().map(grow).collect();
        let pads = self.ints(&before.iter().chain(after).map(|&p| p as i64).collect::<Vec<_>>());
        let dtype = self.dtype(x);
        match fill {
            None => self.emit("Pad", &[x, &pads], &[], dtype, shape),
            Some(v) => self.emit("Pad", &[x, &pads, &self.scalar(v, dtype)], &[], dtype, shape),
        }
    }

    /// Pads one axis with zeros.
    pub fn pad_axis(&self, x: &str, axis: usize, before: usize, after: usize, fill: Option<f64>) -> String {
        let rank = self.known(x).len();
        let at = |v: usize| (0..rank).map(|i| if i == axis { v } else { 0 }).collect::<Vec<_>>();
        self.pad(x, &at(before), &at(after), fill)
    }

    /// Joins along an axis.
    pub fn concat(&self, parts: &[String], axis: usize) -> String {
        if let [one] = parts {
            return one.clone();
        }
        let mut shape = self.known(&parts[0]);
        let total: Option<usize> = parts.iter().map(|p| self.known(p)[axis].fixed()).sum();
        shape[axis] = total.map_or(Dim::Unknown, Dim::Fixed);
        let inputs: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.emit("Concat", &inputs, &[("axis", Attr::Int(axis as i64))], self.dtype(inputs[0]), shape)
    }

    /// Cuts along an axis.
    pub fn split(&self, x: &str, axis: usize, sizes: &[usize]) -> Vec<String> {
        if sizes.len() == 1 {
            return vec![x.to_owned()];
        }
        let part = |&s: &usize| {
            let mut shape = self.known(x);
            shape[axis] = Dim::Fixed(s);
            TensorType { dtype: self.dtype(x), shape: Some(shape) }
        };
        let lengths = self.ints(&sizes.iter().map(|&s| s as i64).collect::<Vec<_>>());
        self.emit_many("Split", &[x, &lengths], &[("axis", Attr::Int(axis as i64))], sizes.iter().map(part).collect())
    }

    /// Matrix product over the last two axes.
    pub fn matmul(&self, a: &str, b: &str) -> String {
        let (sa, sb) = (self.known(a), self.known(b));
        let mut shape = broadcast(&sa[..sa.len() - 2], &sb[..sb.len() - 2]);
        shape.extend([sa[sa.len() - 2], sb[sb.len() - 1]]);
        self.emit("MatMul", &[a, b], &[], self.dtype(a), shape)
    }

    /// Zeros of the shape of another value.
    pub fn zeros_like(&self, like: &str, dtype: DType) -> String {
        let value = super::builder::float_tensor(&[1], &[0.0], dtype);
        self.emit("ConstantOfShape", &[&self.shape_tensor(like)], &[("value", Attr::Tensor(value))], dtype, self.known(like))
    }

    /// Repeats a broadcastable value to the shape of `like`; itself when it has it.
    pub fn expand_like(&self, x: &str, like: &str) -> Result<String> {
        let (from, to) = (self.shape(x)?, self.shape(like)?);
        if from == to {
            return Ok(x.to_owned());
        }
        let lead = to.len().saturating_sub(from.len());
        // Expand broadcasts both ways: 1 keeps a size that is already right.
        let target: Option<Vec<i64>> = (0..to.len())
            .map(|i| match to[i] {
                Dim::Fixed(v) => Some(v as i64),
                open => (i >= lead && from[i - lead] == open).then_some(1),
            })
            .collect();
        let target = target.map_or_else(|| self.shape_tensor(like), |t| self.ints(&t));
        Ok(self.emit("Expand", &[x, &target], &[], self.dtype(x), to))
    }

    /// Undoes broadcasting: sums over the axes along which `to` was repeated.
    pub fn unbroadcast(&self, g: &str, to: &[Dim]) -> String {
        let from = self.known(g);
        let lead = from.len().saturating_sub(to.len());
        let repeated = |i: usize| i < lead || (to[i - lead] == Dim::Fixed(1) && from[i] != Dim::Fixed(1));
        let axes: Vec<usize> = (0..from.len()).filter(|&i| repeated(i)).collect();
        let summed = self.reduce_sum(g, &axes, true);
        if lead == 0 { summed } else { self.squeeze(&summed, &(0..lead).collect::<Vec<_>>()) }
    }

    /// Number of elements of `x` along axes: a scalar constant, or computed when it depends on the batch.
    pub fn divide_by_count(&self, g: &str, x: &str, axes: &[usize]) -> String {
        let shape = self.known(x);
        let reduced: Vec<Dim> = axes.iter().map(|&a| shape[a]).collect();
        if let Dim::Fixed(n) = dims::product(&reduced) {
            return self.scale(g, 1.0 / n as f64);
        }
        let sizes = self.emit(
            "Gather",
            &[&self.shape_tensor(x), &self.ints(&axes.iter().map(|&a| a as i64).collect::<Vec<_>>())],
            &[],
            DType::I64,
            vec![Dim::Fixed(axes.len())],
        );
        let count = self.reduce("ReduceProd", &sizes, &[0], false);
        self.div(g, &self.cast(&count, self.dtype(g)))
    }
}
