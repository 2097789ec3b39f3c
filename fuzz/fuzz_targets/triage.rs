//! Triage results and journals.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use psescope::engine::triage::{journal, summary::Summary, table};

fuzz_target!(|data: &[u8]| {
    let path = PathBuf::from(format!("/dev/shm/psescope-fuzz-triage-{}", std::process::id()));
    std::fs::write(&path, data).expect("/dev/shm is writable");
    if let Ok((rows, _)) = table::read(&path) {
        let _ = Summary::of(&rows);
    }
    if let Some((settings, rows)) = journal::peek(&path) {
        let _ = Summary::of(&rows);
        let (_, again) = journal::Journal::open(&path, &settings).expect("its own settings fit");
        assert_eq!(again.len(), rows.len());
    }
    let _ = std::fs::remove_file(&path);
});
