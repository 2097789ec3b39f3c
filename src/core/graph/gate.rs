//! Replacing a tensor in flight: `A <- mask * A + (1 - mask) * replacement`.

use ndarray::ArrayD;

use super::{Gate, Prepared};
use crate::core::{
    error::{Error, Result},
    onnx::{Dim, Graph, Node, TensorType, ValueInfo},
};

/// A model with one tensor replaced for good: `A <- mask * A + patch`, both constants that broadcast against A.
pub fn masked(prepared: &Prepared, tensor: &str, mask: &ArrayD<f32>, patch: Option<&ArrayD<f32>>) -> Result<Graph> {
    let mut graph = prepared.graph.clone();
    let (position, ty) = gated(&graph, tensor)?;
    let before = take_over(&mut graph, position, tensor, &ty);
    let constant = |graph: &mut Graph, stem: &str, value: &ArrayD<f32>| {
        let name = fresh(graph, &format!("{stem}_{tensor}"));
        let values: Vec<f64> = value.iter().map(|v| f64::from(*v)).collect();
        graph.initializers.insert(name.clone(), super::grad::builder::float_tensor(value.shape(), &values, ty.dtype));
        name
    };
    let mask = constant(&mut graph, "mask", mask);
    let mut nodes = Vec::new();
    match patch {
        None => nodes.push(named("Mul", &[&before, &mask], tensor)),
        Some(patch) => {
            let patch = constant(&mut graph, "patch", patch);
            let kept = fresh(&graph, &format!("kept_{tensor}"));
            graph.types.insert(kept.clone(), ty);
            nodes.push(named("Mul", &[&before, &mask], &kept));
            nodes.push(named("Add", &[&kept, &patch], tensor));
        }
    }
    graph.nodes.splice(position + 1..position + 1, nodes);
    Ok(graph)
}

/// Place of the node that computes a tensor, and the tensor's type.
fn gated(graph: &Graph, tensor: &str) -> Result<(usize, TensorType)> {
    let position = graph.nodes.iter().position(|n| n.outputs.iter().any(|o| o == tensor));
    let ty = graph.types.get(tensor).cloned().filter(|t| t.dtype.is_float() && t.shape.is_some());
    position.zip(ty).ok_or_else(|| {
        Error::Model(format!("'{tensor}' cannot be gated: it is not a computed float tensor of known shape; pick a layer from `inspect`"))
    })
}

/// Gives the node's output another name, so that the gate's result can have its own; returns the new one.
fn take_over(graph: &mut Graph, position: usize, tensor: &str, ty: &TensorType) -> String {
    let before = fresh(graph, &format!("ungated_{tensor}"));
    for output in graph.nodes[position].outputs.iter_mut().filter(|o| *o == tensor) {
        output.clone_from(&before);
    }
    graph.types.insert(before.clone(), ty.clone());
    before
}

/// Adds a gate; returns the names of its mask and replacement inputs. The gated value takes the tensor's name, so that
/// taps and gradients see what the rest of the network sees; the value before is `ungated_<tensor>`.
pub(super) fn apply(graph: &mut Graph, gate: &Gate) -> Result<(String, String)> {
    let tensor = gate.tensor.as_str();
    let (position, ty) = gated(graph, tensor)?;
    let rank = ty.shape.as_ref().map_or(0, Vec::len);
    let before = take_over(graph, position, tensor, &ty);
    let open = TensorType { dtype: ty.dtype, shape: Some(vec![Dim::Unknown; rank]) };
    let names = [fresh(graph, &format!("gate_mask_{tensor}")), fresh(graph, &format!("gate_replacement_{tensor}"))];
    for name in &names {
        graph.types.insert(name.clone(), open.clone());
        graph.inputs.push(ValueInfo { name: name.clone(), ty: open.clone() });
    }
    let [mask, replacement] = names;
    // r + m * (A - r) would lose A where the mask is 1 and r is large; two products keep both ends exact.
    let kept = fresh(graph, &format!("kept_{tensor}"));
    let rest = fresh(graph, &format!("rest_{tensor}"));
    let patch = fresh(graph, &format!("patch_{tensor}"));
    let one = fresh(graph, &format!("one_{tensor}"));
    graph.initializers.insert(one.clone(), super::grad::builder::float_tensor(&[], &[1.0], ty.dtype));
    let steps =
        [("Mul", [&mask, &before], &kept, &ty), ("Sub", [&one, &mask], &rest, &open), ("Mul", [&rest, &replacement], &patch, &open)];
    let mut nodes: Vec<Node> = Vec::new();
    for (op, inputs, output, ty) in steps {
        nodes.push(named(op, &inputs.map(String::as_str), output));
        graph.types.insert(output.clone(), ty.clone());
    }
    nodes.push(named("Add", &[&kept, &patch], tensor));
    graph.nodes.splice(position + 1..position + 1, nodes);
    Ok((mask, replacement))
}

fn named(op: &str, inputs: &[&str], output: &str) -> Node {
    let mut node = Node::new(op, inputs, &[output]);
    node.name = output.to_owned();
    node
}

fn fresh(graph: &Graph, wish: &str) -> String {
    let taken = |n: &str| graph.types.contains_key(n) || graph.initializers.contains_key(n) || graph.inputs.iter().any(|i| i.name == n);
    let mut name = wish.to_owned();
    while taken(&name) {
        name = format!("psescope_{name}");
    }
    name
}
