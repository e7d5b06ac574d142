//! Reading ahead: one thread makes tokens (parses a file, or draws them), another one uses them.
//!
//! Tokens travel in blocks through a bounded channel, and empty blocks travel back: memory stays what a few blocks
//! take, however long the trace is. Order and errors are those of the source.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::error::RoutingError;
use crate::header::Header;
use crate::token::{Token, TokenSource};

/// Tokens of a block.
const BLOCK: usize = 256;
/// Blocks on their way.
const BLOCKS: usize = 4;

/// Some tokens, one after the other.
#[derive(Debug, Default)]
struct Block {
    tokens: Vec<(u32, u64)>,
    experts: Vec<u16>,
    weights: Vec<f32>,
}

impl Block {
    fn clear(&mut self) {
        self.tokens.clear();
        self.experts.clear();
        self.weights.clear();
    }

    /// Takes tokens until it is full; `false` where the source has ended.
    fn fill(&mut self, source: &mut (dyn TokenSource + Send)) -> Result<bool, RoutingError> {
        self.clear();
        while self.tokens.len() < BLOCK {
            let Some(token) = source.next_token()? else { return Ok(false) };
            self.tokens.push((token.user, token.token));
            self.experts.extend_from_slice(token.experts);
            self.weights.extend_from_slice(token.weights.unwrap_or_default());
        }
        Ok(true)
    }
}

/// Lets `consume` have the tokens of a source while a second thread makes the next ones.
///
/// ```
/// use wafersim_routing::{SyntheticSettings, ahead::ahead, generate, statistics::inspect};
///
/// let settings = SyntheticSettings { layers: 4, tokens: 400, users: 4, ..SyntheticSettings::qwen3_30b() };
/// let said = ahead(&mut generate(&settings)?, |tokens| inspect(tokens))?;
/// assert_eq!(said, inspect(&mut generate(&settings)?)?);
/// # Ok::<(), wafersim_routing::RoutingError>(())
/// ```
pub fn ahead<R>(source: &mut (dyn TokenSource + Send), consume: impl FnOnce(&mut dyn TokenSource) -> R) -> R {
    let header = source.header().clone();
    let (full, blocks) = bounded(BLOCKS);
    let (back, empty) = bounded(BLOCKS + 1);
    // Whoever takes the source, reads it.
    let source = Mutex::new(Some(source));
    let taken = || source.lock().unwrap_or_else(PoisonError::into_inner).take();
    thread::scope(|scope| {
        let produced = move || {
            if let Some(source) = taken() {
                produce(source, &full, &empty);
            }
        };
        // Where no thread can be made, this one reads.
        if thread::Builder::new().spawn_scoped(scope, produced).is_err()
            && let Some(source) = taken()
        {
            return consume(source);
        }
        consume(&mut Ahead { header, blocks, back, block: Block::default(), next: 0, failed: None })
        // The consumer's ends are dropped here: a producer that still has tokens finds nobody and stops.
    })
}

fn produce(
    source: &mut (dyn TokenSource + Send),
    full: &Sender<Result<Block, (Block, RoutingError)>>,
    empty: &Receiver<Block>,
) {
    loop {
        let mut block = empty.try_recv().unwrap_or_default();
        let filled = block.fill(source);
        // What came before an error is used before it.
        let (message, more) = match filled {
            Ok(more) => (Ok(block), more),
            Err(error) => (Err((block, error)), false),
        };
        if full.send(message).is_err() || !more {
            return;
        }
    }
}

/// The consumer's end.
struct Ahead {
    header: Header,
    blocks: Receiver<Result<Block, (Block, RoutingError)>>,
    back: Sender<Block>,
    block: Block,
    next: usize,
    failed: Option<RoutingError>,
}

impl Ahead {
    /// Goes to the next block; `false` after the last one.
    fn advance(&mut self) -> Result<bool, RoutingError> {
        while self.next >= self.block.tokens.len() {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            let Ok(message) = self.blocks.recv() else { return Ok(false) };
            let block = match message {
                Ok(block) => block,
                Err((block, error)) => {
                    self.failed = Some(error);
                    block
                }
            };
            // Where the producer has all the blocks that it wants, this one is dropped.
            let _unwanted = self.back.try_send(std::mem::replace(&mut self.block, block));
            self.next = 0;
        }
        Ok(true)
    }
}

impl TokenSource for Ahead {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        if !self.advance()? {
            return Ok(None);
        }
        let index = self.next;
        self.next += 1;
        let Some(&(user, token)) = self.block.tokens.get(index) else { return Ok(None) };
        let choices = self.header.layers as usize * self.header.top_k as usize;
        let range = index * choices..(index + 1) * choices;
        let experts = self.block.experts.get(range.clone()).unwrap_or_default();
        let weights = if self.header.weights { self.block.weights.get(range) } else { None };
        Ok(Some(Token { user, token, experts, weights }))
    }
}
