#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_pipeline::fuzzing::fuzz_journal(data));
