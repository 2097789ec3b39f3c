//! Units of a real network: oracles that hold exactly for its pooled linear head, agreement of engines and of paths, and the
//! commands `layers`, `units` and `mask` from outside.

mod common;

use std::{path::Path, sync::Arc};

use assert_cmd::Command;
use common::{engines, root};
use ndarray::{Array2, Array3, Array4, Axis};
use psescope::{
    core::{
        error::Error,
        explain::{
            layers::{self, Settings},
            psr,
            units::{self, Case, Fill},
        },
        graph,
        onnx::read,
        oracle::{Gated, Layers as _, Objective, Oracle as _, Replacement, UnitGate, Units as _},
    },
    engine::subject::{Subject, SubjectOptions},
    runtime::Network,
};
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";
const PANDA: &str = "samples/panda.jpg";
const HEAD: &str = "fire9";

fn subject() -> Subject {
    Subject::open(&root().join(MODEL), &SubjectOptions::default()).expect("the sample model")
}

/// The network on every engine, the panda, and the panda after one step up the gradient of another class.
fn cases() -> Vec<(Network, Arc<Array3<f32>>, Array3<f32>)> {
    let subject = subject();
    let clean = Arc::new(subject.image(&root().join(PANDA)).expect("the sample photo"));
    engines()
        .iter()
        .map(|engine| {
            let mut network = subject.network(engine).expect("a network");
            let batch = clean.view().insert_axis(Axis(0));
            let slope = network.gradient(batch, Objective::CrossEntropy { labels: &[277] }).expect("a gradient").grad;
            let moved = (&batch - &(slope.mapv(f32::signum) * (8.0 / 255.0))).mapv(|v| v.clamp(0.0, 1.0));
            (network, Arc::clone(&clean), moved.index_axis_move(Axis(0), 0))
        })
        .collect()
}

fn one(image: &Array3<f32>) -> Array4<f32> {
    image.clone().insert_axis(Axis(0))
}

fn close(a: f32, b: f32, tolerance: f32, what: &str) {
    assert!((a - b).abs() <= tolerance, "{what}: {a} and {b}");
}

#[test]
fn zeroing_a_unit_before_the_pooled_linear_head_takes_its_share_of_every_logit() {
    for (mut network, clean, _) in cases() {
        let head = network.linear_head().expect("GAP and linear");
        assert_eq!(head.layer, HEAD);
        let units = head.weights.ncols();
        let before = network.logits(one(&clean).view()).expect("logits");
        let pooled = network.responses(one(&clean).view(), &[HEAD], None).expect("responses").layers.swap_remove(0).mean;
        let dead = (0..units).find(|k| pooled[(0, *k)] == 0.0);
        let strongest = (0..units).max_by(|a, b| pooled[(0, *a)].total_cmp(&pooled[(0, *b)])).expect("units");
        // Several maskings of one image in one batch.
        let picked = [strongest, 7, 100, dead.unwrap_or(3)];
        let mask = Array2::from_shape_fn((picked.len(), units), |(n, k)| if picked[n] == k { 0.0 } else { 1.0 });
        let gate = UnitGate { layer: HEAD.into(), mask, replacement: Replacement::Zero };
        let after = network.gated_logits(one(&clean).view(), &[gate]).expect("gated");
        assert_eq!(after.dim(), (4, 1000));
        for (n, unit) in picked.into_iter().enumerate() {
            for class in [0, 277, 388, 999] {
                let share = head.weights[(class, unit)] * pooled[(0, unit)];
                close(before[(0, class)] - after[(n, class)], share, 2e-4, "share of a unit");
            }
        }
        if dead.is_some() {
            let open = network.gated_logits(one(&clean).view(), &[UnitGate::zero(HEAD, units, &[])]).expect("open gate");
            let shut = network.gated_logits(one(&clean).view(), &[UnitGate::zero(HEAD, units, &[picked[3]])]).expect("dead unit");
            assert_eq!(open, shut, "a dead unit changes nothing, bit for bit");
        }
        let all: Vec<usize> = (0..units).collect();
        let rest = network.gated_logits(one(&clean).view(), &[UnitGate::zero(HEAD, units, &all)]).expect("all masked");
        rest.iter().zip(&head.bias).for_each(|(z, b)| close(*z, *b, 1e-5, "bias"));
    }
}

