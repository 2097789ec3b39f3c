//! Kinks, ties, infinities and rounding: where a difference quotient says nothing, the convention is fixed here.

mod support;

use std::collections::HashMap;

use psescope::core::graph::{
    Gate, Instrumentation, Loss, TapKind,
    eval::{Value, run},
    instrument,
};
use support::{build, elements, gradient, prepare, relative};

/// Gradient of `sum(y)` at `x`.
fn slope(text: &str, shape: &[usize], x: &[f64]) -> Vec<f64> {
    weighted(text, shape, x, None)
}

/// Gradient of `sum(w * y)` at `x`.
fn weighted(text: &str, shape: &[usize], x: &[f64], w: Option<&[f64]>) -> Vec<f64> {
    let graph = build(text, shape, 17);
    let image = Value::floats(shape, x.to_vec());
    let output = graph.outputs[0].name.clone();
    let y = run(&graph, &HashMap::from([("x".to_owned(), image.clone())]), &[&output]).expect("the case runs")[&output].clone();
    let w = w.map_or_else(|| vec![1.0; y.len()], <[f64]>::to_vec);
    let done = gradient(graph).expect("the case has rules");
    let name = done.grad_image.expect("an image gradient");
    let feeds = HashMap::from([("x".to_owned(), image), (done.cotangent.expect("a cotangent"), Value::floats(y.shape(), w))]);
    elements(&run(&done.graph, &feeds, &[&name]).expect("the gradient runs")[&name])
}

