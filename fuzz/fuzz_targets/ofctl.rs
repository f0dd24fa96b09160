#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_guard::fuzzing::fuzz_ofctl(data));
