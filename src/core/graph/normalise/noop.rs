//! Removes nodes that do nothing.

use std::collections::HashMap;

use super::prune::{prune, rename};
use crate::core::{
    error::Result,
    graph::{
        eval::{
            Args, Value,
            geometry::{pad::Padding, resize::Resampling, slice::spans},
        },
        infer::{Depth, Facts, POINTS, propagate},
    },
    onnx::{Graph, Node},
};

/// Removes Identity and Dropout, whatever their attributes say about training.
pub fn remove_training(graph: &mut Graph, keep: &[String]) {
    let used: std::collections::HashSet<String> =
        graph.nodes.iter().flat_map(|n| n.inputs.iter().cloned()).chain(graph.outputs.iter().map(|o| o.name.clone())).collect();
    drop_nodes(graph, keep, |node| {
        node.domain.is_empty()
            && (node.op == "Identity" || node.op == "Dropout" && node.outputs.get(1).is_none_or(|mask| !used.contains(mask)))
    });
}

/// Removes reshapes, slices, pads, casts, … whose result is their input.
pub fn remove(graph: &mut Graph, keep: &[String]) -> Result<()> {
    let facts = propagate(graph, Depth::Shapes, POINTS)?;
    let opset = graph.opset;
    drop_nodes(graph, keep, |node| node.domain.is_empty() && idle(node, opset, &facts));
    prune(graph);
    Ok(())
}

fn drop_nodes(graph: &mut Graph, keep: &[String], idle: impl Fn(&Node) -> bool) {
    let mut renames = HashMap::new();
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        match (idle(&node), node.input(0), node.outputs.first()) {
            (true, Some(from), Some(to)) if !keep.contains(to) => {
                renames.insert(to.clone(), from.to_owned());
            }
            _ => kept.push(node),
        }
    }
    graph.nodes = kept;
    rename(graph, &renames);
}

fn idle(node: &Node, opset: i64, facts: &Facts) -> bool {
    let (Some(from), Some(to)) = (node.input(0).and_then(|i| facts.get(i)), node.outputs.first().and_then(|o| facts.get(o))) else {
        return false;
    };
    if from.dtype != to.dtype || from.shapes != to.shapes || from.shapes[0].is_none() {
        return false;
    }
    let values: Vec<Option<&Value>> = node.inputs.iter().map(|i| facts.get(i).and_then(|f| f.values[0].as_deref())).collect();
    let args = Args { node, opset, values: &values };
    let shape = from.shapes[0].as_deref().unwrap_or(&[]);
    match node.op.as_str() {
        "Cast" | "Expand" | "Flatten" | "Identity" | "Reshape" | "Squeeze" | "Tile" | "Unsqueeze" => true,
        "Concat" | "Sum" | "Max" | "Min" | "Mean" => node.inputs.len() == 1,
        "Transpose" => node.ints("perm").is_some_and(|p| p.iter().enumerate().all(|(i, &a)| a == i as i64)),
        "Slice" => spans(&args, shape).is_ok_and(|s| s.iter().all(|p| p.step > 0)),
        "Pad" => Padding::of(&args, shape.len()).is_ok_and(|p| p.before.iter().chain(&p.after).all(|&v| v == 0)),
        "Resize" => {
            Resampling::of(&args, shape).is_ok_and(|r| r.coordinates != "tf_crop_and_resize" && r.axes.iter().all(|a| a.scale == 1.0))
        }
        _ => false,
    }
}
