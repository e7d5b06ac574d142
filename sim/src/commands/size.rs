//! `simctl size`: how many machines a load needs, so that its users see what was promised.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::PossibleValuesParser;
use rayon::prelude::*;
use serde_json::json;
use wafersim::answer::Stop;
use wafersim::answer::plan::Swept;
use wafersim::decide::DecideError;
use wafersim::decide::money::Economics;
use wafersim::decide::size::levels::{Level, Metric, Quantile, Seconds};
use wafersim::decide::size::usual::{AGENTS, with_context as with_usual_context};
use wafersim::decide::size::{Asked as Load, Growth, SizeRow, check, size};
use wafersim::mapping::{Mapping, hash};
use wafersim::report;
use wafersim::report::number::whole;
use wafersim::requests::Format;
use wafersim::spec::Model;
use wafersim::spec::scenario::without_suffix;
use wafersim::stream::run::{Files, Prepared};
use wafersim::stream::scenario::{LoadFile, LoadKind, LoadScenario, StreamFile, StreamScenario};
use wafersim::stream::trace::Trace;

use crate::asked::{Asked, signed};
use crate::choice;
use crate::commands::stream::{Read, checked, find_beside, with_swept};
use crate::economics_flags::EconomicsFlags;
use crate::failure::Failure;
use crate::files;
use crate::input::read_table_text;
use crate::layers::{Chosen, counted};
use crate::mapping_flags::{SearchFlag, Wanted};
use crate::out_flags::{Forms, HasPicture, Out, OutFlags, as_text, heading};
use crate::output::say;
use crate::progress::Progress;
use crate::store_flags::{InRows, ShardFlags, StoreFlags, row_key};
use crate::sweep_flags::{MAPPING, Of, SweepFlags, in_words};

/// Flags of `size`.
#[derive(Debug, Args)]
pub struct SizeFlags {
    /// Scenario of a stream (tables machine, service, load, run), whose load is that of all users; without it coding
    /// agents ask. Flags win over it, `--set` wins over flags.
    #[arg(value_name = "SCENARIO.toml")]
    scenario: Option<PathBuf>,
    /// Users in all.
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    users: Option<String>,
    /// Requests a second in all, of a load of kind `open`.
    #[arg(long, value_name = "REQUESTS", allow_negative_numbers = true, conflicts_with = "users")]
    rate: Option<String>,
    /// Requests of all users as they were recorded, in place of a load: times, lengths and prefixes are the trace's,
    /// and each machine gets whole sessions of it (formats: docs/src/request-traces.md).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "rate", "context"])]
    trace: Option<PathBuf>,
    /// Format of the trace [default: what its content says].
    #[arg(long, value_name = "FORMAT", requires = "trace", value_parser = PossibleValuesParser::new(Format::NAMES))]
    trace_format: Option<String>,
    /// Part of the users who work at the same time.
    #[arg(long, value_name = "0..1", default_value_t = 1.0, allow_negative_numbers = true)]
    active: f64,
    /// Quotas before the machines: a built-in plan, or the path of a TOML file (see docs/src/service.md).
    #[arg(long, value_name = "NAME|FILE")]
    plan: Option<String>,
    /// With a plan: users of an organisation, who share its account [default: 1, with --plan].
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    organisation: Option<String>,
    /// Tokens of a session when it begins, or of a prompt (100k is 102400).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    #[command(flatten)]
    levels: LevelFlags,
    /// Built-in model (see `simctl models`), or path of a Hugging Face config.json.
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Built-in wafer (see `simctl wafers`), or path of a wafer file.
    #[arg(long, value_name = "NAME|PATH")]
    wafer: Option<String>,
    /// Wafers of a machine; looked for where left out.
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Which programs and rates the answer is for.
    #[arg(long, value_name = "PROFILE", value_parser = choice::profiles())]
    profile: Option<String>,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// How tokens choose experts: `uniform`, `skewed`, or a file that says how often each expert was chosen (counts or
    /// a trace, in any form that `simctl routing inspect` reads).
    #[arg(long, value_name = "MODEL|FILE")]
    routing: Option<String>,
    /// Sets anything of the scenario, for example `load.common=65536` or `machine.speculation.draft_length=3`; may be
    /// repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Mapping of the profiles `best` and `ideal`: a built-in recipe (see `simctl mappings`), or path of a recipe.
    #[arg(long, value_name = "NAME|FILE")]
    mapping: Option<String>,
    /// How much is tried to find a mapping for each design, where none is given.
    #[arg(long, value_enum, default_value_t = SearchFlag::Quick)]
    search: SearchFlag,
    /// Seeds that the answer is confirmed with.
    #[arg(long, value_name = "SEEDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: u32,
    /// Part of the time in which enough machines are to be up.
    #[arg(long, value_name = "0..1", default_value_t = 0.999, allow_negative_numbers = true)]
    availability: f64,
    /// Growth of the load in a month, for example 5% or 0.05.
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    growth: Option<String>,
    /// Months that are looked ahead.
    #[arg(long, value_name = "MONTHS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=240))]
    months: u32,
    #[command(flatten)]
    economics: EconomicsFlags,
    #[command(flatten)]
    sweep: SweepFlags,
    #[command(flatten)]
    store: StoreFlags,
    #[command(flatten)]
    shard: ShardFlags,
    #[command(flatten)]
    output: OutFlags,
}

