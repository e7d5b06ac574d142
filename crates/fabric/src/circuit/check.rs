//! What the routers of a machine cannot do: merge two sources on one color, or hold two routes of it at a time.

use std::collections::BTreeMap;

use super::lowered::Part;
use super::route::{Lines, Stream};

/// A router in which a color has two sources (or two routes): color and position along the line.
pub(super) fn meeting_of_sources(lines: &Lines) -> Option<(u16, u32)> {
    if lines.switched {
        // One route of a color after the other.
        return None;
    }
    if lines.spread.is_some() {
        return None;
    }
    let length = lines.length();
    let mut routes: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    for stream in &lines.streams {
        let known = routes.entry(stream.color).or_insert_with(|| vec![0; length]);
        for position in stream.low..=stream.high {
            let route = route(stream, position);
            if let Some(place) = known.get_mut(position as usize) {
                if *place != 0 && *place != route {
                    return Some((stream.color, position));
                }
                *place = route;
            }
        }
    }
    None
}

/// Input and outputs of a stream in the router at a position, as bits; never 0.
fn route(stream: &Stream, position: u32) -> u8 {
    let input = match position.cmp(&stream.source) {
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
        std::cmp::Ordering::Less => 4,
    };
    let up = position >= stream.source && position < stream.high;
    let down = position <= stream.source && position > stream.low;
    input | u8::from(up) << 3 | u8::from(down) << 4 | u8::from(stream.delivers_at(position)) << 5
}

/// A color that two parts use at the same time on the same places.
pub(super) fn shared_color(parts: &[Part]) -> Option<u16> {
    for (index, part) in parts.iter().enumerate() {
        let Part::Carry(lines) = part else { continue };
        for other in &parts[index + 1..] {
            let Part::Carry(others) = other else { continue };
            if !lines.area.overlaps(&others.area) {
                continue;
            }
            let shared = lines.streams.iter().find(|one| others.streams.iter().any(|two| one.color == two.color));
            if let Some(stream) = shared {
                return Some(stream.color);
            }
        }
    }
    None
}
