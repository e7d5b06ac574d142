//! What the model is held to: predictions against published measurements ([`validate`], over a table of
//! [`measurements`]; each group without the constants that it gave: [`leave_out`](mod@leave_out)), and the closed form
//! against the fabric ([`crosscheck`](mod@crosscheck)).
//!
//! All take kernels as they are: this crate knows no questions, no placement and no answers. Those who answer ask it
//! for the errors that are known, and for the records of services that they compare their answers with
//! ([`production`]).

pub mod crosscheck;
pub mod leave_out;
pub mod measurements;
pub mod production;
pub mod validate;
