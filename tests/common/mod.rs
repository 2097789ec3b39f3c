//! Shared by the integration tests: engines, the gradient cases, comparisons.
#![allow(dead_code, missing_docs, reason = "every test file uses a part of it")]

pub mod faulty;
pub mod program;
pub mod session;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ndarray::ArrayD;
use psescope::runtime::{EngineChoice, Runtime, RuntimeOptions, backend::Backend};

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every engine this machine has: the embedded one, and ONNX Runtime when it is found. `PSESCOPE_TEST_ORT=required` makes its absence an error.
pub fn engines() -> Vec<Arc<dyn Backend>> {
    let mut engines = Vec::new();
    for engine in [EngineChoice::Embedded, EngineChoice::OnnxRuntime] {
        match Runtime::open(&RuntimeOptions { engine, threads: 1, ..RuntimeOptions::default() }) {
            Ok(runtime) => engines.push(runtime.backend()),
            Err(error) if engine == EngineChoice::OnnxRuntime => {
                assert!(std::env::var("PSESCOPE_TEST_ORT").as_deref() != Ok("required"), "ONNX Runtime is required here: {error}");
                eprintln!("skipped on ONNX Runtime: {error}");
            }
            Err(error) => eprintln!("skipped on the embedded engine: {error}"),
        }
    }
    assert!(!engines.is_empty(), "no engine at all");
    engines
}

/// EfficientNet-Lite0, when somebody fetched it with onnx/fetch_models.py.
pub fn lite0() -> Option<PathBuf> {
    let path = root().join("onnx/efficientnet-lite0.onnx");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there (onnx/fetch_models.py fetches it)", path.display());
    None
}

/// A float array of a case.
pub fn array(path: &Path) -> ArrayD<f32> {
    ndarray_npy::read_npy::<_, ArrayD<f32>>(path)
        .or_else(|_| ndarray_npy::read_npy::<_, ArrayD<f64>>(path).map(|a| a.mapv(|v| v as f32)))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// How far two arrays are apart.
#[derive(Debug, Clone, Copy)]
pub struct Distance {
    /// Cosine between them.
    pub cosine: f64,
    /// Largest difference over the largest reference value.
    pub relative: f64,
}

/// Compares a result with its reference.
pub fn distance(result: &ArrayD<f32>, reference: &ArrayD<f32>) -> Distance {
    assert_eq!(result.shape(), reference.shape());
    let (mut dot, mut a2, mut b2, mut worst, mut largest) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for (&a, &b) in result.iter().zip(reference) {
        let (a, b) = (f64::from(a), f64::from(b));
        assert!(a.is_finite(), "a value is not finite");
        dot += a * b;
        a2 += a * a;
        b2 += b * b;
        worst = worst.max((a - b).abs());
        largest = largest.max(b.abs());
    }
    Distance { cosine: dot / (a2 * b2).sqrt(), relative: worst / largest.max(1e-30) }
}
