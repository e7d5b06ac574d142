//! What the user gave, checked once at the door: units, data types, wafers, models, scenarios.
//!
//! Everything to the right of this crate (graph, place, program, cost, answer) takes these types and trusts them:
//! a value that exists here has been checked. This crate knows nothing of placement, programs or time.
//!
//! | module | owns |
//! |---|---|
//! | [`units`] | `Bytes`, `Cycles`, `Hertz` |
//! | [`size`] | sizes that fit any model: numbers, shares, divisors |
//! | [`data_type`] | number formats, their storage with block scales, and which tensor class uses which |
//! | [`wafer`] | the machine: every parameter with value, unit, low, high, evidence and source |
//! | [`model`] | the transformer as read from a Hugging Face `config.json` |
//! | [`scenario`] | the question: model, wafer, load, precision, target |
//! | [`error`] | what was wrong with the input: file, field, value, what is allowed |

pub mod data_type;
pub mod error;
pub mod file;
pub mod model;
pub mod precision;
pub mod region;
pub mod scenario;
pub mod size;
pub mod units;
pub mod wafer;

pub use data_type::{DataType, TensorClass};
pub use error::SpecError;
pub use model::Model;
pub use precision::{Precision, RoleGroup, RoleTypes};
pub use region::{Axis, Region};
pub use scenario::{Scenario, ScenarioFile};
pub use size::Size;
pub use units::{Bytes, Cycles, Hertz};
pub use wafer::Wafer;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
