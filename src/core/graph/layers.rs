//! Which tensors can be looked into, and whether the model ends in global average pooling and one linear layer.

use std::collections::{HashMap, HashSet};

use ndarray::{Array1, Array2};

use super::{Layout, Prepared};
use crate::core::{
    onnx::{Dim, Graph, Node},
    oracle::{LayerInfo, LinearHead},
};

/// Elementwise functions of one tensor that end a block.
pub(super) const ACTIVATIONS: &[&str] = &[
    "Celu",
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "PRelu",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
];

/// Further operators whose output closes a block.
const JOINS: &[&str] = &["Add", "Sum", "Concat", "Mul", "Conv", "ConvTranspose", "BatchNormalization"];

/// The maps `[N, C, H, W]` (or `[N, H, W, C]` in channels-last parts) with H and W above 1 between image and logits,
/// first to last: outputs of activations, residual sums, gates, concatenations and bare convolutions, leaving out what an
/// activation or a sum follows at once, additions of constants, and side branches such as squeeze-and-excitation gates.
pub fn spatial_layers(prepared: &Prepared) -> Vec<LayerInfo> {
    let graph = &prepared.graph;
    let users = users(graph);
    let maps = maps(prepared);
    let mut layers = Vec::new();
    for node in &graph.nodes {
        let Some(output) = node.outputs.first() else { continue };
        let op = node.op.as_str();
        let Some([units, height, width]) = maps.get(output.as_str()).copied().and_then(|last| map_shape(graph, output, last)) else {
            continue;
        };
        let varying = node.inputs.iter().filter(|i| !graph.initializers.contains_key(*i)).count();
        let counts = ACTIVATIONS.contains(&op) || JOINS.contains(&op) && (varying > 1 || !ELEMENTWISE.contains(&op));
        let next: Vec<&Node> = users.get(output.as_str()).into_iter().flatten().map(|&i| &graph.nodes[i]).collect();
        if !counts || height <= 1 || width <= 1 || next.is_empty() || rolled(graph, node) || superseded(graph, node, &next, &users) {
            continue;
        }
        layers.push(LayerInfo { name: output.clone(), op: node.op.clone(), units, spatial: [height, width] });
    }
    layers
}

/// A Concat that puts the slices of one tensor back together in another order.
fn rolled(graph: &Graph, node: &Node) -> bool {
    let source = |name: &String| {
        graph.nodes.iter().find(|n| n.outputs.contains(name)).filter(|n| n.op == "Slice" || n.op == "Split").and_then(|n| n.input(0))
    };
    let mut sources = node.inputs.iter().map(source);
    let first = sources.next().flatten();
    let shape = |name: &str| graph.types.get(name).and_then(|t| t.shape.as_ref());
    node.op == "Concat" && first.is_some_and(|f| sources.all(|s| s == Some(f)) && shape(f) == node.outputs.first().and_then(|o| shape(o)))
}

/// Joins that count only when they join two values of the image.
const ELEMENTWISE: &[&str] = &["Add", "Sum", "Mul"];

/// Whether a following node gives the more telling tensor of the same block.
fn superseded(graph: &Graph, node: &Node, next: &[&Node], users: &HashMap<&str, Vec<usize>>) -> bool {
    let op = |n: &Node| n.op.clone();
    let is_activation = |n: &Node| ACTIVATIONS.contains(&n.op.as_str());
    let gate = |n: &Node| matches!(n.op.as_str(), "Sigmoid" | "HardSigmoid" | "Tanh" | "Softplus" | "Erf");
    // x * sigmoid(x): the product is the activation.
    let product_of = |n: &Node| n.op == "Mul" && n.inputs.iter().any(|i| node.outputs.contains(i));
    if gate(node) && next.iter().all(|n| n.op == "Mul") {
        return true;
    }
    if is_activation(node) {
        return false;
    }
    let gated = next
        .iter()
        .any(|n| gate(n) && n.outputs.iter().any(|o| users.get(o.as_str()).into_iter().flatten().any(|&i| product_of(&graph.nodes[i]))));
    if gated || next.iter().all(|n| is_activation(n)) {
        return true;
    }
    if next.iter().all(|n| op(n) == "BatchNormalization") {
        return true;
    }
    // Products and convolutions count only when nothing but further layers read them.
    matches!(node.op.as_str(), "Mul" | "Conv" | "BatchNormalization" | "ConvTranspose")
        && next.iter().all(|n| matches!(n.op.as_str(), "Add" | "Sum" | "Mul" | "Div" | "Concat" | "Erf"))
}

