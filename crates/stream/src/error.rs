//! Why a run cannot be made.

use thiserror::Error;
use wafersim_answer::AnswerError;
use wafersim_requests::RequestError;
use wafersim_spec::SpecError;

/// Why a run cannot be made. Each text says what is wrong, where, and what is allowed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A setting, a file or a name is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The model cannot be placed or timed.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A trace of requests is wrong.
    #[error(transparent)]
    Requests(#[from] RequestError),
    /// A setting has a value that does not go with the others.
    #[error("{file}: field '{field}': {problem}; allowed: {allowed}")]
    Setting {
        /// Path as given.
        file: String,
        /// Dotted path of the setting.
        field: String,
        /// What is wrong.
        problem: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// Times are beyond what a run can count.
    #[error("a pass through the pipeline takes {seconds} s: a wafer parameter is too extreme; allowed: at most 100 s")]
    TooSlow {
        /// How long.
        seconds: f64,
    },
}
