//! Weights in 8 and 4 bit with a scale for each block: what is left of a number that is stored so.
//!
//! | format | elements | block (inputs x outputs) | scale | source |
//! |---|---|---|---|---|
//! | fp8 | e4m3, largest 448 | 128 x 128 | fp32, largest of the block / 448 | DeepSeek-V3 report, section 3.3 |
//! | int8 | -127 to 127 | 128 x 128 | fp32, largest of the block / 127 | |
//! | fp4 | e2m1, largest 6 | 32 x 1 | power of two | OCP Microscaling Formats 1.0 (MXFP4) |
//! | nvfp4 | e2m1, largest 6 | 16 x 1 | fp32, largest of the block / 6; checkpoints round it to e4m3 | NVIDIA ModelOpt |
//! | int4 | -7 to 7 | 128, 64 or 32 x 1 | fp32, largest of the block / 7; checkpoints round it to 16 bit | AWQ, GPTQ |
//!
//! Blocks begin at the first input and output of a matrix, wherever its tiles are cut. Quantising twice changes
//! nothing.

use wafersim_spec::DataType;

use crate::tensors::Tensor;

/// A small binary floating-point format without infinities.
#[derive(Debug, Clone, Copy)]
struct Minifloat {
    mantissa: i32,
    /// Exponent of the smallest normal number.
    least: i32,
    largest: f32,
}

const E4M3: Minifloat = Minifloat { mantissa: 3, least: -6, largest: 448.0 };
const E2M1: Minifloat = Minifloat { mantissa: 1, least: 0, largest: 6.0 };

/// A conversion of e4m3 to fp16 moves the bits and leaves the bias of the exponent as it is (7 in place of 15):
/// elements come out 2^8 too small, scales are kept 2^8 too large, and neither leaves the range of fp16 (a weight of
/// 0.02 has a scale near 4e-5, which fp16 would hold with 10 bits only). Ours.
const MOVED: f32 = 256.0;

impl Minifloat {
    /// The nearest number, ties to even; beyond the largest, the largest.
    fn round(self, value: f32) -> f32 {
        let exponent = ((value.abs().to_bits() >> 23) as i32 - 127).max(self.least);
        let step = 2.0f32.powi(exponent - self.mantissa);
        ((value / step).round_ties_even() * step).clamp(-self.largest, self.largest)
    }
}

/// The block scales of a matrix.
#[derive(Debug, Clone)]
pub struct Blocks {
    data_type: DataType,
    /// Inputs and outputs of a block.
    size: (usize, usize),
    /// Blocks along the inputs.
    along: usize,
    scales: Vec<f32>,
}

impl Blocks {
    /// The scales of a matrix that lies as rows of outputs; nothing for formats without scales.
    pub fn of(matrix: Tensor<'_>, data_type: DataType) -> Option<Self> {
        let (inputs, outputs) = data_type.scale_tile()?;
        let size = (inputs as usize, outputs as usize);
        let (rows, width) = (matrix.shape.first().copied()?, matrix.shape.get(1).copied()?);
        let (along, across) = (width.div_ceil(size.0), rows.div_ceil(size.1));
        let mut largest = vec![0.0f32; along * across];
        for output in 0..rows {
            for input in 0..width {
                let block = &mut largest[output / size.1 * along + input / size.0];
                *block = block.max((matrix.at(output * width + input) as f32).abs());
            }
        }
        let scales = largest.into_iter().map(|largest| scale(data_type, largest)).collect();
        Some(Self { data_type, size, along, scales })
    }

    /// The block of an input, among those along the inputs.
    pub const fn block_of(&self, input: usize) -> usize {
        input / self.size.0
    }

    /// The block of an output, among those along the outputs.
    pub const fn block_of_output(&self, output: usize) -> usize {
        output / self.size.1
    }

    /// The element that is stored for a value, as conversion leaves it.
    pub fn element(&self, input: usize, output: usize, value: f32) -> f32 {
        let scaled = value / self.true_scale(input, output);
        match self.data_type {
            DataType::Fp8 => E4M3.round(scaled) / MOVED,
            DataType::Fp4 | DataType::Nvfp4 => E2M1.round(scaled),
            DataType::Int4 | DataType::Int4Group64 | DataType::Int4Group32 => scaled.round_ties_even().clamp(-7.0, 7.0),
            _ => scaled.round_ties_even().clamp(-127.0, 127.0),
        }
    }

