//! Emits nodes into a graph: fresh deterministic names, types of everything emitted, shared constants, no node twice.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use prost::bytes::Bytes;

use crate::core::{
    error::{Error, Result},
    onnx::{Attr, DType, Dim, Graph, Node, TensorData, TensorType},
};

/// A graph under construction. Methods take `&self` so that expressions nest.
pub struct Builder {
    inner: RefCell<Inner>,
}

struct Inner {
    graph: Graph,
    /// Nodes added after the forward pass, in order.
    tail: Vec<Node>,
    /// Value -> position of its node in the tail.
    makers: HashMap<String, usize>,
    /// Forward nodes that are replaced by several, by position.
    replaced: HashMap<usize, Vec<Node>>,
    names: HashSet<String>,
    counters: HashMap<String, usize>,
    /// Identical node -> its outputs.
    seen: HashMap<String, Vec<String>>,
    constants: HashMap<(DType, Vec<usize>, Bytes), String>,
    derived: HashMap<String, String>,
}

impl Builder {
    /// Starts from a complete graph with types.
    pub fn new(graph: Graph) -> Self {
        let mut names: HashSet<String> = graph.initializers.keys().cloned().collect();
        names.extend(graph.inputs.iter().map(|i| i.name.clone()));
        names.extend(graph.nodes.iter().flat_map(|n| n.outputs.iter().cloned()));
        let inner = Inner {
            graph,
            tail: Vec::new(),
            makers: HashMap::new(),
            replaced: HashMap::new(),
            names,
            counters: HashMap::new(),
            seen: HashMap::new(),
            constants: HashMap::new(),
            derived: HashMap::new(),
        };
        Self { inner: RefCell::new(inner) }
    }

    /// The graph with everything emitted.
    pub fn finish(self) -> Graph {
        let inner = self.inner.into_inner();
        let (mut graph, mut replaced) = (inner.graph, inner.replaced);
        let forward = std::mem::take(&mut graph.nodes);
        for (i, node) in forward.into_iter().enumerate() {
            match replaced.remove(&i) {
                Some(nodes) => graph.nodes.extend(nodes),
                None => graph.nodes.push(node),
            }
        }
        graph.nodes.extend(inner.tail);
        graph
    }

    /// Version of the standard operator set.
    pub fn opset(&self) -> i64 {
        self.inner.borrow().graph.opset
    }

    /// Copy of the forward nodes as they were at the start.
    pub fn forward(&self) -> Vec<Node> {
        self.inner.borrow().graph.nodes.clone()
    }

    /// Type of a value; type 0 without shape when nothing is known.
    pub fn ty(&self, value: &str) -> TensorType {
        let inner = self.inner.borrow();
        if let Some(t) = inner.graph.initializers.get(value) {
            return TensorType { dtype: t.dtype, shape: Some(t.dims.iter().map(|&d| Dim::Fixed(d)).collect()) };
        }
        inner.graph.types.get(value).cloned().unwrap_or(TensorType { dtype: DType::Other(0), shape: None })
    }

    /// Element type of a value.
    pub fn dtype(&self, value: &str) -> DType {
        self.ty(value).dtype
    }

    /// Shape of a value, or an error that names it.
    pub fn shape(&self, value: &str) -> Result<Vec<Dim>> {
        self.ty(value).shape.ok_or_else(|| {
            Error::Model(format!(
                "the shape of '{value}' is not known; give the image size with --size or export the model with fixed sizes"
            ))
        })
    }

    /// The tensor behind a name, when it is a constant.
    pub fn constant(&self, value: &str) -> Option<TensorData> {
        self.inner.borrow().graph.initializers.get(value).cloned()
    }

    /// A name nobody uses: the wish itself, else with the prefix `psescope_`, else numbered.
    pub fn reserve(&self, wish: &str) -> String {
        let mut inner = self.inner.borrow_mut();
        let mut name = wish.to_owned();
        let mut n = 0;
        while !inner.names.insert(name.clone()) {
            name = if n == 0 { format!("psescope_{wish}") } else { format!("psescope_{wish}_{n}") };
            n += 1;
        }
        name
    }

    fn fresh(&self, stem: &str) -> String {
        let n = {
            let mut inner = self.inner.borrow_mut();
            let counter = inner.counters.entry(stem.to_owned()).or_insert(0);
            *counter += 1;
            *counter
        };
        self.reserve(&format!("d_{}_{n}", stem.to_lowercase()))
    }

    /// Records the type of a value that was declared elsewhere (a new graph input).
    pub fn declare(&self, name: &str, ty: TensorType) {
        self.inner.borrow_mut().graph.types.insert(name.to_owned(), ty);
    }

