//! Where the parts of a wafer map stand, in pixels.

use super::WaferMap;
use crate::drawing::Frame;
use crate::drawing::TextSize::{Large, Small};

pub const MARGIN: u32 = 16;
/// Between wafers.
pub const GAP: u32 = 14;
/// Between the parts of the sheet.
pub const WIDE_GAP: u32 = 28;
/// Height of a wafer's name above it.
pub const NAME: u32 = Small.line();
/// Room for all wafers: without, and beside an enlarged region.
const ROOM: (u32, u32) = (1420, 900);
const ROOM_BESIDE_DETAIL: (u32, u32) = (1000, 900);
/// Room for the enlarged region.
const DETAIL_ROOM: (u32, u32) = (760, 760);
/// Least width of a sheet, for title, legend and caption.
const LEAST_WIDTH: u32 = 760;
/// Pixels of a processing element at most.
const LARGEST_PE: f64 = 40.0;

/// A field of processing elements on the sheet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    pub frame: Frame,
    /// Pixels of a processing element.
    pub scale: f64,
    /// Column and row in its upper left corner.
    pub origin: (u32, u32),
}

impl Field {
    /// A rectangle of processing elements on the sheet, at least one pixel large.
    pub fn frame_of(&self, x: u32, y: u32, columns: u32, rows: u32) -> Frame {
        let along = |start: u32, from: u32, length: u32, count: u32| {
            let pixel = |at: u32| (f64::from(at.saturating_sub(from)) * self.scale).round() as u32;
            let (low, high) =
                (pixel(start).min(length.saturating_sub(1)), pixel(start.saturating_add(count)).min(length));
            (low, high.saturating_sub(low).max(1))
        };
        let (left, width) = along(x, self.origin.0, self.frame.width, columns);
        let (top, height) = along(y, self.origin.1, self.frame.height, rows);
        Frame { x: self.frame.x + left, y: self.frame.y + top, width, height }
    }

    fn new(corner: (u32, u32), size: (u32, u32), scale: f64, origin: (u32, u32)) -> Self {
        let side = |count: u32| ((f64::from(count) * scale).round() as u32).max(1);
        let frame = Frame { x: corner.0, y: corner.1, width: side(size.0), height: side(size.1) };
        Self { frame, scale, origin }
    }
}

/// Where everything stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    pub width: u32,
    /// Lower edge of wafers and detail, scale bars included.
    pub body_end: u32,
    /// The wafers.
    pub wafers: Vec<Field>,
    /// The enlarged region; its name stands above.
    pub detail: Option<Field>,
}

impl Sheet {
    /// The sheet of a map that has been checked.
    pub fn of(map: &WaferMap) -> Self {
        let region = map.detail.and_then(|index| map.regions.get(index));
        let room = if region.is_some() { ROOM_BESIDE_DETAIL } else { ROOM };
        let (across, scale) = grid(map, room);
        let down = map.wafers.div_ceil(across);
        let top = MARGIN + Large.line() + 10 + NAME;
        let sample = Field::new((0, 0), map.wafer_size, scale, (0, 0)).frame;
        let wafers: Vec<Field> = (0..map.wafers)
            .map(|wafer| {
                let x = MARGIN + wafer % across * (sample.width + GAP);
                let y = top + wafer / across * (sample.height + NAME + GAP);
                Field::new((x, y), map.wafer_size, scale, (0, 0))
            })
            .collect();
        let strip_width = across * (sample.width + GAP) - GAP;
        let below = 10 + Small.line();
        let mut body_end = top + down * (sample.height + NAME + GAP) - NAME - GAP + below;
        let mut width = MARGIN + strip_width + MARGIN;
        let detail = region.map(|region| {
            let place = region.place;
            let fit = |room: u32, count: u32| f64::from(room) / f64::from(count);
            let scale = fit(DETAIL_ROOM.0, place.columns).min(fit(DETAIL_ROOM.1, place.rows)).min(LARGEST_PE);
            let corner = (MARGIN + strip_width + WIDE_GAP, top);
            Field::new(corner, (place.columns, place.rows), scale, (place.x, place.y))
        });
        if let Some(field) = &detail {
            width = field.frame.x + field.frame.width.max(300) + MARGIN;
            // Scale bar, memory bar and its words.
            body_end = body_end.max(top + field.frame.height + below + 16 + 2 * Small.line());
        }
        Self { width: width.max(LEAST_WIDTH), body_end, wafers, detail }
    }
}

/// Wafers side by side, and the scale: the largest at which all fit the room; of equals the fewest lines.
fn grid(map: &WaferMap, room: (u32, u32)) -> (u32, f64) {
    let mut best = (1, 0.0);
    for across in (1..=map.wafers).rev() {
        let down = map.wafers.div_ceil(across);
        let fit = |room: u32, count: u32, beside: u32, pes: u32| {
            (f64::from(room) / f64::from(count) - f64::from(beside)) / f64::from(pes)
        };
        let scale = fit(room.0, across, GAP, map.wafer_size.0).min(fit(room.1, down, GAP + NAME, map.wafer_size.1));
        if scale > best.1 {
            best = (across, scale);
        }
    }
    (best.0, best.1.min(LARGEST_PE))
}
