#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_lab_node::fuzzing::fuzz_lab_connection(data));
