//! The logits: which output they are, without a final Softmax, as `[N, K]`.

use super::{Names, prune::prune};
use crate::core::{
    error::{Error, Result},
    graph::infer,
    onnx::{DType, Dim, Graph, Node, TensorData, ValueInfo},
};

/// Makes the logits the graph's only output; gives their name and K.
pub fn find(graph: &mut Graph, image: &str, names: &mut Names, notices: &mut Vec<String>) -> Result<(String, usize)> {
    let chosen = choose(graph, notices)?;
    let cut = before_softmax(graph, &chosen, notices);
    let ty = graph.types.get(&cut).cloned();
    graph.outputs =
        vec![ValueInfo { name: cut.clone(), ty: ty.clone().unwrap_or(crate::core::onnx::TensorType { dtype: DType::F32, shape: None }) }];
    prune(graph);
    if !graph.inputs.iter().any(|i| i.name == image) {
        return Err(Error::Model(format!("the output '{cut}' does not depend on the image; export the model again")));
    }
    let shape = ty.and_then(|t| t.shape).unwrap_or_default();
    if let [Dim::Batch(1), Dim::Fixed(k)] = shape.as_slice() {
        return Ok((cut, *k));
    }
    let classes = classes(&shape).ok_or_else(|| not_a_classifier(&cut, &shape))?;
    let (target, name) = (names.fresh("shape"), names.fresh("logits"));
    graph.initializers.insert(target.clone(), TensorData::i64(&[2], &[-1, classes as i64]));
    graph.nodes.push(Node::new("Reshape", &[&cut, &target], &[&name]));
    graph.outputs[0].name = name.clone();
    infer::infer(graph)?;
    Ok((name, classes))
}

/// K of a shape that is `[N, K]` up to dimensions of 1, or `[N * K]`.
fn classes(shape: &[Dim]) -> Option<usize> {
    let rest: Vec<usize> = match shape.split_first()? {
        (Dim::Batch(1), rest) => rest.iter().map(|d| d.fixed()).collect::<Option<_>>()?,
        (Dim::Batch(k), []) => vec![*k],
        (Dim::Fixed(1), rest) if rest.first() == Some(&Dim::Batch(1)) => rest[1..].iter().map(|d| d.fixed()).collect::<Option<_>>()?,
        _ => return None,
    };
    let k: usize = rest.iter().product();
    (k >= 2 && rest.iter().filter(|&&d| d != 1).count() == 1).then_some(k)
}

fn choose(graph: &Graph, notices: &mut Vec<String>) -> Result<String> {
    let shape = |name: &str| graph.types.get(name).filter(|t| t.dtype.is_float()).and_then(|t| t.shape.clone());
    let fitting: Vec<&str> =
        graph.outputs.iter().map(|o| o.name.as_str()).filter(|n| shape(n).and_then(|s| classes(&s)).is_some()).collect();
    let Some(&first) = fitting.first() else {
        super::complete(graph)?;
        let name = &graph.outputs[0].name;
        return Err(not_a_classifier(name, &shape(name).unwrap_or_default()));
    };
    let chosen = fitting.iter().copied().find(|n| n.to_lowercase().contains("logit")).unwrap_or(first);
    if graph.outputs.len() > 1 {
        notices.push(format!("the model has {} outputs; '{chosen}' is taken for the logits", graph.outputs.len()));
    }
    Ok(chosen.to_owned())
}

/// Walks back over a final Softmax, LogSoftmax or Sigmoid and reshapes after it. An output that calls itself logits is
/// taken at its word.
fn before_softmax(graph: &Graph, output: &str, notices: &mut Vec<String>) -> String {
    if output.to_lowercase().contains("logit") {
        return output.to_owned();
    }
    let mut at = output;
    while let Some(node) = graph.nodes.iter().find(|n| n.outputs.first().is_some_and(|o| o == at)) {
        let Some(input) = node.input(0) else { break };
        match node.op.as_str() {
            "Softmax" | "LogSoftmax" | "Sigmoid" => {
                let usable = graph.types.get(input).and_then(|t| t.shape.as_deref()).is_some_and(|s| classes(s).is_some());
                if usable {
                    notices.push(format!("the final {} was cut; the logits are its input '{input}'", node.op));
                    return input.to_owned();
                }
                break;
            }
            "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Cast" => at = input,
            _ => break,
        }
    }
    output.to_owned()
}

fn not_a_classifier(name: &str, shape: &[Dim]) -> Error {
    let dims: Vec<String> = shape
        .iter()
        .map(|d| match d {
            Dim::Fixed(v) => v.to_string(),
            Dim::Batch(1) => "N".into(),
            Dim::Batch(k) => format!("{k}N"),
            Dim::Unknown => "?".into(),
        })
        .collect();
    Error::Model(format!(
        "the model's output '{name}' has the shape [{}]; psescope needs a classifier with one score per class, [N, K]",
        dims.join(", ")
    ))
}
