//! Many users on one machine: discrete events over the closed form.
//!
//! A placement is a line of stations: slots and the links between wafers ([`wafersim_answer::Pipeline`]). Requests
//! come, wait for room for their keys and values, have their prompts computed chunk by chunk, and go round with their
//! tokens, alone or in micro-batches, until their answers are complete. Times of passes are the closed form's; what
//! this crate adds is who waits for whom.
//!
//! **What is absent.** No formula of a kernel: all times come through [`costs::Costs`]. No wall clock, no file, no
//! thread: a run is one thread, and only [`run::sweep`] runs several side by side. Time is whole picoseconds; random
//! numbers are ChaCha8 with a stream for each purpose. Nothing grows with the length of a run but the backlog of an
//! overloaded machine.
//!
//! | module | owns |
//! |---|---|
//! | [`scenario`] | what a user gave, checked |
//! | [`trace`] | a recorded trace in memory, as `wafersim-requests` reads it |
//! | [`run`] | a scenario put together; sweeps, the knee |
//! | [`engine`] | the life of requests, event by event |
//! | [`mod@line`] | the stations: a pass's whole way, worked out when it enters |
//! | [`stepwise`] | the same with an event for each station: to hold the line against |
//! | [`costs`], [`closed_form`] | what a pass takes at each station |
//! | [`elsewhere`] | prompts that others compute, and the way of their keys and values |
//! | [`experts`] | which experts tokens want |
//! | [`kv`], [`prefix_cache`], [`admission`] | room for keys and values, and who gets it |
//! | [`balancer`] | several machines, and which one a request goes to |
//! | [`policy`] | who enters the line next |
//! | [`own`] | policies, admissions, routing, loads from outside |
//! | [`load`], [`request`], [`random`] | who asks, when and for how much |
//! | [`observer`], [`recording`] | a place to watch from; what timelines are made of |
//! | [`service`] | plans with quotas, accounts, refusals |
//! | [`explain`] | from what is advertised to what is observed |
//! | [`clients`] | clients that are refused, and retry; what they see |
//! | [`steady`] | the closed form's own load, event by event |
//! | [`statistics`], [`result`] | what is said of a run |
//!
//! ```
//! use wafersim_stream::observer::Nobody;
//! use wafersim_stream::run::Server;
//! use wafersim_stream::scenario::StreamFile;
//!
//! let scenario = "
//!     [machine]
//!     model = 'llama-3.1-8b'
//!     context = 4096
//!     users = 4
//!     [load]
//!     users = 6
//!     prompt = { median = 300 }
//!     output = { median = 40 }
//!     [run]
//!     window = 1.0
//! ";
//! let machine = Server::new(StreamFile::parse(scenario, "example")?.check("example")?, None)?;
//! let outcome = machine.run(&mut Nobody, |_| {});
//! let speed = outcome.user_speed.expect("answers ended").p50;
//! println!("{speed:.0} tok/s for the median request, {:.0} in all", outcome.tokens_per_second.mean);
//! assert!(outcome.totals.finished > 10);
//! # Ok::<(), wafersim_stream::StreamError>(())
//! ```

pub mod admission;
pub mod balancer;
pub mod clients;
pub mod closed_form;
pub mod costs;
pub mod elsewhere;
pub mod engine;
mod error;
pub mod event_queue;
pub mod experts;
pub mod explain;
pub mod invariants;
pub mod kv;
pub mod line;
pub mod load;
pub mod observer;
pub mod own;
pub mod policy;
pub mod prefix_cache;
pub mod random;
pub mod recording;
pub mod request;
pub mod result;
pub mod run;
pub mod scenario;
pub mod service;
pub mod statistics;
pub mod steady;
pub mod stepwise;
pub mod time;
pub mod trace;

pub use engine::Engine;
pub use error::StreamError;
pub use result::ServiceOutcome;
pub use time::Time;
