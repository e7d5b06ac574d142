//! `simctl map`: looks for the best mapping of a question, and says what its decisions give.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wafersim::answer::map::{FoundOn, Gain, How, KeptFound, Objective, WayToFound, fewest, gains, map_on, way_to};
use wafersim::answer::{Question, best_mappings};
use wafersim::certify::{Trials, Tried};
use wafersim::mapping::{Certificate, Recipe, Resolved};
use wafersim::picture::{PictureError, Waterfall, waterfall_png, waterfall_svg};
use wafersim::report;
use wafersim::report::number::{plural, whole};
use wafersim::report::waterfall::of_way;
use wafersim::search::Pins;
use wafersim::spec::scenario::WaferCount;

use crate::asked::Asked;
use crate::cache;
use crate::certify::looked_at;
use crate::choice;
use crate::failure::Failure;
use crate::files;
use crate::layers::Layers;
use crate::mapping_flags::SearchFlag;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::output::Destination;
use crate::picture_file::{Kind, PictureFile, refused};
use crate::progress::Tries;
use crate::scenario_flags::ScenarioFlags;
use crate::store_flags::{InRows, StoreFlags, checksum_of, row_key};

/// Flags of `map`.
#[derive(Debug, Args)]
pub struct MapFlags {
    #[command(flatten)]
    scenario: ScenarioFlags,
    /// Wafers to use: a number, `auto` for all numbers at which the speed grows, or `fewest` for those that hold the
    /// model.
    #[arg(long, value_name = "auto|fewest|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Users served at the same time; of a list, each once and by itself, the first with what each decision gives.
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_negative_numbers = true)]
    users: Vec<String>,
    /// Tokens in each user's KV cache (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    /// Tokens of the prompt whose first token is waited for; the context where left out.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    prompt: Option<String>,
    /// What the mapping is to be good at.
    #[arg(long, value_enum, default_value_t = ObjectiveFlag::Speed)]
    objective: ObjectiveFlag,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// How much is tried, counted in mappings.
    #[arg(long, value_enum, default_value_t = SearchFlag::Quick)]
    search: SearchFlag,
    /// Seed of further starts.
    #[arg(long, value_name = "SEED", default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,
    /// File of a recipe whose decisions stay as they are: those that it names; all others are searched.
    #[arg(long, value_name = "FILE")]
    pin: Option<PathBuf>,
    /// File for the mapping that was found, with every number.
    #[arg(long, value_name = "FILE")]
    save_mapping: Option<PathBuf>,
    /// File for a picture of the way from the published mapping to the one that was found, decision by decision, and of
    /// what no mapping beats: .svg or .png.
    #[arg(long, value_name = "FILE")]
    waterfall: Option<PathBuf>,
    /// Look at the mapping that was found: memory, colors, every kind of layer on the fabric, numbers. If a part fails
    /// the next best is tried, at most five; where none passes the exit code is 3.
    #[arg(long)]
    certify: bool,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    output: OutFlags,
}

/// What a mapping is to be good at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ObjectiveFlag {
    /// Each user's speed.
    Speed,
    /// Tokens of all users where the pipeline is full.
    Pace,
    /// The first token of the prompt on an idle machine.
    FirstToken,
}

impl ObjectiveFlag {
    const fn objective(self) -> Objective {
        match self {
            Self::Speed => Objective::Speed,
            Self::Pace => Objective::Pace,
            Self::FirstToken => Objective::FirstToken,
        }
    }
}

