//! The documents against the program: commands as they are written, generated files, packaging.
#![cfg(unix)]

mod common;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use clap::CommandFactory as _;
use common::root;
use psescope::{
    cli::Cli,
    core::onnx::{Attr, DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo, write},
};
use tempfile::TempDir;

/// Lines of a document that are commands of psescope, as they are written, without the remark behind them.
fn commands(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", "");
    let lines = text.lines().filter_map(|l| l.strip_prefix("    ").or_else(|| l.strip_prefix("  "))).map(str::trim);
    lines.filter(|l| l.starts_with("psescope")).map(|l| l.split("  #").next().unwrap_or(l).trim().to_owned()).collect()
}

/// What a shell makes of one command: words, without redirections and whatever follows.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, '>' | '|' | ';' | '&' | '#') => {
                all.extend(begun.then(|| std::mem::take(&mut word)));
                break;
            }
            (None, ' ') if begun => {
                all.push(std::mem::take(&mut word));
                begun = false;
            }
            (None, ' ') => {}
            _ => {
                word.push(c);
                begun = true;
            }
        }
    }
    all
}

fn parses(line: &str, wherefrom: &str) {
    // A variable of the shell: a number will do wherever the documents have one.
    let words = words(line).into_iter().map(|w| if w.starts_with('$') && !w.contains('/') { "1".to_owned() } else { w });
    if let Err(error) = Cli::command().try_get_matches_from(words) {
        assert!(!error.use_stderr(), "{wherefrom}: {line}\n{error}");
    }
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let mut seen = BTreeSet::new();
    let docs = fs::read_dir(root().join("docs")).expect("docs").flatten().map(|e| format!("docs/{}", e.file_name().to_string_lossy()));
    let documents = docs.filter(|n| n.ends_with(".md")).chain(["README.md", "CONTRIBUTING.md", "onnx/README.md"].map(String::from));
    for name in documents {
        for line in commands(&document(&name)) {
            parses(&line, &name);
            seen.extend(words(&line).get(1).cloned());
        }
    }
    for known in Cli::command().get_subcommands().map(clap::Command::get_name).filter(|n| !["help", "show", "generate"].contains(n)) {
        assert!(seen.contains(known), "no document shows psescope {known}");
    }
}

#[test]
fn every_command_ends_its_help_with_examples_that_are_understood() {
    let mut program = Cli::command();
    program.build();
    for command in program.get_subcommands().filter(|c| c.get_name() != "help") {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = commands(&after);
        assert!(after.starts_with("Examples:") && !lines.is_empty(), "{}: {after:?}", command.get_name());
        for line in &lines {
            assert!(line.starts_with(&format!("psescope {}", command.get_name())), "{line}");
            parses(line, command.get_name());
        }
    }
    let after = program.get_after_help().map(ToString::to_string).expect("examples");
    commands(&after).iter().for_each(|line| parses(line, "--help"));
}

/// A network of two layers with names and classes like the bundled one's, some hundred times faster.
fn network() -> Vec<u8> {
    let value = |name: &str, shape: Vec<Dim>| ValueInfo { name: name.into(), ty: TensorType { dtype: DType::F32, shape: Some(shape) } };
    let weights = |dims: &[usize], seed: f32| {
        let values: Vec<f32> = (0..dims.iter().product()).map(|i| (seed + 1.7 * i as f32).sin()).collect();
        TensorData::f32(dims, &values)
    };
    let mut g = Graph { ir_version: 8, opset: 17, ..Graph::default() };
    g.inputs = vec![value("image", [1, 3, 64, 64].map(Dim::Fixed).to_vec())];
    g.outputs = vec![value("logits", [1, 1000].map(Dim::Fixed).to_vec())];
    g.initializers.insert("w8".into(), weights(&[64, 3, 8, 8], 0.3));
    g.initializers.insert("w9".into(), weights(&[64, 64, 1, 1], 0.7));
    g.initializers.insert("v".into(), weights(&[1000, 64], 1.1));
    g.nodes.push(
        Node::new("Conv", &["image", "w8"], &["c8"]).with("kernel_shape", Attr::Ints(vec![8, 8])).with("strides", Attr::Ints(vec![8, 8])),
    );
    g.nodes.push(Node::new("Relu", &["c8"], &["fire8"]));
    g.nodes.push(Node::new("Conv", &["fire8", "w9"], &["c9"]).with("kernel_shape", Attr::Ints(vec![1, 1])));
    g.nodes.push(Node::new("Relu", &["c9"], &["fire9"]));
    g.nodes.push(Node::new("GlobalAveragePool", &["fire9"], &["pooled"]));
    g.nodes.push(Node::new("Flatten", &["pooled"], &["flat"]));
    g.nodes.push(Node::new("Gemm", &["flat", "v"], &["logits"]).with("transB", 1i64));
    write::to_bytes(&g)
}

