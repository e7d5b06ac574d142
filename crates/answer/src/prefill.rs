//! Time to first token: the prompt goes through the pipeline; the logits of its last token give the first output token.
//!
//! Two ways are compared, and the faster one counts. *Chunks*: tokens of a chunk go through together, by the prefill
//! kernels. *Streaming*: single tokens, or batches of neighbours, follow each other through the decode kernels, one per
//! stage time; the keys and values of the tokens before are there when a batch arrives, since they went the same way. A
//! batch is what the verification of a draft is: its tokens share hops and set-up times, and its programs keep more.
//! How many tokens it has is left to the memory; where there is room for none with all that the mapping keeps, tiles
//! are not kept ([`lean`]). Every token is taken to see its whole batch.
//!
//! Chunks follow each other through the stages. The time is one pass of the last chunk, plus the slowest stage's time
//! for every chunk before it. Attention grows with the tokens before a chunk; between the first and the last chunk the
//! stage's time is taken as their mean (attention is linear in the context up to rounding of tiles).

use wafersim_mapping::{Mapped, Rewrite};
use wafersim_place::Placement;
use wafersim_spec::Cycles;

use crate::error::AnswerError;
use crate::memory::fits;
use crate::question::Question;
use crate::stage::{LayerReading, StageTimes};
use crate::written::{Flow, Kept, Written};

/// Smallest chunk that is tried, in tokens, where larger ones fit: below it, the fixed steps of the systolic loops
/// rule.
const SMALLEST_CHUNK: u64 = 64;

/// Tokens of a batch that streams.
const BATCHES: [u64; 6] = [2, 4, 8, 16, 32, 64];

/// The same placement and cache with programs that keep less: tiles of experts one after the other, in strips where
/// they are converted.
fn lean(mapped: &Mapped) -> Mapped {
    const KEEP: [Rewrite; 3] = [Rewrite::ConcatenatedExperts, Rewrite::EarlyRouter, Rewrite::InterleavedGateUp];
    let mut lean = mapped.clone();
    for layer in lean.layers.iter_mut().chain(&mut lean.tables) {
        let without = KEEP.into_iter().fold(layer.rewrites, |rewrites, rewrite| rewrites.with(rewrite, false));
        layer.rewrites = without.with(Rewrite::ConversionInStrips, true);
    }
    lean
}

/// Tokens of a prompt that stream together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) tokens: u64,
    pub(crate) mapped: Mapped,
}

impl Batch {
    /// Single tokens.
    pub(crate) fn single(mapped: &Mapped) -> Self {
        Self { tokens: 1, mapped: mapped.clone() }
    }

    /// Every size that fits the memory where so many tokens are in the cache, the smallest first, each with the last
    /// batch's programs.
    pub(crate) fn all(question: &Question, mapped: &Mapped, context: u64, kept: &mut Kept) -> Vec<(Self, Written)> {
        let mut write = |batch: &Self| {
            let flow = Flow::Batch { tokens: batch.tokens, before: context.saturating_sub(batch.tokens) };
            Written::with_kept(question, &batch.mapped, flow, None, kept)
        };
        let single = Self::single(mapped);
        let written = write(&single);
        let mut all = vec![(single, written)];
        let mut keeping = mapped.clone();
        for tokens in BATCHES.into_iter().filter(|tokens| *tokens <= context) {
            let of = |mapped: &Mapped| Self { tokens, mapped: mapped.clone() };
            let mut fitting = |batch: Self| {
                let written = write(&batch);
                let does = !written.is_refused() && fits(&batch.mapped, &written).is_ok();
                does.then_some((batch, written))
            };
            let Some(found) = fitting(of(&keeping)).or_else(|| fitting(of(&lean(mapped)))) else { break };
            keeping = found.0.mapped.clone();
            all.push(found);
        }
        all
    }
}

/// A way to work off the prompt: its last piece, and its first where there are several.
#[derive(Debug, Clone)]
pub(crate) struct Pieces {
    count: u64,
    pub(crate) first: Option<Written>,
    pub(crate) last: Written,
}

