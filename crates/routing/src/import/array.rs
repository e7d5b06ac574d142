//! NumPy arrays: `.npy` in versions 1 to 3 (numpy.lib.format), and what their axes are.

use super::{Found, Imported, Shape, whole_counts};
use crate::error::RoutingError;

/// An array of numbers, the last axis fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub format: &'static str,
    pub shape: Vec<usize>,
    pub integers: bool,
    pub values: Vec<f64>,
}

/// Most numbers of an array.
const MOST_NUMBERS: usize = 1 << 28;

/// Reads a `.npy`.
pub fn npy(bytes: &[u8], format: &'static str) -> Result<Array, RoutingError> {
    let wrong = |reason: &str| RoutingError::import(format, reason);
    let version = *bytes.get(6).ok_or_else(|| wrong("ends in its header"))?;
    let (length, start) = match version {
        1 => (bytes.get(8..10).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]]))), 10),
        2 | 3 => (bytes.get(8..12).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]) as usize), 12),
        _ => return Err(wrong("is of a version that is not known; allowed: 1 to 3")),
    };
    let length = length.ok_or_else(|| wrong("ends in its header"))?;
    let end = start + length;
    let header = bytes.get(start..end).and_then(|header| std::str::from_utf8(header).ok());
    let header = header.ok_or_else(|| wrong("ends in its header"))?;
    let descr = between(header, "'descr': '", "'").ok_or_else(|| wrong("has no simple type in its header"))?;
    if header.contains("'fortran_order': True") {
        return Err(wrong("is in Fortran order; convert it: numpy.ascontiguousarray"));
    }
    let shape = between(header, "'shape': (", ")").ok_or_else(|| wrong("has no shape in its header"))?;
    let shape: Option<Vec<usize>> =
        shape.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect();
    let shape = shape.ok_or_else(|| wrong("has a shape that is none"))?;
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let count = count.filter(|count| *count <= MOST_NUMBERS).ok_or_else(|| wrong("has more than 2^28 numbers"))?;
    let (values, integers) = numbers(bytes.get(end..).unwrap_or_default(), descr, count).ok_or_else(|| {
        RoutingError::import(
            format,
            format!(
                "of type {}: allowed are integers and floats of 8 to 64 bits, little endian, all numbers there",
                crate::import::shortened(descr)
            ),
        )
    })?;
    Ok(Array { format, shape, integers, values })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(inside, _)| inside)
}

/// So many numbers, and whether they are integers.
pub fn numbers(bytes: &[u8], descr: &str, count: usize) -> Option<(Vec<f64>, bool)> {
    macro_rules! of {
        ($type:ty) => {{
            let size = size_of::<$type>();
            let all = bytes.get(..count.checked_mul(size)?)?.chunks_exact(size);
            all.map(|one| one.try_into().ok().map(|one| <$type>::from_le_bytes(one) as f64))
                .collect::<Option<Vec<_>>>()?
        }};
    }
    let kind = descr.trim_start_matches(['<', '|', '=']);
    let values = match kind {
        "i1" => of!(i8),
        "u1" => of!(u8),
        "i2" => of!(i16),
        "u2" => of!(u16),
        "i4" => of!(i32),
        "u4" => of!(u32),
        "i8" => of!(i64),
        "u8" => of!(u64),
        "f4" => of!(f32),
        "f8" => of!(f64),
        _ => return None,
    };
    Some((values, !kind.starts_with('f')))
}

impl Array {
    /// Tokens or counts, by the axes.
    pub fn imported(self, known: &Shape) -> Result<Imported, RoutingError> {
        let wrong = |reason: String| RoutingError::import(self.format, reason);
        match *self.shape.as_slice() {
            [_, experts] => {
                let rows = self.values.chunks_exact(experts.max(1)).map(<[f64]>::to_vec).collect();
                whole_counts(rows, self.format)
            }
            [first, second, last] if self.integers && !self.is_counts(known) => {
                let is_layers = |size: usize| {
                    [known.layers, known.all_layers].into_iter().flatten().any(|layers| layers as usize == size)
                };
                // Without the model's layers, tokens come first, as vLLM has them.
                let layer_first = is_layers(first) && !is_layers(second);
                if known.layers.is_some() && !layer_first && !is_layers(second) {
                    return Err(wrong(format!(
                        "axes {first} x {second} x {last}, and the model has {} layers with experts",
                        known.layers.unwrap_or(0)
                    )));
                }
                let (tokens, layers) = if layer_first { (second, first) } else { (first, second) };
                let of = |token: usize, layer: usize| {
                    let row = if layer_first { layer * second + token } else { token * second + layer };
                    let experts = self.values.get(row * last..(row + 1) * last).unwrap_or_default();
                    let id = |value: &f64| {
                        if *value >= 0.0 {
                            Ok(*value as u64)
                        } else {
                            Err(wrong(format!("token {token}: expert {value}")))
                        }
                    };
                    experts.iter().map(id).collect::<Result<Vec<u64>, _>>()
                };
                let token = |token| (0..layers).map(|layer| of(token, layer)).collect::<Result<Vec<_>, _>>();
                let tokens = (0..tokens).map(token).collect::<Result<Vec<_>, _>>()?;
                Found { format: self.format, tokens }.trace(known)
            }
            [_, layers, experts] => {
                if self.values.iter().any(|value| *value < 0.0 || value.fract() != 0.0) {
                    let how = "floats in three axes look like router logits; convert them: top-k of the last axis, \
                               as integers [token, layer, choice]";
                    return Err(wrong(how.into()));
                }
                // Sequences, or steps, of which each has counts.
                let mut rows = vec![vec![0.0; experts]; layers];
                for matrix in self.values.chunks_exact((layers * experts).max(1)) {
                    for (row, counts) in rows.iter_mut().zip(matrix.chunks_exact(experts.max(1))) {
                        row.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                    }
                }
                whole_counts(rows, self.format)
            }
            _ => Err(wrong(format!(
                "{} axes; allowed: [layer, expert], [token, layer, choice], [sequence, layer, expert]",
                self.shape.len()
            ))),
        }
    }

    /// Whether integers in three axes are counts: as many as experts in the last axis, or not different along it.
    fn is_counts(&self, known: &Shape) -> bool {
        let Some(last) = self.shape.last().copied().filter(|last| *last > 0) else { return false };
        if let Some(experts) = known.experts
            && let Some(top_k) = known.top_k
        {
            return last == experts as usize && last != top_k as usize;
        }
        let differ = |row: &[f64]| {
            let zeros = row.iter().all(|value| *value == 0.0);
            zeros || row.iter().enumerate().all(|(place, value)| !row[..place].contains(value))
        };
        last > 64 || !self.values.chunks_exact(last).all(differ)
    }
}
