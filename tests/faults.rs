//! What the world does to a long session: full disks, locked folders, kills, many steps, many hours.
#![cfg(unix)]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ndarray::Array3;
use psescope::{
    engine::{
        command::Command as Asked,
        event::{Ending, Event, Opened},
        trace::{
            StepRecord, Trace,
            file::{self, RunMeta},
        },
    },
    runtime::{EngineChoice, Runtime, RuntimeOptions},
    tui::{
        effect::Effect,
        keymap::{Key, Keymap},
        model::{Attacks, Model},
        msg::Msg,
        theme::{Depth, Theme},
        update,
        view::{ViewCache, render},
    },
};
use ratatui::{buffer::Buffer, layout::Rect};
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// An attack on a network of a few hundred weights.
fn attack(home: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_psescope"));
    command.arg("attack").arg(root().join("tests/corpus/good/tiny.onnx")).arg(root().join("samples/panda.jpg"));
    command.args(more).current_dir(home).env("PSESCOPE_ENGINE", "embedded");
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
    // Where two runs could differ: random starts, searches, threads, on each engine that is here.
    for engine in common::engines() {
        let library = match engine.describe().starts_with("embedded") {
            true => None,
            false => {
                let options = RuntimeOptions { engine: EngineChoice::OnnxRuntime, ..RuntimeOptions::default() };
                Runtime::open(&options).expect("it was open").report().library.clone()
            }
        };
        for attack_name in psescope::core::attack::REGISTRY.iter().map(|a| a.name()) {
            let run = |seed: &str| {
                // The recorded command names the file: it is the same one each time.
                let mut command = attack(home.path(), &["--attack", attack_name, "--steps", "4", "--seed", seed, "--out", "run.pse"]);
                if let Some(library) = &library {
                    command.env("PSESCOPE_ENGINE", "onnxruntime").arg("--ort-lib").arg(library);
                }
                let output = command.output().expect("it runs");
                assert!(output.status.success(), "{attack_name}: {}", String::from_utf8_lossy(&output.stderr));
                timeless(&home.path().join("run.pse"))
            };
            let first = run("5");
            assert!(first == run("5"), "{attack_name} differs from run to run on {}", engine.describe());
            // The comparison sees what a random start changes.
            assert!(attack_name != "pgd" || first != run("6"));
        }
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

/// A disk that fills up in the middle of the file: the system's limit on file sizes stops the write after a few kilobytes.
#[test]
fn a_file_that_is_cut_short_leaves_the_older_one_whole() {
    let home = home();
    assert!(attack(home.path(), &["--steps", "2", "--out", "run.pse"]).output().expect("it runs").status.success());
    let before = fs::read(home.path().join("run.pse")).expect("written");
    assert!(before.len() > 4096);
    let whole = attack(home.path(), &["--steps", "3", "--out", "run.pse"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 4; trap '' XFSZ; exec \"$0\" \"$@\""]).arg(whole.get_program()).args(whole.get_args());
    limited.current_dir(home.path()).envs(whole.get_envs().filter_map(|(n, v)| Some((n, v?))));
    let output = limited.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("cannot write run.pse") && !text.contains("panicked"), "{text}");
    assert!(fs::read(home.path().join("run.pse")).expect("still there") == before);
    let left: Vec<_> = fs::read_dir(home.path()).expect("readable").flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().ends_with(".part")), "{left:?}");
}

/// A folder where not even the system's administrator may make a file.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_one_sentence() {
    let home = home();
    for more in [&["--out", "/proc/run.pse"][..], &["--npy", "/proc/arrays"], &["--png", "/proc/pictures"]] {
        let output = attack(home.path(), &[&["--steps", "2"], more].concat()).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{more:?}: {text}");
        let said: Vec<&str> = text.lines().filter(|l| !l.contains("note:")).collect();
        assert!(said.len() == 1 && said[0].contains(more[1]), "{more:?}: {text}");
    }
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

fn step() -> StepRecord {
    StepRecord {
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
    }
}

