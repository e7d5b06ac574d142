//! What each part of a certificate may be at most.

use wafersim_check::crosscheck::LIMIT_PERCENT;
use wafersim_spec::wafer::Key;
use wafersim_spec::{Bytes, Wafer};
use wafersim_values::Tolerance;

/// What each part may be at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of a processing element; absent: those that the placement was made for.
    pub memory: Option<Bytes>,
    /// Colors of a router.
    pub colors: u32,
    /// Per cent by which the fabric may deviate from the closed form, either way.
    pub deviation_percent: f64,
    /// How far a small model may be from its equations.
    pub numbers: Tolerance,
}

impl Limits {
    /// Those of a wafer, the limit of `simctl crosscheck`, and the tolerance of sums of 32 bit.
    pub fn of(wafer: &Wafer) -> Self {
        let colors = wafer.figure(Key::Colors).value as u32;
        Self { memory: None, colors, deviation_percent: LIMIT_PERCENT, numbers: Tolerance::FP32 }
    }
}
