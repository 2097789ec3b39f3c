//! `psescope triage` from outside: parts, continuing after any end, unreadable images, two models, and the files it writes.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    time::{Duration, Instant},
};

use assert_cmd::Command;
use common::root;
use psescope::engine::triage::{Row, part, table};
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";
const ATTACK: &[&str] = &["--attack", "pgd", "--steps", "1", "--alpha", "4/255", "--seed", "3", "--target", "least-likely"];

fn environment(home: &TempDir) -> Vec<(&'static str, PathBuf)> {
    let folders = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"].map(|v| (v, home.path().to_owned()));
    folders.into_iter().chain([("PSESCOPE_ENGINE", "embedded".into())]).collect()
}

fn psescope(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("psescope").expect("the program is built");
    command.current_dir(root()).envs(environment(home)).arg("triage");
    for variable in ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_COUNT"] {
        command.env_remove(variable);
    }
    command
}

/// A list of the first `count` sample photos.
fn list(home: &TempDir, count: usize) -> PathBuf {
    let mut photos: Vec<String> = fs::read_dir(root().join("samples"))
        .expect("samples")
        .flatten()
        .map(|e| format!("samples/{}", e.file_name().to_string_lossy()))
        .filter(|n| n.ends_with(".jpg"))
        .collect();
    photos.sort();
    photos.truncate(count);
    let path = home.path().join("list.txt");
    fs::write(&path, photos.join("\n")).expect("a list");
    path
}

fn untimed(rows: &[Row]) -> Vec<Row> {
    rows.iter().map(Row::untimed).collect()
}

fn read(path: &Path) -> Vec<Row> {
    table::read(path).expect("a readable part").0
}

/// Numbers of two runs that batch differently agree to this, relatively; labels and counts agree exactly.
fn close(a: &Row, b: &Row) {
    let numbers = |r: &Row| [r.true_prob, r.predicted_prob, r.l1, r.l2, r.is_score].map(|v| v.unwrap_or(0.0));
    for (x, y) in numbers(a).into_iter().zip(numbers(b)) {
        assert!((x - y).abs() <= 0.02 * x.abs().max(1e-3), "{}: {x} and {y}", a.path());
    }
    assert_eq!(
        (a.index, &a.path, &a.sha256, a.predicted_index, a.target_index),
        (b.index, &b.path, &b.sha256, b.predicted_index, b.target_index)
    );
}

#[test]
fn four_parts_are_the_same_table_as_one() {
    let home = TempDir::new().expect("a folder");
    let (one, four) = (home.path().join("one"), home.path().join("four"));
    let photos = list(&home, 6);
    psescope(&home).arg(MODEL).arg(&photos).args(ATTACK).arg("--out").arg(&one).args(["--jsonl", "--jobs", "1"]).assert().success();
    for task in 0..4 {
        let mut command = psescope(&home);
        command.arg(MODEL).arg(&photos).args(ATTACK).arg("--out").arg(&four);
        match task {
            // By flag, counted from 1; by Slurm's variables; and the flag wins over them.
            0 => command.args(["--shard", "4/4"]),
            3 => command.args(["--shard", "3/4"]).env("SLURM_ARRAY_TASK_ID", "77").env("SLURM_ARRAY_TASK_COUNT", "2"),
            _ => command
                .env("SLURM_ARRAY_TASK_ID", (task + 10).to_string())
                .env("SLURM_ARRAY_TASK_MIN", "10")
                .env("SLURM_ARRAY_TASK_MAX", "13")
                .env("SLURM_ARRAY_TASK_COUNT", "4"),
        };
        command.assert().success();
    }
    let whole = read(&one.join("part-0000-of-0001.parquet"));
    assert_eq!(whole.len(), 6);
    assert!(whole.iter().all(|r| r.error.is_none() && r.target_index.is_some() && r.turning_point.is_some() && r.is_score.is_some()));
    let (rows, metadata) = part::merged(&four).expect("complete");
    assert_eq!(untimed(&rows), untimed(&whole), "the same rows in the same order");
    assert_eq!((metadata["attack"].as_str(), metadata["seed"].as_str(), metadata["images"].as_str()), ("pgd", "3", "6"));
    assert_eq!(metadata["model_sha256"].len(), 64);
    let lines = fs::read_to_string(one.join("part-0000-of-0001.jsonl")).expect("JSON lines");
    let rows: Vec<Row> = lines.lines().skip(1).map(|l| serde_json::from_str(l).expect("a row")).collect();
    assert_eq!(rows, whole);
    duckdb(&four, &whole);
    let merged = psescope(&home).arg("--merge").arg(&four).arg("--json").assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&merged).expect("one object");
    assert_eq!((report["schema"].as_str(), report["summary"]["images"].as_u64()), (Some("psescope.triage/1"), Some(6)));
    assert_eq!(untimed(&read(&four.join("triage.parquet"))), untimed(&whole));
    // A batch on one network gives the same table up to rounding.
    let batched = home.path().join("batched");
    psescope(&home).arg(MODEL).arg(&photos).args(ATTACK).arg("--out").arg(&batched).args(["--batch", "3"]).assert().success();
    read(&batched.join("part-0000-of-0001.parquet")).iter().zip(&whole).for_each(|(a, b)| close(a, b));
}

