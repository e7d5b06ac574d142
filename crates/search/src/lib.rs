//! The space of mappings and its exploration: proposes mappings, has them judged, keeps the best.
//!
//! It owns which values a decision may take for some inputs, which of them are neighbours, what a partial mapping pins,
//! and the order in which all of this is tried. It writes no program and reads no time: whoever asks brings a
//! [`Judge`], which says how long a mapping takes and whether it fits (`answer` brings the closed form).
//!
//! | module | owns |
//! |---|---|
//! | [`space`] | decisions, the values that each may take, pins |
//! | [`trees`] | reductions worth trying on a line of some length |
//! | [`mod@explore`] | from a start to the best found: divisions, then one decision after the other, then from other starts |
//! | [`mod@ablate`] | what each decision of a found mapping gives |
//!
//! # What was found, and what is missing
//!
//! Qwen3-Coder-480B in FP8 on WSE-3, one user, 16 wafers with 44,976 free bytes in a processing element, silicon rates,
//! in closed form
//!: 1,041 tok/s at 1k, 998 at 8k, 903 at 32k, 650 at 100k. Nothing here has been run on the fabric at
//! full size.
//!
//! A layer takes 17,124 cycles at 32k. Beside 142 us of links, ways between regions and tables, 1,000 tok/s take about
//! 15,200. The largest parts that no decision reaches yet: the maximum of the softmax as an all-reduce of its own
//! (about 1,150 cycles; it could run beside the exponentials and the product with values, each place relative to its
//! own maximum); the weights of the chosen experts, which wait for the norm's sum (about 450); scores of all experts
//! gathered over all rows instead of a few (about 250).
//!
//! Memory binds: at 32k the fullest processing element has 39 bytes left, of which converted tiles of all chosen
//! experts take most of what is not weights. With 41,984 free bytes 16 wafers reach 714, and 22 wafers 913.
//!
//! The same seed gives the same mapping with any number of threads: candidates are judged in parallel and compared in
//! their order.

pub mod ablate;
pub mod explore;
pub mod space;
pub mod trees;

pub use ablate::{Ablated, ablate};
pub use explore::{Effort, Found, Judge, Judged, Search, explore, growth, refine, refine_each, survey};
pub use space::{Decision, Pins, Point, Space};
