use super::*;
use crate::core::onnx::{DType, Node, TensorData, ValueInfo};

fn graph(shape: &[Dim], nodes: Vec<Node>, constants: &[(&str, TensorData)]) -> Graph {
    Graph {
        opset: 17,
        nodes,
        inputs: vec![ValueInfo { name: "x".into(), ty: TensorType { dtype: DType::F32, shape: Some(shape.to_vec()) } }],
        initializers: constants.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect(),
        ..Graph::default()
    }
}

fn shape_of(graph: &Graph, name: &str) -> Vec<Dim> {
    graph.types[name].shape.clone().unwrap()
}

use Dim::{Batch, Fixed};

#[test]
fn window_partition_multiplies_the_batch() {
    let mut g = graph(
        &[Batch(1), Fixed(8), Fixed(8), Fixed(6)],
        vec![
            Node::new("Reshape", &["x", "split"], &["six"]),
            Node::new("Transpose", &["six"], &["t"]).with("perm", vec![0, 1, 3, 2, 4, 5]),
            Node::new("Reshape", &["t", "merge"], &["windows"]),
        ],
        &[("split", TensorData::i64(&[6], &[-1, 2, 4, 2, 4, 6])), ("merge", TensorData::i64(&[3], &[-1, 16, 6]))],
    );
    infer(&mut g).unwrap();
    assert_eq!(shape_of(&g, "windows"), [Batch(4), Fixed(16), Fixed(6)]);
}

#[test]
fn shape_arithmetic_is_followed() {
    let mut g = graph(
        &[Batch(1), Fixed(3), Fixed(4), Fixed(5)],
        vec![
            Node::new("Shape", &["x"], &["s"]),
            Node::new("Gather", &["s", "zero"], &["n"]).with("axis", 0),
            Node::new("Slice", &["s", "two", "end"], &["hw"]),
            Node::new("ReduceProd", &["hw"], &["area"]),
            Node::new("Concat", &["n", "three", "area"], &["target"]).with("axis", 0),
            Node::new("Reshape", &["x", "target"], &["y"]),
            Node::new("Greater", &["y", "limit"], &["mask"]),
        ],
        &[
            ("zero", TensorData::i64(&[1], &[0])),
            ("two", TensorData::i64(&[1], &[2])),
            ("end", TensorData::i64(&[1], &[i64::MAX])),
            ("three", TensorData::i64(&[1], &[3])),
            ("limit", TensorData::f32(&[], &[0.0])),
        ],
    );
    infer(&mut g).unwrap();
    assert_eq!(shape_of(&g, "y"), [Batch(1), Fixed(3), Fixed(20)]);
    assert_eq!(g.types["mask"].dtype, DType::Bool);
    assert_eq!(g.types["s"].dtype, DType::I64);
    let facts = propagate(&g, Depth::Constants, POINTS).unwrap();
    assert!(facts["area"].constant && !facts["n"].constant && !facts["y"].constant);
}

#[test]
fn gradient_graphs_are_typed() {
    let mut g = graph(
        &[Batch(1), Fixed(4), Fixed(5), Fixed(5)],
        vec![
            Node::new("ConvTranspose", &["x", "w"], &["up"])
                .with("strides", vec![2, 2])
                .with("pads", vec![1, 1, 1, 1])
                .with("output_padding", vec![1, 0]),
            Node::new("Split", &["up", "parts"], &["a", "b"]).with("axis", 1),
            Node::new("Cast", &["a"], &["c"]).with("to", 9),
            Node::new("ReduceSum", &["b", "axes"], &["sum"]).with("keepdims", 0),
        ],
        &[
            ("w", TensorData::f32(&[4, 3, 3, 3], &[0.0; 108])),
            ("parts", TensorData::i64(&[2], &[1, 2])),
            ("axes", TensorData::i64(&[2], &[2, 3])),
        ],
    );
    infer(&mut g).unwrap();
    assert_eq!(shape_of(&g, "up"), [Batch(1), Fixed(3), Fixed(10), Fixed(9)]);
    assert_eq!(g.types["c"].dtype, DType::Bool);
    assert_eq!(shape_of(&g, "sum"), [Batch(1), Fixed(2)]);
}

#[test]
fn contradictions_are_reported_and_unknown_operators_are_not() {
    let mut bad =
        graph(&[Batch(1), Fixed(3)], vec![Node::new("MatMul", &["x", "w"], &["y"])], &[("w", TensorData::f32(&[4, 2], &[0.0; 8]))]);
    assert!(infer(&mut bad).unwrap_err().to_string().contains("MatMul"));
    let mut unknown = graph(&[Batch(1), Fixed(3)], vec![Node::new("Mystery", &["x"], &["y"])], &[]);
    infer(&mut unknown).unwrap();
    assert_eq!(unknown.types["y"].shape, None);
}

#[test]
fn operators_without_evaluation_have_shapes() {
    let mut g = graph(
        &[Batch(1), Fixed(3), Fixed(6), Fixed(5)],
        vec![
            Node::new("GridSample", &["x", "grid"], &["sampled"]),
            Node::new("DynamicQuantizeLinear", &["x"], &["q", "scale", "zero"]),
            Node::new("ConvInteger", &["q", "w"], &["sum"]),
            Node::new("MatMulInteger", &["q", "m"], &["product"]),
        ],
        &[
            ("grid", TensorData::f32(&[1, 2, 4, 2], &[0.0; 16])),
            ("w", TensorData::f32(&[4, 3, 3, 3], &[0.0; 108])),
            ("m", TensorData::f32(&[5, 2], &[0.0; 10])),
        ],
    );
    infer(&mut g).unwrap();
    assert_eq!(shape_of(&g, "sampled"), [Batch(1), Fixed(3), Fixed(2), Fixed(4)]);
    assert_eq!(shape_of(&g, "scale"), []);
    assert_eq!(shape_of(&g, "sum"), [Batch(1), Fixed(4), Fixed(4), Fixed(3)]);
    assert_eq!(shape_of(&g, "product"), [Batch(1), Fixed(3), Fixed(6), Fixed(2)]);
}
