//! Do traces come back as they were written, and does everything that is no trace say where and why?
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use proptest::prelude::*;
use wafersim_routing::binary::Binary;
use wafersim_routing::jsonl::JsonLines;
use wafersim_routing::{Header, RoutingError, SyntheticSettings, Token, TokenSource, Trace, generate};
use wafersim_routing::{binary, jsonl};

fn small() -> SyntheticSettings {
    SyntheticSettings { layers: 3, experts: 20, top_k: 2, tokens: 7, users: 2, ..SyntheticSettings::qwen3_30b() }
}

fn lines() -> String {
    let mut text = Vec::new();
    jsonl::write(&mut generate(&small()).unwrap(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    binary::write(&mut generate(&small()).unwrap(), &mut bytes).unwrap();
    bytes
}

fn read_lines(text: &[u8]) -> Result<Trace, RoutingError> {
    Trace::read(&mut JsonLines::open(text)?)
}

fn read_bytes(bytes: &[u8]) -> Result<Trace, RoutingError> {
    Trace::read(&mut Binary::open(bytes)?)
}

#[test]
fn both_forms_give_the_same_trace() {
    let made = Trace::read(&mut generate(&small()).unwrap()).unwrap();
    assert_eq!(made.len(), 7);
    assert_eq!(read_lines(lines().as_bytes()).unwrap(), made);
    assert_eq!(read_bytes(&bytes()).unwrap(), made);
}

/// A source with weights, which the generator does not give.
struct Weighted(Header, u64);

impl TokenSource for Weighted {
    fn header(&self) -> &Header {
        &self.0
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        self.1 += 1;
        let token =
            Token { user: 3, token: self.1 - 1, experts: &[1, 0, 2, 5], weights: Some(&[0.5, 0.25, 1.0, 0.125]) };
        Ok((self.1 <= self.0.tokens).then_some(token))
    }
}

#[test]
fn weights_come_back() {
    let header = Header { weights: true, ..Header::new("m", 2, 6, 2, 3).unwrap() };
    let (mut text, mut packed) = (Vec::new(), Vec::new());
    jsonl::write(&mut Weighted(header.clone(), 0), &mut text).unwrap();
    binary::write(&mut Weighted(header, 0), &mut packed).unwrap();
    let trace = read_lines(&text).unwrap();
    assert_eq!(trace.token(2).unwrap().weights.unwrap(), [0.5, 0.25, 1.0, 0.125]);
    assert_eq!(read_bytes(&packed).unwrap(), trace);
}

/// Each case: what to replace, by what, the line of the message, and words in it.
#[test]
fn wrong_lines_are_named_with_the_reason() {
    let good = lines();
    let lines: Vec<&str> = good.lines().collect();
    let experts = |line: usize| lines[line - 1].split("\"experts\":").nth(1).unwrap().trim_end_matches('}').to_owned();
    let cases: &[(usize, String, String, usize, &str)] = &[
        (1, "\"version\":1".into(), "\"version\":2".into(), 1, "version is 2; allowed: 1"),
        (1, "wafersim-routing".into(), "other".into(), 1, "format is 'other'"),
        (1, "\"tokens\":7".into(), "\"tokens\":0".into(), 1, "tokens is 0; allowed: 1 or more"),
        (1, "\"tokens\":7".into(), "\"tokens\":8".into(), 22, "ends after 7 tokens of 8"),
        (1, "\"tokens\":7".into(), "\"tokens\":6".into(), 22, "beyond the 6"),
        (1, "\"top_k\":2".into(), "\"top_k\":21".into(), 1, "top_k is 21; allowed: 1 to 20"),
        (1, "\"layers\":3".into(), "\"layers\":4".into(), 5, "layer 3 is due"),
        (1, "\"layers\":3,\"experts\":20".into(), "\"layers\":4000,\"experts\":60000".into(), 1, "layers x experts"),
        (1, "\"note\"".into(), "\"nota\"".into(), 1, "nota"),
        (4, experts(4), "[1,20]".into(), 4, "expert 20 is unknown; allowed: 0 to 19"),
        (4, experts(4), "[1,70000]".into(), 4, "70000"),
        (4, experts(4), "[7,7]".into(), 4, "expert 7 is chosen twice"),
        (4, experts(4), "[7]".into(), 4, "1 experts; allowed: 2"),
        (4, "}".into(), ",\"weights\":[1,2]}".into(), 4, "has weights"),
        (4, "\"layer\":2".into(), "\"layer\":1".into(), 4, "layer 2 is due"),
        (8, "\"token\":1".into(), "\"token\":2".into(), 8, "token 1 is due"),
        (8, "\"user\":0".into(), "\"user\":-1".into(), 8, "-1"),
        (8, "\"user\":0".into(), "\"user\":4000000".into(), 8, "user 4000000"),
        (22, "]}".into(), "".into(), 22, "is truncated"),
    ];
    for (line, from, to, at, words) in cases {
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert!(changed[line - 1].contains(from.as_str()), "{from} is in {}", changed[line - 1]);
        changed[line - 1] = changed[line - 1].replacen(from.as_str(), to, 1);
        let error = read_lines(changed.join("\n").as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {at}: ")) && error.contains(words), "{from} -> {to}: {error}");
    }
}

#[test]
fn holes_are_named() {
    let good = lines();
    let without = |line: usize| -> String {
        good.lines().enumerate().filter(|(index, _)| *index != line - 1).map(|(_, line)| format!("{line}\n")).collect()
    };
    for (text, words) in [
        (without(6), "line 6: user 1, token 0, layer 2 where user 1, token 0, layer 1 is due"),
        (without(22), "line 21: the file ends within token 3 of user 0: layer 2 of 3 is missing"),
        (String::new(), "line 1: the file is empty"),
    ] {
        let error = read_lines(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let long = format!("{}\n", "x".repeat(1 << 20));
    assert!(read_lines(long.as_bytes()).unwrap_err().to_string().contains("longer"));
}

#[test]
fn wrong_bytes_are_named_with_the_reason() {
    let good = bytes();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= to;
        read_bytes(&bytes).unwrap_err().to_string()
    };
    assert!(changed(0, 1).contains("no bytes of a binary routing trace"));
    assert!(changed(8, 3).contains("schema: version 2; allowed: 1"));
    assert!(changed(22, 1).contains("header: wrong checksum"));
    assert!(changed(good.len() - 12, 1).contains("block 1: wrong checksum"));
    assert!(changed(good.len() - 1, 1).contains("wrong checksum of an empty section"));
    let cut = |length: usize| read_bytes(&good[..length]).unwrap_err().to_string();
    assert!(cut(good.len() - 9).contains("block 1: is truncated"));
    assert!(cut(good.len() - 3).contains("block 2: is truncated"));
    assert!(cut(0).contains("magic: is truncated"));
    let longer = [&good[..], b"x"].concat();
    assert!(read_bytes(&longer).unwrap_err().to_string().contains("end: bytes after the last block"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No panic, no endless run, and never more tokens than the header says.
    #[test]
    fn mutated_lines_are_read_or_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6)) {
        let mut text = lines().into_bytes();
        mutate(&mut text, &edits);
        if let Ok(trace) = read_lines(&text) {
            prop_assert_eq!(trace.len() as u64, trace.header.tokens);
        }
    }

    #[test]
    fn mutated_bytes_are_read_or_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6)) {
        let good = bytes();
        let mut packed = good.clone();
        mutate(&mut packed, &edits);
        if let Ok(trace) = read_bytes(&packed) {
            prop_assert!(packed == good, "a changed file is read: {} tokens", trace.len());
        }
    }

    /// Behind a right checksum anything may stand.
    #[test]
    fn garbage_with_a_right_checksum_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 1..200)) {
        let good = bytes();
        let header = 12 + 8 + u32::from_le_bytes([good[12], good[13], good[14], good[15]]) as usize;
        let mut packed = good[..header].to_vec();
        packed.extend((body.len() as u32).to_le_bytes());
        packed.extend(crc32fast::hash(&body).to_le_bytes());
        packed.extend(&body);
        packed.extend([0; 8]);
        let _ = read_bytes(&packed);
    }

    #[test]
    fn garbage_is_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_bytes(&body).is_err());
        prop_assert!(read_lines(&body).is_err());
    }
}

/// Changes, removes or inserts a byte.
fn mutate(bytes: &mut Vec<u8>, edits: &[(prop::sample::Index, u8, u8)]) {
    for (index, value, kind) in edits {
        if bytes.is_empty() {
            return;
        }
        let at = index.index(bytes.len());
        match kind {
            0 => bytes[at] = *value,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, *value),
        }
    }
}
