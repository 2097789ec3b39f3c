use std::collections::HashMap;

use super::*;
use crate::core::{
    graph::{
        Layout,
        eval::{Value, run},
        linear_head, spatial_layers,
    },
    onnx::{DType, Node, TensorData, TensorType, ValueInfo, read, write},
};

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + 11) % 29) as f32 / 29.0 - 0.4).collect()
}

fn weights(dims: &[usize]) -> TensorData {
    TensorData::f32(dims, &values(dims.iter().product()))
}

fn info(name: &str, dims: &[Dim]) -> ValueInfo {
    ValueInfo { name: name.into(), ty: TensorType { dtype: DType::F32, shape: Some(dims.to_vec()) } }
}

fn model(opset: i64, input: &[Dim], nodes: Vec<Node>, constants: Vec<(&str, TensorData)>, output: &str) -> Graph {
    Graph {
        ir_version: 4,
        opset,
        nodes,
        inputs: vec![info("x", input)],
        outputs: vec![info(output, &[])],
        initializers: constants.into_iter().map(|(n, t)| (n.to_owned(), t)).collect(),
        ..Graph::default()
    }
}

/// The model run image by image, and the prepared graph on all images at once.
fn both(model: &Graph, prepared: &Prepared, dims: &[usize; 3], from: &str) -> (Vec<f64>, Vec<f64>) {
    let count: usize = dims.iter().product();
    let image = |k: usize| (0..count).map(|i| ((i * 13 + k * 5) % 17) as f64 / 17.0).collect::<Vec<_>>();
    let shape = |n: usize| [&[n], dims.as_slice()].concat();
    let one = |k: usize| {
        let out = run(model, &HashMap::from([("x".to_owned(), Value::floats(&shape(1), image(k)))]), &[from]).unwrap();
        out[from].to_floats().into_iter().collect::<Vec<_>>()
    };
    let all = Value::floats(&shape(3), (0..3).flat_map(image).collect());
    let out = run(&prepared.graph, &HashMap::from([(prepared.image.clone(), all)]), &[prepared.logits.as_str()]).unwrap();
    ((0..3).flat_map(one).collect(), out[&prepared.logits].to_floats().into_iter().collect())
}

fn same(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{a} {b}"));
}

fn old_network() -> Graph {
    model(
        8,
        &[Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(9), Dim::Fixed(8)],
        vec![
            Node::new("Conv", &["x", "w"], &["c"]).with("strides", vec![2, 2]).with("auto_pad", "SAME_UPPER"),
            Node::new("BatchNormalization", &["c", "s", "s", "b", "v"], &["n"]),
            Node::new("Clip", &["n"], &["a"]).with("min", 0.0).with("max", 6.0),
            Node::new("Dropout", &["a"], &["d"]),
            Node::new("GlobalAveragePool", &["d"], &["g"]),
            Node::new("Reshape", &["g", "target"], &["f"]),
            Node::new("Gemm", &["f", "k", "kb"], &["z"]).with("transB", 1),
            Node::new("Softmax", &["z"], &["p"]),
            Node::new("Identity", &["p"], &["out"]),
        ],
        vec![
            ("w", weights(&[4, 3, 3, 3])),
            ("s", weights(&[4])),
            ("b", weights(&[4])),
            ("v", TensorData::f32(&[4], &[0.5, 1.0, 2.0, 3.0])),
            ("target", TensorData::i64(&[2], &[1, 4])),
            ("k", weights(&[5, 4])),
            ("kb", weights(&[5])),
        ],
        "out",
    )
}

#[test]
fn an_old_static_network_becomes_dynamic() {
    let model = old_network();
    let p = normalise(model.clone(), &Options::default()).unwrap();
    assert_eq!((p.layout, p.shape, p.logits.as_str(), p.classes), (Layout::Nchw, [3, 9, 8], "z", 5));
    assert!(p.graph.opset >= 17 && p.graph.nodes.iter().all(|n| n.op != "BatchNormalization" && n.op != "Dropout"));
    assert_eq!(p.graph.types["z"].shape, Some(vec![Dim::Batch(1), Dim::Fixed(5)]));
    let (expected, got) = both(&model, &p, &[3, 9, 8], "z");
    same(&expected, &got);
    assert_eq!(spatial_layers(&p).iter().map(|l| (l.name.as_str(), l.units, l.spatial)).collect::<Vec<_>>(), [("a", 4, [5, 4])]);
    let head = linear_head(&p).unwrap();
    assert_eq!((head.layer.as_str(), head.weights.dim(), head.bias.len()), ("a", (5, 4), 5));
    // Written and read again, the same graph; twice the same bytes.
    let bytes = write::to_bytes(&p.graph);
    assert_eq!(bytes, write::to_bytes(&normalise(model, &Options::default()).unwrap().graph));
    assert!(read::parse(bytes.into(), &mut |_| unreachable!()).is_ok());
}

