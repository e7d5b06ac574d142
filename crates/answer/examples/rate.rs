//! How many mappings a second one core judges, each another one: resolved, written, checked for memory and read in
//! closed form, as the search does: `cargo run --release -p wafersim-answer --example rate`.
//!
//! Mappings come from a walk at random through the space of the search. `points=N`: how many; `model=NAME`, `wafers=N`,
//! `users=N` and `seed=N` ask something else. The digest is over all times: a change that only makes this faster leaves
//! it as it is.

#![allow(clippy::print_stdout, reason = "an example prints")]

mod clock;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use mimalloc::MiMalloc;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_answer::Question;
use wafersim_answer::map::{ClosedForm, How, space, start};
use wafersim_mapping::Common;
use wafersim_search::{Decision, Judge, Judged, Point, Space};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::Verification;

/// What `simctl` takes memory from.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Steps of a walk from the start.
const STEPS: usize = 60;

/// The mappings, all different, and those that were drawn beside them but do not fit.
struct Drawn {
    points: Vec<Point>,
    refused: Vec<Point>,
}

fn draw(space: &Space<'_>, start: &Point, judge: &dyn Judge, count: usize, seed: u64) -> Drawn {
    let common = Arc::new(Common::new(space.inputs.model));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |count: usize| ((u64::from(random.next_u32()) * count as u64) >> 32) as usize;
    let mut decisions = space.decisions();
    decisions.push(Decision::Division);
    let mut known = BTreeSet::new();
    let mut drawn = Drawn { points: Vec::new(), refused: Vec::new() };
    while drawn.points.len() < count {
        let mut here = start.clone();
        for _ in 0..STEPS {
            let Some(mapped) = here.mapped(space.inputs, &common) else { break };
            let mut values = space.values(decisions[below(decisions.len())], &here, &mapped);
            if values.is_empty() {
                continue;
            }
            let other = values.swap_remove(below(values.len()));
            let judged = other.mapped(space.inputs, &common).and_then(|mapped| judge.judge(&mapped).map(|_| mapped));
            match judged {
                Some(mapped) => {
                    let is_new = known.insert(format!("{:?}", mapped.layers));
                    if is_new && drawn.points.len() < count {
                        drawn.points.push(other.clone());
                    }
                    here = other;
                }
                None => drawn.refused.push(other),
            }
        }
    }
    drawn
}

/// Resolves and judges each in turn, as a search does, which keeps none but the best.
fn judge_all(points: &[Point], space: &Space<'_>, judge: &dyn Judge) -> (Duration, Vec<Option<Judged>>) {
    let common = Arc::new(Common::new(space.inputs.model));
    let mut judged = Vec::with_capacity(points.len());
    let began = Clock::now();
    judged.extend(points.iter().map(|point| judge.judge(&point.mapped(space.inputs, &common)?)));
    (began.elapsed(), judged)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let get = |key: &str| arguments.iter().find_map(|argument| argument.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str, or: u64| get(key).map_or(Ok(or), str::parse::<u64>);
    let mut scenario = Scenario { users: number("users", 1)?, ..Scenario::default() };
    if let Some(model) = get("model") {
        scenario.model = model.to_owned();
    }
    let (wafers, count) = (u32::try_from(number("wafers", 16)?)?, usize::try_from(number("points", 2_000)?)?);
    let question = Question::load(scenario)?;
    let how = How::default();
    let judge = ClosedForm::new(&question, &|_| ());
    let space = space(&question, wafers, &how);
    let start = Point { recipe: start(&question), wafers, micro_batch: 1, draft: Verification::Faster };
    let began = Clock::now();
    let drawn = draw(&space, &start, &judge, count, number("seed", 1)?);
    println!("{} drawn, {} refused, in {:.1?}", drawn.points.len(), drawn.refused.len(), began.elapsed());
    let mut digest = DefaultHasher::new();
    for (name, points) in [("different mappings", &drawn.points), ("refused", &drawn.refused)] {
        let (took, judged) = judge_all(points, &space, &judge);
        for judged in judged.iter().flatten() {
            (judged.time.to_bits(), judged.tie.to_bits()).hash(&mut digest);
        }
        let each = took.as_secs_f64() * 1e6 / points.len().max(1) as f64;
        println!("{name}: {:.0} a second, each {each:.1} us", 1e6 / each);
    }
    println!("digest {:016x}", digest.finish());
    Ok(())
}
