//! A chart from the title to the caption.

use colorous::TABLEAU10;

use super::labels::Labels;
use super::scale::Ruler;
use super::{Chart, Point};
use crate::canvas::{Rgb, lines};
use crate::drawing::TextSize::{Large, Small};
use crate::drawing::{Drawing, FAINT, Frame, INK, PAPER, SOFT, shortened};

const WIDTH: u32 = 900;
const PLOT_HEIGHT: u32 = 480;
const MARGIN: u32 = 16;
const TICK: u32 = 5;
/// Of Tableau's ten colors those farthest apart, without the grey.
const SERIES_COLORS: [usize; super::MOST_SERIES] = [0, 1, 4, 6, 2, 8, 3, 5];
const TARGET: Rgb = [0xb0, 0x20, 0x20];
const RADIUS: f64 = 4.0;
const KNEE_RADIUS: f64 = 7.5;

/// The color of a series.
pub fn series_color(index: usize) -> Rgb {
    let color = TABLEAU10[SERIES_COLORS[index % SERIES_COLORS.len()] % TABLEAU10.len()];
    [color.r, color.g, color.b]
}

/// The field between the axes.
struct Plot {
    frame: Frame,
    x: Ruler,
    y: Ruler,
}

impl Plot {
    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            f64::from(self.frame.x) + self.x.part(x) * f64::from(self.frame.width),
            f64::from(self.frame.y) + (1.0 - self.y.part(y)) * f64::from(self.frame.height),
        )
    }
}

/// Draws a chart that has been checked.
pub fn draw(chart: &Chart) -> Drawing {
    let mut drawing = Drawing::new(WIDTH, 0, chart.title.clone());
    let room = WIDTH - 2 * MARGIN;
    let cut = |text: &str| shortened(text, Small, room).unwrap_or_default();
    drawing.text((MARGIN, MARGIN), Large, shortened(&chart.title, Large, room).unwrap_or_default(), INK);
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x = Ruler::new(chart.x.scale, points().map(|point| point.x), 8);
    let targets = chart.targets.iter().map(|(value, _)| *value);
    let y = Ruler::new(chart.y.scale, points().map(|point| point.y).chain(targets), 7);
    let name_y = MARGIN + Large.line() + 6;
    let widest = y.numbers.iter().map(|(_, text)| Small.width(text)).max().unwrap_or(0);
    let left = MARGIN + widest + TICK + 5;
    let frame = Frame {
        x: left,
        y: name_y + Small.line() + 4,
        width: WIDTH.saturating_sub(left + MARGIN + 24).max(200),
        height: PLOT_HEIGHT,
    };
    drawing.text((MARGIN, name_y), Small, cut(&chart.y.name), SOFT);
    let plot = Plot { frame, x, y };
    draw_axes(&plot, &mut drawing);
    let below = frame.y + frame.height + TICK + 4 + Small.line();
    drawing.centered((frame.x + frame.width / 2, below), Small, &cut(&chart.x.name), SOFT);
    draw_series(chart, &plot, &mut drawing);
    let mut y = draw_legend(chart, below + Small.line() + 8, &mut drawing);
    let letters = (room / Small.font().width()) as usize;
    for line in chart.caption.iter().flat_map(|sentence| lines(sentence, letters)) {
        drawing.text((MARGIN, y), Small, cut(&line), SOFT);
        y += Small.line();
    }
    drawing.height = y + MARGIN;
    drawing
}

fn draw_axes(plot: &Plot, drawing: &mut Drawing) {
    let Frame { x: left, y: top, width, height } = plot.frame;
    let column = |value: f64| left + (plot.x.part(value) * f64::from(width)).round() as u32;
    let row = |value: f64| top + ((1.0 - plot.y.part(value)) * f64::from(height)).round() as u32;
    for value in plot.x.numbers.iter().map(|(value, _)| *value) {
        drawing.fill(Frame { x: column(value), y: top, width: 1, height }, FAINT);
    }
    for value in plot.y.numbers.iter().map(|(value, _)| *value) {
        drawing.fill(Frame { x: left, y: row(value), width, height: 1 }, FAINT);
    }
    drawing.fill(Frame { x: left, y: top + height, width: width + 1, height: 1 }, INK);
    drawing.fill(Frame { x: left, y: top, width: 1, height }, INK);
    let mut end = 0;
    for (value, text) in &plot.x.numbers {
        let x = column(*value);
        drawing.fill(Frame { x, y: top + height + 1, width: 1, height: TICK }, INK);
        let start = x.saturating_sub(Small.width(text) / 2);
        // A number without room is left out, its tick stays.
        if start >= end {
            drawing.text((start, top + height + TICK + 3), Small, text.as_str(), INK);
            end = start + Small.width(text) + Small.font().width();
        }
    }
    for (value, text) in &plot.y.numbers {
        let y = row(*value);
        drawing.fill(Frame { x: left - TICK, y, width: TICK, height: 1 }, INK);
        let start = left.saturating_sub(TICK + 4 + Small.width(text));
        drawing.text((start, y.saturating_sub(Small.line() / 2 - 2)), Small, text.as_str(), INK);
    }
    for value in &plot.x.between {
        drawing.fill(Frame { x: column(*value), y: top + height + 1, width: 1, height: 2 }, INK);
    }
    for value in &plot.y.between {
        drawing.fill(Frame { x: left - 2, y: row(*value), width: 2, height: 1 }, INK);
    }
}

