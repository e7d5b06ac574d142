//! Experts that several tokens of a micro-batch want: the hooks for who wants which, and what that takes.
//!
//! The expected load is in the times of a pass already. With a source, every pass takes what the experts that its tokens want
//! take: [`ExpertTimes`] asks the source token by token, and reads the closed form with that load.
//!
//! Micro-batches never meet in an expert: each processing element of a layer's region holds its part of attention as well,
//! wherever the experts live, so a region works on one micro-batch at a time. Tokens of one micro-batch do meet, and
//! wait for the busiest rectangle (experts clustered) or for more different experts (experts spread).

mod popularity;
mod times;

pub use popularity::Popularity;
pub use times::ExpertTimes;

use crate::time::Time;

/// Who wants which experts: drawn, or from a trace of a real model.
pub trait ExpertSource: std::fmt::Debug {
    /// The experts that a token wants in a layer: writes `top_k` different numbers below `experts`.
    fn choose(&mut self, layer: u64, experts: u64, top_k: u64, chosen: &mut Vec<u32>);
}

/// What the experts of a pass take: what the engine asks.
pub trait ExpertDelay: std::fmt::Debug {
    /// For a micro-batch of `tokens` tokens, writes what each station takes longer (or shorter) than the expected time, in
    /// picoseconds. Returns the time that tokens wait for experts that others want too.
    fn draw(&mut self, tokens: u32, longer: &mut Vec<i64>) -> Time;
}
