//! A program computed with real numbers, as placed: what proves that the placed program is still the model.
//!
//! | module | owns |
//! |---|---|
//! | [`tensors`], [`checkpoint`], [`rotary`] | a Hugging Face checkpoint: config, safetensors, what its layers want |
//! | [`random`] | random weights; small models that are built as large ones |
//! | [`plain`] | the model in 64-bit floating point from its equations, without any program |
//! | [`interpreter`] | the interpreter: processing elements with memory, transfers and local mathematics |
//! | [`grid`] | mappings of a model on a small grid |
//! | [`placed`] | a model run on a grid: the programs of its layers, one after the other |
//! | [`record`], [`mod@compare`] | what a run has computed, against a reference |
//!
//! The interpreter knows steps, buffers and layouts; it knows nothing of transformers. What is computed is what the
//! program says, transfer by transfer, and an error where the program moves too little.

pub mod checkpoint;
pub mod compare;
pub mod error;
pub mod grid;
pub mod interpreter;
pub mod placed;
pub mod plain;
pub mod random;
pub mod record;
pub mod rotary;
pub mod tensors;
mod unpacked;

pub use checkpoint::Checkpoint;
pub use compare::{Comparison, Deviation, Tolerance, compare};
pub use error::ValuesError;
pub use grid::Grid;
pub use placed::{
    Executed, Prefill, RunInput, Setup, random_prompt, run, run_observed, run_users, run_users_rewritten,
};
pub use record::{Record, Recorded};
pub use tensors::Tensors;
