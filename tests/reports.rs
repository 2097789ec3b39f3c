//! Reports of a recorded run from outside, the schemas of every JSON output, and hostile run files.

mod common;

use std::{
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use assert_cmd::Command;
use common::root;
use psescope::engine::trace::file;
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";
const PANDA: &str = "samples/panda.jpg";
const TINY: &str = "tests/corpus/good/tiny.onnx";
const STUDY: &[&str] = &[MODEL, "samples", "--limit", "3", "--eps", "8/255", "--steps", "4", "--json"];

fn psescope() -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    command.current_dir(root()).env("PSESCOPE_ENGINE", "embedded").env_remove("NO_COLOR");
    for variable in ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, folder());
    }
    command
}

/// One folder for all tests of this file; it holds `run.pse`, recorded once.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| TempDir::new().expect("a folder")).path()
}

fn recorded() -> PathBuf {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let run = folder().join("run.pse");
        let attack = ["attack", MODEL, PANDA, "--attack", "ifgsm", "--target", "277", "--steps", "4", "--explain", "--out"];
        psescope().args(attack).arg(&run).assert().success();
        run
    })
    .clone()
}

fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).expect("one JSON object and nothing else on stdout")
}

/// Schema, arguments. A new output is one more row.
#[test]
fn every_json_output_keeps_its_schema() {
    let run = recorded();
    let (run, grad) = (run.to_str().expect("text"), folder().join("grad.onnx"));
    let grad = grad.to_str().expect("text");
    let triage = folder().join("triage");
    let triage = triage.to_str().expect("text");
    let compared = folder().join("compared");
    let compared = compared.to_str().expect("text");
    let list = folder().join("list.txt");
    std::fs::write(&list, format!("{PANDA}\nnowhere.jpg\n")).expect("written");
    let list = list.to_str().expect("text");
    let rows: &[(&str, &[&str])] = &[
        ("attacks", &["attack", MODEL, PANDA, "--steps", "1", "--target", "434,505", "--json"]),
        ("layers", &["layers", run, "--timeline", "--json"]),
        ("units", &["units", run, "--layer", "fire9", "--top", "3", "--json"]),
        ("units", &["units", run, "--layer", "fire4", "--top", "3", "--json"]),
        ("mask", &["mask", run, "--layer", "fire9", "--top", "2", "--adaptive", "--json"]),
        ("mask", &["mask", run, "--layer", "fire9", "--concept", "coffee", "--patch", "clean", "--json"]),
        ("sensitivity", &[&["sensitivity"], STUDY, &["--layer", "fire9", "--include-failed", "--draws", "5"]].concat()),
        ("sensitivity", &[&["sensitivity"], STUDY, &["--layer", "fire4", "--include-failed", "--draws", "5"]].concat()),
        ("recovery", &[&["recovery"], STUDY, &["--layer", "fire9", "--top", "0,2", "--draws", "2", "--adaptive"]].concat()),
        ("insight", &["insight", MODEL, PANDA, "--steps", "1", "--target", "277", "--json"]),
        ("triage", &["triage", MODEL, list, "--steps", "1", "--out", triage, "--json"]),
        ("attack", &["attack", MODEL, PANDA, "--steps", "1", "--json"]),
        ("attack", &["attack", MODEL, PANDA, "--steps", "1", "--target", "second", "--json"]),
        ("attack", &["attack", TINY, PANDA, "--steps", "1", "--within", "cam:t0:0.5", "--compare", "--json"]),
        ("pse", &["pse", run, "--grid", "3", "--mode", "linear", "--json"]),
        (
            "pse",
            &["pse", run, "--grid", "2", "--mode", "exact", "--timeline", "--region", "cam:t0:0.5", "--floor-relative", "0.1", "--json"],
        ),
        ("cam", &["cam", MODEL, PANDA, "--json"]),
        ("cam", &["cam", TINY, PANDA, "--faithfulness", "--json"]),
        ("grad", &["grad", TINY, "--check", "--json", "-o", grad]),
        ("selftest", &["doctor", "--self-test", TINY, "--json"]),
        ("triage", &["triage", TINY, list, "--steps", "2", "--compare", TINY, "--out", compared, "--json"]),
        ("grad", &["grad", MODEL, "--json", "-o", grad]),
        ("inspect", &["inspect", MODEL, "--json"]),
        ("doctor", &["doctor", "--json"]),
        ("run", &["show", run, "--json"]),
        ("export", &["export", run, "--no-model", "--json"]),
        ("export", &["export", run, "--step", "0", "--no-model", "--json"]),
    ];
    // Data sets take long to make: tests/dissect.rs looks at what is said of them.
    let elsewhere = ["dissect", "concept-data"];
    for file in std::fs::read_dir(root().join("docs/schema")).expect("schemas").flatten() {
        let name = file.path().file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(elsewhere.contains(&&*name) || rows.iter().any(|r| r.0 == name), "nothing is tested against docs/schema/{name}.json");
    }
    for (name, args) in rows {
        let text = std::fs::read_to_string(root().join(format!("docs/schema/{name}.json"))).expect("a schema");
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema of draft 2020-12");
        let value = json(psescope().args(*args));
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| format!("{} at {}", e, e.instance_path())).collect();
        assert!(errors.is_empty(), "{args:?}: {errors:?}");
        let told = |key: &&String| schema["properties"].get(key.as_str()).is_some();
        let untold: Vec<&String> = value.as_object().expect("an object").keys().filter(|k| !told(k)).collect();
        assert!(untold.is_empty(), "docs/schema/{name}.json does not speak of {untold:?} ({args:?})");
        let mut other = value.clone();
        other["schema"] = "something else".into();
        assert!(!validator.is_valid(&other), "{name} accepts anything");
    }
}

