//! libFuzzer's door to the target `stream_scenario` of `crates/fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = wafersim_fuzzing::target::named("stream_scenario") {
        target.run(bytes);
    }
});
