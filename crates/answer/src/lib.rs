//! placeholder
pub mod validate;
