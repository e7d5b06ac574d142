//! libFuzzer's door to the target `chat_request` of `crates/fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = wafersim_fuzzing::target::named("chat_request") {
        target.run(bytes);
    }
});
