//! Builds small graphs from text and compares gradient graphs with central differences in float64.
//!
//! ```text
//! y = Conv(x $4,3,3,3) strides=2,2 pads=1,1,1,1 ; z = Relu(y)
//! ```
//! Operands: a name; `$dims` random constant, `+dims` positive random constant, `=v` float scalar, `~v,v` float vector,
//! `!v` integer scalar, `#v,v` integer vector, `_` omitted. Attributes: integers, lists (with a comma), floats, 'text'.
//! A leading `!` fixes the batch size.

#![allow(dead_code)]

use std::collections::HashMap;

use psescope::core::{
    error::Result,
    graph::{
        Instrumentation, Instrumented, Layout, Loss, Prepared,
        eval::{Value, run},
        infer::infer,
        instrument,
    },
    onnx::{Attr, DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo},
};

/// Numbers in 0..1 that depend on the seed only.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678)
    }

    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn many(&mut self, n: usize, low: f64, high: f64) -> Vec<f64> {
        (0..n).map(|_| low + (high - low) * self.next()).collect()
    }
}

/// The graph of a text, with image input `x` of this shape (first axis: the batch) and the last value as output.
pub fn build(text: &str, shape: &[usize], opset: i64) -> Graph {
    let mut graph = Graph { opset, ir_version: 8, name: "case".into(), ..Graph::default() };
    let mut dims: Vec<Dim> = shape.iter().map(|&d| Dim::Fixed(d)).collect();
    if !text.starts_with('!') {
        dims[0] = Dim::Batch(1);
    }
    graph.inputs.push(ValueInfo { name: "x".into(), ty: TensorType { dtype: DType::F32, shape: Some(dims) } });
    let mut noise = Noise::new(7);
    for line in text.trim_start_matches('!').split(';').map(str::trim).filter(|l| !l.is_empty()) {
        let (outputs, rest) = line.split_once('=').expect("an output");
        let (op, rest) = rest.split_once('(').expect("operands");
        let (operands, attrs) = rest.split_once(')').expect("a closing parenthesis");
        let mut node =
            Node { op: op.trim().into(), outputs: outputs.split_whitespace().map(|o| o.replace('_', "")).collect(), ..Node::default() };
        node.name = format!("node_{}", node.outputs[0]);
        for operand in operands.split_whitespace() {
            let name = operand_name(&mut graph, operand, &mut noise);
            node.inputs.push(name);
        }
        for attr in attrs.split_whitespace() {
            let (key, value) = attr.split_once('=').expect("key=value");
            node.attrs.insert(key.into(), attribute(value));
        }
        graph.nodes.push(node);
    }
    let last = graph.nodes.last().expect("a node").outputs[0].clone();
    graph.outputs.push(ValueInfo { name: last, ty: TensorType { dtype: DType::F32, shape: None } });
    graph
}

fn attribute(value: &str) -> Attr {
    if let Some(text) = value.strip_prefix('\'') {
        return text.trim_end_matches('\'').into();
    }
    if value.contains(',') {
        return Attr::Ints(ints(value));
    }
    value.parse::<i64>().map_or_else(|_| Attr::Float(value.parse().expect("a number")), Attr::Int)
}

fn ints(text: &str) -> Vec<i64> {
    text.split(',').filter(|t| !t.is_empty()).map(|t| t.parse().expect("an integer")).collect()
}

fn operand_name(graph: &mut Graph, text: &str, noise: &mut Noise) -> String {
    let floats = |dims: &[usize], v: &[f64]| TensorData::f32(dims, &v.iter().map(|&f| f as f32).collect::<Vec<_>>());
    let list = |t: &str| t.split(',').filter(|s| !s.is_empty()).map(|s| s.parse::<f64>().expect("a number")).collect::<Vec<_>>();
    let (kind, rest) = text.split_at(1);
    let sizes = || ints(rest).iter().map(|&d| d as usize).collect::<Vec<_>>();
    let data = match kind {
        "_" => return String::new(),
        "$" | "+" => {
            let dims = sizes();
            let n = dims.iter().product();
            let values = if kind == "$" { noise.many(n, -1.0, 1.0) } else { noise.many(n, 0.5, 1.5) };
            floats(&dims, &values)
        }
        "=" => floats(&[], &list(rest)),
        "~" => {
            let v = list(rest);
            floats(&[v.len()], &v)
        }
        "!" => TensorData::i64(&[], &ints(rest)),
        "#" => {
            let v = ints(rest);
            TensorData::i64(&[v.len()], &v)
        }
        _ => return text.to_owned(),
    };
    let name = format!("const{}", graph.initializers.len());
    graph.initializers.insert(name.clone(), data);
    name
}

