//! Both engines on the same graphs, and what happens when libraries are missing, broken or switched.
//!
//! The ONNX Runtime half needs a library: `PSESCOPE_TEST_ORT`, or one that psescope finds by itself. Without one it says that
//! it was skipped.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use ndarray::{Array1, ArrayD};
use psescope::{
    core::{
        error::Error,
        onnx::{Attr, DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo, write},
    },
    runtime::{
        Device, EngineChoice, Runtime, RuntimeOptions,
        backend::{Array, Backend, Executor},
        discover::Source,
        doctor, install,
        open::Verdict,
        ort_backend,
    },
};

const N: Dim = Dim::Batch(1);

/// The library to test with. One per process.
fn library() -> Option<PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let named = std::env::var_os("PSESCOPE_TEST_ORT").map(PathBuf::from);
        let options =
            RuntimeOptions { ort_lib: named, engine: EngineChoice::OnnxRuntime, device: Device::Cpu, ..RuntimeOptions::default() };
        Runtime::open(&options).ok()?.report().library.clone()
    };
    let found = LIBRARY.get_or_init(find).clone();
    if found.is_none() {
        eprintln!("skipped: no ONNX Runtime was found; set PSESCOPE_TEST_ORT to a library");
    }
    found
}

fn options(library: PathBuf) -> RuntimeOptions {
    RuntimeOptions { ort_lib: Some(library), device: Device::Cpu, threads: 1, ..RuntimeOptions::default() }
}