#[test]
fn patching_a_passage_back_to_clean_restores_the_clean_logits() {
    for (mut network, clean, moved) in cases() {
        let (a, b) = (network.logits(one(&clean).view()).expect("clean"), network.logits(one(&moved).view()).expect("moved"));
        assert!((&a - &b).iter().any(|d| d.abs() > 1.0), "the step changes something");
        let main = network.main_layers();
        assert!(main.contains(&"fire5".to_owned()) && main.contains(&HEAD.to_owned()), "{main:?}");
        assert!(network.unit_layers().len() > main.len(), "the branches of a block are no passages");
        for layer in ["fire5", HEAD] {
            let value = network.activation(one(&clean).view(), layer).expect("activation");
            let count = value.shape()[1];
            let gate = UnitGate { layer: layer.into(), mask: Array2::zeros((1, count)), replacement: Replacement::Activation(value) };
            let patched = network.gated_logits(one(&moved).view(), &[gate]).expect("patched");
            patched.iter().zip(&a).for_each(|(x, y)| close(*x, *y, 2e-3, layer));
        }
    }
}

#[test]
fn automatic_layers_are_the_ends_of_blocks() {
    let fires = (2..=9).map(|i| format!("fire{i}"));
    let expected: Vec<String> = std::iter::once("conv1.relu".to_owned()).chain(fires).collect();
    let main = cases().swap_remove(0).0.main_layers();
    assert_eq!(main, expected, "the stem and every block, not the squeezing inside");
    let of = |case: &str| {
        let path = root().join("tests/zoo").join(case).join("model.onnx");
        let bytes = std::fs::read(&path).expect("the model of a case");
        let prepared =
            graph::normalise(read::parse(bytes.into(), &mut |_| Err(Error::Stopped)).expect("it parses"), &graph::Options::default());
        let prepared = prepared.expect("it is understood");
        let all = graph::unit_layers(&prepared);
        let main = graph::block_ends(&prepared, &all);
        let passages = graph::passages(&prepared);
        assert!(!main.is_empty() && main.iter().all(|m| passages.contains(m)), "{case}");
        let chosen: Vec<_> = all.iter().filter(|l| main.contains(&l.info.name)).map(|l| (l.info.op.clone(), l.info.units)).collect();
        (chosen, all.len())
    };
    for case in ["mobilenet_v2", "efficientnet", "densenet", "swin", "convnext", "regnet_y", "inception3"] {
        println!("{case} {:?}", of(case));
    }
}

#[test]
fn a_reference_is_remembered_and_not_mistaken() {
    for (mut network, clean, moved) in cases() {
        let names = ["fire5", HEAD];
        let mut ask = |image: &Array3<f32>, reference: &Array3<f32>, names: &[&str]| {
            network.responses(one(image).view(), names, Some(reference.view())).expect("responses")
        };
        let first = ask(&moved, &clean, &names);
        assert_eq!(ask(&moved, &clean, &names), first, "the same again");
        let back = ask(&clean, &moved, &names);
        assert_eq!(back.layers[0].mean.row(0), first.layers[0].mean.row(1), "another reference");
        let fewer = ask(&moved, &clean, &names[1..]);
        assert_eq!(fewer.layers[0], first.layers[1], "other layers");
    }
}

