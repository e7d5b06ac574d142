//! One token's choice in all layers, where tokens come from, and a whole trace in memory.

use crate::error::RoutingError;
use crate::header::Header;

/// What one token chose in all layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token<'a> {
    /// Whose token, below [`crate::header::MOST_USERS`].
    pub user: u32,
    /// Its number among this user's tokens, from 0.
    pub token: u64,
    /// `layers x top_k` experts, layer after layer.
    pub experts: &'a [u16],
    /// Router weights in the same order, where the trace carries them.
    pub weights: Option<&'a [f32]>,
}

impl<'a> Token<'a> {
    /// The experts of each layer in turn.
    pub fn by_layer(&self, header: &Header) -> impl Iterator<Item = &'a [u16]> + use<'a> {
        self.experts.chunks_exact(header.top_k.max(1) as usize)
    }
}

/// Anything that gives tokens one after the other: a file being read, a generator, a trace in memory.
pub trait TokenSource {
    /// What the trace says of itself.
    fn header(&self) -> &Header;

    /// The next token; `None` after the last.
    ///
    /// # Errors
    /// Where the source holds something that is not allowed.
    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError>;
}

/// A whole trace in memory: 2 bytes a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// What it says of itself.
    pub header: Header,
    users: Vec<u32>,
    tokens: Vec<u64>,
    experts: Vec<u16>,
    weights: Vec<f32>,
}

/// Most choices that are held in memory: half a GiB of them.
const MOST_IN_MEMORY: u64 = 1 << 28;

impl Trace {
    /// Reads a source to its end.
    ///
    /// # Errors
    /// What the source says, or a trace of more than 2^28 choices.
    pub fn read(source: &mut dyn TokenSource) -> Result<Self, RoutingError> {
        let header = source.header().clone();
        let choices = header.tokens.saturating_mul(header.choices() as u64);
        if choices > MOST_IN_MEMORY {
            let allowed = format!("{MOST_IN_MEMORY} choices in memory; use a shorter trace");
            return Err(RoutingError::range("tokens x layers x top_k", choices, allowed));
        }
        let mut trace =
            Self { header, users: Vec::new(), tokens: Vec::new(), experts: Vec::new(), weights: Vec::new() };
        while let Some(token) = source.next_token()? {
            trace.users.push(token.user);
            trace.tokens.push(token.token);
            trace.experts.extend_from_slice(token.experts);
            trace.weights.extend_from_slice(token.weights.unwrap_or(&[]));
        }
        Ok(trace)
    }

    /// A trace without tokens yet; [`Trace::push`] appends them.
    pub const fn new(header: Header) -> Self {
        Self { header, users: Vec::new(), tokens: Vec::new(), experts: Vec::new(), weights: Vec::new() }
    }

    /// Appends a token. The header's number of tokens is for the caller to keep.
    ///
    /// # Errors
    /// Where it has not as many experts as the header says, one that the header does not have, one twice in a layer, or
    /// where the trace would be longer than 2^28 choices.
    pub fn push(&mut self, token: &Token<'_>) -> Result<(), RoutingError> {
        let choices = self.header.choices();
        if token.experts.len() != choices {
            let allowed = format!("{choices}: layers x top_k");
            return Err(RoutingError::range("experts of a token", token.experts.len(), allowed));
        }
        if (self.experts.len() + choices) as u64 > MOST_IN_MEMORY {
            let allowed = format!("{MOST_IN_MEMORY} choices in memory; use a shorter trace");
            return Err(RoutingError::range("tokens x layers x top_k", self.experts.len() + choices, allowed));
        }
        let most = self.header.experts;
        for layer in token.by_layer(&self.header) {
            if let Some(wrong) = layer.iter().find(|expert| u32::from(**expert) >= most) {
                return Err(RoutingError::range("expert", wrong, format!("0 to {}", most - 1)));
            }
            if let Some((_, twice)) = layer.iter().enumerate().find(|(place, expert)| layer[..*place].contains(expert))
            {
                return Err(RoutingError::range("expert", twice, "different experts in each layer of a token"));
            }
        }
        self.users.push(token.user);
        self.tokens.push(token.token);
        self.experts.extend_from_slice(token.experts);
        self.weights.extend_from_slice(token.weights.unwrap_or(&[]));
        Ok(())
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no token. No source gives such a trace.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// A token by its place in the trace.
    pub fn token(&self, index: usize) -> Option<Token<'_>> {
        let choices = self.header.choices();
        let range = index.checked_mul(choices)?..index.checked_add(1)?.checked_mul(choices)?;
        Some(Token {
            user: *self.users.get(index)?,
            token: *self.tokens.get(index)?,
            experts: self.experts.get(range.clone())?,
            weights: self.weights.get(range),
        })
    }

    /// The experts of a token in a layer; empty where there is no such token or layer.
    pub fn chosen(&self, index: usize, layer: u32) -> &[u16] {
        let top_k = self.header.top_k as usize;
        let start = index.saturating_mul(self.header.choices()).saturating_add(layer as usize * top_k);
        if layer >= self.header.layers { &[] } else { self.experts.get(start..start + top_k).unwrap_or(&[]) }
    }

    /// The user of each token, in the order of the trace.
    pub fn users(&self) -> &[u32] {
        &self.users
    }

    /// The trace as a source, from its first token.
    pub fn source(&self) -> TraceSource<'_> {
        TraceSource { trace: self, next: 0 }
    }
}

/// A trace in memory as a source of its own, from its first token.
#[derive(Debug, Clone)]
pub struct OwnedSource {
    trace: Trace,
    next: usize,
}

impl From<Trace> for OwnedSource {
    fn from(trace: Trace) -> Self {
        Self { trace, next: 0 }
    }
}

impl TokenSource for OwnedSource {
    fn header(&self) -> &Header {
        &self.trace.header
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        let token = self.trace.token(self.next);
        self.next = self.next.saturating_add(1);
        Ok(token)
    }
}

/// A trace in memory, being read.
#[derive(Debug, Clone)]
pub struct TraceSource<'a> {
    trace: &'a Trace,
    next: usize,
}

impl TokenSource for TraceSource<'_> {
    fn header(&self) -> &Header {
        &self.trace.header
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        let token = self.trace.token(self.next);
        self.next = self.next.saturating_add(1);
        Ok(token)
    }
}