/// Looks for the best mapping.
pub fn execute(flags: &MapFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::Yes)?;
    let saved = flags.save_mapping.as_deref();
    let saved = saved.map(|path| Destination::open_for("--save-mapping", path)).transpose()?;
    let waterfall = flags.waterfall.as_deref().map(|path| PictureFile::open("--waterfall", path)).transpose()?;
    let mut layers = flags.scenario.layers()?;
    for (flag, path, value) in [
        ("--wafers", "wafers", &flags.wafers),
        ("--context", "context", &flags.context),
        ("--prompt", "prompt", &flags.prompt),
        ("--weights", "precision.weights", &flags.weights),
        ("--kv", "precision.kv_cache", &flags.kv),
    ] {
        layers.flag(flag, path, value.as_deref())?;
    }
    let questions = questions(&layers, &flags.users)?;
    let how = how(flags)?;
    let progress = Tries::start();
    let judged = |count: u64| progress.at(count);
    let mut rows: Vec<(&Question, u32)> = Vec::new();
    for question in &questions {
        let counts = counts(question, &how, flags.store.is_given())?;
        rows.extend(counts.into_iter().map(|wafers| (question, wafers)));
    }
    let store = flags.store.open(|| in_rows(flags, &how, &rows))?;
    let kept = store.part::<KeptFound>(0..rows.len())?;
    let mut frontier: Vec<OfQuestion<'_>> = questions.iter().map(|question| (question, Vec::new())).collect();
    for (place, (question, wafers)) in rows.iter().enumerate() {
        let found = match kept.known(place) {
            Some(known) => known.open(question, how.objective)?,
            None => {
                let new = map_on(question, *wafers, &how, &judged)?;
                kept.keep(place, &KeptFound::of(&new))?;
                new
            }
        };
        if let Some((_, all)) = frontier.iter_mut().find(|(of, _)| std::ptr::eq(*of, *question)) {
            all.push(found);
        }
    }
    let Some((question, found)) = frontier.first() else { return Ok(()) };
    let question = *question;
    // The first of the best: a few wafers more are not worth a rounding.
    let mut fastest: Vec<&FoundOn> = found.iter().collect();
    let speed = |found: &FoundOn| (1e6 / found.found.judged.time).round();
    fastest.sort_by(|one, other| speed(other).total_cmp(&speed(one)));
    let outcome = if flags.certify {
        let candidates: Vec<Resolved> = fastest.iter().map(|found| found.resolved.clone()).collect();
        Some(looked_at(question, &[candidates, best_mappings(question)?].concat()))
    } else {
        None
    };
    let tried = outcome.as_ref().and_then(Trials::of_answer);
    let passed = outcome.as_ref().and_then(Trials::passed).map_or(0, |(index, _)| index);
    // Those after the found ones are built in: what was found is shown all the same.
    let Some(best) = fastest.get(passed).or_else(|| fastest.first()) else { return Ok(()) };
    // Which one is certified is found out anew.
    let kept = store.part::<Insight>(rows.len()..rows.len() + usize::from(!flags.certify))?;
    let what = match kept.known(0) {
        Some(known) => known,
        None => {
            let new = Insight { gains: gains(question, best, &how), way: way_to(question, best, &how) };
            if !flags.certify {
                kept.keep(0, &new)?;
            }
            new
        }
    };
    store.close()?;
    let certificate = tried.map_or_else(Certificate::default, |tried| tried.certificate.clone());
    if let Some(file) = saved {
        file.write(&tried.map_or(&best.resolved, |tried| &tried.resolved).to_toml())?;
    }
    if let Some(file) = waterfall {
        let drawn = drawn(question, best, &what.way);
        file.write(|kind| waterfall_in(kind, &drawn))?;
    }
    let text = || Ok(text(&frontier, best, &what) + "\n" + &said(&certificate, tried));
    let json = || Ok(json(&frontier, (best, &what), &certificate));
    let head = asked.with_lists(&["users"]).question(question);
    out.write(
        Forms::new("map", &text, &json).asked(&head).picture(&|kind| picture(kind, &drawn(question, best, &what.way))),
    )?;
    match outcome {
        Some(outcome) if outcome.passed().is_none() => Err(Failure::NotCertified),
        _ => Ok(()),
    }
}

fn waterfall_in(kind: Kind, drawn: &Waterfall) -> Result<Vec<u8>, PictureError> {
    match kind {
        Kind::Svg => waterfall_svg(drawn).map(String::into_bytes),
        Kind::Png => waterfall_png(drawn),
    }
}

fn picture(kind: Kind, drawn: &Waterfall) -> Result<Vec<u8>, Failure> {
    waterfall_in(kind, drawn).map_err(|why| refused(&why))
}

/// The question for each number of users in a list.
fn questions(layers: &Layers, users: &[String]) -> Result<Vec<Question>, Failure> {
    let with = |users: Option<&str>| {
        let mut layers = layers.clone();
        layers.flag("--users", "users", users)?;
        Ok::<_, Failure>(Question::load(layers.check()?)?)
    };
    if users.is_empty() {
        return Ok(vec![with(None)?]);
    }
    let mut questions: Vec<Question> = Vec::new();
    for users in users {
        let question = with(Some(users))?;
        if questions.iter().all(|known| known.scenario.users != question.scenario.users) {
            questions.push(question);
        }
    }
    Ok(questions)
}

