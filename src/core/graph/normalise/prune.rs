//! Removes what no output needs.

use std::collections::HashSet;

use crate::core::onnx::Graph;

/// Drops nodes, constants and inputs that the outputs do not depend on, and blanks unused optional outputs.
pub fn prune(graph: &mut Graph) {
    let mut needed: HashSet<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
    let mut live = Vec::with_capacity(graph.nodes.len());
    for mut node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if !node.outputs.iter().any(|o| needed.contains(o)) {
            continue;
        }
        needed.extend(node.inputs.iter().filter(|i| !i.is_empty()).cloned());
        while node.outputs.len() > 1 && node.op != "Split" && node.outputs.last().is_some_and(|o| !needed.contains(o)) {
            node.outputs.pop();
        }
        live.push(node);
    }
    live.reverse();
    graph.nodes = live;
    graph.initializers.retain(|name, _| needed.contains(name));
    graph.inputs.retain(|input| needed.contains(&input.name));
    let known: HashSet<&str> = graph
        .nodes
        .iter()
        .flat_map(|n| n.outputs.iter())
        .chain(graph.inputs.iter().map(|i| &i.name))
        .chain(graph.initializers.keys())
        .map(String::as_str)
        .collect();
    graph.types.retain(|name, _| known.contains(name.as_str()));
}

/// Replaces every use of a value by another one.
pub fn rename(graph: &mut Graph, renames: &std::collections::HashMap<String, String>) {
    if renames.is_empty() {
        return;
    }
    let last = |name: &str| {
        let mut at = name;
        while let Some(next) = renames.get(at) {
            at = next;
        }
        at.to_owned()
    };
    for input in graph.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut()) {
        if renames.contains_key(input) {
            *input = last(input);
        }
    }
    for output in &mut graph.outputs {
        output.name = last(&output.name);
    }
}
