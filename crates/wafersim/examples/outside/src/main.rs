//! Everything that can be given from outside, in a crate that knows the facade alone: an own placement of experts,
//! mapping, rewrite, collective, kernel, routing model, objective and move of a search, policy. Each changes what comes out, and
//! says so; the program ends with an error where one does not.

#![allow(clippy::print_stdout, reason = "it says what it has found")]

mod pieces;

use std::error::Error;
use std::sync::Arc;

use wafersim::answer::map::{How, map_on};
use wafersim::answer::resolved_mapping;
use wafersim::cost::formula;
use wafersim::fabric::circuit;
use wafersim::mapping::{Collective, Lines, Mapping, Own, OwnExperts, Recipe, Reduction};
use wafersim::prelude::*;
use wafersim::program::collective::Along;
use wafersim::search::{Effort, Pins};
use wafersim::spec::Size;
use wafersim::stream::own::StreamExtensions;
use wafersim::stream::run::{Files, Prepared};
use wafersim::stream::scenario::StreamFile;

use pieces::{BothAxes, Cards, Copied, Fan, Flat, NormBefore, Patient, WholeAnswer};

type Outcome = Result<(), Box<dyn Error>>;

/// Gives one after the other.
pub fn main() -> Outcome {
    placement_and_routing()?;
    collective()?;
    mapping_and_kernel()?;
    search()?;
    stream()
}

/// What changed, or an error where nothing did.
fn changed(what: &str, before: f64, after: f64) -> Outcome {
    println!("{what:30} {before:>12.2} -> {after:.2}");
    if before.to_bits() == after.to_bits() { Err(format!("{what} changes nothing").into()) } else { Ok(()) }
}

/// Four layers of a mixture of experts, for twelve users.
fn experts() -> Result<Question, Box<dyn Error>> {
    let mut model = Model::builtin("qwen3-30b-a3b")?;
    model.layers.truncate(4);
    let scenario = Scenario {
        users: 12,
        context: 2048,
        prompt: 256,
        placement: ExpertPlacement::Linear,
        default_placement: false,
        ..Scenario::default()
    };
    Ok(Question::new(scenario, model, Wafer::builtin("wse3")?)?)
}

fn placement_and_routing() -> Outcome {
    let before = answer_without_ranges(&experts()?)?;
    let own = OwnExperts::new(Cards).sharing(Size::Exactly(8));
    let placed = answer_without_ranges(&experts()?.with_experts(own))?;
    changed("experts dealt like cards", before.tokens_per_second_per_user, placed.tokens_per_second_per_user)?;
    let routed = answer_without_ranges(&experts()?.with_routing(Arc::new(Flat { popular: 32 }))?)?;
    changed("a quarter popular", before.tokens_per_second_per_user, routed.tokens_per_second_per_user)?;
    assert_eq!(placed.load.extensions, ["experts: cards"]);
    assert_eq!(routed.load.extensions, ["routing: 32 popular experts"]);
    assert_ne!(before.provenance.input_hash, placed.provenance.input_hash);
    Ok(())
}

/// By itself: the closed form and the fabric read the same steps.
fn collective() -> Outcome {
    let wafer = Wafer::builtin("wse3")?;
    let mut program = Program::new("row sums", Region::new(0, 0, 48, 3));
    let payload = program.buffer("sums", 24, DataType::Fp16);
    let lines = Lines { region: program.region, axis: Axis::X, members: 48, stride: 1 };
    let along = Along { axis: Axis::X, payload, operator: ReduceOperator::Add };
    let steps = Fan { width: 6 }.all_reduce(&mut program, lines, along)?;
    program.push("all-reduce", steps);
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let closed_form = cost(&program, &rates).total();
    let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates))?;
    let fabric = circuit::run(&lowered, |_| ())?.cycles;
    println!("{:30} {:>12.0} cycles, {:.0} on the fabric", "a fan by itself", closed_form.0, fabric.0);
    assert!((fabric.0 / closed_form.0 - 1.0).abs() < 0.05, "{fabric:?} {closed_form:?}");
    Ok(())
}

fn dense() -> Result<Question, Box<dyn Error>> {
    let mut model = Model::builtin("llama-3.1-8b")?;
    model.layers.truncate(4);
    let scenario = Scenario { context: 2048, prompt: 256, wafers: WaferCount::Exactly(1), ..Scenario::default() };
    Ok(Question::new(scenario, model, Wafer::builtin("wse3")?)?)
}