impl Pieces {
    fn check(&self, mapping: &str) -> Result<(), AnswerError> {
        let mut all = std::iter::once(&self.last).chain(self.first.as_ref());
        all.try_for_each(|written| written.check(mapping))
    }

    fn read(&self, question: &Question, placement: &Placement, reading: &LayerReading) -> Cycles {
        let read = |written: &Written| StageTimes::read(question, placement, written, reading);
        self.assemble(&read(&self.last), self.first.as_ref().map(read).as_ref())
    }

    /// One pass of the last piece, and the slowest stage for every piece before it.
    pub(crate) fn assemble(&self, last: &StageTimes, first: Option<&StageTimes>) -> Cycles {
        let before = first
            .map_or(Cycles::ZERO, |first| (first.slowest + last.slowest) * (0.5 * self.count.saturating_sub(1) as f64));
        last.latency.total() + before
    }
}

/// The programs of a prompt, every way that is compared.
#[derive(Debug, Clone)]
pub struct PromptPrograms {
    ways: Vec<Pieces>,
}

impl PromptPrograms {
    /// Writes them: streaming in batches of all sizes that fit, and chunks of powers of four below the largest that
    /// fits. Large chunks use the processing elements better, small ones fill the pipeline sooner.
    pub fn new(question: &Question, mapped: &Mapped, kept: &mut Kept) -> Self {
        let prompt = question.scenario.prompt.max(1);
        let mut ways = Vec::new();
        for (Batch { tokens, mapped }, last) in Batch::all(question, mapped, prompt, kept) {
            let count = prompt.div_ceil(tokens);
            let first = Flow::Batch { tokens, before: 0 };
            let first = (count > 1).then(|| Written::with_kept(question, &mapped, first, None, kept));
            ways.push(Pieces { count, first, last });
        }
        let mut pieces = |count: u64, first: Flow, last: Flow| {
            let mut write = |flow: Flow| Written::with_kept(question, mapped, flow, None, kept);
            Pieces { count, first: (count > 1).then(|| write(first)), last: write(last) }
        };
        let mut chunk = mapped.placement.prefill_chunk_tokens().clamp(1, prompt.next_power_of_two());
        loop {
            let tokens = chunk.min(prompt);
            let of = |before| Flow::Prefill { tokens, before };
            ways.push(pieces(prompt.div_ceil(tokens), of(0), of(prompt - tokens)));
            if chunk / 4 < SMALLEST_CHUNK {
                return Self { ways };
            }
            chunk /= 4;
        }
    }

    /// Whether some way could be written: the others are not taken.
    ///
    /// # Errors
    /// Where a layer could not be written as its mapping says, whatever the way.
    pub(crate) fn check(&self, mapping: &str) -> Result<(), AnswerError> {
        let refused = self.ways.iter().map(|pieces| pieces.check(mapping));
        refused.reduce(Result::or).unwrap_or(Ok(()))
    }

    /// Whether every way could be written.
    ///
    /// # Errors
    /// Where a layer could not be written as its mapping says.
    pub(crate) fn check_all(&self, mapping: &str) -> Result<(), AnswerError> {
        self.ways.iter().try_for_each(|pieces| pieces.check(mapping))
    }

    /// Time from the start of the prefill to the end of the prompt's last piece; the fastest way counts.
    pub fn time(&self, question: &Question, placement: &Placement, reading: &LayerReading) -> Cycles {
        self.fastest(question, placement, reading).map_or(Cycles(f64::INFINITY), |(_, time)| time)
    }

    /// The fastest way, the first of them on a tie, and its time.
    pub(crate) fn fastest(
        &self,
        question: &Question,
        placement: &Placement,
        reading: &LayerReading,
    ) -> Option<(&Pieces, Cycles)> {
        let times = self.ways.iter().map(|way| (way, way.read(question, placement, reading)));
        times.reduce(|best, way| if way.1.0 < best.1.0 { way } else { best })
    }
}
