//! A tornado: what each of several parameters makes of a figure, from the figure as it is; with a line for a target.
//! Plain data in, SVG or PNG out.

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
/// Room for names at the left, and for what is said of a row at the right.
const NAMES: u32 = 250;
const NOTES: u32 = 170;
const BAR: u32 = 14;
const ROW: u32 = 20;
const REACH: Rgb = [0xa9, 0xc4, 0xe0];
const KNOWN: Rgb = [0x4e, 0x79, 0xa7];
const TARGET: Rgb = [0xe1, 0x57, 0x59];
/// Bars end here, as a part of the target or of the figure as it is, whichever is larger.
const FARTHEST: f64 = 1.5;

/// What each parameter makes of a figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Tornado {
    /// What is shown.
    pub title: String,
    /// Sentences below.
    pub caption: Vec<String>,
    /// What is counted, with its unit.
    pub axis: String,
    /// The figure as it is; above 0.
    pub now: f64,
    /// What it should be; above 0.
    pub target: f64,
    /// The rows, from top to bottom; 1 to [`MOST_ROWS`].
    pub rows: Vec<TornadoRow>,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct TornadoRow {
    /// Its name.
    pub name: String,
    /// The figure at its farthest value; from 0.
    pub reach: f64,
    /// The figure at both ends of the range that is known, where there is one; from 0.
    pub known: Option<(f64, f64)>,
    /// What is said at the right.
    pub note: String,
}

/// A tornado as SVG: shapes and text only.
///
/// # Errors
/// Where there are no rows or too many, or a figure is no number in its range.
pub fn tornado_svg(tornado: &Tornado) -> Result<String, PictureError> {
    drawing(tornado).map(|drawing| svg::svg(&drawing))
}

/// A tornado as PNG (8 bit RGB), the same picture as the SVG.
///
/// # Errors
/// As [`tornado_svg`].
pub fn tornado_png(tornado: &Tornado) -> Result<Vec<u8>, PictureError> {
    paint::png(&drawing(tornado)?)
}

fn check(tornado: &Tornado) -> Result<(), PictureError> {
    let refuse = |what: String, value: String, allowed: &str| {
        Err(PictureError::Chart { title: tornado.title.clone(), what, value, allowed: allowed.into() })
    };
    if !(1..=MOST_ROWS).contains(&tornado.rows.len()) {
        return refuse("the number of rows".into(), tornado.rows.len().to_string(), "1 to 100");
    }
    for (what, value) in [("the figure as it is", tornado.now), ("the target", tornado.target)] {
        if !(value.is_finite() && value > 0.0) {
            return refuse(what.into(), value.to_string(), "finite numbers above 0");
        }
    }
    let is_wrong = |value: f64| !(value.is_finite() && value >= 0.0);
    let wrong = tornado
        .rows
        .iter()
        .find(|row| is_wrong(row.reach) || row.known.is_some_and(|(low, high)| is_wrong(low) || is_wrong(high)));
    match wrong {
        Some(row) => refuse(format!("a figure of '{}'", row.name), format!("{row:?}"), "finite numbers from 0"),
        None => Ok(()),
    }
}

fn drawing(tornado: &Tornado) -> Result<Drawing, PictureError> {
    check(tornado)?;
    let mut drawing = Drawing::new(WIDTH, 0, tornado.title.clone());
    let room = WIDTH - 2 * MARGIN;
    drawing.text((MARGIN, MARGIN), Large, shortened(&tornado.title, Large, room).unwrap_or_default(), INK);
    let (left, width) = (MARGIN + NAMES, room - NAMES - NOTES);
    let farthest = FARTHEST * tornado.target.max(tornado.now);
    let largest =
        tornado.rows.iter().fold(tornado.target.max(tornado.now) * 1.05, |largest, row| largest.max(row.reach));
    let largest = largest.min(farthest);
    let at = |value: f64| left + (value.min(largest) / largest * f64::from(width)).round() as u32;
    let name_y = MARGIN + Large.line() + 6;
    drawing.text((left, name_y), Small, shortened(&tornado.axis, Small, width).unwrap_or_default(), SOFT);
    let top = name_y + 2 * Small.line() + 6;
    let bottom = top + ROW * tornado.rows.len() as u32;
    let marks = ticks(0.0, largest, 6);
    let step = marks.get(1).map_or(1.0, |second| second - marks[0]);
    for mark in marks {
        drawing.fill(Frame { x: at(mark), y: top, width: 1, height: bottom - top }, FAINT);
        drawing.centered((at(mark), bottom + 3), Small, &label(mark, step), INK);
    }
    for (index, row) in tornado.rows.iter().enumerate() {
        let y = top + ROW * index as u32;
        drawing.text((MARGIN, y), Small, shortened(&row.name, Small, NAMES - 8).unwrap_or_default(), INK);
        let mut bar = |(one, other): (f64, f64), inset: u32, color: Rgb| {
            let (from, to) = (at(one.min(other)), at(one.max(other)));
            let frame = Frame { x: from, y: y + 2 + inset, width: (to - from).max(1), height: BAR - 2 * inset };
            drawing.fill(frame, color);
        };
        bar((tornado.now, row.reach), 0, REACH);
        row.known.into_iter().for_each(|known| bar(known, 3, KNOWN));
        let cut = if row.reach > largest { "> " } else { "" };
        let note = format!("{cut}{}", row.note);
        let note = shortened(&note, Small, NOTES - 8).unwrap_or_default();
        drawing.text((left + width + 8, y), Small, note, SOFT);
    }
    for (value, color, name) in [(tornado.now, INK, "now"), (tornado.target, TARGET, "target")] {
        drawing.fill(Frame { x: at(value), y: top - 4, width: 2, height: bottom - top + 4 }, color);
        drawing.centered((at(value), top - 4 - Small.line()), Small, name, color);
    }
    let letters = (room / Small.font().width()) as usize;
    let mut y = bottom + Small.line() + 10;
    for line in tornado.caption.iter().flat_map(|sentence| lines(sentence, letters)) {
        drawing.text((MARGIN, y), Small, line, SOFT);
        y += Small.line();
    }
    drawing.height = y + MARGIN;
    Ok(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tornado(rows: &[(f64, Option<(f64, f64)>)]) -> Tornado {
        let row = |(reach, known): &(f64, Option<(f64, f64)>)| TornadoRow {
            name: "a <parameter>".into(),
            reach: *reach,
            known: *known,
            note: "1 to 2".into(),
        };
        let rows = rows.iter().map(row).collect();
        let (title, axis) = ("Levers".into(), "tok/s".into());
        Tornado { title, caption: vec!["A caption.".into()], axis, now: 900.0, target: 2000.0, rows }
    }

    #[test]
    fn every_row_has_a_bar_and_a_name() {
        let drawn = tornado_svg(&tornado(&[(1000.0, Some((800.0, 950.0))), (1e9, None), (0.0, None)])).unwrap();
        assert_eq!(drawn.matches("a &lt;parameter&gt;").count(), 3);
        assert!(drawn.contains("target") && drawn.contains("now") && drawn.contains("&gt; 1 to 2"), "{drawn}");
        assert_eq!(&tornado_png(&tornado(&[(1000.0, None)])).unwrap()[1..4], b"PNG");
    }

    #[test]
    fn figures_that_are_none_are_refused() {
        for rows in [&[][..], &[(f64::NAN, None)], &[(1.0, Some((-1.0, 2.0)))]] {
            assert!(tornado_svg(&tornado(rows)).is_err());
        }
        assert!(tornado_svg(&Tornado { target: 0.0, ..tornado(&[(1.0, None)]) }).is_err());
    }
}
