#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_analysis::fuzzing::fuzz_recall(data));
