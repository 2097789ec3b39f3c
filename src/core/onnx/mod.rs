//! ONNX files: reading and writing, and the flat graph our passes work on.
//!
//! `pb` is generated from `onnx-ml.proto` (ONNX 1.23, Apache-2.0) and checked in, so that building needs no protoc.

mod inline;
mod ir;
mod opaque;
#[allow(missing_docs, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod pb;
pub mod read;
pub mod write;

pub use ir::{Attr, DType, Dim, Graph, Node, TensorData, TensorType, ValueInfo};
