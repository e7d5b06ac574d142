//! An all-reduce of one's own, read in closed form and on the fabric, then at work in a model:
//! `cargo run -p wafersim --example collective`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use wafersim::cost::formula;
use wafersim::fabric::circuit;
use wafersim::mapping::{Collective, Lines, Mapping, Own, Recipe, Reduction};
use wafersim::prelude::*;
use wafersim::program::collective::{Along, Tree, segment_tree_all_reduce};

/// Chains over groups of `first` members, then over groups of as many of their ends, and so on; the last end sends the
/// sum back to all.
struct EvenTree {
    first: u64,
}

impl Collective for EvenTree {
    // With every number it works by: two that differ must have different ids.
    fn id(&self) -> String {
        format!("even tree of {}", self.first)
    }

    fn all_reduce(&self, program: &mut Program, lines: Lines, along: Along) -> Result<Vec<Node>, String> {
        let (mut sizes, mut left) = (Vec::new(), lines.members);
        while left > 1 {
            let size = self.first.clamp(2, left);
            sizes.push(size);
            left = left.div_ceil(size);
        }
        let tree = Tree::of_sizes(lines.members, &sizes).map_err(|error| error.to_string())?;
        // Composed of words that all readings know. Members may be several hops apart.
        Ok(segment_tree_all_reduce(program, &tree, lines.stride, along))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// What the fabric takes over the closed form, and the answers with the published tree along rows and with ours.
pub fn run() -> Result<(f64, [Answer; 2]), Box<dyn Error>> {
    let wafer = Wafer::builtin("wse3")?;
    let own = EvenTree { first: 6 };

    // By itself: 16 values on each row of 60 processing elements.
    let mut program = Program::new("row sums", Region::new(0, 0, 60, 4));
    let payload = program.buffer("sums", 16, DataType::Fp16);
    let lines = Lines { region: program.region, axis: Axis::X, members: 60, stride: 1 };
    let along = Along { axis: Axis::X, payload, operator: ReduceOperator::Add };
    let steps = own.all_reduce(&mut program, lines, along)?;
    program.push("all-reduce", steps);
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let closed_form = cost(&program, &rates).total();
    let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates))?;
    let on_fabric = circuit::run(&lowered, |_| ())?.cycles;
    println!("closed form {:.0} cycles, fabric {:.0} cycles", closed_form.0, on_fabric.0);

    // In a model: along the rows of every layer.
    let scenario = Scenario { context: 8192, prompt: 8192, ..Scenario::default() };
    let question = Question::new(scenario, Model::builtin("llama-3.1-8b")?, wafer)?;
    let best = Recipe::builtin("best")?;
    let mut mine = best.clone();
    mine.reductions.x = Reduction::Own(Own::collective(own));
    let answered =
        |recipe: Recipe| answer_without_ranges(&question.clone().with_mapping(Some(Mapping::Recipe(Box::new(recipe)))));
    let answers = [answered(best)?, answered(mine)?];
    for (name, answer) in ["published tree", "our own"].into_iter().zip(&answers) {
        println!("{name:15} {:>7.1} tok/s {:?}", answer.tokens_per_second_per_user, answer.load.extensions);
    }
    Ok((on_fabric.0 / closed_form.0, answers))
}
