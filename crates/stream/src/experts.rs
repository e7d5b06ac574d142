//! Experts that several tokens of a micro-batch want: the hook for who wants which.
//!
//! The expected load is in the times of a pass already. A source replaces it pass by pass: it says how much longer or
//! shorter each station takes with the experts that these tokens really want.
//!
//! Micro-batches never meet in an expert: each processing element of a layer's region holds its part of attention as well,
//! wherever the experts live, so a region works on one micro-batch at a time. Tokens of one micro-batch do meet, and
//! wait for the busiest rectangle (experts clustered) or for more different experts (experts spread).

mod sampled;

pub use sampled::Sampled;

use crate::time::Time;

/// Who wants which experts.
pub trait ExpertSource: std::fmt::Debug {
    /// For a micro-batch of `tokens` tokens, writes what each station takes longer (or shorter) than the expected time, in
    /// picoseconds. Returns the time that tokens wait for experts that others want too.
    fn draw(&mut self, tokens: u32, longer: &mut Vec<i64>) -> Time;
}
