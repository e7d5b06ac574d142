//! A search for a mapping by an objective and a move of one's own: `cargo run -p wafersim --example own_objective`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::Arc;

use wafersim::answer::map::{How, MappingTimes, OwnObjective, map_on};
use wafersim::mapping::{Inputs, Mapped, Recipe, Reduction};
use wafersim::prelude::*;
use wafersim::search::trees::trees;
use wafersim::search::{Move, Pins, Point};

/// Seconds from the prompt to the last of so many tokens.
struct WholeAnswer {
    tokens: f64,
}

impl OwnObjective for WholeAnswer {
    fn id(&self) -> String {
        format!("whole answer of {} tokens", self.tokens)
    }

    fn value(&self, times: &MappingTimes<'_>) -> Option<f64> {
        Some(times.seconds_to_first_token()? + self.tokens * times.seconds_per_token())
    }
}

/// Changes the trees along rows and along columns at once; the search by itself changes one after the other.
struct BothAxes;

impl Move for BothAxes {
    fn id(&self) -> String {
        "trees along both axes".into()
    }

    fn neighbours(&self, _: &Inputs<'_>, point: &Point, at: &Mapped) -> Vec<Point> {
        let Some(region) = at.layers.first().map(|layer| layer.region) else { return Vec::new() };
        // The most promising ones for lines of this length.
        let of = |length: u64| trees(length).into_iter().take(4);
        let both = of(region.columns).flat_map(|x| of(region.rows).map(move |y| (x.clone(), y)));
        let changed = |(x, y): (Reduction, Reduction)| {
            let mut other = point.clone();
            (other.recipe.reductions.x, other.recipe.reductions.y) = (x, y);
            other
        };
        both.map(changed).collect()
    }
}

/// Decisions that the search leaves as the recipe has them, so that it is quick: what a partial mapping names is fixed.
/// Sums along lines are for our move alone.
const PINNED: &str = "
draft = ''
micro_batch = 1
division = { slots = 1, order = '' }
overlap = { conversion = true, independent = true }
reductions = { x = 0, y = 0, parts = 0, operators = 0 }
";

fn main() -> Result<(), Box<dyn Error>> {
    run().map(|_| ())
}

/// What our objective says of the recipe `best` and of what was found, in seconds.
pub fn run() -> Result<[f64; 2], Box<dyn Error>> {
    let scenario = Scenario { context: 4096, prompt: 512, ..Scenario::default() };
    let question = Question::new(scenario, Model::builtin("llama-3.1-8b")?, Wafer::builtin("wse3")?)?;
    let best = Recipe::builtin("best")?;
    let objective: Arc<dyn OwnObjective> = Arc::new(WholeAnswer { tokens: 500.0 });
    let search = |moves: Vec<Arc<dyn Move>>| {
        let pinned = Some((best.clone(), Pins::of(PINNED)));
        let how = How { own: Some(Arc::clone(&objective)), moves, pinned, ..How::default() };
        map_on(&question, 1, &how, &|_| ())
    };
    let found = [search(Vec::new())?, search(vec![Arc::new(BothAxes)])?];
    for (name, found) in ["without our move", "with it"].into_iter().zip(&found) {
        let (value, tried) = (found.found.judged.time, found.found.evaluations);
        println!("{name:17} {value:.4} s, {tried} mappings tried, {}", found.resolved.recipe.source);
    }
    Ok(found.map(|found| found.found.judged.time))
}
