//! Every malformed file of `tests/corpus` through the real program: no panic, no hang, bounded memory, one sentence, the right exit code.
#![cfg(unix)]
#![allow(missing_docs, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Processor seconds: what is waited for on a busy machine does not count.
const SECONDS: usize = 5;
/// Address space in KiB: a gigabyte.
const MEMORY: usize = 1 << 20;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(kind: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/corpus").join(kind);
    let mut files: Vec<_> = fs::read_dir(&folder).expect("the corpus is there").map(|e| e.expect("readable").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files
}

/// Runs the program under limits that the system enforces.
fn limited(home: &Path, args: &[&str]) -> Output {
    let script = format!("ulimit -t {SECONDS}; ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_psescope")]).args(args).current_dir(home).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home).env("PSESCOPE_ENGINE", "embedded");
    command.env("RAYON_NUM_THREADS", "2").output().expect("it starts")
}

/// The single sentence of a refusal.
fn sentence(output: &Output, code: i32, what: &str) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{what}: {:?} {text}", output.status);
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("psescope: note: ")).collect();
    assert_eq!(lines.len(), 1, "{what}: {text}");
    assert!(lines[0].starts_with("psescope: ") && !text.contains("panicked"), "{what}: {text}");
    assert!(lines[0].chars().count() < 600, "{what}: {text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{what}: a terminal would obey {text:?}");
    lines[0].to_owned()
}

