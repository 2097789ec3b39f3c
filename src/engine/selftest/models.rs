//! Small classifiers made on the spot, so that a machine without any model file can be tested. Weights are random but always the same.

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::core::{
    error::Result,
    graph::{self, Options, Prepared},
    onnx::{Attr, DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo},
};

/// Height and width of the images.
pub const SIDE: usize = 32;
/// Classes of every network.
pub const CLASSES: usize = 7;

/// Names of the networks: plain and residual convolutions, gates and depthwise convolutions, attention.
pub const NAMES: &[&str] = &["residual", "gated", "attention"];

/// A network by name.
pub fn network(name: &str) -> Result<Prepared> {
    let mut net = Net { graph: blank(), rng: ChaCha8Rng::seed_from_u64(7), made: 0 };
    match name {
        "gated" => net.gated(),
        "attention" => net.attention(),
        _ => net.residual(),
    }
    graph::normalise(net.graph, &Options::default())
}

/// A picture with structure at every scale, 0.05 to 0.95.
pub fn image(seed: u64) -> Array3<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let waves: Vec<[f32; 4]> = (0..12).map(|_| std::array::from_fn(|_| rng.random_range(-1.0f32..1.0))).collect();
    Array3::from_shape_fn((3, SIDE, SIDE), |(c, y, x)| {
        let (y, x) = (y as f32 / SIDE as f32, x as f32 / SIDE as f32);
        let wave = |w: &[f32; 4]| w[2] * (9.0 * (w[0] * x + w[1] * y) + 5.0 * w[3] + c as f32).sin();
        (0.5 + 0.18 * waves.iter().map(wave).sum::<f32>()).clamp(0.05, 0.95)
    })
}

fn blank() -> Graph {
    let value =
        |name: &str, dims: &[Dim]| ValueInfo { name: name.into(), ty: TensorType { dtype: DType::F32, shape: Some(dims.to_vec()) } };
    let side = Dim::Fixed(SIDE);
    Graph {
        name: "self-test".into(),
        ir_version: 8,
        opset: 17,
        producer: "psescope".into(),
        inputs: vec![value("image", &[Dim::Batch(1), Dim::Fixed(3), side, side])],
        outputs: vec![value("logits", &[Dim::Batch(1), Dim::Fixed(CLASSES)])],
        ..Graph::default()
    }
}

/// A graph under construction.
struct Net {
    graph: Graph,
    rng: ChaCha8Rng,
    made: usize,
}

impl Net {
    fn name(&mut self, stem: &str) -> String {
        self.made += 1;
        format!("{stem}_{}", self.made)
    }

