//! Replacing a tensor in flight: `A <- mask * A + (1 - mask) * replacement`.

use super::Gate;
use crate::core::{
    error::{Error, Result},
    onnx::{Dim, Graph, Node, TensorType, ValueInfo},
};

/// Adds a gate; returns the names of its mask and replacement inputs. The gated value takes the tensor's name, so that
/// taps and gradients see what the rest of the network sees; the value before is `ungated_<tensor>`.
pub(super) fn apply(graph: &mut Graph, gate: &Gate) -> Result<(String, String)> {
    let tensor = gate.tensor.as_str();
    let position = graph.nodes.iter().position(|n| n.outputs.iter().any(|o| o == tensor));
    let ty = graph.types.get(tensor).cloned();
    let (Some(position), Some(ty)) = (position, ty.filter(|t| t.dtype.is_float() && t.shape.is_some())) else {
        return Err(Error::Model(format!(
            "'{tensor}' cannot be gated: it is not a computed float tensor of known shape; pick a layer from `inspect`"
        )));
    };
    let rank = ty.shape.as_ref().map_or(0, Vec::len);
    let before = fresh(graph, &format!("ungated_{tensor}"));
    for output in graph.nodes[position].outputs.iter_mut().filter(|o| *o == tensor) {
        output.clone_from(&before);
    }
    graph.types.insert(before.clone(), ty.clone());
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
