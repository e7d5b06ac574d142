//! Why a result could not be written down. No input leads here: it would be a bug.

use thiserror::Error;

/// A result that has no form in the asked format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The writer of the format refused.
    #[error("a bug in wafersim: a result cannot be written as {format}: {reason}; please report it")]
    Format {
        /// The format.
        format: &'static str,
        /// What its writer said.
        reason: String,
    },
}
