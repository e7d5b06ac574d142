//! `simctl trace`: traces of requests: what they say, in another format, a part of them.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use wafersim::report;
use wafersim::requests::cut::{Cut, Cutter};
use wafersim::requests::write::{Has, WRITTEN, Writer};
use wafersim::requests::{Format, Reader, RequestError, Settings, TraceRequest, summarise};
use wafersim::stream::scenario::{LoadFile, LoadKind, StreamFile};

use crate::asked::Asked;
use crate::failure::Failure;
use crate::output::{Destination, say};
use crate::request_trace::open;

/// Names of formats that are written.
fn written() -> PossibleValuesParser {
    PossibleValuesParser::new(WRITTEN.map(Format::name))
}

/// Flags of `trace`.
#[derive(Debug, Args)]
pub struct TraceFlags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say what a trace is: its format, requests, rates, lengths, sessions, what prompts share, what is left out.
    Inspect(InspectFlags),
    /// Write a trace in another format.
    Convert(ConvertFlags),
    /// Write a part of a trace: an interval of time, so many requests, a sample of its sessions.
    Cut(CutFlags),
}

/// The format of a trace whose content tells it.
const AUTO: &str = Format::Auto.name();

/// Settings that say how a trace is read, besides names of columns.
const READING: [&str; 9] = [
    "load.format",
    "load.time_unit",
    "load.origin",
    "load.block",
    "load.history",
    "load.sort",
    "load.rate",
    "load.characters_per_token",
    "run.seed",
];

/// How an inspection is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TableFormat {
    /// For people.
    Text,
    /// One object, for programs.
    Json,
}

/// Which trace, and how it is read.
#[derive(Debug, Args)]
struct InputFlags {
    /// A trace of requests, plain or packed (.gz, .zst); a folder of ServeGen's chunks.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Format of the trace, where its content does not tell.
    #[arg(long, value_name = "FORMAT", default_value = AUTO, value_parser = PossibleValuesParser::new(Format::NAMES))]
    input_format: String,
    /// Sets how it is read, as in scenarios: load.time_unit=s, load.block=16, load.columns.prompt=NAME, load.origin,
    /// load.history=addition, load.sort=true, load.rate, load.characters_per_token, run.seed; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
}

