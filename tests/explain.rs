//! Regions, timelines, faithfulness and token grids: from outside, and on small transformers.

mod common;

use std::path::Path;

use assert_cmd::Command;
use common::{
    array, engines,
    program::{json, psescope},
    root,
};
use ndarray::{Array2, Axis, Ix4};
use ndarray_npy::{ReadNpyExt as _, WriteNpyExt as _};
use psescope::{
    core::{
        explain::cam::{self, METHODS, Method},
        graph,
        oracle::Layers as _,
    },
    runtime::{Affine, Network, model_file},
};
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";
/// Small and with random weights: quick, and as good for what does not depend on them.
const SMALL: [&str; 3] = ["tests/zoo/resnet_basic/model.onnx", "--preprocess", "unit"];
const PANDA: &str = "samples/panda.jpg";
const ATTACK: [&str; 8] = ["--attack", "ifgsm", "--eps", "8/255", "--steps", "4", "--target", "second"];

fn fails(command: &mut Command, word: &str) {
    let text = String::from_utf8_lossy(&command.assert().failure().get_output().stderr).into_owned();
    assert!(text.contains(word) && !text.contains("panicked"), "no '{word}' in: {text}");
}

fn changed(dir: &Path) -> Array2<bool> {
    let delta = ndarray::Array3::<f32>::read_npy(std::fs::File::open(dir.join("delta.npy")).expect("delta")).expect("an array");
    delta.map_axis(Axis(0), |d| d.iter().any(|v| *v != 0.0))
}

#[test]
fn an_attack_inside_a_region_changes_nothing_outside() {
    let home = TempDir::new().expect("a folder");
    let (npy, run) = (home.path().join("npy"), home.path().join("run.pse"));
    let mut command = psescope(&home);
    command.arg("attack").args(SMALL).args([PANDA, "--within", "cam:t0:0.7", "--compare", "--json"]).args(ATTACK);
    let report = json(command.arg("--npy").arg(&npy).arg("--out").arg(&run));
    assert_eq!(report["within"]["region"], "cam:t0:0.7");
    let area = report["within"]["area"].as_f64().expect("a share");
    assert!((area - 0.3).abs() < 0.01, "{area}");
    let share = changed(&npy).iter().filter(|c| **c).count() as f64 / (64.0 * 64.0);
    assert!(share > 0.1 && share <= area, "{share} of the pixels changed within {area}");
    let (inside, everywhere) = (&report["compare"]["within"], &report["compare"]["unrestricted"]);
    assert!((inside["is"]["score"].as_f64().expect("a score") - 1.0).abs() < 1e-9, "all of the change lies within: {inside}");
    assert!(everywhere["is"]["score"].as_f64().expect("a score") < 0.9);
    assert!(everywhere["norms"]["l2"].as_f64() > inside["norms"]["l2"].as_f64());
    for outcome in [inside, everywhere] {
        assert!(outcome["success"].is_boolean() && outcome["share"]["promotion"].is_number(), "{outcome}");
    }

    // The run remembers it; its map can be split along any region, and followed over the steps.
    let mut command = psescope(&home);
    command.args(["pse", "--preprocess", "unit"]).arg(&run).args([
        "--cells",
        "8x16",
        "--estimate",
        "--region",
        "cam:t0:0.7",
        "--timeline",
        "--floor-relative",
        "0.02",
        "--json",
    ]);
    let map = json(&mut command);
    assert_eq!((&map["grid"]["cell_h"], &map["grid"]["cell_w"], &map["grid"]["rows"]), (&8.into(), &16.into(), &8.into()));
    let number = |v: &Value| v.as_f64().expect("a number");
    let gap = number(&map["totals"]["s_raw"]) - number(&map["whole"]["s_raw"]);
    assert!((gap - number(&map["additivity_gap"]["s"])).abs() < 1e-6);
    assert!(number(&map["rank_correlation"]["s"]).abs() <= 1.0, "{}", map["rank_correlation"]);
    let (inside, outside) = (&map["region"]["inside"], &map["region"]["outside"]);
    assert!((number(&inside["change"]) - 1.0).abs() < 1e-9 && number(&outside["change"]) == 0.0);
    assert!(number(&outside["whole"]["b_raw"]).abs() < 1e-6, "nothing lies outside");
    assert!((number(&inside["whole"]["b_raw"]) - number(&map["whole"]["b_raw"])).abs() < 1e-3, "taking back all of it is the whole effect");
    let steps = map["timeline"]["steps"].as_array().expect("steps");
    assert_eq!((steps.len(), number(&steps[0]["whole"]["b_raw"])), (5, 0.0));
    assert!((number(&steps[4]["whole"]["b_raw"]) - number(&map["whole"]["b_raw"])).abs() < 1e-3);
    assert_ne!(number(&map["floor"]) as f32, 0.1);
}

