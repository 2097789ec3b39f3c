//! psescope: a terminal microscope for adversarial examples.
//!
//! ```text
//! core      pure: numbers in, numbers out. No files, threads, terminal, ONNX Runtime.
//!   ^
//! runtime   executes graphs, finds libraries and devices; implements core's Oracle
//!   ^
//! engine    worker thread, commands, events, trace recording
//!   ^
//! report    trace -> json, png, npy          tui   model, update, view
//!   ^                                          ^
//! cli       arguments, subcommands, exit codes
//! ```
//!
//! `tests/architecture.rs` keeps imports pointing this way.
//!
//! As a library, one example each (`cargo run --example NAME`): `gradient_graph` writes a model's gradient as ONNX, `attack` runs an attack,
//! `psr` says which cells of a perturbation promote and suppress, `cam` where a network looks, `dissection` what the units of a layer stand for.

// Unit tests share code with the integration tests, which call the crate by its name.
#[cfg(test)]
extern crate self as psescope;

pub mod cli;
pub mod core;
pub mod engine;
pub mod report;
pub mod runtime;
pub mod tui;
