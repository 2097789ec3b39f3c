//! The gradient compiler against float64 autograd on small networks of many families, on every engine at hand.

mod common;

use std::path::PathBuf;

use common::{array, distance, engines, root};
use psescope::{
    core::{
        graph::{self, Instrumentation, Loss, TapKind},
        onnx::write,
    },
    runtime::{backend::Array, model_file},
};
use serde_json::Value;

const COSINE: f64 = 0.99999;
const RELATIVE: f64 = 1e-3;

/// Cases that an engine gets wrong or refuses for reasons outside our graphs: engine, case, why.
const EXCUSED: &[(&str, &str, &str)] = &[
    // One activation is 8e-7 in float64 and exactly 0 in ONNX Runtime's blocked convolution, in the plain model too: its mask flips.
    ("onnxruntime", "regnet_y", "a ReLU input within rounding of 0"),
];

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> =
        std::fs::read_dir(root().join("tests/zoo")).expect("tests/zoo").flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    cases.sort();
    assert_eq!(cases.len(), 16);
    cases
}

#[test]
fn logits_and_gradients_agree_with_float64_autograd() {
    let engines = engines();
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case.file_name().expect("a folder").to_string_lossy().into_owned();
        let meta: Value = serde_json::from_str(&std::fs::read_to_string(case.join("meta.json")).expect("meta.json")).expect("JSON");
        let loaded = model_file::load(&case.join("model.onnx")).expect("the model loads");
        let prepared = graph::normalise(loaded.graph, &graph::Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let tap = meta["intermediate"]["tensor"].as_str().map(str::to_owned);
        let taps = tap.iter().map(|t| (t.clone(), TapKind::ValueAndGradient)).collect();
        let spec = Instrumentation { loss: Loss::None, image_gradient: true, taps, ..Instrumentation::default() };
        let built = graph::instrument(&prepared, &spec).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = write::to_bytes(&built.graph);
        let inputs = [
            (built.image.as_str(), Array::F32(array(&case.join("input.npy")))),
            (built.cotangent.as_deref().expect("a cotangent"), Array::F32(array(&case.join("cotangent.npy")))),
        ];
        let mut wanted =
            vec![(built.logits.clone(), "logits.npy"), (built.grad_image.clone().expect("an image gradient"), "grad_input.npy")];
        if let Some((value, gradient)) = built.taps.first() {
            wanted.push((value.clone(), "intermediate.npy"));
            wanted.push((gradient.clone().expect("a tap's gradient"), "grad_intermediate.npy"));
        }
        let names: Vec<&str> = wanted.iter().map(|w| w.0.as_str()).collect();
        for engine in &engines {
            if let Some((_, _, why)) = EXCUSED.iter().find(|(e, c, _)| engine.describe().starts_with(e) && *c == name) {
                eprintln!("{name} on {} is not compared: {why}", engine.describe());
                continue;
            }
            let outputs = engine.load(&bytes).and_then(|mut e| e.run(&inputs, &names));
            let Ok(outputs) = outputs else {
                wrong.push(format!("{name} on {}: {}", engine.describe(), outputs.unwrap_err()));
                continue;
            };
            for (output, (_, file)) in outputs.iter().zip(&wanted) {
                let d = distance(output, &array(&case.join(file)));
                if d.cosine < COSINE || d.relative > RELATIVE {
                    wrong.push(format!("{name} {file} on {}: {d:?}", engine.describe()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