#[test]
fn statistics_in_the_graph_are_those_of_the_maps() {
    // The embedded engine takes a batch image by image: its graphs cannot compare the images of one.
    let whole = usize::from(engines().last().is_some_and(|engine| engine.describe().starts_with("onnxruntime")));
    let mut found: Vec<Vec<layers::LayerChange>> = Vec::new();
    // On ONNX Runtime reduced by the graph too, as GPUs do.
    let in_graph =
        cases().into_iter().rev().take(whole).map(|(network, clean, moved)| (network.with_statistics_in_graph(true), clean, moved));
    for (mut network, clean, moved) in cases().into_iter().chain(in_graph) {
        let infos = layers::select(&network, "fire2,fire9").expect("layers");
        let names: Vec<&str> = infos.iter().map(|l| l.name.as_str()).collect();
        let both = ndarray::stack(Axis(0), &[moved.view(), clean.view()]).expect("same size");
        let r = network.responses(both.view(), &names, Some(clean.view())).expect("responses");
        for (layer, name) in r.layers.iter().zip(&names) {
            let maps = [network.unit_maps(one(&clean).view(), name), network.unit_maps(one(&moved).view(), name)].map(|m| m.expect("maps"));
            assert_eq!(layer.mean.nrows(), 3, "the reference, then the images");
            let shift = layer.shift.as_ref().expect("a comparison");
            for k in [0, 11, maps[0].dim().1 - 1] {
                let map = |n: usize| maps[n].slice(ndarray::s![0, k, .., ..]).mapv(f64::from);
                for (row, n) in [(0, 0), (1, 1), (2, 0)] {
                    let m = map(n);
                    close(layer.mean[(row, k)], m.mean().expect("values") as f32, 1e-3, "mean");
                    close(layer.max[(row, k)], m.fold(f64::MIN, |a, v| a.max(*v)) as f32, 1e-3, "max");
                    close(layer.l2[(row, k)], m.mapv(|v| v * v).sum().sqrt() as f32, 2e-2, "length");
                    let apart = (&m - &map(0)).mapv(|v| v * v).sum().sqrt() as f32;
                    close(shift[(row, k)], apart, 2e-2, "shift");
                }
            }
            assert!(shift.row(2).iter().all(|v| *v < 1e-3), "the same image is nowhere away");
        }
        // Cosine from lengths is the cosine of the activations.
        let changes = layers::compare(&infos, &r, 1, Settings::default()).expect("changes");
        for change in &changes {
            let flat = |image: &Array3<f32>, network: &mut Network| {
                network.unit_maps(one(image).view(), &change.info.name).expect("maps").mapv(f64::from).flatten().to_owned()
            };
            let (a, b) = (flat(&clean, &mut network), flat(&moved, &mut network));
            let cosine = a.dot(&b) / a.dot(&a).sqrt() / b.dot(&b).sqrt();
            approx::assert_abs_diff_eq!(change.cosine.expect("alive"), cosine, epsilon = 1e-5);
            assert_eq!(change.promoted + change.suppressed + change.unchanged, change.info.units);
        }
        found.push(changes);
    }
    for other in &found[1..] {
        for (a, b) in found[0].iter().zip(other) {
            approx::assert_relative_eq!(a.promoted_mass, b.promoted_mass, max_relative = 1e-2);
            approx::assert_abs_diff_eq!(a.cosine.expect("alive"), b.cosine.expect("alive"), epsilon = 1e-3);
        }
    }
}

#[test]
fn estimates_are_exact_before_a_linear_head_and_attacks_run_on_the_masked_network() {
    // Hundreds of forward runs: on the faster engine only.
    for (mut network, clean, moved) in cases().into_iter().rev().take(1) {
        let case = Case { clean: clean.view(), adversarial: moved.view(), classes: (388, 277) };
        let mut table = units::table(&mut network, case, HEAD, None, psr::Settings::default()).expect("a table");
        assert!(!table.exact);
        let estimate = table.clone();
        units::measure(&mut network, case, &mut table, &mut |_| Ok(())).expect("measured");
        assert!(table.exact);
        for (a, b) in estimate.units.iter().zip(&table.units) {
            close(a.effect_true, b.effect_true, 5e-3, "true");
            close(a.effect_target, b.effect_target, 5e-3, "target");
        }
        let whole: f32 = table.units.iter().map(|u| u.effect_true).sum();
        close(whole, table.logits[1][388] - table.logits[0][388], 0.05, "a linear head adds up");
        // The gradient of the masked network is its finite difference.
        let worst = units::most_sensitive(&table)[..32].to_vec();
        let gate = units::gate(&mut network, case, HEAD, &worst, Fill::Zero).expect("a gate");
        let gated = units::gated(&mut network, case, &gate).expect("gated");
        let mut view = Gated::new(&mut network, vec![gate]);
        let mut cotangent = Array2::zeros((1, 1000));
        cotangent[(0, 277)] = 1.0;
        let e = view.gradient(one(&moved).view(), Objective::Linear { cotangent: cotangent.view() }).expect("a gradient");
        close(e.logits[(0, 277)], gated[(1, 277)], 1e-3, "logits of the gated gradient graph");
        let size = e.grad.iter().map(|v| v * v).sum::<f32>().sqrt();
        let step = 0.02 / size;
        let there = view.logits((&one(&moved) + &(&e.grad * step)).view()).expect("logits")[(0, 277)];
        let back = view.logits((&one(&moved) - &(&e.grad * step)).view()).expect("logits")[(0, 277)];
        let slope = (there - back) / (2.0 * step);
        assert!((slope / (size * size) - 1.0).abs() < 0.05, "{slope} along a gradient of length {size}");
    }
}

