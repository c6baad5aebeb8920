//! See `buchner_fuzz::cgi`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::cgi(data));
