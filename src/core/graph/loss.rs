//! Loss heads inside the graph, so that one run is one forward and one backward pass. Numbers are f32 whatever the model's type.

use super::{Loss, grad::builder::Builder};
use crate::core::{
    error::Result,
    onnx::{Attr, DType, Dim, TensorData, TensorType, ValueInfo},
};

/// Names of what a loss head adds.
pub(super) struct Head {
    /// i64 `[N]`.
    pub labels: String,
    /// f32 `[N]`.
    pub weights: String,
    /// f32 `[]`, margin only.
    pub kappa: Option<String>,
    /// f32 `[N]`, margin only.
    pub direction: Option<String>,
    /// i64 `[N]`, targeted ratio only.
    pub targets: Option<String>,
    /// f32 `[N]`.
    pub loss: String,
    /// Gradient of the sum of the losses with respect to the logits, in their type; only when asked for.
    pub cotangent: Option<String>,
}

/// Adds a graph input under the wished name or one derived from it.
pub(super) fn input(b: &Builder, wish: &str, dtype: DType, shape: Vec<Dim>) -> String {
    let name = b.reserve(wish);
    let ty = TensorType { dtype, shape: Some(shape) };
    b.declare(&name, ty.clone());
    b.edit(|g| g.inputs.push(ValueInfo { name: name.clone(), ty }));
    name
}

/// Adds the head, and the cotangent of the logits when there is a backward pass. `None` for no loss.
pub(super) fn head(b: &Builder, loss: Loss, logits: &str, classes: usize, backward: bool) -> Result<Option<Head>> {
    if loss == Loss::None {
        return Ok(None);
    }
    let batch = b.shape(logits)?[0];
    let labels = input(b, "labels", DType::I64, vec![batch]);
    let weights = input(b, "weights", DType::F32, vec![batch]);
    let z = b.cast(logits, DType::F32);
    let at_label = one_hot(b, &b.unsqueeze(&labels, &[1]), classes);
    let mut head = Head { labels, weights, kappa: None, direction: None, targets: None, loss: String::new(), cotangent: None };
    let slope = if let Loss::Ratio { targeted } = loss {
        ratio(b, &mut head, &z, &at_label, batch, classes, targeted, backward)
    } else if loss == Loss::CrossEntropy {
        // Spelled out instead of LogSoftmax: where an engine's LogSoftmax gives -inf for a hopeless class, -inf * 0 would be NaN.
        let shifted = b.sub(&z, &b.reduce("ReduceMax", &z, &[1], true));
        let exp = b.unary("Exp", &shifted);
        let sum = b.reduce_sum(&exp, &[1], true);
        let log_sum = b.reduce_sum(&b.unary("Log", &sum), &[1], false);
        let chosen = b.reduce_sum(&b.mul(&shifted, &at_label), &[1], false);
        head.loss = b.mul(&b.sub(&log_sum, &chosen), &head.weights);
        backward.then(|| b.sub(&b.div(&exp, &sum), &at_label))
    } else {
        margin(b, &mut head, &z, &at_label, batch, classes, backward)
    };
    head.cotangent = slope.map(|s| b.cast(&b.mul(&s, &b.unsqueeze(&head.weights, &[1])), b.dtype(logits)));
    Ok(Some(head))
}

/// 1 at the given positions `[N, 1]`, else 0: `[N, K]`.
fn one_hot(b: &Builder, positions: &str, classes: usize) -> String {
    let all = b.tensor(TensorData::i64(&[1, classes], &(0..classes as i64).collect::<Vec<_>>()));
    b.cast(&b.compare("Equal", positions, &all), DType::F32)
}

