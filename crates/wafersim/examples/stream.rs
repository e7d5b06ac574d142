//! Many users on one machine, by a built-in policy and by one of our own: `cargo run -p wafersim --example stream`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use wafersim::prelude::*;
use wafersim::stream::own::StreamExtensions;
use wafersim::stream::policy::{Choice, Policy, Waiting};
use wafersim::stream::run::{Files, Point, Prepared};
use wafersim::stream::scenario::StreamFile;

/// Eight users who ask again as soon as they have their answer.
const SCENARIO: &str = "
[machine]
model = 'llama-3.1-8b'
context = 4096
users = 8
[load]
users = 8
prompt = { median = 600 }
output = { median = 60 }
[run]
warm_up = 0.1
window = 1.0
";

/// So many passes of tokens between two chunks of prompts.
#[derive(Debug)]
struct Turns {
    of_tokens: u32,
    since_chunk: u32,
}

impl Policy for Turns {
    fn choose(&mut self, waiting: &Waiting) -> Choice {
        if waiting.decode > 0 && (waiting.prefill == 0 || self.since_chunk < self.of_tokens) {
            self.since_chunk += 1;
            return Choice::Decode;
        }
        self.since_chunk = 0;
        Choice::Prefill { most: 256 }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// A run by the policy of the scenario, and one by our own.
pub fn run() -> Result<[Point; 2], Box<dyn Error>> {
    let scenario = StreamFile::parse(SCENARIO, "example")?.check("example")?;
    // A question that is there already may have a model, a wafer or code that no file names.
    let question = Question::load(scenario.machine.clone())?;
    let usual = Prepared::asking(question, scenario, Files::default())?.place()?;
    // The policy has a state, so each run makes its own.
    let turns = |_seed| -> Box<dyn Policy> { Box::new(Turns { of_tokens: 16, since_chunk: 0 }) };
    let mine = usual.clone().with(StreamExtensions::default().policy("turns of 16", turns));
    let points = [usual, mine].map(|server| server.point("", |_| ()));
    for point in &points {
        let (outcome, own) = (&point.outcome, &point.machine.extensions);
        let speed = outcome.user_speed.map_or(0.0, |speed| speed.p50);
        let total = outcome.tokens_per_second.mean;
        println!("{speed:>6.0} tok/s for the median request, {total:>6.0} for all {own:?}");
    }
    Ok(points)
}