fn refused(kind: &str, code: i32, args: impl Fn(&str) -> Vec<String>) {
    let home = tempfile::tempdir().expect("a folder");
    for file in files(kind) {
        let args = args(&file.display().to_string());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        sentence(&limited(home.path(), &args), code, &file.display().to_string());
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn tiny() -> String {
    root().join("tests/corpus/good/tiny.onnx").display().to_string()
}

fn panda() -> String {
    root().join("samples/panda.jpg").display().to_string()
}

#[test]
fn models() {
    refused("model", 3, |file| words(&["inspect", file]));
}

/// Constants that would fill any memory are left uncomputed; the rest of such a model is looked at all the same.
#[test]
fn models_that_ask_for_much() {
    let home = tempfile::tempdir().expect("a folder");
    for file in files("large") {
        let seen = limited(home.path(), &["inspect", &file.display().to_string()]);
        let (text, said) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
        assert!(seen.status.success() && text.contains("Relu"), "{}: {:?} {said}", file.display(), seen.status);
    }
}

/// What only the engine can refuse.
#[test]
fn models_that_do_not_run() {
    refused("engine", 4, |file| words(&["attack", file, &panda(), "--steps", "1"]));
}

#[test]
fn runs() {
    refused("run", 3, |file| words(&["show", file]));
}

#[test]
fn images() {
    refused("image", 3, |file| words(&["attack", &tiny(), file, "--steps", "1"]));
}

#[test]
fn labels() {
    refused("labels", 3, |file| words(&["inspect", &tiny(), "--labels", file]));
}

#[test]
fn preprocessing() {
    refused("preprocess", 3, |file| words(&["inspect", &tiny(), "--preprocess", file]));
}

#[test]
fn configurations() {
    refused("config", 2, |file| words(&["--config", file, "inspect", &tiny()]));
}

#[test]
fn themes() {
    refused("theme", 2, |file| words(&["--theme", file, &tiny(), &panda()]));
}

#[test]
fn concept_data() {
    refused("concepts", 3, |folder| words(&["dissect", &tiny(), "--data", folder, "--out", "out", "--layer", "r"]));
}

#[test]
fn triage_parts() {
    let home = tempfile::tempdir().expect("a folder");
    for file in files("triage") {
        let part = home.path().join("part");
        fs::create_dir_all(&part).expect("a folder");
        fs::copy(&file, part.join("part-0000-of-0001.parquet")).expect("copied");
        sentence(&limited(home.path(), &["triage", "--merge", "part"]), 3, &file.display().to_string());
    }
}

/// What was refused above is refused for what is wrong with it.
#[test]
fn the_sentence_names_the_fault() {
    let home = tempfile::tempdir().expect("a folder");
    for (name, word) in [
        ("cycle", "a cycle"),
        ("own_output", "a cycle"),
        ("two_weights", "two weights"),
        ("two_producers", "two nodes produce"),
        ("external_absolute", "outside its own folder"),
        ("external_subgraph", "outside its own folder"),
        ("external_parent", "outside its own folder"),
        ("external_missing", "download it too"),
        ("big_image", "more than psescope can hold"),
        ("negative_dimension", "negative dimension"),
        ("many_dimensions", "5000 dimensions"),
        ("endless_function", "without end"),
    ] {
        let path = root().join(format!("tests/corpus/model/{name}.onnx")).display().to_string();
        let text = sentence(&limited(home.path(), &["inspect", &path]), 3, name);
        assert!(text.contains(word), "{name}: {text}");
    }
}

/// Texts in a model are nobody's weights: they are carried along and reach the engine.
#[test]
fn a_model_with_texts_in_it_runs() {
    let home = tempfile::tempdir().expect("a folder");
    let path = root().join("tests/corpus/good/text_weight.onnx").display().to_string();
    let seen = limited(home.path(), &["attack", &path, &panda(), "--steps", "1"]);
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_not_followed() {
    let home = tempfile::tempdir().expect("a folder");
    let inside = home.path().join("models");
    fs::create_dir_all(&inside).expect("a folder");
    fs::copy(root().join("tests/corpus/model/external_missing.onnx"), inside.join("m.onnx")).expect("copied");
    fs::write(home.path().join("secret"), [0; 432]).expect("written");
    std::os::unix::fs::symlink(home.path().join("secret"), inside.join("data.bin")).expect("linked");
    let text = sentence(&limited(home.path(), &["inspect", "models/m.onnx"]), 3, "link");
    assert!(text.contains("outside its own folder"), "{text}");
}

#[test]
fn a_weight_or_an_answer_that_is_no_number_is_reported_where_it_begins() {
    let home = tempfile::tempdir().expect("a folder");
    for (name, node, op) in [("nan", "conv", "Conv"), ("infinite", "head", "Gemm")] {
        let path = root().join(format!("tests/corpus/good/{name}.onnx")).display().to_string();
        let seen = limited(home.path(), &["inspect", &path]);
        let text = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert!(seen.status.success() && text.contains(&format!("node '{node}' ({op})")), "{text}");
    }
    // Some engines take NaN for 0 in Relu; an infinite weight of the last layer cannot be hidden.
    let path = root().join("tests/corpus/good/infinite.onnx").display().to_string();
    let text = sentence(&limited(home.path(), &["attack", &path, &panda(), "--steps", "1"]), 3, "infinite");
    assert!(text.contains("not a number") && text.contains("'head' (Gemm)"), "{text}");
    assert!(limited(home.path(), &["attack", &tiny(), &panda(), "--steps", "1"]).status.success());
}

/// Whatever files, folders and what stands in them are called: a terminal shows it and obeys none of it, and JSON keeps it.
#[test]
fn hostile_names_reach_the_terminal_as_text_only() {
    let home = tempfile::tempdir().expect("a folder");
    let (model, image) = ("m\u{1b}[31m<b>\".onnx", "i\u{1b}]0;title\u{7}\u{9b}1m<i>\u{202e}.jpg");
    fs::copy(tiny(), home.path().join(model)).expect("copied");
    fs::create_dir_all(home.path().join("pictures")).expect("a folder");
    for name in [image.to_owned(), format!("pictures/{image}")] {
        fs::copy(panda(), home.path().join(name)).expect("copied");
    }
    fs::write(home.path().join("labels.json"), r#"["\u001b[31mred", "<script>x</script>", "c", "d"]"#).expect("written");
    let missing = format!("none {image}");
    let run = |args: &[&str], code: i32| {
        let output = limited(home.path(), args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        for stream in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(stream);
            let bad = text.chars().find(|c| (c.is_control() && !"\n\t".contains(*c)) || *c == '\u{202e}');
            assert!(bad.is_none(), "{args:?} lets {bad:?} through: {text:?}");
        }
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(&["inspect", model, "-v"], 0);
    run(&["attack", model, image, "--steps", "1", "--labels", "labels.json", "--out", "run.pse", "-vv"], 0);
    let object: serde_json::Value = serde_json::from_str(&run(&["attack", model, image, "--steps", "1", "--json"], 0)).expect("JSON");
    assert!(object.to_string().contains(&serde_json::json!(image).to_string()), "{object}");
    for args in [
        &["show", "run.pse", "--json"][..],
        &["insight", "run.pse", "--model", model],
        &["layers", "run.pse", "--model", model],
        &["doctor", "--ort-lib", image],
    ] {
        run(args, 0);
    }
    run(&["triage", model, "pictures", "--out", "out", "--steps", "1"], 0);
    run(&["triage", "--merge", "out"], 0);
    for args in [
        &["inspect", image][..],
        &["attack", model, &missing],
        &["attack", model, image, "--labels", image],
        &["attack", model, image, "--preprocess", image],
        &["show", &missing],
        &["triage", "--merge", &missing],
    ] {
        run(args, 3);
    }
    run(&["--config", image, "inspect", model], 2);
    // Pages and figures are read by browsers, which obey other things.
    run(&["export", "run.pse", "--html", "run.html"], 0);
    let page = fs::read_to_string(home.path().join("run.html")).expect("written");
    assert!(page.contains("&lt;b&gt;") && !page.contains("<b>\"") && !page.contains("<script>x") && !page.contains('\u{1b}'));
}