#[test]
fn a_mask_from_a_file_is_kept_to() {
    let home = TempDir::new().expect("a folder");
    let (mask, npy) = (home.path().join("mask.npy"), home.path().join("npy"));
    let pixels = Array2::from_shape_fn((64, 64), |(y, x)| if y < 12 && x > 30 { 1.0f32 } else { 0.0 });
    pixels.write_npy(std::fs::File::create(&mask).expect("a file")).expect("written");
    psescope(&home).arg("attack").args(SMALL).arg(PANDA).args(ATTACK).arg("--within").arg(&mask).arg("--npy").arg(&npy).assert().success();
    let changed = changed(&npy);
    assert!(changed.iter().any(|c| *c));
    assert!(changed.indexed_iter().all(|((y, x), c)| !c || (y < 12 && x > 30)));
    Array2::<f32>::zeros((10, 10)).write_npy(std::fs::File::create(&mask).expect("a file")).expect("written");
    fails(psescope(&home).arg("attack").args(SMALL).arg(PANDA).arg("--within").arg(&mask), "64");
}

#[test]
fn regions_that_mean_nothing_are_refused() {
    let home = TempDir::new().expect("a folder");
    let refuse = |within: &str, word: &str| fails(psescope(&home).args(["attack", MODEL, PANDA, "--within", within]), word);
    refuse("cam:t0", "cam:t0:0.7");
    refuse("cam:t:0.7", "--target");
    refuse("nothing:t0:0.7", "gradcam");
    refuse("gone.npy", "cannot read");
    fails(psescope(&home).args(["attack", MODEL, PANDA, "--compare"]), "--within");
    fails(psescope(&home).args(["cam", MODEL, PANDA, "--is"]), "--adv");
    fails(psescope(&home).args(["cam", MODEL, PANDA, "--difference"]), "--adv");
    fails(psescope(&home).args(["pse", MODEL, PANDA, "--cells", "0x3"]), "HEIGHTxWIDTH");
}

#[test]
fn maps_come_with_scores_differences_and_faithfulness() {
    let home = TempDir::new().expect("a folder");
    let run = home.path().join("run.pse");
    psescope(&home).args(["attack", MODEL, PANDA]).args(ATTACK).arg("--out").arg(&run).assert().success();
    let report = json(psescope(&home).arg("cam").arg(&run).args(["--is", "--difference", "--json"]));
    let scores = report["is"].as_array().expect("a curve");
    assert_eq!(scores.len(), 20);
    for pair in scores.windows(2) {
        assert!(pair[0]["score"].as_f64() >= pair[1]["score"].as_f64(), "a smaller region holds less");
    }
    let level = &scores[14];
    assert!((level["baseline"].as_f64().expect("a baseline") - 0.3f64.sqrt()).abs() < 0.01);
    assert_eq!(report["difference"].as_array().map(Vec::len), report["raw"].as_array().map(Vec::len));
    let mean = |v: &Value| v.as_array().map(|a| a.iter().filter_map(Value::as_f64).sum::<f64>() / a.len() as f64).expect("a map");
    assert!(mean(&report["difference"]) < 0.0, "the attack took evidence away from the true class");
    let report = json(psescope(&home).arg("cam").args(SMALL).args([PANDA, "--faithfulness", "--method", "scorecam", "--json"]));
    let f = &report["faithfulness"];
    for auc in [&f["deletion"]["auc"], &f["insertion"]["auc"], &f["control"]["deletion_auc"]] {
        assert!(auc.as_f64().is_some_and(|a| (0.0..=1.0).contains(&a)), "{f}");
    }
    let (first, last) = (&f["deletion"]["probability"][0], &f["insertion"]["probability"][20]);
    assert!((first.as_f64().expect("a number") - last.as_f64().expect("a number")).abs() < 1e-6, "both are the whole image");
    assert_eq!(f["road"]["morf"]["probability"].as_array().map(Vec::len), Some(9));
    let text = psescope(&home).arg("cam").arg(&run).args(["--is", "--on", "adv"]).assert().success();
    assert!(String::from_utf8_lossy(&text.get_output().stdout).contains("lift"));
}