#[derive(Debug, Args)]
struct InspectFlags {
    #[command(flatten)]
    input: InputFlags,
    /// How to write the figures.
    #[arg(long, value_enum, default_value_t = TableFormat::Text)]
    format: TableFormat,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ConvertFlags {
    #[command(flatten)]
    input: InputFlags,
    /// Format to write: plain holds everything that is read.
    #[arg(long, value_name = "FORMAT", default_value = "plain", value_parser = written())]
    to: String,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CutFlags {
    #[command(flatten)]
    input: InputFlags,
    /// From so many seconds after the first request on.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    from: Option<String>,
    /// Before so many seconds after the first request. Turns that wait for an answer go with their session's first.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    to: Option<String>,
    /// Most requests; the last session may lose turns.
    #[arg(long, value_name = "REQUESTS", allow_negative_numbers = true)]
    requests: Option<String>,
    /// Part of the sessions, and of the requests without one, 0 to 1.
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    sample: Option<String>,
    /// Seed of the sample.
    #[arg(long, value_name = "SEED", default_value = "1", allow_negative_numbers = true)]
    seed: String,
    /// Format to write.
    #[arg(long, value_name = "FORMAT", default_value = "plain", value_parser = written())]
    output_format: String,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does what was asked.
pub fn execute(flags: &TraceFlags, asked: &Asked) -> Result<(), Failure> {
    match &flags.action {
        Action::Inspect(flags) => {
            let destination = Destination::open(flags.out.as_deref())?;
            let summary = summarise(flags.input.open()?, |_| {})?;
            destination.write(&match flags.format {
                TableFormat::Text => report::requests::text(&flags.input.file.display().to_string(), &summary),
                TableFormat::Json => asked.head().json(&report::requests::json(&summary)?)?,
            })
        }
        Action::Convert(flags) => {
            let wanted = Wanted { cut: Cut::default(), format: format_of(&flags.to), flag: "--to" };
            write(&flags.input, wanted, flags.out.as_deref())
        }
        Action::Cut(flags) => {
            let wanted = Wanted { cut: flags.cut()?, format: format_of(&flags.output_format), flag: "--output-format" };
            write(&flags.input, wanted, flags.out.as_deref())
        }
    }
}

/// What is written.
struct Wanted {
    cut: Cut,
    format: Format,
    flag: &'static str,
}

/// Only names that clap has let through come here.
fn format_of(name: &str) -> Format {
    WRITTEN.into_iter().find(|format| format.name() == name).unwrap_or(Format::Plain)
}

impl InputFlags {
    fn open(&self) -> Result<Reader, Failure> {
        open("FILE", &self.file, &self.settings()?)
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let load = LoadFile { kind: Some(LoadKind::Trace), ..LoadFile::default() };
        let mut file = StreamFile { load, ..StreamFile::default() };
        if self.input_format != AUTO {
            file = file.with("--input-format", "load.format", &self.input_format)?;
        }
        for set in &self.sets {
            let path_and_value = set.split_once('=').map(|(path, value)| (path.trim(), value.trim()));
            let Some((path, value)) = path_and_value else {
                return Err(wrong("--set", format!("'{set}'"), "path=value, for example load.time_unit=ms"));
            };
            if !READING.contains(&path) && !path.starts_with("load.columns.") {
                let problem = format!("'{set}' says nothing of how a trace is read");
                return Err(wrong("--set", problem, &format!("{}, load.columns.NAME", READING.join(", "))));
            }
            if path == "load.format" && self.input_format != AUTO && self.input_format != value.trim_matches('"') {
                let problem = format!("is {}, and --set says {path}={value}", self.input_format);
                return Err(wrong("--input-format", problem, "one of both, or both the same"));
            }
            file = file.with("--set", path, value)?;
        }
        Ok(file.load.reading("--set", file.run.seed.unwrap_or(1))?)
    }
}

impl CutFlags {
    fn cut(&self) -> Result<Cut, Failure> {
        let cut = Cut {
            from: seconds("--from", self.from.as_deref())?.unwrap_or(0),
            to: seconds("--to", self.to.as_deref())?,
            requests: self.requests.as_deref().map(|text| count("--requests", text)).transpose()?,
            sample: self.sample.as_deref().map_or(Ok(1.0), part)?,
            seed: count("--seed", &self.seed)?,
        };
        if cut.to.is_some_and(|to| to <= cut.from) {
            return Err(wrong("--to", "is not after --from".into(), "a later time than --from"));
        }
        Ok(cut)
    }
}

fn seconds(flag: &str, text: Option<&str>) -> Result<Option<u64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let value = text.trim().parse::<f64>().ok().filter(|value| (0.0..=1e7).contains(value));
    let value = value.ok_or_else(|| wrong(flag, format!("is '{text}'"), "seconds from 0 to 10000000"))?;
    Ok(Some((value * 1e12).round() as u64))
}

fn count(flag: &str, text: &str) -> Result<u64, Failure> {
    text.trim().parse().map_err(|_| wrong(flag, format!("is '{text}'"), "a whole number from 0 on"))
}

fn part(text: &str) -> Result<f64, Failure> {
    let value = text.trim().parse::<f64>().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| wrong("--sample", format!("is '{text}'"), "a number from 0 to 1"))
}

fn wrong(flag: &str, problem: String, allowed: &str) -> Failure {
    Failure::Flag { flag: flag.into(), problem, allowed: allowed.into() }
}

/// Writes requests as they are read. What they have must be known before the first, so the file is read twice.
fn write(input: &InputFlags, wanted: Wanted, out: Option<&Path>) -> Result<(), Failure> {
    let Wanted { cut, format, flag } = wanted;
    let destination = Destination::open(out)?;
    let is_pipe = !(input.file.is_file() || input.file.is_dir());
    let first = input.open()?;
    let by_file = Has { sessions: true, waits: true, kept: true, hashes: true, other_blocks: false };
    let has = if is_pipe { by_file } else { has(Cutter::new(input.open()?, cut))? };
    let (needed, lost) = has.missing(format);
    if let Some(needed) = needed.filter(|_| !is_pipe) {
        let problem = format!("{} cannot say what this trace has: {needed}", format.name());
        return Err(wrong(flag, problem, "plain or mooncake"));
    }
    let name = input.file.display().to_string();
    let failed = |error: std::io::Error| Failure::Write { file: "the trace".into(), reason: error.to_string() };
    let mut cutter = Cutter::new(first, cut);
    let mut written = 0u64;
    destination.fill(|output| {
        let mut writer = Writer::new(output, format, has).map_err(failed)?;
        let mut request = TraceRequest::default();
        while cutter.read(&mut request)? {
            writer.write(&request).map_err(failed)?;
            written += 1;
        }
        writer.finish().map_err(failed)?;
        if written == 0 {
            let allowed = "an interval and a sample that hold at least one".to_owned();
            return Err(RequestError::File { file: name, problem: "no request is in this part".into(), allowed }.into());
        }
        Ok(())
    })?;
    let seen = report::requests::seen(cutter.reader().seen());
    let left_out = report::requests::left_out(&cutter.reader().left_out());
    let left_out = left_out.map_or_else(String::new, |words| format!("; left out: {words}"));
    say(&format!("read as {seen}; {}{left_out}", report::number::plural(written, "request")));
    if let Some(lost) = lost.filter(|_| !is_pipe) {
        say(&format!("note: {} does not say {lost}", format.name()));
    }
    Ok(())
}

/// What the wanted requests have.
fn has(mut cutter: Cutter) -> Result<Has, Failure> {
    let (mut has, mut request) = (Has::default(), TraceRequest::default());
    while cutter.read(&mut request)? {
        has.add(&request);
    }
    Ok(has)
}
