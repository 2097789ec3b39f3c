//! `psescope generate`: what the program knows about itself, for shells, manuals and configuration.

use std::path::PathBuf;

use clap::{CommandFactory, Subcommand};

use super::man;
use crate::{
    cli::{Cli, config, exit::Done},
    tui,
};

/// Completions, man page, configuration, key table, theme.
#[derive(Debug, Subcommand)]
pub enum GenerateCommand {
    /// Completions for a shell.
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
    /// The man page of the program or of one of its commands, in roff.
    Man {
        /// Command, such as attack.
        command: Option<String>,
        /// Write the page of the program and those of all its commands into this folder.
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        out: Option<PathBuf>,
    },
    /// The configuration with every key and its default, commented out.
    Config,
    /// Every key, as a Markdown table.
    Keys,
    /// A theme with every colour, commented out.
    Theme,
}

impl GenerateCommand {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<Done> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Completions { shell } => clap_complete::generate(shell, &mut Cli::command(), "psescope", &mut out),
            Self::Man { command: None, out: Some(folder) } => man::write_all(&folder)?,
            Self::Man { command, .. } => std::io::Write::write_all(&mut out, &man::page(command.as_deref())?)?,
            Self::Config => std::io::Write::write_all(&mut out, config::TEMPLATE.as_bytes())?,
            Self::Theme => std::io::Write::write_all(&mut out, tui::theme::custom::template().as_bytes())?,
            Self::Keys => std::io::Write::write_all(&mut out, tui::keys_markdown().as_bytes())?,
        }
        Ok(Done::Yes)
    }
}
