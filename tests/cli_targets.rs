//! `psescope attack` with several targets, from outside.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";
const IMAGE: &str = "samples/panda.jpg";

fn attack(home: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("PSESCOPE_ENGINE", "embedded").env("HOME", home.path());
    for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home.path());
    }
    command.args(["attack", MODEL, IMAGE, "--attack", "ifgsm", "--steps", "3"]).args(args);
    command
}

fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).expect("one JSON object and nothing else on stdout")
}

fn targets(report: &Value) -> Vec<Option<u64>> {
    let runs = report["runs"].as_array().expect("a list of runs");
    runs.iter().map(|r| r["target"]["index"].as_u64()).collect()
}

#[test]
fn several_targets_give_a_list_and_a_file_each() {
    let home = TempDir::new().expect("a folder");
    let out = home.path().join("run.pse");
    let png = home.path().join("png");
    let report = json(
        attack(&home, &["--target", "434,505", "--target", "untargeted", "--target", "505", "--json", "--out"])
            .args([&out])
            .arg("--png")
            .arg(&png),
    );
    assert_eq!(report["schema"], "psescope.attacks/1");
    assert_eq!(targets(&report), [Some(434), Some(505), None], "the class named twice runs once");
    let runs = report["runs"].as_array().expect("a list of runs");
    assert!(runs.iter().all(|r| r["schema"] == "psescope.attack/1" && r["steps"] == 3));
    for name in ["434", "505", "untargeted"] {
        assert!(home.path().join(format!("run-{name}.pse")).is_file(), "{name}");
        assert!(png.join(name).join("adversarial.png").is_file(), "{name}");
    }
    assert!(!out.exists());
    // The closest is the successful one with the smallest norm.
    let size = |r: &Value| r["norms"]["l2"].as_f64().expect("a norm");
    let least = (0..runs.len()).filter(|i| runs[*i]["success"] == true).min_by(|a, b| size(&runs[*a]).total_cmp(&size(&runs[*b])));
    assert_eq!(report["closest"].as_u64(), least.map(|i| i as u64));
    assert_eq!(report["closest_by"], "l2");
}

#[test]
fn the_closest_of_the_best_classes_alone() {
    let home = TempDir::new().expect("a folder");
    let all = json(&mut attack(&home, &["--target", "top2", "--json"]));
    assert_eq!(targets(&all).len(), 2);
    let closest = all["closest"].as_u64().expect("one is reached") as usize;
    let one = json(&mut attack(&home, &["--target", "top2", "--only-closest", "--json"]));
    assert_eq!(one["schema"], "psescope.attack/1");
    assert_eq!(one["target"], all["runs"][closest]["target"]);
    let single = json(&mut attack(&home, &["--target", "second", "--json"]));
    assert_eq!(single["schema"], "psescope.attack/1");
    assert_eq!(single["target"], all["runs"][0]["target"], "top1 is the runner-up");
    let text = attack(&home, &["--target", "top2"]).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("of 2 reached their goal; the smallest l2 is that of"), "{text}");
}

#[test]
fn names_with_commas_and_bad_lists() {
    let home = TempDir::new().expect("a folder");
    let names: Vec<String> = (0..1000).map(|i| if i == 287 { "lynx, catamount".into() } else { format!("name{i}") }).collect();
    let labels = home.path().join("labels.txt");
    std::fs::write(&labels, names.join("\n")).expect("written");
    let report = json(attack(&home, &["--target", "lynx, catamount", "--json", "--labels"]).arg(&labels));
    assert_eq!(report["target"]["index"], 287);
    let report = json(attack(&home, &["--target", "lynx,name3", "--json", "--labels"]).arg(&labels));
    assert_eq!(targets(&report), [Some(287), Some(3)]);
    for (bad, word) in [("434,1000", "1000"), ("434,nonsense", "nonsense"), ("434,", "missing"), ("top0", "top1"), ("top1000", "999")] {
        let assert = attack(&home, &["--target", bad]).assert().code(2);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(text.contains(word), "{bad}: {text}");
    }
    let assert = Command::cargo_bin("psescope")
        .expect("the program is built")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .env("PSESCOPE_ENGINE", "embedded")
        .env("XDG_CACHE_HOME", home.path())
        .args(["pse", MODEL, IMAGE, "--target", "434,505"])
        .assert()
        .code(2);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("takes one --target"));
}
