//! Executing graphs: ONNX Runtime when there is one, the embedded engine otherwise.

pub mod backend;
