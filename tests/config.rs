//! Configuration files from outside: who wins, what doctor says about it, and what mistakes look like.

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// The program in an empty project folder, with an empty home.
fn psescope(home: &Path) -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    let project = home.join("project");
    fs::create_dir_all(&project).expect("a folder");
    command.current_dir(project).env("HOME", home);
    for variable in ["PSESCOPE_ENGINE", "PSESCOPE_THREADS", "PSESCOPE_DEVICE", "PSESCOPE_CONFIG", "NO_COLOR"] {
        command.env_remove(variable);
    }
    for variable in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home.join("xdg"));
    }
    command
}

fn user(home: &Path, text: &str) {
    fs::create_dir_all(home.join("xdg/psescope")).expect("a folder");
    fs::write(home.join("xdg/psescope/config.toml"), text).expect("written");
}

fn project(home: &Path, text: &str) {
    fs::create_dir_all(home.join("project")).expect("a folder");
    fs::write(home.join("project/psescope.toml"), text).expect("written");
}

/// What doctor says about a key: value, origin.
fn setting(command: &mut Command, key: &str) -> (String, String) {
    let output = command.args(["doctor", "--json"]).assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).expect("one JSON object");
    let row = report["settings"].as_array().expect("settings").iter().find(|s| s["key"] == key).expect("the key is there").clone();
    (row["value"].as_str().expect("a value").into(), row["from"].as_str().expect("an origin").into())
}

#[test]
fn flags_win_over_variables_over_the_project_over_the_person_over_the_default() {
    let home = TempDir::new().expect("a folder");
    let home = home.path();
    let threads = |command: &mut Command| setting(command.env("PSESCOPE_ENGINE", "embedded"), "threads");
    assert_eq!(threads(&mut psescope(home)), ("0".into(), "default".into()));
    user(home, "\nthreads = 2\ntheme = 'dark'\n");
    let (value, from) = threads(&mut psescope(home));
    assert!(value == "2" && from.ends_with("psescope/config.toml:2"), "{value} {from}");
    project(home, "threads = 3");
    assert_eq!(threads(&mut psescope(home)), ("3".into(), "psescope.toml:1".into()));
    assert_eq!(setting(psescope(home).env("PSESCOPE_ENGINE", "embedded"), "theme").0, "dark", "the person's other keys stay");
    assert_eq!(threads(psescope(home).env("PSESCOPE_THREADS", "4")), ("4".into(), "PSESCOPE_THREADS".into()));
    let output =
        psescope(home).env("PSESCOPE_THREADS", "4").args(["doctor", "--engine", "embedded", "--threads", "5"]).output().expect("it ran");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().any(|l| l.contains("threads") && l.contains("5") && l.contains("--threads")), "{text}");
    let other = home.join("other.toml");
    fs::write(&other, "threads = 6").expect("written");
    let (value, from) = threads(psescope(home).env("PSESCOPE_CONFIG", &other));
    assert!(value == "6" && from.ends_with("other.toml:1"), "{value} {from}");
}

#[test]
fn attacks_take_their_defaults_from_the_configuration() {
    let home = TempDir::new().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    project(home.path(), "engine = 'embedded'\n[attack]\nname = 'pgd'\nsteps = 2\nseed = 7\nkappa = 1.0\n");
    let run = |more: &[&str]| -> Value {
        let mut command = psescope(home.path());
        command.arg("attack").args([root.join("onnx/squeezenet1_1.onnx"), root.join("samples/panda.jpg")]).arg("--json").args(more);
        serde_json::from_slice(&command.assert().success().get_output().stdout).expect("one JSON object")
    };
    let report = run(&[]);
    assert_eq!((&report["attack"], &report["seed"]), (&"pgd".into(), &7.into()));
    assert!(report["steps"].as_u64().expect("steps") <= 2, "{}", report["steps"]);
    let report = run(&["--attack", "ifgsm", "--steps", "1"]);
    assert_eq!(report["attack"], "ifgsm");
    assert_eq!(report["steps"], 1);
}

