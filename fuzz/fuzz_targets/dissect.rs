#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_ibft_decode::fuzzing::fuzz_dissect(data));
