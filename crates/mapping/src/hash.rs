//! Stable hashes of what inputs mean: 64 bit, the same on every machine and in every version that reads the same
//! fields.

use serde::Serialize;

/// FNV-1a of a value's JSON, 64 bit, as 16 hexadecimal digits. Fields come in the order of their struct, so equal
/// values give equal text.
pub fn of(value: &impl Serialize) -> String {
    // Values of the types that are hashed always serialise.
    let text = serde_json::to_string(value).unwrap_or_default();
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}
