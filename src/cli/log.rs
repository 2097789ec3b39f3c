//! What `-v` shows without the interface.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt::time::Uptime};

/// Headless commands write to stderr when asked to. The interface has a log file instead: nothing may be written beside it.
pub fn init(verbose: u8) {
    if verbose == 0 {
        return;
    }
    let level = ["info", "debug", "trace"][usize::from(verbose.min(3)) - 1];
    let filter = EnvFilter::new(format!("warn,psescope={level}"));
    // A second call, in tests, changes nothing.
    let stderr = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let _ = stderr.with_timer(Uptime::default()).with_target(false).try_init();
}
