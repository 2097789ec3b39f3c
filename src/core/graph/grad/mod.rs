//! Reverse-mode differentiation on the graph itself: the gradient of an ONNX graph is more ONNX nodes.
//!
//! [`differentiate`] finds which values depend on the wanted tensors through differentiable paths and lead to a seed, sweeps those nodes
//! backwards and asks the rule of each operator ([`rules::REGISTRY`]) for the gradients of its inputs. Conventions at kinks follow torch:
//! 0 at 0 for Relu and Clip, the first index for MaxPool, equal shares for Max, Min, ReduceMax and ReduceMin.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
};

use super::super::{
    error::{Error, MissingRule, Result},
    onnx::{DType, Node},
};

pub mod builder;
pub mod coverage;
pub(super) mod dims;
mod ops;
pub mod prune;
pub mod rules;

use builder::Builder;
use rules::{Cx, Facts, STOPS, find};

/// Gradients by value name, and the nodes whose gradient is not known.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Wanted tensor -> name of its gradient, in the tensor's full shape.
    pub gradients: BTreeMap<String, String>,
    /// Nodes on the differentiable path that were visited and had a rule.
    pub covered: usize,
    /// Nodes on the path without a rule, or with a variant that no rule handles.
    pub missing: Vec<MissingRule>,
}

/// Emits the gradient of `seeds` (value, cotangent) with respect to each wanted tensor.
///
/// Nodes that cannot be differentiated are listed in the result; nothing may then be concluded from its gradients.
pub fn differentiate(b: &Builder, seeds: &[(String, String)], wanted: &[String]) -> Result<Sweep> {
    let nodes = b.forward();
    let depends = depends_on(b, &nodes, wanted);
    let live = leads_to(&nodes, &depends, seeds);
    let unruled: Vec<MissingRule> =
        nodes.iter().enumerate().filter(|(i, n)| live.contains(i) && find(n).is_none()).map(|(_, n)| missing(n, None)).collect();
    if !unruled.is_empty() {
        // Shapes end at operators that are not known; the sweep could not go on.
        return Ok(Sweep { covered: live.len() - unruled.len(), missing: unruled, ..Sweep::default() });
    }
    let producers: HashMap<&str, usize> =
        nodes.iter().enumerate().flat_map(|(i, n)| n.outputs.iter().filter(|o| !o.is_empty()).map(move |o| (o.as_str(), i))).collect();
    let mut pending: HashMap<String, Vec<String>> = HashMap::new();
    for (value, cotangent) in seeds {
        pending.entry(value.clone()).or_default().push(cotangent.clone());
    }
    let keep: HashSet<&str> = wanted.iter().map(String::as_str).collect();
    let private = private(&nodes, seeds, &keep);
    let facts = Facts { depends: &depends, nodes: &nodes, producers: &producers, private: &private, masked: RefCell::default() };
    let mut sweep = Sweep::default();
    for (index, node) in nodes.iter().enumerate().rev().filter(|(i, _)| live.contains(i)) {
        let gradient = |o: &String| {
            let parts = if keep.contains(o.as_str()) { pending.get(o).cloned() } else { pending.remove(o) };
            parts.map(|p| b.sum(&p))
        };
        let grads: Vec<Option<String>> = node.outputs.iter().map(gradient).collect();
        let Some(rule) = find(node) else { continue };
        if grads.iter().all(Option::is_none) {
            continue;
        }
        for (o, g) in node.outputs.iter().zip(&grads).filter(|(o, _)| keep.contains(o.as_str())) {
            pending.insert(o.clone(), g.iter().cloned().collect());
        }
        let mut cx = Cx::new(b, node, index, grads, &facts);
        match rule(&mut cx).and_then(|()| cx.complete()) {
            Ok(pushed) => {
                sweep.covered += 1;
                for (value, g) in pushed {
                    pending.entry(value).or_default().push(g);
                }
            }
            Err(Error::MissingRules(list)) => sweep.missing.extend(list),
            Err(other) => return Err(other),
        }
    }
    sweep.missing.reverse();
    for tensor in wanted {
        if let Some(parts) = pending.get(tensor).filter(|p| !p.is_empty()) {
            sweep.gradients.insert(tensor.clone(), b.expand_like(&b.sum(parts), tensor)?);
        }
    }
    Ok(sweep)
}

/// Values read once, whose gradient is neither given nor wanted.
fn private<'a>(nodes: &'a [Node], seeds: &[(String, String)], keep: &HashSet<&str>) -> HashSet<&'a str> {
    let mut readers: HashMap<&str, usize> = HashMap::new();
    for input in nodes.iter().flat_map(|n| &n.inputs) {
        *readers.entry(input).or_default() += 1;
    }
    readers.retain(|value, count| *count == 1 && !keep.contains(value) && seeds.iter().all(|(v, _)| v != value));
    readers.into_keys().collect()
}

/// The entry of the coverage list for a node.
fn missing(node: &Node, variant: Option<&str>) -> MissingRule {
    let op = if node.domain.is_empty() { node.op.clone() } else { format!("{}.{}", node.domain, node.op) };
    MissingRule { op: variant.map_or(op.clone(), |v| format!("{op} with {v}")), node: node.label().to_owned() }
}

/// Values that depend on the given ones through nodes that pass a gradient.
fn depends_on(b: &Builder, nodes: &[Node], roots: &[String]) -> HashSet<String> {
    let mut depends: HashSet<String> = roots.iter().cloned().collect();
    for node in nodes.iter().filter(|n| !(n.domain.is_empty() && STOPS.contains(&n.op.as_str()))) {
        // Integers carry a gradient only between QuantizeLinear and DequantizeLinear.
        let carriers: Vec<_> = node.inputs.iter().filter(|i| depends.contains(*i)).map(|i| b.dtype(i)).collect();
        if carriers.is_empty() {
            continue;
        }
        for output in node.outputs.iter().filter(|o| !o.is_empty()) {
            let ty = b.dtype(output);
            // An operator nobody knows has outputs of unknown type: it must be reported, not skipped.
            if ty.is_float()
                || ty == DType::Other(0)
                || node.op == "QuantizeLinear"
                || (node.op != "Cast" && !carriers[0].is_float() && carriers.contains(&ty))
            {
                depends.insert(output.clone());
            }
        }
    }
    depends
}

/// Positions of the nodes between the dependent values and the seeds.
fn leads_to(nodes: &[Node], depends: &HashSet<String>, seeds: &[(String, String)]) -> HashSet<usize> {
    let mut reached: HashSet<&str> = seeds.iter().map(|(v, _)| v.as_str()).filter(|v| depends.contains(*v)).collect();
    let mut live = HashSet::new();
    for (i, node) in nodes.iter().enumerate().rev() {
        let produces = node.outputs.iter().any(|o| reached.contains(o.as_str()));
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).filter(|n| depends.contains(*n)).collect();
        if produces && !inputs.is_empty() && !(node.domain.is_empty() && STOPS.contains(&node.op.as_str())) {
            live.insert(i);
            reached.extend(inputs);
        }
    }
    live
}
