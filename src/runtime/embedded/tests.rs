use ndarray::Array1;

use super::*;
use crate::{
    core::onnx::{DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo, write},
    runtime::{backend::Backend, embedded::Embedded},
};

fn value(name: &str, dtype: DType, dims: &[Dim]) -> ValueInfo {
    ValueInfo { name: name.into(), ty: TensorType { dtype, shape: Some(dims.to_vec()) } }
}

fn graph(inputs: Vec<ValueInfo>, outputs: Vec<ValueInfo>, nodes: Vec<Node>) -> Graph {
    Graph { ir_version: 8, opset: 17, inputs, outputs, nodes, ..Graph::default() }
}

fn load(graph: &Graph) -> Box<dyn Executor> {
    Embedded::new(2).unwrap().load(&write::to_bytes(graph)).unwrap()
}

fn floats(shape: &[usize]) -> ArrayD<f32> {
    let count = shape.iter().product::<usize>();
    ArrayD::from_shape_vec(shape.to_vec(), (0..count).map(|i| (i % 7) as f32 - 3.0).collect()).unwrap()
}

/// `y = kappa * x` per sample, `picked = one_hot(labels) . x`, `n` = a fixed scalar.
fn mixed() -> Graph {
    const N: Dim = Dim::Batch(1);
    let mut g = graph(
        vec![value("x", DType::F32, &[N, Dim::Fixed(3)]), value("labels", DType::I64, &[N]), value("kappa", DType::F32, &[])],
        vec![
            value("y", DType::F32, &[N, Dim::Fixed(3)]),
            value("picked", DType::F32, &[N, Dim::Fixed(1)]),
            value("twice", DType::F32, &[]),
        ],
        vec![
            Node::new("Mul", &["x", "kappa"], &["y"]),
            Node::new("Unsqueeze", &["labels", "one"], &["l2"]),
            Node::new("GatherElements", &["x", "l2"], &["picked"]).with("axis", 1i64),
            Node::new("Add", &["kappa", "kappa"], &["twice"]),
        ],
    );
    g.initializers.insert("one".into(), TensorData::i64(&[1], &[1]));
    g
}

#[test]
fn batches_are_split_by_declaration() {
    let mut executor = load(&mixed());
    let x = floats(&[5, 3]);
    let labels = Array1::from(vec![0i64, 1, 2, 1, 0]);
    let inputs = [
        ("kappa", Array::F32(ndarray::arr0(2.0).into_dyn())),
        ("x", Array::F32(x.clone())),
        ("labels", Array::I64(labels.clone().into_dyn())),
    ];
    let out = executor.run(&inputs, &["picked", "twice", "y"]).unwrap();
    assert_eq!(out[0].shape(), [5, 1]);
    for n in 0..5 {
        assert_eq!(out[0][[n, 0]], x[[n, labels[n] as usize]]);
    }
    assert_eq!(out[1], ndarray::arr0(4.0).into_dyn());
    assert_eq!(out[2], x.mapv(|v| 2.0 * v));
}

#[test]
fn several_rows_per_sample() {
    let g = graph(
        vec![value("x", DType::F32, &[Dim::Batch(4), Dim::Fixed(2)])],
        vec![value("y", DType::F32, &[Dim::Batch(4), Dim::Fixed(2)])],
        vec![Node::new("Neg", &["x"], &["y"])],
    );
    let x = floats(&[12, 2]);
    let out = load(&g).run(&[("x", Array::F32(x.clone()))], &["y"]).unwrap();
    assert_eq!(out[0], -x);
    let error = load(&g).run(&[("x", Array::F32(floats(&[6, 2])))], &["y"]).unwrap_err();
    assert!(error.to_string().contains("6 rows"), "{error}");
}

#[test]
fn panics_and_unknown_operators_end_in_sentences() {
    // A negative pad makes tract panic (it may learn; then the result must be right).
    let mut g = graph(
        vec![value("x", DType::F32, &[Dim::Batch(1), Dim::Fixed(4)])],
        vec![value("y", DType::F32, &[Dim::Batch(1), Dim::Fixed(3)])],
        vec![Node::new("Pad", &["x", "pads"], &["y"])],
    );
    g.initializers.insert("pads".into(), TensorData::i64(&[4], &[0, -1, 0, 0]));
    match load(&g).run(&[("x", Array::F32(floats(&[1, 4])))], &["y"]) {
        Ok(out) => assert_eq!(out[0].shape(), [1, 3]),
        Err(e) => {
            assert!(e.to_string().starts_with("the embedded engine cannot") && e.to_string().contains("psescope runtime install"), "{e}")
        }
    }
    g.nodes = vec![Node::new("NoSuchOperator", &["x"], &["y"])];
    let error = load(&g).run(&[("x", Array::F32(floats(&[1, 4])))], &["y"]).unwrap_err().to_string();
    assert!(error.contains("NoSuchOperator") && !error.contains('\n'), "{error}");
}

#[test]
fn missing_and_wrong_inputs_are_named() {
    let mut executor = load(&mixed());
    let error = executor.run(&[("x", Array::F32(floats(&[1, 3])))], &["y"]).unwrap_err();
    assert!(error.to_string().contains("'labels'"), "{error}");
    let wrong = [
        ("x", Array::F32(floats(&[2, 3]))),
        ("labels", Array::I64(Array1::from(vec![0i64]).into_dyn())),
        ("kappa", Array::F32(floats(&[]))),
    ];
    assert!(executor.run(&wrong, &["y"]).unwrap_err().to_string().contains("does not fit"));
    assert!(executor.run(&wrong[..1], &["nothing"]).is_err());
}

#[test]
fn a_stopped_executor_refuses_until_reset() {
    let mut executor = load(&mixed());
    let inputs = [
        ("x", Array::F32(floats(&[1, 3]))),
        ("labels", Array::I64(Array1::from(vec![0i64]).into_dyn())),
        ("kappa", Array::F32(floats(&[]))),
    ];
    executor.interrupt().stop();
    assert!(matches!(executor.run(&inputs, &["y"]), Err(Error::Stopped)));
    executor.interrupt().reset();
    assert!(executor.run(&inputs, &["y"]).is_ok());
}

#[test]
fn hostile_bytes_are_refused() {
    let engine = Embedded::new(1).unwrap();
    for bytes in [&b""[..], b"not a model", &[0xff; 64]] {
        assert!(engine.load(bytes).is_err());
    }
}
