//! See `buchner_fuzz::slot`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::slot(data));
