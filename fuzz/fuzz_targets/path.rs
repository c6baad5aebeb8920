//! See `buchner_fuzz::path`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::path(data));
