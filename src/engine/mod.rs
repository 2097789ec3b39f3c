//! The worker that owns the sessions, and the trace it records.

pub mod command;
pub mod control;
pub mod event;
pub mod trace;
