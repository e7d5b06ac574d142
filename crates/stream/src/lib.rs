//! Token streaming.
pub mod admission;
pub mod closed_form;
pub mod costs;
pub mod engine;
mod error;
pub mod event_queue;
pub mod experts;
pub mod kv;
pub mod line;
pub mod load;
pub mod observer;
pub mod policy;
pub mod prefix_cache;
pub mod random;
pub mod request;
pub mod result;
pub mod run;
pub mod scenario;
pub mod statistics;
pub mod stepwise;
pub mod time;
pub mod trace;

pub use engine::Engine;
pub use error::StreamError;
pub use result::Outcome;
pub use time::Time;
