//! Constant folding.

use crate::core::{
    graph::infer::Facts,
    onnx::{DType, Graph},
};

/// Replaces every node whose outputs are the same for every image and batch size by constants. Values are computed in
/// f64 from the stored ones, rounded to the value's type after each node.
pub fn fold(graph: &mut Graph, facts: &Facts) {
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        let tensors: Option<Vec<_>> = node
            .outputs
            .iter()
            .filter(|o| !o.is_empty())
            .map(|o| {
                let fact = facts.get(o).filter(|f| f.constant && !matches!(f.dtype, DType::Other(_)))?;
                Some((o.clone(), fact.values[0].as_ref()?.to_tensor(fact.dtype)?))
            })
            .collect();
        match tensors {
            Some(list) => graph.initializers.extend(list),
            None => graph.nodes.push(node),
        }
    }
}
