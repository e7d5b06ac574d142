//! `simctl place`: where the experts of each layer should live: strategies compared under a load.

mod pictures;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use wafersim::answer::Question;
use wafersim::answer::experts::{Comparison, NAMES, StrategyOutcome, compare, resolved_mapping};
use wafersim::place::experts::annealed::Annealing;
use wafersim::place::experts::demand::Demand;
use wafersim::report::number::{figure, whole};
use wafersim::report::wafer_map::StrategyCaption;
use wafersim::routing::load::{choices, draw_batches};
use wafersim::routing::{RoutingParameters, SyntheticSettings, Trace, Workload, generate};

use crate::asked::Asked;
use crate::choice;
use crate::commands::routing::{experts_of, number, read_trace};
use crate::failure::Failure;
use crate::layers::Layers;
use crate::mapping_flags::MappingFlags;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::progress::Progress;
use crate::store_flags::{InRows, StoreFlags, checksum_of, row_key};
use crate::table::{self, Table};
use pictures::Pictures;

/// Flags of `place`.
#[derive(Debug, Args)]
pub struct PlaceFlags {
    /// Built-in model (see `simctl models`), or path of a Hugging Face config.json.
    #[arg(long, value_name = "NAME|PATH", default_value = "qwen3-coder-480b-a35b")]
    model: String,
    /// Built-in wafer (see `simctl wafers`), or path of a wafer file.
    #[arg(long, value_name = "NAME|PATH")]
    wafer: Option<String>,
    /// Wafers to use: a number, or `auto` for the fewest on which experts can be spread and clustered.
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Tokens in each user's KV cache (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    /// Whose kernels are assumed.
    #[arg(long, value_name = "PROFILE", value_parser = choice::profiles())]
    profile: Option<String>,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// Routing trace of this model. Strategies learn from its first half and are judged by its second.
    #[arg(long, value_name = "FILE", conflicts_with = "synthetic")]
    trace: Option<PathBuf>,
    /// Take a synthetic trace (the default): 8,192 tokens of 128 users with coding work.
    #[arg(long)]
    synthetic: bool,
    /// Tokens of different users that go through each layer together; several with commas.
    #[arg(long, value_name = "TOKENS,..", default_value = "8", value_delimiter = ',', allow_negative_numbers = true)]
    batch: Vec<String>,
    /// Strategies, several with commas; all where left out.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    strategies: Vec<String>,
    /// Experts that share a rectangle: numbers to try, with commas.
    #[arg(
        long,
        value_name = "EXPERTS,..",
        default_value = "1,2,4,5,8,10,16,20,32,40,80",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    sharing: Vec<String>,
    /// Batches drawn from each half of the trace.
    #[arg(long, value_name = "BATCHES", default_value = "2048", allow_negative_numbers = true)]
    batches: String,
    /// Moves of the optimiser in each layer and restart.
    #[arg(long, value_name = "MOVES", default_value = "4000", allow_negative_numbers = true)]
    moves: String,
    /// Restarts of the optimiser.
    #[arg(long, value_name = "RESTARTS", default_value = "2", allow_negative_numbers = true)]
    restarts: String,
    /// Seed of the synthetic trace, the batches and the optimiser.
    #[arg(long, value_name = "SEED", default_value = "1", allow_negative_numbers = true)]
    seed: String,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    store: StoreFlags,
    /// Folder for a map of the wafers for each strategy and batch, as SVG and PNG.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    #[command(flatten)]
    output: OutFlags,
}

/// Tokens and users of the synthetic trace.
const TOKENS: u64 = 8192;
const USERS: u32 = 128;

/// The strategies at one batch.
#[derive(Debug, Serialize)]
struct AtBatch {
    batch: u64,
    strategies: Vec<StrategyOutcome>,
    /// Strategies for which no division has room.
    without_room: Vec<&'static str>,
}

/// Everything of a comparison.
#[derive(Debug, Serialize)]
struct Compared {
    model: String,
    wafer: String,
    profile: String,
    context: u64,
    trace: String,
    batches: Vec<AtBatch>,
}

