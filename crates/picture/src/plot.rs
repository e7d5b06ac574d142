//! Where things stand in a picture, and the drawing of them.

use crate::axis::{label, round_step, ticks};
use crate::canvas::{Canvas, LARGE, Rgb, SMALL, lines};
use crate::heat_map::{HeatMap, NOT_USED, Reduction};

/// Longest side of the map in pixels; only maps with more places than that are longer than the places need.
const LONGEST: u32 = 1200;
/// Longest side that small maps are enlarged to.
const ENLARGED: u32 = 640;
/// Pixels of a place at most.
const LARGEST_PLACE: u32 = 40;
/// Least width for title and caption.
const LEAST_WIDTH: u32 = 560;
/// Least height of the color bar.
const LEAST_BAR: u32 = 180;
const MARGIN: u32 = 14;
const BAR_WIDTH: u32 = 22;
const TICK: u32 = 5;

const PAPER: Rgb = [0xff, 0xff, 0xff];
const INK: Rgb = [0x20, 0x20, 0x20];
const SOFT: Rgb = [0x58, 0x58, 0x58];

/// Where the parts of a picture stand, in pixels from its upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMapLayout {
    /// Width of the picture.
    pub width: u32,
    /// Height of the picture.
    pub height: u32,
    /// Upper left corner of the map.
    pub map: (u32, u32),
    /// Size of the map.
    pub map_size: (u32, u32),
    /// Pixels along a side of a place; 1 where a pixel stands for `places`.
    pub pixels: u32,
    /// Places along a side of the square that a pixel stands for; 1 where a place has one pixel or more.
    pub places: u32,
    /// Upper left corner of the color bar.
    pub bar: (u32, u32),
    /// Height of the color bar.
    pub bar_height: u32,
    title: Vec<String>,
    caption: Vec<String>,
}

impl HeatMapLayout {
    /// The layout of a map.
    pub fn of(map: &HeatMap<'_>) -> Self {
        let longer = map.columns.max(map.rows).max(1);
        let places = longer.div_ceil(LONGEST);
        let pixels = if places > 1 { 1 } else { (ENLARGED / longer).clamp(1, LARGEST_PLACE) };
        let size = |count: u32| count.div_ceil(places) * pixels;
        let map_size = (size(map.columns), size(map.rows));

        let (_, end) = axis_ends(map.origin.1, map.rows);
        let left = MARGIN + SMALL.text_width(&label(end, 1.0)).max(SMALL.text_width("row")) + TICK + 4;
        let (step, numbers) = bar_ticks(map);
        let longest_number = numbers.iter().map(|value| SMALL.text_width(&label(*value, step))).max().unwrap_or(0);
        let legend = (BAR_WIDTH + TICK + 4 + longest_number)
            .max(SMALL.text_width(&map.unit))
            .max(BAR_WIDTH + 6 + SMALL.text_width("not used"));
        let width = (left + map_size.0 + 24 + legend + MARGIN).max(LEAST_WIDTH);

        let letters = |font: crate::canvas::Font| ((width - 2 * MARGIN) / font.width()).max(8) as usize;
        let title = lines(&map.title, letters(LARGE));
        let mut sentences = map.caption.clone();
        sentences.push(scale_sentence(map, pixels, places));
        let caption: Vec<String> = sentences.iter().flat_map(|sentence| lines(sentence, letters(SMALL))).collect();

        // Above the map: the title, and the unit over the color bar.
        let top = MARGIN + title.len() as u32 * LARGE.line() + 6 + SMALL.line();
        let bar_height = map_size.1.max(LEAST_BAR);
        let below = TICK + 2 + 2 * SMALL.line() + 8;
        let body = (map_size.1 + below).max(bar_height + 12 + SMALL.line() + 8);
        let height = top + body + caption.len() as u32 * SMALL.line() + MARGIN;
        Self {
            width,
            height,
            map: (left, top),
            map_size,
            pixels,
            places,
            bar: (left + map_size.0 + 24, top),
            bar_height,
            title,
            caption,
        }
    }
}

/// What one pixel or square is.
fn scale_sentence(map: &HeatMap<'_>, pixels: u32, places: u32) -> String {
    if places > 1 {
        let what = match map.reduction {
            Reduction::Largest => "the largest value",
            Reduction::Mean => "the mean",
        };
        format!("One pixel shows {what} of {places} x {places} PEs.")
    } else {
        format!("One PE is {pixels} x {pixels} pixel{}.", if pixels == 1 { "" } else { "s" })
    }
}

/// First and last place of an axis, as it counts.
fn axis_ends(origin: u64, count: u32) -> (f64, f64) {
    (origin as f64, origin as f64 + f64::from(count.saturating_sub(1)))
}

/// Step and numbers of the color bar.
fn bar_ticks(map: &HeatMap<'_>) -> (f64, Vec<f64>) {
    const WANTED: usize = 5;
    let end = map.end();
    (round_step(end / WANTED as f64), ticks(0.0, end, WANTED))
}

