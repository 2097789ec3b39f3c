//! Maps and one number per channel (squeeze and excitation). A broadcast product or sum leaves ONNX Runtime's blocked layout; an
//! enlarged copy of the numbers, made inside it, does not, and serves forwards and backwards.

use super::Cx;
use crate::core::{
    error::Result,
    onnx::{Attr, DType, Dim, Node, TensorData, TensorType},
};

/// Narrower maps waste the blocks.
const BLOCK: usize = 16;

/// The product of a map `[N, C, H, W]` with a gate `[N, C, 1, 1]` that a convolution makes. True when its gradients were handed over.
pub fn gated(cx: &mut Cx) -> Result<bool> {
    let b = cx.b;
    let (first, second) = (cx.shape(0)?, cx.shape(1)?);
    let (map, gate) = if fits(&first, &second) {
        (0, 1)
    } else if fits(&second, &first) {
        (1, 0)
    } else {
        return Ok(false);
    };
    if !(cx.needs(map) && cx.needs(gate) && computes(cx.dtype(0)?) && in_layout(cx, cx.x(gate)?) && in_layout(cx, cx.x(map)?)) {
        return Ok(false);
    }
    let (shape, dtype) = (cx.shape(map)?, cx.dtype(map)?);
    let (Some(c), Some(h), Some(w)) = (shape[1].fixed(), shape[2].fixed(), shape[3].fixed()) else { return Ok(false) };
    let large = b.value("Resize", TensorType { dtype, shape: Some(shape) });
    let mut enlarge = Node::new("Resize", &[cx.x(gate)?, "", &scales(cx, h, w)], &[&large]);
    enlarge.name.clone_from(&large);
    enlarge.attrs = attributes().into_iter().map(|(n, a)| (n.to_owned(), a)).collect();
    let mut product = cx.node.clone();
    product.inputs[gate].clone_from(&large);
    b.replace_forward(cx.index, vec![enlarge, product]);
    let g = cx.g()?;
    let along = b.mul(&g, cx.x(map)?);
    let mean = b.emit("GlobalAveragePool", &[&along], &[], dtype, cx.shape(gate)?);
    cx.push(map, b.mul(&g, &large))?;
    cx.push(gate, b.mul(&mean, &b.floats(&[1, c, 1, 1], &vec![(h * w) as f64; c], dtype)))?;
    Ok(true)
}

/// The gradient `[N, C, 1, 1]` of a mean over a map that others read too, enlarged inside the layout; `None` where it is not in it.
pub fn spread(cx: &Cx, g: &str, shape: &[Dim]) -> Result<Option<String>> {
    let b = cx.b;
    let blocked = in_layout(cx, cx.x(0)?) && b.emitted(g).is_some_and(|n| n.op == "Conv");
    let (true, [_, Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)]) = (blocked && fits(shape, &b.shape(g)?), shape) else { return Ok(None) };
    let dtype = b.dtype(g);
    if !computes(dtype) {
        return Ok(None);
    }
    let share = b.mul(g, &b.floats(&[1, *c, 1, 1], &vec![1.0 / (h * w) as f64; *c], dtype));
    Ok(Some(b.emit("Resize", &[&share, "", &scales(cx, *h, *w)], &attributes(), dtype, shape.to_vec())))
}

/// Types in which every engine has these operators.
fn computes(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64)
}

/// Whether `small` is one number per channel of `map`.
fn fits(map: &[Dim], small: &[Dim]) -> bool {
    let one = Dim::Fixed(1);
    matches!((map, small), (&[n, Dim::Fixed(c), h, w], &[m, Dim::Fixed(d), k, l]) if n == m && c == d && c >= BLOCK
        && (h, w) != (one, one) && (k, l) == (one, one))
}

/// Whether a value is a convolution behind activations, and one that ONNX Runtime runs in its blocked layout: dense or depthwise.
fn in_layout(cx: &Cx, value: &str) -> bool {
    let mut producer = cx.producer(value);
    while let Some(node) = producer.filter(|n| n.domain.is_empty()) {
        match node.op.as_str() {
            "Conv" => {
                let channels = cx.b.shape(&node.outputs[0]).ok().and_then(|s| s.get(1)?.fixed());
                let group = node.int("group", 1);
                return group == 1 || channels.is_some_and(|c| c as i64 == group);
            }
            "Sigmoid" | "HardSigmoid" | "HardSwish" | "Tanh" | "Relu" | "Clip" | "Mul" => producer = cx.producer(&node.inputs[0]),
            _ => return false,
        }
    }
    false
}

fn scales(cx: &Cx, h: usize, w: usize) -> String {
    cx.b.tensor(TensorData::f32(&[4], &[1.0, 1.0, h as f32, w as f32]))
}

fn attributes() -> [(&'static str, Attr); 3] {
    [("mode", "nearest".into()), ("coordinate_transformation_mode", "asymmetric".into()), ("nearest_mode", "floor".into())]
}
