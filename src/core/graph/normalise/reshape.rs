//! Reshape targets computed from Shape become constants wherever at most one dimension depends on the batch.

use super::Names;
use crate::core::{
    graph::{
        eval::geometry::axes::axis,
        infer::{Fact, Facts},
    },
    onnx::{Graph, Node, TensorData},
};

/// Rewrites the targets that can be; others keep their arithmetic. A Gather that takes everything in order, which is how
/// exporters write some views, becomes a Reshape too.
pub fn constant_targets(graph: &mut Graph, facts: &Facts, names: &mut Names) {
    let mut added = Vec::new();
    for node in graph.nodes.iter_mut().filter(|n| n.domain.is_empty()) {
        let (Some(input), Some(output)) = (node.input(0).and_then(|i| facts.get(i)), node.outputs.first().and_then(|o| facts.get(o)))
        else {
            continue;
        };
        let wanted = match node.op.as_str() {
            "Reshape" => !node.input(1).is_some_and(|t| graph.initializers.contains_key(t)),
            "Gather" => node.input(1).and_then(|i| facts.get(i)).is_some_and(|indices| takes_all(node, input, indices)),
            _ => false,
        };
        let ([Some(from0), Some(from1)], [Some(to0), Some(to1)]) = (&input.shapes, &output.shapes) else { continue };
        if let Some(target) = target([from0, from1], [to0, to1]).filter(|_| wanted) {
            let name = names.fresh("shape");
            let data = node.inputs[0].clone();
            node.op = "Reshape".into();
            node.attrs.clear();
            node.inputs = vec![data, name.clone()];
            added.push((name, TensorData::i64(&[target.len()], &target)));
        }
    }
    graph.initializers.extend(added);
}

/// Whether a Gather's indices are 0, 1, 2, … up to the end of its axis, at both points.
fn takes_all(node: &Node, data: &Fact, indices: &Fact) -> bool {
    (0..2).all(|p| {
        let (Some(shape), Some(list)) = (&data.shapes[p], &indices.values[p]) else { return false };
        let Ok(at) = axis(node.int("axis", 0), shape.len()) else { return false };
        list.len() == shape[at] && list.to_ints().into_iter().eq(0..shape[at] as i64)
    })
}

/// A target with numbers, at most one -1, and 0 where the input's dimension is copied.
fn target(from: [&[usize]; 2], to: [&[usize]; 2]) -> Option<Vec<i64>> {
    if to[0].len() != to[1].len() || to[0].contains(&0) {
        return None;
    }
    let varies = |i: usize| to[0][i] != to[1][i];
    let copies = |i: usize| from.iter().zip(to).all(|(f, t)| f.get(i) == Some(&t[i]));
    let varying: Vec<usize> = (0..to[0].len()).filter(|&i| varies(i)).collect();
    let free = match varying.as_slice() {
        [] => None,
        [one] => Some(*one),
        many => {
            let rest: Vec<usize> = many.iter().copied().filter(|&i| !copies(i)).collect();
            if rest.len() > 1 {
                return None;
            }
            rest.first().copied()
        }
    };
    Some(
        (0..to[0].len())
            .map(|i| {
                if Some(i) == free {
                    -1
                } else if varies(i) {
                    0
                } else {
                    to[0][i] as i64
                }
            })
            .collect(),
    )
}
