//! Time to first token: the prompt goes through the pipeline in chunks, then the first token is decoded.
//!
//! Chunks follow each other through the stages. The time is one pass of the last chunk, plus the slowest stage's time for
//! every chunk before it. Attention grows with the tokens before a chunk; between the first and the last chunk the
//! stage's time is taken as their mean (attention is linear in the context up to rounding of tiles).

use wafersim_place::Placement;
use wafersim_spec::Cycles;

use crate::question::Question;
use crate::stage::{Flow, LayerReading, StageTimes};

/// Time from the start of the prefill to the end of the prompt's last chunk; the chunk that does best is used.
pub fn prompt_time(question: &Question, placement: &Placement, reading: &LayerReading) -> Cycles {
    let prompt = question.scenario.prompt.max(1);
    let largest = placement.prefill_chunk_tokens().min(prompt.next_power_of_two());
    let mut best = Cycles(f64::INFINITY);
    let mut chunk = largest;
    // A chunk much smaller than the largest that fits never wins: its systolic loops have the same number of steps.
    for _ in 0..3 {
        let time = chunked(question, placement, reading, chunk.min(prompt));
        if time.0 < best.0 {
            best = time;
        }
        if chunk <= 1 {
            break;
        }
        chunk /= 4;
        chunk = chunk.max(1);
    }
    best
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
