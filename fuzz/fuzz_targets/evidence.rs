#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_evidence::fuzzing::fuzz_bundle(data));
