//! Which tensors have units that can be counted, masked and patched, and where those units are.

use std::collections::{HashMap, HashSet};

use super::{
    Prepared,
    layers::{ACTIVATIONS, maps, spatial_layers, users},
};
use crate::core::{
    onnx::{Dim, Graph, Node},
    oracle::LayerInfo,
};

/// A layer and the place of its units among the dimensions of its tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitLayer {
    /// Name, operator, number of units; `spatial` is `[T, 1]` for tokens and `[1, 1]` for vectors.
    pub info: LayerInfo,
    /// Dimension of the units.
    pub axis: usize,
    /// Number of dimensions, the batch included.
    pub rank: usize,
}

/// Where the units are: second in maps and vectors, last in tokens and in maps with channels last.
pub(super) fn axis(rank: usize, channels_last: bool) -> usize {
    if rank == 3 || channels_last { rank.saturating_sub(1) } else { 1 }
}

/// Maps that keep their channels last.
pub(super) fn channels_last(prepared: &Prepared) -> HashSet<String> {
    maps(prepared).into_iter().filter(|(_, last)| *last).map(|(name, _)| name.to_owned()).collect()
}

/// The spatial layers, and in the parts of the network without maps the outputs of activations and residual sums: tokens
/// `[N, T, C]` and vectors `[N, C]`, first to last, without the logits.
pub fn unit_layers(prepared: &Prepared) -> Vec<UnitLayer> {
    let graph = &prepared.graph;
    let last = channels_last(prepared);
    // Grids of tokens are maps to look at, but as tensors they are sequences.
    let is_map = |l: &LayerInfo| graph.types.get(&l.name).and_then(|t| t.shape.as_ref()).is_some_and(|s| s.len() == 4);
    let spatial: HashMap<String, LayerInfo> = spatial_layers(prepared).into_iter().filter(is_map).map(|l| (l.name.clone(), l)).collect();
    let users = users(graph);
    let mut layers = Vec::new();
    for node in &graph.nodes {
        let Some(output) = node.outputs.first() else { continue };
        if let Some(info) = spatial.get(output) {
            layers.push(UnitLayer { info: info.clone(), axis: axis(4, last.contains(output)), rank: 4 });
        } else if *output != prepared.logits
            && let Some(layer) = hidden(graph, node, output, &users)
        {
            layers.push(layer);
        }
    }
    layers
}

/// The tensors that every path from the image to the logits goes through, in order.
pub fn passages(prepared: &Prepared) -> Vec<String> {
    let graph = &prepared.graph;
    // Values of the image that are still needed at this point of the topological order, by their last reader.
    let mut last_reader: HashMap<&str, usize> = HashMap::from([(prepared.logits.as_str(), usize::MAX)]);
    for (i, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            last_reader.entry(input).and_modify(|at| *at = (*at).max(i)).or_insert(i);
        }
    }
    let mut varying: HashSet<&str> = HashSet::from([prepared.image.as_str()]);
    let mut open: Vec<&str> = vec![prepared.image.as_str()];
    let mut found = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        // Shapes carry no values.
        if matches!(node.op.as_str(), "Shape" | "Size") || !node.inputs.iter().any(|n| varying.contains(n.as_str())) {
            open.retain(|name| last_reader.get(name).is_some_and(|at| *at > i));
            continue;
        }
        let outputs = node.outputs.iter().filter(|o| !o.is_empty()).map(String::as_str);
        varying.extend(outputs.clone());
        open.extend(outputs);
        open.retain(|name| last_reader.get(name).is_some_and(|at| *at > i));
        if let [only] = open.as_slice()
            && *only != prepared.logits
        {
            found.push((*only).to_owned());
        }
    }
    found.dedup();
    found
}

/// Operators that bring branches together.
const JOINS: &[&str] = &["Add", "Sum", "Concat"];