/// What users are promised.
#[derive(Debug, Args)]
struct LevelFlags {
    /// First token, at most: half of all requests.
    #[arg(long, value_name = "TIME")]
    ttft_p50: Option<Seconds>,
    /// The same for 95 % of all requests.
    #[arg(long, value_name = "TIME")]
    ttft_p95: Option<Seconds>,
    /// The same for 99 %.
    #[arg(long, value_name = "TIME")]
    ttft_p99: Option<Seconds>,
    /// Tokens a second of a request, at least: all but 5 %.
    #[arg(long, value_name = "TOK/S", allow_negative_numbers = true)]
    speed_p5: Option<f64>,
    /// The same for half of them.
    #[arg(long, value_name = "TOK/S", allow_negative_numbers = true)]
    speed_p50: Option<f64>,
    /// Time between two steps of a user that give tokens, at most: 95 % of them.
    #[arg(long, value_name = "TIME")]
    itl_p95: Option<Seconds>,
    /// The same for 99 %.
    #[arg(long, value_name = "TIME")]
    itl_p99: Option<Seconds>,
    /// The whole answer, at most: half of all requests.
    #[arg(long, value_name = "TIME")]
    e2e_p50: Option<Seconds>,
    /// The same for 95 %.
    #[arg(long, value_name = "TIME")]
    e2e_p95: Option<Seconds>,
    /// The same for 99 %.
    #[arg(long, value_name = "TIME")]
    e2e_p99: Option<Seconds>,
}

impl LevelFlags {
    fn levels(&self) -> Result<Vec<Level>, Failure> {
        use Metric::{BetweenSteps, FirstToken, Speed, WholeAnswer};
        use Quantile::{P5, P50, P95, P99};
        for (flag, speed) in [("--speed-p5", self.speed_p5), ("--speed-p50", self.speed_p50)] {
            if let Some(speed) = speed.filter(|speed| !(speed.is_finite() && *speed > 0.0)) {
                return Err(wrong(flag, format!("is {speed}"), "a number above 0"));
            }
        }
        let time = |time: Option<Seconds>| time.map(|Seconds(seconds)| seconds);
        let all = [
            (FirstToken, P50, time(self.ttft_p50)),
            (FirstToken, P95, time(self.ttft_p95)),
            (FirstToken, P99, time(self.ttft_p99)),
            (Speed, P5, self.speed_p5),
            (Speed, P50, self.speed_p50),
            (BetweenSteps, P95, time(self.itl_p95)),
            (BetweenSteps, P99, time(self.itl_p99)),
            (WholeAnswer, P50, time(self.e2e_p50)),
            (WholeAnswer, P95, time(self.e2e_p95)),
            (WholeAnswer, P99, time(self.e2e_p99)),
        ];
        Ok(all
            .into_iter()
            .filter_map(|(metric, quantile, bound)| Some(Level { metric, quantile, bound: bound? }))
            .collect())
    }
}

