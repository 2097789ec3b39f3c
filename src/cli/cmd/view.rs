//! `psescope view`: the inspector on a recorded run, without its model.

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use super::tui::{Terminal, inspect};
use crate::{
    cli::{args::ModelArgs, exit::Done},
    engine::recorded::Recorded,
};

/// The inspector on a recorded run.
#[derive(Debug, Args)]
pub struct ViewCommand {
    /// A run written by `psescope attack --out`, or saved in the inspector.
    run: PathBuf,
    /// The model it was recorded on, when it is not where it was; O opens it in the inspector.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Folder of images: screen 5 gives changes of units over each unit's standard deviation there.
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    terminal: Terminal,
    #[command(flatten)]
    model_args: ModelArgs,
}

impl ViewCommand {
    /// Opens the inspector; `verbose` is for its log file.
    pub fn run(self, verbose: u8) -> anyhow::Result<Done> {
        let recorded = Recorded::open(&self.run, self.model.as_deref())?;
        inspect(&self.terminal, &self.model_args, self.reference, verbose, |options| options.recorded = Some(Arc::new(recorded)))
    }
}