#[test]
fn a_hundred_thousand_steps_need_little_memory() {
    let clean = Arc::new(Array3::<f32>::zeros((3, 8, 8)));
    let budget = 256 << 10;
    let trace = Trace::new(Arc::clone(&clean), 0, Some(1), budget);
    for i in 0..100_000u32 {
        trace.push(step(), clean.mapv(|_| i as f32 / 1e5).view());
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

/// The inspector without a terminal, an attack of three steps behind it, and the clock in the test's hands.
struct Watcher {
    model: Model,
    cache: ViewCache,
}

impl Watcher {
    fn after_an_attack() -> Self {
        let theme = Theme::new("terminal", Depth::True, false).expect("built in");
        let keymap = Keymap::new(&[]).expect("no conflicts");
        let attacks = Attacks(psescope::core::attack::REGISTRY);
        let model = Model::new("m.onnx".into(), "i.png".into(), theme, keymap, attacks, psescope::tui::default_attack());
        let mut watcher = Self { model, cache: ViewCache::default() };
        let image = Arc::new(Array3::<f32>::from_elem((3, 32, 32), 0.5));
        watcher.send(Msg::Engine(Event::Opened(Box::new(Opened {
            model: "m.onnx".into(),
            model_sha256: "0".repeat(64),
            image_path: "i.png".into(),
            provider: "CPU".into(),
            engine: "embedded".into(),
            preprocessing: "unit".into(),
            notices: vec![],
            labels: Arc::new(vec!["cat".into(), "dog".into()]),
            image: Arc::clone(&image),
            logits: vec![2.0, 1.0],
            layers: vec![],
            has_linear_head: false,
            no_gradient: None,
        }))));
        let asked = Key::parse_all("<space>").expect("a key").into_iter().flat_map(|key| watcher.send(Msg::Key(key))).collect::<Vec<_>>();
        let (run, request) = asked
            .into_iter()
            .find_map(|e| if let Effect::Engine(Asked::Attack { run, request, .. }) = e { Some((run, request)) } else { None })
            .expect("an attack is asked for");
        let trace = Arc::new(Trace::new(image, 0, None, 1 << 20));
        watcher.send(Msg::Engine(Event::Started { run, label: 0, target: None, request, trace: Arc::clone(&trace) }));
        for index in 0..3 {
            trace.push(step(), trace.clean.view());
            watcher.send(Msg::Engine(Event::Step { run, index }));
        }
        watcher.send(Msg::Engine(Event::Ended { run, ending: Ending::Done { success: false }, best: Some(2) }));
        watcher
    }

    fn send(&mut self, msg: Msg) -> Vec<Effect> {
        update(&mut self.model, msg)
    }

    fn at(&mut self, time: Duration) -> Vec<Effect> {
        self.send(Msg::Tick(time))
    }

    fn frame(&mut self) -> Buffer {
        let area = Rect::new(0, 0, 100, 30);
        let mut buffer = Buffer::empty(area);
        render(&self.model, &mut self.cache, area, &mut buffer);
        buffer
    }

    /// How much the model holds, told by how long it is when it is written out.
    fn weight(&self) -> usize {
        let mut model = self.model.clone();
        model.now = Duration::ZERO;
        format!("{model:?}").len()
    }
}

#[test]
fn a_day_of_idling_asks_for_nothing_and_grows_nothing() {
    let mut watcher = Watcher::after_an_attack();
    // Whatever the first minute still does.
    (0..60).for_each(|second| drop(watcher.at(Duration::from_secs(second))));
    let (frame, weight) = (watcher.frame(), watcher.weight());
    for second in 60..86_400u64 {
        assert!(watcher.at(Duration::from_secs(second)).is_empty(), "after {second} s");
        if second % 3600 == 0 {
            assert_eq!(watcher.frame(), frame, "after {second} s");
        }
    }
    assert_eq!(watcher.weight(), weight);
}

#[test]
fn clocks_that_jump_break_nothing() {
    let mut watcher = Watcher::after_an_attack();
    let year = Duration::from_secs(365 * 86_400);
    for time in [year, Duration::ZERO, 100 * year, Duration::from_millis(1), 1000 * year, year] {
        for key in Key::parse_all("2<right>1<left>?<esc>/").expect("keys") {
            watcher.at(time);
            watcher.send(Msg::Key(key));
            watcher.frame();
        }
    }
    // What it says still leaves.
    watcher.send(Msg::Told(psescope::tui::notice::Severity::Info, "a passing word".into()));
    let shown = |watcher: &mut Watcher| watcher.frame().content.iter().map(|c| c.symbol()).collect::<String>().contains("a passing word");
    assert!(shown(&mut watcher));
    watcher.at(year + Duration::from_secs(60));
    assert!(!shown(&mut watcher));
}

/// A run written before the system's epoch, as a clock that was never set has it, and files from the future.
#[test]
fn a_wrong_date_keeps_no_run_from_being_read() {
    let home = home();
    assert!(attack(home.path(), &["--steps", "2", "--out", "run.pse"]).output().expect("it runs").status.success());
    let read = file::load(&home.path().join("run.pse")).expect("it can be read");
    for written in [None, Some(0), Some(u64::MAX)] {
        let path = home.path().join("dated.pse");
        file::save(&path, &RunMeta { written, ..read.meta.clone() }, &read.trace).expect("saved");
        assert_eq!(file::load(&path).expect("read").meta.written, written);
        let mut command = Command::new(env!("CARGO_BIN_EXE_psescope"));
        let output = command.args(["export", "dated.pse", "--html", "-"]).current_dir(home.path()).output().expect("it runs");
        assert!(output.status.success(), "{written:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
