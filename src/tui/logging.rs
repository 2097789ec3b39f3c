//! The log file while the interface is open: `psescope.log` in the state folder. Never the terminal.

use std::fs;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use crate::engine::keep;

/// Keeps the log being written; dropping it writes what is left.
#[derive(Debug)]
pub struct Log {
    _guard: WorkerGuard,
}

/// A log larger than this is put aside as `psescope.log.old` at the next start.
const LARGE: u64 = 4 << 20;

/// Starts logging. Level 0 keeps warnings, and what this program finds worth noting; 1 adds its details; 2 adds everything, also of
/// the libraries. `PSESCOPE_LOG` (in the syntax of `RUST_LOG`) overrides the level. `None` when there is nowhere to write, or when
/// something logs already.
pub fn init(level: u8) -> Option<Log> {
    let folder = keep::state_dir()?;
    fs::create_dir_all(&folder).ok()?;
    let file = folder.join("psescope.log");
    if fs::metadata(&file).is_ok_and(|m| m.len() > LARGE) {
        fs::rename(&file, folder.join("psescope.log.old")).ok()?;
    }
    // Asked here, so that an unwritable folder is silence and not a panic of the appender.
    fs::OpenOptions::new().create(true).append(true).open(&file).ok()?;
    let (writer, guard) = tracing_appender::non_blocking(tracing_appender::rolling::never(&folder, "psescope.log"));
    let usual = match level {
        0 => "warn,psescope=info",
        1 => "info,psescope=debug",
        _ => "debug,psescope=trace",
    };
    let filter = EnvFilter::try_from_env("PSESCOPE_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).try_init().ok()?;
    tracing::info!("psescope {} opened", env!("CARGO_PKG_VERSION"));
    Some(Log { _guard: guard })
}
