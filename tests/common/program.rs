//! The program as a script runs it: on the embedded engine, with an empty home.

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use super::root;

/// A command to which arguments are added.
pub fn psescope(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    command.current_dir(root()).env("PSESCOPE_ENGINE", "embedded").env("HOME", home.path()).env_remove("NO_COLOR");
    for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home.path());
    }
    command
}

/// The object that it prints.
pub fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).expect("one JSON object and nothing else on stdout")
}

/// Runs, expects this exit code and exactly one sentence on stderr that mentions `word`.
pub fn fails(command: &mut Command, code: i32, word: &str) {
    let assert = command.assert().code(code);
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains(word), "no '{word}' in: {text}");
    assert!(!text.contains("panicked"), "{text}");
    let sentences = text.lines().filter(|l| l.starts_with("psescope: ") && !l.starts_with("psescope: note: ")).count();
    assert!(code == 2 || sentences == 1, "not one sentence: {text}");
    assert!(assert.get_output().stdout.is_empty(), "an error must not write to stdout");
}