/// What is the same for every combination.
struct Same {
    file: StreamFile,
    source: String,
    levels: Vec<Level>,
    wanted: Wanted,
    seeds: u32,
    availability: f64,
    growth: Option<Growth>,
    economics: Economics,
    /// How often each expert was chosen, where a file says it.
    counted: Option<PathBuf>,
}

/// Sizes the system.
pub fn execute(flags: &SizeFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let levels = flags.levels.levels()?;
    let sweeps_a_level = Level::ALL
        .into_iter()
        .any(|(metric, quantile)| flags.sweep.sweeps(&Level { metric, quantile, bound: 1.0 }.to_string()));
    if levels.is_empty() && !sweeps_a_level {
        return Err(wrong(
            "--ttft-p95",
            "and all other service levels are missing".into(),
            "at least one, for example --ttft-p95 1s or --speed-p5 300",
        ));
    }
    part("--active", flags.active, f64::MIN_POSITIVE, 1.0)?;
    part("--availability", flags.availability, 0.0, 0.999_999_9)?;
    let growth = flags.growth.as_deref().map(growth).transpose()?;
    let economics = flags.economics.economics()?;
    let mapping = match &flags.mapping {
        Some(name) => {
            files::reads_named("--mapping", name)?;
            Some(Mapping::from_name_or_path(name)?)
        }
        None => None,
    };
    let (mut file, source) = asked_file(flags)?;
    let counted = match flags.routing.as_deref().map(Chosen::new).transpose()? {
        Some(Chosen::Named(name)) => {
            file = file.with("--routing", "machine.routing", name)?;
            None
        }
        Some(Chosen::Counted(path)) => {
            files::reads("--routing", &path)?;
            Some(path)
        }
        None => None,
    };
    let same = Same {
        file,
        source,
        levels,
        wanted: Wanted { mapping, search: flags.search.effort() },
        seeds: flags.seeds,
        availability: flags.availability,
        growth: growth.map(|per_month| Growth { per_month, months: flags.months }),
        economics,
        counted,
    };
    if flags.sweep.is_given() {
        return swept(flags, asked, &same, out);
    }
    if flags.store.is_given() {
        return Err(wrong("--store", "keeps the rows of a table".into(), "with --sweep"));
    }
    let mut found = size(&same.load(&[], &mut Read::default())?, &|words| say(words))?;
    found.provenance = signed(found.provenance);
    let head = asked.head();
    let (text, json) = (|| Ok(report::size::text(&found)), || Ok(report::size::json(&found)?));
    let page = |data| {
        let text = head.text(report::size::text(&found));
        let mut document = wafersim::page::size::document(heading("size", &text), data);
        document.sections.push(as_text(text));
        Ok(document)
    };
    out.write(Forms::new("size", &text, &json).asked(&head).document(&page))
}

impl Same {
    /// What a combination asks.
    fn load(&self, swept: &[Swept], read: &mut Read) -> Result<Load, Failure> {
        let (promised, settings): (Vec<Swept>, Vec<Swept>) =
            swept.iter().cloned().partition(|one| Level::is_name(&one.path));
        let mut levels = self.levels.clone();
        for Swept { path, value } in &promised {
            let level = Level::named(path, value)
                .map_err(|why| wrong("--sweep", format!("{path}={value}: {why}"), "levels as their flags take them"))?;
            levels.retain(|level| level.to_string() != *path);
            levels.push(level);
        }
        let (file, Wanted { mapping, search }) = with_swept(&self.file, &self.wanted, &settings)?;
        let (mut scenario, requests) = scenario(file, &self.source, read)?;
        if let Some(path) = &self.counted {
            scenario.machine.counted = counted(path, &scenario.machine)?;
        }
        let Self { seeds, availability, growth, economics, .. } = *self;
        let stop = Stop::default();
        Ok(Load { scenario, requests, levels, mapping, search, seeds, availability, growth, economics, stop })
    }
}

