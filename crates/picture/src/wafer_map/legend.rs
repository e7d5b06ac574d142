//! Which color means what.

use colorous::{SET3, YELLOW_ORANGE_RED};

use super::sheet::MARGIN;
use super::{ExpertArea, WaferMap};
use crate::axis::{label, round_step, ticks};
use crate::canvas::Rgb;
use crate::drawing::TextSize::Small;
use crate::drawing::{Drawing, Frame, INK, SOFT};

/// Processing elements of no region.
pub const SPARE: Rgb = [0xcf, 0xcf, 0xcf];
/// Rectangles for experts that hold none.
pub const EMPTY: Rgb = [0xe9, 0xe9, 0xe9];
/// Rectangles of experts whose load is not known.
pub const EXPERT: Rgb = [0xf4, 0xa5, 0x82];
/// Frame of rectangles whose experts have copies elsewhere.
pub const COPIES: Rgb = [0x1f, 0x4e, 0xb4];
/// Memory: weights, keys and values, working, free.
pub const WEIGHTS: Rgb = [0x42, 0x42, 0x6e];
pub const KV_CACHE: Rgb = [0x1b, 0x9e, 0x77];
pub const WORKING: Rgb = [0xb8, 0x86, 0x0b];
pub const FREE: Rgb = [0xf7, 0xf7, 0xf7];

/// Of Set3 those that are no grey, no red and far from one another, the palest first.
const GROUP_COLORS: [usize; super::MOST_GROUPS] = [4, 6, 9, 0, 2, 7, 10, 1];
/// The lowest part of the gradient is too near to white.
const PALEST: f64 = 0.06;
const SWATCH: u32 = 16;
const BAR: u32 = 240;

/// The color of a group of regions.
pub fn group_color(group: usize) -> Rgb {
    let color = SET3[GROUP_COLORS[group % GROUP_COLORS.len()] % SET3.len()];
    [color.r, color.g, color.b]
}

/// The color of a rectangle of experts.
pub fn expert_color(area: &ExpertArea, highest: f64) -> Rgb {
    match area.load {
        _ if area.experts.is_empty() => EMPTY,
        Some(load) => load_color(load / highest),
        None => EXPERT,
    }
}

fn load_color(part: f64) -> Rgb {
    let color = YELLOW_ORANGE_RED.eval_continuous(PALEST + (1.0 - PALEST) * part.clamp(0.0, 1.0));
    [color.r, color.g, color.b]
}

/// End of the scale of loads: above 0 even where all loads are 0.
pub fn highest_load(map: &WaferMap) -> f64 {
    let largest = map.experts.iter().filter_map(|area| area.load).fold(0.0, f64::max);
    map.highest_load.unwrap_or(if largest > 0.0 { largest } else { 1.0 })
}

/// Entries side by side as far as they fit, from `y` on; what follows may start at the value returned.
pub fn draw(map: &WaferMap, width: u32, y: u32, drawing: &mut Drawing) -> u32 {
    let mut entries: Vec<(String, Rgb, Option<Rgb>)> = map
        .groups
        .iter()
        .enumerate()
        .filter(|(group, _)| map.regions.iter().any(|region| region.group == *group))
        .map(|(group, name)| (name.clone(), group_color(group), Some(INK)))
        .collect();
    if map.experts.iter().any(|area| area.load.is_none() && !area.experts.is_empty()) {
        entries.push(("rectangle of experts".into(), EXPERT, Some(INK)));
    }
    if map.experts.iter().any(|area| area.has_copies) {
        entries.push(("some of its experts have copies elsewhere".into(), load_color(0.3), Some(COPIES)));
    }
    if map.experts.iter().any(|area| area.experts.is_empty()) {
        entries.push(("rectangle without experts".into(), EMPTY, Some(INK)));
    }
    entries.push(("PEs of no region".into(), SPARE, Some(INK)));
    if map.regions.iter().any(|region| region.memory.is_some()) {
        for (name, color) in
            [("bars, memory: weights", WEIGHTS), ("KV cache", KV_CACHE), ("working", WORKING), ("free", FREE)]
        {
            entries.push((name.into(), color, Some(INK)));
        }
    }
    let (mut x, mut y) = (MARGIN, y);
    for (name, color, ring) in entries {
        let name =
            crate::drawing::shortened(&name, Small, width.saturating_sub(2 * MARGIN + SWATCH + 8)).unwrap_or_default();
        let wide = SWATCH + 6 + Small.width(&name) + 22;
        if x > MARGIN && x + wide > width - MARGIN {
            (x, y) = (MARGIN, y + Small.line() + 4);
        }
        let frame = Frame { x, y: y + 2, width: SWATCH, height: SWATCH - 2 };
        drawing.fill(frame, color);
        if let Some(ring) = ring {
            drawing.outline(frame, ring);
        }
        drawing.text((x + SWATCH + 6, y), Small, name, INK);
        x += wide;
    }
    y += Small.line() + 8;
    if map.experts.iter().any(|area| area.load.is_some()) {
        y = load_bar(map, width, y, drawing);
    }
    y
}

/// The scale of loads, its numbers below.
fn load_bar(map: &WaferMap, width: u32, y: u32, drawing: &mut Drawing) -> u32 {
    let end = highest_load(map);
    for pixel in 0..BAR {
        let frame = Frame { x: MARGIN + pixel, y, width: 1, height: 14 };
        drawing.fill(frame, load_color(f64::from(pixel) / f64::from(BAR - 1)));
    }
    drawing.outline(Frame { x: MARGIN, y, width: BAR, height: 14 }, INK);
    let step = round_step(end / 5.0);
    for tick in ticks(0.0, end, 5) {
        let x = MARGIN + (tick / end * f64::from(BAR - 1)).round() as u32;
        drawing.fill(Frame { x, y: y + 14, width: 1, height: 4 }, INK);
        let text = label(tick, step);
        let left = (x.saturating_sub(Small.width(&text) / 2)).max(MARGIN);
        drawing.text((left, y + 18), Small, text, INK);
    }
    let room = width.saturating_sub(2 * MARGIN + BAR + 14);
    let name = crate::drawing::shortened(&map.load_name, Small, room).unwrap_or_default();
    drawing.text((MARGIN + BAR + 14, y.saturating_sub(2)), Small, name, SOFT);
    y + 18 + Small.line() + 8
}