/// Reads the parts together as docs/triage.md says, where DuckDB's Python module is installed.
fn duckdb(folder: &Path, whole: &[Row]) {
    let python = std::env::var("PSESCOPE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let code = format!(
        "import duckdb\nfor r in duckdb.sql(\"SELECT path, predicted_index, success FROM '{}/part-*.parquet' ORDER BY index\").fetchall(): print(*r, sep='\\t')",
        folder.display()
    );
    let Ok(output) = Process::new(python).args(["-c", &code]).output() else {
        eprintln!("skipped: no Python");
        return;
    };
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(why.contains("No module named 'duckdb'"), "{why}");
        eprintln!("skipped: DuckDB's Python module is not installed");
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let title = |b: bool| if b { "True" } else { "False" };
    let line = |r: &Row| format!("{}\t{}\t{}", r.path(), r.predicted_index.unwrap_or(-1), title(r.success.unwrap_or(false)));
    assert_eq!(said.lines().collect::<Vec<_>>(), whole.iter().map(line).collect::<Vec<_>>());
}

/// An indented block of docs/triage.md that begins with this line.
fn block(first: &str) -> String {
    let text = fs::read_to_string(root().join("docs/triage.md")).expect("docs/triage.md");
    let lines = text.lines().skip_while(|l| l.trim() != first).take_while(|l| l.starts_with("    ") || l.is_empty());
    lines.map(|l| l.trim_start_matches("    ").to_owned() + "\n").collect()
}

#[test]
#[cfg(unix)]
fn the_slurm_script_of_the_manual_runs() {
    let home = TempDir::new().expect("a folder");
    let folder = home.path().join("photos");
    fs::create_dir(&folder).expect("a folder");
    for name in ["panda", "dog", "crab"] {
        fs::copy(root().join(format!("samples/{name}.jpg")), folder.join(format!("{name}.jpg"))).expect("a photo");
    }
    let tiny = root().join("tests/corpus/good/tiny.onnx").display().to_string();
    let script = block("#!/bin/bash").replace("model.onnx", &tiny).replace("/data/photos", &folder.display().to_string());
    assert!(script.contains("--array=0-15") && script.contains("psescope triage"), "{script}");
    let program = assert_cmd::cargo::cargo_bin("psescope");
    let path = format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
    for task in 0..16 {
        let output = Process::new("sh")
            .args(["-c", &script])
            .current_dir(home.path())
            .envs(environment(&home))
            .envs([("PATH", path.clone()), ("SLURM_SUBMIT_DIR", home.path().display().to_string()), ("SLURM_CPUS_PER_TASK", "1".into())])
            .envs([("SLURM_ARRAY_TASK_ID", task.to_string()), ("SLURM_ARRAY_TASK_MIN", "0".into())])
            .envs([("SLURM_ARRAY_TASK_MAX", "15"), ("SLURM_ARRAY_TASK_COUNT", "16")])
            .output()
            .expect("a shell");
        assert!(output.status.success(), "task {task}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let (rows, metadata) = part::merged(&home.path().join("results")).expect("complete");
    let names: Vec<&str> = rows.iter().filter_map(|r| Path::new(r.path()).file_stem()?.to_str()).collect();
    assert_eq!((names, metadata["parts"].as_str()), (vec!["crab", "dog", "panda"], "16"));
    assert!(metadata["command"].contains("psescope triage"), "{}", metadata["command"]);
}

#[test]
fn killed_at_any_moment_it_loses_the_image_in_flight_at_most() {
    let home = TempDir::new().expect("a folder");
    let (out, whole) = (home.path().join("out"), home.path().join("whole"));
    let photos = list(&home, 5);
    let arguments = ["--attack", "ifgsm", "--steps", "2", "--no-explain", "--jobs", "1", "--json"];
    psescope(&home).arg(MODEL).arg(&photos).args(arguments).arg("--out").arg(&whole).assert().success();
    let journal = out.join("part-0000-of-0001.journal");
    let kept = || fs::read(&journal).map_or(0, |b| b.iter().filter(|c| **c == b'\n').count().saturating_sub(1));
    let mut before = 0;
    // Moments that differ from run to run, so that over time every place in the work is hit.
    let mut noise = u64::from(std::process::id());
    for round in 0..4 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = Process::new(assert_cmd::cargo::cargo_bin("psescope"))
            .current_dir(root())
            .envs(environment(&home))
            .arg("triage")
            .arg(MODEL)
            .arg(&photos)
            .args(arguments)
            .arg("--out")
            .arg(&out)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let begun = Instant::now();
        // Past the opening of the model: killed after a new row or two, at a random moment.
        while kept() <= before + (round % 2) && child.try_wait().expect("a process").is_none() && begun.elapsed() < Duration::from_secs(60)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(noise >> 56));
        let seen = kept();
        child.kill().expect("SIGKILL");
        child.wait().expect("it ended");
        if out.join("part-0000-of-0001.parquet").exists() {
            break;
        }
        assert!(kept() >= seen, "no row is lost: {} after {seen}", kept());
        before = kept();
    }
    let last =
        psescope(&home).arg(MODEL).arg(&photos).args(arguments).arg("--out").arg(&out).assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&last).expect("one object");
    assert!(report["continued"].as_u64() >= Some(before as u64) && before > 0, "{} kept of {before}", report["continued"]);
    let name = "part-0000-of-0001.parquet";
    assert_eq!(untimed(&read(&out.join(name))), untimed(&read(&whole.join(name))), "as if it had never been killed");
    assert!(!journal.exists());
}

