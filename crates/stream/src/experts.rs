//! Experts that several tokens of a micro-batch want: the hooks for who wants which, and what that takes.
//!
//! The expected load is in the times of a pass already. With a source, every pass takes what the experts that its
//! tokens want take: [`ExpertTimes`] asks the source token by token, and reads the closed form with that load.
//!
//! Micro-batches never meet in an expert: each processing element of a layer's region holds its part of attention as
//! well, wherever the experts live, so a region works on one micro-batch at a time. Tokens of one micro-batch do meet,
//! and wait for the busiest rectangle (experts clustered) or for more different experts (experts spread).

mod choice;
mod popularity;
mod routed;
mod times;

pub use choice::ExpertChoice;
pub use popularity::Popularity;
pub use routed::FromRouting;
pub use times::ExpertTimes;

use crate::time::Time;

/// A layer whose experts are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutedLayer {
    /// Its number among all layers of the model.
    pub layer: u64,
    /// Its number among the layers with routed experts, as a routing trace counts them.
    pub index: u32,
    /// Experts that it has.
    pub experts: u64,
    /// Experts that a token uses.
    pub top_k: u64,
}

/// Who wants which experts: drawn, or from a trace of a real model.
pub trait ExpertSource: std::fmt::Debug {
    /// The experts that the next token of a user wants in a layer: writes `top_k` different numbers below `experts`. A
    /// user goes through every layer once for each token.
    fn choose(&mut self, user: u32, layer: RoutedLayer, chosen: &mut Vec<u32>);
}

/// What the experts of a pass take: what the engine asks.
pub trait ExpertDelay: std::fmt::Debug {
    /// For a micro-batch of `users` with `tokens` tokens each, writes what each station takes longer (or shorter) than
    /// the expected time, in picoseconds. Returns the time that tokens wait for experts that others want too.
    fn draw(&mut self, users: &[u32], tokens: u32, longer: &mut Vec<i64>) -> Time;
}
