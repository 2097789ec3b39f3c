//! Gradients from a graph that PyTorch exported against ours on the same network. `tests/golden/exported*.onnx` come from
//! `export()` in onnx/export_gradient.py, on a small network with every kind of layer whose derivative that script writes out.

mod common;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use common::{distance, engines, root};
use ndarray::{Array2, Array4, s};
use prost::bytes::Bytes;
use psescope::{
    core::{
        onnx::{Graph, Node, TensorData, read, write},
        oracle::{Evaluation, Layers as _, Objective, Oracle as _},
    },
    engine::subject::{Subject, SubjectOptions},
};
use tempfile::TempDir;

const CLASSES: usize = 10;

fn golden(name: &str) -> PathBuf {
    root().join("tests/golden").join(name)
}

fn options(grad_model: Option<&Path>) -> SubjectOptions {
    SubjectOptions { preprocess: Some("unit".into()), grad_model: grad_model.map(Path::to_owned), ..SubjectOptions::default() }
}

fn images(n: usize) -> Array4<f32> {
    let value = |(n, c, h, w): (usize, usize, usize, usize)| 0.5 + 0.45 * ((n * 91 + c * 37 + h * 5 + w * 3) as f32 * 0.61).sin();
    Array4::from_shape_fn((n, 3, 32, 32), value)
}

fn graph(path: &Path) -> Graph {
    let bytes = Bytes::from(std::fs::read(path).expect("the file is there"));
    read::parse(bytes, &mut |_| panic!("nothing is outside")).expect("a graph")
}

fn same(ours: &Evaluation, exported: &Evaluation, what: &str) {
    let d = distance(&exported.grad.clone().into_dyn(), &ours.grad.clone().into_dyn());
    assert!(d.cosine > 0.99999, "{what}: cosine {}", d.cosine);
    let largest = ours.grad.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let flipped = ours.grad.iter().zip(&exported.grad).filter(|(a, b)| a.abs() > 1e-4 * largest && a.signum() != b.signum()).count();
    assert_eq!(flipped, 0, "{what}: the first step of an attack would differ");
    for (a, b) in ours.loss.iter().zip(&exported.loss).chain(ours.logits.iter().zip(&exported.logits)) {
        assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{what}: {a} {b}");
    }
}

#[test]
fn an_exported_gradient_agrees_with_the_compiled_one_for_every_objective() {
    let model = golden("exported.onnx");
    let (own, other) = (Subject::open(&model, &options(None)).expect("ours"), golden("exported-gradient.onnx"));
    let exported = Subject::open(&model, &options(Some(&other))).expect("exported");
    assert!(exported.notices.iter().any(|n| n.starts_with("gradients come from") && n.contains("exported-gradient.onnx")));
    let x = images(3);
    let labels = [0usize, 4, 9];
    let cotangent = Array2::from_shape_fn((3, CLASSES), |(n, k)| ((n * 7 + k) as f32).cos());
    let objectives = [
        Objective::Linear { cotangent: cotangent.view() },
        Objective::CrossEntropy { labels: &labels },
        Objective::Margin { labels: &labels, targeted: true, kappa: 0.5 },
        Objective::Margin { labels: &labels, targeted: false, kappa: 20.0 },
        Objective::Linear { cotangent: cotangent.view() },
    ];
    for backend in engines() {
        let (mut ours, mut theirs) = (own.network(&backend).expect("ours"), exported.network(&backend).expect("exported"));
        for objective in objectives {
            let name = format!("{} {objective:?}", backend.describe());
            let (a, b) = (ours.gradient(x.view(), objective).expect("ours"), theirs.gradient(x.view(), objective).expect("exported"));
            same(&a, &b, &name);
        }
    }
}

#[test]
fn a_gradient_graph_alone_is_a_model_too() {
    let (plain, alone) = (golden("exported.onnx"), golden("exported-gradient.onnx"));
    let subject = Subject::open(&alone, &options(None)).expect("its forward graph is in it");
    assert!(subject.notices.iter().any(|n| n.starts_with("gradients come from")));
    assert_eq!(subject.prepared.graph.inputs.len(), 1);
    let x = images(2);
    let objective = Objective::CrossEntropy { labels: &[3, 5] };
    for backend in engines() {
        let mut network = Subject::open(&plain, &options(None)).expect("ours").network(&backend).expect("ours");
        let ours = network.gradient(x.view(), objective).expect("ours");
        same(&ours, &subject.network(&backend).expect("alone").gradient(x.view(), objective).expect("alone"), &backend.describe());
    }
}

