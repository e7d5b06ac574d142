//! Benches of wafersim, one file a subject, and in `measurements/` what silicon and trusted simulators measured.
//!
//! Run with `cargo bench -p wafersim-benches`. docs/performance.md keeps the last table.
