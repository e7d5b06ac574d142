//! Charts: points and lines of several series over linear or logarithmic axes (the frontier of a sweep), and how
//! samples such as latencies are distributed. Plain data in, SVG or PNG out.
//!
//! But for the names of a frontier it knows nothing of users or tokens.

mod check;
mod distribution;
mod draw;
mod frontier;
mod labels;
mod scale;

pub use distribution::{Bin, Distribution, Form, Sample, distribution};
pub use frontier::{Frontier, Sweep, SweepPoint, frontier};

use crate::drawing::Drawing;
use crate::error::PictureError;
use crate::{paint, svg};

/// Series of a chart at most: those that have a color of their own.
pub const MOST_SERIES: usize = 8;
/// Points of a series at most.
pub const MOST_POINTS: usize = 100_000;

/// Series over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// Sentences below.
    pub caption: Vec<String>,
    /// The axis below.
    pub x: ChartAxis,
    /// The axis at the left.
    pub y: ChartAxis,
    /// What is drawn; 1 to [`MOST_SERIES`].
    pub series: Vec<Series>,
    /// Lines at values of `y` that are to be reached, with their names.
    pub targets: Vec<(f64, String)>,
}

/// An axis; its ends follow from the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartAxis {
    /// What is counted, with its unit.
    pub name: String,
    /// How values become lengths.
    pub scale: Scale,
}

/// How values become lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0, or below where a value is.
    Linear,
    /// Powers of ten; values must be above 0.
    Logarithmic,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in the order in which they are joined; at most [`MOST_POINTS`].
    pub points: Vec<Point>,
    /// Whether points are marked; only joined otherwise.
    pub marked: bool,
    /// The point that is marked with a ring and the word "knee": its index.
    pub knee: Option<usize>,
}

/// A point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Along the axis below.
    pub x: f64,
    /// Along the axis at the left.
    pub y: f64,
    /// Written beside it where there is room; nothing where empty.
    pub label: String,
}

/// A chart as SVG: shapes and text only.
///
/// # Errors
/// Where there is nothing to draw, too much, or a value has no place on its axis.
pub fn chart_svg(chart: &Chart) -> Result<String, PictureError> {
    drawing(chart).map(|drawing| svg::svg(&drawing))
}

/// A chart as PNG (8 bit RGB), the same picture as the SVG.
///
/// # Errors
/// As [`chart_svg`].
pub fn chart_png(chart: &Chart) -> Result<Vec<u8>, PictureError> {
    paint::png(&drawing(chart)?)
}

fn drawing(chart: &Chart) -> Result<Drawing, PictureError> {
    check::check(chart)?;
    Ok(draw::draw(chart))
}
