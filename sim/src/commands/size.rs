//! `simctl size`: how many machines a load needs, so that its users see what was promised.

use std::path::PathBuf;

use clap::Args;
use wafersim::decide::size::levels::{Level, Metric, Quantile, Seconds};
use wafersim::decide::size::usual::{AGENTS, with_context as with_usual_context};
use wafersim::decide::size::{Asked as Load, Growth, size};
use wafersim::mapping::Mapping;
use wafersim::report;
use wafersim::spec::scenario::without_suffix;
use wafersim::stream::scenario::{LoadKind, StreamFile, StreamScenario};

use crate::asked::{Asked, signed};
use crate::choice;
use crate::commands::stream::{checked, find_beside};
use crate::economics_flags::EconomicsFlags;
use crate::failure::Failure;
use crate::files;
use crate::input::read_table_text;
use crate::layers::{Chosen, counted};
use crate::mapping_flags::SearchFlag;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::output::say;

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
    /// How tokens choose experts: `uniform`, `skewed`, or a file that says how often each expert was chosen (counts or a
    /// trace, in any form that `simctl routing inspect` reads).
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

/// Sizes the system.
pub fn execute(flags: &SizeFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let levels = flags.levels.levels()?;
    if levels.is_empty() {
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
    let load = Load {
        scenario: scenario(flags)?,
        levels,
        mapping,
        search: flags.search.effort(),
        seeds: flags.seeds,
        availability: flags.availability,
        growth: growth.map(|per_month| Growth { per_month, months: flags.months }),
        economics,
    };
    let mut found = size(&load, &|words| say(words))?;
    found.provenance = signed(found.provenance);
    let head = asked.head();
    let (text, json) = (|| Ok(report::size::text(&found)), || Ok(report::size::json(&found)?));
    out.write(Forms::new("size", &text, &json).asked(&head))
}

/// What is asked, with what is usual where nothing is said.
fn scenario(flags: &SizeFlags) -> Result<StreamScenario, Failure> {
    let (mut file, source) = match &flags.scenario {
        Some(path) => {
            let source = path.display().to_string();
            let mut file = StreamFile::parse(&read_table_text("SCENARIO.toml", path)?, &source)?;
            find_beside(&mut file, path.parent());
            (file, source)
        }
        None => (StreamFile::parse(AGENTS, "coding agents")?, "command line".to_owned()),
    };
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
    let routing = flags.routing.as_deref().map(Chosen::new).transpose()?;
    if let Some(Chosen::Named(name)) = &routing {
        file = file.with("--routing", "machine.routing", name)?;
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
    let window = file.run.window;
    let mut checked = checked(file, &source)?;
    // Windows are as long as users are few, where nothing is said.
    checked.window = window;
    files::reads_named("machine.model", &checked.machine.model)?;
    files::reads_named("machine.wafer", &checked.machine.wafer)?;
    if let Some(Chosen::Counted(file)) = &routing {
        files::reads("--routing", file)?;
        checked.machine.counted = counted(file, &checked.machine)?;
    }
    Ok(checked)
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
