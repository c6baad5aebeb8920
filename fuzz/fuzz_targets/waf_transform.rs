//! See `buchner_fuzz::waf::transform`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| buchner_fuzz::waf::transform(data));
