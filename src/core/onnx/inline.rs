//! Replaces calls of a model's local functions by the functions' own nodes.

use std::collections::HashMap;

use super::pb;
use crate::core::error::{Error, Result};

/// How deep functions may call each other, and how many nodes may come of it: a damaged file must not fill the memory.
const DEEPEST: usize = 64;
const MOST: usize = 1 << 20;

type Key = (String, String, String);

/// Functions by domain, name and overload.
struct Library<'a>(HashMap<Key, &'a pb::FunctionProto>);

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

impl<'a> Library<'a> {
    fn find(&self, node: &pb::NodeProto) -> Option<&'a pb::FunctionProto> {
        self.0.get(&(text(node.domain.as_ref()), text(node.op_type.as_ref()), text(node.overload.as_ref()))).copied()
    }
}

/// The nodes of a graph with every call replaced; functions must use the graph's own version of the standard operators.
pub fn inline(nodes: Vec<pb::NodeProto>, functions: &[pb::FunctionProto], opset: i64) -> Result<Vec<pb::NodeProto>> {
    let key = |f: &pb::FunctionProto| (text(f.domain.as_ref()), text(f.name.as_ref()), text(f.overload.as_ref()));
    let library = Library(functions.iter().map(|f| (key(f), f)).collect());
    let mut out = Vec::with_capacity(nodes.len());
    let mut calls = 0;
    for node in nodes {
        expand(node, &library, opset, 0, &mut calls, &mut out)?;
    }
    Ok(out)
}

fn expand(node: pb::NodeProto, library: &Library, opset: i64, depth: usize, calls: &mut usize, out: &mut Vec<pb::NodeProto>) -> Result<()> {
    let Some(function) = library.find(&node) else {
        out.push(node);
        return Ok(());
    };
    let label = text(function.name.as_ref());
    let own = function.opset_import.iter().find(|s| matches!(s.domain.as_deref().unwrap_or(""), "" | "ai.onnx")).and_then(|s| s.version);
    if own.is_some_and(|v| v != opset) {
        return Err(Error::Model(format!(
            "the local function '{label}' uses another operator set than the model; inline it first (onnx.inliner.inline_local_functions)"
        )));
    }
    if depth >= DEEPEST || out.len() >= MOST || *calls >= MOST {
        return Err(Error::Model(format!("the local function '{label}' calls itself without end; the file is damaged")));
    }
    *calls += 1;
    let mut names: HashMap<String, String> = HashMap::new();
    for (i, formal) in function.input.iter().enumerate() {
        names.insert(formal.clone(), node.input.get(i).cloned().unwrap_or_default());
    }
    for (i, formal) in function.output.iter().enumerate() {
        let Some(actual) = node.output.get(i).filter(|o| !o.is_empty()) else { continue };
        if let Some(passed) = names.insert(formal.clone(), actual.clone()) {
            // A result that is an argument: the argument keeps its own name inside.
            names.insert(formal.clone(), passed.clone());
            out.push(pb::NodeProto {
                input: vec![passed],
                output: vec![actual.clone()],
                op_type: Some("Identity".into()),
                ..Default::default()
            });
        }
    }
    let call = *calls;
    let mut rename = |name: &String| -> String {
        if name.is_empty() {
            return String::new();
        }
        names.entry(name.clone()).or_insert_with(|| format!("{label}/{call}/{name}")).clone()
    };
    for inner in &function.node {
        let mut copy = inner.clone();
        copy.input = inner.input.iter().map(&mut rename).collect();
        copy.output = inner.output.iter().map(&mut rename).collect();
        copy.name = Some(format!("{}/{}", text(node.name.as_ref()), text(inner.name.as_ref())));
        copy.attribute = inner.attribute.iter().filter_map(|a| bound(a, &node, function)).collect();
        expand(copy, library, opset, depth + 1, calls, out)?;
    }
    Ok(())
}

/// An attribute inside a function: its value, what the call says, the function's default, or nothing.
fn bound(attribute: &pb::AttributeProto, call: &pb::NodeProto, function: &pb::FunctionProto) -> Option<pb::AttributeProto> {
    let Some(reference) = attribute.ref_attr_name.as_deref().filter(|r| !r.is_empty()) else { return Some(attribute.clone()) };
    let given = call.attribute.iter().chain(&function.attribute_proto).find(|a| a.name.as_deref() == Some(reference))?;
    Some(pb::AttributeProto { name: attribute.name.clone(), ..given.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, domain: &str, inputs: &[&str], outputs: &[&str]) -> pb::NodeProto {
        pb::NodeProto {
            op_type: Some(op.into()),
            domain: Some(domain.into()),
            input: inputs.iter().map(|&s| s.into()).collect(),
            output: outputs.iter().map(|&s| s.into()).collect(),
            ..Default::default()
        }
    }

    fn number(name: &str, value: f32) -> pb::AttributeProto {
        pb::AttributeProto { name: Some(name.into()), f: Some(value), r#type: Some(1), ..Default::default() }
    }

    fn leaky() -> pb::FunctionProto {
        let mut inner = node("LeakyRelu", "", &["v"], &["t"]);
        inner.attribute.push(pb::AttributeProto {
            name: Some("alpha".into()),
            ref_attr_name: Some("slope".into()),
            r#type: Some(1),
            ..Default::default()
        });
        pb::FunctionProto {
            name: Some("act".into()),
            domain: Some("local".into()),
            input: vec!["v".into()],
            output: vec!["w".into(), "v".into()],
            attribute_proto: vec![number("slope", 0.25)],
            node: vec![inner, node("Neg", "", &["t"], &["w"])],
            ..Default::default()
        }
    }

    #[test]
    fn calls_become_nodes() {
        let mut given = node("act", "local", &["x"], &["y", "same"]);
        given.attribute.push(number("slope", 0.5));
        let nodes = inline(vec![given, node("act", "local", &["same"], &["z"])], &[leaky()], 18).unwrap();
        let ops: Vec<&str> = nodes.iter().map(|n| n.op_type.as_deref().unwrap()).collect();
        assert_eq!(ops, ["Identity", "LeakyRelu", "Neg", "LeakyRelu", "Neg"]);
        assert_eq!(nodes[0].output, ["same"]);
        assert_eq!((nodes[1].input[0].as_str(), nodes[2].output[0].as_str()), ("x", "y"));
        assert_eq!((nodes[3].input[0].as_str(), nodes[4].output[0].as_str()), ("same", "z"));
        assert_ne!(nodes[1].output, nodes[3].output);
        assert_eq!(nodes[1].attribute[0].name.as_deref(), Some("alpha"));
        assert_eq!((nodes[1].attribute[0].f, nodes[3].attribute[0].f), (Some(0.5), Some(0.25)));
    }

    #[test]
    fn endless_functions_are_refused() {
        let mut endless = leaky();
        endless.node = vec![node("act", "local", &["v"], &["w"])];
        assert!(inline(vec![node("act", "local", &["x"], &["y"])], &[endless], 18).is_err());
    }
}