/// Sizes every combination: a table.
fn swept(flags: &SizeFlags, asked: &Asked, same: &Same, out: Out) -> Result<(), Failure> {
    if flags.sweep.sweeps(MAPPING) && flags.mapping.is_some() {
        return Err(wrong("--sweep", "sweeps 'mapping', and --mapping gives one".into(), "one of the two"));
    }
    let combinations = flags.sweep.combinations(Of::Stream)?;
    if combinations.len() > MOST_SIZES {
        let problem = format!("makes {} combinations", whole(combinations.len() as u64));
        return Err(wrong("--sweep", problem, &format!("at most {}", whole(MOST_SIZES as u64))));
    }
    let mut read = Read::default();
    let named =
        |swept: &[Swept], failure: Failure| wrong("--sweep", format!("{}: {failure}", in_words(swept)), "others");
    let mut loads = Vec::with_capacity(combinations.len());
    for swept in &combinations {
        let load = same.load(swept, &mut read)?;
        check(&load).map_err(|error| named(swept, error.into()))?;
        loads.push(load);
    }
    let shard = flags.shard.shard()?;
    let store = flags.store.open(|| in_rows(flags, same, &loads))?;
    let kept = store.part::<SizeRow>(0..loads.len())?;
    let is_wanted = |place: usize| shard.is_none_or(|shard| shard.has(place));
    let progress = Progress::start(kept.missing_of(is_wanted));
    let row = |place: usize, swept: &[Swept], load: &Load| -> Result<SizeRow, Failure> {
        if let Some(known) = kept.known(place) {
            return Ok(known);
        }
        let row = match size(load, &|_| ()) {
            Ok(found) => SizeRow::of(swept, &found),
            // No machine holds it, which is an answer where others do.
            Err(why @ (DecideError::Value { .. } | DecideError::Answer(_))) => SizeRow::without_machine(swept, &why),
            Err(other) => return Err(named(swept, other.into())),
        };
        kept.keep(place, &row)?;
        progress.advance();
        Ok(row)
    };
    let places = combinations.par_iter().zip(&loads).enumerate().filter(|(place, _)| is_wanted(*place));
    let rows: Vec<Result<SizeRow, Failure>> = places.map(|(place, (swept, load))| row(place, swept, load)).collect();
    let rows = rows.into_iter().collect::<Result<Vec<_>, _>>().inspect_err(|_| progress.clear())?;
    progress.finish();
    if let Some(shard) = shard {
        return shard.done(store, rows.len(), loads.len());
    }
    store.close()?;
    let settings = report::size_sweep::settings(&rows);
    let table = report::size_sweep::Table { settings, levels: &same.levels, rows: &rows };
    let head = asked.head();
    let (text, json) = (|| Ok(report::size_sweep::text(&table)), || Ok(report::size_sweep::json(&table)?));
    out.write(Forms::new("size", &text, &json).asked(&head).csv(&|| Ok(report::size_sweep::csv(&table)?)))
}

/// Most combinations: each takes seconds to minutes.
const MOST_SIZES: usize = 10_000;

