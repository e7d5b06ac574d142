//! `simctl serve`: an endpoint of the OpenAI form that answers at the simulated machine's speed.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use wafersim::report::number::{figure, plural, whole};
use wafersim::stream::run::MachineSummary;
use wafersim::stream::scenario::StreamFile;
use wafersim::stream::service::ServicePlan;
use wafersim_serve::answers::Answers;
use wafersim_serve::keys::Keys;
use wafersim_serve::machine::{MachineThread, Record, Setup};
use wafersim_serve::metrics::Metrics;
use wafersim_serve::record::Recorded;
use wafersim_serve::server::{Limits, Site, serve};
use wafersim_serve::upstream::{Secret, Upstream};
use wafersim_serve::{ErrorShape, ServeError};

use crate::commands::stream::{Read, checked, find_beside, is_plan_file, prepared, setting, wrong};
use crate::failure::Failure;
use crate::files;
use crate::input::read_table_text;
use crate::mapping_flags::MappingFlags;
use crate::output::say;

/// The scenario where none is given.
const USUAL: (&str, &str) = ("coding-agents.toml", include_str!("../../scenarios/stream/coding-agents.toml"));
/// Most tokens of a request where nothing is said.
const USUAL_CONTEXT: u64 = 131_072;

/// Shapes of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Fields in an object `error`.
    Openai,
    /// Fields on top.
    Cerebras,
}

/// Services whose refusals are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Strict {
    /// Unknown fields and models are refused.
    Cerebras,
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeFlags {
    /// Scenario of a stream, of which the tables machine, service and routing count [default: coding-agents.toml].
    #[arg(value_name = "SCENARIO.toml")]
    scenario: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:18080")]
    listen: String,
    /// Simulated seconds in a second.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    speed: f64,
    /// Quotas: a built-in plan (none, coding, coding-glm, free, free-coder, free-glm, free-gpt-oss, developer, developer-glm,
    /// developer-gpt-oss) or a TOML file.
    #[arg(long, value_name = "NAME|FILE", default_value = "none")]
    plan: String,
    /// What is said: a TOML file with `answer` tables (see docs/src/serve.md).
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Answers of this endpoint, a URL up to /v1, are passed through with the machine's timing; of builds with the feature
    /// https also one with https://.
    #[arg(long, value_name = "URL", conflicts_with = "script")]
    upstream: Option<String>,
    /// Environment variable that holds the upstream's key; the key itself is never shown.
    #[arg(long, value_name = "NAME", requires = "upstream")]
    upstream_key_env: Option<String>,
    /// File with certificates (PEM) whose word counts for an https:// upstream beside that of Mozilla's roots: an own CA's.
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_ca: Option<PathBuf>,
    /// Model that the upstream is asked for [default: the one that the client names].
    #[arg(long, value_name = "NAME", requires = "upstream")]
    upstream_model: Option<String>,
    /// Seconds that the upstream has for an answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "upstream", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    upstream_timeout: u64,
    /// Tokens of an answer where no script says anything else.
    #[arg(long, value_name = "TOKENS", default_value_t = 214, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    answer: u32,
    /// Most tokens of a request, prompt and answer [default: the plan's, else 131072, else the machine's].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    context: Option<u32>,
    /// Bytes of a prompt that count as a token.
    #[arg(long, value_name = "BYTES", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    bytes_per_token: u32,
    /// File with the keys that may ask, one a line: KEY, or KEY ORGANISATION; without it everybody may.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// How errors look.
    #[arg(long, value_enum, default_value_t = Shape::Openai)]
    error_shape: Shape,
    /// Refuses what this service refuses.
    #[arg(long, value_enum)]
    strict: Option<Strict>,
    /// File for the requests that are let in, as a Mooncake trace, which `simctl stream` reads; written as they come.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Most open connections.
    #[arg(long, value_name = "COUNT", default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// Seconds that those who are served have when the server ends; what is cut then ends as if it were too long.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3600))]
    grace: u64,
    /// Sets anything of the scenario, for example `machine.wafers=24`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    mapping: MappingFlags,
}