/// Rows of an image read by a recurrent layer whose initial states hold one traced batch and are expanded to a computed size.
#[test]
fn traced_states_of_recurrent_layers_follow_the_batch() {
    let i = |v: &[i64]| TensorData::i64(&[v.len()], v);
    let model = model(
        14,
        &[Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(4), Dim::Fixed(5)],
        vec![
            Node::new("Transpose", &["x"], &["nhwc"]).with("perm", vec![0, 2, 3, 1]),
            Node::new("Reshape", &["nhwc", "rows"], &["r"]),
            Node::new("Transpose", &["r"], &["steps"]).with("perm", vec![1, 0, 2]),
            Node::new("Shape", &["r"], &["shape"]),
            Node::new("Gather", &["shape", "zero"], &["many"]).with("axis", 0),
            Node::new("Concat", &["one", "many", "six"], &["target"]).with("axis", 0),
            Node::new("Expand", &["state", "target"], &["h"]),
            Node::new("LSTM", &["steps", "w", "r4", "", "", "h", "h"], &["all", "last"]).with("hidden_size", 6),
            Node::new("Reshape", &["last", "back"], &["b"]),
            Node::new("ReduceMean", &["b"], &["pooled"]).with("axes", vec![1]).with("keepdims", 0),
            Node::new("MatMul", &["pooled", "k"], &["z"]),
        ],
        vec![
            ("rows", i(&[4, 5, 3])),
            ("zero", i(&[0])),
            ("one", i(&[1])),
            ("six", i(&[6])),
            ("state", TensorData::f32(&[1, 4, 6], &[0.25; 24])),
            ("w", weights(&[1, 24, 3])),
            ("r4", weights(&[1, 24, 6])),
            ("back", i(&[1, 4, 6])),
            ("k", weights(&[6, 7])),
        ],
        "z",
    );
    let p = normalise(model.clone(), &Options::default()).unwrap();
    let (expected, got) = both(&model, &p, &[3, 4, 5], "z");
    same(&expected, &got);
}

/// A class token and attention in `[T, N, C]` with every shape baked at batch 1.
#[test]
fn baked_attention_follows_the_batch() {
    let i = |v: &[i64]| TensorData::i64(&[v.len()], v);
    let model = model(
        14,
        &[Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(4), Dim::Fixed(4)],
        vec![
            Node::new("Conv", &["x", "w"], &["c"]).with("strides", vec![2, 2]),
            Node::new("Reshape", &["c", "tokens"], &["f"]),
            Node::new("Transpose", &["f"], &["ft"]).with("perm", vec![0, 2, 1]),
            Node::new("Concat", &["class", "ft"], &["seq"]).with("axis", 1),
            Node::new("Transpose", &["seq"], &["tnc"]).with("perm", vec![1, 0, 2]),
            Node::new("Reshape", &["tnc", "rows"], &["r"]),
            Node::new("Gemm", &["r", "q"], &["qr"]),
            Node::new("Reshape", &["qr", "heads"], &["h"]),
            Node::new("Transpose", &["h"], &["ht"]).with("perm", vec![1, 0, 2]),
            Node::new("Transpose", &["h"], &["hs"]).with("perm", vec![1, 2, 0]),
            Node::new("MatMul", &["ht", "hs"], &["scores"]),
            Node::new("Softmax", &["scores"], &["p"]).with("axis", -1),
            Node::new("MatMul", &["p", "ht"], &["o"]),
            Node::new("Transpose", &["o"], &["ot"]).with("perm", vec![1, 0, 2]),
            Node::new("Reshape", &["ot", "rows"], &["or"]),
            Node::new("Reshape", &["or", "back"], &["ob"]),
            Node::new("Transpose", &["ob"], &["y"]).with("perm", vec![1, 0, 2]),
            Node::new("Gather", &["y", "first"], &["cls"]).with("axis", 1),
            Node::new("MatMul", &["cls", "k"], &["z"]),
        ],
        vec![
            ("w", weights(&[6, 3, 2, 2])),
            ("class", weights(&[1, 1, 6])),
            ("q", weights(&[6, 6])),
            ("k", weights(&[6, 7])),
            ("tokens", i(&[1, 6, 4])),
            ("rows", i(&[5, 6])),
            ("heads", i(&[5, 2, 3])),
            ("back", i(&[5, 1, 6])),
            ("first", TensorData::i64(&[], &[0])),
        ],
        "z",
    );
    let p = normalise(model.clone(), &Options::default()).unwrap();
    assert_eq!(p.graph.types["scores"].shape, Some(vec![Dim::Batch(2), Dim::Fixed(5), Dim::Fixed(5)]));
    let (expected, got) = both(&model, &p, &[3, 4, 4], "z");
    same(&expected, &got);
    assert!(linear_head(&p).is_none());
}

