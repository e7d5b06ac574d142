//! A trace read back by a reader of its own: protobuf's wire format by hand, field numbers from `perfetto_trace.proto`.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use wafersim_timeline::{TimelineError, Trace};

/// A field: number and what it holds.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(u64),
    Double(f64),
    Bytes(Vec<u8>),
}

type Fields = Vec<(u64, Value)>;

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    unreachable!("numbers end")
}

fn fields(mut bytes: &[u8]) -> Fields {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => {
                let (double, rest) = bytes.split_at(8);
                bytes = rest;
                Value::Double(f64::from_le_bytes(double.try_into().unwrap()))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                Value::Bytes(inner.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

fn number(fields: &Fields, field: u64) -> Option<u64> {
    fields.iter().find_map(|(known, value)| match value {
        Value::Number(number) if *known == field => Some(*number),
        _ => None,
    })
}

fn inner(fields: &Fields, field: u64) -> Option<Fields> {
    fields.iter().find_map(|(known, value)| match value {
        Value::Bytes(bytes) if *known == field => Some(self::fields(bytes)),
        _ => None,
    })
}

fn text(fields: &Fields, field: u64) -> Option<String> {
    fields.iter().find_map(|(known, value)| match value {
        Value::Bytes(bytes) if *known == field => Some(String::from_utf8(bytes.clone()).unwrap()),
        _ => None,
    })
}

fn packets(bytes: &[u8]) -> Vec<Fields> {
    fields(bytes)
        .into_iter()
        .map(|(field, value)| match value {
            Value::Bytes(bytes) if field == 1 => fields(&bytes),
            other => panic!("field {field} of Trace is {other:?}"),
        })
        .collect()
}

#[test]
fn what_was_written_is_read_back() {
    let mut trace = Trace::new(1 << 16);
    let machine = trace.group("layer 0 (1 ns is 1 cycle)");
    let depth = trace.counter(machine, "deepest queue", "wavelets");
    let row = trace.track(machine, "row 12");
    trace.sample(depth, 7, 2.5);
    trace.slice(row, "attention.norm", "work", 10, 40).unwrap();
    trace.slice(row, "attention.norm", "transfer", 40, 41).unwrap();
    let written = trace.finish();
    assert_eq!((written.slices, written.samples, written.left_out), (2, 1, 0));

    let packets = packets(&written.bytes);
    assert!(packets.iter().all(|packet| number(packet, 10) == Some(1)), "one sequence");
    assert_eq!(number(&packets[0], 13), Some(1), "the state is cleared first");
    let descriptors: Vec<Fields> = packets.iter().filter_map(|packet| inner(packet, 60)).collect();
    let process = inner(&descriptors[0], 3).unwrap();
    assert_eq!(text(&process, 6).unwrap(), "layer 0 (1 ns is 1 cycle)");
    assert_eq!(number(&process, 1), Some(1));
    let group = number(&descriptors[0], 1);
    assert!(descriptors[1..].iter().all(|track| number(track, 5) == group), "tracks are in the group");
    assert_eq!(text(&inner(&descriptors[1], 8).unwrap(), 6).unwrap(), "wavelets");
    assert_eq!(text(&descriptors[2], 2).unwrap(), "row 12");

    let events: Vec<(u64, Fields)> =
        packets.iter().filter_map(|packet| Some((number(packet, 8)?, inner(packet, 11)?))).collect();
    let of_type = |event: &Fields| number(event, 9).unwrap();
    assert_eq!(
        events.iter().map(|(at, event)| (*at, of_type(event))).collect::<Vec<_>>(),
        [(7, 4), (10, 1), (40, 2), (40, 1), (41, 2)]
    );
    assert_eq!(number(&events[1].1, 3), Some(1), "categories are not packed");
    assert!(events[0].1.contains(&(44, Value::Double(2.5))));
    assert_eq!(number(&events[1].1, 11), number(&descriptors[2], 1), "slices are on their track");
    let names: Vec<String> = packets
        .iter()
        .filter_map(|packet| inner(packet, 12))
        .flat_map(|data| data.into_iter().filter(|(field, _)| *field == 2).collect::<Vec<_>>())
        .map(|(_, value)| match value {
            Value::Bytes(bytes) => text(&fields(&bytes), 2).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["attention.norm"], "a name is written once");
    assert_eq!(number(&events[1].1, 10), number(&events[3].1, 10), "and used twice");
}

#[test]
fn slices_follow_each_other() {
    let mut trace = Trace::new(1 << 16);
    let group = trace.group("machine");
    let track = trace.track(group, "row 0");
    trace.slice(track, "a", "work", 10, 20).unwrap();
    assert_eq!(
        trace.slice(track, "b", "work", 19, 30),
        Err(TimelineError::Overlap { name: "b".into(), start: 19, busy_until: 20 })
    );
    assert_eq!(
        trace.slice(track, "c", "work", 30, 29),
        Err(TimelineError::Backwards { name: "c".into(), start: 30, end: 29 })
    );
}

proptest! {
    /// However many slices: the limit holds, what is left out is counted, and what is there can be read.
    #[test]
    fn the_limit_holds(limit in 0usize..20_000, slices in 0u64..600) {
        let mut trace = Trace::new(limit);
        let group = trace.group("machine");
        let track = trace.track(group, "row 0");
        for slice in 0..slices {
            trace.slice(track, &format!("operator {}", slice % 7), "work", slice * 3, slice * 3 + 2).unwrap();
        }
        let written = trace.finish();
        prop_assert!(written.bytes.len() <= limit);
        prop_assert_eq!(written.slices + written.left_out, slices);
        let packets = packets(&written.bytes);
        let begins = packets
            .iter()
            .filter_map(|packet| inner(packet, 11))
            .filter(|event| number(event, 9) == Some(1) && number(event, 11) == Some(2))
            .count();
        prop_assert_eq!(begins as u64, written.slices);
        let says_so = packets.iter().filter_map(|packet| inner(packet, 60)).filter_map(|track| text(&track, 2));
        let says_so = says_so.into_iter().any(|name| name.contains("left out"));
        // Below a thousand bytes there may be no room for the sentence.
        prop_assert!(says_so == (written.left_out > 0) || limit < 1_000, "limit {}", limit);
    }
}