/// The README's commands in a shell, in its order, in a folder that holds what they name.
#[test]
fn the_readmes_commands_run_as_written() {
    let home = TempDir::new().expect("a folder");
    let at = |name: &str| home.path().join(name);
    for name in ["MODEL", "resnet50.onnx"] {
        fs::write(at(name), network()).expect("written");
    }
    let sample = |name: &str| root().join("samples").join(name);
    fs::create_dir_all(at("photos")).expect("a folder");
    for (from, to) in [
        ("panda.jpg", "IMAGE"),
        ("panda.jpg", "cat.jpg"),
        ("panda.jpg", "photos/1.jpg"),
        ("koala.jpg", "photos/2.jpg"),
        ("dog.jpg", "photos/3.jpg"),
        ("crab.jpg", "photos/4.jpg"),
    ] {
        fs::copy(sample(from), at(to)).expect("copied");
    }
    fs::create_dir_all(at("bin")).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_psescope"), at("bin/psescope")).expect("linked");
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut ran = Vec::new();
    for line in commands(&document("README.md")) {
        let words = words(&line);
        let known = Cli::command().get_subcommands().any(|c| words.get(1).is_some_and(|w| c.get_name() == w));
        // The interface wants a terminal (tests/pty.rs has one), and fetching a runtime wants the network.
        if !known || ["view", "runtime"].contains(&words[1].as_str()) {
            continue;
        }
        // The one addition: made pictures of 227 pixels take minutes without optimisation.
        let small = if line.contains("--make-data") { " --side 64" } else { "" };
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{line}{small}")]).current_dir(home.path()).env("PATH", &path).env("PSESCOPE_ENGINE", "embedded");
        for variable in ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            command.env(variable, home.path());
        }
        let output = command.output().expect("there is a shell");
        assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
        ran.push(words[1].clone());
    }
    for made in ["run.pse", "masked.onnx", "run.html", "figure.png", "run.npz", "gradient.onnx", "results.html", "concepts", "dissected"] {
        assert!(at(made).exists(), "{made} was not made");
    }
    assert!(ran.len() >= 15, "{ran:?}");
}

