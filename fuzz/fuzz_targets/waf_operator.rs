//! See `buchner_fuzz::waf::operator`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::waf::operator(data));
