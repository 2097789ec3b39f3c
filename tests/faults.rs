//! What the world does to a long session: full disks, locked folders, kills, many steps, many hours.
#![cfg(unix)]
#![allow(missing_docs, reason = "tests")]

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ndarray::Array3;
use psescope::engine::trace::{
    StepRecord, Trace,
    file::{self, RunMeta},
};
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// An attack on a network of a few hundred weights.
fn attack(home: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_psescope"));
    command.arg("attack").arg(root().join("tests/corpus/good/tiny.onnx")).arg(root().join("samples/panda.jpg"));
    command.args(["--eps", "8/255"]).args(more).current_dir(home).env("PSESCOPE_ENGINE", "embedded");
    for variable in ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env(variable, home);
    }
    command
}

fn home() -> TempDir {
    TempDir::new().expect("a folder")
}

/// A run file without what tells the time: when it was written and how long each step took.
fn timeless(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).expect("written");
    let length = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..length]).expect("a header");
    let text = header["__metadata__"]["psescope"].as_str().expect("metadata").to_owned();
    let mut meta: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    meta["written"] = 0.into();
    for step in meta["steps"].as_array_mut().expect("steps") {
        assert!(step.as_object_mut().expect("a step").remove("seconds").is_some());
    }
    header["__metadata__"]["psescope"] = meta.to_string().into();
    for tensor in header.as_object_mut().expect("an object").values_mut() {
        assert!(tensor.is_object());
    }
    [header.to_string().into_bytes(), bytes[length..].to_vec()].concat()
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let home = home();
    for attack_name in ["ifgsm", "pgd"] {
        let files: Vec<Vec<u8>> = (0..3)
            .map(|i| {
                let out = format!("{attack_name}{i}.pse");
                // The recorded command names the file: it is the same one each time.
                assert!(
                    attack(home.path(), &["--attack", attack_name, "--steps", "6", "--seed", "5", "--out", "run.pse"])
                        .output()
                        .expect("it runs")
                        .status
                        .success()
                );
                fs::rename(home.path().join("run.pse"), home.path().join(&out)).expect("renamed");
                timeless(&home.path().join(out))
            })
            .collect();
        assert!(files.windows(2).all(|f| f[0] == f[1]), "{attack_name} differs from run to run");
    }
}

#[test]
fn a_full_disk_is_one_sentence() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: there is no /dev/full");
        return;
    }
    let home = home();
    let output = attack(home.path(), &["--steps", "2", "--out", "/dev/full"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("cannot write /dev/full") && text.contains("No space left"), "{text}");
    // Standard output on a full disk is an error too, not a panic.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("it opens");
    let output = attack(home.path(), &["--steps", "2", "--json"]).stdout(full).stderr(Stdio::piped()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && !text.contains("panicked"), "{:?} {text}", output.status);
}

#[test]
fn a_place_that_cannot_be_written_keeps_what_was_there() {
    let home = home();
    fs::write(home.path().join("file"), b"mine").expect("written");
    // A file where a folder is needed: refused to everybody, root included.
    let output = attack(home.path(), &["--steps", "2", "--out", "file/run.pse"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && text.contains("folder you may write to"), "{text}");
    assert_eq!(fs::read(home.path().join("file")).expect("still there"), b"mine");
    let left: Vec<_> = fs::read_dir(home.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// Waits for the child, but not for ever.
fn ends(child: &mut std::process::Child) -> std::process::ExitStatus {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            return status;
        }
        assert!(Instant::now() < end, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal while the attack runs.
fn signalled(home: &Path, signal: &str) -> std::process::ExitStatus {
    let mut command = attack(home, &["--attack", "ifgsm", "--steps", "100000", "--out", "run.pse", "-v"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("piped")));
    // The forward graph, then the one with the gradient: from there on it makes steps.
    let graphs = lines.by_ref().filter(|l| l.as_ref().is_ok_and(|l| l.contains("graph of"))).take(2).count();
    assert_eq!(graphs, 2);
    let reader = std::thread::spawn(move || lines.count());
    std::thread::sleep(Duration::from_millis(500));
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill is there").success());
    let status = ends(&mut child);
    assert!(reader.join().is_ok());
    status
}

#[test]
fn signals_end_it_and_the_run_is_kept() {
    for signal in ["-TERM", "-HUP", "-INT"] {
        let home = home();
        assert_eq!(signalled(home.path(), signal).code(), Some(130), "{signal}");
        assert!(!file::load(&home.path().join("run.pse")).expect("it can be read").trace.is_empty(), "{signal}");
    }
    // Nothing can be saved after this one; an older run in its place must stay whole.
    let home = home();
    assert!(attack(home.path(), &["--steps", "2", "--out", "run.pse"]).output().expect("it runs").status.success());
    assert_eq!(signalled(home.path(), "-KILL").signal(), Some(9));
    assert_eq!(file::load(&home.path().join("run.pse")).expect("it can be read").trace.len(), 3);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = home();
    let mut child =
        attack(home.path(), &["--steps", "2", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(ends(&mut child).code(), Some(0));
}

#[test]
fn a_hundred_thousand_steps_need_little_memory() {
    let clean = Arc::new(Array3::<f32>::zeros((3, 32, 32)));
    let budget = 4 << 20;
    let trace = Trace::new(Arc::clone(&clean), 0, Some(1), budget);
    for i in 0..100_000u32 {
        let record = StepRecord {
            index: 0,
            loss: 1.0,
            terms: vec![],
            top: vec![(0, 2.0), (1, 1.0)],
            true_logit: 2.0,
            target_logit: Some(1.0),
            other_logit: 1.0,
            log_sum_exp: 2.5,
            predicted: 0,
            l0: 1,
            l1: 0.1,
            l2: 0.1,
            linf: 0.1,
            seconds: 0.0,
        };
        trace.push(record, clean.mapv(|_| i as f32 / 1e5).view());
    }
    assert_eq!(trace.len(), 100_000);
    let kept = trace.frames();
    assert!(kept.len() * clean.len() * 8 <= budget + 2 * clean.len() * 8, "{} frames", kept.len());
    assert_eq!((kept.first(), kept.last()), (Some(&0), Some(&99_999)));
    // And it is saved and read back.
    let home = home();
    let meta = RunMeta { format: file::VERSION, steps: trace.with_steps(<[_]>::to_vec), target: Some(1), ..RunMeta::default() };
    file::save(&home.path().join("long.pse"), &meta, &trace).expect("saved");
    assert_eq!(file::load(&home.path().join("long.pse")).expect("read").trace.frames(), kept);
}
