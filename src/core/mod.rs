//! Pure computation: numbers in, numbers out. No files, threads, terminal or ONNX Runtime.

pub mod attack;
pub mod colour;
pub mod dissect;
pub mod error;
pub mod explain;
pub mod graph;
pub mod onnx;
pub mod oracle;
pub mod scalars;
pub mod stats;
pub mod stepper;
pub mod tensor;
