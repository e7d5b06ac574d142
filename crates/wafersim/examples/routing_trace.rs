//! Which experts tokens choose: a synthetic trace, what it says, and what batches of it put on the fullest place.
//! `cargo run -p wafersim --example routing_trace`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use wafersim::routing::load::{choices, draw_batches, expected_load};
use wafersim::routing::{SyntheticSettings, Trace, generate, jsonl, statistics};

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// Pairs of the busiest of 16 rectangles: neighbouring experts in one, and dealt in turn.
pub fn run() -> Result<[f64; 2], Box<dyn Error>> {
    // After published figures of Qwen3-30B-A3B; fewer layers and tokens than it has.
    let settings = SyntheticSettings { layers: 4, tokens: 800, users: 8, ..SyntheticSettings::qwen3_30b() };
    // JSON Lines are the form to exchange; a Vec stands for the file.
    let mut file = Vec::new();
    jsonl::write(&mut generate(&settings)?, &mut file)?;
    let trace = Trace::read(&mut generate(&settings)?)?;
    println!("{} tokens, {} kB as JSON Lines", trace.len(), file.len() / 1000);

    let said = statistics::inspect(&mut generate(&settings)?)?;
    println!("popularity: Gini {:.2} (0 is even)", said.mean.gini);

    // Batches of 8 tokens of different users in the first layer.
    let (top_k, experts) = (usize::try_from(settings.top_k)?, settings.experts as u16);
    let drawn = draw_batches(&trace, 0..trace.len(), 8, 200, 1);
    let chosen = choices(&trace, &drawn, 0);
    let together = usize::from(experts.div_ceil(16));
    let neighbours = expected_load(&chosen, 8 * top_k, 16, |expert| usize::from(expert) / together);
    let in_turn = expected_load(&chosen, 8 * top_k, 16, |expert| usize::from(expert) % 16);
    for (name, load) in [("neighbours", neighbours), ("in turn", in_turn)] {
        println!("{name:11} {:.1} of {:.0} pairs in the busiest rectangle", load.busiest, load.pairs);
    }
    Ok([neighbours.busiest, in_turn.busiest])
}