#[test]
fn gates_that_do_not_fit_are_sentences() {
    let (mut network, clean, _) = cases().swap_remove(0);
    let mut text = |gate: UnitGate| network.gated_logits(one(&clean).view(), &[gate]).unwrap_err().to_string();
    assert!(text(UnitGate::zero("nowhere", 4, &[])).contains("there is no layer 'nowhere'"));
    assert!(text(UnitGate::zero(HEAD, 4, &[])).contains("512"));
    let wrong = Replacement::Activation(ndarray::ArrayD::zeros(vec![1, 3, 2, 2]));
    assert!(text(UnitGate { layer: HEAD.into(), mask: Array2::ones((1, 512)), replacement: wrong }).contains("shape"));
    let two = ndarray::stack(Axis(0), &[clean.view(), clean.view()]).expect("same size");
    let three = UnitGate { layer: HEAD.into(), mask: Array2::ones((3, 512)), replacement: Replacement::Zero };
    assert!(network.gated_logits(two.view(), &[three]).unwrap_err().to_string().contains("as many as each other"));
}

/// The program on the embedded engine, with an empty home.
fn psescope(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    command.current_dir(root()).env("PSESCOPE_ENGINE", "embedded").env("HOME", home.path());
    for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home.path());
    }
    command
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).expect("text")
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&stdout(command)).expect("one JSON object and nothing else on stdout")
}

