//! libFuzzer's door to the target `answer_script` of `crates/fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = wafersim_fuzzing::target::named("answer_script") {
        target.run(bytes);
    }
});