#[test]
fn kinks_have_slope_zero() {
    assert_eq!(slope("y = Relu(x)", &[1, 3], &[-1.0, 0.0, 1.0]), [0.0, 0.0, 1.0]);
    assert_eq!(slope("y = Clip(x =0 =6)", &[1, 4], &[0.0, 3.0, 6.0, 9.0]), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(slope("y = Abs(x)", &[1, 3], &[-1.0, 0.0, 2.0]), [-1.0, 0.0, 1.0]);
}

#[test]
fn max_pool_gives_everything_to_the_first_of_equals() {
    assert_eq!(slope("y = MaxPool(x) kernel_shape=2,2 strides=2,2", &[1, 1, 2, 2], &[1.0; 4]), [1.0, 0.0, 0.0, 0.0]);
    // Row-major: a later column of an earlier row comes first.
    assert_eq!(slope("y = MaxPool(x) kernel_shape=2,2 strides=2,2", &[1, 1, 2, 2], &[0.0, 1.0, 1.0, 0.0]), [0.0, 1.0, 0.0, 0.0]);
    let padded = slope("y = MaxPool(x) kernel_shape=3,3 strides=2,2 pads=1,1,1,1", &[1, 1, 4, 4], &[0.0; 16]);
    assert_eq!(padded, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(slope("y = GlobalMaxPool(x)", &[1, 1, 2, 2], &[0.0, 3.0, 3.0, 1.0]), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn other_maxima_share_equally() {
    assert_eq!(slope("y = Max(x =0)", &[1, 3], &[-1.0, 0.0, 1.0]), [0.0, 0.5, 1.0]);
    assert_eq!(slope("y = ReduceMax(x) axes=1, keepdims=0", &[1, 3], &[2.0, 1.0, 2.0]), [0.5, 0.0, 0.5]);
}

#[test]
fn nothing_multiplies_zero_by_infinity() {
    assert_eq!(slope("y = ReduceL2(x) axes=1, keepdims=0", &[1, 3], &[0.0; 3]), [0.0; 3]);
    // L2 normalisation of a zero vector.
    let unit = slope("n = ReduceL2(x) axes=1, keepdims=1 ; c = Clip(n =1e-12) ; y = Div(x c)", &[1, 3], &[0.0; 3]);
    assert!(unit.iter().all(|v| v.is_finite()), "{unit:?}");
    assert_eq!(slope("y = Elu(x)", &[1, 2], &[1e4, -1e4]), [1.0, 0.0]);
    assert_eq!(slope("y = Softplus(x)", &[1, 2], &[1e4, -1e4]), [1.0, 0.0]);
    assert_eq!(slope("y = Pow(x =2)", &[1, 2], &[0.0, 1.0]), [0.0, 2.0]);
    assert_eq!(slope("y = Pow(x ~0,0)", &[1, 2], &[0.0, 1.0]), [0.0, 0.0]);
    assert_eq!(slope("y = ReduceProd(x) axes=1, keepdims=0", &[1, 3], &[0.0, 2.0, 3.0]), [6.0, 0.0, 0.0]);
    assert_eq!(slope("y = LpNormalization(x) axis=1", &[1, 2], &[0.0, 0.0]), [0.0, 0.0]);
    // A masked softmax.
    let masked = weighted("m = Add(x ~0,0,-inf) ; y = Softmax(m)", &[1, 3], &[0.0; 3], Some(&[1.0, 0.0, 5.0]));
    assert!(relative(&masked, &[0.25, -0.25, 0.0]) < 1e-12, "{masked:?}");
    assert!(slope("y = Sqrt(x)", &[1, 1], &[0.0])[0].is_infinite());
}

#[test]
fn quantisation_is_straight_through_inside_its_range() {
    let text = "q = QuantizeLinear(x =0.5) ; y = DequantizeLinear(q =0.5)";
    assert_eq!(slope(text, &[1, 4], &[-3.0, 0.3, 100.0, 200.0]), [0.0, 1.0, 1.0, 0.0]);
    let moved = "q = QuantizeLinear(x =0.5) ; t = Transpose(q) perm=1,0 ; y = DequantizeLinear(t =1.0)";
    assert_eq!(slope(moved, &[1, 2], &[0.3, 200.0]), [2.0, 0.0]);
}

#[test]
fn shapes_and_integers_carry_no_gradient() {
    let text = "s = Shape(x) ; f = Cast(s) to=1 ; m = ReduceProd(f) keepdims=0 ; r = Sqrt(m) ; y = Div(x r)";
    assert!(relative(&slope(text, &[1, 4], &[1.0; 4]), &[0.5; 4]) < 1e-12);
    assert_eq!(slope("i = Cast(x) to=7 ; f = Cast(i) to=1 ; y = Add(f x)", &[1, 2], &[1.5, 2.5]), [1.0, 1.0]);
    // No path at all: zeros, not an error.
    assert_eq!(slope("y = Floor(x)", &[1, 2], &[1.5, 2.5]), [0.0, 0.0]);
}

#[test]
fn missing_rules_are_named() {
    let graph = build("a = Relu(x) ; y = Det(a)", &[2, 3, 3], 17);
    let Err(error) = gradient(graph) else { panic!("Det has no rule") };
    assert_eq!(error.to_string(), "no gradient rule for Det (node node_y)");
}

/// A linear classifier with K = 4 and its loss head, evaluated: loss and image gradient.
fn head(loss: Loss, extra: &[(&str, Vec<f64>)], labels: &[i64], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut prepared = prepare(build("y = Mul(x =2)", &[2, 4], 17)).expect("the case is typed");
    prepared.classes = 4;
    let done = instrument(&prepared, &Instrumentation { loss, image_gradient: true, ..Instrumentation::default() }).expect("a head");
    let (label_name, weight_name) = done.labels.clone().expect("labels");
    let mut feeds = HashMap::from([
        ("x".to_owned(), Value::floats(&[2, 4], vec![0.5, 1.0, -0.5, 0.0, 0.0, 0.25, 2.0, 1.0])),
        (label_name, Value::vector(labels.to_vec())),
        (weight_name, Value::floats(&[2], weights.to_vec())),
    ]);
    for (key, values) in extra {
        let shape: &[usize] = if *key == "kappa" { &[] } else { &[2] };
        let value = match *key {
            "targets" => Value::vector(values.iter().map(|v| *v as i64).collect()),
            _ => Value::floats(shape, values.clone()),
        };
        feeds.insert(done.graph.metadata[&format!("psescope.{key}")].clone(), value);
    }
    let (loss, grad) = (done.loss.expect("a loss"), done.grad_image.expect("a gradient"));
    let values = run(&done.graph, &feeds, &[&loss, &grad]).expect("the head runs");
    (elements(&values[&loss]), elements(&values[&grad]))
}

#[test]
fn cross_entropy_is_weighted_per_sample() {
    let (loss, grad) = head(Loss::CrossEntropy, &[], &[1, 2], &[1.0, -3.0]);
    let z = [[1.0f64, 2.0, -1.0, 0.0], [0.0, 0.5, 4.0, 2.0]];
    for (n, (label, weight)) in [(1usize, 1.0), (2, -3.0)].into_iter().enumerate() {
        let total: f64 = z[n].iter().map(|v| v.exp()).sum();
        assert!((loss[n] - weight * (total.ln() - z[n][label])).abs() < 1e-9);
        for k in 0..4 {
            let slope = weight * 2.0 * (z[n][k].exp() / total - f64::from(u8::from(k == label)));
            assert!((grad[n * 4 + k] - slope).abs() < 1e-9);
        }
    }
}

#[test]
fn the_ratio_is_that_of_the_logits_in_order() {
    use ndarray::arr1;
    use psescope::core::scalars;
    let z = [arr1(&[1.0f32, 2.0, -1.0, 0.0]), arr1(&[0.0f32, 0.5, 4.0, 2.0])];
    for (targeted, others) in [(false, [1.0, 0.0]), (true, [3.0, 2.0])] {
        let extra: &[(&str, Vec<f64>)] = if targeted { &[("targets", others.to_vec())] } else { &[] };
        let (loss, grad) = head(Loss::Ratio { targeted }, extra, &[1, 3], &[1.0, -2.0]);
        for (n, (label, weight)) in [(1usize, 1.0), (3, -2.0)].into_iter().enumerate() {
            let (value, slope) = scalars::ratio(z[n].view(), label, targeted.then_some(others[n] as usize));
            assert!((loss[n] - weight * f64::from(value)).abs() < 1e-6, "{targeted}: {loss:?}");
            for k in 0..4 {
                assert!((grad[n * 4 + k] - 2.0 * weight * f64::from(slope[k])).abs() < 1e-6, "{targeted}: {grad:?}");
            }
        }
    }
}

#[test]
fn margin_follows_direction_and_rests_at_kappa() {
    // Targeted at class 0: the best other class is 1, margin 2 - 1.
    let (loss, grad) = head(Loss::Margin, &[("kappa", vec![0.0]), ("direction", vec![1.0, -1.0])], &[0, 2], &[1.0, 0.5]);
    assert!(relative(&loss, &[1.0, 0.5 * 2.0]) < 1e-9, "{loss:?}");
    assert!(relative(&grad, &[-2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0]) < 1e-9, "{grad:?}");
    // Reached with confidence 1.5 wanted: margin -1 still counts, -2 rests.
    let (loss, grad) = head(Loss::Margin, &[("kappa", vec![1.5]), ("direction", vec![1.0, 1.0])], &[1, 2], &[1.0, 1.0]);
    assert!(relative(&loss, &[-1.0, -1.5]) < 1e-9, "{loss:?}");
    assert!(relative(&grad, &[2.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]) < 1e-9, "{grad:?}");
}

#[test]
fn taps_read_values_statistics_and_gradients() {
    let prepared =
        prepare(build("a = Relu(x) ; p = GlobalAveragePool(a) ; f = Flatten(p) ; y = Gemm(f $2,3)", &[2, 2, 2, 2], 17)).expect("typed");
    let kinds = [TapKind::ValueAndGradient, TapKind::UnitMean, TapKind::UnitMax, TapKind::UnitL2];
    let spec = Instrumentation { taps: kinds.map(|k| ("a".to_owned(), k)).to_vec(), ..Instrumentation::default() };
    let done = instrument(&prepared, &spec).expect("taps");
    let names: Vec<&str> = done.taps.iter().flat_map(|(v, g)| [Some(v.as_str()), g.as_deref()]).flatten().collect();
    assert_eq!(names, ["a", "grad_a", "mean_a", "max_a", "l2_a"]);
    assert!(done.graph.outputs.iter().map(|o| o.name.as_str()).eq(["y", "a", "grad_a", "mean_a", "max_a", "l2_a"]));
    let x: Vec<f64> = (0..16).map(|i| f64::from(i) - 3.0).collect();
    let feeds =
        HashMap::from([("x".to_owned(), Value::floats(&[2, 2, 2, 2], x)), ("cotangent".to_owned(), Value::floats(&[2, 3], vec![1.0; 6]))]);
    let values = run(&done.graph, &feeds, &names).expect("the taps run");
    assert_eq!(elements(&values["max_a"]), [0.0, 4.0, 8.0, 12.0]);
    assert_eq!(elements(&values["mean_a"]), [0.0, 2.5, 6.5, 10.5]);
    assert!((elements(&values["l2_a"])[1] - 30f64.sqrt()).abs() < 1e-12);
    assert_eq!(values["grad_a"].shape(), [2, 2, 2, 2]);
    // Without a gradient tap nothing runs backwards.
    let forward = Instrumentation { taps: vec![("a".into(), TapKind::Value)], ..Instrumentation::default() };
    let forward = instrument(&prepared, &forward).expect("a tap");
    assert!(forward.cotangent.is_none() && forward.graph.nodes.len() == 4 && forward.graph.metadata["psescope.kind"] == "inference");
}

#[test]
fn gates_replace_what_the_rest_of_the_network_sees() {
    let prepared = prepare(build("a = Mul(x =3) ; y = Mul(a a)", &[1, 2], 17)).expect("typed");
    let spec = Instrumentation {
        image_gradient: true,
        taps: vec![("a".into(), TapKind::ValueAndGradient)],
        gates: vec![Gate { tensor: "a".into() }],
        ..Instrumentation::default()
    };
    let done = instrument(&prepared, &spec).expect("a gate");
    let (mask, replacement) = &done.gates[0];
    let feeds = HashMap::from([
        ("x".to_owned(), Value::floats(&[1, 2], vec![1.0, 2.0])),
        (mask.clone(), Value::floats(&[1, 2], vec![1.0, 0.0])),
        (replacement.clone(), Value::floats(&[1, 1], vec![5.0])),
        ("cotangent".to_owned(), Value::floats(&[1, 2], vec![1.0, 1.0])),
    ]);
    let values = run(&done.graph, &feeds, &["y", "a", "grad_a", "grad_image"]).expect("the gate runs");
    assert_eq!(elements(&values["y"]), [9.0, 25.0]);
    assert_eq!(elements(&values["a"]), [3.0, 5.0]);
    assert_eq!(elements(&values["grad_a"]), [6.0, 10.0]);
    assert_eq!(elements(&values["grad_image"]), [18.0, 0.0]);
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let text =
        "a = Conv(x $4,3,3,3) pads=1,1,1,1 ; b = MaxPool(a) kernel_shape=3,3 strides=2,2 ; c = GlobalAveragePool(b) ; y = Flatten(c)";
    let make = || psescope::core::onnx::write::to_bytes(&gradient(build(text, &[2, 3, 7, 6], 17)).expect("rules").graph);
    assert_eq!(make(), make());
}
