//! `bin/fuzz liveleader_times`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chatlake_fuzz::liveleader_times(input));
