//! The closed-form reading of a program: cycles, by cause, for a wafer and a kernel profile.
//!
//! [`Rates`] are the numbers of a wafer under a profile; [`cost`] adds up a program with them. Nothing here knows of
//! models or placement, and nothing is fitted here: every constant is a parameter of the wafer file.
//!
//! The formulas, with their sources, stand in [`formula`], one function per word of the language.

pub mod cause;
pub mod formula;
mod path;
mod rates;
mod reading;

pub use cause::{Cause, Cost};
pub use rates::{AfterWork, Rates, View};
pub use reading::{OperatorCost, ProgramCost, cost, cost_node};