/// A row for each combination.
fn in_rows(flags: &SizeFlags, same: &Same, loads: &[Load]) -> Result<InRows, Failure> {
    let bounds = |levels: &[Level]| -> Vec<(String, f64)> {
        levels.iter().map(|level| (level.to_string(), level.bound)).collect()
    };
    let mut keys = Vec::with_capacity(loads.len());
    for load in loads {
        let Load { requests, mapping, search, seeds, availability, growth, economics, .. } = load;
        let files = Files { requests: requests.clone(), mapping: mapping.clone(), search: *search, ..Files::default() };
        let prepared = Prepared::new(load.scenario.clone(), files)?;
        let system = prepared.question().wafer.system();
        let inputs =
            (prepared.provenance().input_hash, system, bounds(&load.levels), seeds, availability, growth, economics);
        // How long a window is where nothing is said is in no scenario.
        keys.push(row_key(&(inputs, load.scenario.window, hash::of(&search)), &load.scenario.machine));
    }
    let words = json!({
        "scenario": same.file,
        "levels": bounds(&same.levels),
        "sweep": flags.sweep.texts(),
        "mapping": same.wanted.hash(),
        "search": same.wanted.search,
        "seeds": same.seeds,
        "availability": same.availability,
        "growth": same.growth,
        "economics": same.economics,
    });
    Ok(InRows { command: "size", words, keys })
}

/// What is asked, with what is usual where nothing is said.
fn asked_file(flags: &SizeFlags) -> Result<(StreamFile, String), Failure> {
    let (mut file, source) = match &flags.scenario {
        Some(path) => {
            let source = path.display().to_string();
            let mut file = StreamFile::parse(&read_table_text("SCENARIO.toml", path)?, &source)?;
            find_beside(&mut file, path.parent());
            (file, source)
        }
        None => (StreamFile::parse(AGENTS, "coding agents")?, "command line".to_owned()),
    };
    // Clap asks for no trace beside a flag that excludes one.
    if let (Some(format), None) = (&flags.trace_format, &flags.trace) {
        return Err(wrong("--trace-format", format!("is {format} of no trace"), "with --trace FILE"));
    }
    if let Some(trace) = &flags.trace {
        let format = flags.trace_format.as_deref();
        let format = format.map(|name| file.with("--trace-format", "load.format", name)).transpose()?;
        let (kind, name) = (Some(LoadKind::Trace), Some(trace.display().to_string()));
        let format = format.and_then(|with| with.load.format);
        file.load = LoadFile { kind, file: name, format, ..LoadFile::default() };
    }
    for (flag, path, value) in [
        ("--model", "machine.model", &flags.model),
        ("--wafer", "machine.wafer", &flags.wafer),
        ("--profile", "machine.profile", &flags.profile),
        ("--weights", "machine.precision.weights", &flags.weights),
        ("--kv", "machine.precision.kv_cache", &flags.kv),
        ("--rate", "load.rate", &flags.rate),
        ("--plan", "service.plan", &flags.plan),
    ] {
        if let Some(value) = value {
            file = file.with(flag, path, value)?;
        }
    }
    if let Some(wafers) = &flags.wafers {
        let quoted = if wafers.parse::<u32>().is_ok() { wafers.clone() } else { format!("'{wafers}'") };
        file = file.with("--wafers", "machine.wafers", &quoted)?;
    }
    if flags.rate.is_some() && file.load.kind.is_none_or(|kind| kind != LoadKind::Open) {
        return Err(wrong(
            "--rate",
            "says something of a load of kind open".into(),
            "a scenario with load.kind = 'open'",
        ));
    }
    if let Some(users) = &flags.users {
        file = file.with("--users", "load.users", &active(users, flags.active)?)?;
    }
    if let Some(context) = &flags.context {
        file = with_context(file, &without_suffix(context), flags)?;
    }
    for set in &flags.sets {
        let (path, value) = set.split_once('=').ok_or_else(|| {
            wrong("--set", format!("'{set}' has no '='"), "path=value, for example --set load.common=65536")
        })?;
        file = file.with("--set", path.trim(), value.trim())?;
    }
    // An account each where nothing is said: plans for coding are sold to persons.
    let own = flags.plan.is_some() && file.clients.organisations.is_none() && file.load.users.is_some();
    if let Some(of_one) = flags.organisation.as_deref().or(own.then_some("1")) {
        file = organisations(file, of_one)?;
    }
    Ok((file, source))
}

