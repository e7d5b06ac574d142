//! Synthetic traces as a source of tokens: users take turns.

use super::sampler::ExpertSampler;
use super::settings::SyntheticSettings;
use crate::error::RoutingError;
use crate::header::Header;
use crate::token::{Token, TokenSource};

/// Choices that are made ahead, layers in parallel.
const CHOICES_AHEAD: usize = 1 << 21;

/// A synthetic trace, being made.
#[derive(Debug, Clone)]
pub struct Generator {
    header: Header,
    sampler: ExpertSampler,
    users: u64,
    /// Tokens given so far.
    given: u64,
    rounds: usize,
    /// Layers x tokens x top-k.
    ahead: Vec<u16>,
    /// Tokens in `ahead`, and how many of them were given.
    tokens_ahead: usize,
    next: usize,
    row: Vec<u16>,
}

/// The generator of a synthetic trace.
///
/// # Errors
/// Where a setting is outside its range.
pub fn generate(settings: &SyntheticSettings) -> Result<Generator, RoutingError> {
    let header = settings.header()?;
    let sampler = ExpertSampler::new(settings)?;
    let users = settings.users as usize;
    let rounds_wanted = usize::try_from(settings.tokens.div_ceil(u64::from(settings.users))).unwrap_or(usize::MAX);
    let rounds = (CHOICES_AHEAD / (header.choices() * users).max(1)).clamp(1, rounds_wanted.max(1));
    Ok(Generator {
        ahead: vec![0; rounds * users * header.choices()],
        row: vec![0; header.choices()],
        users: u64::from(settings.users),
        header,
        sampler,
        given: 0,
        rounds,
        tokens_ahead: 0,
        next: 0,
    })
}

impl TokenSource for Generator {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        if self.given >= self.header.tokens {
            return Ok(None);
        }
        if self.next >= self.tokens_ahead {
            self.sampler.fill(self.rounds, &mut self.ahead);
            self.tokens_ahead = self.rounds * self.users as usize;
            self.next = 0;
        }
        let top_k = self.header.top_k as usize;
        let layers = self.ahead.chunks_exact(self.tokens_ahead * top_k);
        for (row, layer) in self.row.chunks_exact_mut(top_k).zip(layers) {
            if let Some(chosen) = layer.get(self.next * top_k..(self.next + 1) * top_k) {
                row.copy_from_slice(chosen);
            }
        }
        let (user, token) = (self.given % self.users, self.given / self.users);
        self.next += 1;
        self.given += 1;
        Ok(Some(Token { user: user as u32, token, experts: &self.row, weights: None }))
    }
}
