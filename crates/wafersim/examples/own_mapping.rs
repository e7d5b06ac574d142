//! A mapping of one's own, beside those that are built in: `cargo run -p wafersim --example own_mapping`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use wafersim::mapping::{Groups, Mapping, Recipe, Reduction, Root, Tree};
use wafersim::prelude::*;
use wafersim::spec::Size;

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// Tokens per second by the recipe `best`, and by one of our own.
pub fn run() -> Result<[f64; 2], Box<dyn Error>> {
    // A recipe fits any model: every decision is a field. Start from one, change some.
    let best = Recipe::builtin("best")?;
    let mut mine = Recipe { name: "mine".into(), source: "an example".into(), ..best.clone() };
    // Sums along rows: groups of 8, then of 10, what is left above them; the middle member has the result.
    mine.reductions.x = Reduction::Tree(Tree { groups: Groups::Sizes(vec![8, 10]), root: Root::Middle });
    // Two columns share the width of a head, as many as there are share its tokens.
    mine.kv.dimension_split = Size::Exactly(2);

    let scenario = Scenario { context: 8192, prompt: 8192, ..Scenario::default() };
    let question = Question::new(scenario, Model::builtin("llama-3.1-8b")?, Wafer::builtin("wse3")?)?;
    let mut speeds = [0.0; 2];
    for (speed, recipe) in speeds.iter_mut().zip([best, mine]) {
        let name = recipe.name.clone();
        let asked = question.clone().with_mapping(Some(Mapping::Recipe(Box::new(recipe))));
        let answer = answer_without_ranges(&asked)?;
        *speed = answer.tokens_per_second_per_user;
        println!("{name:6} {speed:>7.1} tok/s, inputs {}", answer.provenance.input_hash);
        // With every number, as a file that can be read again.
        let resolved = wafersim::answer::resolved_mapping(&asked)?;
        println!("       {} kinds of layers in {} slots", resolved.kinds.len(), resolved.slots.len());
    }
    Ok(speeds)
}