fn mapping_and_kernel() -> Outcome {
    let best = Recipe::builtin("best")?;
    let by = |recipe: &Recipe| -> Result<Question, Box<dyn Error>> {
        Ok(dense()?.with_mapping(Some(Mapping::Recipe(Box::new(recipe.clone())))))
    };
    let before = answer_without_ranges(&by(&best)?)?;

    let mut columns = Recipe { name: "two columns".into(), ..best.clone() };
    columns.kv.dimension_split = Size::Exactly(2);
    let mapped = answer_without_ranges(&by(&columns)?)?;
    changed("a mapping", before.tokens_per_second_per_user, mapped.tokens_per_second_per_user)?;
    assert!(!resolved_mapping(&by(&columns)?)?.slots.is_empty());

    let mut fan = best.clone();
    fan.reductions.x = Reduction::Own(Own::collective(Fan { width: 6 }));
    let fanned = answer_without_ranges(&by(&fan)?)?;
    changed("a fan in every layer", before.tokens_per_second_per_user, fanned.tokens_per_second_per_user)?;
    assert_eq!(fanned.load.extensions, ["collective: fan of 6"]);
    // A file holds its id; the code is handed over again.
    let read = Recipe::parse(&fan.to_toml(), "fan.toml")?;
    assert!(answer_without_ranges(&by(&read)?).is_err());
    let whole = read.with_own(&[], &[Own::collective(Fan { width: 6 })]);
    assert_eq!(answer_without_ranges(&by(&whole)?)?, fanned);

    let copied = answer_without_ranges(&by(&best)?.with_kernel(Arc::new(Copied)))?;
    changed("a kernel", before.tokens_per_second_per_user, copied.tokens_per_second_per_user)?;

    let rewritten = answer_without_ranges(&by(&best)?.with_rewrite(Arc::new(NormBefore)))?;
    changed("a rewrite", before.tokens_per_second_per_user, rewritten.tokens_per_second_per_user)?;
    assert_eq!(rewritten.load.extensions, ["rewrite: feed_forward.norm before its products"]);
    assert_ne!(rewritten.provenance.input_hash, before.provenance.input_hash);
    Ok(())
}

fn search() -> Outcome {
    let (question, best) = (dense()?, Recipe::builtin("best")?);
    let found = |how: How| {
        map_on(&question, 1, &How { pinned: Some((best.clone(), Pins::of(pieces::PINNED))), ..how }, &|_| ())
    };
    let usual = found(How::default())?;
    let own = || How { own: Some(Arc::new(WholeAnswer { tokens: 100.0 })), ..How::default() };
    let whole = found(own())?;
    let moved = found(How { moves: vec![Arc::new(BothAxes { each: 4 })], ..own() })?;
    changed("an objective", usual.found.judged.time, whole.found.judged.time)?;
    changed("a move", whole.found.judged.time, moved.found.judged.time)?;
    assert!(moved.found.judged.time < whole.found.judged.time);
    assert_eq!(moved.resolved.recipe.source, "search by objective 'whole answer of 100 tokens'");

    // The same in a question, which answers, tables and streams search by.
    let wanted = WholeAnswer { tokens: 1.0 };
    let asked = question.searching(Some(Effort::Quick));
    let mine = asked.clone().with_objective(Arc::new(wanted)).with_move(Arc::new(BothAxes { each: 2 }));
    let whole = |answer: &Answer| 1e3 * answer.time_to_first_token_ms + answer.time_per_output_token_us;
    let [fastest, soonest] = [answer_without_ranges(&asked)?, answer_without_ranges(&mine)?];
    changed("an answer's mapping by both", whole(&fastest), whole(&soonest))?;
    assert!(whole(&soonest) < whole(&fastest));
    assert_eq!(soonest.load.extensions, ["objective: whole answer of 1 tokens", "move: 2 trees along both axes"]);
    Ok(())
}

fn stream() -> Outcome {
    let scenario = StreamFile::parse(pieces::SCENARIO, "outside")?.check("outside")?;
    let usual = Prepared::asking(dense()?, scenario, Files::default())?.place()?;
    let patient = |_seed: u64| -> Box<dyn wafersim::stream::policy::Policy> { Box::new(Patient { tokens: 0 }) };
    let mine = usual.clone().with(StreamExtensions::default().policy("patient", patient));
    let [usual, mine] = [usual, mine].map(|server| server.point("", |_| ()));
    let first = |outcome: &wafersim::stream::ServiceOutcome| outcome.tokens_per_second.mean;
    changed("a policy", first(&usual.outcome), first(&mine.outcome))?;
    assert_eq!(mine.machine.extensions, ["policy: patient"]);
    assert_ne!(usual.provenance.input_hash, mine.provenance.input_hash);
    Ok(())
}
