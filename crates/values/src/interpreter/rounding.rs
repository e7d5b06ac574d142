//! Rounding of results to the format of the buffer that they are stored in.
//!
//! Every element operation rounds its result once (to nearest, ties to even). A multiply-accumulate of 16-bit values is
//! exact in its product (11 + 11 bits fit the 24 of fp32), is added in fp32 and rounded; this differs from a fused
//! operation only where the fp32 sum falls on a tie of the narrow format. In fp32 product and sum are rounded each.

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
            Self::Fp16 => fp16(value),
            Self::Bf16 => bf16(value),
        }
    }

    /// `y[i] += x w[i]` for one `(x, w)` after the other, one multiply-accumulate an element: mapped operations.
    pub(super) fn accumulate<'w>(self, y: &mut [f32], terms: impl Iterator<Item = (f32, &'w [f32])>) {
        match self {
            Self::Fp32 => accumulate(y, terms, |sum| sum),
            Self::Fp16 => accumulate(y, terms, fp16),
            Self::Bf16 => accumulate(y, terms, bf16),
        }
    }

    /// Rounds in place.
    pub fn round_all(self, values: &mut [f32]) {
        if self != Self::Fp32 {
            values.iter_mut().for_each(|value| *value = self.round(*value));
        }
    }
}

fn accumulate<'w>(y: &mut [f32], mut terms: impl Iterator<Item = (f32, &'w [f32])>, round: impl Fn(f32) -> f32 + Copy) {
    // Four at a time: sums are loaded and stored once for all of them.
    loop {
        match [(); 4].map(|()| terms.next()) {
            [Some(a), Some(b), Some(c), Some(d)] => add_terms(y, [a, b, c, d], round),
            rest => return rest.into_iter().flatten().for_each(|term| add_terms(y, [term], round)),
        }
    }
}

fn add_terms<const N: usize>(y: &mut [f32], terms: [(f32, &[f32]); N], round: impl Fn(f32) -> f32) {
    let length = terms.iter().fold(y.len(), |length, (_, w)| length.min(w.len()));
    let terms = terms.map(|(x, w)| (x, &w[..length]));
    for (at, sum) in y[..length].iter_mut().enumerate() {
        *sum = terms.iter().fold(*sum, |sum, (x, w)| round(sum + x * w[at]));
    }
}

/// The bits of a number without its sign.
const MAGNITUDE: u32 = 0x7FFF_FFFF;
/// The magnitude of infinity; those of what is no number lie above.
const INFINITE: u32 = 0x7F80_0000;
/// What tells a quiet one of these.
const QUIET: u32 = 0x0040_0000;

/// The magnitude rounded to leave `dropped` bits out, ties to even.
const fn without(magnitude: u32, dropped: u32) -> u32 {
    let half = (1 << (dropped - 1)) - 1;
    magnitude.wrapping_add(half + (magnitude >> dropped & 1)) >> dropped << dropped
}

/// To half precision and back. All cases are worked out and one is taken, so that loops run over several numbers at
/// once.
fn fp16(value: f32) -> f32 {
    /// Below this (2^-14), numbers are multiples of 2^-24.
    const NORMAL: u32 = 0x3880_0000;
    /// 65,504.
    const LARGEST: u32 = 0x477F_E000;
    let magnitude = value.to_bits() & MAGNITUDE;
    let normal = without(magnitude, 13);
    let normal = if normal > LARGEST { INFINITE } else { normal };
    // What is added to 0.5 is rounded to multiples of 2^-24.
    let small = (f32::from_bits(magnitude) + 0.5 - 0.5).to_bits();
    let number = if magnitude < NORMAL { small } else { normal };
    let nothing = magnitude >> 13 << 13 | QUIET;
    let rounded = if magnitude > INFINITE { nothing } else { number };
    f32::from_bits(value.to_bits() & !MAGNITUDE | rounded)
}

/// To the upper half of the bits.
fn bf16(value: f32) -> f32 {
    let magnitude = value.to_bits() & MAGNITUDE;
    let rounded = if magnitude > INFINITE { magnitude >> 16 << 16 | QUIET } else { without(magnitude, 16) };
    f32::from_bits(value.to_bits() & !MAGNITUDE | rounded)
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::Rounding;

    /// All numbers of both formats, what lies between neighbours, and what lies beside that.
    #[test]
    fn numbers_are_rounded_as_the_crate_half_does() {
        for upper in 0..=u16::MAX {
            let halves = [f16::from_bits(upper).to_f32().to_bits(), u32::from(upper) << 16];
            let near = [0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF, 0x7FFF, 0x8000, 0x8001, 0xFFFF];
            for bits in halves.iter().flat_map(|bits| near.map(|more| bits.wrapping_add(more))) {
                let value = f32::from_bits(bits);
                for (rounding, known) in
                    [(Rounding::Fp16, f16::from_f32(value).to_f32()), (Rounding::Bf16, bf16::from_f32(value).to_f32())]
                {
                    assert_eq!(rounding.round(value).to_bits(), known.to_bits(), "{rounding:?} {bits:#x}");
                }
            }
            // Half a unit of numbers below 2^-14, and its neighbours.
            let middle = (f32::from(upper) + 0.5) * 2.0f32.powi(-24);
            for value in [middle, f32::from_bits(middle.to_bits() - 1), f32::from_bits(middle.to_bits() + 1)] {
                assert_eq!(Rounding::Fp16.round(value), f16::from_f32(value).to_f32(), "{value:e}");
            }
        }
    }
}