#[test]
fn reports_are_complete_without_the_model() {
    let run = recorded();
    let out = |name: &str| folder().join(name);
    let files = ["r.html", "r.png", "r.npz", "r.csv"].map(out);
    let mut command = psescope();
    command.arg("export").arg(&run).arg("--no-model");
    for (flag, path) in ["--html", "--png", "--npz", "--csv"].into_iter().zip(&files) {
        command.arg(flag).arg(path);
    }
    command.assert().success();

    let page = std::fs::read_to_string(&files[0]).expect("written");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("lang=\"en\"") && page.contains("name=\"viewport\""));
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(!page.contains("<script") && !page.contains("src=\"http") && !page.contains("url(http"), "self-contained");
    assert_eq!(page.matches("<img ").count(), 8, "four pictures and four maps");
    assert_eq!(page.matches("<img ").count(), page.matches(" alt=\"").count());
    assert!(page.contains("psescope attack") && page.contains("--eps=8/255"));
    assert!(page.contains("No layers and units"), "what is left out is said");
    let picture = image::open(&files[1]).expect("a PNG").to_rgb8();
    assert_eq!(picture.width(), 2160);
    let mut arrays = ndarray_npy::NpzReader::new(std::fs::File::open(&files[2]).expect("written")).expect("an npz file");
    let x0: ndarray::Array3<f32> = arrays.by_name("x0").expect("x0");
    let adv: ndarray::Array3<f32> = arrays.by_name("adv").expect("adv");
    let delta: ndarray::Array3<f32> = arrays.by_name("delta").expect("delta");
    assert_eq!(&adv - &x0, delta);
    let pse: ndarray::Array3<f32> = arrays.by_name("pse_raw").expect("pse_raw");
    assert_eq!(pse.dim(), (2, 14, 14));
    let table = std::fs::read_to_string(&files[3]).expect("written");
    assert_eq!(table.lines().count(), 6, "a header, the start and four steps");
}