fn draw_series(chart: &Chart, plot: &Plot, drawing: &mut Drawing) {
    let mut labels = Labels::new(Frame { width: plot.frame.width + 24, ..plot.frame });
    let (left, right) = (f64::from(plot.frame.x), f64::from(plot.frame.x + plot.frame.width));
    for (value, name) in &chart.targets {
        let (_, y) = plot.at(0.0, *value);
        drawing.dashed(&[(left, y), (right, y)], TARGET, 1.5);
        let name = shortened(name, Small, plot.frame.width / 2).unwrap_or_default();
        // At the right end, above the line or below it where there is no room.
        let x = plot.frame.x + plot.frame.width - Small.width(&name) - 4;
        let above = (y as u32).saturating_sub(Small.line());
        let top = if above >= plot.frame.y { above } else { y as u32 + 3 };
        labels.keep_free(Frame { x, y: top, width: Small.width(&name), height: Small.line() - 4 });
        labels.avoid((left, y), (right, y));
        drawing.text((x, top), Small, name, TARGET);
    }
    let paths: Vec<Vec<(f64, f64)>> = chart
        .series
        .iter()
        .map(|series| thinned(series.points.iter().map(|point| plot.at(point.x, point.y))))
        .collect();
    for (index, path) in paths.iter().enumerate() {
        drawing.line(path, series_color(index), 2.0);
        path.windows(2).for_each(|pair| labels.avoid(pair[0], pair[1]));
    }
    let marked = || chart.series.iter().enumerate().filter(|(_, series)| series.marked);
    for (index, series) in marked() {
        for (at, point) in series.points.iter().enumerate() {
            let middle = plot.at(point.x, point.y);
            let is_knee = series.knee == Some(at);
            if is_knee {
                drawing.disc(middle, KNEE_RADIUS, PAPER, Some(series_color(index)));
            }
            drawing.disc(middle, RADIUS, series_color(index), None);
            let reach = if is_knee { KNEE_RADIUS } else { RADIUS };
            let corner = |value: f64| (value - reach).max(0.0) as u32;
            let side = (2.0 * reach) as u32 + 1;
            labels.keep_free(Frame { x: corner(middle.0), y: corner(middle.1), width: side, height: side });
        }
    }
    // Knees first: theirs are the labels that must not be dropped.
    let words = |series: &super::Series, at: usize, point: &Point| match (series.knee == Some(at), point.label.as_str())
    {
        (true, "") => "knee".to_owned(),
        (true, label) => format!("{label} (knee)"),
        (false, label) => label.to_owned(),
    };
    for knees in [true, false] {
        for (index, series) in marked() {
            for (at, point) in series.points.iter().enumerate().filter(|(at, _)| (series.knee == Some(*at)) == knees) {
                let text = words(series, at, point);
                let (x, y) = plot.at(point.x, point.y);
                if text.is_empty() {
                    continue;
                }
                if let Some(corner) = labels.place((x.round() as u32, y.round() as u32), &text) {
                    drawing.text(corner, Small, text, darker(series_color(index)));
                }
            }
        }
    }
}

/// A color that reads as text on white.
fn darker(color: Rgb) -> Rgb {
    color.map(|part| (u32::from(part) * 7 / 10) as u8)
}

/// A line without the points that no pixel shows: of each column of pixels the first, the highest, the lowest and the
/// last.
fn thinned(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut column: Vec<(f64, f64)> = Vec::new();
    let mut flush = |column: &mut Vec<(f64, f64)>| {
        if column.len() <= 4 {
            kept.append(column);
            return;
        }
        let by_height = |one: &usize, other: &usize| column[*one].1.total_cmp(&column[*other].1);
        let lowest = (0..column.len()).min_by(by_height).unwrap_or(0);
        let highest = (0..column.len()).max_by(by_height).unwrap_or(0);
        let mut wanted = [0, lowest.min(highest), lowest.max(highest), column.len() - 1].to_vec();
        wanted.dedup();
        kept.extend(wanted.into_iter().map(|index| column[index]));
        column.clear();
    };
    for point in points {
        if column.first().is_some_and(|first| first.0.floor() != point.0.floor()) {
            flush(&mut column);
        }
        column.push(point);
    }
    flush(&mut column);
    kept
}

fn draw_legend(chart: &Chart, y: u32, drawing: &mut Drawing) -> u32 {
    let (mut x, mut y) = (MARGIN, y);
    let room = WIDTH - 2 * MARGIN - 40;
    for (index, series) in chart.series.iter().enumerate() {
        let name = shortened(&series.name, Small, room).unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        let wide = 28 + Small.width(&name) + 22;
        if x > MARGIN && x + wide > WIDTH - MARGIN {
            (x, y) = (MARGIN, y + Small.line());
        }
        let level = f64::from(y + Small.line() / 2 - 2);
        drawing.line(&[(f64::from(x), level), (f64::from(x) + 22.0, level)], series_color(index), 2.0);
        if series.marked {
            drawing.disc((f64::from(x) + 11.0, level), RADIUS, series_color(index), None);
        }
        drawing.text((x + 28, y), Small, name, INK);
        x += wide;
    }
    y + Small.line() + 6
}
