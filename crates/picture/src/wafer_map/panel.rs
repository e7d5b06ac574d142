//! One wafer with its regions and experts, and a region enlarged.

use super::legend::{COPIES, FREE, KV_CACHE, SPARE, WEIGHTS, WORKING, expert_color, group_color, highest_load};
use super::sheet::{Field, NAME};
use super::{DrawnRegion, ExpertArea, MemoryShares, WaferMap};
use crate::axis::{label, round_step};
use crate::canvas::{Rgb, lines};
use crate::drawing::TextSize::Small;
use crate::drawing::{Drawing, Frame, INK, PAPER, SOFT, ink_on, shortened};

/// Rectangles of experts that are smaller touch one another; larger ones have a line between them.
const APART: u32 = 5;
/// Height of a memory bar, and of the least region that has one; rectangles of experts under a bar are three bars high
/// or higher.
const MEMORY_BAR: u32 = 5;
const LEAST_FOR_BAR: u32 = 34;
/// Of how many parts of a region with experts a long name hides one at most; of how many any name may hide one.
const LONG_NAME: u32 = 8;
const SHORT_NAME: u32 = 2;
/// Part of the scale of loads from which a rectangle should not be hidden.
const HOT: f64 = 0.3;

/// Draws a wafer: spare processing elements, regions, experts, memory, names.
pub fn draw_wafer(map: &WaferMap, wafer: u32, field: &Field, drawing: &mut Drawing) {
    let frame = field.frame;
    let name = [format!("wafer {wafer}"), wafer.to_string()];
    let fitting = name.iter().find(|name| Small.width(name) <= frame.width);
    drawing.text((frame.x, frame.y - NAME), Small, fitting.cloned().unwrap_or_default(), SOFT);
    drawing.fill(frame, SPARE);
    let regions: Vec<&DrawnRegion> = map.regions.iter().filter(|region| region.place.wafer == wafer).collect();
    let on_sheet = |region: &DrawnRegion| {
        let place = region.place;
        field.frame_of(place.x, place.y, place.columns, place.rows)
    };
    for region in &regions {
        drawing.fill(on_sheet(region), group_color(region.group));
    }
    draw_experts(map, field, drawing, |area| area.place.wafer == wafer);
    for region in &regions {
        let frame = on_sheet(region);
        drawing.outline(frame, INK);
        let experts = map.experts.iter().filter(|area| region.place.holds(&area.place));
        let experts: Vec<(Frame, f64)> = experts
            .map(|area| {
                let place = area.place;
                let load = area.load.unwrap_or(0.0) / highest_load(map);
                (field.frame_of(place.x, place.y, place.columns, place.rows), load)
            })
            .collect();
        // A bar must not hide a row of experts.
        let room = experts.iter().map(|(frame, _)| frame.height).fold(frame.height, u32::min);
        let has_room = frame.height >= LEAST_FOR_BAR && frame.width >= 24 && room >= 3 * MEMORY_BAR;
        if let Some(memory) = region.memory.filter(|_| has_room) {
            let bar = Frame {
                x: frame.x + 1,
                y: frame.y + frame.height - 1 - MEMORY_BAR,
                width: frame.width - 2,
                height: MEMORY_BAR,
            };
            memory_bar(&memory, bar, drawing);
        }
        region_name(region, frame, &experts, drawing);
    }
    drawing.outline(frame, INK);
}

