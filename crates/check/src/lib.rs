//! What the model is held to: predictions against published measurements ([`validate`], over a table of
//! [`measurements`]), and the closed form against the fabric ([`crosscheck`](mod@crosscheck)).
//!
//! Both take kernels as they are: this crate knows no questions, no placement and no answers. Those who answer ask it for
//! the errors that are known.

pub mod crosscheck;
pub mod measurements;
pub mod validate;
