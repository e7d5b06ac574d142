//! What it takes that owners send: exact layers on the fabric of a WSE-3, lowered by their layouts and without them
//! (then a relayout is one stream from one end, an alignment moves every line, a rotating chain moves sums by one place
//! a round). `cargo run --release -p wafersim-carried --example owners`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example writes to the terminal")]

use wafersim_cost::{Rates, View, cost, formula};
use wafersim_fabric::circuit;
use wafersim_kernels::gemv;
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope, decode_layer, prefill_layer};
use wafersim_mapping::{KvMapping, LayerMapping};
use wafersim_program::{Action, Program, movement};
use wafersim_spec::model::{Attention, FeedForward};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{Model, Wafer};

const SMALL: &str = r#"{"model_type": "llama", "hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 64, "max_position_embeddings": 4096,
    "intermediate_size": 256, "rms_norm_eps": 1e-6}"#;

fn main() {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let run = |program: &Program| {
        let lowered = circuit::lower(program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap();
        circuit::run(&lowered, |_| ()).unwrap()
    };
    for (name, columns, rows, tokens) in [
        ("llama-3-8b", 64, 64, 1),
        ("qwen3-30b-a3b", 64, 64, 1),
        ("small", 16, 16, 1),
        ("small", 16, 16, 64),
        ("small", 16, 8, 64),
    ] {
        let model = if name == "small" { Model::from_config_json(SMALL, name) } else { Model::builtin(name) }.unwrap();
        let layer = model.layers[0].clone();
        let Attention::Grouped(grouped) = &layer.attention else { continue };
        let columns_per_head = (columns / grouped.kv_heads).max(1);
        let top_k = if let FeedForward::Moe(moe) = &layer.feed_forward { moe.top_k } else { 1 };
        let prefill = tokens > 1;
        let kv = KvMapping::published(columns_per_head);
        let mapping = LayerMapping { kv, ..LayerMapping::published(columns, rows) };
        let request = LayerRequest {
            layer: &layer,
            hidden: model.hidden,
            norm_epsilon: model.norm_epsilon,
            mapping: &mapping,
            precision: gemv::fp16(),
            tokens,
            users: 1,
            context: if prefill { tokens } else { 1024 },
            routed: Routed::Expected(ExpertLoad::spread(top_k, top_k)),
            scope: Scope::Model,
            queue: 4,
        };
        let program = if prefill { prefill_layer(&request, u64::MAX) } else { decode_layer(&request) }.unwrap();
        let mut bare = program.clone();
        for buffer in &mut bare.buffers {
            buffer.layout = None;
        }
        let (owners, bare_run, closed) = (run(&program), run(&bare), cost(&program, &rates));
        println!(
            "{name}, {columns} x {rows}, {}: by owners {:.0} cycles, without layouts {:.0} ({:+.1} %), closed form {:.0}",
            if prefill { format!("prefill of {tokens}") } else { "decode".into() },
            owners.cycles.0,
            bare_run.cycles.0,
            (owners.cycles.0 / bare_run.cycles.0 - 1.0) * 100.0,
            closed.total().0
        );
        for step in program.steps() {
            let Action::Relayout(moved) = &step.action else { continue };
            let Some(Ok(known)) = movement(&program, step.region, moved, 0) else { continue };
            let data_type = program.buffer_of(moved.source).data_type;
            let (up, down) = known.busiest_link(|elements| data_type.wavelets(elements));
            let (from, to) = (&program.buffer_of(moved.source).name, &program.buffer_of(moved.target).name);
            println!(
                "    {from} -> {to}: {} wavelets declared, up {up} and down {down} on the first line",
                moved.wavelets
            );
        }
        for (one, two) in owners.operators.iter().zip(&bare_run.operators) {
            if (one.cycles.0 / two.cycles.0.max(1.0) - 1.0).abs() > 0.01 {
                let (name, one, two) = (&one.name, one.cycles.0, two.cycles.0);
                println!("    {name:<28} {one:>10.0} {two:>10.0}  {:>+6.1} %", (one / two.max(1.0) - 1.0) * 100.0);
            }
        }
    }
}
