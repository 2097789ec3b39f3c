//! Studies over a folder from outside: sensitivity, recovery, and the sentences about one perturbation.

mod common;

use common::program::{fails, json, psescope};
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";

const STUDY: [&str; 12] = ["--limit", "3", "--layer", "fire9", "--eps", "4/255", "--steps", "3", "--noises", "1", "--draws", "50"];

#[test]
fn a_sensitivity_study_repeats_continues_and_uses_labels() {
    let home = TempDir::new().expect("a folder");
    let out = home.path().join("study");
    let run = |labels: Option<&std::path::Path>| {
        let mut command = psescope(&home);
        command.args(["sensitivity", MODEL, "samples", "--json", "--out"]).arg(&out).args(STUDY);
        if let Some(path) = labels {
            command.arg("--labels-from").arg(path);
        }
        json(&mut command)
    };
    let first = run(None);
    assert_eq!(first["schema"], "psescope.sensitivity/1");
    assert_eq!(first["images"]["used"], 3);
    let layers = first["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 2, "mean and max");
    let units = layers[0]["per_unit"].as_array().expect("units");
    assert_eq!(units.len(), 512);
    assert!(units.iter().all(|u| u["dead"] == true || u["p"].as_f64().is_some_and(|p| p >= 0.25)), "three pairs cannot reach less");
    let moved = units.iter().filter(|u| u["abs_change"].as_f64() > Some(0.0)).count();
    assert!(moved > 400, "{moved}");
    assert!(layers[0]["labels"].as_str().is_some_and(|o| o.contains("shipped with psescope")), "the bundled model has labels");
    assert_eq!(layers[0]["association"]["thresholds"].as_array().map(Vec::len), Some(9));
    for file in ["units.csv", "layers.csv", "sensitivity.json"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let rows = std::fs::read_to_string(out.join("units.csv")).expect("a table").lines().count();
    assert_eq!(rows, 1 + 2 * 512);

    // Cut short after the first image, the study goes on and ends with the same numbers.
    let journal = out.join("journal.jsonl");
    let kept: Vec<String> = std::fs::read_to_string(&journal).expect("a journal").lines().take(2).map(str::to_owned).collect();
    std::fs::write(&journal, format!("{}\n{{\"Meas", kept.join("\n"))).expect("writable");
    assert_eq!(run(None)["layers"], first["layers"]);

    let labels = home.path().join("labels.csv");
    let mut text = String::from("unit,category,label,score\r\n");
    for unit in 1..=512 {
        text.push_str(&format!("{unit},{},thing,{}\r\n", ["object", "texture"][unit % 2], unit as f64 / 4096.0));
    }
    std::fs::write(&labels, text).expect("writable");
    let labelled = run(Some(&labels));
    let association = &labelled["layers"][0]["association"];
    let r = association["spearman"]["r"].as_f64().expect("a correlation");
    let (low, high) = (association["interval"]["low"].as_f64().expect("low"), association["interval"]["high"].as_f64().expect("high"));
    assert!(low <= r && r <= high && association["thresholds"].as_array().expect("limits").len() == 9);
    assert!(labelled["layers"][0]["rotation"]["draws"] == 20 && labelled["layers"][1]["rotation"].is_null());

    let mut other = psescope(&home);
    other.args(["sensitivity", MODEL, "samples", "--seed", "1", "--out"]).arg(&out).args(STUDY);
    fails(&mut other, 2, "other settings");
}

#[test]
fn without_any_unit_both_images_look_alike() {
    let home = TempDir::new().expect("a folder");
    let report = json(psescope(&home).args(["recovery", MODEL, "samples", "--limit", "3", "--layer", "fire9", "--top", "0,512"]).args([
        "--draws",
        "2",
        "--eps",
        "4/255",
        "--steps",
        "4",
        "--adaptive",
        "--json",
    ]));
    assert_eq!(report["schema"], "psescope.recovery/1");
    let (none, all) = (&report["curve"][0], &report["curve"][1]);
    assert_eq!((&none["k"], &none["recovered"], &none["clean"], &none["adaptive_successes"]), (&0.into(), &0.into(), &3.into(), &3.into()));
    assert!(none["random"].is_null());
    // Only the bias is left: the same class for every image, clean or not.
    assert_eq!(all["recovered"], all["clean"]);
    assert_eq!(all["random"]["recovery"]["p"], 1.0);
    assert_eq!(all["adaptive_successes"], 3 - all["clean"].as_u64().expect("a count"));
}

#[test]
fn insight_says_what_it_computed() {
    let home = TempDir::new().expect("a folder");
    let args = ["insight", MODEL, "samples/panda.jpg", "--attack", "ifgsm", "--eps", "4/255", "--steps", "4", "--target", "277"];
    let report = json(psescope(&home).args(args).arg("--json"));
    assert_eq!(report["schema"], "psescope.insight/1");
    let said = report["sentences"].as_array().expect("sentences");
    let topics: Vec<&str> = said.iter().filter_map(|s| s["topic"].as_str()).collect();
    assert_eq!(topics, ["result", "type", "place", "place", "layers", "units", "undone"]);
    assert!(said.iter().take(6).all(|s| s["known"] == true));
    assert!(said[1]["estimate"] == true && said[1]["text"].as_str().is_some_and(|t| t.contains("estimate (linear)")));
}

#[test]
fn mistakes_are_one_sentence_each() {
    let home = TempDir::new().expect("a folder");
    fails(psescope(&home).args(["sensitivity", MODEL, "samples", "--layer", "nope"]), 2, "nope");
    fails(psescope(&home).args(["sensitivity", MODEL, "samples", "--true", "1"]), 2, "clean prediction");
    fails(psescope(&home).args(["sensitivity", MODEL, "absent"]), 3, "absent");
    fails(psescope(&home).args(["recovery", MODEL, "samples", "--layer", "fire9", "--top", "513"]), 2, "513");
}
