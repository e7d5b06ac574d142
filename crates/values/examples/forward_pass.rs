//! How fast a placed model is computed: `cargo run --release -p wafersim-values --example forward_pass [COLUMNS [ROWS
//! [LAYERS [STEPS [CHUNK]]]]]`.
//!
//! The shapes are those of Qwen3-0.6B (hidden 1024, 16 heads and 8 KV heads of 128, inner width 3072) with a vocabulary
//! cut to 16,384; the weights are random. Prints tokens per second once the tiles are in place, over so many decode
//! steps (8 where not told), and what a chunk of a prompt takes (16 tokens where not told; 0: none).
//! `forward_pass.py` is the plain forward pass of the same shapes.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example writes to the terminal")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use wafersim_values::{Prefill, RunInput, Setup, random_prompt, run};

/// Seconds of CPU time of this program, of all its threads, where Linux tells (ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let argument = |index: usize, default: u64| numbers.get(index).copied().unwrap_or(default);
    let (columns, rows, layers) = (argument(0, 16), argument(1, 16), argument(2, 28));
    let (steps, chunk) = (argument(3, 8).max(2), argument(4, 16));
    let config = format!(
        r#"{{"model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": {layers}, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 16384, "max_position_embeddings": 4096,
        "intermediate_size": 3072, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": true}}"#
    );
    let checkpoint = common::checkpoint(&config, 1);
    let setup = Setup { prefill: Prefill::Tokens, ..common::setup(&checkpoint.model, columns, rows) };
    let prompt = random_prompt(checkpoint.model.vocabulary, 2, 1);
    let mut times = Vec::new();
    run(&checkpoint, &setup, RunInput::new(&prompt, steps), |_, _| times.push((Instant::now(), cpu_seconds())))
        .unwrap();
    let (first, last) = (times[2], times[times.len() - 1]);
    let tokens = (times.len() - 3) as f64;
    println!(
        "{layers} layers on {columns} x {rows}: {:.2} tokens per second in decode; {:.3} s of CPU time a token",
        tokens / (last.0 - first.0).as_secs_f64(),
        (last.1 - first.1) / tokens
    );
    if chunk == 0 {
        return;
    }
    let start = Instant::now();
    let prompt = random_prompt(checkpoint.model.vocabulary, chunk, 1);
    run(&checkpoint, &common::setup(&checkpoint.model, columns, rows), RunInput::new(&prompt, 0), |_, _| ()).unwrap();
    println!("a chunk of {chunk} tokens: {:.1} s, cutting of tiles included", start.elapsed().as_secs_f64());
}
