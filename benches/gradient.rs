//! Building the gradient graph of the bundled network, and what running it costs beside the forward pass.
//!
//! `cargo bench --bench gradient`. The ratio is wall-clock on the engine that is found, one thread; `gradient_ratio.py` measures CPU
//! time on ONNX Runtime and compares with other tools.

#![allow(missing_docs, reason = "criterion's macros make the public items")]

use std::{hint::black_box, path::Path};

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{ArrayD, IxDyn};
use psescope::{
    core::{
        graph::{Instrumentation, Loss, Options, Prepared, instrument, normalise},
        onnx::write::to_bytes,
    },
    runtime::{Runtime, RuntimeOptions, backend::Array, model_file},
};

fn gradient_of(cross_entropy: bool) -> Instrumentation {
    Instrumentation {
        loss: if cross_entropy { Loss::CrossEntropy } else { Loss::None },
        image_gradient: cross_entropy,
        ..Instrumentation::default()
    }
}

fn prepared() -> Prepared {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/squeezenet1_1.onnx");
    let loaded = model_file::load(&path).expect("the bundled model opens");
    normalise(loaded.graph, &Options::default()).expect("the bundled model is a classifier")
}

fn building(c: &mut Criterion) {
    let prepared = prepared();
    let mut group = c.benchmark_group("build/squeezenet");
    let graph = prepared.graph.clone();
    group.bench_function("normalise", |b| b.iter(|| normalise(black_box(graph.clone()), &Options::default()).expect("it did before")));
    group.bench_function("instrument", |b| {
        b.iter(|| instrument(black_box(&prepared), &gradient_of(true)).expect("every operator has a rule"))
    });
    group.finish();
}

fn running(c: &mut Criterion) {
    let prepared = prepared();
    let runtime = match Runtime::open(&RuntimeOptions { threads: 1, ..RuntimeOptions::default() }) {
        Ok(runtime) => runtime,
        Err(error) => return eprintln!("no engine, nothing run: {error}"),
    };
    let backend = runtime.backend();
    let [channels, height, width] = prepared.shape;
    let pixels: Vec<f32> = (0..channels * height * width).map(|i| ((i * 7919) % 255) as f32 / 127.5 - 1.0).collect();
    let image = ArrayD::from_shape_vec(IxDyn(&[1, channels, height, width]), pixels).expect("as many pixels as the shape says");
    let mut group = c.benchmark_group(format!("run/squeezenet on {}", backend.describe()));
    group.sample_size(30);
    for (name, with_gradient) in [("forward", false), ("gradient", true)] {
        let made = instrument(&prepared, &gradient_of(with_gradient)).expect("every operator has a rule");
        let mut executor = backend.load(&to_bytes(&made.graph)).expect("the engine loads the graph");
        let mut inputs = vec![(made.image.as_str(), Array::F32(image.clone()))];
        if let Some((labels, weights)) = &made.labels {
            inputs.push((labels, Array::I64(ArrayD::from_elem(IxDyn(&[1]), 3))));
            inputs.push((weights, Array::F32(ArrayD::from_elem(IxDyn(&[1]), 1.0))));
        }
        let output = made.grad_image.as_deref().unwrap_or(&made.logits);
        group.bench_function(name, |b| b.iter(|| executor.run(black_box(&inputs), &[output]).expect("it runs")));
    }
    group.finish();
}

criterion_group!(benches, building, running);
criterion_main!(benches);