/// Numbers of wafers to look at.
fn counts(question: &Question, how: &How, is_kept: bool) -> Result<Vec<u32>, Failure> {
    Ok(match question.scenario.wafers {
        WaferCount::Exactly(wafers) => vec![wafers],
        WaferCount::Fewest => vec![fewest(question)?],
        WaferCount::Auto => {
            let searching = question.clone().searching(Some(how.effort));
            // Which numbers of wafers there are is known before there are rows.
            let searching = if is_kept { cache::searched(searching) } else { searching };
            match searching.searched() {
                Some(searched) if !searched.considered.is_empty() => {
                    searched.considered.iter().map(|one| one.wafers).collect()
                }
                _ => vec![fewest(question)?],
            }
        }
    })
}

/// A question and what was found for it on each number of wafers.
type OfQuestion<'a> = (&'a Question, Vec<FoundOn>);

/// What is said of the mapping beside its speed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Insight {
    gains: Vec<Gain>,
    way: WayToFound,
}

fn drawn(question: &Question, best: &FoundOn, way: &WayToFound) -> Waterfall {
    let wafers = plural(u64::from(best.wafers), "wafer");
    let title = format!("{} on {wafers} ({}): from published to found", question.model.name, question.wafer.name);
    let scenario = &question.scenario;
    let words = format!(
        "{}, {} tokens of context; at each step the decision that gives most is taken. What a decision gives \
         depends on those before it.",
        plural(scenario.users, "user"),
        whole(scenario.context)
    );
    let bound = "On ideal hardware the same programs run at the rates of profile ideal; what no mapping beats knows no \
                 programs.";
    of_way(way, title, vec![words, bound.into()])
}

/// A row for each number of wafers, and one for what is said of the fastest.
fn in_rows(flags: &MapFlags, how: &How, rows: &[(&Question, u32)]) -> Result<InRows, Failure> {
    let pinned = flags.pin.as_deref().map(|path| checksum_of("--pin", path)).transpose()?;
    let inputs = |question: &Question| (question.input_hash(), how.objective, how.effort, how.seed, pinned.clone());
    let key = |(question, wafers): &(&Question, u32)| row_key(&(inputs(question), wafers), &question.scenario);
    let mut keys: Vec<String> = rows.iter().map(key).collect();
    let counts: Vec<(u64, u32)> = rows.iter().map(|(question, wafers)| (question.scenario.users, *wafers)).collect();
    let scenario = rows.first().map(|(question, _)| &question.scenario);
    if let Some((question, _)) = rows.first().filter(|_| !flags.certify) {
        keys.push(row_key(&(inputs(question), &counts, "insight"), &question.scenario));
    }
    let words = json!({
        "scenario": scenario,
        "objective": how.objective,
        "search": how.effort,
        "seed": how.seed,
        "pin": pinned,
        "users_and_wafers": counts,
        "certify": flags.certify,
    });
    Ok(InRows { command: "map", words, keys })
}

/// The certificate, with the mapping that it is of.
fn said(certificate: &Certificate, tried: Option<&Tried>) -> String {
    let of = tried.map_or_else(String::new, |tried| {
        format!("Certificate of mapping '{}' on {} wafer(s)\n", tried.resolved.name, tried.resolved.division.wafers)
    });
    of + &report::certificate::text(certificate)
}

fn how(flags: &MapFlags) -> Result<How, Failure> {
    let Some(effort) = flags.search.effort() else {
        let allowed = "quick, normal, or thorough".into();
        return Err(Failure::Flag { flag: "--search".into(), problem: "is none".into(), allowed });
    };
    let pinned = flags.pin.as_deref().map(|path| {
        files::reads("--pin", path)?;
        let recipe = Recipe::read(path)?;
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Ok::<_, Failure>((recipe, Pins::of(&text)))
    });
    let objective = flags.objective.objective();
    Ok(How { objective, effort, seed: flags.seed, pinned: pinned.transpose()?, ..How::default() })
}