/// Channels, height, width.
fn map_shape(graph: &Graph, name: &str, channels_last: bool) -> Option<[usize; 3]> {
    match graph.types.get(name)?.shape.as_deref()? {
        [Dim::Batch(1), a, b, c] => {
            let (a, b, c) = (a.fixed()?, b.fixed()?, c.fixed()?);
            Some(if channels_last { [c, a, b] } else { [a, b, c] })
        }
        _ => None,
    }
}

pub(super) fn users(graph: &Graph) -> HashMap<&str, Vec<usize>> {
    let mut users: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            users.entry(input).or_default().push(i);
        }
    }
    users
}

/// Values that are maps of the image, and whether their channels are the last dimension. Convolutions, poolings and
/// everything elementwise keep maps; a Reshape makes one only when it restores the height and width of an earlier map,
/// so that attention matrices are not taken for maps.
pub(super) fn maps(prepared: &Prepared) -> HashMap<&str, bool> {
    let graph = &prepared.graph;
    let mut maps = HashMap::from([(prepared.image.as_str(), prepared.layout == Layout::Nhwc)]);
    let mut sizes: HashSet<[usize; 2]> = HashSet::new();
    for node in &graph.nodes {
        let Some(output) = node.outputs.first() else { continue };
        let inherited = node.inputs.iter().find_map(|i| maps.get(i.as_str()).copied());
        let last = match (node.op.as_str(), inherited) {
            (
                "Shape" | "Size" | "Flatten" | "Gather" | "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceL2" | "GlobalAveragePool"
                | "GlobalMaxPool",
                _,
            ) => None,
            ("Reshape", _) => restored(graph, output, &sizes),
            ("Transpose", Some(last)) => match (node.ints("perm"), last) {
                (Some([0, 2, 3, 1]), false) => Some(true),
                (Some([0, 3, 1, 2]), true) => Some(false),
                _ => None,
            },
            (_, inherited) => inherited,
        };
        if let Some((last, [_, height, width])) = last.and_then(|last| Some((last, map_shape(graph, output, last)?))) {
            sizes.insert([height, width]);
            maps.extend(node.outputs.iter().map(|o| (o.as_str(), last)));
        }
    }
    maps
}

/// Whether a reshaped value has the height and width of an earlier map, and then where its channels are.
fn restored(graph: &Graph, name: &str, sizes: &HashSet<[usize; 2]>) -> Option<bool> {
    [true, false].into_iter().find(|&last| map_shape(graph, name, last).is_some_and(|[_, h, w]| h > 1 && sizes.contains(&[h, w])))
}

/// The head of a network that ends in global average pooling and one linear layer.
pub fn linear_head(prepared: &Prepared) -> Option<LinearHead> {
    let graph = &prepared.graph;
    let producer = |name: &str| graph.nodes.iter().find(|n| n.outputs.first().is_some_and(|o| o == name));
    let mut at = producer(&prepared.logits)?;
    while is_reshape(at) {
        at = producer(at.input(0)?)?;
    }
    // Pooling last: the linear layer is a 1x1 convolution before it.
    if let Some((map, 1)) = pooled(graph, at) {
        return pointwise(graph, producer(map)?, prepared.classes);
    }
    let (weights, bias, mut from) = linear(graph, at, &producer)?;
    if weights.nrows() != prepared.classes {
        return None;
    }
    loop {
        let node = producer(from)?;
        if let Some((map, channels)) = pooled(graph, node) {
            let units = graph.types.get(map)?.shape.as_ref()?[channels].fixed();
            return (units == Some(weights.ncols())).then(|| LinearHead { layer: map.to_owned(), weights, bias });
        }
        if !is_reshape(node) {
            return None;
        }
        from = node.input(0)?;
    }
}

fn is_reshape(node: &Node) -> bool {
    matches!(node.op.as_str(), "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Identity" | "Dropout" | "Cast")
}

