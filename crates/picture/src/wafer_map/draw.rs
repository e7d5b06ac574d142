//! A wafer map on its sheet, from top to bottom.

use super::WaferMap;
use super::legend;
use super::panel::{draw_detail, draw_wafer, scale_bar};
use super::sheet::{MARGIN, Sheet};
use crate::canvas::lines;
use crate::drawing::TextSize::{Large, Small};
use crate::drawing::{Drawing, INK, SOFT, shortened};

/// Draws a map that has been checked.
pub fn draw(map: &WaferMap) -> Drawing {
    let sheet = Sheet::of(map);
    let mut drawing = Drawing::new(sheet.width, 0, map.title.clone());
    let title = shortened(&map.title, Large, sheet.width - 2 * MARGIN).unwrap_or_default();
    drawing.text((MARGIN, MARGIN), Large, title, INK);
    for (wafer, field) in sheet.wafers.iter().enumerate() {
        draw_wafer(map, wafer as u32, field, &mut drawing);
    }
    if let Some(last) = sheet.wafers.last().zip(sheet.wafers.first()) {
        let (last, first) = last;
        scale_bar(map.wafer_size.0, last.scale, (first.frame.x, last.frame.y + last.frame.height + 6), &mut drawing);
    }
    if let (Some(field), Some(region)) = (&sheet.detail, map.detail.and_then(|index| map.regions.get(index))) {
        draw_detail(map, region, field, &mut drawing);
    }
    let mut y = legend::draw(map, sheet.width, sheet.body_end + 12, &mut drawing);
    let letters = ((sheet.width - 2 * MARGIN) / Small.font().width()).max(8) as usize;
    for line in map.caption.iter().flat_map(|sentence| lines(sentence, letters)) {
        let line = shortened(&line, Small, sheet.width - 2 * MARGIN).unwrap_or_default();
        drawing.text((MARGIN, y), Small, line, SOFT);
        y += Small.line();
    }
    drawing.height = y + MARGIN;
    drawing
}