/// Compares the strategies.
pub fn execute(flags: &PlaceFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let mut pictures = Pictures::open(flags.pictures.as_deref())?;
    let seed = number("--seed", &flags.seed)?;
    let batches: usize = within("--batches", &flags.batches, 1, 65_536)?;
    let annealing = Annealing {
        moves: within("--moves", &flags.moves, 0, 100_000_000)? as u32,
        restarts: within("--restarts", &flags.restarts, 1, 1024)? as u32,
        seed,
    };
    let sharing = flags
        .sharing
        .iter()
        .map(|text| Ok(within("--sharing", text, 1, 65_535)? as u64))
        .collect::<Result<Vec<_>, Failure>>()?;
    let sizes = flags.batch.iter().map(|text| within("--batch", text, 1, 1024)).collect::<Result<Vec<_>, Failure>>()?;
    let saved = flags.mapping.open()?;
    if flags.mapping.is_saved() && sizes.len() != 1 {
        return Err(Failure::Flag {
            flag: "--save-mapping".into(),
            problem: format!("saves the fastest strategy for one batch, and there are {}", sizes.len()),
            allowed: "one value of --batch".into(),
        });
    }
    let mut questions = sizes.iter().map(|&size| question(flags, size as u64)).collect::<Result<Vec<_>, Failure>>()?;
    let trace = match &flags.trace {
        Some(file) => read_trace("--trace", file, &questions[0].model)?,
        None => synthetic(&questions[0], seed)?,
    };
    let strategies: Vec<&'static str> = NAMES
        .into_iter()
        .filter(|name| flags.strategies.is_empty() || flags.strategies.iter().any(|wanted| wanted == name))
        .collect();
    let mut compared = Compared {
        model: questions[0].model.name.clone(),
        wafer: questions[0].wafer.name.clone(),
        profile: questions[0].scenario.profile.to_string(),
        context: questions[0].scenario.context,
        trace: flags.trace.as_ref().map_or_else(|| trace.header.note.clone(), |file| file.display().to_string()),
        batches: Vec::new(),
    };
    let judged_by = JudgedBy {
        batches,
        seed,
        strategies: &strategies,
        sharing: &sharing,
        moves: annealing.moves,
        restarts: annealing.restarts,
    };
    let store = flags.store.open(|| in_rows(flags, &judged_by, &questions))?;
    let kept = store.part::<Vec<StrategyOutcome>>(0..sizes.len())?;
    let progress = Progress::start(kept.missing());
    for (place, (question, &size)) in questions.iter_mut().zip(&sizes).enumerate() {
        let known = kept.known(place);
        let half = trace.len() / 2;
        // Pictures show what the strategies are judged by.
        let future = if known.is_none() || pictures.is_some() {
            demands(&trace, half..trace.len(), size, batches, seed.wrapping_add(1))?
        } else {
            Vec::new()
        };
        let found = match known {
            Some(known) => known,
            None => {
                let past = demands(&trace, 0..half.max(1), size, batches, seed)?;
                let comparison = Comparison {
                    batch: size as u64,
                    past: &past,
                    future: &future,
                    strategies: &strategies,
                    own: &[],
                    sharing: &sharing,
                    annealing,
                };
                let found = compare(question, &comparison)?;
                kept.keep(place, &found)?;
                progress.advance();
                found
            }
        };
        let has_room = |name: &&&str| found.iter().any(|outcome| outcome.strategy == **name);
        let without_room = strategies.iter().filter(|name| !has_room(name)).copied().collect();
        if let Some(pictures) = &mut pictures {
            let words = StrategyCaption {
                model: &compared.model,
                wafer: &compared.wafer,
                batch: size as u64,
                spread_us: None,
                routing: &compared.trace,
            };
            pictures.draw(&found, &future, &words)?;
        }
        compared.batches.push(AtBatch { batch: size as u64, strategies: found, without_room });
    }
    store.close()?;
    progress.clear();
    let fastest = compared.batches.iter().flat_map(|at| &at.strategies).reduce(|best, other| {
        if other.time_per_output_token_us < best.time_per_output_token_us { other } else { best }
    });
    if let (Some(question), Some(fastest)) = (questions.first(), fastest) {
        saved.write(|| Ok(resolved_mapping(question, fastest)?))?;
    }
    if let Some(pictures) = pictures {
        pictures.write()?;
    }
    let (text, json) = (|| Ok(text(&compared)), || table::json(&compared));
    let head = asked.head();
    out.write(Forms::new("place", &text, &json).asked(&head).csv(&|| Ok(csv(&compared))))
}