/// Types the graph and wraps it as a prepared model.
pub fn prepare(mut graph: Graph) -> Result<Prepared> {
    infer(&mut graph)?;
    let logits = graph.outputs[0].name.clone();
    Ok(Prepared { graph, image: "x".into(), layout: Layout::Nchw, shape: [0; 3], logits, classes: 0, notices: Vec::new() })
}

/// The gradient graph with a cotangent input.
pub fn gradient(graph: Graph) -> Result<Instrumented> {
    let spec = Instrumentation { loss: Loss::None, image_gradient: true, ..Instrumentation::default() };
    instrument(&prepare(graph)?, &spec)
}

/// Elements of a float value.
pub fn elements(v: &Value) -> Vec<f64> {
    v.to_floats().iter().copied().collect()
}

/// Gradient by the graph and by central differences of `sum(w * y)` at the point `x`.
pub fn compare(graph: &Graph, shape: &[usize], x: &[f64], step: f64) -> std::result::Result<(Vec<f64>, Vec<f64>), String> {
    let done = gradient(graph.clone()).map_err(|e| e.to_string())?;
    let output = graph.outputs[0].name.as_str();
    let forward = |x: &[f64]| -> std::result::Result<Value, String> {
        let feeds = HashMap::from([("x".to_owned(), Value::floats(shape, x.to_vec()))]);
        let mut values = run(graph, &feeds, &[output]).map_err(|e| e.to_string())?;
        values.remove(output).ok_or_else(|| "no output".to_owned())
    };
    let y = forward(x)?;
    let w = Noise::new(99).many(y.len(), -1.0, 1.0);
    let feeds = HashMap::from([
        ("x".to_owned(), Value::floats(shape, x.to_vec())),
        (done.cotangent.clone().expect("a cotangent"), Value::floats(y.shape(), w.clone())),
    ]);
    let all: Vec<&str> = done.graph.nodes.iter().flat_map(|n| n.outputs.iter()).filter(|o| !o.is_empty()).map(String::as_str).collect();
    let values = run(&done.graph, &feeds, &all).map_err(|e| e.to_string())?;
    check_types(&done.graph, &values, shape[0])?;
    let name = done.grad_image.as_deref().expect("an image gradient");
    if values[name].shape() != shape {
        return Err(format!("gradient of shape {:?} for an image of shape {shape:?}", values[name].shape()));
    }
    let analytic = elements(&values[name]);
    let loss = |x: &[f64]| -> std::result::Result<f64, String> { Ok(elements(&forward(x)?).iter().zip(&w).map(|(a, b)| a * b).sum()) };
    let mut numeric = Vec::with_capacity(x.len());
    let mut moved = x.to_vec();
    for i in 0..x.len() {
        let h = step * x[i].abs().max(1.0);
        moved[i] = x[i] + h;
        let up = loss(&moved)?;
        moved[i] = x[i] - h;
        let down = loss(&moved)?;
        moved[i] = x[i];
        numeric.push((up - down) / (2.0 * h));
    }
    Ok((analytic, numeric))
}

/// Every declared shape is the shape that is computed.
fn check_types(graph: &Graph, values: &HashMap<String, Value>, batch: usize) -> std::result::Result<(), String> {
    for (name, value) in values {
        let Some(shape) = graph.types.get(name).and_then(|t| t.shape.clone()) else {
            return Err(format!("'{name}' has no declared shape"));
        };
        let fits = shape.len() == value.shape().len() && shape.iter().zip(value.shape()).all(|(d, &v)| d.at(batch).is_none_or(|e| e == v));
        if !fits {
            return Err(format!("'{name}' is declared {shape:?} and computed {:?}", value.shape()));
        }
    }
    Ok(())
}

/// Largest difference relative to the largest element.
pub fn relative(a: &[f64], b: &[f64]) -> f64 {
    let scale = b.iter().chain(a).fold(1e-6f64, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(x, y)| if (x - y).is_nan() { f64::INFINITY } else { (x - y).abs() }).fold(0.0, f64::max) / scale
}
