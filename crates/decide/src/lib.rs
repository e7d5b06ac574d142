//! From answers to decisions: what must be true for a target, how many machines a load needs, and what they cost.
//!
//! All of it is asked of [`wafersim_answer`] and [`wafersim_stream`], again and again; nothing here knows a kernel, a
//! placement or an event. This crate computes; it prints nothing, reads no clock and no files.
//!
//! | module | owns |
//! |---|---|
//! | [`goal`] | what must be true for a target |
//! | [`size`] | how many machines a load needs |
//! | [`money`] | what a system costs an hour, and what that makes a token cost |
//! | [`energy`] | what a token's work takes |
//! | [`services`] | what is charged for tokens elsewhere |
//! | [`gpus`] | what GPUs do for a load, and what they cost |
//! | [`cost`] | all four beside an answer |
//! | [`several`] | as many machines as are wanted, each as answered |
//! | [`weight_streaming`] | one wafer whose weights come from outside, in place of many that hold them |

pub mod cost;
pub mod energy;
mod error;
pub mod goal;
pub mod gpus;
pub mod money;
pub mod services;
pub mod several;
pub mod size;
pub mod weight_streaming;

pub use error::DecideError;
