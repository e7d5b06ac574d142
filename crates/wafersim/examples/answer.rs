//! A question and its answer: `cargo run -p wafersim --example answer`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use wafersim::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// Asks how fast Llama 3.1 8B answers four users on one WSE-3.
pub fn run() -> Result<Answer, Box<dyn Error>> {
    // Built-in names; Model::read and Wafer::read take files.
    let (model, wafer) = (Model::builtin("llama-3.1-8b")?, Wafer::builtin("wse3")?);
    // What is left out is as documented at Scenario.
    let scenario = Scenario { users: 4, context: 8192, prompt: 1024, target: 1000.0, ..Scenario::default() };
    let question = Question::new(scenario, model, wafer)?;

    let answer = answer(&question)?;

    // The verdict in words, and where a token's time goes.
    print!("{}", wafersim::report::answer::verdict(&answer, &question.wafer));
    let mut rows: Vec<_> = answer.breakdown.iter().collect();
    rows.sort_by(|one, other| other.cycles.total_cmp(&one.cycles));
    for row in rows.iter().take(5) {
        println!("{:28} {:>10.0} cycles {:>5.1} %", row.operator, row.cycles, 100.0 * row.share);
    }
    println!("inputs {}", answer.provenance.input_hash);
    Ok(answer)
}
