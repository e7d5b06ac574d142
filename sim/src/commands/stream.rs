//! `simctl stream`: a load against a machine, event by event.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rayon::prelude::*;
use serde_json::{Value, json};
use wafersim::answer::plan::Swept;
use wafersim::mapping::Mapping;
use wafersim::report;
use wafersim::report::ReportError;
use wafersim::report::number::{duration, whole};
use wafersim::report::stream_chart::ChartFile;
use wafersim::requests::reader::{Start, TraceRequest};
use wafersim::requests::write::{Has, Writer};
use wafersim::routing::Trace;
use wafersim::spec::Model;
use wafersim::stream::Time;
use wafersim::stream::engine::Progress as RunProgress;
use wafersim::stream::load::hashes;
use wafersim::stream::observer::{Nobody, Observer};
use wafersim::stream::recording::Recorder;
use wafersim::stream::request::Request;
use wafersim::stream::run::{Files, KeptRun, Point, Prepared, Server, sweep};
use wafersim::stream::scenario::{LoadScenario, RoutingScenario, StreamFile, StreamScenario, TraceScenario};
use wafersim::stream::trace::Trace as RequestTrace;

use crate::asked::{Asked, signed};
use crate::commands::routing::read_trace;
use crate::fabric_flags::{say_what_is_left_out, trace_limit};
use crate::failure::Failure;
use crate::files;
use crate::input::read_table_text;
use crate::mapping_flags::{MappingFlags, Wanted};
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::output::{Destination, Folder, say};
use crate::pages;
use crate::progress::{Progress, Seldom};
use crate::request_trace;
use crate::store_flags::{InRows, Shard, ShardFlags, StoreFlags, row_key};
use crate::sweep_flags::{MAPPING, Of, SweepFlags, in_words};

/// Flags of `stream`.
#[derive(Debug, Args)]
pub struct StreamFlags {
    /// Scenario of a stream: tables machine, service, load, run (see docs/src/streaming.md and sim/scenarios/stream/).
    #[arg(value_name = "SCENARIO.toml")]
    scenario: PathBuf,
    /// Sets anything of the scenario, for example `load.users=8` or `machine.wafers=24`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    sweep: SweepFlags,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    shard: ShardFlags,
    /// File for the run as a Perfetto trace (open it in ui.perfetto.dev): a track for each request, counters over time.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Largest size of the trace; slices beyond it are counted and left out [default: 32MiB].
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    trace_limit: Option<String>,
    /// File for the requests that come to the machine, as a Mooncake trace: `stream`, GuideLLM and AIPerf read it.
    #[arg(long, value_name = "FILE")]
    write_load: Option<PathBuf>,
    /// Folder for charts, as SVG and PNG: how latencies are distributed; of a sweep, speed per user against throughput.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    #[command(flatten)]
    output: OutFlags,
}

/// Most points of a sweep.
const MOST_POINTS: usize = 100_000;
/// Machines that are placed and held at the same time; the memory of a sweep does not grow with its points.
const PLACED_AT_ONCE: usize = 64;