/// The map a node averages over all positions, and the axis of its channels.
fn pooled<'a>(graph: &Graph, node: &'a Node) -> Option<(&'a str, usize)> {
    let input = node.input(0)?;
    let shape = graph.types.get(input)?.shape.as_deref()?;
    let &[Dim::Batch(1), _, b, c] = shape else { return None };
    let channels = match node.op.as_str() {
        "GlobalAveragePool" => 1,
        "AveragePool" => {
            let size = [b.fixed()? as i64, c.fixed()? as i64];
            let unpadded = node.ints("pads").is_none_or(|p| p.iter().all(|&v| v == 0));
            if node.ints("kernel_shape") != Some(&size) || !unpadded {
                return None;
            }
            1
        }
        "ReduceMean" => {
            let listed = node.ints("axes").map(<[i64]>::to_vec).or_else(|| graph.initializers.get(node.input(1)?)?.to_i64())?;
            let mut axes: Vec<i64> = listed.into_iter().map(|v| if v < 0 { v + 4 } else { v }).collect();
            axes.sort_unstable();
            match axes.as_slice() {
                [2, 3] => 1,
                [1, 2] => 3,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((input, channels))
}

/// Weights `[K, C]`, bias and input of a Gemm, or of a MatMul with or without an Add after it.
fn linear<'a>(graph: &Graph, node: &'a Node, producer: &impl Fn(&str) -> Option<&'a Node>) -> Option<(Array2<f32>, Array1<f32>, &'a str)> {
    let constant = |name: &str| {
        let t = graph.initializers.get(name)?;
        Some((t.dims.clone(), t.to_f64()?.into_iter().map(|v| v as f32).collect::<Vec<f32>>()))
    };
    let matrix = |name: &str| {
        let (dims, data) = constant(name)?;
        let &[rows, columns] = dims.as_slice() else { return None };
        Array2::from_shape_vec((rows, columns), data).ok()
    };
    match node.op.as_str() {
        "Gemm" if node.int("transA", 0) == 0 => {
            let w = matrix(node.input(1)?)?;
            let w = if node.int("transB", 0) != 0 { w } else { transposed(w) } * node.float("alpha", 1.0);
            let bias = match node.input(2) {
                Some(name) => spread(constant(name)?.1, w.nrows())? * node.float("beta", 1.0),
                None => Array1::zeros(w.nrows()),
            };
            Some((w, bias, node.input(0)?))
        }
        "MatMul" => {
            let w = transposed(matrix(node.input(1)?)?);
            let bias = Array1::zeros(w.nrows());
            Some((w, bias, node.input(0)?))
        }
        "Add" => {
            let (bias, other) = match (constant(node.input(0)?), constant(node.input(1)?)) {
                (Some((_, b)), None) => (b, node.input(1)?),
                (None, Some((_, b))) => (b, node.input(0)?),
                _ => return None,
            };
            let product = producer(other).filter(|n| n.op == "MatMul" || n.op == "Gemm")?;
            let (w, inner, from) = linear(graph, product, producer)?;
            let bias = inner + spread(bias, w.nrows())?;
            Some((w, bias, from))
        }
        _ => None,
    }
}

fn transposed(w: Array2<f32>) -> Array2<f32> {
    w.reversed_axes().as_standard_layout().into_owned()
}

fn spread(bias: Vec<f32>, classes: usize) -> Option<Array1<f32>> {
    match bias.len() {
        1 => Some(Array1::from_elem(classes, bias[0])),
        n if n == classes => Some(Array1::from_vec(bias)),
        _ => None,
    }
}

/// A 1x1 convolution without padding that gives one map per class.
fn pointwise(graph: &Graph, conv: &Node, classes: usize) -> Option<LinearHead> {
    let w = graph.initializers.get(conv.input(1)?)?;
    let plain = conv.op == "Conv"
        && conv.int("group", 1) == 1
        && conv.ints("strides").is_none_or(|s| s.iter().all(|&v| v == 1))
        && conv.ints("pads").is_none_or(|p| p.iter().all(|&v| v == 0));
    let &[k, c, 1, 1] = w.dims.as_slice() else { return None };
    if !plain || k != classes {
        return None;
    }
    let values = |t: &crate::core::onnx::TensorData| Some(t.to_f64()?.into_iter().map(|v| v as f32).collect::<Vec<f32>>());
    let bias = match conv.input(2) {
        Some(name) => Array1::from_vec(values(graph.initializers.get(name)?)?),
        None => Array1::zeros(k),
    };
    Some(LinearHead { layer: conv.input(0)?.to_owned(), weights: Array2::from_shape_vec((k, c), values(w)?).ok()?, bias })
}
