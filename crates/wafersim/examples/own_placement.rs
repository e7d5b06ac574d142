//! Routed experts dealt to rectangles by a strategy of one's own: `cargo run -p wafersim --example own_placement`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use wafersim::mapping::OwnExperts;
use wafersim::place::experts::assignment::Assignment;
use wafersim::place::experts::strategies::{Strategy, Task};
use wafersim::prelude::*;
use wafersim::spec::Size;

/// Deals experts like cards, the most wanted first, back and forth over the rectangles: the rectangle that gets the
/// hottest expert of one round gets the coldest of the next.
struct BackAndForth;

impl Strategy for BackAndForth {
    fn name(&self) -> &str {
        "back-and-forth"
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let mut homes = vec![0; task.demand.experts()];
        for (turn, expert) in task.demand.hottest_first().into_iter().enumerate() {
            let (round, place) = (turn / task.cells, turn % task.cells);
            homes[expert] = if round % 2 == 0 { place } else { task.cells - 1 - place };
        }
        Assignment::single(task.cells, |expert| homes[expert], homes.len())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// The answers with neighbouring experts in a rectangle, and with our own strategy.
pub fn run() -> Result<[Answer; 2], Box<dyn Error>> {
    let scenario = Scenario {
        users: 32,
        context: 4096,
        prompt: 4096,
        placement: ExpertPlacement::Linear,
        default_placement: false,
        ..Scenario::default()
    };
    let question = Question::new(scenario, Model::builtin("qwen3-30b-a3b")?, Wafer::builtin("wse3")?)?;
    // Eight experts share a rectangle, as they do under `linear` in a model of which a token uses eight.
    let own = OwnExperts::new(BackAndForth).sharing(Size::Exactly(8));

    let answers = [
        answer_without_ranges(&question)?,
        // The strategy is asked for each kind of layer. What it deals is checked, and its id stands in the answer and
        // in the hash of its inputs.
        answer_without_ranges(&question.with_experts(own))?,
    ];
    for answer in &answers {
        let (speed, hash) = (answer.tokens_per_second_per_user, &answer.provenance.input_hash);
        println!("experts {:15} {speed:>7.1} tok/s per user, inputs {hash}", answer.load.placement);
    }
    Ok(answers)
}
