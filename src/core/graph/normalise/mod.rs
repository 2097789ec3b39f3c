//! From any exported classifier to a [`Prepared`] graph: one pass per file, run in a fixed order.

mod batch;
mod batch_norm;
mod fold;
mod input;
mod logits;
mod names;
mod noop;
mod precision;
mod prune;
mod reshape;
mod upgrade;

pub use names::Names;

use super::{
    Options, Prepared,
    infer::{self, Depth, POINTS, propagate},
};
use crate::core::{
    error::{Error, Result},
    onnx::{Dim, Graph},
};

/// Oldest operator set that is understood.
const OLDEST: i64 = 7;

/// Prepares a model: one float image input with a dynamic batch, one output with the logits `[N, K]`, constants and
/// BatchNormalization folded, float32 throughout, operator set 17 or newer, every value typed.
pub fn normalise(mut graph: Graph, options: &Options) -> Result<Prepared> {
    let mut notices = Vec::new();
    check(&graph)?;
    prune::prune(&mut graph);
    let mut names = Names::new(&graph);
    upgrade::upgrade(&mut graph, &mut names)?;
    let image = input::image(&graph)?;
    precision::to_f32(&mut graph, &image, &mut notices);
    let input = input::resolve(&mut graph, &image, options, &mut notices)?;
    noop::remove_training(&mut graph, &options.keep);
    if let Dim::Fixed(size) = input.batch {
        batch::make_dynamic(&mut graph, &image, size, &mut names)?;
        notices.push(format!("the file fixes the batch size at {size}; it was made dynamic"));
    }
    set_batch(&mut graph, &image);
    let facts = propagate(&graph, Depth::Constants, POINTS)?;
    fold::fold(&mut graph, &facts);
    reshape::constant_targets(&mut graph, &facts, &mut names);
    prune::prune(&mut graph);
    noop::remove(&mut graph, &options.keep)?;
    batch_norm::fold(&mut graph, &mut names, &options.keep);
    infer::infer(&mut graph)?;
    let (logits, classes) = logits::find(&mut graph, &image, &mut names, &mut notices)?;
    prune::prune(&mut graph);
    graph.ir_version = graph.ir_version.max(8);
    infer::infer(&mut graph)?;
    complete(&graph)?;
    Ok(Prepared { graph, image, layout: input.layout, shape: input.shape, logits, classes, notices })
}

fn check(graph: &Graph) -> Result<()> {
    if graph.opset < OLDEST {
        return Err(Error::Model(format!(
            "the model uses ONNX operator set {}; psescope reads {OLDEST} and newer, so convert it with onnx.version_converter",
            graph.opset
        )));
    }
    if graph.outputs.is_empty() {
        return Err(Error::Model("the model has no outputs; export it again".into()));
    }
    Ok(())
}

/// Declares the batch dimension of the image dynamic.
fn set_batch(graph: &mut Graph, image: &str) {
    for input in graph.inputs.iter_mut().filter(|i| i.name == image) {
        if let Some(first) = input.ty.shape.as_mut().and_then(|s| s.first_mut()) {
            *first = Dim::Batch(1);
        }
    }
}

/// Every float value between image and logits needs a known shape; the gradient rules rely on it.
fn complete(graph: &Graph) -> Result<()> {
    for node in &graph.nodes {
        for name in node.outputs.iter().filter(|n| !n.is_empty()) {
            let known = graph.types.get(name).and_then(|t| t.shape.as_ref()).is_some_and(|s| !s.contains(&Dim::Unknown));
            if known {
                continue;
            }
            if !node.domain.is_empty() || !super::eval::knows(&node.op) {
                let domain = if node.domain.is_empty() { "ONNX".to_owned() } else { format!("'{}'", node.domain) };
                return Err(Error::Model(format!(
                    "node '{}' uses {} from the operator set {domain}, which psescope does not know; export the model with standard operators",
                    node.label(),
                    node.op
                )));
            }
            return Err(Error::Model(format!(
                "the shape of '{name}', computed by {}, cannot be worked out before running; simplify the model first (onnxsim) or export it with a fixed image size",
                node.op
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
