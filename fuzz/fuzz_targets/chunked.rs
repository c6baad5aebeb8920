//! See `buchner_fuzz::chunked`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::chunked(data));
