//! The one seam between psescope and whatever executes graphs.

use std::sync::Arc;

use ndarray::ArrayD;

use crate::core::error::Result;

/// A tensor that crosses the seam.
#[derive(Debug, Clone)]
pub enum Array {
    /// 32-bit floats.
    F32(ArrayD<f32>),
    /// 64-bit integers.
    I64(ArrayD<i64>),
}

/// Stops a run from another thread.
pub trait Interrupt: Send + Sync {
    /// Makes the run in progress (and later ones, until [`Interrupt::reset`]) end with `Error::Stopped`.
    fn stop(&self);
    /// Allows runs again.
    fn reset(&self);
}

/// A loaded graph.
pub trait Executor: Send {
    /// Runs the graph: named inputs, wanted outputs in order.
    fn run(&mut self, inputs: &[(&str, Array)], outputs: &[&str]) -> Result<Vec<ArrayD<f32>>>;

    /// Handle that stops a run.
    fn interrupt(&self) -> Arc<dyn Interrupt>;

    /// Execution provider that really runs it, as shown to people: `CPU`, `CUDA:0`, `TensorRT:0`.
    fn provider(&self) -> String;
}

/// An engine that loads graphs.
pub trait Backend: Send + Sync {
    /// Name and version, as shown to people: `onnxruntime 1.32`, `embedded (tract 0.23)`.
    fn describe(&self) -> String;

    /// Loads a serialised ONNX model.
    fn load(&self, model: &[u8]) -> Result<Box<dyn Executor>>;

    /// Batch size with the best throughput per image for one forward run.
    fn preferred_batch(&self) -> usize;

    /// Whether a graph runs once for a whole batch, so that it may compare the samples of a batch with each other.
    fn relates_samples(&self) -> bool {
        false
    }
}