/// The name in the region's upper left corner, on white so that it reads over experts: the long one where it hides
/// little, the short one where that fits. Where it would hide hot experts (with their part of the scale) it goes to
/// another corner.
fn region_name(region: &DrawnRegion, frame: Frame, experts: &[(Frame, f64)], drawing: &mut Drawing) {
    let fits = |name: &str, of: u32| {
        let width = Small.width(name) + 8;
        width <= frame.width && of * width * Small.line() <= frame.width * frame.height
    };
    let long = if experts.is_empty() { SHORT_NAME } else { LONG_NAME };
    let name = if fits(&region.name, long) { &region.name } else { &region.short_name };
    // A name cut short would be another name: better none.
    if !fits(name, SHORT_NAME) || frame.height < Small.line() + 4 {
        return;
    }
    let (width, height) = (Small.width(name) + 4, Small.line() - 2);
    let (left, right) = (frame.x + 2, frame.x + frame.width - width - 2);
    let (top, bottom) =
        (frame.y + 2, (frame.y + frame.height).saturating_sub(height + MEMORY_BAR + 2).max(frame.y + 2));
    let plates =
        [(left, top), (right, top), (left, bottom), (right, bottom)].map(|(x, y)| Frame { x, y, width, height });
    let hidden = |plate: &Frame| {
        let loads = experts.iter().filter(|(frame, _)| hides(plate, frame));
        // What is not hot may be hidden anywhere.
        let hottest = loads.map(|(_, load)| *load).fold(0.0, f64::max);
        if hottest < HOT { 0.0 } else { hottest }
    };
    let plate = plates.into_iter().reduce(|best, plate| if hidden(&plate) < hidden(&best) { plate } else { best });
    let Some(plate) = plate else { return };
    drawing.fill(plate, PAPER);
    drawing.text((plate.x + 2, plate.y), Small, name.as_str(), INK);
}

/// Whether a plate covers more than half of a rectangle.
fn hides(plate: &Frame, frame: &Frame) -> bool {
    let along = |low: u32, length: u32, other: u32, other_length: u32| {
        (low + length).min(other + other_length).saturating_sub(low.max(other))
    };
    let covered =
        along(plate.x, plate.width, frame.x, frame.width) * along(plate.y, plate.height, frame.y, frame.height);
    2 * covered > frame.width * frame.height
}

fn draw_experts(map: &WaferMap, field: &Field, drawing: &mut Drawing, is_shown: impl Fn(&ExpertArea) -> bool) {
    let highest = highest_load(map);
    let mut cells: Vec<(Rgb, Frame, &ExpertArea)> = map
        .experts
        .iter()
        .filter(|area| is_shown(area))
        .map(|area| {
            let place = area.place;
            let mut frame = field.frame_of(place.x, place.y, place.columns, place.rows);
            if frame.width >= APART && frame.height >= APART {
                frame = Frame { width: frame.width - 1, height: frame.height - 1, ..frame };
            }
            (expert_color(area, highest), frame, area)
        })
        .collect();
    // One color after the other: shorter to write.
    cells.sort_by_key(|(color, frame, _)| (*color, frame.y, frame.x));
    for (color, frame, _) in &cells {
        drawing.fill(*frame, *color);
    }
    for (_, frame, area) in &cells {
        if area.has_copies && frame.width >= APART && frame.height >= APART {
            drawing.outline(*frame, COPIES);
        }
    }
}

/// What the memory holds, from left to right; free is white.
fn memory_bar(memory: &MemoryShares, bar: Frame, drawing: &mut Drawing) {
    drawing.fill(bar, FREE);
    let mut from = 0.0;
    for (share, color) in [(memory.weights, WEIGHTS), (memory.kv_cache, KV_CACHE), (memory.working, WORKING)] {
        let pixel = |part: f64| (part.clamp(0.0, 1.0) * f64::from(bar.width)).round() as u32;
        let (low, high) = (pixel(from), pixel(from + share));
        if high > low {
            drawing.fill(Frame { x: bar.x + low, width: high - low, ..bar }, color);
        }
        from += share;
    }
}

/// A length of a round number of processing elements.
pub fn scale_bar(columns: u32, scale: f64, (x, y): (u32, u32), drawing: &mut Drawing) {
    let pes = round_step((f64::from(columns) / 4.0).max(1.0)).max(1.0);
    let pes = if pes > f64::from(columns) { f64::from(columns) } else { pes };
    let length = ((pes * scale).round() as u32).max(1);
    drawing.fill(Frame { x, y: y + 4, width: length, height: 2 }, INK);
    for end in [x, x + length.saturating_sub(1)] {
        drawing.fill(Frame { x: end, y, width: 1, height: 10 }, INK);
    }
    let text = format!("{} PE{}", label(pes, 1.0), if pes > 1.0 { "s" } else { "" });
    drawing.text((x + length + 6, y.saturating_sub(4)), Small, text, INK);
}

