//! An endpoint of the OpenAI form that answers at the speed of a simulated machine.
//!
//! Clients talk HTTP; what they wait for is the event engine of `wafersim-stream`, whose clock runs with the wall's,
//! scaled by a speed. Answers are canned, scripted (one word is one token), or a real endpoint's.
//!
//! **What is absent.** No model, no formula of a kernel, no file, no terminal: who starts it hands in a machine, plans
//! and scripts that are read already. Of the network it knows one listening socket, and, where answers are passed
//! through, the endpoint that it is told.
//!
//! | module | owns |
//! |---|---|
//! | [`api`] | what a client may ask, read and checked |
//! | [`error`] | errors as the API words them, in both shapes |
//! | [`prompt`] | how many tokens a prompt has, and which of its beginnings others share |
//! | [`answers`] | what is said: canned words, scripts, tool calls, faults |
//! | [`chunks`] | answers as JSON and as a stream of events |
//! | [`headers`] | limits as headers |
//! | [`clock`] | simulated time and the time that a client waits |
//! | [`machine`] | the thread that runs the engine, lets requests in and tells how far they are |
//! | [`keys`] | who may ask |
//! | [`metrics`] | counts and times under vLLM's names |
//! | [`record`] | the requests as a trace |
//! | [`upstream`] | a real endpoint whose answers are passed through |
//! | [`server`] | the socket, the paths, limits, the end |

pub mod answers;
pub mod api;
pub mod chunks;
pub mod clock;
pub mod error;
pub mod headers;
pub mod keys;
pub mod machine;
pub mod metrics;
pub mod prompt;
pub mod record;
pub mod server;
pub mod upstream;

pub use error::{ApiError, ErrorShape, ServeError};
