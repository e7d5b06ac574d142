//! The question and its answer.
//!
//! [`Question`] is a checked scenario with its model and wafer loaded; [`answer`] places the model, writes the programs
//! of its layers as a mapping says, reads them in closed form under three profiles and says what follows. [`plan`] does
//! so for a table of points.
//!
//! The feature `fabric` (on by default) brings what runs wavelet by wavelet ([`fabric`], [`opened`]) and what is held
//! to measurements ([`production`], [`Provenance::known_errors`]). Every other figure of an answer is the same without
//! it.
//!
//! This crate computes; it prints nothing and writes no files.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod bound;
mod candidates;
mod chosen;
mod decode;
mod draft;
mod error;
pub mod expert_load;
pub mod experts;
mod extensions;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
pub mod fabric;
mod fewer;
mod first_token;
pub mod invariants;
mod known;
pub mod map;
mod memory;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
pub mod opened;
pub mod pipeline;
pub mod plan;
mod prefill;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
pub mod production;
mod provenance;
mod question;
mod read;
mod reread;
mod routers;
pub mod rows;
mod run;
mod rungs;
mod searched;
mod stage;
mod stop;
mod uncertainty;
mod written;

pub use bound::{Profiles, Unbeaten, no_mapping_beats};
pub use chosen::Source;
pub use decode::{DecodeTiming, DraftTime, Pace, Verified};
pub use error::AnswerError;
pub use extensions::Extensions;
pub use fewer::{FewerAtOnce, fewer_at_once};
pub use first_token::{FirstTokenTime, PrefillElsewhere};
pub use memory::Fullest;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
pub use opened::Opened;
pub use pipeline::Pipeline;
#[cfg(feature = "fabric")]
#[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
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
pub use stop::Stop;
pub use uncertainty::{
    Alternative, ClockPoint, Corner, Drawing, Drawn, Ends, Estimator, Influence, Range, Ranges, Sampled, Sampling,
    Share, Shares, Spread, Toggle, Uncertainty,
};
pub use wafersim_search::Effort;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
