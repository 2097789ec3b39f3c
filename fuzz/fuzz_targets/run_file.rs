//! A recorded run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use psescope::engine::trace::file;

fuzz_target!(|data: &[u8]| {
    let Ok(run) = file::parse(data) else { return };
    let _ = run.result();
    for step in 0..run.trace.len().min(64) {
        let _ = run.trace.nearest_frame(step);
    }
    for class in [run.meta.label].into_iter().chain(run.meta.target) {
        let _ = run.meta.name(class);
    }
});
