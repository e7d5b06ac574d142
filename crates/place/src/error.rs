//! Why something cannot be placed, by how much, and what would do.

use thiserror::Error;
use wafersim_spec::Bytes;

/// What a processing element lacks at least.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "a processing element of a region of {columns} x {rows} would need {} bytes of {} (or more slots or wafers)",
    needed.0, free.0
)]
pub struct Short {
    /// Bytes that it needs.
    pub needed: Bytes,
    /// Bytes that it has.
    pub free: Bytes,
    /// Columns of the region.
    pub columns: u64,
    /// Rows of the region.
    pub rows: u64,
}

/// Why a model cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The asked number of wafers does not hold the model with its users.
    #[error(
        "{wafers} wafer(s) do not hold the model: {what} needs {} bytes a processing element more than there \
         is, in the best arrangement; {needed_wafers} wafers would do (or fewer users, a shorter context, smaller data \
         types)",
        shortfall_bytes_per_pe.0
    )]
    DoesNotFit {
        /// Wafers that were asked for.
        wafers: u32,
        /// Bytes that the worst processing element of the best arrangement lacks.
        shortfall_bytes_per_pe: Bytes,
        /// What `WaferCount::Auto` would use.
        needed_wafers: u32,
        /// The items that lack the bytes, and where.
        what: String,
    },
    /// One item does not fit a whole wafer; layers are not cut over wafers, so no number of wafers would do.
    #[error(
        "{what} alone needs {} bytes a processing element more than a whole wafer of {columns} x {rows} has, and layers \
         are not cut over wafers: no number of wafers would do; use fewer users, a shorter context or smaller data types",
        shortfall_bytes_per_pe.0
    )]
    LayerTooLarge {
        /// The first such item.
        what: String,
        /// Bytes that the worst processing element lacks.
        shortfall_bytes_per_pe: Bytes,
        /// Columns of the wafer.
        columns: u64,
        /// Rows of the wafer.
        rows: u64,
    },
    /// The division that was asked for does not hold the model.
    #[error(
        "the division that was asked for ({chosen}) is not possible on a wafer of {columns} x {rows}: {}",
        short.as_ref().map_or_else(|| "no rectangles of that kind divide it".to_owned(), Short::to_string)
    )]
    Division {
        /// What was asked for.
        chosen: String,
        /// Columns of the wafer.
        columns: u64,
        /// Rows of the wafer.
        rows: u64,
        /// What is lacking, where there are such rectangles.
        short: Option<Short>,
    },
    /// A field of the request makes no sense.
    #[error("{field} is {value}: {allowed}")]
    Request {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would have been accepted.
        allowed: &'static str,
    },
}
