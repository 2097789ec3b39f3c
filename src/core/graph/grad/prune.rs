//! Removes what no output needs: ONNX Runtime executes dead nodes.

use std::collections::HashSet;

use crate::core::onnx::Graph;

/// Drops nodes, constants and types that no graph output depends on. Outputs of kept nodes that nobody reads stay named.
pub fn prune(graph: &mut Graph) {
    let mut needed: HashSet<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if node.outputs.iter().any(|o| needed.contains(o)) {
            needed.extend(node.inputs.iter().filter(|i| !i.is_empty()).cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.nodes = kept;
    graph.initializers.retain(|name, _| needed.contains(name));
    let mut alive = needed;
    alive.extend(graph.nodes.iter().flat_map(|n| n.outputs.iter().cloned()));
    alive.extend(graph.inputs.iter().map(|i| i.name.clone()));
    graph.types.retain(|name, _| alive.contains(name));
}
