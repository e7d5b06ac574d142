//! `simctl map`: looks for the best mapping of a question, and says what its decisions give.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wafersim::answer::map::{FoundOn, Gain, How, KeptFound, WayToFound, fewest, gains, map_on, way_to};
use wafersim::answer::{Question, best_mappings};
use wafersim::certify::{Trials, Tried};
use wafersim::mapping::{Certificate, Recipe, Resolved};
use wafersim::picture::{Waterfall, waterfall_png, waterfall_svg};
use wafersim::report;
use wafersim::report::number::{plural, whole};
use wafersim::report::waterfall::of_way;
use wafersim::search::Pins;
use wafersim::spec::scenario::WaferCount;

use crate::cache;
use crate::certify::looked_at;
use crate::choice::{self, ObjectFormat};
use crate::failure::Failure;
use crate::files;
use crate::mapping_flags::SearchFlag;
use crate::output::Destination;
use crate::picture_file::{Kind, PictureFile};
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
    /// Users served at the same time.
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    users: Option<String>,
    /// Tokens in each user's KV cache (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
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
    /// How to write it.
    #[arg(long, value_enum, default_value_t = ObjectFormat::Text)]
    format: ObjectFormat,
}

/// Looks for the best mapping.
pub fn execute(flags: &MapFlags) -> Result<(), Failure> {
    let saved = flags.save_mapping.as_deref();
    let saved = saved.map(|path| Destination::open_for("--save-mapping", path)).transpose()?;
    let waterfall = flags.waterfall.as_deref().map(|path| PictureFile::open("--waterfall", path)).transpose()?;
    let mut layers = flags.scenario.layers()?;
    for (flag, path, value) in [
        ("--wafers", "wafers", &flags.wafers),
        ("--users", "users", &flags.users),
        ("--context", "context", &flags.context),
        ("--weights", "precision.weights", &flags.weights),
        ("--kv", "precision.kv_cache", &flags.kv),
    ] {
        layers.flag(flag, path, value.as_deref())?;
    }
    let question = Question::load(layers.check()?)?;
    let how = how(flags)?;
    let progress = Tries::start();
    let judged = |count: u64| progress.at(count);
    let counts = match question.scenario.wafers {
        WaferCount::Exactly(wafers) => vec![wafers],
        WaferCount::Fewest => vec![fewest(&question)?],
        WaferCount::Auto => {
            let searching = question.clone().searching(Some(how.effort));
            // Which numbers of wafers there are is known before there are rows.
            let searching = if flags.store.is_given() { cache::searched(searching) } else { searching };
            match searching.searched() {
                Some(searched) if !searched.considered.is_empty() => {
                    searched.considered.iter().map(|one| one.wafers).collect()
                }
                _ => vec![fewest(&question)?],
            }
        }
    };
    let store = flags.store.open(|| in_rows(flags, &question, &how, &counts))?;
    let kept = store.part::<KeptFound>(0..counts.len())?;
    let mut found = Vec::with_capacity(counts.len());
    for (place, wafers) in counts.iter().enumerate() {
        found.push(match kept.known(place) {
            Some(known) => known.open(&question)?,
            None => {
                let new = map_on(&question, *wafers, &how, &judged)?;
                kept.keep(place, &KeptFound::of(&new))?;
                new
            }
        });
    }
    // The first of the fastest: a few wafers more are not worth a rounding.
    let mut fastest: Vec<&FoundOn> = found.iter().collect();
    let speed = |found: &FoundOn| (found.tokens_per_second_per_user * 1e6).round();
    fastest.sort_by(|one, other| speed(other).total_cmp(&speed(one)));
    let outcome = if flags.certify {
        let candidates: Vec<Resolved> = fastest.iter().map(|found| found.resolved.clone()).collect();
        Some(looked_at(&question, &[candidates, best_mappings(&question)?].concat()))
    } else {
        None
    };
    let tried = outcome.as_ref().and_then(Trials::of_answer);
    let passed = outcome.as_ref().and_then(Trials::passed).map_or(0, |(index, _)| index);
    // Those after the found ones are built in: what was found is shown all the same.
    let Some(best) = fastest.get(passed).or_else(|| fastest.first()) else { return Ok(()) };
    // Which one is certified is found out anew.
    let kept = store.part::<Insight>(counts.len()..counts.len() + usize::from(!flags.certify))?;
    let what = match kept.known(0) {
        Some(known) => known,
        None => {
            let new = Insight { gains: gains(&question, best, &how), way: way_to(&question, best, &how) };
            if !flags.certify {
                kept.keep(0, &new)?;
            }
            new
        }
    };
    store.close()?;
    let certificate = tried.map_or_else(Certificate::default, |tried| tried.certificate.clone());
    let text = match flags.format {
        ObjectFormat::Text => text(&question, &found, best, &what) + "\n" + &said(&certificate, tried),
        ObjectFormat::Json => json(&question, &found, (best, &what), &certificate),
    };
    if let Some(file) = saved {
        file.write(&tried.map_or(&best.resolved, |tried| &tried.resolved).to_toml())?;
    }
    if let Some(file) = waterfall {
        let drawn = drawn(&question, best, &what.way);
        file.write(|kind| match kind {
            Kind::Svg => waterfall_svg(&drawn).map(String::into_bytes),
            Kind::Png => waterfall_png(&drawn),
        })?;
    }
    Destination::Stdout.write(&text)?;
    match outcome {
        Some(outcome) if outcome.passed().is_none() => Err(Failure::NotCertified),
        _ => Ok(()),
    }
}

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
fn in_rows(flags: &MapFlags, question: &Question, how: &How, counts: &[u32]) -> Result<InRows, Failure> {
    let pinned = flags.pin.as_deref().map(|path| checksum_of("--pin", path)).transpose()?;
    let inputs = (question.input_hash(), how.effort, how.seed, &pinned);
    let mut keys: Vec<String> = counts.iter().map(|wafers| row_key(&(&inputs, wafers), &question.scenario)).collect();
    if !flags.certify {
        keys.push(row_key(&(&inputs, counts, "insight"), &question.scenario));
    }
    let words = json!({
        "scenario": question.scenario,
        "search": how.effort,
        "seed": how.seed,
        "pin": pinned,
        "wafers": counts,
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
    Ok(How { effort, seed: flags.seed, pinned: pinned.transpose()? })
}

fn text(question: &Question, found: &[FoundOn], best: &FoundOn, Insight { gains, way }: &Insight) -> String {
    let scenario = &question.scenario;
    let mut text = format!(
        "Best mapping found for {} on {}: {} user(s), {} tokens of context\n\n  wafers   tok/s per user   total   mappings tried\n",
        question.model.name, question.wafer.name, scenario.users, scenario.context
    );
    for one in found {
        text += &format!(
            "  {:>6}   {:>14.1}   {:>5.0}   {}\n",
            one.wafers, one.tokens_per_second_per_user, one.tokens_per_second_total, one.found.evaluations
        );
    }
    let clock = question.clock();
    text += &format!("\nOne pass on {} wafer(s), by operator\n", best.wafers);
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
        "\nWhat each decision gives: tok/s per user with it as published, of {:.1}\n",
        best.tokens_per_second_per_user
    );
    for gain in gains {
        let speed = gain.tokens_per_second_per_user;
        let speed = speed.map_or_else(|| "does not fit".into(), |speed| format!("{speed:.1}"));
        text += &format!("  {:<44}{speed}\n", gain.decision);
    }
    text += "\nFrom published to found: microseconds per token, at each step with the decision that gives most\n";
    let time = |time: Option<f64>| time.map_or_else(|| "does not fit yet".into(), |time| format!("{time:.1}"));
    text += &format!("  {:<44}{}\n", "published", time(way.published));
    for step in &way.taken {
        text += &format!("  {:<44}{}\n", step.decision, time(step.microseconds));
    }
    for (name, value) in [
        ("the same on ideal hardware", way.ideal),
        ("no mapping beats, at the measured rate", way.unbeaten_at_measured_rate),
        ("no mapping beats", way.unbeaten),
    ] {
        text += &format!("  {name:<44}{value:.1}\n");
    }
    text + "\nThe mapping, as a recipe\n\n" + &best.found.point.recipe.to_toml()
}

fn json(
    question: &Question,
    found: &[FoundOn],
    (best, Insight { gains, way }): (&FoundOn, &Insight),
    certificate: &Certificate,
) -> String {
    let frontier: Vec<serde_json::Value> = found
        .iter()
        .map(|one| {
            serde_json::json!({
                "wafers": one.wafers,
                "tokens_per_second_per_user": one.tokens_per_second_per_user,
                "tokens_per_second_total": one.tokens_per_second_total,
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
        "frontier": frontier,
        "best": { "wafers": best.wafers, "recipe": best.found.point.recipe, "gains": gains, "way": way },
        "certificate": certificate,
    });
    format!("{value:#}\n")
}
