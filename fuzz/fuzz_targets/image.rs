//! Pictures and arrays, under the limits of the loader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use psescope::core::tensor::{Preprocess, image};

fuzz_target!(|data: &[u8]| {
    if image::is_npy(data) {
        let _ = image::read_npy(data);
        let _ = image::from_npy(data, [3, 2, 2]);
    }
    let preprocess = Preprocess::preset("imagenet", [8, 8]).expect("a preset");
    if let Ok(array) = image::load(data, &preprocess) {
        assert_eq!(array.dim(), (3, 8, 8));
        assert!(array.iter().all(|v| (0.0..=1.0).contains(v)));
    }
});
