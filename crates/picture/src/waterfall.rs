//! A waterfall: totals, and between them the steps that lead from one to the next. Plain data in, SVG or PNG out.

use crate::axis::{label, ticks};
use crate::canvas::{Rgb, lines};
use crate::drawing::TextSize::{Large, Small};
use crate::drawing::{Drawing, FAINT, Frame, INK, SOFT, shortened};
use crate::error::PictureError;
use crate::{paint, svg};

/// Rows at most.
pub const MOST_ROWS: usize = 100;

const WIDTH: u32 = 900;
const MARGIN: u32 = 16;
/// Room for names at the left, at least and at most, and for numbers at the right of the bars.
const NAMES: u32 = 250;
const WIDE_NAMES: u32 = 350;
const NUMBERS: u32 = 120;
const BAR: u32 = 14;
const ROW: u32 = 20;
const TOTAL: Rgb = [0x4e, 0x79, 0xa7];
const BETTER: Rgb = [0x59, 0xa1, 0x4f];
const WORSE: Rgb = [0xe1, 0x57, 0x59];

/// Totals and steps, from top to bottom.
#[derive(Debug, Clone, PartialEq)]
pub struct Waterfall {
    /// What is shown.
    pub title: String,
    /// Sentences below.
    pub caption: Vec<String>,
    /// What is counted, with its unit.
    pub axis: String,
    /// Whether more of it is better: then what falls is drawn as a loss.
    pub is_more_better: bool,
    /// The rows; 1 to [`MOST_ROWS`], the first a total.
    pub rows: Vec<WaterfallRow>,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct WaterfallRow {
    /// What it is.
    pub name: String,
    /// What is left after it; a number from 0.
    pub value: f64,
    /// Whether the whole of it is drawn, or what it changes.
    pub is_total: bool,
}

/// A waterfall as SVG: shapes and text only.
///
/// # Errors
/// Where there are no rows or too many, the first is no total, or a value is no number from 0.
pub fn waterfall_svg(waterfall: &Waterfall) -> Result<String, PictureError> {
    drawing(waterfall).map(|drawing| svg::svg(&drawing))
}

/// A waterfall as PNG (8 bit RGB), the same picture as the SVG.
///
/// # Errors
/// As [`waterfall_svg`].
pub fn waterfall_png(waterfall: &Waterfall) -> Result<Vec<u8>, PictureError> {
    paint::png(&drawing(waterfall)?)
}

fn check(waterfall: &Waterfall) -> Result<(), PictureError> {
    let refuse = |what: String, value: String, allowed: &str| {
        Err(PictureError::Chart { title: waterfall.title.clone(), what, value, allowed: allowed.into() })
    };
    if !(1..=MOST_ROWS).contains(&waterfall.rows.len()) {
        return refuse("the number of rows".into(), waterfall.rows.len().to_string(), "1 to 100");
    }
    if let Some(first) = waterfall.rows.first().filter(|first| !first.is_total) {
        return refuse("the first row".into(), format!("the step '{}'", first.name), "a total");
    }
    match waterfall.rows.iter().find(|row| !(row.value.is_finite() && row.value >= 0.0)) {
        Some(row) => refuse(format!("the value of '{}'", row.name), row.value.to_string(), "finite numbers from 0"),
        None => Ok(()),
    }
}

fn drawing(waterfall: &Waterfall) -> Result<Drawing, PictureError> {
    check(waterfall)?;
    let mut drawing = Drawing::new(WIDTH, 0, waterfall.title.clone());
    let room = WIDTH - 2 * MARGIN;
    drawing.text((MARGIN, MARGIN), Large, shortened(&waterfall.title, Large, room).unwrap_or_default(), INK);
    let letters = waterfall.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let names =
        (u32::try_from(letters).unwrap_or(u32::MAX).saturating_mul(Small.font().width()) + 8).clamp(NAMES, WIDE_NAMES);
    let (left, width) = (MARGIN + names, room - names - NUMBERS);
    let largest = waterfall.rows.iter().fold(0.0f64, |largest, row| largest.max(row.value));
    let at = |value: f64| left + (value / largest.max(f64::MIN_POSITIVE) * f64::from(width)).round() as u32;
    let name_y = MARGIN + Large.line() + 6;
    drawing.text((left, name_y), Small, shortened(&waterfall.axis, Small, width + NUMBERS).unwrap_or_default(), SOFT);
    let top = name_y + Small.line() + 4;
    let bottom = top + ROW * waterfall.rows.len() as u32;
    let marks = ticks(0.0, largest, 6);
    let step = marks.get(1).map_or(1.0, |second| second - marks[0]);
    for mark in marks {
        drawing.fill(Frame { x: at(mark), y: top, width: 1, height: bottom - top }, FAINT);
        drawing.centered((at(mark), bottom + 3), Small, &label(mark, step), INK);
    }
    let mut before = 0.0f64;
    for (index, row) in waterfall.rows.iter().enumerate() {
        let y = top + ROW * index as u32;
        let name = shortened(&row.name, Small, names - 8).unwrap_or_default();
        drawing.text((MARGIN, y), Small, name, if row.is_total { INK } else { SOFT });
        let (from, to) = if row.is_total { (0.0, row.value) } else { (before.min(row.value), before.max(row.value)) };
        let color = if row.is_total {
            TOTAL
        } else if (row.value > before) == waterfall.is_more_better {
            BETTER
        } else {
            WORSE
        };
        drawing.fill(Frame { x: at(from), y: y + 2, width: (at(to) - at(from)).max(1), height: BAR }, color);
        let number = if row.is_total {
            label(row.value, 1.0)
        } else {
            let change = row.value - before;
            format!("{}{}", if change > 0.0 { "+" } else { "" }, label(change, change_step(change)))
        };
        drawing.text((at(to) + 6, y), Small, number, INK);
        before = row.value;
    }
    let letters = (room / Small.font().width()) as usize;
    let mut y = bottom + Small.line() + 10;
    for line in waterfall.caption.iter().flat_map(|sentence| lines(sentence, letters)) {
        drawing.text((MARGIN, y), Small, line, SOFT);
        y += Small.line();
    }
    drawing.height = y + MARGIN;
    Ok(drawing)
}

/// Small changes are written with a digit behind the point, the smallest with three.
fn change_step(change: f64) -> f64 {
    match change.abs() {
        size if size > 0.0 && size < 0.05 => 0.001,
        size if size < 10.0 => 0.1,
        _ => 1.0,
    }
}
