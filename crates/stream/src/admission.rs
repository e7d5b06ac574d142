//! Who gets room for keys and values, and how much.

use crate::request::BLOCK;

/// How much room a request is given.
pub trait Admission: std::fmt::Debug {
    /// Tokens that must fit when a request with `tokens` tokens so far, which will have `most` at its end, is let in,
    /// or has grown to `tokens`.
    fn reserve(&self, tokens: u32, most: u32) -> u32;
}

/// Room for the whole answer at once: no request ever has to give way, and room stands empty until answers have
/// grown into it. It needs to know how long answers become, which a real server does not: a bound on what is possible.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whole;

impl Admission for Whole {
    fn reserve(&self, _tokens: u32, most: u32) -> u32 {
        most
    }
}

/// Room block by block. A request that cannot grow gives all its room back, and comes in again, at the head of
/// the queue, with what it has so far as its prompt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Growing;

impl Admission for Growing {
    fn reserve(&self, tokens: u32, most: u32) -> u32 {
        // One token more than there are: there is room for the one that is being made.
        (tokens / BLOCK + 1).saturating_mul(BLOCK).min(most)
    }
}
