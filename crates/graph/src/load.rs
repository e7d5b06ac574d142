//! What is asked of the model in one pass, and how many cached tokens its queries look at.
//!
//! Users, arrivals and time are not here: a load is one micro-batch of a decode step, or one chunk of a prompt.

use serde::Serialize;
use wafersim_spec::model::Reach;

/// Which half of inference a pass belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Every token belongs to a sequence of its own and looks at that sequence's cache. Every token gets logits.
    Decode,
    /// The tokens are a chunk of one prompt: they share one cache and look at each other causally. Only the last one
    /// gets logits, so final norm, LM head and sampling work on one row.
    Prefill,
}

/// What is asked of the model in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PassLoad {
    /// Decode or prefill.
    pub phase: Phase,
    /// Tokens of the micro-batch or chunk; at least 1.
    pub tokens: u64,
    /// Decode: the entries of its cache that each token attends to, as in `Scenario::context`; its own entry counts
    /// where the caller counts it. Prefill: tokens in the cache before the chunk; the chunk's token i (from 1) then
    /// attends to `context + i`. So decoding with a context of c + 1 equals prefilling one token after c.
    pub context: u64,
}

impl PassLoad {
    /// A decode step of `tokens` users, each with `context` tokens in the cache.
    pub const fn decode(tokens: u64, context: u64) -> Self {
        Self { phase: Phase::Decode, tokens, context }
    }

    /// A chunk of `tokens` prompt tokens after `context` cached ones.
    pub const fn prefill(tokens: u64, context: u64) -> Self {
        Self { phase: Phase::Prefill, tokens, context }
    }

    /// Tokens whose next token is wanted.
    pub const fn logit_rows(&self) -> u64 {
        match self.phase {
            Phase::Decode => self.tokens,
            Phase::Prefill => 1,
        }
    }

    /// Sequences that the tokens belong to.
    pub const fn users(&self) -> u64 {
        match self.phase {
            Phase::Decode => self.tokens,
            Phase::Prefill => 1,
        }
    }

    /// What the queries of a layer with that reach look at. Counts that leave 64 bits are `u64::MAX`.
    pub fn attended(&self, reach: Reach) -> Attended {
        match self.phase {
            Phase::Decode => {
                let widest = reach.visible(self.context);
                let pairs = self.tokens.saturating_mul(widest);
                Attended { pairs, widest, entries_read: pairs }
            }
            Phase::Prefill => {
                let end = self.context.saturating_add(self.tokens);
                let entries_read = match reach {
                    Reach::Full => end,
                    // The first token of the chunk looks back limit - 1 entries beyond itself.
                    Reach::Window(limit) | Reach::Chunk(limit) => {
                        end.min(self.tokens.saturating_add(limit).saturating_sub(1))
                    }
                };
                Attended {
                    pairs: causal_pairs(reach, self.context, self.tokens),
                    widest: reach.visible(end),
                    entries_read,
                }
            }
        }
    }
}

/// What the queries of one layer look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attended {
    /// Query-key pairs per head: the sum over the tokens of the entries that each sees.
    pub pairs: u64,
    /// Entries that the token with the farthest view sees.
    pub widest: u64,
    /// Cache entries that are read, each once per sequence: all tokens of a prefill chunk share one reading.
    pub entries_read: u64,
}

/// The sum of `reach.visible(context + i)` for i = 1 to `tokens`, in closed form.
fn causal_pairs(reach: Reach, context: u64, tokens: u64) -> u64 {
    let (context, tokens) = (u128::from(context), u128::from(tokens));
    // Of n tokens that all see everything before them: n * context + (1 + 2 + ... + n).
    let growing = |n: u128| (n * context).saturating_add(n * (n + 1) / 2);
    let pairs = match reach {
        Reach::Full => growing(tokens),
        Reach::Window(limit) | Reach::Chunk(limit) => {
            let limit = u128::from(limit);
            let below = limit.saturating_sub(context).min(tokens);
            growing(below).saturating_add((tokens - below) * limit)
        }
    };
    u64::try_from(pairs).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefill_is_the_sum_over_its_tokens() {
        for reach in [Reach::Full, Reach::Window(1), Reach::Window(7), Reach::Chunk(16), Reach::Window(1000)] {
            for context in [0, 1, 6, 7, 8, 100] {
                for tokens in [1, 2, 7, 33] {
                    let expected: u64 = (1..=tokens).map(|i| reach.visible(context + i)).sum();
                    let attended = PassLoad::prefill(tokens, context).attended(reach);
                    assert_eq!(attended.pairs, expected, "{reach:?} {context} {tokens}");
                    // Position p (from 1) is seen by the chunk's token i if it is among the last visible(context + i).
                    let end = context + tokens;
                    let seen = |p: u64| (context + 1..=end).any(|query| p <= query && p > query - reach.visible(query));
                    assert_eq!(attended.entries_read, (1..=end).filter(|p| seen(*p)).count() as u64);
                }
            }
        }
    }

    #[test]
    fn decoding_equals_prefilling_one_token() {
        for reach in [Reach::Full, Reach::Window(128), Reach::Chunk(8192)] {
            for context in [0, 127, 128, 9000] {
                assert_eq!(
                    PassLoad::decode(1, context + 1).attended(reach),
                    PassLoad::prefill(1, context).attended(reach)
                );
            }
        }
    }

    #[test]
    fn the_largest_load_saturates() {
        let all = u64::MAX;
        assert_eq!(PassLoad::prefill(all, all).attended(Reach::Full).pairs, all);
        assert_eq!(PassLoad::prefill(all, all).attended(Reach::Window(all)).pairs, all);
        assert_eq!(PassLoad::decode(all, all).attended(Reach::Chunk(2)).pairs, all);
    }
}
