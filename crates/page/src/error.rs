//! Why a document cannot be written.

use thiserror::Error;

/// Why a document cannot be written: a bug, or a spreadsheet that is full.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageError {
    /// It has no such form.
    #[error("a document as {form}: {reason}")]
    Form {
        /// Name of the form.
        form: &'static str,
        /// Why not.
        reason: String,
    },
}

impl PageError {
    pub(crate) fn form(form: &'static str, reason: &dyn std::fmt::Display) -> Self {
        Self::Form { form, reason: reason.to_string() }
    }
}