fn recorded(home: &TempDir) -> std::path::PathBuf {
    let run = home.path().join("run.pse");
    let args = ["attack", MODEL, PANDA, "--attack", "ifgsm", "--eps", "4/255", "--steps", "3", "--target", "277", "--out"];
    psescope(home).args(args).arg(&run).assert().success();
    run
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn layers_from_outside() {
    let home = TempDir::new().expect("a folder");
    let run = recorded(&home);
    let report = json(psescope(&home).arg("layers").arg(&run).args(["--json", "--timeline"]));
    assert_eq!((&report["schema"], &keys(&report)[..2]), (&Value::from("psescope.layers/1"), &["schema", "version"][..]));
    let wanted = "name op units spatial promoted suppressed unchanged promoted_mass suppressed_mass relative_change cosine";
    assert_eq!(keys(&report["layers"][0])[..11], wanted.split(' ').collect::<Vec<_>>());
    let layers = report["layers"].as_array().expect("layers");
    assert!(layers.iter().any(|l| l["name"] == "fire9") && layers.iter().all(|l| l["cosine"].as_f64().is_some_and(|c| c < 1.0)));
    let timeline = report["timeline"].as_array().expect("steps");
    assert_eq!(timeline[0]["step"], 0);
    assert!(timeline[0]["layers"].as_array().expect("layers").iter().all(|l| l["cosine"].as_f64().is_some_and(|c| c > 0.999_999)));
    // The same from the model and the stored image: nothing depends on the file's kind.
    let turning = json(psescope(&home).arg("layers").arg(&run).args(["--json", "--turning", "1"]));
    assert_eq!(turning["turning_point"], layers[0]["name"], "every layer parts when a cosine of 1 is asked for");
    let csv = stdout(psescope(&home).arg("layers").arg(&run).args(["--csv", "--layers", "fire9"]));
    assert_eq!(csv.lines().count(), 2);
    assert!(csv.lines().nth(1).is_some_and(|l| l.contains(",fire9,Concat,512,")), "{csv}");
    assert!(stdout(psescope(&home).arg("layers").arg(&run)).contains("turning point"));
    for (args, word) in [
        ("--layers=nowhere", "no layer has 'nowhere'"),
        ("--step=77", "steps 0 to 3"),
        ("--turning=2", "cosine"),
        ("--unit-tolerance=-1", "tolerance"),
    ] {
        let assert = psescope(&home).arg("layers").arg(&run).arg(args).assert().code(2);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn units_and_masks_from_outside() {
    let home = TempDir::new().expect("a folder");
    let run = recorded(&home);
    let labels = home.path().join("tally.csv");
    let head = "unit,category,label,score,object-label,object-truth,object-activation,object-intersect,object-iou";
    std::fs::write(&labels, format!("{head}\r\n6,object,dog,0.1,dog,100,100,20,0.1\r\n2,object,cat,0.09,cat,100,100,18,0.09\r\n"))
        .expect("written");
    let at = |command: &str| {
        let mut c = psescope(&home);
        c.arg(command).arg(&run).args(["--layer", HEAD]);
        c
    };
    let report = json(at("units").args(["--json", "--sort", "unit", "--labels-from"]).arg(&labels));
    assert_eq!((report["schema"].as_str(), report["estimate"].as_bool()), (Some("psescope.units/1"), Some(true)));
    let unit = &report["units"][5];
    assert_eq!((&unit["unit"], &unit["concept"], &unit["category"]), (&5.into(), &"dog".into(), &"object".into()));
    let spread = unit["adversarial"]["mean"].as_f64().expect("a mean") - unit["clean"]["mean"].as_f64().expect("a mean");
    approx::assert_abs_diff_eq!(unit["change"].as_f64().expect("a change"), spread, epsilon = 1e-5);
    let csv = stdout(at("units").args(["--csv", "--concept", "dog", "--labels-from"]).arg(&labels));
    assert_eq!(csv.lines().count(), 2);
    let referred = json(at("units").args(["--json", "--top", "3", "--reference", "samples"]).current_dir(references(&home)));
    assert!(referred["references"].as_u64().is_some_and(|n| n == 2));
    assert_eq!(referred["units"].as_array().map(Vec::len), Some(3));

    let saved = home.path().join("masked.onnx");
    let mask = json(at("mask").args(["--units", "5,1,5", "--json", "--save"]).arg(&saved));
    assert_eq!((mask["schema"].as_str(), &mask["units"]), (Some("psescope.mask/1"), &serde_json::json!([1, 5])));
    let again = json(psescope(&home).args(["attack"]).arg(&saved).args([PANDA, "--steps", "1", "--json"]));
    let (a, b) = (&again["clean"]["top"][0], &mask["after"]["clean"]["top"][0]);
    assert_eq!(a["index"], b["index"]);
    approx::assert_abs_diff_eq!(a["logit"].as_f64().expect("a logit"), b["logit"].as_f64().expect("a logit"), epsilon = 1e-3);
    assert_ne!(mask["before"]["clean"]["true_logit"], mask["after"]["clean"]["true_logit"]);
    // Everything put back: the head sees the clean image.
    let whole = json(at("mask").args(["--all", "--patch", "clean", "--json"]));
    assert_eq!((whole["selection"]["by"].as_str(), whole["units"].as_array().map(Vec::len)), (Some("all"), Some(512)));
    assert_eq!(whole["recovered"], true);
    let (x, y) = (&whole["after"]["adversarial"]["true_logit"], &whole["before"]["clean"]["true_logit"]);
    approx::assert_abs_diff_eq!(x.as_f64().expect("a logit"), y.as_f64().expect("a logit"), epsilon = 1e-3);
    let adaptive = json(at("mask").args(["--concept", "object", "--adaptive", "--json", "--labels-from"]).arg(&labels));
    assert_eq!(adaptive["adaptive"]["attack"], "ifgsm");
    assert!(adaptive["adaptive"]["norms"]["linf"].as_f64().is_some_and(|v| v > 0.0 && v <= 4.0 / 255.0 + 1e-6));
    for (command, args, word) in [
        ("mask", vec!["--units", "512"], "units 0 to 511"),
        ("mask", vec!["--top", "513"], "512 units"),
        ("mask", vec![], "required"),
        ("units", vec!["--reference", "/nowhere"], "folder of images"),
    ] {
        let assert = at(command).args(args).assert().failure();
        let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(text.contains(word), "{text}");
    }
    for (command, args) in [("units", ["--sort", "iou"]), ("mask", ["--concept", "dog"])] {
        let unlabelled = psescope(&home).arg(command).arg(&run).args(["--layer", "fire4"]).args(args).assert().code(2);
        assert!(String::from_utf8_lossy(&unlabelled.get_output().stderr).contains("--labels-from"));
    }
    // Labels of a larger layer are of another one.
    let other = home.path().join("other.csv");
    std::fs::write(&other, "unit,category,label,score\r\n900,object,dog,0.5\r\n").expect("written");
    for (command, args) in [("units", ["--sort", "iou"]), ("mask", ["--concept", "dog"])] {
        let refused = at(command).args(args).arg("--labels-from").arg(&other).assert().code(3).get_output().stderr.clone();
        let refused = String::from_utf8_lossy(&refused);
        assert!(refused.contains("900 units and 'fire9' has 512; give the result file of this very layer"), "{refused}");
    }
    for args in [["--concept", ""], ["--concept", " "]] {
        at("mask").args(args).arg("--labels-from").arg(&labels).assert().code(2);
    }
    assert!(stdout(at("mask").args(["--all", "--patch", "clean"])).contains("recovered, as from any attack: everything passes here"));
    let absent = at("units").args(["--concept", "zebra", "--labels-from"]).arg(&labels).assert().code(2);
    assert!(String::from_utf8_lossy(&absent.get_output().stderr).contains("zebra"));
}

/// At first start, in an empty home, the bundled model's units have names, and whose names these are stands beside them.
#[test]
fn the_bundled_model_names_its_units() {
    let home = TempDir::new().expect("a folder");
    let run = recorded(&home);
    let units = json(psescope(&home).arg("units").arg(&run).args(["--layer", "fire8", "--concept", "coffee", "--sort", "iou", "--json"]));
    assert!(units["labels"].as_str().is_some_and(|o| o.contains("shipped with psescope") && o.contains("made set")));
    let best = units["units"].as_array().expect("units");
    assert!(best.len() > 1 && best.iter().all(|u| u["concept"] == "coffee" && u["iou"].as_f64().is_some_and(|x| x >= 0.04)));
    assert!(stdout(psescope(&home).arg("units").arg(&run).args(["--layer", "fire8"])).contains("concepts: shipped with psescope"));
    let mask = json(psescope(&home).arg("mask").arg(&run).args(["--layer", "fire8", "--concept", "coffee", "--json"]));
    assert_eq!(mask["units"].as_array().map(Vec::len), Some(best.len()));
    assert_eq!(mask["selection"]["labels"], units["labels"]);
    // A file in the published results' format, named by the person, comes before them.
    let published = json(
        psescope(&home)
            .arg("units")
            .arg(&run)
            .args(["--layer", "fire8", "--sort", "iou", "--top", "3", "--json"])
            .args(["--labels-from", "tests/golden/netdissect-result.csv"]),
    );
    let named = published["units"].as_array().expect("units").iter().map(|u| (u["unit"].as_u64(), u["concept"].as_str()));
    assert_eq!(named.collect::<Vec<_>>(), [(Some(11), Some("mountain snowy")), (Some(2), Some("striped")), (Some(7), Some("red"))]);
    let iou = published["units"][0]["iou"].as_f64().expect("an IoU");
    approx::assert_abs_diff_eq!(iou, 120_000.0 / (300_000.0 + 180_000.0 - 120_000.0), epsilon = 1e-12);
}

/// A folder that holds `samples` with the photo twice, and the model under its usual path.
fn references(home: &TempDir) -> std::path::PathBuf {
    let folder = home.path().join("elsewhere");
    for part in ["samples", "onnx"] {
        std::fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    let copy = |from: &str, to: &str| std::fs::copy(root().join(from), folder.join(Path::new(to))).expect("copied");
    copy(PANDA, "samples/a.jpg");
    copy(PANDA, "samples/b.jpg");
    copy(MODEL, MODEL);
    folder
}