#[test]
fn dynamic_shape_arithmetic_becomes_constant() {
    let model = model(
        17,
        &[Dim::Unknown, Dim::Fixed(5), Dim::Fixed(5), Dim::Fixed(3)],
        vec![
            Node::new("Transpose", &["x"], &["t"]).with("perm", vec![0, 3, 1, 2]),
            Node::new("DequantizeLinear", &["wq", "ws"], &["w"]),
            Node::new("Conv", &["t", "w"], &["c"]),
            Node::new("ReduceMean", &["c"], &["g"]).with("axes", vec![2, 3]),
            Node::new("Shape", &["g"], &["s"]),
            Node::new("Slice", &["s", "zero", "one"], &["n"]),
            Node::new("Concat", &["n", "minus"], &["target"]).with("axis", 0),
            Node::new("Reshape", &["g", "target"], &["f"]),
            Node::new("MatMul", &["f", "k"], &["m"]),
            Node::new("Add", &["kb", "m"], &["z"]),
            Node::new("Sigmoid", &["z"], &["p"]),
        ],
        vec![
            ("wq", Value::ints(&[2, 3, 2, 2], (0..24).map(|v| v - 12).collect()).to_tensor(DType::I8).unwrap()),
            ("ws", TensorData::f32(&[], &[0.1])),
            ("zero", TensorData::i64(&[1], &[0])),
            ("one", TensorData::i64(&[1], &[1])),
            ("minus", TensorData::i64(&[1], &[-1])),
            ("k", weights(&[2, 4])),
            ("kb", weights(&[4])),
        ],
        "p",
    );
    let p = normalise(model.clone(), &Options::default()).unwrap();
    assert_eq!((p.layout, p.shape, p.logits.as_str()), (Layout::Nhwc, [3, 5, 5], "z"));
    assert!(p.graph.nodes.iter().all(|n| !matches!(n.op.as_str(), "Shape" | "Slice" | "Concat" | "DequantizeLinear")));
    let (expected, got) = both(&model, &p, &[5, 5, 3], "z");
    same(&expected, &got);
    assert_eq!(linear_head(&p).unwrap().layer, "c");
}

#[test]
fn half_precision_is_widened() {
    let half = |t: TensorData| Value::from_tensor(&t).unwrap().to_tensor(DType::F16).unwrap();
    let mut model = model(
        13,
        &[Dim::Unknown, Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(3)],
        vec![Node::new("Conv", &["x", "w"], &["c"]), Node::new("Flatten", &["c"], &["z"])],
        vec![("w", half(weights(&[4, 1, 3, 3])))],
        "z",
    );
    model.inputs[0].ty.dtype = DType::F16;
    let p = normalise(model, &Options::default()).unwrap();
    assert!(p.graph.types.values().all(|t| t.dtype != DType::F16) && p.notices.iter().any(|n| n.contains("F16")));
}

#[test]
fn unusable_models_get_one_sentence() {
    let sentence = |g: Graph, o: &Options| normalise(g, o).unwrap_err().to_string();
    let mut two = old_network();
    two.inputs.push(info("y", &[Dim::Fixed(1)]));
    two.nodes.push(Node::new("Add", &["p", "y"], &["sum"]));
    two.outputs[0].name = "sum".into();
    assert!(sentence(two, &Options::default()).contains("2 inputs"));
    let mut open = old_network();
    open.inputs[0] = info("x", &[Dim::Unknown, Dim::Fixed(3), Dim::Unknown, Dim::Unknown]);
    assert!(sentence(open, &Options::default()).contains("--size"));
    assert!(sentence(old_network(), &Options { size: Some([4, 4]), ..Options::default() }).contains("8x9"));
    let mut maps = old_network();
    maps.outputs[0].name = "a".into();
    assert!(sentence(maps, &Options::default()).contains("[N, 4, 5, 4]"));
    let mut foreign = old_network();
    foreign.nodes[2].domain = "com.example".into();
    assert!(sentence(foreign, &Options::default()).contains("com.example"));
    let mut ancient = old_network();
    ancient.opset = 6;
    assert!(sentence(ancient, &Options::default()).contains("operator set 6"));
}

#[test]
fn tensors_asked_for_survive_folding() {
    let constants = vec![
        ("w", weights(&[4, 3, 1, 1])),
        ("s", TensorData::f32(&[4], &[1.0, 2.0, 0.5, 1.5])),
        ("b", weights(&[4])),
        ("v", TensorData::f32(&[4], &[1.0, 0.5, 2.0, 1.0])),
    ];
    let nodes = vec![
        Node::new("Conv", &["x", "w"], &["product"]),
        Node::new("BatchNormalization", &["product", "s", "b", "b", "v"], &["norm"]),
        Node::new("Identity", &["norm"], &["same"]),
        Node::new("GlobalAveragePool", &["same"], &["pool"]),
        Node::new("Flatten", &["pool"], &["y"]),
    ];
    let graph = model(17, &[Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(4), Dim::Fixed(4)], nodes, constants, "y");
    let keep = vec!["product".to_owned(), "same".to_owned()];
    let prepared = normalise(graph.clone(), &Options { keep: keep.clone(), ..Options::default() }).unwrap();
    assert!(keep.iter().all(|k| prepared.graph.types.contains_key(k)));
    let folded = normalise(graph.clone(), &Options::default()).unwrap();
    assert!(keep.iter().all(|k| !folded.graph.types.contains_key(k)));
    let (expected, got) = both(&graph, &prepared, &[3, 4, 4], "y");
    same(&expected, &got);
}
