//! libFuzzer's door to the target `packet_trace` of `crates/fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = wafersim_fuzzing::target::named("packet_trace") {
        target.run(bytes);
    }
});
