//! What the routers of a machine cannot do: merge two sources on one color, or hold two routes of it at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::lowered::Part;
use super::route::{Area, Lines, Stream};

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
    // Places by color, and by the columns that they have: of places with the same columns neighbours by row tell.
    let mut places: BTreeMap<u16, BTreeMap<(u32, u32), Vec<Area>>> = BTreeMap::new();
    for part in parts {
        let Part::Carry(lines) = part else { continue };
        let colors: BTreeSet<u16> = lines.streams.iter().map(|stream| stream.color).collect();
        for color in colors {
            let columns = (lines.area.x, lines.area.columns);
            places.entry(color).or_default().entry(columns).or_default().push(lines.area);
        }
    }
    places.iter_mut().find_map(|(color, by_columns)| {
        let is_shared = by_columns.values_mut().any(|areas| {
            areas.sort_unstable_by_key(|area| area.y);
            areas.windows(2).any(|pair| pair[0].overlaps(&pair[1]))
        }) || do_meet(by_columns);
        is_shared.then_some(*color)
    })
}

/// Whether places with other columns overlap.
fn do_meet(by_columns: &BTreeMap<(u32, u32), Vec<Area>>) -> bool {
    // In order of their first columns: what ends before a place begins is of no matter to those after it either.
    let mut open: Vec<(u32, &Vec<Area>)> = Vec::new();
    for ((x, columns), areas) in by_columns {
        open.retain(|(end, _)| end > x);
        if open.iter().any(|(_, others)| others.iter().any(|one| areas.iter().any(|two| one.overlaps(two)))) {
            return true;
        }
        open.push((x + columns, areas));
    }
    false
}