/// Serves until SIGINT or SIGTERM.
pub fn execute(flags: &ServeFlags) -> Result<(), Failure> {
    if !(flags.speed >= 1e-3 && flags.speed <= 1e4) {
        return Err(wrong("--speed", format!("is {}", flags.speed), "a number from 0.001 to 10000".into()));
    }
    let is_local = local(&flags.listen)?;
    let plan = plan(&flags.plan)?;
    let answers = match &flags.script {
        None => Answers::canned(flags.answer),
        Some(file) => {
            Answers::scripted(flags.answer, &read_table_text("--script", file)?, &file.display().to_string())?
        }
    };
    let upstream = upstream(flags)?;
    let keys = flags.keys.as_deref().map(keys).transpose()?.unwrap_or_default();
    let record = flags.record.as_deref().map(open_record).transpose()?;
    let (source, text, folder) = match &flags.scenario {
        None => (USUAL.0.to_owned(), USUAL.1.to_owned(), None),
        Some(file) => (file.display().to_string(), read_table_text("SCENARIO.toml", file)?, file.parent()),
    };
    let mut file = StreamFile::parse(&text, &source)?;
    if let Some(plan) = file.service.plan.take() {
        say(&format!("note: service.plan = '{plan}' of the scenario does not count here; --plan does"));
    }
    // Who asks, and for how long, is up to the clients.
    (file.load, file.run.warm_up, file.run.window, file.run.requests) = (Default::default(), None, None, None);
    find_beside(&mut file, folder);
    for set in &flags.sets {
        let (path, value) = setting("--set", set)?;
        file = file.with("--set", path, value)?;
    }
    // The usual load of one prompt must fit whatever context the machine has.
    (file.load.prompt, file.load.output) = (Some(one_token()), Some(one_token()));
    let server = prepared(checked(file, &source)?, flags.mapping.wanted()?, &mut Read::default())?.place()?;
    let machine = server.summary();
    let longest = server.longest();
    let usual = plan.context.unwrap_or(u32::try_from(USUAL_CONTEXT).unwrap_or(u32::MAX)).min(longest);
    let context = flags.context.unwrap_or(usual);
    if context > longest {
        let allowed = format!("at most {longest}, the machine's context (--set machine.context={context})");
        return Err(wrong("--context", format!("is {context}"), allowed));
    }
    let metrics = Arc::new(Metrics::new(&machine.model));
    let name = plan.name.clone();
    let longest_answer = plan.answer.unwrap_or(u32::MAX);
    let setup = Setup {
        server,
        plan: Arc::new(plan),
        organisations: keys.organisations(),
        speed: flags.speed,
        metrics: Arc::clone(&metrics),
        record,
    };
    let site = Site {
        model: machine.model.clone(),
        machine: MachineThread::start(setup).map_err(|error| ServeError::Threads(error.to_string()))?,
        metrics,
        answers,
        upstream,
        keys,
        errors: match flags.error_shape {
            Shape::Openai => ErrorShape::OpenAi,
            Shape::Cerebras => ErrorShape::Cerebras,
        },
        strict: flags.strict.is_some(),
        context,
        longest_answer,
        bytes_per_token: flags.bytes_per_token,
        speed: flags.speed,
        limits: Limits {
            connections: flags.connections as usize,
            grace: Duration::from_secs(flags.grace),
            ..Limits::default()
        },
    };
    if !is_local {
        say("note: this address can be reached from other machines");
    }
    if let Some(upstream) = &site.upstream {
        say(&format!("answers are passed through from {}; what they take is the machine's", upstream.authority()));
    }
    serve(site, &flags.listen, |address| {
        describe(&machine, flags.speed, &name, context);
        say(&format!("listening on http://{address}/v1 (and a page at http://{address}/); Ctrl-C ends it"));
    })?;
    say("stopped");
    Ok(())
}

/// The endpoint whose answers are passed through.
fn upstream(flags: &ServeFlags) -> Result<Option<Upstream>, Failure> {
    let Some(url) = &flags.upstream else { return Ok(None) };
    let key = flags.upstream_key_env.as_deref().map(key_of).transpose()?;
    let patience = Duration::from_secs(flags.upstream_timeout);
    let upstream = Upstream::new(url, key, flags.upstream_model.clone(), patience)?;
    Ok(Some(match &flags.upstream_ca {
        None => upstream,
        Some(file) => {
            let pem = read_table_text("--upstream-ca", file)?;
            upstream.trusting(pem.as_bytes(), &file.display().to_string())?
        }
    }))
}

/// The key in an environment variable.
fn key_of(name: &str) -> Result<Secret, Failure> {
    let allowed = || "the name of an environment variable that holds a key".to_owned();
    let key = std::env::var(name).ok().filter(|key| !key.trim().is_empty());
    let key = key.ok_or_else(|| wrong("--upstream-key-env", format!("'{name}' is not set, or empty"), allowed()))?;
    Secret::bearer(&key)
        .ok_or_else(|| wrong("--upstream-key-env", format!("what '{name}' holds cannot stand in a header"), allowed()))
}

fn describe(machine: &MachineSummary, speed: f64, plan: &str, context: u32) {
    let tokens = 1.0 / machine.closed_form_per_token;
    say(&format!(
        "{} on {}, profile {}: {} tok/s for one user at {} tokens, {} tok/s as clients see it at --speed {speed}",
        machine.model,
        plural(u64::from(machine.wafers), "wafer"),
        machine.profile,
        figure(tokens),
        whole(machine.longest),
        figure(tokens * speed),
    ));
    say(&format!("plan {plan}; requests of up to {} tokens", whole(u64::from(context))));
}

/// Whether an address is of this machine alone.
fn local(address: &str) -> Result<bool, Failure> {
    let allowed = "an address and a port, for example 127.0.0.1:18080";
    let mut found = address
        .to_socket_addrs()
        .map_err(|error| wrong("--listen", format!("'{address}': {error}"), allowed.into()))?;
    Ok(found.all(|address| match address.ip() {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback(),
    }))
}

fn plan(name: &str) -> Result<ServicePlan, Failure> {
    if is_plan_file(name) {
        return Ok(ServicePlan::parse(&read_table_text("--plan", Path::new(name))?, name)?);
    }
    Ok(ServicePlan::built_in(name)?)
}

fn keys(file: &Path) -> Result<Keys, Failure> {
    let text = read_table_text("--keys", file)?;
    Keys::parse(&text)
        .map_err(|(line, problem, allowed)| wrong("--keys", format!("{}:{line}: {problem}", file.display()), allowed))
}

/// Requests are written as they come: a session has no end that would be known before.
fn open_record(file: &Path) -> Result<Record, Failure> {
    files::writes("--record", file)?;
    let mut opened = File::create(file).map_err(|error| Failure::OutFile {
        flag: "--record",
        file: file.display().to_string(),
        reason: error.to_string(),
    })?;
    let name = file.display().to_string();
    let mut is_broken = false;
    Ok(Box::new(move |recorded: &Recorded| {
        if !is_broken && let Err(error) = writeln!(opened, "{}", recorded.line()) {
            is_broken = true;
            say(&format!("--record: {name}: could not be written: {error}; nothing more is recorded"));
        }
    }))
}

const fn one_token() -> wafersim::stream::scenario::LengthFile {
    wafersim::stream::scenario::LengthFile { median: 1, spread: 0.0 }
}
