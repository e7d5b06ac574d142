//! Why there is no picture.

use thiserror::Error;

/// Why a picture cannot be drawn.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The number of values is not columns x rows.
    #[error("the map '{title}' has {columns} x {rows} places and {values} values: they must be as many")]
    Size {
        /// Its title.
        title: String,
        /// Columns.
        columns: u32,
        /// Rows.
        rows: u32,
        /// Values.
        values: usize,
    },
    /// No places, or too many.
    #[error("the map '{title}' has {columns} x {rows} places; allowed: 1 to {largest} along each axis")]
    Places {
        /// Its title.
        title: String,
        /// Columns.
        columns: u32,
        /// Rows.
        rows: u32,
        /// Most places along an axis.
        largest: u32,
    },
    /// A value that has no color.
    #[error(
        "the map '{title}' has the value {value} at column {column}, row {row}; allowed: finite numbers from 0, or NaN for places not used"
    )]
    Value {
        /// Its title.
        title: String,
        /// The value.
        value: f64,
        /// Column from the map's west edge, from 0.
        column: u32,
        /// Row from the map's north edge, from 0.
        row: u32,
    },
    /// The end of the scale is no number above 0.
    #[error("the map '{title}' has a scale up to {highest}; allowed: finite numbers above 0")]
    Scale {
        /// Its title.
        title: String,
        /// The end that was asked for.
        highest: f64,
    },
    /// A wafer map that does not agree with itself.
    #[error("the wafer map '{title}': {what} is {value}; allowed: {allowed}")]
    WaferMap {
        /// Its title.
        title: String,
        /// What is wrong, with the area's number where it is one.
        what: String,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A chart that cannot be drawn.
    #[error("the chart '{title}': {what} is {value}; allowed: {allowed}")]
    Chart {
        /// Its title.
        title: String,
        /// What is wrong.
        what: String,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A bug.
    #[error("a bug in wafersim: the map '{title}' cannot be written as PNG: {reason}; please report it")]
    Encoding {
        /// Its title.
        title: String,
        /// What the encoder said.
        reason: String,
    },
}
