//! Pictures from plain data: heat maps of a wafer, wafer maps, charts.
//!
//! | function | draws | as |
//! |---|---|---|
//! | [`heat_map`] | a value for every processing element | PNG |
//! | [`wafer_map_svg`], [`wafer_map_png`] | what lives where on wafers, experts shaded by their load | SVG, PNG |
//! | [`waterfall_svg`], [`waterfall_png`] | totals and the steps between them | SVG, PNG |
//! | [`tornado_svg`], [`tornado_png`] | what each of several parameters makes of a figure | SVG, PNG |
//! | [`chart_svg`], [`chart_png`] | frontiers and distributions: see [`chart`] | SVG, PNG |
//!
//! # Heat maps
//!
//! A color for every processing element, with a title, axes in columns and rows, and a color bar with numbers and their
//! unit.
//!
//! Colors are those of *viridis* or *inferno* (perceptually uniform, readable without red and green); places that take
//! no part are grey. Small maps draw a place as a square of pixels, maps of a wafer one pixel, larger ones the largest
//! or the mean value of blocks, which the picture then says. Text is set in Noto Sans Mono (a raster of it, by the
//! crate `noto-sans-mono-bitmap`); what is not ASCII is shown as a question mark.
//!
//! This crate knows values, rectangles and names; nothing of models, programs or files. The same data give the same
//! bytes. SVG has static shapes and text only, and what a name contains is escaped.
//!
//! ```
//! use wafersim_picture::{Colors, HeatMap, Reduction, heat_map};
//!
//! let values: Vec<f64> = (0..12 * 8).map(|place| if place == 0 { f64::NAN } else { f64::from(place) }).collect();
//! let map = HeatMap {
//!     title: "Busy cores".into(),
//!     caption: vec!["an example".into()],
//!     origin: (100, 200),
//!     columns: 12,
//!     rows: 8,
//!     values: &values,
//!     unit: "cycles".into(),
//!     highest: None,
//!     colors: Colors::Viridis,
//!     reduction: Reduction::Largest,
//! };
//! let png: Vec<u8> = heat_map(&map)?;
//! assert_eq!(&png[1..4], b"PNG");
//! # Ok::<(), wafersim_picture::PictureError>(())
//! ```

mod axis;
mod canvas;
pub mod chart;
mod drawing;
mod error;
mod heat_map;
mod paint;
mod plot;
mod svg;
pub mod tornado;
pub mod wafer_map;
pub mod waterfall;

pub use chart::{Chart, chart_png, chart_svg};
pub use error::PictureError;
pub use heat_map::{Colors, HeatMap, Reduction, heat_map};
pub use plot::HeatMapLayout;
pub use tornado::{Tornado, TornadoRow, tornado_png, tornado_svg};
pub use wafer_map::{WaferMap, wafer_map_png, wafer_map_svg};
pub use waterfall::{Waterfall, WaterfallRow, waterfall_png, waterfall_svg};
