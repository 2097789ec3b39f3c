//! Pictures and arrays.
#![no_main]
#![allow(dead_code, reason = "the other targets use the rest of the readers")]

#[path = "../readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| readers::image(data));
