//! Every reader of foreign bytes as a function of bytes, for fuzzers (`fuzz/`) and for ordinary tests.
//!
//! A [`Target`] reads bytes the way `simctl` would read a file of them and says whether they were read or
//! refused. It panics where a law is broken: what was read must come out and go in again the same, and a
//! refusal must have a reason. [`mutate`](mod@mutate) makes hostile bytes of good ones, from a seed; [`corpus`]
//! has the good ones, in `fuzz/corpus/TARGET/`.
//!
//! **What is absent.** No parser: they are called where they are. No clock.
//!
//! | module | owns |
//! |---|---|
//! | [`target`] | the table of targets |
//! | `inputs`, `loads`, `routes` | models, wafers, scenarios, mappings; loads and clients; routing, weights, tables |
//! | `asked` | a scenario to its answer, with the laws of answers |
//! | [`corpus`] | the files of `fuzz/corpus` |
//! | [`mutate`](mod@mutate) | bytes that nobody wrote |

mod asked;
pub mod corpus;
mod inputs;
mod loads;
pub mod mutate;
mod routes;
pub mod target;

pub use inputs::{resolved_seed, tiny_inputs};
pub use mutate::mutate;
pub use target::{Outcome, TARGETS, Target};
