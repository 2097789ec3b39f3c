use approx::assert_abs_diff_eq;
use rstest::rstest;

use super::*;
use crate::core::onnx::{Attr, TensorData};

fn floats(shape: &[usize], data: &[f64]) -> Value {
    Value::floats(shape, data.to_vec())
}

fn ramp(shape: &[usize]) -> Value {
    let n = shape.iter().product::<usize>();
    Value::floats(shape, (0..n).map(|i| ((i * 7 + 3) % 11) as f64 / 5.0 - 1.0).collect())
}

fn node(op: &str, inputs: usize) -> Node {
    let names: Vec<String> = (0..inputs).map(|i| format!("i{i}")).collect();
    Node::new(op, &names.iter().map(String::as_str).collect::<Vec<_>>(), &["o"])
}

fn eval(node: &Node, opset: i64, inputs: &[&Value]) -> Vec<Value> {
    eval_node(node, opset, &inputs.iter().map(|v| Some(*v)).collect::<Vec<_>>()).unwrap()
}

fn data(v: &Value) -> Vec<f64> {
    v.to_floats().into_iter().collect()
}

fn close(v: &Value, expected: &[f64]) {
    assert_eq!(v.len(), expected.len(), "{v:?}");
    data(v).iter().zip(expected).for_each(|(a, b)| assert_abs_diff_eq!(*a, *b, epsilon = 1e-12));
}

#[test]
fn erf_to_double_precision() {
    for (x, y) in [
        (0.0, 0.0),
        (0.5, 0.520_499_877_813_046_5),
        (-1.0, -0.842_700_792_949_714_9),
        (2.9, 0.999_958_902_121_900_5),
        (3.1, 0.999_988_351_342_632_8),
        (7.0, 1.0),
    ] {
        assert_abs_diff_eq!(activation::erf(x), y, epsilon = 1e-15);
    }
}

/// A transposed convolution is the adjoint of the convolution with the same attributes.
#[rstest]
#[case(&[2, 4, 7, 6], &[6, 2, 3, 2], 2, &[2, 1], &[1, 2], &[1, 0, 2, 1], &[1, 0])]
#[case(&[1, 3, 8, 8], &[3, 1, 3, 3], 3, &[2, 2], &[1, 1], &[1, 1, 1, 1], &[1, 1])]
#[case(&[1, 2, 9], &[4, 2, 4], 1, &[3], &[1], &[2, 1], &[2])]
#[case(&[1, 1, 4, 5, 4], &[2, 1, 2, 2, 2], 1, &[1, 1, 1], &[1, 2, 1], &[0, 0, 0, 0, 0, 0], &[0, 0, 0])]
fn conv_transpose_is_the_adjoint(
    #[case] x: &[usize],
    #[case] w: &[usize],
    #[case] group: i64,
    #[case] strides: &[i64],
    #[case] dilations: &[i64],
    #[case] pads: &[i64],
    #[case] extra: &[i64],
) {
    let with = |op: &str| {
        node(op, 2).with("group", group).with("strides", strides.to_vec()).with("dilations", dilations.to_vec()).with("pads", pads.to_vec())
    };
    let (x, w) = (ramp(x), ramp(w));
    let y = &eval(&with("Conv"), 17, &[&x, &w])[0];
    let g = ramp(y.shape());
    let back = &eval(&with("ConvTranspose").with("output_padding", extra.to_vec()), 17, &[&g, &w])[0];
    assert_eq!(back.shape(), x.shape());
    let dot = |a: &Value, b: &Value| data(a).iter().zip(data(b)).map(|(p, q)| p * q).sum::<f64>();
    assert_abs_diff_eq!(dot(y, &g), dot(&x, back), epsilon = 1e-9);
}