/// Draws a map that has been checked.
pub fn draw(map: &HeatMap<'_>, layout: &HeatMapLayout) -> Canvas {
    let mut canvas = Canvas::new(layout.width, layout.height, PAPER);
    for (index, line) in layout.title.iter().enumerate() {
        canvas.text((MARGIN, MARGIN + index as u32 * LARGE.line()), LARGE, line, INK);
    }
    draw_places(map, layout, &mut canvas);
    draw_axes(map, layout, &mut canvas);
    draw_bar(map, layout, &mut canvas);
    let below = layout.height - MARGIN - layout.caption.len() as u32 * SMALL.line();
    for (index, line) in layout.caption.iter().enumerate() {
        canvas.text((MARGIN, below + index as u32 * SMALL.line()), SMALL, line, SOFT);
    }
    canvas
}

fn draw_places(map: &HeatMap<'_>, layout: &HeatMapLayout, canvas: &mut Canvas) {
    let (places, pixels, end) = (layout.places, layout.pixels, map.end());
    for row in 0..map.rows.div_ceil(places) {
        for column in 0..map.columns.div_ceil(places) {
            let value = map.block((column * places, row * places), (places, places));
            let color = value.map_or(NOT_USED, |value| map.colors.at(value / end));
            let corner = (layout.map.0 + column * pixels, layout.map.1 + row * pixels);
            canvas.fill(corner, (pixels, pixels), color);
        }
    }
    canvas.frame(layout.map, layout.map_size, INK);
}

fn draw_axes(map: &HeatMap<'_>, layout: &HeatMapLayout, canvas: &mut Canvas) {
    let (left, top) = layout.map;
    let (width, height) = layout.map_size;
    // The middle of a place, in pixels from the map's corner.
    let middle = |from: f64, value: f64| {
        ((value - from) * f64::from(layout.pixels) / f64::from(layout.places) + f64::from(layout.pixels) / 2.0) as u32
    };
    let (first, last) = axis_ends(map.origin.0, map.columns);
    let wide = SMALL.text_width(&label(last, 1.0)) + 2 * SMALL.width();
    for value in whole_ticks(first, last, (width / wide.max(1)).min(10)) {
        let (x, text) = (left + middle(first, value), label(value, 1.0));
        canvas.fill((x, top + height + 1), (1, TICK), INK);
        let half = SMALL.text_width(&text) / 2;
        canvas.text((x.saturating_sub(half), top + height + TICK + 2), SMALL, &text, INK);
    }
    let name = "column";
    let x = left + (width / 2).saturating_sub(SMALL.text_width(name) / 2);
    canvas.text((x, top + height + TICK + 2 + SMALL.line()), SMALL, name, SOFT);

    let (first, last) = axis_ends(map.origin.1, map.rows);
    for value in whole_ticks(first, last, (height / (2 * SMALL.line())).min(12)) {
        let (y, text) = (top + middle(first, value), label(value, 1.0));
        canvas.fill((left.saturating_sub(1 + TICK), y), (TICK, 1), INK);
        let x = left.saturating_sub(TICK + 4 + SMALL.text_width(&text));
        canvas.text((x, y.saturating_sub(SMALL.line() / 2 - 2)), SMALL, &text, INK);
    }
    let name = "row";
    let x = left.saturating_sub(TICK + 4 + SMALL.text_width(name));
    canvas.text((x, top.saturating_sub(SMALL.line() + 6)), SMALL, name, SOFT);
}

/// Ticks at whole numbers only: there is no half place.
fn whole_ticks(first: f64, last: f64, wanted: u32) -> Vec<f64> {
    let mut values = ticks(first, last, wanted.max(1) as usize);
    values.retain(|value| value.fract().abs() < 1e-6 && (first..=last).contains(value));
    values
}

fn draw_bar(map: &HeatMap<'_>, layout: &HeatMapLayout, canvas: &mut Canvas) {
    let ((left, top), height) = (layout.bar, layout.bar_height);
    canvas.text((left, top.saturating_sub(SMALL.line() + 6)), SMALL, &map.unit, SOFT);
    let steps = f64::from(height.saturating_sub(1).max(1));
    for row in 0..height {
        canvas.fill((left, top + row), (BAR_WIDTH, 1), map.colors.at(1.0 - f64::from(row) / steps));
    }
    canvas.frame((left, top), (BAR_WIDTH, height), INK);
    let (step, numbers) = bar_ticks(map);
    for value in numbers {
        let y = top + ((1.0 - value / map.end()) * steps).round().max(0.0) as u32;
        canvas.fill((left + BAR_WIDTH + 1, y), (TICK, 1), INK);
        canvas.text(
            (left + BAR_WIDTH + TICK + 4, y.saturating_sub(SMALL.line() / 2 - 2)),
            SMALL,
            &label(value, step),
            INK,
        );
    }
    if map.values.iter().any(|value| value.is_nan()) {
        let corner = (left, top + height + 12);
        canvas.fill(corner, (BAR_WIDTH, 14), NOT_USED);
        canvas.frame(corner, (BAR_WIDTH, 14), INK);
        canvas.text((left + BAR_WIDTH + 6, top + height + 10), SMALL, "not used", INK);
    }
}
