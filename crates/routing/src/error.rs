//! What can be wrong with a trace or with the settings of a synthetic one.

use thiserror::Error;

/// Why a trace cannot be read, written or made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RoutingError {
    /// A line of a JSON Lines trace is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// A part of a binary trace is wrong.
    #[error("{part}: {reason}")]
    Binary {
        /// The part: the header, a block with its number from 1, the end.
        part: String,
        /// What is wrong.
        reason: String,
    },
    /// A number is outside its range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// A file of another program.
    #[error("seen as {format}: {reason}")]
    Import {
        /// What it was taken for.
        format: &'static str,
        /// What is wrong with it, or how it can be converted.
        reason: String,
    },
    /// The bytes could not be read.
    #[error("could not be read: {reason}")]
    Read {
        /// What the operating system said.
        reason: String,
    },
    /// The bytes could not be written.
    #[error("could not be written: {reason}")]
    Write {
        /// What the operating system said.
        reason: String,
    },
}

impl RoutingError {
    pub(crate) fn range(field: &'static str, value: impl ToString, allowed: impl Into<String>) -> Self {
        Self::Range { field, value: value.to_string(), allowed: allowed.into() }
    }

    pub(crate) fn import(format: &'static str, reason: impl Into<String>) -> Self {
        Self::Import { format, reason: reason.into() }
    }

    pub(crate) fn write(error: &std::io::Error) -> Self {
        Self::Write { reason: error.to_string() }
    }
}
