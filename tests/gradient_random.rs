//! Random small graphs over the supported operators: the gradient graph agrees with central differences in float64.

mod support;

use proptest::prelude::*;
use psescope::core::graph::infer::infer;
use support::{Noise, build, compare, relative};

/// Steps from a map `[N, C, H, W]` to another map. `@` is the input, `#` the number of the step.
const MAPS: &[&str] = &[
    "y# = Conv(@ $4,C,3,3 $4) pads=1,1,1,1",
    "y# = Conv(@ $3,C,1,1) strides=2,2",
    "y# = Conv(@ $4,C,2,3) strides=2,1 auto_pad='SAME_UPPER'",
    "y# = Conv(@ $C,1,3,3) group=C pads=1,1,1,1",
    "y# = Conv(@ $C,1,3,3) group=C pads=1,0,1,1 strides=2,2",
    "y# = ConvTranspose(@ $C,2,2,2) strides=2,1 pads=0,1,1,0",
    "y# = MaxPool(@) kernel_shape=3,3 strides=2,2 pads=1,1,1,1",
    "y# = MaxPool(@) kernel_shape=2,2 strides=1,2 ceil_mode=1",
    "y# = AveragePool(@) kernel_shape=2,2 strides=2,2 ceil_mode=1",
    "y# = AveragePool(@) kernel_shape=3,3 pads=1,1,1,1",
    "y# = Sigmoid(@)",
    "y# = Relu(@)",
    "y# = LeakyRelu(@) alpha=0.1",
    "y# = Clip(@ =-0.7 =0.9)",
    "y# = Elu(@)",
    "y# = HardSwish(@)",
    "y# = Tanh(@)",
    "g# = Gelu(@) ; y# = Add(g# @)",
    "s# = Sigmoid(@) ; y# = Mul(@ s#)",
    "m# = ReduceMean(@ #2,3) keepdims=1 ; h# = HardSigmoid(m#) ; y# = Mul(@ h#)",
    "m# = GlobalMaxPool(@) ; y# = Sub(@ m#)",
    "y# = BatchNormalization(@ $C $C $C +C)",
    "y# = InstanceNormalization(@ +C $C) epsilon=0.1",
    "y# = LRN(@) size=3 alpha=0.3",
    "q# = Mul(@ @) ; y# = Concat(@ q#) axis=1",
    "y# = Mul(@ +C,1,1)",
    "y# = Add(@ $C,1,1)",
    "y# = Pad(@ #0,0,1,0,0,0,2,1) mode='edge'",
    "y# = Pad(@ #0,0,1,0,0,0,-1,1)",
    "y# = Slice(@ #1 #9999 #2 #2)",
    "y# = Slice(@ #-1 #-9999 #3 #-1)",
    "y# = Gather(@ #0,0) axis=1",
    "y# = Resize(@ _ ~1,1,2,2) mode='nearest'",
    "y# = Resize(@ _ ~1,1,1.5,2) mode='linear'",
    "y# = Transpose(@) perm=0,1,3,2",
    "n# = ReduceL2(@ #1) keepdims=1 ; c# = Max(n# =0.3) ; y# = Div(@ c#)",
    "y# = Softmax(@) axis=1",
    "t# = Transpose(@) perm=0,1,3,2 ; p# = MatMul(@ t#) ; y# = MatMul(p# @)",
];

/// From a map to the logits.
const HEADS: &[&str] = &[
    "p = GlobalAveragePool(@) ; f = Flatten(p) ; y = Gemm(f $C,3 $3)",
    "f = ReduceMean(@ #2,3) keepdims=0 ; z = MatMul(f $C,4) ; y = LogSoftmax(z)",
    "f = ReduceMax(@ #2,3) keepdims=0 ; y = Mul(f f)",
    "t = Reshape(@ #0,C,-1) ; u = Transpose(t) perm=0,2,1 ; l = LayerNormalization(u +C $C) epsilon=0.1 ; y = ReduceMean(l #1) keepdims=0",
];

/// Appends steps one after another, with channel counts read from the shapes inferred so far.
fn text(steps: &[usize], head: usize, shape: &[usize]) -> Option<String> {
    let (mut text, mut current) = (String::new(), "x".to_owned());
    let mut channels = shape[1];
    for (i, pattern) in steps.iter().map(|&s| MAPS[s]).chain([HEADS[head]]).enumerate() {
        let line = pattern.replace('@', &current).replace("C,", &format!("{channels},")).replace(",C ", &format!(",{channels} "));
        let line = line
            .replace("$C", &format!("${channels}"))
            .replace("+C", &format!("+{channels}"))
            .replace("group=C", &format!("group={channels}"));
        let line = number(&line, i);
        text.push_str(&line);
        if i == steps.len() {
            break;
        }
        current = format!("y{i}");
        let mut graph = build(&text, shape, 20);
        infer(&mut graph).ok()?;
        let sizes: Option<Vec<usize>> = graph.outputs[0].ty.shape.as_ref()?.iter().map(|d| d.at(shape[0])).collect();
        let sizes = sizes?;
        if sizes.len() != 4 || sizes[2..].iter().any(|&d| !(2..=14).contains(&d)) || sizes[1] > 12 {
            return None;
        }
        channels = sizes[1];
        text.push_str(" ; ");
    }
    Some(text)
}

/// Replaces the `#` that number values, not those that open integer vectors.
fn number(line: &str, i: usize) -> String {
    let mut out = String::new();
    let mut letters = false;
    for c in line.chars() {
        if c == '#' && letters {
            out.push_str(&i.to_string())
        } else {
            out.push(c)
        }
        letters = c.is_alphabetic();
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_agree_with_central_differences(
        steps in prop::collection::vec(0..MAPS.len(), 1..6),
        head in 0..HEADS.len(),
        size in (1usize..3, 1usize..4, 4usize..8, 4usize..8),
        seed in any::<u64>(),
    ) {
        let shape = [size.0, size.1, size.2, size.3];
        let Some(text) = text(&steps, head, &shape) else { return Ok(()) };
        let graph = build(&text, &shape, 20);
        let x = Noise::new(seed).many(shape.iter().product(), -1.0, 1.0);
        // Two steps that differ tell a kink within reach (a difference quotient means nothing there) from a wrong rule.
        let (analytic, coarse) = compare(&graph, &shape, &x, 1e-5).map_err(|e| TestCaseError::fail(format!("{e} in {text}")))?;
        let (_, fine) = compare(&graph, &shape, &x, 2e-6).map_err(TestCaseError::fail)?;
        if relative(&coarse, &fine) < 1e-6 {
            let error = relative(&analytic, &fine);
            prop_assert!(error < 2e-6, "relative error {error:.2e} in {text}");
        }
    }
}