/// What strategies are compared by, the trace aside.
#[derive(Debug, Serialize)]
struct JudgedBy<'a> {
    batches: usize,
    seed: u64,
    strategies: &'a [&'static str],
    sharing: &'a [u64],
    moves: u32,
    restarts: u32,
}

/// A row for each batch.
fn in_rows(flags: &PlaceFlags, by: &JudgedBy<'_>, questions: &[Question]) -> Result<InRows, Failure> {
    // A synthetic trace depends on the model and the seed.
    let trace = flags.trace.as_deref().map(|file| checksum_of("--trace", file)).transpose()?;
    let key = |question: &Question| row_key(&(question.input_hash(), by, &trace), &question.scenario);
    let keys = questions.iter().map(key).collect();
    let mut words = json!({ "batch": flags.batch, "by": by, "trace": trace });
    if let Some(question) = questions.first() {
        words["scenario"] = json!(question.scenario);
        words["search"] = json!(question.search);
        words["mapping"] = json!(flags.mapping.wanted()?.hash());
    }
    Ok(InRows { command: "place", words, keys })
}

/// A whole number of a flag within its range.
fn within(flag: &str, text: &str, least: usize, most: usize) -> Result<usize, Failure> {
    let value = text.trim().parse().ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| Failure::Flag {
        flag: flag.into(),
        problem: format!("is '{text}'"),
        allowed: format!("a whole number from {least} to {most}"),
    })
}

fn question(flags: &PlaceFlags, batch: u64) -> Result<Question, Failure> {
    let mut layers = Layers::read(None, &[])?;
    let users = batch.to_string();
    for (flag, path, value) in [
        ("--model", "model", Some(flags.model.as_str())),
        ("--wafer", "wafer", flags.wafer.as_deref()),
        ("--wafers", "wafers", flags.wafers.as_deref()),
        ("--context", "context", flags.context.as_deref()),
        ("--profile", "profile", flags.profile.as_deref()),
        ("--weights", "precision.weights", flags.weights.as_deref()),
        ("--kv", "precision.kv_cache", flags.kv.as_deref()),
        ("--batch", "users", Some(users.as_str())),
    ] {
        layers.flag(flag, path, value)?;
    }
    flags.mapping.ask(Question::load(layers.check()?)?)
}

fn synthetic(question: &Question, seed: u64) -> Result<Trace, Failure> {
    let shape = experts_of(&question.model)?;
    let settings = SyntheticSettings {
        model: question.model.name.clone(),
        layers: shape.layers,
        experts: shape.experts,
        top_k: shape.top_k,
        tokens: TOKENS,
        users: USERS,
        kinds_of_work: 1,
        work: Workload::Coding,
        seed,
        parameters: RoutingParameters::QWEN3_30B,
    };
    Ok(Trace::read(&mut generate(&settings)?)?)
}

/// What batches of a part of the trace want, layer by layer.
fn demands(
    trace: &Trace,
    places: std::ops::Range<usize>,
    batch: usize,
    batches: usize,
    seed: u64,
) -> Result<Vec<Demand>, Failure> {
    let drawn = draw_batches(trace, places, batch, batches, seed);
    let (experts, pairs) = (trace.header.experts as usize, batch * trace.header.top_k as usize);
    let of_layer = |layer| Demand::new(experts, pairs, &choices(trace, &drawn, layer));
    (0..trace.header.layers).map(of_layer).collect::<Option<Vec<_>>>().ok_or_else(|| Failure::Flag {
        flag: "--trace".into(),
        problem: "has too few tokens".into(),
        allowed: "2 tokens or more, and at most 65535 choices in a batch".into(),
    })
}

