//! The space of mappings and its exploration: proposes mappings, has them judged, keeps the best.
//!
//! It owns which values a decision may take for some inputs, which of them are neighbours, what a partial mapping pins, and
//! the order in which all of this is tried. It writes no program and reads no time: whoever asks brings a [`Judge`], which
//! says how long a mapping takes and whether it fits (`answer` brings the closed form).
//!
//! | module | owns |
//! |---|---|
//! | [`space`] | decisions, the values that each may take, pins |
//! | [`trees`] | reductions worth trying on a line of some length |
//! | [`explore`] | from a start to the best found: divisions, then one decision after the other, then from other starts |
//! | [`ablate`] | what each decision of a found mapping gives |
//!
//! The same seed gives the same mapping with any number of threads: candidates are judged in parallel and compared in their
//! order.

pub mod ablate;
pub mod explore;
pub mod space;
pub mod trees;

pub use ablate::{Ablated, ablate};
pub use explore::{Effort, Found, Judge, Judged, Search, explore};
pub use space::{Decision, Pins, Point, Space};
