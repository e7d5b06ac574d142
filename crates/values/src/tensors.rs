//! Tensors of safetensors files, as they lie in the files' bytes. Knows no model.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::error::ValuesError;

/// The tensors of one or several files, by name. The bytes stay as they were read; elements are converted when asked
/// for.
#[derive(Debug, Clone, Default)]
pub struct Tensors {
    files: Vec<Vec<u8>>,
    tensors: BTreeMap<String, Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    file: usize,
    first: usize,
    last: usize,
    shape: Vec<usize>,
    format: Format,
}

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Fp32,
    Fp64,
    Fp16,
    Bf16,
    Int32,
    Int64,
}

/// One tensor.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Sizes of its dimensions.
    pub shape: &'a [usize],
    bytes: &'a [u8],
    format: Format,
}

impl Tensors {
    /// The tensors of files, each with its name for messages.
    ///
    /// # Errors
    /// Where a file is no safetensors file, holds a number format that is not read, or a tensor that another has as
    /// well.
    pub fn read(files: Vec<(String, Vec<u8>)>) -> Result<Self, ValuesError> {
        let mut all = Self::default();
        for (file, (name, bytes)) in files.into_iter().enumerate() {
            let refuse = |problem: String| ValuesError::File { file: name.clone(), problem };
            let (header, metadata) = SafeTensors::read_metadata(&bytes)
                .map_err(|error| refuse(format!("is no safetensors file: {error}")))?;
            for tensor in metadata.offset_keys() {
                let Some(info) = metadata.info(&tensor) else { continue };
                let format = match info.dtype {
                    Dtype::F32 => Format::Fp32,
                    Dtype::F64 => Format::Fp64,
                    Dtype::F16 => Format::Fp16,
                    Dtype::BF16 => Format::Bf16,
                    Dtype::I32 => Format::Int32,
                    Dtype::I64 => Format::Int64,
                    other => {
                        return Err(refuse(format!(
                            "holds '{tensor}' in {other:?}; allowed are F32, F16, BF16 (and F64, I32, I64 in a reference)"
                        )));
                    }
                };
                let start = header + 8;
                let (first, last) = (start + info.data_offsets.0, start + info.data_offsets.1);
                let elements = info.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
                if last > bytes.len()
                    || first > last
                    || elements.and_then(|elements| elements.checked_mul(format.width())) != Some(last - first)
                {
                    return Err(refuse(format!("is cut off or damaged at '{tensor}'")));
                }
                let stored = Stored { file, first, last, shape: info.shape.clone(), format };
                if all.tensors.insert(tensor.clone(), stored).is_some() {
                    return Err(refuse(format!("holds '{tensor}', which another file holds as well")));
                }
            }
            all.files.push(bytes);
        }
        Ok(all)
    }

    /// Puts a tensor of 32-bit numbers (their bytes) under a name, in place of one that was there.
    pub fn put(&mut self, name: &str, shape: Vec<usize>, bytes: Vec<u8>) {
        let (file, last) = (self.files.len(), bytes.len());
        self.files.push(bytes);
        self.tensors.insert(name.to_owned(), Stored { file, first: 0, last, shape, format: Format::Fp32 });
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<Tensor<'_>> {
        let stored = self.tensors.get(name)?;
        let bytes = self.files.get(stored.file)?.get(stored.first..stored.last)?;
        Some(Tensor { shape: &stored.shape, bytes, format: stored.format })
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

impl Format {
    const fn width(self) -> usize {
        match self {
            Self::Fp32 | Self::Int32 => 4,
            Self::Fp64 | Self::Int64 => 8,
            Self::Fp16 | Self::Bf16 => 2,
        }
    }
}

impl Tensor<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.format.width()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the elements are real numbers of at most 32 bit, as weights are.
    pub fn is_weight(&self) -> bool {
        matches!(self.format, Format::Fp32 | Format::Fp16 | Format::Bf16)
    }

    /// An element, counted row by row; not a number outside the tensor.
    pub fn at(&self, index: usize) -> f64 {
        fn of<const N: usize>(bytes: &[u8], index: usize) -> Option<[u8; N]> {
            bytes.get(index.checked_mul(N)?..)?.first_chunk::<N>().copied()
        }
        let value = match self.format {
            Format::Fp32 => of(self.bytes, index).map(|bytes| f64::from(f32::from_le_bytes(bytes))),
            Format::Fp64 => of(self.bytes, index).map(f64::from_le_bytes),
            Format::Fp16 => of(self.bytes, index).map(|bytes| f16::from_le_bytes(bytes).to_f64()),
            Format::Bf16 => of(self.bytes, index).map(|bytes| bf16::from_le_bytes(bytes).to_f64()),
            Format::Int32 => of(self.bytes, index).map(|bytes| f64::from(i32::from_le_bytes(bytes))),
            Format::Int64 => of(self.bytes, index).map(|bytes| i64::from_le_bytes(bytes) as f64),
        };
        value.unwrap_or(f64::NAN)
    }

    /// All elements, row by row.
    pub fn values(&self) -> Vec<f64> {
        (0..self.len()).map(|index| self.at(index)).collect()
    }
}

/// The files that a `model.safetensors.index.json` names, each once, in order of name.
///
/// # Errors
/// Where the text is no such index, or names a file outside its folder.
pub fn files_of_index(text: &str, file: &str) -> Result<Vec<String>, ValuesError> {
    let refuse = |problem: String| ValuesError::File { file: file.into(), problem };
    let index: serde_json::Value =
        serde_json::from_str(text).map_err(|error| refuse(format!("is no JSON: {error}")))?;
    let Some(map) = index.get("weight_map").and_then(serde_json::Value::as_object) else {
        return Err(refuse("has no object 'weight_map'".into()));
    };
    let mut names = Vec::new();
    for (tensor, name) in map {
        match name.as_str() {
            Some(name) if !name.is_empty() && !name.contains(['/', '\\']) && name != ".." => {
                names.push(name.to_owned());
            }
            _ => {
                return Err(refuse(format!("'{tensor}' is in {name}; allowed is the name of a file beside the index")));
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}