/// Runs the load.
pub fn execute(flags: &StreamFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::Yes)?;
    let source = flags.scenario.display().to_string();
    let mut file = StreamFile::parse(&read_table_text("SCENARIO.toml", &flags.scenario)?, &source)?;
    find_beside(&mut file, flags.scenario.parent());
    for set in &flags.sets {
        let (path, value) = setting("--set", set)?;
        file = file.with("--set", path, value)?;
    }
    let trace = trace(flags)?;
    let load = write_load(flags)?;
    if trace.is_some() && flags.store.is_given() {
        return Err(wrong(
            "--store",
            "keeps what came out, and --trace shows the run itself".into(),
            "one of them".into(),
        ));
    }
    let pictures = flags.pictures.as_deref().map(|folder| Folder::open_for("--pictures", folder)).transpose()?;
    let (wanted, saved) = (flags.mapping.wanted()?, flags.mapping.open()?);
    // The text says itself what the scenario file does.
    let (head, given) = (asked.file(&file), asked.head());
    let words = Words { file: &file, mapping: &wanted };
    let shard = flags.shard.shard()?;
    if shard.is_some() && flags.pictures.is_some() {
        return Err(wrong("--shard", "draws no part of a sweep".into(), "without --pictures".into()));
    }
    if !flags.sweep.is_given() {
        if shard.is_some() {
            return Err(wrong("--shard", "is a part of several runs".into(), "with --sweep".into()));
        }
        let prepared = prepared(checked(file.clone(), &source)?, wanted.clone(), &mut Read::default())?;
        let store = flags.store.open(|| Ok(in_rows(&words, &[], std::slice::from_ref(&prepared))))?;
        let kept = store.part::<KeptRun>(0..1)?;
        let known = kept.known(0).filter(|_| !flags.mapping.is_saved());
        let point = match known {
            Some(known) => prepared.point("", known),
            None => {
                let machine = prepared.place()?;
                saved.write(|| Ok(machine.resolved_mapping()?))?;
                let point = alone(&machine, trace, load)?;
                if kept.missing() > 0 {
                    kept.keep(0, &KeptRun::from(&point))?;
                }
                point
            }
        };
        store.close()?;
        let point = signed_point(point);
        draw(pictures.as_ref(), || report::stream_chart::of_run(&point))?;
        let (text, json) = (|| Ok(report::stream::text(&point)), || Ok(report::stream::json(&point)?));
        let csv = || Ok(report::stream::csv(std::slice::from_ref(&point))?);
        let page = |data| {
            let latencies = report::stream_chart::of_run(&point)?;
            Ok(pages::stream_run(report::stream::text(&point), latencies, data))
        };
        let drawn = |kind| pages::first_chart(report::stream_chart::of_run(&point)?, kind);
        let forms = Forms::new("stream", &text, &json).asked(&head).asked_in_text(&given);
        return out.write(forms.csv(&csv).document(&page).picture(&drawn));
    }
    let sweeping = Sweeping { file: &file, source: &source, wanted: &wanted, shard };
    swept(flags, sweeping, pictures.as_ref(), |points, setting| {
        let text = || Ok(report::stream::sweep_text(setting, points));
        let json = || Ok(report::stream::sweep_json(setting, points)?);
        let csv = || Ok(report::stream::csv(points)?);
        let page = |data| Ok(pages::stream_sweep(setting, report::stream::sweep_text(setting, points), data));
        let drawn = |kind| pages::first_chart(report::stream_chart::of_sweep(setting, points)?, kind);
        let forms = Forms::new("stream", &text, &json).asked(&head).asked_in_text(&given);
        out.write(forms.csv(&csv).document(&page).picture(&drawn))
    })
}

/// What is the same in all points of a sweep.
#[derive(Clone, Copy)]
struct Sweeping<'a> {
    file: &'a StreamFile,
    source: &'a str,
    wanted: &'a Wanted,
    shard: Option<Shard>,
}

