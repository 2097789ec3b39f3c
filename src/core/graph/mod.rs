//! The compiler: passes over ONNX graphs.
