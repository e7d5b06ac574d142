//! What exact layouts cost: decode layers in closed form, written for their cost and exactly, on WSE-3's rates.
//! `cargo run --release -p wafersim-values --example exact_cost`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example writes to the terminal")]

use wafersim_cost::{Rates, View, cost};
use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::{Exact, ExpertShape, KvShape, LayerShape, Options, decode_layer, exact_decode_layer, gemv};
use wafersim_program::Region;
use wafersim_spec::model::{Attention, FeedForward};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{Model, Wafer};

fn main() {
    let rates = Rates::new(&Wafer::builtin("wse3").unwrap(), RateSet::Silicon, View::Achieved);
    println!("layer                      grid        KV split      even     exact   difference");
    for (name, one_head, columns, rows, sequence) in [
        ("llama-3-8b, one head", true, 120, 120, false),
        ("llama-3-8b, one head", true, 128, 128, false),
        ("llama-3-8b", false, 128, 128, false),
        ("llama-3-8b", false, 120, 150, false),
        ("qwen3-30b-a3b", false, 200, 150, false),
        ("qwen3-30b-a3b", false, 200, 150, true),
    ] {
        let model = Model::builtin(name.split(',').next().unwrap()).unwrap();
        let mut layer = model.layers[0].clone();
        if let (true, Attention::Grouped(grouped)) = (one_head, &mut layer.attention) {
            (grouped.heads, grouped.kv_heads, grouped.head_dim, grouped.rotary_dim) = (1, 1, 4096, 4096);
        }
        let Attention::Grouped(grouped) = &layer.attention else { continue };
        let columns_per_head = columns / grouped.kv_heads;
        let split = if sequence { (1, columns_per_head) } else { (columns_per_head, 1) };
        let top_k = if let FeedForward::Moe(moe) = &layer.feed_forward { moe.top_k } else { 1 };
        let shape = LayerShape {
            layer: &layer,
            hidden: model.hidden,
            region: Region::new(0, 0, columns, rows),
            kv: KvShape { heads_per_block: 1, columns_per_head, dimension_split: split.0, sequence_split: split.1 },
            experts: ExpertShape::Spread,
            precision: gemv::fp16(),
            tokens: 1,
            context: 4096,
            key_block: u64::MAX,
            load: ExpertLoad { pairs: top_k, distinct: top_k, busiest: 1 },
            options: Options::PUBLISHED,
        };
        let even = cost(&decode_layer(&shape), &rates).total().0;
        let exact = cost(&exact_decode_layer(&shape, &Exact::new(1e-6)).unwrap(), &rates).total().0;
        println!(
            "{name:<22} {columns:>5} x {rows:<5} {:>4} x {:<4} {even:>10.0} {exact:>9.0}     {:>+5.2} %",
            split.0,
            split.1,
            (exact / even - 1.0) * 100.0
        );
    }
}
