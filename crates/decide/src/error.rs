//! Why there is no decision.

use thiserror::Error;
use wafersim_answer::AnswerError;
use wafersim_graph::GraphError;
use wafersim_spec::SpecError;
use wafersim_stream::StreamError;

/// Why there is no decision.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecideError {
    /// Something is wrong with what the user gave.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The question has no answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The load cannot be run.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The model has no graph of operators.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Nobody waits for it any more ([`wafersim_answer::Stop`]).
    #[error("stopped before the end")]
    Stopped,
    /// A value is none that can be used.
    #[error("{what} is {value}; allowed: {allowed}")]
    Value {
        /// Which value.
        what: String,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A table that is built in cannot be read.
    #[error("{table}: {reason}")]
    Table {
        /// The table.
        table: &'static str,
        /// Why not.
        reason: String,
    },
}
