//! The log while the interface is open: `psescope.log` in the state folder, and the newest lines in memory for the log dialog. Never the
//! terminal.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, prelude::*};

use crate::engine::keep;

/// Keeps the log being written; dropping it writes what is left.
#[derive(Debug)]
pub struct Log {
    _guard: Option<WorkerGuard>,
}

/// A log larger than this is put aside as `psescope.log.old` at the next start.
const LARGE: u64 = 4 << 20;
/// Lines kept in memory.
const KEPT: usize = 500;
/// Longest line kept in memory, in characters.
const LONGEST: usize = 2000;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counts all lines, also those forgotten.
    pub number: u64,
    /// Since the log began.
    pub at: Duration,
    /// How important.
    pub level: Level,
    /// Part of the program.
    pub target: String,
    /// What happened, without control characters.
    pub text: String,
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<Line>,
    next: u64,
}

/// The newest lines, shared between the threads that log and the interface.
#[derive(Debug, Clone)]
pub struct Ring {
    lines: Arc<Mutex<Lines>>,
    begun: Instant,
}

impl Default for Ring {
    fn default() -> Self {
        Self { lines: Arc::default(), begun: Instant::now() }
    }
}

impl Ring {
    /// Adds a line; the oldest goes when there are too many.
    pub fn push(&self, at: Duration, level: Level, target: &str, text: &str) {
        let mut kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line { number: kept.next, at, level, target: clean(target), text: clean(text) };
        kept.next += 1;
        if kept.lines.len() == KEPT {
            kept.lines.pop_front();
        }
        kept.lines.push_back(line);
    }

    /// All kept, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().cloned().collect()
    }

    /// How many lines there were so far.
    pub fn count(&self) -> u64 {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).next
    }
}

/// Text from anywhere (file names, libraries' messages) that is safe on a terminal.
fn clean(text: &str) -> String {
    text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl<S: Subscriber> Layer<S> for Ring {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let meta = event.metadata();
        self.push(self.begun.elapsed(), *meta.level(), meta.target(), text.0.trim());
    }
}

/// The message, then the other fields as `name=value`.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a text does not fail.
        let _ = match field.name() {
            "message" => {
                let rest = std::mem::take(&mut self.0);
                write!(self.0, "{value:?}{rest}")
            }
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Starts logging, into the file and into `ring`. Level 0 keeps warnings, and what this program finds worth noting; 1 adds its details; 2
/// adds everything, also of the libraries. `PSESCOPE_LOG` (in the syntax of `RUST_LOG`) overrides the level. `None` when something logs
/// already. Where there is nowhere to write, the lines are only kept in memory.
pub fn init(level: u8, ring: &Ring) -> Option<Log> {
    let usual = match level {
        0 => "warn,psescope=info",
        1 => "info,psescope=debug",
        _ => "debug,psescope=trace",
    };
    let in_memory = if level < 2 { "info,psescope=debug" } else { usual };
    let (writer, guard) = keep::state_dir().and_then(|folder| file(&folder)).unzip();
    let filter = EnvFilter::try_from_env("PSESCOPE_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let to_file = writer.map(|writer| tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer).with_filter(filter));
    let kept = ring.clone().with_filter(EnvFilter::new(in_memory));
    tracing_subscriber::registry().with(to_file).with(kept).try_init().ok()?;
    tracing::info!("psescope {} opened", env!("CARGO_PKG_VERSION"));
    Some(Log { _guard: guard })
}

fn file(folder: &Path) -> Option<(NonBlocking, WorkerGuard)> {
    fs::create_dir_all(folder).ok()?;
    let file = folder.join("psescope.log");
    if fs::metadata(&file).is_ok_and(|m| m.len() > LARGE) {
        fs::rename(&file, folder.join("psescope.log.old")).ok()?;
    }
    // Asked here, so that an unwritable folder is silence and not a panic of the appender.
    fs::OpenOptions::new().create(true).append(true).open(&file).ok()?;
    Some(tracing_appender::non_blocking(tracing_appender::rolling::never(folder, "psescope.log")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_lines_and_no_control_characters() {
        let ring = Ring::default();
        let logging = tracing_subscriber::registry().with(ring.clone());
        tracing::subscriber::with_default(logging, || {
            tracing::warn!(steps = 3, "red \u{1b}[31m{}", "name\r\n");
            for i in 0..KEPT {
                tracing::info!("line {i}");
            }
        });
        let lines = ring.lines();
        assert_eq!((lines.len(), ring.count()), (KEPT, KEPT as u64 + 1));
        assert_eq!((lines[0].number, lines[0].text.as_str()), (1, "line 0"));
        let ring = Ring::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(ring.clone()), || {
            tracing::warn!(steps = 3, "red \u{1b}[31m")
        });
        assert_eq!(ring.lines()[0].text, "red  [31m steps=3");
        assert_eq!(ring.lines()[0].level, Level::WARN);
        ring.push(Duration::ZERO, Level::INFO, "x", &"y".repeat(3 * LONGEST));
        assert_eq!(ring.lines()[1].text.len(), LONGEST);
    }
}
