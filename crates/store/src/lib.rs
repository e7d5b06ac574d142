//! Rows of a long run, kept in a file as they end, so that a run that was cut off goes on where it was.
//!
//! A [`Store`] belongs to one question: its header says what was asked, what made it, and how many rows there will be.
//! Each row has its place in the order of the result and a key, the hash of what the row means. What a row holds is
//! the caller's business: it goes in and comes out as JSON, and a row that would not come out equal is refused.
//!
//! The end of a file's name says its format: `.jsonl`, one JSON object a line, or `.sqlite`. In both a row is with the
//! operating system when [`Store::keep`] returns, which a killed process does not undo, and on the disk soon after,
//! which a power failure would undo for the rows of the last moments. [`Store::close`] waits for the disk.
//!
//! This crate knows no question, no flag and no terminal.

mod error;
mod header;
mod jsonl;
mod sqlite;
mod store;
mod sync;

pub use error::StoreError;
pub use header::{Asked, Header, Program, SCHEMA_VERSION};
pub use store::{Format, Opening, Row, Store, Stored, merge, part_of, read};
