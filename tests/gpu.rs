//! Devices from outside: placement, refusals, updates in the graph, and the self-test, on whatever engine is here.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::path::Path;

use assert_cmd::Command;
use psescope::{core::onnx::write, engine::selftest::models};
use serde_json::Value;
use tempfile::TempDir;

fn psescope(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("psescope").unwrap();
    for variable in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home.path());
    }
    command.current_dir(home.path()).env("PSESCOPE_THREADS", "1").env_remove("PSESCOPE_DEVICE").env_remove("PSESCOPE_UPDATE");
    command
}

/// A generated classifier and its picture as files.
fn files(home: &TempDir) -> [String; 2] {
    let model = home.path().join("tiny.onnx");
    std::fs::write(&model, write::to_bytes(&models::network("residual").unwrap().graph)).unwrap();
    let image = home.path().join("x.npy");
    ndarray_npy::write_npy(&image, &models::image(4)).unwrap();
    [model, image].map(|p| p.display().to_string())
}

fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

/// Complains about what the published schema does not allow.
fn fits(value: &Value, schema: &str) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(value).map(|e| format!("{e} at {}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Exit code and what was complained about.
fn refused(command: &mut Command) -> (i32, String) {
    let output = command.assert().failure().get_output().clone();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn placement_counts_every_node_once_per_provider() {
    let home = tempfile::tempdir().unwrap();
    let [model, _] = files(&home);
    let report = json(psescope(&home).args(["inspect", &model, "--preprocess", "unit", "--placement", "--json", "--device", "cpu"]));
    fits(&report, include_str!("../docs/schema/inspect.json"));
    let graphs = report["placement"]["graphs"].as_array().unwrap();
    assert_eq!(graphs.iter().map(|g| g["graph"].as_str().unwrap()).collect::<Vec<_>>(), ["forward", "gradient"]);
    let embedded = report["placement"]["engine"].as_str().unwrap().starts_with("embedded");
    let mut totals = Vec::new();
    for graph in graphs {
        if embedded {
            assert!(graph["providers"].is_null());
            continue;
        }
        let sum: u64 = graph["operators"].as_array().unwrap().iter().map(|o| o["nodes"].as_u64().unwrap()).sum();
        assert_eq!(graph["providers"]["CPU"].as_u64(), Some(sum));
        assert!(graph["operators"].as_array().unwrap().iter().any(|o| o["op"].as_str().unwrap().contains("Conv")));
        totals.push(sum);
    }
    assert!(embedded || totals[1] > totals[0], "the gradient is the larger graph: {totals:?}");
}

#[test]
fn devices_that_are_not_here_and_flags_that_do_not_fit_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let [model, image] = files(&home);
    if Path::new("/dev/nvidiactl").exists() {
        eprintln!("skipped: there is a GPU");
        return;
    }
    for device in ["cuda", "tensorrt:1"] {
        let (code, text) = refused(psescope(&home).args(["attack", &model, &image, "--device", device]));
        assert_eq!(code, 4, "{text}");
        assert!(text.contains("--device cpu") && text.lines().count() == 1, "{text}");
    }
    for (flags, what) in [(["--gpu-memory-limit", "lots"], "8GB"), (["--update", "gpu"], "host or device")] {
        let (code, text) = refused(psescope(&home).args(["attack", &model, &image]).args(flags));
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(what), "{text}");
    }
    for (flag, note) in [("--fp16", "--fp16 has no effect"), ("--cuda-graphs", "--cuda-graphs")] {
        let output = psescope(&home).args(["attack", &model, &image, "--preprocess", "unit", flag, "--steps", "1"]).assert().success();
        let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(said.contains(note), "{said}");
    }
}

#[test]
fn an_update_in_the_graph_gives_the_run_of_the_host() {
    let home = tempfile::tempdir().unwrap();
    let [model, image] = files(&home);
    for (attack, close) in [("mifgsm", 0.0), ("ead", 1e-4), ("apgd", 0.0), ("strattack", 1e-4)] {
        let of = |update: &str| {
            let flags = ["--attack", attack, "--steps", "8", "--preprocess", "unit", "--device", "cpu", "--json", "--update", update];
            json(psescope(&home).args(["attack", &model, &image]).args(flags))
        };
        let (host, device) = (of("host"), of("device"));
        for key in ["success", "steps", "flipped_at"] {
            assert_eq!(host[key], device[key], "{attack} {key}");
        }
        for norm in ["l0", "l1", "l2", "linf"] {
            let (a, b) = (host["norms"][norm].as_f64().unwrap(), device["norms"][norm].as_f64().unwrap());
            assert!((a - b).abs() <= close * a.max(1.0), "{attack} {norm}: {a} and {b}");
        }
    }
    let output = psescope(&home)
        .args(["attack", &model, &image, "--attack", "deepfool", "--steps", "1", "--preprocess", "unit"])
        .args(["--update", "device"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(said.contains("deepfool has no update in the graph"), "{said}");
}

#[test]
fn the_self_test_passes_on_this_machine() {
    let home = tempfile::tempdir().unwrap();
    let [model, _] = files(&home);
    let report = json(psescope(&home).args(["doctor", "--self-test", &model, "--preprocess", "unit", "--device", "cpu", "--json"]));
    fits(&report, include_str!("../docs/schema/selftest.json"));
    assert_eq!((report["schema"].as_str(), report["passed"].as_bool()), (Some("psescope.selftest/1"), Some(true)));
    let checks = report["checks"].as_array().unwrap();
    // Speed may be missed on a busy machine, and is on a build without optimisation; nothing else may.
    for check in checks {
        let name = check["name"].as_str().unwrap();
        let verdict = check["verdict"].as_str().unwrap();
        assert!(verdict == "passed" || (name.starts_with("step: ") && verdict == "slow"), "{check}");
        assert!(!check["figures"].as_object().unwrap().is_empty() || name == "placement", "{check}");
    }
    for wanted in ["gradient: attention", "update: ead", "batches", "map of cells", "search at once", "step: cw"] {
        assert!(checks.iter().any(|c| c["name"] == wanted), "{wanted}");
    }
}