/// Runs every combination; `write` has the points in their order, and the settings in words.
fn swept(
    flags: &StreamFlags,
    Sweeping { file, source, wanted, shard }: Sweeping<'_>,
    pictures: Option<&Folder>,
    write: impl FnOnce(&[Point], &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if flags.mapping.is_saved() {
        return Err(wrong("--save-mapping", "saves the mapping of one run".into(), "without --sweep".into()));
    }
    if flags.sweep.sweeps(MAPPING) && flags.mapping.is_given() {
        return Err(wrong("--sweep", "sweeps 'mapping', and --mapping gives one".into(), "one of the two".into()));
    }
    let combinations = flags.sweep.combinations(Of::Stream)?;
    if combinations.len() > MOST_POINTS {
        let problem = format!("makes {} points", whole(combinations.len() as u64));
        return Err(wrong("--sweep", problem, format!("at most {}", whole(MOST_POINTS as u64))));
    }
    let no_machine = |swept: &[Swept], failure: Failure| {
        let problem = format!("{}: {failure}", in_words(swept));
        wrong("--sweep", problem, "values for which there is a machine".into())
    };
    let mut read = Read::default();
    let mut all = Vec::with_capacity(combinations.len());
    for swept in &combinations {
        let (scenario, wanted) = with_swept(file, wanted, swept)?;
        let prepared = prepared(checked(scenario, source)?, wanted, &mut read);
        all.push(prepared.map_err(|failure| no_machine(swept, failure))?);
    }
    let words = Words { file, mapping: wanted };
    let store = flags.store.open(|| Ok(in_rows(&words, flags.sweep.texts(), &all)))?;
    let kept = store.part::<KeptRun>(0..combinations.len())?;
    let mut points: Vec<(usize, Point)> = Vec::with_capacity(combinations.len());
    let mut missing: Vec<(usize, &[Swept], Prepared)> = Vec::new();
    let is_wanted = |place: usize| shard.is_none_or(|shard| shard.has(place));
    for (place, (swept, prepared)) in combinations.iter().zip(all).enumerate().filter(|(place, _)| is_wanted(*place)) {
        match kept.known(place) {
            Some(known) => points.push((place, prepared.point("", known).of_sweep(swept))),
            None => missing.push((place, swept, prepared)),
        }
    }
    let progress = Progress::start(missing.len() as u64);
    for some in missing.chunks(PLACED_AT_ONCE) {
        let run = run_side_by_side(some, no_machine, |place, point| {
            kept.keep(place, &KeptRun::from(point))?;
            progress.advance();
            Ok(())
        });
        points.extend(run.inspect_err(|_| progress.clear())?);
    }
    progress.finish();
    if let Some(shard) = shard {
        return shard.done(store, points.len(), combinations.len());
    }
    store.close()?;
    points.sort_by_key(|(place, _)| *place);
    let points: Vec<Point> = points.into_iter().map(|(_, point)| signed_point(point)).collect();
    let paths = combinations.first().map(|swept| swept.iter().map(|one| one.path.as_str()).collect::<Vec<_>>());
    let setting = paths.unwrap_or_default().join(", ");
    draw(pictures, || report::stream_chart::of_sweep(&setting, &points))?;
    write(&points, &setting)
}

/// Places machines and runs them, with their places among all points. Of several that cannot be placed, the first one
/// is named.
fn run_side_by_side(
    some: &[(usize, &[Swept], Prepared)],
    no_machine: impl Fn(&[Swept], Failure) -> Failure,
    finished: impl Fn(usize, &Point) -> Result<(), Failure> + Sync,
) -> Result<Vec<(usize, Point)>, Failure> {
    let placed: Vec<_> = some.par_iter().map(|(_, _, prepared)| prepared.clone().place()).collect();
    let machines = placed.into_iter().zip(some).map(|(machine, (_, swept, _))| match machine {
        Ok(machine) => Ok((String::new(), machine)),
        Err(error) => Err(no_machine(swept, error.into())),
    });
    let machines = machines.collect::<Result<Vec<_>, Failure>>()?;
    // As many points as machines.
    let place = |index: usize| some.get(index).map_or(index, |(place, ..)| *place);
    let points = sweep(&machines, |index, point| finished(place(index), point))?;
    Ok(points.into_iter().zip(some).map(|(point, (place, swept, _))| (*place, point.of_sweep(swept))).collect())
}

/// A scenario with the values of a combination, and the mapping, which is none of its settings.
pub fn with_swept(file: &StreamFile, wanted: &Wanted, swept: &[Swept]) -> Result<(StreamFile, Wanted), Failure> {
    let (mut file, mut wanted) = (file.clone(), wanted.clone());
    for Swept { path, value } in swept {
        if path == MAPPING {
            files::reads_named("--sweep", value)?;
            wanted.mapping = Some(Mapping::from_name_or_path(value)?);
        } else {
            file = file.with("--sweep", path, value)?;
        }
    }
    Ok((file, wanted))
}

/// A point that says what made it.
fn signed_point(mut point: Point) -> Point {
    point.provenance = signed(point.provenance);
    point
}

/// What is asked, beside the values of a sweep.
struct Words<'a> {
    file: &'a StreamFile,
    mapping: &'a Wanted,
}

