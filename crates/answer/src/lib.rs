//! The question and its answer.
//!
//! [`Question`] is a checked scenario with its model and wafer loaded; [`answer`] places the model, writes the programs of
//! its layers, reads them in closed form under three profiles and says what follows. [`plan`] does so for a table of
//! points, [`validate`] for the kernels that were measured.
//!
//! This crate computes; it prints nothing and writes no files.

mod candidates;
pub mod crosscheck;
mod decode;
mod error;
pub mod experts;
pub mod fabric;
pub mod pipeline;
pub mod plan;
mod prefill;
mod provenance;
mod question;
pub mod routing;
mod run;
mod stage;
mod uncertainty;
pub mod validate;
mod written;

pub use decode::{DecodeTiming, Pace};
pub use error::AnswerError;
pub use pipeline::Pipeline;
pub use provenance::{KnownError, Provenance};
pub use question::Question;
pub use run::{
    Answer, BreakdownRow, Load, Memory, MemoryBytes, ProfileAnswer, Verdict, WorstPe, answer, answer_one_profile,
    answer_without_ranges, chosen_placement,
};
pub use stage::{LayerReading, StageTimes};
pub use uncertainty::{ClockPoint, Ends, Influence, Range, Uncertainty};
