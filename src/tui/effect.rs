//! What the model wants done in the world. `update` only returns these.

use std::{path::PathBuf, sync::Arc};

use crate::{
    engine::{
        browse::Kind,
        command::Command,
        control::Control,
        findings::Findings,
        remember::Recent,
        trace::{Frame, Trace, file::RunMeta, maps::Maps},
        triage::{Row, part::Metadata},
    },
    report::Format,
    tui::open::Purpose,
};

/// Something to do outside the model.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Tell the worker.
    Engine(Command),
    /// Ask a job to end at its next step.
    Stop(Control),
    /// Pause or resume a job.
    Pause(Control, bool),
    /// Put text on the clipboard (OSC 52).
    Copy(String),
    /// Write the adversarial image of a step as `[1, C, H, W]` float32.
    Save(PathBuf, Arc<Frame>),
    /// Write the rows of the triage as Parquet and CSV, under this stem.
    Table(PathBuf, Vec<Row>, Box<Metadata>),
    /// Write the run and its explanations under this name, unless it is taken.
    Keep(PathBuf, Box<(RunMeta, Maps)>, Arc<Trace>),
    /// Write a report under this name, unless it is taken.
    Report(&'static Format, PathBuf, Box<Findings>),
    /// Read a folder for the file dialog.
    List(PathBuf),
    /// Find out what a typed path stands for, and use it.
    Find(String, Option<Kind>, Purpose),
    /// Read a recorded run.
    Load(PathBuf),
    /// Read the person's themes.
    Themes,
    /// Remember what was opened, the newest first.
    Remember(Vec<Recent>),
    /// Go to the background.
    Suspend,
    /// Draw everything again.
    Redraw,
    /// Leave.
    Quit,
}