/// Those of the layers that end a block: they lie where everything passes through, and join branches (or are the activation of what does), or
/// are convolutions without an activation (linear bottlenecks). The first and the last such place with maps and all vectors count too. Networks
/// without branches have no blocks: all places where everything passes through.
pub fn block_ends(prepared: &Prepared, layers: &[UnitLayer]) -> Vec<String> {
    let graph = &prepared.graph;
    let passages: HashSet<String> = passages(prepared).into_iter().collect();
    let main: Vec<&UnitLayer> = layers.iter().filter(|l| passages.contains(&l.info.name)).collect();
    let producers: HashMap<&str, &Node> = graph.nodes.iter().flat_map(|n| n.outputs.iter().map(move |o| (o.as_str(), n))).collect();
    let varying = |n: &Node| n.inputs.iter().filter(|i| producers.contains_key(i.as_str()) || **i == prepared.image).count();
    let joins = |name: &str| producers.get(name).is_some_and(|n| JOINS.contains(&n.op.as_str()) && varying(n) > 1);
    let joined = |name: &str| {
        let activated = |n: &&Node| (ACTIVATIONS.contains(&n.op.as_str()) || n.op == "Mul") && n.inputs.iter().any(|i| joins(i));
        joins(name) || producers.get(name).is_some_and(activated)
    };
    if main.iter().filter(|l| joined(&l.info.name)).count() < 2 {
        return main.into_iter().map(|l| l.info.name.clone()).collect();
    }
    let is_vector = |l: &UnitLayer| l.rank == 2;
    let (first, last) = (main.iter().position(|l| !is_vector(l)), main.iter().rposition(|l| !is_vector(l)));
    let ends = main.iter().enumerate().filter(|(i, l)| {
        let linear = l.info.op == "Conv" || l.info.op == "BatchNormalization";
        Some(*i) == first || Some(*i) == last || is_vector(l) || linear || joined(&l.info.name)
    });
    ends.map(|(_, l)| l.info.name.clone()).collect()
}

/// Any computed float tensor with a batch and a unit dimension of known size, as a layer.
pub fn unit_layer(prepared: &Prepared, name: &str) -> Option<UnitLayer> {
    let node = prepared.graph.nodes.iter().find(|n| n.outputs.iter().any(|o| o == name))?;
    let ty = prepared.graph.types.get(name).filter(|t| t.dtype.is_float())?;
    let shape = ty.shape.as_deref().filter(|s| s.first() == Some(&Dim::Batch(1)))?;
    let sizes: Vec<usize> = shape[1..].iter().map(|d| d.fixed()).collect::<Option<_>>()?;
    let (units, spatial, axis) = match *sizes.as_slice() {
        [c] => (c, [1, 1], 1),
        [t, c] => (c, [t, 1], 2),
        [h, w, c] if channels_last(prepared).contains(name) => (c, [h, w], 3),
        [c, h, w] => (c, [h, w], 1),
        _ => return None,
    };
    Some(UnitLayer { info: LayerInfo { name: name.to_owned(), op: node.op.clone(), units, spatial }, axis, rank: shape.len() })
}

/// Tokens or a vector that a block ends in.
fn hidden(graph: &Graph, node: &Node, output: &str, users: &HashMap<&str, Vec<usize>>) -> Option<UnitLayer> {
    let ty = graph.types.get(output).filter(|t| t.dtype.is_float())?;
    let (units, spatial) = match ty.shape.as_deref()? {
        [Dim::Batch(1), Dim::Fixed(t), Dim::Fixed(c)] if *t > 1 => (*c, [*t, 1]),
        [Dim::Batch(1), Dim::Fixed(c)] => (*c, [1, 1]),
        _ => return None,
    };
    let varying = node.inputs.iter().filter(|i| !i.is_empty() && !graph.initializers.contains_key(*i)).count();
    let op = node.op.as_str();
    let next: Vec<&Node> = users.get(output).into_iter().flatten().map(|&i| &graph.nodes[i]).collect();
    // x * sigmoid(x) and the like: the product is the activation; gates of other branches are no layers of their own.
    let inner = next.iter().all(|n| matches!(n.op.as_str(), "Mul" | "Erf" | "Div"));
    let gelu = op == "Mul" && varying > 1 && next.iter().any(|n| matches!(n.op.as_str(), "MatMul" | "Gemm"));
    let counts = ACTIVATIONS.contains(&op) || gelu || matches!(op, "Add" | "Sum") && varying > 1;
    let shared = next.iter().any(|n| n.op == "Reshape" || n.op == "Unsqueeze") && spatial == [1, 1];
    (counts && units > 1 && !next.is_empty() && !inner && !shared).then(|| UnitLayer {
        info: LayerInfo { name: output.to_owned(), op: node.op.clone(), units, spatial },
        axis: axis(if spatial == [1, 1] { 2 } else { 3 }, false),
        rank: if spatial == [1, 1] { 2 } else { 3 },
    })
}
