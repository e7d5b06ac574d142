//! Time to first token: the prompt goes through the pipeline; the logits of its last token give the first output token.
//!
//! Two ways are compared, and the faster one counts. *Chunks*: tokens of a chunk go through together, by the prefill kernels.
//! *Streaming*: the tokens of the prompt follow each other through the decode kernels, one per stage time; the keys and
//! values of the tokens before are there when a token arrives, since they went the same way. Short prompts stream.
//!
//! Chunks follow each other through the stages. The time is one pass of the last chunk, plus the slowest stage's time for
//! every chunk before it. Attention grows with the tokens before a chunk; between the first and the last chunk the
//! stage's time is taken as their mean (attention is linear in the context up to rounding of tiles).

use wafersim_place::Placement;
use wafersim_spec::Cycles;

use crate::question::Question;
use crate::stage::{Flow, LayerReading, StageTimes};

/// Smallest chunk that is tried, in tokens, where larger ones fit: below it, the fixed steps of the systolic loops rule.
const SMALLEST_CHUNK: u64 = 64;

/// Time from the start of the prefill to the end of the prompt's last chunk. Chunks are powers of four below the largest
/// that fits: large ones use the processing elements better, small ones fill the pipeline sooner. The fastest way counts.
pub fn prompt_time(question: &Question, placement: &Placement, reading: &LayerReading) -> Cycles {
    let prompt = question.scenario.prompt.max(1);
    let mut chunk = placement.prefill_chunk_tokens().clamp(1, prompt.next_power_of_two());
    let mut best = streamed(question, placement, reading);
    loop {
        let time = chunked(question, placement, reading, chunk.min(prompt));
        if time.0 < best.0 {
            best = time;
        }
        if chunk / 4 < SMALLEST_CHUNK {
            break;
        }
        chunk /= 4;
    }
    best
}

/// The prompt, token by token through the decode kernels: a pass of the last token after all others have followed each
/// other through the slowest stage, whose time is the mean between an empty and a full cache.
fn streamed(question: &Question, placement: &Placement, reading: &LayerReading) -> Cycles {
    let prompt = question.scenario.prompt.max(1);
    let last = StageTimes::new(question, placement, reading, Flow::Decode { tokens: 1, context: prompt });
    if prompt == 1 {
        return last.latency.total();
    }
    let first = StageTimes::new(question, placement, reading, Flow::Decode { tokens: 1, context: 1 });
    last.latency.total() + (first.slowest + last.slowest) * (0.5 * (prompt - 1) as f64)
}

fn chunked(question: &Question, placement: &Placement, reading: &LayerReading, chunk: u64) -> Cycles {
    let prompt = question.scenario.prompt.max(1);
    let chunks = prompt.div_ceil(chunk);
    let last = StageTimes::new(question, placement, reading, Flow::Prefill { tokens: chunk, before: prompt - chunk });
    if chunks == 1 {
        return last.latency.total();
    }
    let first = StageTimes::new(question, placement, reading, Flow::Prefill { tokens: chunk, before: 0 });
    let mean = (first.slowest + last.slowest) * 0.5;
    last.latency.total() + mean * (chunks - 1) as f64
}
