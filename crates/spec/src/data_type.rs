//! Number formats, and the bytes they take in memory with their block scales. Which tensor is stored in which is
//! [`crate::precision`]'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// A number format that a tensor can be stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// IEEE single precision.
    Fp32,
    /// IEEE half precision.
    Fp16,
    /// bfloat16.
    Bf16,
    /// 8-bit floating point (E4M3). Scales are one fp32 per 128 x 128 block of a weight (DeepSeek-V3, Qwen3 FP8
    /// checkpoints).
    Fp8,
    /// 8-bit integer, one fp32 scale per 128 x 128 block, like `Fp8`.
    Int8,
    /// 4-bit floating point with one 8-bit scale per 32 elements (OCP MXFP4): 4.25 bits per element.
    #[serde(alias = "mxfp4")]
    Fp4,
    /// 4-bit floating point with one 8-bit scale per 16 elements (NVFP4): 4.5 bits per element. The one fp32 scale of a
    /// whole tensor is not counted.
    Nvfp4,
    /// 4-bit integer with one 16-bit scale per 128 elements, the usual group of AWQ and GPTQ: 4.125 bits per element.
    /// Zero points (4 bits per group, where a checkpoint has them) are not counted.
    Int4,
    /// The same in groups of 64: 4.25 bits per element.
    #[serde(rename = "int4-g64")]
    Int4Group64,
    /// The same in groups of 32: 4.5 bits per element.
    #[serde(rename = "int4-g32")]
    Int4Group32,
}

impl DataType {
    /// All formats, in the order they are listed to people.
    pub const ALL: [Self; 10] = [
        Self::Fp32,
        Self::Fp16,
        Self::Bf16,
        Self::Fp8,
        Self::Int8,
        Self::Fp4,
        Self::Nvfp4,
        Self::Int4,
        Self::Int4Group64,
        Self::Int4Group32,
    ];

    /// Further names that are read: of the standard that `fp4` follows.
    pub const ALIASES: [(&'static str, Self); 1] = [("mxfp4", Self::Fp4)];

    /// The name in files, flags and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Fp4 => "fp4",
            Self::Nvfp4 => "nvfp4",
            Self::Int4 => "int4",
            Self::Int4Group64 => "int4-g64",
            Self::Int4Group32 => "int4-g32",
        }
    }

    /// Bits of one element without its scale.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Fp32 => 32,
            Self::Fp16 | Self::Bf16 => 16,
            Self::Fp8 | Self::Int8 => 8,
            Self::Fp4 | Self::Nvfp4 | Self::Int4 | Self::Int4Group64 | Self::Int4Group32 => 4,
        }
    }

    /// Elements that share one scale, and the bytes of that scale.
    pub const fn scale_block(self) -> Option<(u64, u64)> {
        match self {
            Self::Fp32 | Self::Fp16 | Self::Bf16 => None,
            Self::Fp8 | Self::Int8 => Some((128 * 128, 4)),
            Self::Fp4 => Some((32, 1)),
            Self::Nvfp4 => Some((16, 1)),
            Self::Int4 => Some((128, 2)),
            Self::Int4Group64 => Some((64, 2)),
            Self::Int4Group32 => Some((32, 2)),
        }
    }

    /// The block of a weight matrix that shares one scale: inputs and outputs. 4-bit blocks run along the inputs.
    pub const fn scale_tile(self) -> Option<(u64, u64)> {
        match self {
            Self::Fp32 | Self::Fp16 | Self::Bf16 => None,
            Self::Fp8 | Self::Int8 => Some((128, 128)),
            Self::Fp4 | Self::Int4Group32 => Some((32, 1)),
            Self::Nvfp4 => Some((16, 1)),
            Self::Int4 => Some((128, 1)),
            Self::Int4Group64 => Some((64, 1)),
        }
    }

    /// Scales that a processing element needs for a tile of a weight matrix, where tiles are cut along the blocks: a
    /// block over several processing elements has a copy of its scale in each.
    pub const fn scales_of_tile(self, inputs: u64, outputs: u64) -> u64 {
        match self.scale_tile() {
            None => 0,
            Some((along, across)) => inputs.div_ceil(along).saturating_mul(outputs.div_ceil(across)),
        }
    }

    /// Bytes of those scales beyond the tile's share of the scales that [`Self::storage`] counts.
    pub const fn copied_scales(self, inputs: u64, outputs: u64) -> Bytes {
        match self.scale_block() {
            None => Bytes(0),
            Some((block, bytes)) => {
                let share = (inputs as u128 * outputs as u128 * bytes as u128 / block as u128) as u64;
                Bytes(self.scales_of_tile(inputs, outputs).saturating_mul(bytes).saturating_sub(share))
            }
        }
    }

    /// Bytes that `elements` take, block scales included, each rounded up to whole bytes and whole scales.
    pub const fn storage(self, elements: u64) -> Bytes {
        let data = (elements as u128 * self.bits() as u128).div_ceil(8);
        let scales = match self.scale_block() {
            None => 0,
            Some((block, bytes)) => (elements as u128).div_ceil(block as u128) * bytes as u128,
        };
        let total = data + scales;
        Bytes(if total > u64::MAX as u128 { u64::MAX } else { total as u64 })
    }

    /// Whether the processing elements compute in it directly; the others are converted to 16 bit first.
    pub const fn is_arithmetic(self) -> bool {
        matches!(self, Self::Fp32 | Self::Fp16 | Self::Bf16)
    }

    /// Wavelets (32-bit payloads) that carry `elements`. Two 16-bit values ride in one wavelet.
    pub const fn wavelets(self, elements: u64) -> u64 {
        ((elements as u128 * self.bits() as u128).div_ceil(32)) as u64
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that is no [`DataType`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown data type '{0}': allowed are fp32, fp16, bf16, fp8, int8, fp4 (or mxfp4), nvfp4, int4, int4-g64, int4-g32"
)]
pub struct DataTypeError(pub String);