fn generated(args: &[&str]) -> String {
    let home = TempDir::new().expect("a folder");
    let output =
        Command::new(env!("CARGO_BIN_EXE_psescope")).arg("generate").args(args).env("HOME", home.path()).output().expect("it runs");
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn generated_files_are_the_programs_own() {
    for (file, args) in [("docs/keys.md", "keys"), ("docs/psescope.1", "man"), ("docs/config.toml", "config")] {
        let text = generated(&[args]);
        let path = root().join(file);
        if std::env::var_os("PSESCOPE_WRITE").is_some() {
            fs::write(&path, &text).expect("written");
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(text == kept, "{file} is out of date: PSESCOPE_WRITE=1 cargo test --test documentation writes it");
    }
}

#[test]
fn manual_and_completions_know_every_command() {
    let mut program = Cli::command();
    program.build();
    let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).filter(|n| *n != "help").collect();
    let page = generated(&["man"]);
    for section in ["NAME", "SYNOPSIS", "OPTIONS", "SUBCOMMANDS", "EXAMPLES", "ENVIRONMENT", "FILES", "EXIT STATUS"] {
        assert!(page.contains(&format!(".SH {section}")) || page.contains(&format!(".SH \"{section}\"")), "{section}");
    }
    assert!(page.contains("\\fB130\\fR\ninterrupted"), "exit codes");
    for name in &names {
        assert!(page.contains(&format!("psescope\\-{name}")), "{name} is not in the manual");
        let own = generated(&["man", name]);
        assert!(own.contains(&format!(".TH psescope-{name} ")) && own.contains(".SH OPTIONS") && own.contains(".SH EXAMPLES"), "{name}");
    }
    let home = TempDir::new().expect("a folder");
    assert!(generated(&["man", "--out", &home.path().join("man").display().to_string()]).is_empty());
    let pages = fs::read_dir(home.path().join("man")).expect("made").count();
    assert_eq!(pages, names.len() + 1);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = generated(&["completions", shell]);
        names.iter().for_each(|name| assert!(script.contains(name), "{shell}: {name}"));
        assert!(script.contains("search-steps") || script.contains("search\\-steps"), "{shell}: options of attacks");
        if shell == "bash" {
            let home = TempDir::new().expect("a folder");
            fs::write(home.path().join("psescope"), &script).expect("written");
            let checked = Command::new("bash").arg("-n").arg(home.path().join("psescope")).status().expect("there is bash");
            assert!(checked.success());
        }
    }
}

/// What packages are made of exists, or is made by .ci/package.
#[test]
fn packages_name_files_that_exist() {
    let manifest: toml::Table = document("Cargo.toml").parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list").clone();
    let script = document(".ci/package");
    for asset in assets.iter().map(|a| a[0].as_str().expect("a path")) {
        let made = asset.strip_prefix("target/package-files/").map(|rest| rest.split(['/', '*']).next().unwrap_or(rest));
        let fine = asset == "target/release/psescope"
            || made.map_or_else(|| root().join(asset).is_file(), |m| script.contains(&format!("$files/{m}")));
        assert!(fine, "{asset}");
    }
    let dist: toml::Table = document("dist-workspace.toml").parse().expect("TOML");
    for file in dist["dist"]["include"].as_array().expect("a list") {
        assert!(root().join(file.as_str().expect("a path")).is_file(), "{file}");
    }
    assert!(document("CHANGELOG.md").contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}

/// Whoever installs it from the registry gets what it needs to build, and not the pictures of the documents.
#[test]
fn the_package_holds_what_it_needs() {
    let output = Command::new(env!("CARGO")).args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root()).output();
    let output = output.expect("cargo is there");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files: BTreeSet<&str> = list.lines().collect();
    for needed in
        ["Cargo.toml", "Cargo.lock", "README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "src/main.rs", "docs/psescope.1"]
    {
        assert!(files.contains(needed), "{needed} is missing");
    }
    // Everything that the sources include.
    for file in files.iter().filter(|f| f.starts_with("src/") && f.ends_with(".rs")) {
        let text = document(file);
        for part in text.split("include_bytes!(\"").skip(1).chain(text.split("include_str!(\"").skip(1)) {
            let Some((name, _)) = part.split_once("\")") else { continue };
            let path = root().join(file).parent().expect("a folder").join(name);
            let Ok(path) = path.canonicalize() else { continue };
            let inside = path.strip_prefix(root().canonicalize().expect("here")).expect("inside the repository").display().to_string();
            assert!(files.contains(inside.as_str()), "{file} includes {inside}, which is not packaged");
        }
    }
    let size: u64 = files.iter().filter_map(|f| fs::metadata(Path::new(&root()).join(f)).ok()).map(|m| m.len()).sum();
    assert!(size < 10 << 20, "{} MiB: the registry takes ten", size >> 20);
}