#[test]
fn a_graph_written_by_psescope_is_accepted_with_its_taps() {
    let home = TempDir::new().expect("a folder");
    let (model, out) = (golden("exported.onnx"), home.path().join("own.onnx"));
    let plain = Subject::open(&model, &options(None)).expect("a model");
    let backend = engines().remove(0);
    let mut ours = plain.network(&backend).expect("a network");
    let layer = ours.spatial_layers().last().expect("a layer").name.clone();
    command(&home).arg("grad").arg(&model).arg("-o").arg(&out).args(["--tap", &layer]).assert().success();
    let mut theirs = Subject::open(&model, &options(Some(&out))).expect("it keeps the contract").network(&backend).expect("a network");
    let x = images(2);
    let (a, b) = (ours.layer_gradient(x.view(), &layer, 3).expect("ours"), theirs.layer_gradient(x.view(), &layer, 3).expect("theirs"));
    assert!(distance(&b.gradient.into_dyn(), &a.gradient.into_dyn()).cosine > 0.99999);
    assert!(distance(&b.activation.into_dyn(), &a.activation.into_dyn()).cosine > 0.99999);
    let labels = [1usize, 2];
    let ce = Objective::CrossEntropy { labels: &labels };
    same(&ours.gradient(x.view(), ce).expect("ours"), &theirs.gradient(x.view(), ce).expect("theirs"), "own graph");
}

fn command(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    command.current_dir(home.path()).env("PSESCOPE_ENGINE", "embedded").env("HOME", home.path());
    for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home.path());
    }
    command
}

/// The network behind an operator that has no gradient rule: here it samples the image where its pixels are.
fn without_rule(home: &TempDir) -> PathBuf {
    let mut graph = graph(&golden("exported.onnx"));
    let image = graph.inputs[0].name.clone();
    for node in &mut graph.nodes {
        node.inputs.iter_mut().filter(|i| **i == image).for_each(|i| *i = "sampled".into());
    }
    let at = |i: usize| -1.0 + 2.0 * i as f32 / 31.0;
    let places: Vec<f32> = (0..32 * 32).flat_map(|i| [at(i % 32), at(i / 32)]).collect();
    graph.initializers.insert("places".into(), TensorData::f32(&[1, 32, 32, 2], &places));
    graph.nodes.insert(0, Node::new("GridSample", &[&image, "places"], &["sampled"]).with("align_corners", 1i64));
    let path = home.path().join("odd.onnx");
    std::fs::write(&path, write::to_bytes(&graph)).expect("written");
    path
}

#[test]
fn models_with_operators_without_rules_become_attackable() {
    let Some(backend) = engines().into_iter().find(|b| b.describe().starts_with("onnxruntime")) else { return };
    let home = TempDir::new().expect("a folder");
    let model = without_rule(&home);
    let x = images(1);
    let objective = Objective::CrossEntropy { labels: &[2] };
    let stuck = Subject::open(&model, &options(None)).expect("it opens");
    assert!(stuck.no_gradient().expect("no gradient").contains("--grad-model"));
    assert!(stuck.network(&backend).expect("forward works").gradient(x.view(), objective).is_err());
    let subject = Subject::open(&model, &options(Some(&golden("exported-gradient.onnx")))).expect("it opens");
    assert_eq!(subject.no_gradient(), None);
    let plain = Subject::open(&golden("exported.onnx"), &options(None)).expect("ours");
    let a = plain.network(&backend).expect("ours").gradient(x.view(), objective).expect("ours");
    same(&a, &subject.network(&backend).expect("exported").gradient(x.view(), objective).expect("exported"), "no rule");
}