#[test]
fn an_unreadable_image_is_a_row_and_other_settings_are_refused() {
    let home = TempDir::new().expect("a folder");
    let folder = home.path().join("photos");
    fs::create_dir_all(folder.join("sub")).expect("folders");
    fs::copy(root().join("samples/panda.jpg"), folder.join("b.jpg")).expect("a photo");
    fs::write(folder.join("sub/c.png"), b"not a picture").expect("a file");
    fs::write(folder.join("notes.txt"), b"not an image").expect("a file");
    let out = home.path().join("out");
    let run = |attack: &'static str| {
        let mut command = psescope(&home);
        command.arg(MODEL).arg(&folder).args(["--attack", attack, "--steps", "1", "--json", "--compare", MODEL]).arg("--out").arg(&out);
        command
    };
    let page = home.path().join("page.html");
    run("ifgsm").arg("--html").arg(&page).assert().success();
    let rows = read(&out.join("part-0000-of-0001.parquet"));
    assert_eq!(rows.len(), 2);
    assert!(rows[0].error.is_none() && rows[1].error.as_deref().is_some_and(|e| e.contains("c.png")), "{rows:?}");
    assert_eq!((rows[0].success, rows[0].compare_transfers), (rows[0].compare_success, rows[0].success), "the same model twice");
    assert_eq!((rows[0].l2, rows[0].predicted_index), (rows[0].compare_l2, rows[0].compare_predicted_index));
    assert!(fs::read_to_string(&page).expect("a page").contains("c.png"));
    let refused = run("pgd").assert().code(2);
    let text = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(text.contains("another attack (ifgsm; now pgd)"), "{text}");
    // What was finished stays as it is, and is not done again.
    let again = run("ifgsm").assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&again).expect("one object");
    assert_eq!(report["continued"], 2, "{report}");
}

#[test]
fn bad_input_gets_a_sentence() {
    let home = TempDir::new().expect("a folder");
    let empty = home.path().join("empty");
    fs::create_dir_all(&empty).expect("a folder");
    let fails = |command: &mut Command, code: i32, word: &str| {
        let assert = command.assert().code(code);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(text.contains(word) && !text.contains("panicked"), "no '{word}' in: {text}");
        assert!(assert.get_output().stdout.is_empty());
    };
    let out = home.path().join("out");
    fails(psescope(&home).arg(MODEL).arg(&empty).arg("--out").arg(&out), 3, "no images");
    fails(psescope(&home).arg(MODEL).arg("samples"), 2, "--out DIR");
    fails(psescope(&home).arg("--merge").arg(&empty), 3, "no finished parts");
    fails(psescope(&home).arg(MODEL).arg("-").arg("--out").arg(&out).write_stdin("\n"), 3, "stdin is empty");
    fails(psescope(&home).arg(MODEL).arg("samples").arg("--out").arg(&out).args(["--shard", "5/4"]), 2, "no shard");
    fails(psescope(&home).arg(MODEL).arg("samples").arg("--out").arg(&out).env("SLURM_ARRAY_TASK_ID", "7"), 2, "--shard");
}
