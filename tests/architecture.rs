//! Imports run one way, and files stay small: a single crate does not enforce either, so this test does.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folder, and what its files may import of ours.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("core", &["core"]),
    ("runtime", &["core", "runtime"]),
    ("engine", &["core", "runtime", "engine"]),
    ("report", &["core", "engine", "report"]),
    ("tui", &["core", "engine", "report", "tui"]),
    ("cli", &["core", "runtime", "engine", "report", "tui", "cli"]),
];

/// Inside core: what a folder may not import, because it would turn the arrow round.
const CORE_MAY_NOT: &[(&str, &[&str])] = &[
    ("attack", &["graph", "onnx", "explain"]),
    ("explain", &["graph", "onnx", "attack"]),
    ("onnx", &["graph", "attack", "explain", "oracle"]),
    ("graph", &["attack", "explain"]),
    ("tensor", &["graph", "attack", "explain", "oracle"]),
];

const CEILING: usize = 600;
const GENERATED: &[&str] = &["pb.rs"];

fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut out);
    out.sort();
    out
}

fn folder(path: &Path, depth: usize) -> Option<String> {
    let relative = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("inside src");
    let parts: Vec<_> = relative.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    (parts.len() > depth + 1 || (parts.len() == depth + 1 && depth > 0)).then(|| parts[depth].trim_end_matches(".rs").to_owned())
}

/// Every word that follows `prefix` in the file, comments left out: `crate::a::b` and the first level of `crate::{a, b::c}`.
fn imported(source: &str, prefix: &str) -> Vec<String> {
    let code: String = source.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(first_level(group));
        } else {
            found.push(word(rest));
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn first_level(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut words) = (0usize, true, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && depth == 0 && !c.is_whitespace() => {
                words.push(word(&group[i..]));
                start = false;
            }
            _ => {}
        }
    }
    words
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for path in files() {
        let Some(home) = folder(&path, 0) else { continue };
        let source = fs::read_to_string(&path).expect("readable source");
        let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == home).unwrap_or_else(|| panic!("folder {home} is not in the table")).1;
        for target in imported(&source, "crate::") {
            if !allowed.contains(&target.as_str()) {
                wrong.push(format!("{}: crate::{target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the arrow:\n{}", wrong.join("\n"));
}

#[test]
fn core_keeps_its_own_order() {
    let mut wrong = Vec::new();
    for path in files() {
        if folder(&path, 0).as_deref() != Some("core") {
            continue;
        }
        let Some(part) = folder(&path, 1) else { continue };
        let Some((_, banned)) = CORE_MAY_NOT.iter().find(|(name, _)| *name == part) else { continue };
        // Unit tests of explanations share the analytic networks of the attacks' tests.
        if path.ends_with("tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("readable source");
        for target in imported(&source, "crate::core::") {
            if banned.contains(&target.as_str()) {
                wrong.push(format!("{}: core::{target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order inside core:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = files()
        .into_iter()
        .filter(|p| !GENERATED.iter().any(|g| p.ends_with(g)))
        .filter_map(|p| {
            let lines = fs::read_to_string(&p).expect("readable source").lines().count();
            (lines > CEILING).then(|| format!("{}: {lines} lines", p.display()))
        })
        .collect();
    assert!(long.is_empty(), "files over {CEILING} lines:\n{}", long.join("\n"));
}

#[test]
fn the_pure_layer_touches_no_machine() {
    let banned = ["std::fs", "std::thread", "std::process", "std::env", "crossterm", "ratatui", "ort::"];
    let mut wrong = Vec::new();
    for path in files().into_iter().filter(|p| folder(p, 0).as_deref() == Some("core")) {
        let source = fs::read_to_string(&path).expect("readable source");
        let code = source.lines().filter(|l| !l.trim_start().starts_with("//"));
        for line in code {
            for word in
                banned.iter().filter(|b| line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).any(|t| t.starts_with(**b)))
            {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "core may not use:\n{}", wrong.join("\n"));
}

/// The lint can be switched off by the line that breaks it; this cannot.
#[test]
fn nothing_is_unsafe() {
    for path in files() {
        let source = fs::read_to_string(&path).expect("readable source");
        let code = source.lines().filter(|l| !l.trim_start().starts_with("//"));
        let found =
            code.flat_map(|l| l.split(|c: char| !(c.is_alphanumeric() || c == '_'))).find(|w| ["unsafe", "unsafe_code"].contains(w));
        assert!(found.is_none(), "{}: unsafe code belongs in a crate that is looked after", path.display());
    }
}

/// Neither the program nor a build script of a dependency can fetch anything: nothing in the tree speaks HTTP. What downloads is
/// the user's own pip, when `psescope runtime install` runs it.
#[test]
fn nothing_here_can_download() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).expect("the lock file is kept");
    let lock: toml::Table = lock.parse().expect("TOML");
    let packages = lock["package"].as_array().expect("packages");
    assert!(packages.len() > 100);
    let clients = ["attohttpc", "curl", "curl-sys", "hyper", "isahc", "minreq", "native-tls", "openssl-sys", "reqwest", "rustls", "ureq"];
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        assert!(!clients.contains(&name), "{name} came with some feature: leave it out");
        let source = package.get("source").and_then(|s| s.as_str());
        let from_registry = source.is_some_and(|s| s.starts_with("registry+https://github.com/rust-lang/crates.io-index"));
        assert!(from_registry || (name == "psescope" && source.is_none()), "{name} does not come from the registry");
    }
}

/// `fuzz/` is built by nobody in the everyday, but what its targets do is: each is a function that the mutation test calls.
#[test]
fn every_fuzz_target_is_tested_without_the_fuzzer() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(here.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let manifest: toml::Table = read("fuzz/Cargo.toml").parse().expect("TOML");
    let (readers, mutations) = (read("fuzz/readers.rs"), read("tests/mutations.rs"));
    let targets = manifest["bin"].as_array().expect("targets");
    assert_eq!(targets.len(), fs::read_dir(here.join("fuzz/fuzz_targets")).expect("targets").count());
    for target in targets {
        let name = target["name"].as_str().expect("a name");
        assert!(
            read(target["path"].as_str().map(|p| format!("fuzz/{p}")).expect("a path").as_str())
                .contains(&format!("readers::{name}(data)"))
        );
        assert!(readers.contains(&format!("pub fn {name}(data: &[u8])")) && mutations.contains(&format!("readers::{name}")), "{name}");
    }
}

#[test]
fn the_reader_of_imports_sees_groups() {
    let source = "use crate::{core::{a, b}, runtime::x};\nuse crate::tui::y;\n// crate::comment";
    assert_eq!(imported(source, "crate::"), ["core", "runtime", "tui"]);
}
