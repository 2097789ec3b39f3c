//! The record of an attack: scalars of every step, frames within a byte budget. Append-only and shared with readers.

mod budget;
pub mod file;
pub mod maps;
mod store;

pub use store::{Frame, StepRecord, Trace};