/// `max(direction * (max_{j != label} Z_j - Z_label), -kappa)`, method report C.1. The slope is 0 where the hinge rests.
fn margin(b: &Builder, head: &mut Head, z: &str, at_label: &str, batch: Dim, classes: usize, backward: bool) -> Option<String> {
    let kappa = input(b, "kappa", DType::F32, Vec::new());
    let direction = input(b, "direction", DType::F32, vec![batch]);
    let others = b.sub(z, &b.scale(at_label, 1e30));
    let best = b.reduce("ReduceMax", &others, &[1], false);
    let own = b.reduce_sum(&b.mul(z, at_label), &[1], false);
    let margin = b.mul(&direction, &b.sub(&best, &own));
    let floor = b.neg(&kappa);
    head.loss = b.mul(&b.binary("Max", &margin, &floor), &head.weights);
    let slope = backward.then(|| {
        let attrs = [("axis", Attr::Int(1)), ("keepdims", Attr::Int(1))];
        let runner_up = b.emit("ArgMax", &[&others], &attrs, DType::I64, vec![batch, Dim::Fixed(1)]);
        let difference = b.sub(&one_hot(b, &runner_up, classes), at_label);
        let active = b.mul(&direction, &b.mask("Greater", &margin, &floor));
        b.mul(&difference, &b.unsqueeze(&active, &[1]))
    });
    (head.kappa, head.direction) = (Some(kappa), Some(direction));
    slope
}

/// `(Z_other - Z_label) / (Z_1 - below)`, in double precision. `other` is the target and `below` the mean of the third and fourth largest
/// logit, or the best other class and the third.
#[allow(clippy::too_many_arguments)] // those of `margin` and the kind
fn ratio(
    b: &Builder,
    head: &mut Head,
    z: &str,
    at_label: &str,
    batch: Dim,
    classes: usize,
    targeted: bool,
    backward: bool,
) -> Option<String> {
    let count = if targeted { 4 } else { 3 };
    let at_other = if targeted {
        let targets = input(b, "targets", DType::I64, vec![batch]);
        let hot = one_hot(b, &b.unsqueeze(&targets, &[1]), classes);
        head.targets = Some(targets);
        hot
    } else {
        let others = b.sub(z, &b.scale(at_label, 1e30));
        let attrs = [("axis", Attr::Int(1)), ("keepdims", Attr::Int(1))];
        one_hot(b, &b.emit("ArgMax", &[&others], &attrs, DType::I64, vec![batch, Dim::Fixed(1)]), classes)
    };
    let ordered = |dtype| TensorType { dtype, shape: Some(vec![batch, Dim::Fixed(count)]) };
    let types = vec![ordered(DType::F32), ordered(DType::I64)];
    let sorted = b.emit_many("TopK", &[z, &b.ints(&[count as i64])], &[("axis", Attr::Int(1))], types);
    let wide = |x: &str| b.cast(x, DType::F64);
    let values = b.split(&wide(&sorted[0]), 1, &vec![1; count]);
    let half = b.scalar(0.5, DType::F64);
    let mean = |a: &str, c: &str| b.mul(&b.add(a, c), &half);
    let below = if targeted { mean(&values[2], &values[3]) } else { values[2].clone() };
    let bottom = b.add(&b.sub(&values[0], &below), &b.scalar(1e-12, DType::F64));
    let at = |hot: &str| wide(&b.reduce_sum(&b.mul(z, hot), &[1], true));
    let top = b.sub(&at(&at_other), &at(at_label));
    let value = b.squeeze(&b.cast(&b.div(&top, &bottom), DType::F32), &[1]);
    head.loss = b.mul(&value, &head.weights);
    backward.then(|| {
        let places: Vec<String> = b.split(&sorted[1], 1, &vec![1; count]).iter().map(|p| wide(&one_hot(b, p, classes))).collect();
        let below = if targeted { mean(&places[2], &places[3]) } else { places[2].clone() };
        let above = b.div(&b.sub(&wide(&at_other), &wide(at_label)), &bottom);
        let under = b.mul(&b.sub(&places[0], &below), &b.div(&top, &b.mul(&bottom, &bottom)));
        b.cast(&b.sub(&above, &under), DType::F32)
    })
}
