//! Raises operator sets below 17 to 17, so that every later pass meets one form of each operator: axes, bounds, pads
//! and sizes as inputs, Softmax along one axis, Resize instead of Upsample.

use super::Names;
use crate::core::{
    error::Result,
    onnx::{Attr, Graph, Node, TensorData},
};

/// Operator set that older graphs are raised to.
const TARGET: i64 = 17;

/// Rewrites the nodes of a graph below operator set 17.
pub fn upgrade(graph: &mut Graph, names: &mut Names) -> Result<()> {
    let from = graph.opset;
    if from >= TARGET {
        return Ok(());
    }
    let mut pass = Pass { from, names, constants: Vec::new(), nodes: Vec::with_capacity(graph.nodes.len()) };
    for node in std::mem::take(&mut graph.nodes) {
        if node.domain.is_empty() { pass.node(node) } else { pass.nodes.push(node) }
    }
    graph.nodes = pass.nodes;
    graph.initializers.extend(pass.constants);
    graph.opset = TARGET;
    Ok(())
}

struct Pass<'a> {
    from: i64,
    names: &'a mut Names,
    constants: Vec<(String, TensorData)>,
    nodes: Vec<Node>,
}

impl Pass<'_> {
    fn constant(&mut self, what: &str, tensor: TensorData) -> String {
        let name = self.names.fresh(what);
        self.constants.push((name.clone(), tensor));
        name
    }

    /// Moves an integer-list attribute to input `i`.
    fn ints_to_input(&mut self, node: &mut Node, attr: &str, i: usize) {
        if let Some(Attr::Ints(list)) = node.attrs.remove(attr) {
            let name = self.constant(attr, TensorData::i64(&[list.len()], &list));
            set_input(node, i, name);
        }
    }

    fn float_to_input(&mut self, node: &mut Node, attr: &str, i: usize) {
        if let Some(Attr::Float(v)) = node.attrs.remove(attr) {
            let name = self.constant(attr, TensorData::f32(&[], &[v]));
            set_input(node, i, name);
        }
    }

    fn node(&mut self, mut node: Node) {
        match node.op.as_str() {
            "Squeeze" | "Unsqueeze" | "ReduceSum" if self.from < 13 => self.ints_to_input(&mut node, "axes", 1),
            "Split" if self.from < 13 => self.ints_to_input(&mut node, "split", 1),
            "Clip" if self.from < 11 => {
                self.float_to_input(&mut node, "min", 1);
                self.float_to_input(&mut node, "max", 2);
            }
            "Pad" if self.from < 11 => {
                self.ints_to_input(&mut node, "pads", 1);
                self.float_to_input(&mut node, "value", 2);
            }
            "Slice" if self.from < 10 => {
                self.ints_to_input(&mut node, "starts", 1);
                self.ints_to_input(&mut node, "ends", 2);
                self.ints_to_input(&mut node, "axes", 3);
            }
            "TopK" if self.from < 10 => {
                if let Some(Attr::Int(k)) = node.attrs.remove("k") {
                    let name = self.constant("k", TensorData::i64(&[1], &[k]));
                    set_input(&mut node, 1, name);
                }
            }
            "Dropout" => {
                node.attrs.clear();
                node.inputs.truncate(1);
            }
            "BatchNormalization" => {
                node.attrs.remove("spatial");
                node.outputs.truncate(if self.from < 14 { 1 } else { 3 });
            }
            "Scatter" => node.op = "ScatterElements".into(),
            "Upsample" => self.resample(&mut node),
            "Resize" if self.from < 11 => self.resample(&mut node),
            "Softmax" | "LogSoftmax" | "Hardmax" if self.from < 13 => return self.flattened(node),
            _ => {}
        }
        self.nodes.push(node);
    }

    /// `Upsample` and the first `Resize` sample without any offset.
    fn resample(&mut self, node: &mut Node) {
        let scales = match node.attrs.remove("scales") {
            Some(Attr::Floats(s)) => self.constant("scales", TensorData::f32(&[s.len()], &s)),
            _ => node.inputs.get(1).cloned().unwrap_or_default(),
        };
        node.op = "Resize".into();
        node.inputs.truncate(1);
        node.inputs.extend([String::new(), scales]);
        node.attrs.insert("coordinate_transformation_mode".into(), "asymmetric".into());
        if node.text("mode", "nearest") == "bilinear" {
            node.attrs.insert("mode".into(), "linear".into());
        }
        if node.text("mode", "nearest") == "nearest" {
            node.attrs.insert("nearest_mode".into(), "floor".into());
        }
    }

    /// Below 13 everything from `axis` on was one row: flatten, apply along the last axis, restore the shape.
    fn flattened(&mut self, mut node: Node) {
        let axis = node.int("axis", 1);
        node.attrs.insert("axis".into(), Attr::Int(-1));
        if axis == -1 || node.inputs.is_empty() || node.outputs.is_empty() {
            self.nodes.push(node);
            return;
        }
        let (rows, result, shape) = (self.names.fresh("rows"), self.names.fresh("rows"), self.names.fresh("shape"));
        let input = node.inputs[0].clone();
        let output = std::mem::replace(&mut node.outputs[0], result.clone());
        self.nodes.push(Node::new("Flatten", &[&input], &[&rows]).with("axis", axis));
        self.nodes.push(Node::new("Shape", &[&input], &[&shape]));
        node.inputs[0] = rows;
        self.nodes.push(node);
        self.nodes.push(Node::new("Reshape", &[&result, &shape], &[&output]));
    }
}

fn set_input(node: &mut Node, i: usize, name: String) {
    while node.inputs.len() <= i {
        node.inputs.push(String::new());
    }
    node.inputs[i] = name;
}
