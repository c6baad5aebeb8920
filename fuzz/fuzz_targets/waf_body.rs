//! See `buchner_fuzz::waf::body`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::waf::body(data));