/// A small transformer of the zoo on an engine, and its own input.
fn transformer(name: &str) -> Vec<(Network, ndarray::Array4<f32>, String)> {
    let folder = root().join("tests/zoo").join(name);
    let image =
        array(&folder.join("input.npy")).into_dimensionality::<Ix4>().expect("images").slice(ndarray::s![..1, .., .., ..]).to_owned();
    let open = |engine: std::sync::Arc<_>| {
        let loaded = model_file::load(&folder.join("model.onnx")).expect("the model loads");
        let prepared = graph::normalise(loaded.graph, &graph::Options::default()).expect("it is prepared");
        let about = format!("{name} on {}", psescope::runtime::backend::Backend::describe(&*engine));
        let network = Network::new(std::sync::Arc::new(prepared), engine, Affine::identity(3)).expect("a network");
        (network, image.clone(), about)
    };
    engines().into_iter().map(open).collect()
}

#[test]
fn every_method_without_a_linear_head_works_on_transformers() {
    for (name, patches) in [("vit", Some([8, 8])), ("swin", None)] {
        for (mut network, image, about) in transformer(name) {
            let layers = network.spatial_layers();
            assert!(layers.iter().all(|l| patches.is_none_or(|p| l.spatial == p)), "{about}: {layers:?}");
            for method in METHODS.iter().map(|m| m.method).filter(|m| *m != Method::Cam) {
                let map =
                    cam::compute(&mut network, image.index_axis(Axis(0), 0), method, None, 1).unwrap_or_else(|e| panic!("{about}: {e}"));
                assert!(map.raw.iter().any(|v| *v != 0.0), "{about}: {method:?} at {} is empty", map.layer);
                if let Some([h, w]) = patches {
                    assert_eq!(map.raw.dim(), (h, w), "{about}");
                }
            }
        }
    }
}

#[test]
fn class_tokens_are_dropped_and_patches_keep_their_places() {
    for (mut network, image, about) in transformer("vit") {
        // Every listed layer still reaches the logits: its gradient is not zero.
        for layer in network.spatial_layers() {
            let both = network.layer_gradient(image.view(), &layer.name, 0).unwrap_or_else(|e| panic!("{about}: {e}"));
            assert_eq!(both.activation.dim(), (1, layer.units, 8, 8), "{about} {layer:?}");
            assert!(both.gradient.iter().any(|g| *g != 0.0), "{about}: nothing comes from {layer:?}");
        }
        // The patch embedding is the first grid: a change of one patch of the image changes it at that place alone.
        let first = network.spatial_layers().into_iter().find(|l| l.op != "Conv").expect("a grid of tokens").name;
        let first =
            network.prepared().graph.nodes.iter().find(|n| n.outputs.contains(&first)).map(|n| n.outputs[0].clone()).expect("a node");
        let mut other = image.clone();
        other.slice_mut(ndarray::s![.., .., 16..24, 40..48]).mapv_inplace(|v| v + 0.5);
        let (a, b) =
            (network.activation(image.view(), &first).expect("it runs"), network.activation(other.view(), &first).expect("it runs"));
        let moved = (&b - &a).mapv(f32::abs).sum_axis(Axis(0)).sum_axis(Axis(0)).into_dimensionality::<ndarray::Ix2>().expect("a map");
        let most = moved.indexed_iter().max_by(|x, y| x.1.total_cmp(y.1)).map(|(at, _)| at);
        assert_eq!(most, Some((2, 5)), "{about} {first}: {moved:?}");
    }
}