const DEFINITIONS: &str = "\
us per token: mean time per output token, one batch in flight; over spread: the same against spread
experts; experts: of it the routed experts; moving: of these dispatch and combine; over mean: pairs
of the busiest rectangle over the mean one; cells: rectangles of a layer that hold experts; in each:
experts that fit one; size: columns x rows of the largest; copies: of experts beyond the first, in a
layer; idle: free memory in which nothing lives.
";

fn text(compared: &Compared) -> String {
    let mut text = format!(
        "{} on {}, {} tokens of context, profile {}\nrouting: {}\n",
        compared.model,
        compared.wafer,
        whole(compared.context),
        compared.profile,
        compared.trace
    );
    for at in &compared.batches {
        let wafers = at.strategies.first().map_or(0, |outcome| outcome.geometry.wafers);
        let distinct = at.strategies.first().map_or(0.0, |outcome| outcome.distinct);
        let colors = at.strategies.iter().map(|outcome| outcome.colors).max().unwrap_or(0);
        text.push_str(&format!(
            "\nBatch {} on {wafers} wafers: {} distinct experts in a layer, at most {colors} route colors\n\n",
            at.batch,
            figure(distinct)
        ));
        let titles = [
            "strategy",
            "us per token",
            "over spread",
            "experts us",
            "moving us",
            "over mean",
            "cells",
            "in each",
            "size",
            "copies",
            "idle GiB",
        ];
        let mut rows = Table::new(titles.map(str::to_owned));
        let spread = at.strategies.iter().find(|outcome| outcome.strategy == "spread");
        for outcome in &at.strategies {
            let over = spread.map(|spread| outcome.time_per_output_token_us / spread.time_per_output_token_us - 1.0);
            rows.row(vec![
                outcome.strategy.to_string(),
                figure(outcome.time_per_output_token_us),
                over.map_or_else(|| "-".into(), |over| format!("{:+.1} %", 100.0 * over)),
                figure(outcome.experts_us),
                figure(outcome.dispatch_combine_us),
                format!("{:.2}", outcome.imbalance),
                whole(outcome.rectangles),
                whole(outcome.experts_in_a_rectangle),
                format!("{} x {}", outcome.rectangle.0, outcome.rectangle.1),
                format!("{:.0}", outcome.copies),
                figure(outcome.idle_bytes.0 as f64 / f64::from(1 << 30)),
            ]);
        }
        text.push_str(&rows.text());
        if !at.without_room.is_empty() {
            text.push_str(&format!("  no division has room for: {}\n", at.without_room.join(", ")));
        }
    }
    format!("{text}\n{DEFINITIONS}")
}

fn csv(compared: &Compared) -> String {
    let mut text =
        "batch,strategy,time_per_output_token_us,learned_time_us,experts_us,dispatch_combine_us,busiest_pairs,\
        imbalance,distinct,rectangles,experts_in_a_rectangle,columns,rows,copies,idle_bytes,idle_pes,colors,wafers\n"
            .to_owned();
    for at in &compared.batches {
        for outcome in &at.strategies {
            let numbers = [
                outcome.time_per_output_token_us,
                outcome.learned_time_us,
                outcome.experts_us,
                outcome.dispatch_combine_us,
                outcome.busiest_pairs,
                outcome.imbalance,
                outcome.distinct,
            ];
            let numbers = numbers.map(|value| format!("{value:.6}")).join(",");
            let wholes = [outcome.rectangles, outcome.experts_in_a_rectangle, outcome.rectangle.0, outcome.rectangle.1];
            let wholes = wholes.map(|value| value.to_string()).join(",");
            text.push_str(&format!(
                "{},{},{numbers},{wholes},{:.3},{},{},{},{}\n",
                at.batch,
                outcome.strategy,
                outcome.copies,
                outcome.idle_bytes.0,
                outcome.idle_pes,
                outcome.colors,
                outcome.geometry.wafers
            ));
        }
    }
    text
}
