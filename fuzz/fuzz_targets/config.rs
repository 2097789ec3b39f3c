//! The configuration file, themes, what is remembered, and the key parser.
#![no_main]

use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use psescope::{
    cli::config::Config,
    engine::remember,
    tui::{
        keymap::{Key, Keymap},
        theme::custom,
    },
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(keys) = Key::parse_all(text) {
        for key in keys {
            let _ = (key.show(true), key.show(false), key.typed());
        }
    }
    let _ = (custom::parse(text, Path::new("fuzz.toml")), remember::read(text));
    let _ = Keymap::new(&[("quit".into(), text.into())]);
    let path = PathBuf::from(format!("/dev/shm/psescope-fuzz-config-{}.toml", std::process::id()));
    std::fs::write(&path, text).expect("/dev/shm is writable");
    if let Ok(config) = Config::load(Some(&path)) {
        let _ = (config.keys(), config.color(), config.seed(), config.attack(), config.params("pgd"), config.ort_lib());
    }
    let _ = std::fs::remove_file(&path);
});
