//! See `buchner_fuzz::request`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::request(data));
