//! `bin/fuzz liveleader_xml`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| chatlake_fuzz::liveleader_xml(input));
