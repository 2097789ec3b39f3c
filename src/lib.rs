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

// Unit tests share code with the integration tests, which call the crate by its name.
#[cfg(test)]
extern crate self as psescope;

pub mod cli;
pub mod core;
pub mod engine;
pub mod report;
pub mod runtime;
pub mod tui;
