//! The worker that owns the sessions, and the trace it records.

use crossbeam_channel::{Receiver, Sender};

pub mod analysis;
pub mod browse;
pub mod command;
pub mod concepts;
pub mod control;
pub mod dissect;
pub mod event;
pub mod findings;
pub mod inspect;
pub mod keep;
pub mod recorded;
pub mod recorder;
pub mod reference;
pub mod region;
pub mod remember;
pub mod run;
pub mod sample;
pub mod selftest;
pub mod study;
pub mod subject;
pub mod together;
pub mod trace;
pub mod triage;
pub mod worker;

/// Reports and the interface write with it too.
pub use crate::runtime::files;

/// The two ends the interface holds of a running worker.
#[derive(Debug, Clone)]
pub struct Handle {
    /// To the worker.
    pub commands: Sender<command::Command>,
    /// From the worker.
    pub events: Receiver<event::Event>,
}
