//! What comes on top of an answer's own times on its way to a client: setting up a connection, chunks of several tokens,
//! an answer in one piece.

use serde::Serialize;

use crate::load::Story;
use crate::time::Time;

/// How requests and answers travel.
///
/// | | usual | range |
/// |---|---|---|
/// | `handshakes` | 0: SDKs keep connections open | 0 to 3: 1 for TCP, 1 for TLS 1.3 (RFC 8446, figure 1), 2 for TLS 1.2 |
/// | `chunk` | 1: a token in each chunk, as load generators saw it | a guess, 1 to 16: fast services put tokens together |
/// | `streams` | yes | |
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Delivery {
    /// Round trips over the network that each attempt spends on its connection, in the mean.
    pub handshakes: f64,
    /// Tokens in a chunk: the first is seen with the last of its chunk.
    pub chunk: u32,
    /// Whether answers are streamed; else the first token is seen with the last.
    pub streams: bool,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { handshakes: 0.0, chunk: 1, streams: true }
    }
}

impl Delivery {
    /// Whether nothing was said.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// When the chunk with the first token is sent, of an answer of so many tokens. Tokens of a chunk come as fast as those of
    /// the whole answer do in the mean.
    pub(super) fn first(&self, story: &Story<'_>, tokens: u32) -> Time {
        if !self.streams {
            return story.ended;
        }
        let steps = tokens.saturating_sub(1);
        let waited = self.chunk.saturating_sub(1).min(steps);
        let decode = u128::from((story.ended - story.first_token).0);
        let part = decode * u128::from(waited) / u128::from(steps.max(1));
        // No more than `decode`.
        story.first_token + Time(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Content, Request};

    #[test]
    fn chunks_wait_for_their_last_token_and_whole_answers_for_all() {
        let request = Request { user: 0, arrival: Time(0), prompt: 1, output: 11, content: Content::Unique };
        let story = Story {
            request: &request,
            arrived: Time(0),
            started: Time(10),
            first_token: Time(100),
            ended: Time(1100),
            cached: 0,
        };
        let first = |chunk, streams| Delivery { chunk, streams, ..Delivery::default() }.first(&story, 11).0;
        assert_eq!(first(1, true), 100);
        assert_eq!(first(2, true), 200);
        assert_eq!([first(11, true), first(64, true), first(1, false)], [1100; 3]);
        assert_eq!(
            Delivery { chunk: 8, ..Delivery::default() }.first(&story, 1),
            Time(100),
            "a single token waits for none"
        );
    }
}