#[test]
fn conv_pads_like_tensorflow() {
    let (x, w) = (floats(&[1, 1, 1, 4], &[1.0, 2.0, 3.0, 4.0]), floats(&[1, 1, 1, 3], &[1.0, 10.0, 100.0]));
    let conv = |auto: &str| eval(&node("Conv", 2).with("auto_pad", auto).with("strides", vec![1, 2]), 17, &[&x, &w])[0].clone();
    close(&conv("SAME_UPPER"), &[321.0, 43.0]);
    close(&conv("SAME_LOWER"), &[210.0, 432.0]);
    close(&conv("VALID"), &[321.0]);
}

#[test]
fn average_pool_counts_padding_only_when_asked() {
    let x = floats(&[1, 1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let pool = |all: i64, ceil: i64| {
        node("AveragePool", 1)
            .with("kernel_shape", vec![1, 3])
            .with("strides", vec![1, 2])
            .with("pads", vec![0, 1, 0, 0])
            .with("count_include_pad", all)
            .with("ceil_mode", ceil)
    };
    close(&eval(&pool(0, 0), 17, &[&x])[0], &[1.5, 3.0]);
    close(&eval(&pool(1, 0), 17, &[&x])[0], &[1.0, 3.0]);
    // The last window hangs over the end; what lies beyond the padding never counts.
    close(&eval(&pool(1, 1), 17, &[&x])[0], &[1.0, 3.0, 4.5]);
}

#[test]
fn max_pool_takes_the_first_maximum() {
    let x = floats(&[1, 1, 2, 2], &[3.0, 3.0, 1.0, 3.0]);
    let out = eval(&node("MaxPool", 1).with("kernel_shape", vec![2, 2]), 17, &[&x]);
    close(&out[0], &[3.0]);
    assert_eq!(out[1].to_ints(), [0]);
}

#[rstest]
#[case("linear", "half_pixel", &[1.0, 1.25, 1.75, 2.0])]
#[case("linear", "align_corners", &[1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0])]
#[case("linear", "asymmetric", &[1.0, 1.5, 2.0, 2.0])]
#[case("nearest", "half_pixel", &[1.0, 1.0, 2.0, 2.0])]
fn resize_coordinates(#[case] mode: &str, #[case] coordinates: &str, #[case] expected: &[f64]) {
    let n = Node::new("Resize", &["x", "", "s"], &["y"]).with("mode", mode).with("coordinate_transformation_mode", coordinates);
    let (x, s) = (floats(&[1, 1, 2], &[1.0, 2.0]), floats(&[3], &[1.0, 1.0, 2.0]));
    close(&eval_node(&n, 17, &[Some(&x), None, Some(&s)]).unwrap()[0], expected);
}

#[test]
fn softmax_flattened_before_opset_13() {
    let x = floats(&[1, 2, 2], &[0.0, 0.0, 3f64.ln(), 0.0]);
    close(&eval(&node("Softmax", 1).with("axis", 1), 12, &[&x])[0], &[1.0 / 6.0, 1.0 / 6.0, 0.5, 1.0 / 6.0]);
    close(&eval(&node("Softmax", 1).with("axis", 1), 13, &[&x])[0], &[0.25, 0.5, 0.75, 0.5]);
}

#[test]
fn layer_normalization_gives_its_statistics() {
    let out = eval(&node("LayerNormalization", 2).with("epsilon", 0.0), 17, &[&floats(&[1, 2], &[1.0, 3.0]), &floats(&[2], &[2.0, 1.0])]);
    close(&out[0], &[-2.0, 1.0]);
    close(&out[1], &[2.0]);
    close(&out[2], &[1.0]);
    assert_eq!(out[1].shape(), [1, 1]);
}

#[test]
fn slices_reverse_and_clamp() {
    let x = Value::vector((0..6).collect());
    let v = |d: &[i64]| Value::vector(d.to_vec());
    let slice = |s: i64, e: i64, step: i64| eval(&node("Slice", 5), 13, &[&x, &v(&[s]), &v(&[e]), &v(&[0]), &v(&[step])])[0].to_ints();
    assert_eq!(slice(-1, i64::MIN, -2), [5, 3, 1]);
    assert_eq!(slice(1, i64::MAX, 2), [1, 3, 5]);
    assert_eq!(slice(4, 2, 1), [0i64; 0]);
    let old = node("Slice", 1).with("starts", vec![1]).with("ends", vec![-1]);
    assert_eq!(eval(&old, 9, &[&x])[0].to_ints(), [1, 2, 3, 4]);
}

#[test]
fn pads_in_every_mode() {
    let x = floats(&[3], &[1.0, 2.0, 3.0]);
    let pad = |mode: &str, p: &[i64]| eval(&node("Pad", 2).with("mode", mode), 19, &[&x, &Value::vector(p.to_vec())])[0].clone();
    close(&pad("constant", &[1, -1]), &[0.0, 1.0, 2.0]);
    close(&pad("reflect", &[2, 1]), &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
    close(&pad("edge", &[1, 2]), &[1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
    close(&pad("wrap", &[1, 2]), &[3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
}

#[test]
fn reshape_copies_and_fills() {
    let x = ramp(&[2, 3, 4]);
    let shape = |t: &[i64]| eval(&node("Reshape", 2), 14, &[&x, &Value::vector(t.to_vec())])[0].shape().to_vec();
    assert_eq!(shape(&[0, -1]), [2, 12]);
    assert_eq!(shape(&[-1, 6]), [4, 6]);
    assert!(eval_node(&node("Reshape", 2), 14, &[Some(&x), Some(&Value::vector(vec![5, -1]))]).is_err());
}

#[test]
fn einsum_multiplies_batched_matrices() {
    let (a, b) = (ramp(&[2, 3, 4]), ramp(&[2, 4, 5]));
    let product = eval(&node("MatMul", 2), 13, &[&a, &b])[0].clone();
    close(&eval(&node("Einsum", 2).with("equation", "...ij,...jk->...ik"), 13, &[&a, &b])[0], &data(&product));
    close(
        &eval(&node("Einsum", 1).with("equation", "bii"), 13, &[&ramp(&[1, 2, 2])])[0],
        &[data(&ramp(&[1, 2, 2]))[0] + data(&ramp(&[1, 2, 2]))[3]],
    );
}

#[test]
fn depth_and_space_are_inverse() {
    let x = ramp(&[1, 8, 2, 3]);
    for mode in ["DCR", "CRD"] {
        let there = &eval(&node("DepthToSpace", 1).with("blocksize", 2).with("mode", mode), 13, &[&x])[0];
        assert_eq!(there.shape(), [1, 2, 4, 6]);
        close(&eval(&node("SpaceToDepth", 1).with("blocksize", 2).with("mode", mode), 13, &[there])[0], &data(&x));
    }
}

#[test]
fn scatter_is_the_adjoint_of_gather() {
    let (x, i) = (ramp(&[4, 2]), Value::ints(&[3, 1], vec![3, 0, -1]));
    let y = eval(&node("GatherND", 2), 13, &[&x, &i])[0].clone();
    assert_eq!(y.shape(), [3, 2]);
    let zeros = floats(&[4, 2], &[0.0; 8]);
    let ones = floats(&[3, 2], &[1.0; 6]);
    close(&eval(&node("ScatterND", 3).with("reduction", "add"), 16, &[&zeros, &i, &ones])[0], &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0]);
}

#[test]
fn reductions_by_attribute_and_input() {
    let x = ramp(&[2, 3]);
    let by_attr = eval(&node("ReduceL2", 1).with("axes", vec![-1]).with("keepdims", 0), 13, &[&x])[0].clone();
    let by_input = eval(&node("ReduceL2", 2).with("keepdims", 0), 18, &[&x, &Value::vector(vec![1])])[0].clone();
    assert_eq!(by_attr, by_input);
    assert_eq!(eval(&node("ReduceSum", 1), 13, &[&x])[0].shape(), [1, 1]);
    assert_eq!(eval(&node("ReduceSum", 1).with("noop_with_empty_axes", 1), 13, &[&x])[0], x);
}

#[test]
fn integers_divide_and_wrap_like_onnx() {
    let v = |d: &[i64]| Value::vector(d.to_vec());
    assert_eq!(eval(&node("Div", 2), 14, &[&v(&[-7, 7]), &v(&[2, -2])])[0].to_ints(), [-3, -3]);
    assert_eq!(eval(&node("Mod", 2), 13, &[&v(&[-7, 7]), &v(&[3, -3])])[0].to_ints(), [2, -2]);
    assert_eq!(eval(&node("Mod", 2).with("fmod", 1), 13, &[&v(&[-7, 7]), &v(&[3, -3])])[0].to_ints(), [-1, 1]);
    assert_eq!(eval(&node("Cast", 1).with("to", 2), 13, &[&v(&[257])])[0].to_ints(), [1]);
}

#[test]
fn quantised_values_saturate_at_their_type() {
    let graph = Graph {
        opset: 13,
        nodes: vec![Node::new("QuantizeLinear", &["x", "s", "z"], &["q"]), Node::new("DequantizeLinear", &["q", "s", "z"], &["y"])],
        initializers: [
            ("s".into(), TensorData::f32(&[], &[0.5])),
            ("z".into(), Value::ints(&[], vec![0]).to_tensor(crate::core::onnx::DType::I8).unwrap()),
        ]
        .into(),
        ..Graph::default()
    };
    let out = run(&graph, &HashMap::from([("x".into(), floats(&[3], &[-100.0, 0.3, 100.0]))]), &["y"]).unwrap();
    close(&out["y"], &[-64.0, 0.5, 63.5]);
}

#[test]
fn run_computes_only_what_is_wanted() {
    let graph =
        Graph { opset: 13, nodes: vec![Node::new("Nonsense", &["x"], &["n"]), Node::new("Neg", &["x"], &["y"])], ..Graph::default() };
    let feeds = HashMap::from([("x".to_owned(), floats(&[1], &[2.0]))]);
    close(&run(&graph, &feeds, &["y"]).unwrap()["y"], &[-2.0]);
    assert!(run(&graph, &feeds, &["n"]).unwrap_err().to_string().contains("Nonsense"));
    assert!(run(&graph, &HashMap::new(), &["y"]).unwrap_err().to_string().contains("'x'"));
}

#[test]
fn constants_in_every_form() {
    let of = |name: &str, a: Attr| eval_node(&Node::new("Constant", &[], &["o"]).with(name, a), 13, &[]).unwrap()[0].clone();
    close(&of("value_float", Attr::Float(1.5)), &[1.5]);
    assert_eq!(of("value_ints", Attr::Ints(vec![1, 2])), Value::vector(vec![1, 2]));
    assert_eq!(of("value", Attr::Tensor(TensorData::i64(&[], &[4]))).shape(), [0usize; 0]);
}

#[test]
fn attention_is_softmax_of_scaled_products() {
    let (q, k, v) = (ramp(&[1, 2, 3, 4]), ramp(&[1, 2, 5, 4]), ramp(&[1, 2, 5, 6]));
    let scores = eval(&node("Einsum", 2).with("equation", "nhtd,nhsd->nhts"), 13, &[&q, &k])[0].clone();
    let half = eval(&node("Mul", 2), 13, &[&scores, &floats(&[], &[0.5])])[0].clone();
    let p = eval(&node("Softmax", 1), 13, &[&half])[0].clone();
    let expected = eval(&node("MatMul", 2), 13, &[&p, &v])[0].clone();
    close(&eval(&node("Attention", 3), 23, &[&q, &k, &v])[0], &data(&expected));
}
