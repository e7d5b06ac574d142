//! What is wrong with a trace, where, and what is allowed.

use thiserror::Error;

/// Why a trace is not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A line is wrong.
    #[error("{file}: line {line}: {problem}; allowed: {allowed}")]
    Line {
        /// Path as given.
        file: String,
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// The file is another one than it should be.
    #[error("{file}: {problem}; allowed: {allowed}")]
    File {
        /// Path as given.
        file: String,
        /// What it is.
        problem: String,
        /// What would have been accepted, or how to get there.
        allowed: String,
    },
    /// A setting does not go with the file.
    #[error("{file}: field '{field}': {problem}; allowed: {allowed}")]
    Setting {
        /// Path as given.
        file: String,
        /// Dotted path of the setting.
        field: &'static str,
        /// What is wrong.
        problem: String,
        /// What would have been accepted.
        allowed: String,
    },
}

/// The start of a text, for messages: without what moves a terminal's cursor.
pub(crate) fn shown(text: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(text.get(..4 * MOST).unwrap_or(text));
    let mut start: String =
        text.chars().take(MOST).map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    if text.chars().nth(MOST).is_some() {
        start.push_str("...");
    }
    start
}
