//! Label lists and preprocessing files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use psescope::core::tensor::{
    configs,
    labels::{self, Labels},
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(list) = Labels::parse(text, "fuzz") {
        assert!(list.names().iter().all(|n| !n.chars().any(char::is_control)), "a terminal would obey this");
        let _ = list.find(text);
    }
    let _ = Labels::from_config(text, "fuzz");
    let _ = labels::clean(text);
    for size in [None, Some([8, 8])] {
        if let Ok(Some(found)) = configs::parse(text, "fuzz", size) {
            let again = configs::parse(&configs::to_json(&found), "again", size).expect("what is written is read back");
            assert!(again.is_some());
        }
    }
});
