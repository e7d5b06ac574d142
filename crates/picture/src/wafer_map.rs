//! What lies where on wafers: regions of layers and tables in their true rectangles, rectangles of experts within them
//! shaded by their load, what the memory of a region holds, one region enlarged. Plain data in, SVG or PNG out.
//!
//! It knows rectangles, names and shares; nothing of models or placements.

mod check;
mod draw;
mod legend;
mod panel;
mod sheet;

use crate::drawing::Drawing;
use crate::error::PictureError;
use crate::{paint, svg};

/// Wafers of a map at most.
pub const MOST_WAFERS: u32 = 64;
/// Rectangles of a map at most.
pub const MOST_AREAS: usize = 200_000;
/// Groups of regions that have a color of their own.
pub const MOST_GROUPS: usize = 8;

/// Wafers side by side and what they hold.
#[derive(Debug, Clone, PartialEq)]
pub struct WaferMap {
    /// What is shown.
    pub title: String,
    /// Sentences below the map.
    pub caption: Vec<String>,
    /// Columns and rows of a wafer, 1 to 4096 each.
    pub wafer_size: (u32, u32),
    /// Wafers, 1 to [`MOST_WAFERS`].
    pub wafers: u32,
    /// Names of the groups of regions, for the legend; at most [`MOST_GROUPS`], each with a color.
    pub groups: Vec<String>,
    /// Regions: first drawn, lowest. Processing elements of no region are grey.
    pub regions: Vec<DrawnRegion>,
    /// Rectangles of experts, drawn over the regions.
    pub experts: Vec<ExpertArea>,
    /// What the load of experts counts, with its unit, for the legend: "pairs per batch".
    pub load_name: String,
    /// Load at the end of the scale, which begins at 0; the largest where left out. Larger loads have the last color.
    pub highest_load: Option<f64>,
    /// A region that is drawn once more, enlarged: its index.
    pub detail: Option<usize>,
}

/// A rectangle of processing elements on a wafer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Wafer, from 0.
    pub wafer: u32,
    /// Westernmost column.
    pub x: u32,
    /// Northernmost row.
    pub y: u32,
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

impl Place {
    /// Whether another, which has been checked, lies inside.
    pub(crate) const fn holds(&self, inner: &Self) -> bool {
        inner.wafer == self.wafer
            && inner.x >= self.x
            && inner.y >= self.y
            && inner.x + inner.columns <= self.x + self.columns
            && inner.y + inner.rows <= self.y + self.rows
    }
}

/// What lives in a region.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnRegion {
    /// Where.
    pub place: Place,
    /// Its name, for example "layers 3 to 5".
    pub name: String,
    /// Its name where that has no room: "3-5".
    pub short_name: String,
    /// Index in [`WaferMap::groups`].
    pub group: usize,
    /// What its memory holds; nothing where that is not known.
    pub memory: Option<MemoryShares>,
}

/// Shares of a region's memory, each from 0 to 1; what they leave of 1 is free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemoryShares {
    /// Weights.
    pub weights: f64,
    /// Keys and values.
    pub kv_cache: f64,
    /// Activations, buffers, code and runtime.
    pub working: f64,
}

/// A rectangle that holds experts.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertArea {
    /// Where.
    pub place: Place,
    /// Their numbers, most wanted first; none for a rectangle that stays empty.
    pub experts: Vec<u64>,
    /// Whether other rectangles hold copies of some of them.
    pub has_copies: bool,
    /// What it is asked to do, in the unit of the map; nothing where that is not known.
    pub load: Option<f64>,
}

/// A map as SVG: shapes and text only.
///
/// # Errors
/// Where sizes, places, shares or loads do not agree with one another.
pub fn wafer_map_svg(map: &WaferMap) -> Result<String, PictureError> {
    drawing(map).map(|drawing| svg::svg(&drawing))
}

/// A map as PNG (8 bit RGB), the same picture as the SVG.
///
/// # Errors
/// As [`wafer_map_svg`].
pub fn wafer_map_png(map: &WaferMap) -> Result<Vec<u8>, PictureError> {
    paint::png(&drawing(map)?)
}

fn drawing(map: &WaferMap) -> Result<Drawing, PictureError> {
    check::check(map)?;
    Ok(draw::draw(map))
}
