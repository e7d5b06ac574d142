//! The space of mappings and its exploration: proposes mappings, has them judged, keeps the best.
//!
//! It owns which values a decision may take for some inputs, which of them are neighbours, what a partial mapping pins,
//! and the order in which all of this is tried. It writes no program and reads no time: whoever asks brings a
//! [`Judge`], which says how long a mapping takes and whether it fits (`answer` brings the closed form).
//!
//! | module | owns |
//! |---|---|
//! | [`space`] | decisions, the values that each may take, pins |
//! | [`moves`] | neighbours from outside |
//! | [`trees`] | reductions worth trying on a line of some length |
//! | [`mod@explore`] | from a start to the best found: divisions, then one decision after the other, then from other starts |
//! | [`mod@ablate`] | what each decision of a found mapping gives |
//!
//! What is found for the default question, and what each decision of it gives, stands in
//! docs/src/can-qwen3-coder-run-at-2000.md. Memory binds there: converted tiles of all chosen experts take most of what
//! is not weights.
//!
//! The same seed gives the same mapping with any number of threads: candidates are judged in parallel and compared in
//! their order.

pub mod ablate;
mod effort;
pub mod explore;
mod kv;
pub mod moves;
pub mod space;
pub mod trees;

pub use ablate::{Ablated, Taken, Way, ablate, way};
pub use effort::Effort;
pub use explore::{Found, Judge, Judged, Search, explore, growth, refine, refine_each, survey};
pub use moves::Move;
pub use space::{Decision, Pins, Point, Space};
