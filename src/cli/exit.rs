//! Exit codes: a contract that scripts rely on.

use std::process::ExitCode;

use clap::CommandFactory;

use super::{
    Cli,
    config::{self, Stop},
    tell,
};
use crate::{core::error::Error, engine::subject::GRAD_MODEL_HINT};

/// How a command that did its work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Everything asked for was done.
    Yes,
    /// Done, but the attack did not reach its goal, and `--exit-code` asked to say so.
    Robust,
}

/// Parses arguments, runs, reports an error on stderr in one sentence, and gives the exit code.
pub fn run_and_exit_code() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let cli = match config::parse(&Cli::command, &args).and_then(|matches| Ok(Cli::from_matches(&matches)?)) {
        Ok(cli) => cli,
        Err(Stop::Clap(error)) => {
            // Help and version are no errors; clap knows which stream they belong to.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
        Err(Stop::Config(error)) => {
            tell::complain(error);
            return ExitCode::from(2);
        }
    };
    match cli.run() {
        Ok(Done::Yes) => ExitCode::SUCCESS,
        Ok(Done::Robust) => ExitCode::from(1),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = matches!(error.downcast_ref(), Some(Error::MissingRules(_))).then(|| format!("; {GRAD_MODEL_HINT}"));
            tell::complain(format_args!("{error:#}{}", hint.unwrap_or_default()));
            ExitCode::from(code(&error))
        }
    }
}

fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::Parameter(_)) => 2,
        Some(Error::Engine(_)) => 4,
        Some(Error::Stopped) => 130,
        Some(Error::Input(_) | Error::Model(_) | Error::MissingRules(_)) | None => 3,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
