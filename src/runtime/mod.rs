//! Executing graphs: ONNX Runtime when there is one, the embedded engine otherwise.
//!
//! ```text
//! discover -> open -> Backend (ort_backend | embedded) -> network: core's Oracle and Layers
//!                 \-> Report -> doctor
//! cache: graphs that took long to build           grad_model: gradient graphs exported elsewhere
//! install: fetch a library through pip or uv      model_file: .onnx and its external data
//! ```

pub mod affine;
pub mod backend;
pub mod cache;
pub mod discover;
pub mod doctor;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod files;
pub mod grad_model;
pub mod install;
pub mod interrupt;
pub mod model_file;
pub mod network;
pub mod open;
pub mod options;
pub mod ort_backend;
mod ort_device;
mod ort_replay;
mod ort_resident;
pub mod paths;
pub mod placement;
pub mod quiet;
mod tensorrt;

pub use affine::Affine;
pub use cache::GraphCache;
pub use grad_model::GradModel;
pub use network::Network;
pub use open::{Report, Runtime};
pub use options::{Device, EngineChoice, RuntimeOptions};
