//! The mesh, cycle by cycle.
//!
//! [`packet`] is packet mode: routers that forward single-flit packets by destination, for what static colors cannot
//! express and for comparison with packet-switched simulators. It reproduces BookSim2's results, number by number.
//!
//! Nothing here knows of language models, placement or files, and nothing prints, reads a clock or draws a random
//! number that its input does not determine.

pub mod circuit;
pub mod packet;