fn text(frontier: &[OfQuestion<'_>], best: &FoundOn, Insight { gains, way }: &Insight) -> String {
    let Some((question, _)) = frontier.first() else { return String::new() };
    let (scenario, objective) = (&question.scenario, way.objective);
    let mut text = format!(
        "Best mapping found for {} on {}: {} tokens of context, by {}\n\n",
        question.model.name,
        question.wafer.name,
        whole(scenario.context),
        objective.unit()
    );
    text += "  users   wafers   tok/s per user   total   full pipeline   first token   mappings tried\n";
    for (question, found) in frontier {
        for one in found {
            let first = one.time_to_first_token_ms.map_or_else(|| "-".into(), |time| format!("{time:.1} ms"));
            text += &format!(
                "  {:>5}   {:>6}   {:>14.1}   {:>5.0}   {:>13.0}   {first:>11}   {:>14}\n",
                question.scenario.users,
                one.wafers,
                one.tokens_per_second_per_user,
                one.tokens_per_second_total,
                one.tokens_per_second_of_full_pipeline,
                one.found.evaluations
            );
        }
    }
    let clock = question.clock();
    text += &format!("\nOne pass of {} user(s) on {} wafer(s), by operator\n", scenario.users, best.wafers);
    for operator in &best.timing.times.operators {
        let of = |cause| operator.cost.cause(cause).microseconds(clock);
        text += &format!(
            "  {:<28}{:>8.1} us: compute {:.1}, hops {:.1}, payload {:.1}, stages {:.1}\n",
            operator.name,
            operator.cost.total().microseconds(clock),
            of(wafersim::cost::Cause::Compute),
            of(wafersim::cost::Cause::Hops),
            of(wafersim::cost::Cause::Payload),
            of(wafersim::cost::Cause::Stages),
        );
    }
    text += &format!(
        "\nWhat each decision gives: {} with it as published, of {:.1}\n",
        objective.unit(),
        objective.reached(best.found.judged.time)
    );
    for gain in gains {
        let reached = gain.reached.map_or_else(|| "does not fit".into(), |reached| format!("{reached:.1}"));
        text += &format!("  {:<44}{reached}\n", gain.decision);
    }
    text += &format!(
        "\nFrom published to found: {}, at each step with the decision that gives most\n",
        objective.time_unit()
    );
    let time = |time: Option<f64>| time.map_or_else(|| "does not fit yet".into(), |time| format!("{time:.1}"));
    text += &format!("  {:<44}{}\n", "published", time(way.published));
    for step in &way.taken {
        text += &format!("  {:<44}{}\n", step.decision, time(step.microseconds));
    }
    for (name, value) in [
        ("the same on ideal hardware", Some(way.ideal)),
        ("no mapping beats, at the measured rate", way.unbeaten_at_measured_rate),
        ("no mapping beats", way.unbeaten),
    ] {
        text += &value.map_or_else(String::new, |value| format!("  {name:<44}{value:.1}\n"));
    }
    text + "\nThe mapping, as a recipe\n\n" + &best.found.point.recipe.to_toml()
}

fn json(
    frontier: &[OfQuestion<'_>],
    (best, Insight { gains, way }): (&FoundOn, &Insight),
    certificate: &Certificate,
) -> String {
    let Some((question, _)) = frontier.first() else { return String::new() };
    let objective = way.objective;
    let gains: Vec<serde_json::Value> = gains
        .iter()
        .map(|gain| serde_json::json!({ "decision": gain.decision, objective.key(): gain.reached }))
        .collect();
    let frontier: Vec<serde_json::Value> = frontier
        .iter()
        .flat_map(|(question, found)| found.iter().map(move |one| (question, one)))
        .map(|(question, one)| {
            serde_json::json!({
                "users": question.scenario.users,
                "wafers": one.wafers,
                "tokens_per_second_per_user": one.tokens_per_second_per_user,
                "tokens_per_second_total": one.tokens_per_second_total,
                "tokens_per_second_of_full_pipeline": one.tokens_per_second_of_full_pipeline,
                "time_to_first_token_ms": one.time_to_first_token_ms,
                "latency_us": one.timing.times.latency.total().microseconds(question.clock()),
                "slowest_stage_us": one.timing.times.slowest.microseconds(question.clock()),
                "evaluations": one.found.evaluations,
            })
        })
        .collect();
    let value = serde_json::json!({
        "model": question.model.name,
        "wafer": question.wafer.name,
        "users": question.scenario.users,
        "context": question.scenario.context,
        "prompt": question.scenario.prompt,
        "objective": objective,
        "frontier": frontier,
        "best": { "wafers": best.wafers, "recipe": best.found.point.recipe, "gains": gains, "way": way },
        "certificate": certificate,
    });
    format!("{value:#}\n")
}
