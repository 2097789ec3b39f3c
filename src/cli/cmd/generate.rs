//! `psescope generate`: what the program knows about itself, for shells, manuals and configuration.

use clap::{CommandFactory, Subcommand};

use crate::{
    cli::{Cli, exit::Done},
    tui,
};

/// Completions, man page, key table.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// Completions for a shell.
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
    /// The man page, in roff.
    Man,
    /// Every key, as a Markdown table.
    Keys,
}

impl GenerateCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Completions { shell } => clap_complete::generate(shell, &mut Cli::command(), "psescope", &mut out),
            Self::Man => clap_mangen::Man::new(Cli::command()).render(&mut out)?,
            Self::Keys => std::io::Write::write_all(&mut out, tui::keys_markdown().as_bytes())?,
        }
        Ok(Done::Yes)
    }
}
