//! The question and its answer.
//!
//! [`Question`] is a checked scenario with its model and wafer loaded; [`answer`] places the model, writes the programs
//! of its layers as a mapping says, reads them in closed form under three profiles and says what follows. [`plan`] does
//! so for a table of points.
//!
//! This crate computes; it prints nothing and writes no files.

mod bound;
mod candidates;
mod chosen;
mod decode;
mod draft;
mod error;
pub mod expert_load;
pub mod experts;
pub mod fabric;
pub mod invariants;
pub mod map;
mod memory;
pub mod opened;
pub mod pipeline;
pub mod plan;
mod prefill;
pub mod production;
mod provenance;
mod question;
mod read;
mod reread;
pub mod rows;
mod run;
mod rungs;
mod searched;
mod stage;
mod uncertainty;
mod written;

pub use bound::{Profiles, Unbeaten, no_mapping_beats};
pub use chosen::Source;
pub use decode::{DecodeTiming, DraftTime, Pace, Verified};
pub use error::AnswerError;
pub use memory::Fullest;
pub use opened::Opened;
pub use pipeline::Pipeline;
pub use production::Services;
pub use provenance::{KnownError, Provenance};
pub use question::Question;
pub use read::best_mappings;
pub use reread::Reread;
pub use run::{
    Answer, BreakdownRow, DraftMemory, FullPipeline, Limit, LoadAsRun, Memory, MemoryBytes, ProfileAnswer, State,
    Verdict, WorstPe, answer, answer_one_profile, answer_with, answer_without_ranges, chosen_placement,
    resolved_mapping,
};
pub use searched::{Considered, Searched, WORTH};
pub use stage::{LayerReading, StageTimes};
pub use uncertainty::{
    Alternative, ClockPoint, Corner, Drawing, Drawn, Ends, Estimator, Influence, Range, Ranges, Sampled, Sampling,
    Share, Shares, Spread, Toggle, Uncertainty,
};
pub use wafersim_search::Effort;
