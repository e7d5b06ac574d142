//! Heat maps of a wafer as PNG: a color for every processing element, with a title, axes in columns and rows, and a color bar
//! with numbers and their unit.
//!
//! Colors are those of *viridis* or *inferno* (perceptually uniform, readable without red and green); places that take no part
//! are grey. Small maps draw a place as a square of pixels, maps of a wafer one pixel, larger ones the largest or the mean
//! value of blocks, which the picture then says. Text is set in Noto Sans Mono (a raster of it, by the crate
//! `noto-sans-mono-bitmap`); what is not ASCII is shown as a question mark.
//!
//! This crate knows values and names; nothing of wafers, programs or files. The same map gives the same bytes.
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
pub mod wafer_map;

pub use chart::{Chart, chart_png, chart_svg};
pub use error::PictureError;
pub use heat_map::{Colors, HeatMap, Reduction, heat_map};
pub use plot::Layout;
pub use wafer_map::{WaferMap, wafer_map_png, wafer_map_svg};