/// The scenario, with its trace where the load is one.
fn scenario(
    mut file: StreamFile,
    source: &str,
    read: &mut Read,
) -> Result<(StreamScenario, Option<Arc<Trace>>), Failure> {
    let window = file.run.window;
    let mut scenario = checked(file.clone(), source)?;
    files::reads_named("machine.model", &scenario.machine.model)?;
    files::reads_named("machine.wafer", &scenario.machine.wafer)?;
    let requests = match &scenario.load {
        LoadScenario::Trace(load) => Some(read.requests(load)?),
        _ => None,
    };
    if let Some(trace) = requests.as_ref().filter(|_| file.machine.context.is_none()) {
        // As long as its longest request, where the model goes so far; others are refused, which is said.
        let longest = trace.requests().map(|request| u64::from(request.prompt) + u64::from(request.output)).max();
        let most = Model::from_name_or_path(&scenario.machine.model)?.max_positions;
        file.machine.context = longest.map(|longest| (longest.div_ceil(1024) * 1024).clamp(1, most.max(1)));
        scenario = checked(file, source)?;
    }
    // Windows are as long as users are few, where nothing is said.
    scenario.window = window;
    Ok((scenario, requests))
}

/// So many users share an account.
fn organisations(mut file: StreamFile, of_one: &str) -> Result<StreamFile, Failure> {
    let count = without_suffix(of_one).parse::<u32>().ok().filter(|count| (1..=1_000_000).contains(count));
    let count =
        count.ok_or_else(|| wrong("--organisation", format!("is '{of_one}'"), "a whole number from 1 to 1000000"))?;
    let has_plan = file.service.plan.is_some() || !file.clients.is_empty();
    let users = file.load.users.filter(|_| has_plan).ok_or_else(|| {
        wrong("--organisation", format!("is {count}"), "with --plan, and a load with a number of users")
    })?;
    file.clients.organisations = Some(users.div_ceil(count));
    Ok(file)
}

/// Users who work at the same time.
fn active(users: &str, part: f64) -> Result<String, Failure> {
    let users: u32 = without_suffix(users)
        .parse()
        .ok()
        .filter(|users| (1..=1_000_000).contains(users))
        .ok_or_else(|| wrong("--users", format!("is '{users}'"), "a whole number from 1 to 1000000"))?;
    Ok(((f64::from(users) * part).ceil() as u64).to_string())
}

/// Sessions or prompts of so many tokens, and a machine that holds them.
fn with_context(mut file: StreamFile, tokens: &str, flags: &SizeFlags) -> Result<StreamFile, Failure> {
    let median: u32 = tokens.parse().ok().filter(|tokens| (1..=16_777_216).contains(tokens)).ok_or_else(|| {
        wrong("--context", format!("is '{tokens}'"), "a whole number from 1 to 16777216; 100k is 102400")
    })?;
    let is_set = flags.sets.iter().any(|set| set.starts_with("machine.context"));
    if file.load.kind == Some(LoadKind::Trace) {
        return Err(wrong("--context", "is what a trace says".into(), "another kind of load"));
    }
    let context = file.machine.context;
    with_usual_context(&mut file, median)?;
    if is_set {
        file.machine.context = context;
    }
    Ok(file)
}

fn growth(text: &str) -> Result<f64, Failure> {
    let parsed = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.trim().parse(),
    };
    let growth = parsed.map_err(|_| wrong("--growth", format!("is '{text}'"), "a part or per cent, for example 5%"))?;
    part("--growth", growth, -0.5, 10.0).map(|()| growth)
}

fn part(flag: &str, value: f64, least: f64, most: f64) -> Result<(), Failure> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(flag, format!("is {value}"), &format!("a number from {least:.1} to {most}")))
}

fn wrong(flag: &str, problem: String, allowed: &str) -> Failure {
    Failure::Flag { flag: flag.into(), problem, allowed: allowed.into() }
}
