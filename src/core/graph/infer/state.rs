//! The walk over the graph that carries facts from inputs to outputs.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{Shapes, dtype, rule};
use crate::core::{
    error::Result,
    graph::eval::{self, Args, Fail, Value, generate_shape},
    onnx::{DType, Dim, Graph, Node, TensorData},
};

/// Most values of one tensor: far more than is ever run, and few enough that sizes computed from it do not overflow.
const MAX_VALUES: usize = 1 << 40;

/// What is known of one value at both points.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Element type.
    pub dtype: DType,
    /// Shape at each point.
    pub shapes: [Option<Vec<usize>>; 2],
    /// Value at each point, where it was computed.
    pub values: [Option<Arc<Value>>; 2],
    /// Whether the value is the same whatever the image and the batch size.
    pub constant: bool,
}

/// Facts by value name.
pub type Facts = HashMap<String, Fact>;

/// How much is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only small values, enough for shape arithmetic.
    Shapes,
    /// Every constant, whatever its size.
    Constants,
}

/// Largest constant read, and largest value computed, for shape arithmetic alone.
const READ: usize = 2048;
const SMALL: usize = 1 << 15;
/// Largest constant folded: what a damaged file could ask for beyond this would only fill the memory.
const LARGEST: usize = 1 << 27;
/// Values computed in one walk before anything more is left to the engine: this many, and some for each that the file really holds.
const ALLOWED: usize = 1 << 22;
const PER_WEIGHT: usize = 8;

/// Propagates types, shapes and known values through a graph. Inputs take their sizes from their declared types.
pub fn propagate(graph: &Graph, depth: Depth, points: [usize; 2]) -> Result<Facts> {
    let mut walk = Walk::new(graph, depth, points);
    for node in &graph.nodes {
        walk.step(node)?;
    }
    Ok(walk.facts)
}

/// A propagation that can be advanced node by node, so that a pass may rewrite nodes as it goes.
pub struct Walk {
    /// What is known so far.
    pub facts: Facts,
    opset: i64,
    depth: Depth,
    /// Constants too large to read before a constant node needs them.
    large: HashMap<String, TensorData>,
    /// Values that may be computed, and values that were.
    allowed: usize,
    spent: usize,
}

impl Walk {
    /// Starts with the constants and inputs of a graph.
    pub fn new(graph: &Graph, depth: Depth, points: [usize; 2]) -> Self {
        let held = graph.initializers.values().fold(0, |n: usize, t| n.saturating_add(t.len()));
        let allowed = held.saturating_mul(PER_WEIGHT).saturating_add(ALLOWED);
        let facts = HashMap::with_capacity(graph.nodes.len() * 2);
        let mut walk = Self { facts, opset: graph.opset, depth, large: HashMap::new(), allowed, spent: 0 };
        for (name, tensor) in &graph.initializers {
            walk.constant(name, tensor);
        }
        for input in &graph.inputs {
            let size = |d: &Dim, point: usize| d.at(point);
            let shape = |point: usize| input.ty.shape.as_ref().and_then(|s| s.iter().map(|d| size(d, point)).collect());
            let fact = Fact { dtype: input.ty.dtype, shapes: points.map(shape), values: [None, None], constant: false };
            walk.facts.insert(input.name.clone(), fact);
        }
        walk
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: &TensorData) {
        let value = if tensor.len() <= READ { Value::from_tensor(tensor).map(Arc::new) } else { None };
        if value.is_none() && self.depth == Depth::Constants {
            self.large.insert(name.to_owned(), tensor.clone());
        }
        let shape = Some(tensor.dims.clone());
        self.facts.insert(
            name.to_owned(),
            Fact { dtype: tensor.dtype, shapes: [shape.clone(), shape], values: [value.clone(), value], constant: true },
        );
    }

    /// Propagates through one node, whose inputs were seen before.
    pub fn step(&mut self, node: &Node) -> Result<()> {
        let outputs = self.probe(node)?;
        for (name, fact) in node.outputs.iter().zip(outputs).filter(|(n, _)| !n.is_empty()) {
            let computed = if fact.constant { &fact.values[..1] } else { &fact.values[..] };
            self.spent = computed.iter().flatten().fold(self.spent, |n, value| n.saturating_add(value.len()));
            self.facts.insert(name.clone(), fact);
        }
        Ok(())
    }

    /// What [`Walk::step`] would find for the node's outputs.
    pub fn probe(&self, node: &Node) -> Result<Vec<Fact>> {
        let inputs: Vec<Option<&Fact>> = node.inputs.iter().map(|n| self.facts.get(n)).collect();
        self.outputs(node, &inputs)
    }

