#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_capture::fuzzing::fuzz_packet(data));