impl FromStr for DataType {
    type Err = DataTypeError;

    fn from_str(text: &str) -> Result<Self, DataTypeError> {
        let alias = Self::ALIASES.into_iter().find(|(alias, _)| *alias == text).map(|(_, known)| known);
        let known = Self::ALL.into_iter().find(|known| known.name() == text).or(alias);
        known.ok_or_else(|| DataTypeError(text.into()))
    }
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorClass {
    /// Matrices that are multiplied: projections, experts, LM head, embedding table.
    Weights,
    /// Norm gains, biases and the router, which every public quantised checkpoint keeps in 16 bit.
    SmallWeights,
    /// Keys and values of past tokens.
    KvCache,
    /// What flows between operators.
    Activations,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_scales_are_counted() {
        assert_eq!(DataType::Fp4.storage(32), Bytes(17));
        assert_eq!(DataType::Fp4.storage(33), Bytes(17 + 2));
        assert_eq!(DataType::Fp8.storage(128 * 128), Bytes(16_384 + 4));
        assert_eq!(DataType::Fp16.storage(3), Bytes(6));
        // 128 elements: 64 bytes, and 8 scales of one byte, or 1, 2 and 4 of two.
        let of_128 = [DataType::Nvfp4, DataType::Int4, DataType::Int4Group64, DataType::Int4Group32];
        assert_eq!(of_128.map(|data_type| data_type.storage(128)), [72, 66, 68, 72].map(Bytes));
        assert_eq!(DataType::Fp4.storage(u64::MAX), Bytes(u64::MAX / 2 + 1 + u64::MAX / 32 + 1));
    }

    #[test]
    fn every_tile_has_its_scales() {
        assert_eq!(DataType::Fp8.copied_scales(11, 7), Bytes(4));
        assert_eq!(DataType::Fp8.copied_scales(130, 7), Bytes(8));
        assert_eq!(DataType::Fp8.copied_scales(128, 256), Bytes(0));
        assert_eq!(DataType::Fp8.copied_scales(0, 7), Bytes(0));
        // One 8-bit scale for each output, of which 77 / 32 are counted with the elements.
        assert_eq!(DataType::Fp4.copied_scales(11, 7), Bytes(7 - 2));
        assert_eq!(DataType::Fp4.scales_of_tile(33, 7), 14);
        assert_eq!(DataType::Fp16.copied_scales(11, 7), Bytes(0));
    }

    #[test]
    fn two_halves_ride_in_one_wavelet() {
        assert_eq!(DataType::Fp16.wavelets(3), 2);
        assert_eq!(DataType::Fp32.wavelets(3), 3);
        assert_eq!(DataType::Fp8.wavelets(5), 2);
    }

    #[test]
    fn names_read_back() {
        for data_type in DataType::ALL {
            assert_eq!(data_type.name().parse(), Ok(data_type));
            assert_eq!(serde_json::to_value(data_type).unwrap(), data_type.name());
        }
        assert_eq!("mxfp4".parse(), Ok(DataType::Fp4));
        assert!("fp12".parse::<DataType>().is_err());
    }
}