/// A region enlarged, with the experts of each rectangle and the shares of its memory in words.
pub fn draw_detail(map: &WaferMap, region: &DrawnRegion, field: &Field, drawing: &mut Drawing) {
    let (frame, place) = (field.frame, region.place);
    let name = format!("{} on wafer {}, {} x {} PEs", region.name, place.wafer, place.columns, place.rows);
    let name = shortened(&name, Small, drawing.width.saturating_sub(frame.x)).unwrap_or_default();
    drawing.text((frame.x, frame.y - NAME), Small, name, INK);
    drawing.fill(frame, group_color(region.group));
    let is_here = |area: &ExpertArea| place.holds(&area.place);
    draw_experts(map, field, drawing, is_here);
    let highest = highest_load(map);
    for area in map.experts.iter().filter(|area| is_here(area)) {
        let place = area.place;
        let cell = field.frame_of(place.x, place.y, place.columns, place.rows);
        numbers(area, cell, ink_on(expert_color(area, highest)), drawing);
    }
    drawing.outline(frame, INK);
    let below = frame.y + frame.height + 6;
    scale_bar(place.columns, field.scale, (frame.x, below), drawing);
    let Some(memory) = region.memory else { return };
    let bar = Frame { x: frame.x, y: below + Small.line() + 2, width: frame.width, height: 12 };
    memory_bar(&memory, bar, drawing);
    drawing.outline(bar, INK);
    let free = (1.0 - memory.weights - memory.kv_cache - memory.working).max(0.0);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let parts = [
        format!("weights {}", percent(memory.weights)),
        format!("KV cache {}", percent(memory.kv_cache)),
        format!("working {}", percent(memory.working)),
        format!("free {}", percent(free)),
    ];
    let long = format!("fullest PE: {}", parts.join(", "));
    let room = drawing.width.saturating_sub(frame.x);
    let letters = (room / Small.font().width()).max(8) as usize;
    for (index, line) in lines(&long, letters).into_iter().take(2).enumerate() {
        drawing.text((frame.x, bar.y + 16 + index as u32 * Small.line()), Small, line, SOFT);
    }
}

/// Numbers of experts, as many as fit; two dots for those that do not.
fn numbers(area: &ExpertArea, cell: Frame, color: Rgb, drawing: &mut Drawing) {
    let letters = cell.width.saturating_sub(3) / Small.font().width();
    // The letters themselves are lower than their field.
    let rows = (cell.height + 3) / (Small.line() - 4);
    if letters == 0 || rows == 0 {
        return;
    }
    let text: Vec<String> = area.experts.iter().map(u64::to_string).collect();
    let mut wrapped = lines(&text.join(" "), letters as usize);
    if wrapped.iter().any(|line| line.chars().count() > letters as usize) {
        return;
    }
    if wrapped.len() > rows as usize {
        wrapped.truncate(rows as usize);
        if let Some(last) = wrapped.last_mut() {
            while last.chars().count() + 3 > letters as usize && !last.is_empty() {
                let cut = last.rfind(' ').unwrap_or(0);
                last.truncate(cut);
            }
            last.push_str(if last.is_empty() { ".." } else { " .." });
        }
    }
    // The load in the lower right corner, where there is a line left.
    if let Some(load) = area.load.map(|load| format!("{load:.1}"))
        && wrapped.len() < rows as usize
        && load.chars().count() <= letters as usize
    {
        let x = cell.x + cell.width - 3 - Small.width(&load);
        drawing.text((x, cell.y + cell.height - Small.line() + 2), Small, load, color);
    }
    for (index, line) in (0u32..).zip(&wrapped) {
        drawing.text(
            (cell.x + 2, (cell.y + index * (Small.line() - 4)).saturating_sub(1)),
            Small,
            line.as_str(),
            color,
        );
    }
}