    /// Emits a node with one output.
    pub fn emit(&self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)], dtype: DType, shape: Vec<Dim>) -> String {
        self.emit_many(op, inputs, attrs, vec![TensorType { dtype, shape: Some(shape) }]).swap_remove(0)
    }

    /// Emits a node with several outputs.
    pub fn emit_many(&self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)], types: Vec<TensorType>) -> Vec<String> {
        let mut node = Node::new(op, inputs, &[]);
        node.attrs = attrs.iter().map(|(n, a)| ((*n).to_owned(), a.clone())).collect();
        let key = format!("{op}\u{1}{}\u{1}{:?}\u{1}{}", inputs.join("\u{2}"), node.attrs, types.len());
        if let Some(outputs) = self.inner.borrow().seen.get(&key) {
            return outputs.clone();
        }
        let outputs: Vec<String> = types.iter().map(|_| self.fresh(op)).collect();
        node.name.clone_from(&outputs[0]);
        node.outputs.clone_from(&outputs);
        let mut inner = self.inner.borrow_mut();
        inner.graph.types.extend(outputs.iter().cloned().zip(types));
        let position = inner.tail.len();
        inner.makers.extend(outputs.iter().map(|o| (o.clone(), position)));
        inner.tail.push(node);
        inner.seen.insert(key, outputs.clone());
        outputs
    }

    /// The node that was emitted for a value.
    pub fn emitted(&self, value: &str) -> Option<Node> {
        let inner = self.inner.borrow();
        inner.makers.get(value).map(|&i| inner.tail[i].clone())
    }

    /// Asks a forward node for one of its optional outputs.
    pub fn forward_output(&self, node: usize, slot: usize, ty: TensorType) -> String {
        let existing = {
            let inner = self.inner.borrow();
            inner.graph.nodes[node].outputs.get(slot).filter(|o| !o.is_empty()).cloned()
        };
        if let Some(name) = existing {
            self.inner.borrow_mut().graph.types.insert(name.clone(), ty);
            return name;
        }
        let name = self.fresh("statistic");
        let mut inner = self.inner.borrow_mut();
        let outputs = &mut inner.graph.nodes[node].outputs;
        outputs.resize(outputs.len().max(slot + 1), String::new());
        outputs[slot].clone_from(&name);
        inner.graph.types.insert(name.clone(), ty);
        name
    }

    /// Puts several nodes in the place of one forward node.
    pub fn replace_forward(&self, node: usize, nodes: Vec<Node>) {
        self.inner.borrow_mut().replaced.insert(node, nodes);
    }

    /// A fresh, typed value for use in [`Builder::replace_forward`].
    pub fn value(&self, stem: &str, ty: TensorType) -> String {
        let name = self.fresh(stem);
        self.declare(&name, ty);
        name
    }

    /// A constant tensor, shared with every equal one.
    pub fn tensor(&self, data: TensorData) -> String {
        let key = (data.dtype, data.dims.clone(), data.bytes.clone());
        if let Some(name) = self.inner.borrow().constants.get(&key) {
            return name.clone();
        }
        let name = self.fresh("const");
        let mut inner = self.inner.borrow_mut();
        inner.graph.initializers.insert(name.clone(), data);
        inner.constants.insert(key, name.clone());
        name
    }

    /// A constant derived from another one (a flipped weight), made once per key.
    pub fn derived(&self, key: &str, make: impl FnOnce() -> TensorData) -> String {
        if let Some(name) = self.inner.borrow().derived.get(key) {
            return name.clone();
        }
        let name = self.fresh("weight");
        let data = make();
        let mut inner = self.inner.borrow_mut();
        inner.graph.initializers.insert(name.clone(), data);
        inner.derived.insert(key.to_owned(), name.clone());
        name
    }

    /// A float constant in the given type.
    pub fn floats(&self, dims: &[usize], values: &[f64], dtype: DType) -> String {
        self.tensor(float_tensor(dims, values, dtype))
    }

    /// A float scalar.
    pub fn scalar(&self, value: f64, dtype: DType) -> String {
        self.floats(&[], &[value], dtype)
    }

    /// A vector of i64.
    pub fn ints(&self, values: &[i64]) -> String {
        self.tensor(TensorData::i64(&[values.len()], values))
    }

    /// Runs a closure on the graph (inputs, outputs, metadata).
    pub fn edit<T>(&self, f: impl FnOnce(&mut Graph) -> T) -> T {
        f(&mut self.inner.borrow_mut().graph)
    }

    /// Gives an emitted value its final name. False when it is not the output of an emitted node.
    pub fn rename(&self, from: &str, to: &str) -> bool {
        let mut inner = self.inner.borrow_mut();
        if !inner.tail.iter().any(|n| n.outputs.iter().any(|o| o == from)) {
            return false;
        }
        for node in &mut inner.tail {
            for name in node.inputs.iter_mut().chain(&mut node.outputs).filter(|n| *n == from) {
                to.clone_into(name);
            }
        }
        if let Some(ty) = inner.graph.types.remove(from) {
            inner.graph.types.insert(to.to_owned(), ty);
        }
        inner.seen.clear();
        true
    }
}

/// Encodes floats in the given element type.
pub fn float_tensor(dims: &[usize], values: &[f64], dtype: DType) -> TensorData {
    debug_assert_eq!(dims.iter().product::<usize>(), values.len());
    let bytes: Vec<u8> = match dtype {
        DType::F64 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|v| half::f16::from_f64(*v).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|v| half::bf16::from_f64(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
    };
    let dtype = if dtype.is_float() { dtype } else { DType::F32 };
    TensorData { dtype, dims: dims.to_vec(), bytes: bytes.into() }
}
