#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bftap_decrypt::fuzzing::fuzz_keylog(data));
