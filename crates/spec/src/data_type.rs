//! Number formats, the bytes they take in memory with their block scales, and which class of tensor uses which.

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
    Fp4,
}

impl DataType {
    /// All formats, in the order they are listed to people.
    pub const ALL: [Self; 6] = [Self::Fp32, Self::Fp16, Self::Bf16, Self::Fp8, Self::Int8, Self::Fp4];

    /// The name in files, flags and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Fp4 => "fp4",
        }
    }

    /// Bits of one element without its scale.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Fp32 => 32,
            Self::Fp16 | Self::Bf16 => 16,
            Self::Fp8 | Self::Int8 => 8,
            Self::Fp4 => 4,
        }
    }

    /// Elements that share one scale, and the bytes of that scale.
    pub const fn scale_block(self) -> Option<(u64, u64)> {
        match self {
            Self::Fp32 | Self::Fp16 | Self::Bf16 => None,
            Self::Fp8 | Self::Int8 => Some((128 * 128, 4)),
            Self::Fp4 => Some((32, 1)),
        }
    }

    /// The block of a weight matrix that shares one scale: inputs and outputs. 4-bit blocks run along the inputs.
    pub const fn scale_tile(self) -> Option<(u64, u64)> {
        match self {
            Self::Fp32 | Self::Fp16 | Self::Bf16 => None,
            Self::Fp8 | Self::Int8 => Some((128, 128)),
            Self::Fp4 => Some((32, 1)),
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
#[error("unknown data type '{0}': allowed are fp32, fp16, bf16, fp8, int8, fp4")]
pub struct DataTypeError(pub String);

impl FromStr for DataType {
    type Err = DataTypeError;

    fn from_str(text: &str) -> Result<Self, DataTypeError> {
        Self::ALL.into_iter().find(|known| known.name() == text).ok_or_else(|| DataTypeError(text.into()))
    }
}

/// What a tensor is for; the precision is chosen per class.
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

/// The data type of each tensor class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Precision {
    /// Matrices. Default fp8: what public MoE endpoints store (sources.md#production-systems).
    pub weights: DataType,
    /// Norms, biases and router. Default bf16.
    pub small_weights: DataType,
    /// KV cache. Default bf16.
    pub kv_cache: DataType,
    /// Activations. Default fp16. Must be an arithmetic type.
    pub activations: DataType,
}

impl Default for Precision {
    fn default() -> Self {
        Self {
            weights: DataType::Fp8,
            small_weights: DataType::Bf16,
            kv_cache: DataType::Bf16,
            activations: DataType::Fp16,
        }
    }
}

impl Precision {
    /// The data type of a class.
    pub const fn of(&self, class: TensorClass) -> DataType {
        match class {
            TensorClass::Weights => self.weights,
            TensorClass::SmallWeights => self.small_weights,
            TensorClass::KvCache => self.kv_cache,
            TensorClass::Activations => self.activations,
        }
    }
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
        }
        assert!("fp12".parse::<DataType>().is_err());
    }
}
