//! Values as bytes, for files that this program alone writes and reads: binary routing traces, the cache of searches.
//!
//! The one place that knows bincode 1.3.3 (unmaintained, RUSTSEC-2025-0141: whoever replaces it does so here). Integers
//! have variable length, little-endian; nothing may stand behind a value. A limit of bytes holds both ways, so that a
//! wrong length in a damaged file takes no memory.
//!
//! **What is absent.** No file, no magic number, no checksum: those are the formats' own.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// A value that cannot be packed, or bytes that are no such value; in bincode's words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PackedError(String);

fn options(most: u64) -> impl Options {
    bincode::DefaultOptions::new().with_limit(most)
}

/// The bytes of a value, at most `most` of them.
///
/// # Errors
/// Where it takes more, or holds what has no length beforehand.
pub fn pack(value: &impl Serialize, most: u64) -> Result<Vec<u8>, PackedError> {
    options(most).serialize(value).map_err(|error| PackedError(error.to_string()))
}

/// The value of bytes.
///
/// # Errors
/// Where they are no such value, are more than `most`, or more than the value.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8], most: u64) -> Result<T, PackedError> {
    // bincode's own limit counts what it reads, not what is there.
    if bytes.len() as u64 > most {
        return Err(PackedError(format!("{} bytes; allowed: at most {most}", bytes.len())));
    }
    options(most).deserialize(bytes).map_err(|error| PackedError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_nothing_else_does() {
        let value = (vec![3_u16, 250, 251], Some("words".to_owned()), 0.1_f64);
        let bytes = pack(&value, 100).expect("small");
        assert_eq!(bytes.len(), 1 + 1 + 1 + 3 + 1 + 1 + 5 + 8);
        assert_eq!(unpack(&bytes, 100), Ok(value.clone()));
        assert!(pack(&value, 10).is_err());
        type Value = (Vec<u16>, Option<String>, f64);
        assert!(unpack::<Value>(&bytes, 10).is_err(), "longer than the limit");
        assert!(unpack::<Value>(&bytes[..bytes.len() - 1], 100).is_err(), "cut off");
        assert!(unpack::<Value>(&[bytes, vec![0]].concat(), 100).is_err(), "bytes behind it");
        assert!(unpack::<Vec<u64>>(&[253, 255, 255, 255, 255, 255, 255, 255, 255], 100).is_err(), "a length alone");
    }
}
