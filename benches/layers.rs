//! What the layer table costs beside plain forward runs of the same two images, and one masked prediction of both.
//!
//! `cargo bench --bench layers [-- MODEL]`: wall-clock on the engine that is found, on the processor.

#![allow(missing_docs, reason = "criterion's macros make the public items")]

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::{Array4, Axis};
use psescope::{
    core::{
        explain::layers::select,
        oracle::{Oracle as _, UnitGate, Units as _},
    },
    engine::subject::{Subject, SubjectOptions},
    runtime::{Runtime, RuntimeOptions},
};

fn layers(c: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runtime = Runtime::open(&RuntimeOptions { threads: 1, ..RuntimeOptions::default() }).expect("an engine");
    for model in ["onnx/squeezenet1_1.onnx", "onnx/efficientnet-lite0.onnx"] {
        if !root.join(model).is_file() {
            continue;
        }
        let subject = Subject::open(&root.join(model), &SubjectOptions::default()).expect("a model");
        let mut network = subject.network(&runtime.backend()).expect("a network");
        let image = subject.image(&root.join("samples/panda.jpg")).expect("the sample photo");
        let both: Array4<f32> = ndarray::stack(Axis(0), &[image.view(), image.view()]).expect("same size");
        let mut group = c.benchmark_group(model);
        group.sample_size(20);
        group.bench_function("forward", |b| b.iter(|| network.logits(both.view()).expect("logits")));
        for selection in ["auto", "all"] {
            let infos = select(&network, selection).expect("layers");
            let names: Vec<&str> = infos.iter().map(|l| l.name.as_str()).collect();
            let other = image.view().insert_axis(Axis(0));
            group.bench_function(format!("{selection} ({} layers)", names.len()), |b| {
                b.iter(|| network.responses(other, &names, Some(image.view())).expect("responses"))
            });
        }
        let last = network.unit_layers().pop().expect("a layer");
        let gate = UnitGate::zero(&last.name, last.units, &[0, 1, 2]);
        group.bench_function("masked", |b| b.iter(|| network.gated_logits(both.view(), std::slice::from_ref(&gate)).expect("logits")));
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