/// One run, or a run for each value of a sweep.
fn in_rows(Words { file, mapping }: &Words<'_>, swept: &[String], all: &[Prepared]) -> InRows {
    let keys = all.iter().map(|one| row_key(&one.provenance().input_hash, &one.question().scenario)).collect();
    // One sweep is a text, as it always was.
    let swept = match swept {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    let words = json!({ "scenario": file, "sweep": swept, "mapping": mapping.hash(), "search": mapping.search });
    InRows { command: "stream", words, keys }
}

/// The file of `--trace`, opened, and its largest size.
fn trace(flags: &StreamFlags) -> Result<Option<(Destination, usize)>, Failure> {
    let Some(file) = &flags.trace else {
        return match &flags.trace_limit {
            None => Ok(None),
            Some(limit) => Err(wrong("--trace-limit", format!("is '{limit}'"), "with --trace".into())),
        };
    };
    if flags.sweep.is_given() {
        return Err(wrong("--trace", "shows one run".into(), "without --sweep".into()));
    }
    let limit = trace_limit(flags.trace_limit.as_deref())?;
    Ok(Some((Destination::open_for("--trace", file)?, limit)))
}

/// The file of `--write-load`, opened.
fn write_load(flags: &StreamFlags) -> Result<Option<Destination>, Failure> {
    let Some(file) = &flags.write_load else { return Ok(None) };
    let other = [("--sweep", flags.sweep.is_given()), ("--store", flags.store.is_given())];
    if let Some((other, _)) = other.into_iter().find(|(_, is_given)| *is_given) {
        return Err(wrong("--write-load", "writes the load of one run".into(), format!("without {other}")));
    }
    Ok(Some(Destination::open_for("--write-load", file)?))
}

/// A run whose requests are written as they come to the machine.
fn written(
    machine: &Server,
    observer: &mut impl Observer,
    file: Destination,
    report: impl FnMut(RunProgress),
) -> Result<Point, Failure> {
    let mut point = None;
    file.fill(|output| {
        let failed = |error: std::io::Error| Failure::Write { file: "--write-load".into(), reason: error.to_string() };
        let mut writer = Writer::new(output, wafersim::requests::Format::Mooncake, Has::default()).map_err(failed)?;
        let mut broken = None;
        let mut tell = |request: &Request, at: Time| {
            let hashes = hashes(request, MOONCAKE_BLOCK);
            let row = TraceRequest {
                line: 0,
                // Whole milliseconds, by which readers know the format.
                start: Start::At((at.0 + MILLISECOND / 2) / MILLISECOND * MILLISECOND),
                prompt: request.prompt,
                output: request.output,
                session: String::new(),
                kept: None,
                block: if hashes.is_empty() { 0 } else { MOONCAKE_BLOCK },
                hashes,
            };
            if broken.is_none() {
                broken = writer.write(&row).err();
            }
        };
        point = Some(machine.told(observer, &mut tell, report));
        broken.map_or(Ok(()), |error| Err(failed(error)))?;
        writer.finish().map_err(failed).map(drop)
    })?;
    point.ok_or_else(|| Failure::Write { file: "--write-load".into(), reason: "nothing was run".into() })
}

/// In picoseconds.
const MILLISECOND: u64 = 1_000_000_000;
/// Tokens of a block in Mooncake's rows.
const MOONCAKE_BLOCK: u32 = 512;

/// One run, with its trace and its load where they are to be written.
fn alone(machine: &Server, trace: Option<(Destination, usize)>, load: Option<Destination>) -> Result<Point, Failure> {
    let mut seldom = Seldom::start();
    let tell = |progress: RunProgress| tell(&mut seldom, &progress);
    let Some((file, limit)) = trace else {
        return match load {
            None => Ok(machine.point("", tell)),
            Some(load) => written(machine, &mut Nobody, load, tell),
        };
    };
    let mut recorder = Recorder::new(report::timeline::pieces_for(limit));
    let point = match load {
        None => machine.watched("", &mut recorder, tell),
        Some(load) => written(machine, &mut recorder, load, tell)?,
    };
    let recording = recorder.finish(point.outcome.window_end);
    let written = report::timeline::of_stream(&point.machine, &recording, limit)?;
    file.write_bytes(&written.bytes)?;
    say_what_is_left_out(&written);
    Ok(point)
}

/// Writes charts into the folder, where there is one.
fn draw(folder: Option<&Folder>, charts: impl FnOnce() -> Result<Vec<ChartFile>, ReportError>) -> Result<(), Failure> {
    let Some(folder) = folder else { return Ok(()) };
    let charts = charts()?;
    if charts.is_empty() {
        say("note: no answer ended in the window, so there is nothing to draw");
    }
    charts.iter().try_for_each(|chart| folder.write(&chart.name, &chart.bytes))
}

/// Traces that were read last: points of a sweep share them.
#[derive(Debug, Default)]
pub struct Read {
    routing: Option<(String, Arc<Trace>)>,
    requests: Option<(TraceScenario, Arc<RequestTrace>)>,
}

impl Read {
    /// The requests of a trace.
    pub fn requests(&mut self, load: &TraceScenario) -> Result<Arc<RequestTrace>, Failure> {
        // The speed is the replay's.
        let asked = TraceScenario { speed: 1.0, ..load.clone() };
        if let Some((known, trace)) = &self.requests
            && *known == asked
        {
            return Ok(Arc::clone(trace));
        }
        let reader = request_trace::open("load.file", Path::new(&load.file), &load.reading)?;
        let trace = Arc::new(RequestTrace::read(reader, load.requests)?);
        self.requests = Some((asked, Arc::clone(&trace)));
        Ok(trace)
    }
}

/// A scenario with everything that it names read.
pub fn prepared(
    scenario: StreamScenario,
    Wanted { mapping, search }: Wanted,
    read: &mut Read,
) -> Result<Prepared, Failure> {
    files::reads_named("machine.model", &scenario.machine.model)?;
    files::reads_named("machine.wafer", &scenario.machine.wafer)?;
    let requests = match &scenario.load {
        LoadScenario::Trace(load) => Some(read.requests(load)?),
        _ => None,
    };
    let (source, routing) = match (&scenario.routing, &mut read.routing) {
        (RoutingScenario::Trace { file }, Some((name, trace))) if name == file => {
            (file.clone(), Some(Arc::clone(trace)))
        }
        (RoutingScenario::Trace { file }, known) => {
            let model = Model::from_name_or_path(&scenario.machine.model)?;
            let trace = Arc::new(read_trace("routing.trace", Path::new(file), &model)?);
            *known = Some((file.clone(), Arc::clone(&trace)));
            (file.clone(), Some(trace))
        }
        _ => (String::new(), None),
    };
    let routing = routing.map(|trace| (trace, source.as_str()));
    Ok(Prepared::new(scenario, Files { requests, routing, mapping, search })?)
}

/// The scenario with defaults where nothing is given, and the plan's file read where it names one.
pub fn checked(mut file: StreamFile, source: &str) -> Result<StreamScenario, Failure> {
    if let Some(plan) = file.service.plan.as_ref().filter(|plan| is_plan_file(plan)) {
        file.plan_text = Some(read_table_text("service.plan", Path::new(plan))?);
    }
    Ok(file.check(source)?)
}

/// Whether the name of a plan is the path of a file.
pub fn is_plan_file(name: &str) -> bool {
    name.ends_with(".toml") || name.contains(['/', '\\'])
}

/// Files that the scenario names by a relative path are looked for in its folder first.
pub fn find_beside(file: &mut StreamFile, folder: Option<&Path>) {
    let Some(folder) = folder else { return };
    let is_path = |name: &str| name.ends_with(".json") || name.ends_with(".toml") || name.contains(['/', '\\']);
    let named = [&mut file.machine.model, &mut file.machine.wafer].into_iter().flatten().filter(|name| is_path(name));
    // A plan that is built in has no path, and no file of its name stands for it.
    let plan = file.service.plan.as_mut().filter(|plan| is_plan_file(plan));
    for name in named.chain(&mut file.load.file).chain(&mut file.routing.trace).chain(plan) {
        let path = folder.join(&*name);
        if let Some(found) = path.to_str().filter(|_| path.exists()) {
            *name = found.to_owned();
        }
    }
}

/// The parts of `path=value`.
pub fn setting<'a>(flag: &str, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let parts = text.split_once('=').map(|(path, value)| (path.trim(), value.trim()));
    parts
        .filter(|(path, _)| !path.is_empty())
        .ok_or_else(|| wrong(flag, format!("'{text}' is no path=value"), "path=value, for example load.users=8".into()))
}

/// A flag's value is wrong.
pub fn wrong(flag: &str, problem: String, allowed: String) -> Failure {
    Failure::Flag { flag: flag.into(), problem, allowed }
}

/// Says how far a long run is, and about how long it will take.
fn tell(seldom: &mut Seldom, progress: &RunProgress) {
    let by_time = progress.now.seconds() / progress.end.seconds();
    let by_requests = progress.requests.map_or(0.0, |most| progress.finished as f64 / most as f64);
    let Some(spent) = seldom.now() else { return };
    let part = by_time.max(by_requests);
    let left =
        if part > 1e-3 { format!(", about {} left", duration(spent * (1.0 - part) / part)) } else { String::new() };
    say(&format!(
        "{} simulated, {} requests finished{left}",
        duration(progress.now.seconds()),
        whole(progress.finished)
    ));
}