fn embedded() -> RuntimeOptions {
    RuntimeOptions { engine: EngineChoice::Embedded, threads: 2, ..RuntimeOptions::default() }
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn value(name: &str, dtype: DType, dims: &[Dim]) -> ValueInfo {
    ValueInfo { name: name.into(), ty: TensorType { dtype, shape: Some(dims.to_vec()) } }
}

fn weight(g: &mut Graph, name: &str, dims: &[usize], seed: u64) {
    g.initializers.insert(name.into(), TensorData::f32(dims, &noise(dims.iter().product(), seed)));
}

/// A small classifier with a cross-entropy head that takes labels and a scalar.
fn classifier() -> Vec<u8> {
    let ints = |v: &[i64]| Attr::Ints(v.to_vec());
    let mut g = Graph {
        ir_version: 8,
        opset: 17,
        inputs: vec![
            value("image", DType::F32, &[N, Dim::Fixed(3), Dim::Fixed(16), Dim::Fixed(16)]),
            value("labels", DType::I64, &[N]),
            value("weights", DType::F32, &[N]),
            value("kappa", DType::F32, &[]),
        ],
        outputs: vec![value("logits", DType::F32, &[N, Dim::Fixed(5)]), value("loss", DType::F32, &[N])],
        ..Graph::default()
    };
    weight(&mut g, "w1", &[8, 3, 3, 3], 1);
    weight(&mut g, "b1", &[8], 2);
    weight(&mut g, "w2", &[8, 1, 3, 3], 3);
    weight(&mut g, "w3", &[5, 8], 4);
    weight(&mut g, "b3", &[5], 5);
    g.initializers.insert("axes".into(), TensorData::i64(&[1], &[1]));
    g.nodes = vec![
        Node::new("Conv", &["image", "w1", "b1"], &["c1"]).with("pads", ints(&[1, 1, 1, 1])).with("kernel_shape", ints(&[3, 3])),
        Node::new("Relu", &["c1"], &["r1"]),
        Node::new("MaxPool", &["r1"], &["p1"]).with("kernel_shape", ints(&[2, 2])).with("strides", ints(&[2, 2])),
        Node::new("Conv", &["p1", "w2"], &["c2"]).with("group", 8i64).with("strides", ints(&[2, 2])).with("kernel_shape", ints(&[3, 3])),
        Node::new("GlobalAveragePool", &["c2"], &["g"]),
        Node::new("Flatten", &["g"], &["f"]),
        Node::new("Gemm", &["f", "w3", "b3"], &["z"]).with("transB", 1i64),
        Node::new("Mul", &["z", "kappa"], &["logits"]),
        Node::new("LogSoftmax", &["logits"], &["ls"]).with("axis", 1i64),
        Node::new("Unsqueeze", &["labels", "axes"], &["l2"]),
        Node::new("GatherElements", &["ls", "l2"], &["picked"]).with("axis", 1i64),
        Node::new("Squeeze", &["picked", "axes"], &["p"]),
        Node::new("Mul", &["p", "weights"], &["wp"]),
        Node::new("Neg", &["wp"], &["loss"]),
    ];
    write::to_bytes(&g)
}

fn run(executor: &mut dyn Executor, n: usize) -> Vec<ArrayD<f32>> {
    let image = ArrayD::from_shape_vec(vec![n, 3, 16, 16], noise(n * 768, 9)).unwrap();
    let labels: Array1<i64> = (0..n).map(|i| (i % 5) as i64).collect();
    let weights: Array1<f32> = (0..n).map(|i| 1.0 + i as f32).collect();
    let inputs = [
        ("image", Array::F32(image)),
        ("labels", Array::I64(labels.into_dyn())),
        ("weights", Array::F32(weights.into_dyn())),
        ("kappa", Array::F32(ndarray::arr0(2.0).into_dyn())),
    ];
    executor.run(&inputs, &["loss", "logits"]).unwrap()
}

fn distance(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn a_bad_ort_lib_is_a_hard_error_and_doctor_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("libonnxruntime.so");
    std::fs::write(&text, "not a library").unwrap();
    for bad in [dir.path().join("absent.so"), text] {
        let options = RuntimeOptions { ort_lib: Some(bad.clone()), skip_python: true, ..RuntimeOptions::default() };
        let error = Runtime::open(&options).err().unwrap();
        assert!(matches!(error, Error::Engine(_)));
        assert!(error.to_string().starts_with(&format!("--ort-lib {}", bad.display())), "{error}");
        let doctor = doctor::gather(&options);
        assert_eq!(doctor.libraries[0].source, Source::Flag);
        assert!(matches!(doctor.libraries[0].verdict, Verdict::Rejected(_)));
        assert!(doctor.libraries[1..].iter().all(|r| r.verdict == Verdict::NotTried));
    }
    let folder = RuntimeOptions { ort_lib: Some("/".into()), ..RuntimeOptions::default() };
    assert!(Runtime::open(&folder).is_err());
}

#[test]
fn a_bad_library_in_the_configuration_is_reported_and_passed_over() {
    let options = RuntimeOptions {
        config_ort_lib: Some("/nowhere/lib.so".into()),
        device: Device::Cpu,
        skip_python: true,
        ..RuntimeOptions::default()
    };
    let records = psescope::runtime::open::survey(&options).records;
    // A library that ORT_DYLIB_PATH names is looked at earlier, and when that one is good nothing else is tried.
    let at = records.iter().position(|r| r.source == Source::Config).unwrap();
    assert!(records[..at].iter().all(|r| r.source == Source::Variable), "{records:?}");
    if records[..at].iter().any(|r| r.verdict == Verdict::Chosen) {
        assert_eq!(records[at].verdict, Verdict::NotTried);
        return;
    }
    assert!(matches!(records[at].verdict, Verdict::Rejected(_)), "{records:?}");
    assert!(records.len() == at + 1 || records[at + 1].verdict != Verdict::NotTried);
}

#[cfg(feature = "embedded")]
#[test]
fn a_named_gpu_is_never_replaced_by_the_processor() {
    for device in [Device::Cuda(0), Device::TensorRt(1)] {
        let error = Runtime::open(&RuntimeOptions { device, ..embedded() }).err().unwrap();
        assert!(error.to_string().contains(&device.to_string()), "{error}");
    }
    let Some(library) = library() else { return };
    // 99 is a GPU that no machine has, so a GPU build must fail too.
    let error = Runtime::open(&RuntimeOptions { device: Device::Cuda(99), ..options(library) }).err().unwrap();
    assert!(error.to_string().starts_with("CUDA:99 cannot be used"), "{error}");
}

#[cfg(feature = "embedded")]
#[test]
fn both_engines_agree() {
    let Some(library) = library() else { return };
    let ort = Runtime::open(&options(library)).unwrap();
    let own = Runtime::open(&embedded()).unwrap();
    let model = classifier();
    let mut a = ort.backend().load(&model).unwrap();
    let mut b = own.backend().load(&model).unwrap();
    for n in [1, 7] {
        let (a, b) = (run(&mut *a, n), run(&mut *b, n));
        assert!(distance(&a[0], &b[0]) < 1e-5 && distance(&a[1], &b[1]) < 1e-5, "batch {n}");
        assert_eq!(a[0].shape(), [n]);
    }
    assert_eq!(a.provider(), "CPU");
}

#[test]
fn lanes_part_the_threads_and_compute_the_same() {
    let Some(library) = library() else { return };
    let with = |threads: usize| Runtime::open(&RuntimeOptions { threads, ..options(library.clone()) }).unwrap().backend();
    let model = classifier();
    let whole = run(&mut *with(1).load(&model).unwrap(), 3);
    for (threads, lanes) in [(1, 0), (2, 2), (3, 3), (7, 4)] {
        let lanes_of = with(threads).lanes();
        assert_eq!(lanes_of.len(), lanes, "{threads} threads");
        for lane in lanes_of {
            assert!(distance(&run(&mut *lane.load(&model).unwrap(), 3)[1], &whole[1]) < 1e-5);
            assert!(lane.lanes().len() <= 2, "its share of the threads, not all");
        }
    }
}

#[cfg(feature = "embedded")]
#[test]
fn the_embedded_engine_gives_way_to_onnx_runtime_while_running() {
    let mut runtime = Runtime::open(&embedded()).unwrap();
    let model = classifier();
    let mut before = runtime.backend().load(&model).unwrap();
    let first = run(&mut *before, 2);
    assert!(runtime.report().library.is_none() && runtime.backend().describe().starts_with("embedded"));
    let Some(library) = library() else { return };
    assert!(runtime.rescan(&options(library.clone())).unwrap());
    assert_eq!(runtime.report().library.as_deref(), Some(library.as_path()));
    assert!(runtime.backend().describe().starts_with("onnxruntime 1."));
    let mut after = runtime.backend().load(&model).unwrap();
    assert!(distance(&first[1], &run(&mut *after, 2)[1]) < 1e-5);
    // What was loaded before goes on working, and there is nothing better to find now.
    assert_eq!(first, run(&mut *before, 2));
    assert!(!runtime.rescan(&options(library)).unwrap());
}

#[cfg(unix)]
#[test]
fn a_second_library_is_refused_with_a_reason() {
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("libonnxruntime.so.1");
    std::fs::copy(&library, &copy).unwrap();
    let error = Runtime::open(&options(copy)).err().unwrap().to_string();
    assert!(error.contains("loaded already") && error.contains("restart"), "{error}");
    // The same file under another name is the same library.
    let link = dir.path().join("link.so");
    std::os::unix::fs::symlink(&library, &link).unwrap();
    assert!(Runtime::open(&options(link)).is_ok());
}

/// Enough work for seconds.
fn slow() -> (Vec<u8>, ArrayD<f32>) {
    let side = Dim::Fixed(900);
    let mut g = Graph {
        ir_version: 8,
        opset: 17,
        inputs: vec![value("x0", DType::F32, &[N, side, side])],
        outputs: vec![value("x60", DType::F32, &[N, side, side])],
        ..Graph::default()
    };
    for i in 0..60 {
        let (from, to) = (format!("x{i}"), format!("x{}", i + 1));
        g.nodes.push(Node::new("MatMul", &[&from, &from], &[&to]));
    }
    (write::to_bytes(&g), ArrayD::from_elem(vec![2, 900, 900], 1e-4))
}

fn stops(backend: Arc<dyn Backend>) {
    let (model, x) = slow();
    let mut executor = backend.load(&model).unwrap();
    let interrupt = executor.interrupt();
    let stopper = {
        let interrupt = interrupt.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            interrupt.stop();
            Instant::now()
        })
    };
    let result = executor.run(&[("x0", Array::F32(x.clone()))], &["x60"]);
    let ended = Instant::now();
    let asked = stopper.join().unwrap();
    assert!(matches!(result, Err(Error::Stopped)), "finished: {}", result.is_ok());
    assert!(ended.saturating_duration_since(asked) < Duration::from_secs(10));
    // Stopped until reset.
    assert!(matches!(executor.run(&[("x0", Array::F32(x))], &["x60"]), Err(Error::Stopped)));
    let mut small = backend.load(&classifier()).unwrap();
    small.interrupt().stop();
    small.interrupt().reset();
    assert_eq!(run(&mut *small, 1)[1].shape(), [1, 5]);
}

