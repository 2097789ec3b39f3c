//! Reference evaluator: runs nodes on concrete values, floats in f64. It folds constants and shape arithmetic, and
//! gives the function values that gradient rules are tested against by finite differences. Slow and plain on purpose.
//!
//! One file per operator family; each lists its rules in a `RULES` table.

mod activation;
mod args;
mod attention;
mod conv;
mod convert;
mod einsum;
mod elementwise;
mod gather;
mod generate;
pub mod geometry;
mod layout;
mod linear;
mod norm;
mod order;
mod pad;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod scatter;
mod slice;
mod value;

use std::{
    collections::{HashMap, HashSet},
    sync::OnceLock,
};

pub use args::{Args, Fail, Res, bad};
pub use generate::shape as generate_shape;
pub use layout::permutation;
pub use linear::matmul_shape;
pub use order::top_k_size;
pub use value::{Value, array, flat};

use crate::core::{
    error::{Error, Result},
    onnx::{Graph, Node},
};

/// Computes the outputs of one node.
pub type Rule = fn(&Args) -> Res<Vec<Value>>;

const FAMILIES: &[&[(&str, Rule)]] = &[
    activation::RULES,
    attention::RULES,
    conv::RULES,
    convert::RULES,
    einsum::RULES,
    elementwise::RULES,
    gather::RULES,
    generate::RULES,
    layout::RULES,
    linear::RULES,
    norm::RULES,
    order::RULES,
    pad::RULES,
    pool::RULES,
    quantize::RULES,
    recurrent::RULES,
    reduce::RULES,
    resize::RULES,
    scatter::RULES,
    slice::RULES,
];

fn rule(op: &str) -> Option<Rule> {
    static TABLE: OnceLock<HashMap<&str, Rule>> = OnceLock::new();
    TABLE.get_or_init(|| FAMILIES.iter().flat_map(|f| f.iter().copied()).collect()).get(op).copied()
}

/// Whether the evaluator knows this operator of the standard domain.
pub fn knows(op: &str) -> bool {
    rule(op).is_some()
}

/// Evaluates one node. Omitted optional inputs are `None`. May return fewer values than the node has outputs only
/// when the remaining outputs are unused names.
pub fn eval_node(node: &Node, opset: i64, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    try_node(node, opset, inputs).map_err(|f| f.at(node))
}

pub(crate) fn try_node(node: &Node, opset: i64, inputs: &[Option<&Value>]) -> Res<Vec<Value>> {
    match rule(&node.op) {
        Some(rule) if node.domain.is_empty() => rule(&Args { node, opset, values: inputs }),
        _ => bad("is an operator the reference evaluator does not know"),
    }
}

/// Runs the part of a graph that `wanted` values need, from the values of its inputs (or of any inner values).
pub fn run(graph: &Graph, feeds: &HashMap<String, Value>, wanted: &[&str]) -> Result<HashMap<String, Value>> {
    let mut values: HashMap<String, Value> = feeds.iter().map(|(k, v)| (k.clone(), v.clone().standard())).collect();
    let mut needed: HashSet<&str> = wanted.iter().copied().collect();
    let mut live = Vec::new();
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|o| needed.contains(o.as_str()) && !feeds.contains_key(o)) {
            needed.extend(node.inputs.iter().map(String::as_str));
            live.push(node);
        }
    }
    for (name, tensor) in graph.initializers.iter().filter(|(n, _)| needed.contains(n.as_str())) {
        if !values.contains_key(name) {
            let value = Value::from_tensor(tensor)
                .ok_or_else(|| Error::Model(format!("constant '{name}' has an element type that cannot be computed with")))?;
            values.insert(name.clone(), value);
        }
    }
    for node in live.into_iter().rev() {
        let outputs = {
            let inputs: Vec<Option<&Value>> = node.inputs.iter().map(|n| values.get(n)).collect();
            if let Some(lost) = node.inputs.iter().find(|n| !n.is_empty() && !values.contains_key(*n)) {
                return Err(Error::Model(format!("node '{}' ({}) needs '{lost}', which was not given", node.label(), node.op)));
            }
            let node = match node.input(2).filter(|_| node.op == "QuantizeLinear" && !node.attrs.contains_key("output_dtype")) {
                Some(zero) => &node.clone().with("output_dtype", i64::from(dtype_of(graph, zero))),
                None => node,
            };
            eval_node(node, graph.opset, &inputs)?
        };
        for (name, value) in node.outputs.iter().zip(outputs) {
            if !feeds.contains_key(name) {
                values.insert(name.clone(), value);
            }
        }
    }
    wanted
        .iter()
        .map(|&name| {
            values.get(name).cloned().map(|v| (name.to_owned(), v)).ok_or_else(|| Error::Model(format!("the graph has no value '{name}'")))
        })
        .collect()
}

/// Type of a named value as ONNX numbers it, 0 when not known: integers of the evaluator do not carry their width.
fn dtype_of(graph: &Graph, name: &str) -> i32 {
    let known = graph.initializers.get(name).map(|t| t.dtype).or_else(|| graph.types.get(name).map(|t| t.dtype));
    known.map_or(0, |d| d.to_onnx())
}

#[cfg(test)]
mod tests;
