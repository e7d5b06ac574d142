//! What can be wrong with a store.

use thiserror::Error;

/// Why a store cannot be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The name says no format.
    #[error("{file}: its name says no format; allowed: a name that ends in .jsonl or .sqlite")]
    Format {
        /// The path as given.
        file: String,
    },
    /// There is a file already.
    #[error("{file}: is there already; allowed: a new file, or --resume to go on with this one")]
    Exists {
        /// The path as given.
        file: String,
    },
    /// The file cannot be opened, read or made.
    #[error("{file}: {reason}; allowed: a store that may be read and written, or a new file in an existing folder")]
    Open {
        /// The path as given.
        file: String,
        /// What the operating system said.
        reason: String,
    },
    /// Another process works with it.
    #[error("{file}: another process works with it; allowed: one at a time")]
    InUse {
        /// The path as given.
        file: String,
    },
    /// It holds something else.
    #[error("{file}: is no store of results: {reason}; allowed: a file that --store has made")]
    NoStore {
        /// The path as given.
        file: String,
        /// What is there instead.
        reason: String,
    },
    /// Another program has made it: its rows may differ from those that this one computes.
    #[error(
        "{file}: was made by wafersim {there}, and this is {here}; allowed: the program that began it, or a new file"
    )]
    OtherProgram {
        /// The path as given.
        file: String,
        /// Version and build that made it.
        there: String,
        /// Version and build that runs.
        here: String,
    },
    /// It has the rows of another question.
    #[error(
        "{file}: belongs to another question: {differs}; allowed: the question that it was begun with, or a new file"
    )]
    OtherQuestion {
        /// The path as given.
        file: String,
        /// What differs.
        differs: String,
    },
    /// Part of it is wrong, other than a torn end.
    #[error("{file}: {place}: {reason}; allowed: a store as it was written")]
    Damaged {
        /// The path as given.
        file: String,
        /// The line or row.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A row could not be kept.
    #[error("{file}: could not be written: {reason}")]
    Write {
        /// The path as given.
        file: String,
        /// What the operating system said.
        reason: String,
    },
    /// A bug: a row that cannot be written and read again as it is.
    #[error("{file}: row {place} cannot be kept: {reason}; this is a bug in wafersim")]
    Row {
        /// The path as given.
        file: String,
        /// Its place, from 0.
        place: u64,
        /// Why not.
        reason: String,
    },
}

impl StoreError {
    /// Whether whoever gave the file can mend it by giving another.
    pub const fn is_wrong_input(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Row { .. })
    }
}
