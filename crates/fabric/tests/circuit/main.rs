//! Circuit mode held to the closed form, to a slow obvious router, and to itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod colors;
mod engines;
mod failure;
mod hard_cases;
mod hops;
mod programs;
mod reference;
mod timeline;
mod together;
