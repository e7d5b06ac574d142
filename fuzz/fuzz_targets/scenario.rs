//! libFuzzer's door to the target `scenario` of `crates/fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = wafersim_fuzzing::target::named("scenario") {
        target.run(bytes);
    }
});
