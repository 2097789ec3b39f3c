//! What `-v` shows without the interface.

use tracing_subscriber::EnvFilter;

/// Headless commands write to stderr when asked to. The interface has a log file instead: nothing may be written beside it.
pub fn init(verbose: u8) {
    if verbose == 0 {
        return;
    }
    let level = ["info", "debug", "trace"][usize::from(verbose.min(3)) - 1];
    let filter = EnvFilter::new(format!("warn,psescope={level}"));
    // A second call, in tests, changes nothing.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).compact().try_init();
}
