//! The interface for simulations: what the next token of each user of a micro-batch chooses in a layer.

use crate::error::RoutingError;
use crate::header::Header;
use crate::token::Trace;

/// Chooses experts. Implementations keep what each user did so far; they allocate nothing for a token.
pub trait Routing {
    /// Shape: layers, experts, top-k.
    fn header(&self) -> &Header;

    /// The experts of the next token of each of `users` in `layer`: `chosen` takes `users x top_k` of them. Each user
    /// goes through a layer once for each token; layers may be asked in any order.
    ///
    /// # Errors
    /// Where there is no such layer or user, or `chosen` has another length.
    fn choose(&mut self, layer: u32, users: &[u32], chosen: &mut [u16]) -> Result<(), RoutingError>;
}

pub(crate) fn check(header: &Header, layer: u32, users: &[u32], chosen: &[u16]) -> Result<(), RoutingError> {
    if layer >= header.layers {
        return Err(RoutingError::range("layer", layer, format!("below {}", header.layers)));
    }
    let needed = users.len().saturating_mul(header.top_k as usize);
    if chosen.len() != needed {
        return Err(RoutingError::range("length of chosen", chosen.len(), format!("{needed}, users x top_k")));
    }
    Ok(())
}

/// A trace played back: user u goes through the tokens of the trace's user u mod (users of the trace), and starts again
/// after the last.
#[derive(Debug, Clone)]
pub struct Replay<'a> {
    trace: &'a Trace,
    /// Places in the trace, by user of the trace.
    tokens: Vec<Vec<usize>>,
    /// Next token: users x layers.
    next: Vec<usize>,
}

impl<'a> Replay<'a> {
    /// Before everyone's first token. Users of the trace that have no token are passed over.
    pub fn new(trace: &'a Trace, users: u32) -> Self {
        let mut tokens = std::collections::BTreeMap::<u32, Vec<usize>>::new();
        for (index, &user) in trace.users().iter().enumerate() {
            tokens.entry(user).or_default().push(index);
        }
        let next = vec![0; users as usize * trace.header.layers as usize];
        Self { trace, tokens: tokens.into_values().collect(), next }
    }

    /// The same, where users who follow the same user of the trace begin at different tokens of it, spread evenly (by
    /// the golden ratio): else they would choose the same experts at the same time.
    pub fn staggered(trace: &'a Trace, users: u32) -> Self {
        let mut replay = Self::new(trace, users);
        let (layers, sources) = (trace.header.layers.max(1) as usize, replay.tokens.len().max(1));
        for (user, next) in replay.next.chunks_mut(layers).enumerate() {
            let tokens = replay.tokens.get(user % sources).map_or(1, Vec::len).max(1);
            let part = ((user / sources) as f64 * 0.618_033_988_749_894_9).fract();
            next.fill(((part * tokens as f64) as usize).min(tokens - 1));
        }
        replay
    }
}

impl Routing for Replay<'_> {
    fn header(&self) -> &Header {
        &self.trace.header
    }

    fn choose(&mut self, layer: u32, users: &[u32], chosen: &mut [u16]) -> Result<(), RoutingError> {
        let header = &self.trace.header;
        check(header, layer, users, chosen)?;
        for (&user, chosen) in users.iter().zip(chosen.chunks_exact_mut(header.top_k as usize)) {
            let place = (user as usize).saturating_mul(header.layers as usize).saturating_add(layer as usize);
            let (Some(next), false) = (self.next.get_mut(place), self.tokens.is_empty()) else {
                let allowed = format!("below {}", self.next.len() / header.layers.max(1) as usize);
                return Err(RoutingError::range("user", user, allowed));
            };
            let tokens = &self.tokens[user as usize % self.tokens.len()];
            chosen.copy_from_slice(self.trace.chosen(tokens[*next % tokens.len()], layer));
            *next = next.wrapping_add(1) % tokens.len();
        }
        Ok(())
    }
}
