//! Rounding of results to the format of the buffer that they are stored in.
//!
//! Every element operation rounds its result once (to nearest, ties to even). A multiply-accumulate of 16-bit values is
//! exact in its product (11 + 11 bits fit the 24 of fp32), is added in fp32 and rounded; this differs from a fused
//! operation only where the fp32 sum falls on a tie of the narrow format. In fp32 product and sum are rounded each.

use half::{bf16, f16};
use wafersim_spec::DataType;

/// How results are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To 24 bits: as computed.
    Fp32,
    /// To 11 bits, with the exponents of half precision.
    Fp16,
    /// To 8 bits.
    Bf16,
}

impl Rounding {
    /// The rounding of a data type; formats that nothing is computed in round like fp16.
    pub const fn of(data_type: DataType) -> Self {
        match data_type {
            DataType::Fp32 => Self::Fp32,
            DataType::Bf16 => Self::Bf16,
            _ => Self::Fp16,
        }
    }

    /// The nearest value of the format.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::Fp32 => value,
            Self::Fp16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    /// `y[i] += x w[i]`, one multiply-accumulate an element: a mapped operation.
    pub fn accumulate(self, y: &mut [f32], x: f32, w: &[f32]) {
        match self {
            Self::Fp32 => y.iter_mut().zip(w).for_each(|(y, w)| *y += x * w),
            _ => y.iter_mut().zip(w).for_each(|(y, w)| *y = self.round(*y + x * w)),
        }
    }

    /// Rounds in place.
    pub fn round_all(self, values: &mut [f32]) {
        if self != Self::Fp32 {
            values.iter_mut().for_each(|value| *value = self.round(*value));
        }
    }
}