    /// Random weights whose products keep the size of what they multiply.
    fn weight(&mut self, dims: &[usize], inputs: usize) -> String {
        let name = self.name("weight");
        let bound = (3.0 / inputs as f32).sqrt() * 1.4;
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| self.rng.random_range(-bound..bound)).collect();
        self.graph.initializers.insert(name.clone(), TensorData::f32(dims, &values));
        name
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = self.name("ints");
        self.graph.initializers.insert(name.clone(), TensorData::i64(&[values.len()], values));
        name
    }

    fn node(&mut self, op: &str, inputs: &[&str], attrs: &[(&str, Attr)]) -> String {
        let output = self.name(&op.to_lowercase());
        let node = attrs.iter().fold(Node::new(op, inputs, &[&output]), |node, (name, value)| node.with(name, value.clone()));
        self.graph.nodes.push(node);
        output
    }

    /// A convolution with a bias; `from` to `to` channels.
    fn conv(&mut self, x: &str, channels: [usize; 2], kernel: usize, stride: usize, group: usize) -> String {
        let [from, to] = channels;
        let inputs = from / group * kernel * kernel;
        let weight = self.weight(&[to, from / group, kernel, kernel], inputs);
        let bias = self.weight(&[to], 100);
        let [k, s, p] = [kernel, stride, kernel / 2].map(|v| v as i64);
        let attrs = [
            ("kernel_shape", Attr::Ints(vec![k, k])),
            ("strides", Attr::Ints(vec![s, s])),
            ("pads", Attr::Ints(vec![p; 4])),
            ("group", Attr::Int(group as i64)),
        ];
        self.node("Conv", &[x, &weight, &bias], &attrs)
    }

    fn dense(&mut self, x: &str, from: usize, to: usize) -> String {
        let weight = self.weight(&[from, to], from);
        self.node("MatMul", &[x, &weight], &[])
    }

    /// Mean over the map, flattened, and the classes.
    fn head(&mut self, x: &str, channels: usize) {
        let mean = self.node("GlobalAveragePool", &[x], &[]);
        let flat = self.node("Flatten", &[&mean], &[("axis", Attr::Int(1))]);
        self.classes(&flat, channels);
    }

    fn classes(&mut self, flat: &str, channels: usize) {
        // Larger than elsewhere: logits that differ clearly.
        let (weight, bias) = (self.weight(&[channels, CLASSES], 2), self.weight(&[CLASSES], 20));
        self.graph.nodes.push(Node::new("Gemm", &[flat, &weight, &bias], &["logits"]));
    }

    fn residual(&mut self) {
        let stem = self.conv("image", [3, 16], 3, 2, 1);
        let stem = self.node("Relu", &[&stem], &[]);
        let pool = [("kernel_shape", Attr::Ints(vec![3, 3])), ("strides", Attr::Ints(vec![2, 2])), ("pads", Attr::Ints(vec![1; 4]))];
        let x = self.node("MaxPool", &[&stem], &pool);
        let inner = self.conv(&x, [16, 16], 3, 1, 1);
        let inner = self.node("Relu", &[&inner], &[]);
        let inner = self.conv(&inner, [16, 16], 3, 1, 1);
        let sum = self.node("Add", &[&inner, &x], &[]);
        let sum = self.node("Relu", &[&sum], &[]);
        self.head(&sum, 16);
    }

    fn gated(&mut self) {
        let stem = self.conv("image", [3, 16], 3, 2, 1);
        let gate = self.node("Sigmoid", &[&stem], &[]);
        let x = self.node("Mul", &[&stem, &gate], &[]);
        let deep = self.conv(&x, [16, 16], 3, 2, 16);
        let deep = self.node("HardSwish", &[&deep], &[]);
        let mean = self.node("GlobalAveragePool", &[&deep], &[]);
        let squeeze = self.conv(&mean, [16, 8], 1, 1, 1);
        let squeeze = self.node("Relu", &[&squeeze], &[]);
        let excite = self.conv(&squeeze, [8, 16], 1, 1, 1);
        let excite = self.node("Sigmoid", &[&excite], &[]);
        let x = self.node("Mul", &[&deep, &excite], &[]);
        let x = self.conv(&x, [16, 24], 1, 1, 1);
        self.head(&x, 24);
    }

    fn attention(&mut self) {
        const WIDTH: usize = 24;
        let patches = self.conv("image", [3, WIDTH], 5, 4, 1);
        let tokens = {
            let shape = self.ints(&[0, WIDTH as i64, -1]);
            let flat = self.node("Reshape", &[&patches, &shape], &[]);
            self.node("Transpose", &[&flat], &[("perm", Attr::Ints(vec![0, 2, 1]))])
        };
        let (scale, bias) = (self.weight(&[WIDTH], 3), self.weight(&[WIDTH], 50));
        let normal = self.node("LayerNormalization", &[&tokens, &scale, &bias], &[("axis", Attr::Int(-1))]);
        let [query, key, value] = [0; 3].map(|_| self.dense(&normal, WIDTH, WIDTH));
        let key = self.node("Transpose", &[&key], &[("perm", Attr::Ints(vec![0, 2, 1]))]);
        let scores = self.node("MatMul", &[&query, &key], &[]);
        let weights = self.node("Softmax", &[&scores], &[("axis", Attr::Int(-1))]);
        let mixed = self.node("MatMul", &[&weights, &value], &[]);
        let x = self.node("Add", &[&tokens, &mixed], &[]);
        let hidden = self.dense(&x, WIDTH, 2 * WIDTH);
        let hidden = self.node("Tanh", &[&hidden], &[]);
        let mean = self.node("ReduceMean", &[&hidden], &[("axes", Attr::Ints(vec![1])), ("keepdims", Attr::Int(0))]);
        self.classes(&mean, 2 * WIDTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_is_a_classifier_with_a_gradient() {
        for name in NAMES {
            let prepared = network(name).unwrap();
            assert_eq!((prepared.classes, prepared.shape), (CLASSES, [3, SIDE, SIDE]), "{name}");
            assert!(graph::coverage(&prepared).missing.is_empty(), "{name}");
        }
    }
}
