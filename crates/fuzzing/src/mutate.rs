//! Bytes that nobody wrote: good ones with a few changes, from a seed.

use std::ops::Range;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers at the edges of types and ranges.
const NUMBERS: [&str; 20] = [
    "0",
    "-1",
    "1",
    "2",
    "127",
    "256",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e-300",
    "1e308",
    "1e999",
    "0.5",
    "nan",
    "-inf",
];
/// Pieces of the languages that are read.
const WORDS: [&str; 16] =
    ["\"", "'", "{", "}", "[", "]", ",", "=", ":", "\n", "\u{0}", "\u{1b}[2J", "null", "true", "\u{feff}", "\u{e9}"];
/// Longest piece that is removed or repeated at once.
const LONGEST_PIECE: usize = 64;
/// Longest result: a repeated piece must not grow without end.
const LONGEST: usize = 1 << 16;

/// A changed copy of one of `seeds`, with pieces of the others; the same for the same `seed`.
pub fn mutate(seeds: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let Some(first) = pick(seeds, &mut random) else { return Vec::new() };
    let mut bytes = first.clone();
    for _ in 0..random.random_range(1..=4) {
        change(&mut bytes, seeds, &mut random);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn pick<'a, T>(from: &'a [T], random: &mut impl Rng) -> Option<&'a T> {
    if from.is_empty() { None } else { from.get(random.random_range(0..from.len())) }
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut impl Rng) {
    let piece = piece(bytes.len(), random);
    match random.random_range(0..14) {
        // A bit, or a whole byte.
        0 => {
            if let Some(byte) = bytes.get_mut(piece.start) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(piece.start) {
                *byte = random.random();
            }
        }
        2 => drop(bytes.drain(piece)),
        3 => bytes.truncate(piece.start),
        4 => {
            let copy = bytes[piece.clone()].to_vec();
            for _ in 0..random.random_range(1..=3) {
                drop(bytes.splice(piece.end..piece.end, copy.iter().copied()));
            }
        }
        5 => {
            let line = line_at(bytes, piece.start);
            let copy = bytes[line.clone()].to_vec();
            drop(bytes.splice(line.end..line.end, copy));
        }
        6 => drop(bytes.drain(line_at(bytes, piece.start))),
        7..=11 => {
            if let Some(number) = number_at(bytes, piece.start) {
                let other = pick(&NUMBERS, random).copied().unwrap_or_default();
                drop(bytes.splice(number, other.bytes()));
            }
        }
        12 => {
            let word = pick(&WORDS, random).copied().unwrap_or_default();
            drop(bytes.splice(piece.start..piece.start, word.bytes()));
        }
        _ => {
            let Some(other) = pick(seeds, random) else { return };
            let from = self::piece(other.len(), random);
            drop(bytes.splice(piece, other[from].iter().copied()));
        }
    }
}

/// A short range within a length.
fn piece(length: usize, random: &mut impl Rng) -> Range<usize> {
    let start = random.random_range(0..=length);
    let end = (start + random.random_range(1..=LONGEST_PIECE)).min(length);
    start..end
}

/// The line at a place.
fn line_at(bytes: &[u8], at: usize) -> Range<usize> {
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |behind| at + behind + 1);
    start..end
}

/// The first number at or behind a place.
fn number_at(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let start = from + bytes.get(from..)?.iter().position(u8::is_ascii_digit)?;
    let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let length = bytes.get(start..)?.iter().position(|byte| !is_number(byte)).unwrap_or(bytes.len() - start);
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bytes_and_others_others() {
        let seeds = [b"users = 12\ncontext = 4096\n".to_vec(), b"[load]\nrate = 0.5\n".to_vec()];
        let made: Vec<Vec<u8>> = (0..200).map(|seed| mutate(&seeds, seed)).collect();
        assert_eq!(made, (0..200).map(|seed| mutate(&seeds, seed)).collect::<Vec<_>>());
        let distinct: std::collections::BTreeSet<&Vec<u8>> = made.iter().collect();
        assert!(distinct.len() > 150, "{} of 200", distinct.len());
        assert!(mutate(&[], 1).is_empty());
    }
}