#[test]
fn the_model_fills_in_what_was_not_recorded() {
    let bare = folder().join("bare.pse");
    psescope().args(["attack", MODEL, PANDA, "--steps", "2", "--target", "277", "--out"]).arg(&bare).assert().success();
    let value = json(psescope().arg("export").arg(&bare).arg("--json"));
    assert_eq!(value["cams"].as_array().expect("maps").len(), 4);
    assert_eq!(value["pse"]["mode"], "exact");
    assert!(value["layers"].as_array().expect("layers").len() > 3);
    let other = folder().join("other.onnx");
    std::fs::write(&other, b"not the model").expect("written");
    let refused = psescope().arg("export").arg(&bare).arg("--model").arg(&other).arg("--json").assert().code(3);
    let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(text.contains("not the model this run was recorded on") && refused.get_output().stdout.is_empty(), "{text}");
}

#[test]
fn usage_errors_are_told_apart_from_bad_files() {
    let run = recorded();
    psescope().arg("export").arg(&run).assert().code(2);
    psescope().arg("export").arg(&run).args(["--json", "--step", "99"]).assert().code(2);
    psescope().arg("export").arg(&run).args(["--png", "x.png", "--scale", "0"]).assert().code(2);
    psescope().args(["export", "nowhere.pse", "--json"]).assert().code(3);
    psescope().args(["view", "nowhere.pse"]).assert().code(3);
    psescope().arg(folder().join("nowhere.pse")).assert().code(3);
    psescope().args(["show", PANDA, "--json"]).assert().code(2);
}

/// Every header value and tensor is changed in many ways: a run is read or refused, never a panic.
#[test]
fn hostile_files_are_refused() {
    let bytes = std::fs::read(recorded()).expect("readable");
    let whole = file::parse(&bytes).expect("a good run");
    assert_eq!((whole.maps.psr.len(), whole.maps.cams.len()), (1, 4));
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).expect("text");
    let with = |from: &str, to: &str| {
        let changed = header.replacen(from, to, 1);
        assert_ne!(changed, header, "{from} is not there");
        let mut out = (changed.len() as u64).to_le_bytes().to_vec();
        out.extend(changed.as_bytes());
        out.extend(&bytes[8 + length..]);
        out
    };
    for (from, to) in [
        (r#"\"label\":388"#, r#"\"label\":99999999999"#),
        (r#"\"best\":"#, r#"\"best\":7"#),
        (r#"\"format\":1"#, r#"\"format\":2"#),
        (r#"\"cell\":[17,17]"#, r#"\"cell\":[0,17]"#),
        (r#"\"mode\":\"exact\""#, r#"\"mode\":\"magic\""#),
        (r#"\"floor\":0.1"#, r#"\"floor\":-1"#),
        (r#""maps/0""#, r#""maps/9""#),
    ] {
        assert!(file::parse(&with(from, to)).is_err(), "{from} -> {to}");
    }
    let named = file::parse(&with("giant panda", r"\\u001b[31mgiant panda")).expect("a run");
    assert_eq!(named.meta.name(388), "giant panda", "escape sequences do not get through");
    for i in 0..400 {
        let mut broken = bytes.clone();
        let at = (i * 7919 + 3) % (8 + length);
        broken[at] ^= 1 << (i % 8);
        drop(file::parse(&broken));
    }
}

/// The page in a real browser: nothing but the page, wide enough for a phone.
#[test]
fn a_browser_shows_the_page() {
    let Some(browser) =
        ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|b| process::Command::new(b).arg("--version").output().is_ok())
    else {
        eprintln!("skipped: no Chromium here");
        return;
    };
    let page = folder().join("browser.html");
    psescope().arg("export").arg(recorded()).arg("--no-model").arg("--html").arg(&page).assert().success();
    let shot = folder().join("shot.png");
    let shown = process::Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=500,900"])
        .arg(format!("--user-data-dir={}", folder().join("browser").display()))
        .arg(format!("--screenshot={}", shot.display()))
        .arg(format!("file://{}", page.display()))
        .output();
    if !shown.is_ok_and(|o| o.status.success()) || !shot.is_file() {
        eprintln!("skipped: the browser does not start here");
        return;
    }
    let picture = image::open(&shot).expect("a screenshot").to_rgb8();
    assert_eq!(picture.width(), 500);
    let colours: std::collections::HashSet<_> = picture.pixels().map(|p| p.0).collect();
    assert!(colours.len() > 500, "the photographs are on the page");
}
