//! `simctl run`: one question, one answer.

use std::path::PathBuf;

use clap::Args;
use wafersim::answer::fabric::{FabricAnswer, answer_on_fabric};
use wafersim::answer::{Answer, Question, answer_with, resolved_mapping};
use wafersim::certify::Trials;
use wafersim::report;
use wafersim::stream::steady::steady;

use crate::asked::{Asked, signed};
use crate::certify::certified;
use crate::choice::{self, ObjectFormat};
use crate::fabric_flags::{Asked as FabricAsked, FabricFlags, Fidelity, say_what_is_left_out};
use crate::failure::Failure;
use crate::mapping_flags::MappingFlags;
use crate::output::Destination;
use crate::progress::{Draws, Runs};
use crate::range_flags::RangeFlags;
use crate::scenario_flags::ScenarioFlags;
use crate::wafer_map_flag::WaferMapFile;

/// Flags of `run`.
#[derive(Debug, Args)]
#[command(mut_arg("ranges", |ranges| ranges.default_value("corner")))]
pub struct RunFlags {
    #[command(flatten)]
    scenario: ScenarioFlags,
    /// Wafers to use: a number, `auto` for the fewest that reach the target, or that more are not worth, or `fewest`
    /// for those that hold the model.
    #[arg(long, value_name = "auto|fewest|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Users served at the same time.
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    users: Option<String>,
    /// Tokens in each user's KV cache (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    /// Tokens of the prompt whose first token is waited for; the context where left out.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    prompt: Option<String>,
    /// Which programs and rates the verdict is for; all three profiles are shown.
    #[arg(long, value_name = "PROFILE", value_parser = choice::profiles())]
    profile: Option<String>,
    /// Where the routed experts live.
    #[arg(long, value_name = "PLACEMENT", value_parser = choice::placements())]
    placement: Option<String>,
    #[command(flatten)]
    mapping: MappingFlags,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// Look at the mapping of profile `best`: memory, colors, every kind of layer on the fabric, numbers. If a part
    /// fails the next best is tried, at most five; where none passes, `best` is answered by the published mapping and
    /// the exit code is 3.
    #[arg(long)]
    certify: bool,
    #[command(flatten)]
    fabric: FabricFlags,
    #[command(flatten)]
    ranges: RangeFlags,
    /// File for a map of the wafers: what lives where; SVG or PNG by its ending.
    #[arg(long, value_name = "FILE")]
    wafer_map: Option<PathBuf>,
    /// Ten lines instead of the whole answer.
    #[arg(long, conflicts_with = "format")]
    brief: bool,
    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = ObjectFormat::Text)]
    format: ObjectFormat,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Seed of a run event by event: it draws accepted drafts only.
pub const STREAM_SEED: u64 = 1;

/// Answers the question.
pub fn execute(flags: &RunFlags, asked: &Asked) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    let wafer_map = WaferMapFile::open(flags.wafer_map.as_deref())?;
    let ranges = flags.ranges.ranges()?;
    let on_fabric_asked = flags.fabric.asked(ranges)?;
    let mut layers = flags.scenario.layers()?;
    for (flag, path, value) in [
        ("--wafers", "wafers", &flags.wafers),
        ("--users", "users", &flags.users),
        ("--context", "context", &flags.context),
        ("--prompt", "prompt", &flags.prompt),
        ("--profile", "profile", &flags.profile),
        ("--placement", "placement", &flags.placement),
        ("--weights", "precision.weights", &flags.weights),
        ("--kv", "precision.kv_cache", &flags.kv),
    ] {
        layers.flag(flag, path, value.as_deref())?;
    }
    let saved = flags.mapping.open()?;
    let question = flags.mapping.ask(Question::load(layers.check()?)?)?;
    let (question, looked_at) = match flags.certify {
        true => certified(question).map(|(question, outcome)| (question, Some(outcome)))?,
        false => (question, None),
    };
    let tried = looked_at.as_ref().and_then(Trials::of_answer);
    let finished = |answer: Answer| {
        let certificate = tried.map_or_else(|| answer.certificate.clone(), |tried| tried.certificate.clone());
        Answer { certificate, provenance: signed(answer.provenance), ..answer }
    };
    let answer = |question: &Question| {
        let draws = Draws::start();
        answer_with(question, ranges, &|done, all| draws.at(done, all)).map(finished)
    };
    let head = asked.question(&question);
    let text = match on_fabric_asked {
        Some(asked) => {
            let found = on_fabric(&question, asked, finished)?;
            match flags.format {
                ObjectFormat::Text if flags.brief => report::answer::brief(&found.answer),
                ObjectFormat::Text => head.text(report::fabric::text(&found.answer, &found.reading, &question.wafer)),
                ObjectFormat::Json => head.json(&report::fabric::json(&found.answer, &found.reading)?)?,
            }
        }
        None if flags.fabric.fidelity() == Fidelity::Stream => {
            let answer = answer(&question)?;
            let run = steady(question.clone(), STREAM_SEED)?;
            match flags.format {
                ObjectFormat::Text if flags.brief => report::answer::brief(&answer),
                ObjectFormat::Text => head.text(report::steady::text(&answer, &run, &question.wafer)),
                ObjectFormat::Json => head.json(&report::steady::json(&answer, &run)?)?,
            }
        }
        None => {
            let answer = answer(&question)?;
            match flags.format {
                ObjectFormat::Text if flags.brief => report::answer::brief(&answer),
                ObjectFormat::Text => head.text(report::answer::text(&answer, &question.wafer)),
                ObjectFormat::Json => head.json(&report::answer::json(&answer)?)?,
            }
        }
    };
    if let Some(file) = wafer_map {
        file.write(&question)?;
    }
    saved.write(|| match tried {
        Some(tried) => Ok(tried.resolved.clone()),
        None => Ok(resolved_mapping(&question)?),
    })?;
    destination.write(&text)?;
    match looked_at {
        Some(outcome) if outcome.passed().is_none() => Err(Failure::NotCertified),
        _ => Ok(()),
    }
}

/// Answers with layers on the fabric; pictures and the trace are written here.
fn on_fabric(
    question: &Question,
    asked: FabricAsked,
    finished: impl Fn(Answer) -> Answer,
) -> Result<FabricAnswer, Failure> {
    let progress = Runs::start();
    let mut found = answer_on_fabric(question, &asked.request, &|moment| progress.at(&moment))?;
    found.answer = finished(found.answer);
    progress.finish(found.reading.cycles, found.reading.wavelet_hops);
    if let Some(folder) = &asked.pictures {
        for picture in report::picture::of_fabric(&found, &question.wafer)? {
            folder.write(picture.name, &picture.bytes)?;
        }
    }
    if let Some((file, limit)) = asked.trace
        && let Some(trace) = report::timeline::of_fabric(&found, limit)?
    {
        file.write_bytes(&trace.bytes)?;
        say_what_is_left_out(&trace);
    }
    Ok(found)
}