#[cfg(feature = "embedded")]
#[test]
fn a_run_on_the_embedded_engine_can_be_stopped() {
    stops(Runtime::open(&embedded()).unwrap().backend());
}

#[test]
fn a_run_on_onnx_runtime_can_be_stopped() {
    let Some(library) = library() else { return };
    stops(Runtime::open(&options(library)).unwrap().backend());
}

#[test]
fn broken_graphs_and_inputs_are_errors_on_onnx_runtime() {
    let Some(library) = library() else { return };
    let backend = Runtime::open(&options(library.clone())).unwrap().backend();
    for bytes in [&b""[..], b"nonsense", &classifier()[..300]] {
        let error = backend.load(bytes).err().unwrap().to_string();
        assert!(!error.contains('\n') && error.contains("cannot load the graph"), "{error}");
    }
    let mut executor = backend.load(&classifier()).unwrap();
    let image = ArrayD::zeros(vec![1, 3, 8, 8]);
    let error = executor.run(&[("image", Array::F32(image))], &["logits"]).unwrap_err();
    assert!(matches!(error, Error::Engine(_)) && !error.to_string().contains('\n'), "{error}");
    assert!(install::verify(&library).unwrap().starts_with("onnxruntime 1."));
    assert!(ort_backend::probe(&library).unwrap() >= ort_backend::MINIMUM_MINOR);
}