#[test]
fn the_command_line_attacks_and_checks_through_an_exported_graph() {
    let home = TempDir::new().expect("a folder");
    let image = home.path().join("x.npy");
    ndarray_npy::write_npy(&image, &images(1).slice(s![0, .., .., ..]).to_owned()).expect("written");
    let (model, gradient) = (golden("exported.onnx"), golden("exported-gradient.onnx"));
    let run = |name: &str, exported: bool| -> ndarray::Array3<f32> {
        let out = home.path().join(name);
        let mut command = command(&home);
        command.arg("attack").args([&model, &image]).args(["--steps", "1", "--preprocess", "unit", "--npy"]).arg(&out);
        if exported {
            command.arg("--grad-model").arg(&gradient);
        }
        let stderr = command.assert().success().get_output().stderr.clone();
        assert_eq!(String::from_utf8_lossy(&stderr).contains("gradients come from"), exported);
        ndarray_npy::read_npy(out.join("adv.npy")).expect("an image")
    };
    assert_eq!(run("ours", false), run("theirs", true), "one step moves every pixel by the gradient's sign");
    let json = command(&home).args(["grad", "--json", "--preprocess", "unit"]).arg(&model).arg("--grad-model").arg(&gradient).assert();
    let report: serde_json::Value = serde_json::from_slice(&json.success().get_output().stdout).expect("one object");
    assert!(report["check"]["relative_error"].as_f64().expect("a number") < 0.01, "{report}");
}

#[test]
fn graphs_that_break_the_contract_are_refused_in_one_sentence() {
    let home = TempDir::new().expect("a folder");
    let (model, good) = (golden("exported.onnx"), graph(&golden("exported-gradient.onnx")));
    let path = home.path().join("bad.onnx");
    let refused = |change: &dyn Fn(&mut Graph), word: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        std::fs::write(&path, write::to_bytes(&bad)).expect("written");
        let error = Subject::open(&model, &options(Some(&path))).err().unwrap_or_else(|| panic!("accepted; no '{word}'")).to_string();
        assert!(error.contains("bad.onnx") && error.contains(word) && !error.contains('\n'), "no '{word}' in: {error}");
    };
    let remove = |key: &'static str| move |g: &mut Graph| drop(g.metadata.remove(key));
    refused(&remove("psescope.kind"), "no gradient graph");
    refused(&|g| drop(g.metadata.insert("psescope.kind".into(), "inference".into())), "marked as 'inference'");
    refused(&remove("psescope.grad_image"), "does not name psescope.grad_image");
    refused(&|g| drop(g.metadata.insert("psescope.logits".into(), "z".into())), "output 'z'");
    refused(&|g| drop(g.metadata.insert("psescope.loss".into(), "loss".into())), "loss head");
    let shape = |at: usize, dim: usize, size: usize| {
        move |g: &mut Graph| {
            let dims = g.inputs[at].ty.shape.as_mut().expect("a shape");
            dims[dim] = psescope::core::onnx::Dim::Fixed(size);
        }
    };
    refused(&shape(0, 2, 64), "export it for the same input size");
    refused(&shape(1, 1, 1000), "10 classes");
    refused(&shape(0, 0, 8), "batch is fixed to 8");
    refused(
        &|g| g.inputs.push(psescope::core::onnx::ValueInfo { name: "seed".into(), ty: g.inputs[0].ty.clone() }),
        "another input 'seed'",
    );
    let plain = Subject::open(&model, &options(Some(&model))).err().expect("refused").to_string();
    assert!(plain.contains("psescope.kind is missing"), "{plain}");
}

#[test]
fn a_graph_of_other_weights_is_found_out_at_the_first_gradient() {
    let home = TempDir::new().expect("a folder");
    let mut other = graph(&golden("exported-gradient.onnx"));
    let head = other.initializers.values_mut().find(|t| t.dims == [CLASSES]).expect("the bias of the head");
    *head = TensorData::f32(&[CLASSES], &[50.0, 0.0, 0.0, -50.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0]);
    let path = home.path().join("other.onnx");
    std::fs::write(&path, write::to_bytes(&other)).expect("written");
    let subject = Subject::open(&golden("exported.onnx"), &options(Some(&path))).expect("it looks right");
    let mut network = subject.network(&engines().remove(0)).expect("a network");
    let error = network.gradient(images(1).view(), Objective::CrossEntropy { labels: &[1] }).expect_err("refused").to_string();
    assert!(error.contains("differ from the model's"), "{error}");
}
