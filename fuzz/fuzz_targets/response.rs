//! See `buchner_fuzz::response`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::response(data));
