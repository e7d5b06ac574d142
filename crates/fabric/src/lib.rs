//! The mesh, cycle by cycle.
//!
//! [`circuit`] is circuit mode: a program of `wafersim_program` lowered to static routes by color, and every wavelet of
//! it through every router, with queues, arbitration and backpressure. It is the second reading of the same programs,
//! which the closed form is compared with.
//!
//! [`packet`] is packet mode: routers that forward single-flit packets by destination, for what static colors cannot
//! express and for comparison with packet-switched simulators. It reproduces BookSim2's results, number by number.
//!
//! Nothing here knows of language models, placement or files, and nothing prints, reads a clock or draws a random
//! number that its input does not determine.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod circuit;
#[cfg(feature = "packet")]
#[cfg_attr(docsrs, doc(cfg(feature = "packet")))]
pub mod packet;
