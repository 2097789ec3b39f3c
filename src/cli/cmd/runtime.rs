//! `psescope runtime`: ONNX Runtime in the user's cache.

use std::path::PathBuf;

use clap::Subcommand;

use crate::{
    cli::{exit::Done, progress},
    runtime::install,
};

/// ONNX Runtime in the user's cache.
#[derive(Debug, Subcommand)]
pub enum RuntimeCommand {
    /// Fetch ONNX Runtime through pip or uv into the user's cache; psescope finds it there by itself.
    Install {
        /// The build for NVIDIA GPUs (several hundred megabytes).
        #[arg(long)]
        gpu: bool,
    },
    /// Load a library and print its version.
    #[command(hide = true)]
    Verify {
        /// Library.
        path: PathBuf,
    },
}

impl RuntimeCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        match self {
            Self::Install { gpu } => {
                let spinner = progress::spinner("fetching ONNX Runtime");
                let library = install::install(gpu, &mut |line| spinner.set_message(line.to_owned()))?;
                spinner.finish_and_clear();
                say!("installed {}", library.display());
            }
            Self::Verify { path } => say!("{}", install::verify(&path)?),
        }
        Ok(Done::Yes)
    }
}
