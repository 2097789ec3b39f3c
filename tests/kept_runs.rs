//! Runs that a triage keeps: the same as `psescope attack` makes, bounded, and named in the table.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use common::root;
use psescope::engine::{
    trace::{
        StepRecord,
        file::{self, Run, RunMeta},
    },
    triage::{Row, table},
};
use tempfile::TempDir;

const MODEL: &str = "onnx/squeezenet1_1.onnx";

fn psescope(home: &TempDir, command: &str) -> Command {
    let mut program = Command::cargo_bin("psescope").expect("the program is built");
    let folders = ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"].map(|v| (v, home.path().to_owned()));
    program.current_dir(root()).envs(folders).env("PSESCOPE_ENGINE", "embedded").args([command, MODEL]);
    program
}

/// A list of photos.
fn list(home: &TempDir, names: &[&str]) -> PathBuf {
    let path = home.path().join("list.txt");
    let lines: Vec<String> = names.iter().map(|n| format!("samples/{n}.jpg")).collect();
    fs::write(&path, lines.join("\n")).expect("a list");
    path
}

fn rows(out: &Path) -> Vec<Row> {
    table::read(&out.join("part-0000-of-0001.parquet")).expect("a part").0
}

/// What has to be equal: everything but times and the command.
fn timeless(run: &Run) -> RunMeta {
    let still = |s: &StepRecord| StepRecord { seconds: 0.0, ..s.clone() };
    RunMeta { command: Vec::new(), written: None, steps: run.meta.steps.iter().map(still).collect(), ..run.meta.clone() }
}

/// Equal to the last bit.
fn same(kept: &Run, attacked: &Run, name: &str) {
    let text = |run: &Run| serde_json::to_value(timeless(run)).expect("JSON");
    assert_eq!(text(kept), text(attacked), "{name}");
    assert_eq!(kept.trace.clean, attacked.trace.clean, "{name}");
    assert_eq!(kept.trace.frames(), attacked.trace.frames(), "{name}");
    for index in kept.trace.frames() {
        let delta = |run: &Run| run.trace.frame(index).expect("kept").delta.clone();
        assert_eq!(delta(kept), delta(attacked), "{name}, step {index}");
    }
}

#[test]
fn a_kept_run_is_the_run_of_the_attack_command() {
    let home = TempDir::new().expect("a folder");
    // A random start, and a search that ends with an earlier step than the last.
    let random = ["--attack", "pgd", "--steps", "3", "--alpha", "4/255", "--random-start", "--seed", "5", "--target", "least-likely"];
    let search = ["--attack", "cw", "--steps", "3", "--search-steps", "2", "--seed", "1"];
    let inside = ["--attack", "ifgsm", "--steps", "2", "--within", "cam:t0:0.7"];
    for (at, arguments) in [&random[..], &search[..], &inside[..]].into_iter().enumerate() {
        let (out, photos) = (home.path().join(at.to_string()), list(&home, &["panda", "dog"]));
        let mut triage = psescope(&home, "triage");
        triage.arg(&photos).args(arguments).args(["--no-explain", "--jobs", "1", "--threads", "1", "--keep-runs", "--out"]).arg(&out);
        let said = triage.assert().success().get_output().stdout.clone();
        assert!(String::from_utf8_lossy(&said).contains("2 of 2 kept in"), "{}", String::from_utf8_lossy(&said));
        for row in rows(&out) {
            let single = home.path().join("single.pse");
            psescope(&home, "attack").arg(row.path()).args(arguments).args(["--threads", "1", "--out"]).arg(&single).assert().success();
            let name = row.run.clone().expect("kept");
            let kept = file::load(&out.join("runs").join(&name)).expect("a run");
            same(&kept, &file::load(&single).expect("a run"), &name);
            assert_eq!((row.success, row.flipped_at), (Some(kept.meta.success), kept.trace.flipped_at().map(|f| f as i64)), "{name}");
        }
    }
}

#[test]
fn the_room_for_runs_is_bounded_and_finished_images_get_theirs_later() {
    let home = TempDir::new().expect("a folder");
    let (out, photos) = (home.path().join("out"), list(&home, &["panda", "dog", "crab"]));
    let triage = |more: &[&str]| {
        let mut command = psescope(&home, "triage");
        command.arg(&photos).args(["--attack", "ifgsm", "--steps", "1", "--no-explain", "--jobs", "1", "--json", "--out"]).arg(&out);
        let output = command.args(more).assert().success().get_output().clone();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
        (report["continued"].as_u64(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let kept = || rows(&out).iter().filter(|r| r.run.is_some()).count();
    let (continued, _) = triage(&[]);
    assert_eq!((continued, kept()), (Some(0), 0));
    assert!(!out.join("runs").exists());
    // Two pictures a run and two steps: about 2.4 MB each.
    let (continued, said) = triage(&["--keep-runs=6MiB"]);
    assert_eq!((continued, kept()), (Some(0), 2), "{said}");
    assert!(said.contains("attacked again, because their runs are to be kept") && said.contains("more than 6 MiB"), "{said}");
    let size: u64 = fs::read_dir(out.join("runs")).expect("runs").flatten().map(|e| e.metadata().expect("a file").len()).sum();
    assert!(size <= 6 << 20, "{size}");
    let (continued, said) = triage(&["--keep-runs=6MiB"]);
    assert_eq!((continued, kept()), (Some(3), 2), "there is no room, so nothing is done again: {said}");
    let (continued, _) = triage(&["--keep-runs"]);
    assert_eq!((continued, kept()), (Some(2), 3), "now there is");
    let (continued, _) = triage(&[]);
    assert_eq!((continued, kept()), (Some(3), 3), "they stay");
    let refused =
        psescope(&home, "triage").arg(&photos).args(["--attack", "ifgsm", "--keep-runs=much", "--out"]).arg(&out).assert().code(2);
    assert!(String::from_utf8_lossy(&refused.get_output().stderr).contains("no amount of memory"));
}