    fn outputs(&self, node: &Node, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let types = dtype::outputs(node, &inputs.iter().map(|f| f.map(|f| f.dtype)).collect::<Vec<_>>());
        let standard = node.domain.is_empty();
        let node = with_width(node, inputs);
        let constant = standard
            && eval::knows(&node.op)
            && inputs.iter().zip(&node.inputs).all(|(f, n)| n.is_empty() || f.is_some_and(|f| f.constant));
        let mut facts: Vec<Fact> =
            types.iter().map(|&dtype| Fact { dtype, shapes: [None, None], values: [None, None], constant: false }).collect();
        for point in 0..2 {
            if constant && point == 1 {
                for fact in &mut facts {
                    fact.shapes[1] = fact.shapes[0].clone();
                    fact.values[1] = fact.values[0].clone();
                    fact.constant = fact.values[0].is_some() || fact.shapes[0].is_some();
                }
                break;
            }
            let read = |name: &String| if constant { self.large.get(name).and_then(Value::from_tensor).map(Arc::new) } else { None };
            let held: Vec<Option<Arc<Value>>> =
                inputs.iter().zip(&node.inputs).map(|(f, n)| f.and_then(|f| f.values[point].clone()).or_else(|| read(n))).collect();
            let values: Vec<Option<&Value>> = held.iter().map(Option::as_deref).collect();
            let shapes: Vec<Option<&[usize]>> = inputs.iter().map(|f| f.and_then(|f| f.shapes[point].as_deref())).collect();
            let args = Args { node: &node, opset: self.opset, values: &values };
            let found = if standard { shapes_of(&args, &shapes) } else { Err(Fail::Unknown) };
            match found {
                Ok(list) => facts.iter_mut().zip(list).for_each(|(f, s)| f.shapes[point] = Some(s)),
                Err(Fail::Unknown) => {}
                Err(fail) => return Err(fail.at(&node)),
            }
            if standard && self.worth_computing(&node, inputs, &facts, &values, constant, point) {
                compute(&args, &shapes, &mut facts, point);
            }
        }
        if !constant {
            for fact in &mut facts {
                fact.constant = matches!(&fact.values, [Some(a), Some(b)] if a == b);
            }
        }
        Ok(facts)
    }

    fn worth_computing(
        &self,
        node: &Node,
        inputs: &[Option<&Fact>],
        outputs: &[Fact],
        values: &[Option<&Value>],
        constant: bool,
        point: usize,
    ) -> bool {
        if node.op == "Shape" || node.op == "Size" {
            return inputs.first().copied().flatten().is_some_and(|f| f.shapes[point].is_some());
        }
        let known = eval::knows(&node.op) && node.inputs.iter().enumerate().all(|(i, n)| n.is_empty() || values[i].is_some());
        let limit = if constant && self.depth == Depth::Constants { LARGEST } else { SMALL };
        let limit = limit.min(self.allowed.saturating_sub(self.spent));
        let fits =
            |shape: &Option<Vec<usize>>| shape.as_ref().is_none_or(|s| s.iter().fold(1, |a: usize, &d| a.saturating_mul(d)) <= limit);
        known && limit > 0 && outputs.iter().all(|f| fits(&f.shapes[point]))
    }
}

/// The evaluator's integers do not carry their width; `QuantizeLinear` needs it to saturate.
fn with_width<'a>(node: &'a Node, inputs: &[Option<&Fact>]) -> Cow<'a, Node> {
    match inputs.get(2).copied().flatten() {
        Some(zero) if node.op == "QuantizeLinear" && !node.attrs.contains_key("output_dtype") => {
            Cow::Owned(node.clone().with("output_dtype", i64::from(zero.dtype.to_onnx())))
        }
        _ => Cow::Borrowed(node),
    }
}

fn shapes_of(args: &Args, shapes: &[Option<&[usize]>]) -> std::result::Result<Vec<Vec<usize>>, Fail> {
    let rule = rule(&args.node.op).ok_or(Fail::Unknown)?;
    let found = rule(&Shapes { args: *args, shapes })?;
    let fits = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |a, &d| a.checked_mul(d)).is_some_and(|n| n <= MAX_VALUES);
    match found.iter().find(|shape| !fits(shape)) {
        Some(shape) => Err(Fail::Bad(format!("has a result of shape {shape:?}, more than any memory holds"))),
        None => Ok(found),
    }
}

fn compute(args: &Args, shapes: &[Option<&[usize]>], facts: &mut [Fact], point: usize) {
    let result = match (args.node.op.as_str(), shapes.first().copied().flatten()) {
        ("Shape", Some(s)) => Ok(vec![generate_shape(args, s)]),
        ("Size", Some(s)) => Ok(vec![Value::ints(&[], vec![s.iter().product::<usize>() as i64])]),
        _ => eval::try_node(args.node, args.opset, args.values),
    };
    // A node that cannot be evaluated here simply stays in the graph.
    for (fact, value) in facts.iter_mut().zip(result.unwrap_or_default()) {
        fact.shapes[point] = Some(value.shape().to_vec());
        fact.values[point] = Some(Arc::new(value.rounded(fact.dtype)));
    }
}