#[test]
fn mistakes_end_with_two_and_one_sentence_that_names_file_and_line() {
    let home = TempDir::new().expect("a folder");
    project(home.path(), "# mine\ndevise = 'cpu'\n");
    let assert = psescope(home.path()).args(["runtime", "install", "--help"]).assert().success();
    drop(assert);
    let assert = psescope(home.path()).args(["inspect", "model.onnx"]).assert().code(2);
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert_eq!(text, "psescope: psescope.toml:2: unknown key 'devise'; did you mean 'device'?\n");
    // doctor and generate work all the same.
    let assert = psescope(home.path()).env("PSESCOPE_ENGINE", "embedded").arg("doctor").assert().success();
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("devise"));
    psescope(home.path()).args(["generate", "config"]).assert().success();
    let assert = psescope(home.path()).args(["--config", "absent.toml", "doctor"]).assert().success();
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("absent.toml"));
    let assert = psescope(home.path()).args(["--threads", "2", "doctor"]).assert().code(2);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("write it after 'doctor'"));
}

#[test]
fn the_generated_configuration_is_accepted() {
    let home = TempDir::new().expect("a folder");
    let text = psescope(home.path()).args(["generate", "config"]).assert().success().get_output().stdout.clone();
    project(home.path(), &String::from_utf8(text).expect("text"));
    assert_eq!(setting(psescope(home.path()).env("PSESCOPE_ENGINE", "embedded"), "device"), ("auto".into(), "default".into()));
}

#[test]
fn a_bad_configured_library_is_a_note_and_verbose_goes_to_stderr() {
    let home = TempDir::new().expect("a folder");
    user(home.path(), "ort_lib = '/nowhere/lib.so'\n");
    let mut command = psescope(home.path());
    let assert = command.env_remove("ORT_DYLIB_PATH").args(["doctor", "-v", "--json"]).assert().success();
    let report: Value = serde_json::from_slice(&assert.get_output().stdout).expect("only JSON on stdout");
    let first = &report["runtime"]["libraries"][0];
    assert_eq!((&first["path"], &first["verdict"]), (&"/nowhere/lib.so".into(), &"rejected".into()));
}

#[test]
fn a_folder_does_not_choose_the_library() {
    let home = TempDir::new().expect("a folder");
    project(home.path(), "device = 'cpu'\nort_lib = './lib.so'\n");
    let assert = psescope(home.path()).args(["inspect", "nowhere.onnx"]).assert().code(2);
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains("psescope.toml:2") && text.contains("--ort-lib"), "{text}");
}

#[test]
fn themes_of_ones_own_are_found_checked_and_named_by_doctor() {
    let home = TempDir::new().expect("a folder");
    let home = home.path();
    let folder = home.join("xdg/psescope/themes");
    fs::create_dir_all(&folder).expect("a folder");
    let printed = psescope(home).args(["generate", "theme"]).assert().success().get_output().stdout.clone();
    fs::write(folder.join("ocean.toml"), &printed).expect("written");
    user(home, "theme = 'ocean'\n");
    let doctor = || {
        let output = psescope(home).env("PSESCOPE_ENGINE", "embedded").arg("doctor").assert().success().get_output().stdout.clone();
        String::from_utf8(output).expect("text")
    };
    let text = doctor();
    assert!(text.contains("ocean (") && text.contains("themes/ocean.toml)") && text.contains("config.toml:1"), "{text}");
    user(home, "theme = 'dark'\n");
    assert!(doctor().contains("dark (built in)"));
    let refuses = |text: &str, word: &str| {
        user(home, text);
        let assert = psescope(home).args(["inspect", "nowhere.onnx"]).assert().code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains(word), "{said}");
    };
    refuses("\ntheme = 'oecan'\n", "config.toml:2: unknown theme 'oecan'; did you mean 'ocean'?");
    fs::write(folder.join("ocean.toml"), "[colors]\nacent = 3\n").expect("written");
    refuses("theme = 'ocean'\n", "ocean.toml:2: unknown role 'acent'; did you mean 'accent'?");
    refuses("[keys]\nscreen-atack = 'x'\n", "unknown action 'screen-atack'; did you mean 'screen-attack'?");
    refuses("[keys]\nhelp = '<foo>'\n", "is no key");
    // The inspector itself says so before it takes the terminal.
    user(home, "");
    let assert = psescope(home).args(["--theme", "drak"]).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("did you mean 'dark'?"), "{said}");
}