    fn true_scale(&self, input: usize, output: usize) -> f32 {
        let block = output / self.size.1 * self.along + input / self.size.0;
        self.scales.get(block).copied().unwrap_or(f32::NAN)
    }

    /// What an element is multiplied with.
    pub fn scale(&self, input: usize, output: usize) -> f32 {
        let moved = if self.data_type == DataType::Fp8 { MOVED } else { 1.0 };
        self.true_scale(input, output) * moved
    }
}

fn scale(data_type: DataType, largest: f32) -> f32 {
    if largest == 0.0 {
        return 1.0;
    }
    match data_type {
        DataType::Fp8 => largest / E4M3.largest,
        // The largest element has the exponent 2.
        DataType::Fp4 => 2.0f32.powi((largest.to_bits() >> 23) as i32 - 127 - 2),
        DataType::Nvfp4 => largest / E2M1.largest,
        DataType::Int4 | DataType::Int4Group64 | DataType::Int4Group32 => largest / 7.0,
        _ => largest / 127.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_formats_have_their_numbers() {
        let all = |format: Minifloat, step: f32| -> Vec<f32> {
            let mut found: Vec<f32> = Vec::new();
            let mut value = 0.0;
            while value <= format.largest {
                let rounded = format.round(value);
                if found.last() != Some(&rounded) {
                    found.push(rounded);
                }
                value += step;
            }
            found
        };
        assert_eq!(all(E2M1, 0.125), [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        // 7 numbers below the first exponent and zero, 15 binades of 8 but for the last, which lacks 480.
        assert_eq!(all(E4M3, 1.0 / 512.0).len(), 8 + 15 * 8 - 1);
        // Ties go to the even mantissa.
        assert_eq!([2.5, 3.5, 5.0, 7.0, -9.0].map(|value| E2M1.round(value)), [2.0, 4.0, 4.0, 6.0, -6.0]);
        assert_eq!([17.0, 19.0, 1000.0].map(|value| E4M3.round(value)), [16.0, 20.0, 448.0]);
    }

    proptest! {
        #[test]
        fn quantising_twice_changes_nothing(values in proptest::collection::vec(-3.0f32..3.0, 64)) {
            let with_scales = DataType::ALL.into_iter().filter(|data_type| data_type.scale_tile().is_some());
            for data_type in with_scales {
                let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
                let stored = |values: &[f32]| -> Vec<f32> {
                    let mut tensors = crate::tensors::Tensors::default();
                    tensors.put("w", vec![8, 8], bytes(values));
                    let blocks = tensors.get("w").and_then(|tensor| Blocks::of(tensor, data_type)).unwrap();
                    let at = |index: usize| (index % 8, index / 8);
                    let one = |(index, value): (usize, &f32)| {
                        let (input, output) = at(index);
                        blocks.element(input, output, *value) * blocks.scale(input, output)
                    };
                    values.iter().enumerate().map(one).collect()
                };
                let once = stored(&values);
                let twice = stored(&once);
                for ((value, once), twice) in values.iter().zip(&once).zip(&twice) {
                    prop_assert!((once - twice).abs() <= 1e-6 * once.abs(), "{data_type:?} {once} {twice}");
                    // Half a step: 2^-4 of the value, or a half of the largest over 127, or a quarter (and what is cut
                    // off).
                    let step = match data_type {
                        DataType::Fp8 => value.abs() / 16.0 + 3.0 / 448.0 / 512.0,
                        DataType::Fp4 => value.abs() / 3.0 + 0.2,
                        DataType::Nvfp4 => value.abs() / 4.0 + 3.0 / 6.0 / 4.0,
                        DataType::Int4 | DataType::Int4Group64 | DataType::Int4Group32 => 3.0 / 14.0,
                        _ => 3.0 / 254.0,
                    };
                    prop_assert!((once - value).abs() <= step * 1.001, "{data_type:?} {value} {once}");
                }
            }
        }
    }
}
