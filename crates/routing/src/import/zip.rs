//! `.npz`: a zip of `.npy` files, stored or deflated; what else comes as a zip is refused by name.

use std::io::Read;

use super::array::{Array, npy};
use super::{Imported, MOST_BYTES, PICKLE, Shape};
use crate::error::RoutingError;

const FORMAT: &str = ".npz";

/// A file in the archive.
struct Entry<'a> {
    name: &'a str,
    deflated: bool,
    bytes: &'a [u8],
}

pub fn imported(bytes: &[u8], shape: &Shape) -> Result<Imported, RoutingError> {
    let entries =
        entries(bytes).ok_or_else(|| RoutingError::import("a zip archive", "its directory cannot be read"))?;
    if entries.iter().any(|entry| entry.name.ends_with("data.pkl")) {
        return Err(RoutingError::import("a file of torch.save", PICKLE));
    }
    let mut arrays: Vec<(&str, Array)> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.name.ends_with(".npy")) {
        let unpacked = match entry.deflated {
            false => entry.bytes.to_vec(),
            true => {
                let mut unpacked = Vec::new();
                let read =
                    flate2::read::DeflateDecoder::new(entry.bytes).take(MOST_BYTES + 1).read_to_end(&mut unpacked);
                read.map_err(|error| RoutingError::import(FORMAT, error.to_string()))?;
                if unpacked.len() as u64 > MOST_BYTES {
                    return Err(RoutingError::import(FORMAT, "holds more than 1 GiB"));
                }
                unpacked
            }
        };
        arrays.push((entry.name, npy(&unpacked, FORMAT)?));
    }
    match arrays.len() {
        0 => Err(RoutingError::import("a zip archive", "holds no .npy; allowed is a .npz of numpy.savez")),
        1 => arrays.remove(0).1.imported(shape),
        _ => stacked(arrays)?.imported(shape),
    }
}

/// One array for each layer, `[token, choice]`, in the order of the numbers in their names.
fn stacked(mut arrays: Vec<(&str, Array)>) -> Result<Array, RoutingError> {
    let names: Vec<String> = arrays.iter().map(|(name, _)| name.trim_end_matches(".npy").to_owned()).collect();
    let first = arrays.first().map(|(_, array)| array.shape.clone()).unwrap_or_default();
    if first.len() != 2 || arrays.iter().any(|(_, array)| array.shape != first || !array.integers) {
        let reason = format!(
            "holds {}; allowed: one array, or one [token, choice] of integers for each layer, all of one shape",
            super::shortened(&names.join(", "))
        );
        return Err(RoutingError::import(FORMAT, reason));
    }
    let number = |name: &str| -> u64 {
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(u64::MAX)
    };
    arrays.sort_by_key(|(name, _)| number(name));
    let (layers, tokens, top_k) = (arrays.len(), first[0], first[1]);
    let mut values = Vec::with_capacity(layers * tokens * top_k);
    for token in 0..tokens {
        for (_, array) in &arrays {
            values.extend_from_slice(array.values.get(token * top_k..(token + 1) * top_k).unwrap_or_default());
        }
    }
    Ok(Array { format: FORMAT, shape: vec![tokens, layers, top_k], integers: true, values })
}

/// The files that the central directory names (APPNOTE 4.3.12; sizes of zip64 in 4.5.3).
fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    const MOST_ENTRIES: usize = 10_000;
    let end = bytes.windows(4).rposition(|four| four == b"PK\x05\x06")?;
    let count = usize::from(u16_at(bytes, end + 10)?).min(MOST_ENTRIES);
    let mut at = u32_at(bytes, end + 16)? as usize;
    let mut all = Vec::new();
    for _ in 0..count {
        if bytes.get(at..at + 4)? != b"PK\x01\x02" {
            return None;
        }
        let method = u16_at(bytes, at + 10)?;
        let mut packed = u64::from(u32_at(bytes, at + 20)?);
        let unpacked = u32_at(bytes, at + 24)?;
        let lengths = [28, 30, 32].map(|place| u16_at(bytes, at + place).map(usize::from));
        let [Some(name), Some(extra), Some(comment)] = lengths else { return None };
        let mut header = u64::from(u32_at(bytes, at + 42)?);
        let text = std::str::from_utf8(bytes.get(at + 46..at + 46 + name)?).ok()?;
        let mut rest = bytes.get(at + 46 + name..at + 46 + name + extra)?;
        while let [a, b, c, d, inside @ ..] = rest {
            let length = usize::from(u16::from_le_bytes([*c, *d]));
            if u16::from_le_bytes([*a, *b]) == 1 {
                let mut wide =
                    inside.get(..length)?.chunks_exact(8).map(|eight| eight.try_into().map(u64::from_le_bytes));
                if unpacked == u32::MAX {
                    wide.next()?.ok()?;
                }
                if packed == u64::from(u32::MAX) {
                    packed = wide.next()?.ok()?;
                }
                if header == u64::from(u32::MAX) {
                    header = wide.next()?.ok()?;
                }
            }
            rest = inside.get(length..)?;
        }
        let header = usize::try_from(header).ok()?;
        let start = header + 30 + usize::from(u16_at(bytes, header + 26)?) + usize::from(u16_at(bytes, header + 28)?);
        let stored = bytes.get(start..start.checked_add(usize::try_from(packed).ok()?)?)?;
        if !matches!(method, 0 | 8) {
            return None;
        }
        all.push(Entry { name: text, deflated: method == 8, bytes: stored });
        at += 46 + name + extra + comment;
    }
    Some(all)
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    let two = bytes.get(place..place.checked_add(2)?)?;
    Some(u16::from_le_bytes([two[0], two[1]]))
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    let four = bytes.get(place..place.checked_add(4)?)?;
    Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}
