#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_keyship::fuzzing::fuzz_keyship(data));
