//! `RUN.pse`: what is written is read back, other readers can read it too, and damaged or newer files are refused with a sentence.

use std::{path::Path, process::Command, sync::Arc};

use ndarray::Array3;
use psescope::engine::trace::{
    StepRecord, Trace,
    file::{self, RunMeta},
};
use tempfile::TempDir;

fn record(predicted: usize, other_logit: f32) -> StepRecord {
    StepRecord {
        index: 0,
        loss: f32::INFINITY,
        terms: vec![("c".into(), 0.5)],
        top: vec![(predicted, 3.0), (7, 1.0)],
        true_logit: 3.0,
        target_logit: Some(1.0),
        other_logit,
        log_sum_exp: 3.2,
        predicted,
        l0: 4,
        l1: 0.4,
        l2: 0.2,
        linf: 0.1,
        seconds: 0.01,
    }
}

fn run() -> (RunMeta, Trace) {
    let clean = Arc::new(Array3::from_shape_fn((3, 4, 5), |(c, y, x)| (c * 20 + y * 5 + x) as f32 / 64.0));
    let trace = Trace::new(Arc::clone(&clean), 2, Some(7), 1 << 20);
    for i in 0..3usize {
        trace.push(record(if i == 2 { 7 } else { 2 }, f32::NEG_INFINITY), (&*clean + i as f32 * 0.125).view());
    }
    trace.mark_best(1);
    let meta = RunMeta {
        format: file::VERSION,
        version: "0".into(),
        model: "model.onnx".into(),
        model_sha256: "00".into(),
        image: "image.png".into(),
        preprocessing: "preset unit".into(),
        provider: "CPU".into(),
        attack: "ifgsm".into(),
        params: vec![("eps".into(), "8/255".into())],
        seed: 3,
        label: 2,
        target: Some(7),
        within: None,
        success: true,
        best: trace.best(),
        names: vec![(2, "koala".into()), (7, "panda".into())],
        steps: trace.with_steps(<[_]>::to_vec),
        ..RunMeta::default()
    };
    (meta, trace)
}

fn written(folder: &TempDir) -> std::path::PathBuf {
    let (meta, trace) = run();
    let path = folder.path().join("run.pse");
    file::save(&path, &meta, &trace).expect("saved");
    path
}

#[test]
fn a_run_comes_back_as_it_was() {
    let folder = TempDir::new().expect("a folder");
    let back = file::load(&written(&folder)).expect("loaded");
    let (meta, trace) = run();
    assert_eq!(back.meta.steps.len(), 3);
    assert_eq!(back.meta.steps[2].predicted, meta.steps[2].predicted);
    assert_eq!(back.meta.steps[0].other_logit, f32::NEG_INFINITY);
    assert_eq!(back.trace.frames(), trace.frames());
    for index in trace.frames() {
        assert_eq!(back.trace.frame(index).expect("kept").delta, trace.frame(index).expect("kept").delta);
    }
    assert_eq!((back.trace.best(), back.trace.label, back.trace.target), (Some(1), 2, Some(7)));
    assert_eq!(back.trace.flipped_at(), Some(2));
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1, "no temporary file is left");
}

#[test]
fn damaged_and_newer_files_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let bytes = std::fs::read(written(&folder)).expect("readable");
    for cut in [0, 1, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(file::parse(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut flipped = bytes.clone();
    flipped[0] = 0xff;
    assert!(file::parse(&flipped).is_err());

    let (mut meta, trace) = run();
    meta.format = file::VERSION + 1;
    let newer = folder.path().join("newer.pse");
    file::save(&newer, &meta, &trace).expect("saved");
    let why = file::load(&newer).expect_err("newer").to_string();
    assert!(why.contains("newer") && why.contains("newer.pse"), "{why}");
    assert!(file::save(Path::new("/nowhere/at/all.pse"), &meta, &trace).is_err());
}

/// The five lines of the documentation, run by whatever Python has numpy and safetensors.
#[test]
fn python_reads_it() {
    let folder = TempDir::new().expect("a folder");
    let path = written(&folder);
    let script = "import sys, json\nfrom safetensors import safe_open\nf = safe_open(sys.argv[1], 'np')\nmeta = json.loads(f.metadata()['psescope'])\nprint(meta['attack'], f.get_tensor('frames').shape, f.get_tensor('frame_steps').tolist())";
    let output = Command::new("python3").args(["-c", script]).arg(&path).output();
    match output {
        Ok(output) if output.status.success() => {
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ifgsm (3, 3, 4, 5) [0, 1, 2]");
        }
        _ => eprintln!("skipped: no python3 with numpy and safetensors"),
    }
}
