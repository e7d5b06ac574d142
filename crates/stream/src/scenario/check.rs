//! From what a user wrote to what is run: defaults filled in, every value in its range, nothing given that does not
//! count.

mod agents;

use wafersim_requests::Settings;
use wafersim_spec::{Scenario, SpecError};

use super::{
    AdmissionKind, ClientsFile, ExpertKind, LengthFile, LoadFile, LoadKind, PolicyKind, RoutingFile, StreamFile,
    WorkKind,
};
use crate::balancer::{BalancerKind, Outage};
use crate::clients::{ClientProfile, ClientSettings, Delivery, HOST, NETWORK, Overflow};
use crate::closed_form::PromptRule;
use crate::engine::LONGEST_RUN;
use crate::error::StreamError;
use crate::load::sessions::{APPEND_SPREAD, COMMON, LONGEST_TOOL, OUTPUT_SPREAD, PREFIX_SPREAD, SHORTEST_TOOL, THINK};
use crate::load::{ClosedSettings, Lengths, OpenSettings, SessionSettings, TaskSettings};
use crate::service::ServicePlan;

/// A checked scenario.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StreamScenario {
    /// The machine, and the longest request.
    pub machine: Scenario,
    /// Who goes next.
    pub policy: PolicyKind,
    /// Tokens of a round of the policy chunked.
    pub budget: u32,
    /// Users of a decoding pass at most; nothing is what is fastest.
    pub micro_batch: Option<u64>,
    /// Tokens of a chunk at most; nothing is what is fastest.
    pub chunk: Option<u32>,
    /// By what the way of a prompt is chosen.
    pub prompts: PromptRule,
    /// Whether prompts are computed.
    pub prefill: bool,
    /// How room is given.
    pub admission: AdmissionKind,
    /// Whether equal prefixes are kept.
    pub prefix_cache: bool,
    /// Memory of the host, in GB.
    pub host_memory_gb: f64,
    /// Bandwidth from it, in GB/s; nothing is the wafer's link.
    pub host_bandwidth: Option<f64>,
    /// Which experts tokens want.
    pub experts: ExpertKind,
    /// Where those experts come from.
    pub routing: RoutingScenario,
    /// Machines behind a balancer, where there are several, or one is away for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaScenario>,
    /// Who asks.
    pub load: LoadScenario,
    /// Clients and the service that they ask, where there is one between the load and the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientSettings>,
    /// Seconds before the window.
    pub warm_up: f64,
    /// Seconds of the window; nothing is as long as there is something to do.
    pub window: Option<f64>,
    /// Requests after which the run ends.
    pub requests: Option<u64>,
    /// Seed.
    pub seed: u64,
}

/// Where the experts come from that tokens want, where they are drawn.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingScenario {
    /// The popularity of the machine's routing model.
    Popularity,
    /// The generator of synthetic traces.
    Generator(GeneratorScenario),
    /// A recorded trace.
    Trace {
        /// Its file.
        file: String,
    },
}

/// What is asked of the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct GeneratorScenario {
    /// What users work on.
    pub work: WorkKind,
    /// Kinds of work with different hot experts.
    pub kinds_of_work: u32,
}

/// Machines behind a balancer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ReplicaScenario {
    /// How many.
    pub count: u32,
    /// Which of them a request goes to.
    pub balancer: BalancerKind,
    /// When one of them is away.
    pub outages: Vec<Outage>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadScenario {
    /// Users who wait for their answers.
    Closed(ClosedSettings),
    /// Requests at a rate.
    Open(OpenSettings),
    /// Coding agents.
    Sessions(SessionSettings),
    /// Coding agents with tasks.
    Tasks(TaskSettings),
    /// A recorded trace.
    Trace(TraceScenario),
}

/// A recorded trace.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TraceScenario {
    /// Its file.
    pub file: String,
    /// How it is read.
    #[serde(flatten)]
    pub reading: Settings,
    /// How many times as fast as recorded.
    pub speed: f64,
    /// Most requests.
    pub requests: Option<u64>,
    /// The part of its sessions that comes, drawn by the seed of the run: a machine's, where several share the trace.
    /// A larger part has all of a smaller one.
    #[serde(skip_serializing_if = "is_whole")]
    pub part: f64,
}

/// Whether it is all of a trace.
fn is_whole(part: &f64) -> bool {
    *part >= 1.0
}

const MOST_REPLICAS: u64 = 256;
const MOST_KINDS: u64 = 1024;
const MOST_USERS: u64 = 1_000_000;
const MOST_TOKENS: u64 = 16_777_216;
const MOST_REQUESTS: u64 = 1_000_000_000_000;
const SECONDS: (f64, f64) = (0.0, 1e6);
/// Seconds of a window where nothing is said.
const USUAL_WINDOW: f64 = 60.0;

/// Checks of single values.
struct Checks<'a> {
    file: &'a str,
}

impl Checks<'_> {
    fn refuse(&self, field: &str, problem: String, allowed: String) -> StreamError {
        StreamError::Setting { file: self.file.into(), field: field.into(), problem, allowed }
    }

    /// What is wrong with a name, as the setting that gives it.
    fn of_setting(&self, field: &str, error: StreamError) -> StreamError {
        match error {
            StreamError::Setting { problem, allowed, .. } => self.refuse(field, problem, allowed),
            other => other,
        }
    }

    fn whole(&self, field: &str, value: u64, least: u64, most: u64) -> Result<u64, StreamError> {
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(self.refuse(field, format!("is {value}"), format!("a whole number from {least} to {most}")))
    }

    /// The same in 32 bits; `most` fits them.
    fn narrow(&self, field: &str, value: u32, least: u64, most: u64) -> Result<u32, StreamError> {
        self.whole(field, u64::from(value), least, most.min(u64::from(u32::MAX))).map(|_| value)
    }

    fn real(&self, field: &str, value: f64, (least, most): (f64, f64)) -> Result<f64, StreamError> {
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        Err(self.refuse(field, format!("is {value}"), format!("a number from {least} to {most}")))
    }

    fn lengths(&self, field: &str, value: LengthFile, longest: u32) -> Result<Lengths, StreamError> {
        let median = self.narrow(&format!("{field}.median"), value.median, 1, MOST_TOKENS)?;
        let spread = self.real(&format!("{field}.spread"), value.spread, (0.0, 5.0))?;
        Ok(Lengths { median, spread, longest: if spread > 0.0 { longest } else { median } })
    }
}

const fn length(median: u32, spread: f64) -> LengthFile {
    LengthFile { median, spread }
}

impl StreamFile {
    /// The scenario with defaults where nothing is given. `file` is its name in messages.
    ///
    /// # Errors
    /// Where a value is outside its range, or does not go with the kind of load.
    pub fn check(self, file: &str) -> Result<StreamScenario, StreamError> {
        let checks = Checks { file };
        let machine = self.machine.check(file).map_err(in_machine)?;
        let (mut service, run) = (self.service, self.run);
        let seed = run.seed.unwrap_or(1);
        let clients = clients(&checks, service.plan.take(), self.plan_text.as_deref(), self.clients, seed)?;
        let policy = service.policy.unwrap_or(PolicyKind::Chunked);
        let prefix_cache = service.prefix_cache.unwrap_or(false);
        let host_memory_gb =
            checks.real("service.host_memory_gb", service.host_memory_gb.unwrap_or(0.0), (0.0, 1e6))?;
        if host_memory_gb > 0.0 && !prefix_cache {
            let allowed = "only with prefix_cache = true".to_owned();
            return Err(checks.refuse("service.host_memory_gb", format!("is {host_memory_gb}"), allowed));
        }
        if !machine.prefill.is_same() && service.prefill == Some(false) {
            let problem = format!("is false, but machine.prefill.where is \"{}\"", machine.prefill.place);
            let allowed = "nothing, or true: with false no prompts are computed at all".to_owned();
            return Err(checks.refuse("service.prefill", problem, allowed));
        }
        let (experts, routing) = experts(&checks, service.experts, self.routing)?;
        let longest = u32::try_from(machine.context).unwrap_or(u32::MAX);
        let allowed = clients.as_ref().and_then(|clients| clients.plan.context).unwrap_or(u32::MAX);
        let load = load(&checks, self.load, longest.min(allowed), seed)?;
        let is_trace = matches!(load, LoadScenario::Trace(_));
        let optional =
            |field, value: Option<f64>, range| value.map(|value| checks.real(field, value, range)).transpose();
        let window = optional("run.window", run.window, (1e-6, 1e6))?;
        Ok(StreamScenario {
            policy,
            budget: checks.narrow("service.budget", service.budget.unwrap_or(512), 1, MOST_TOKENS)?,
            micro_batch: service
                .micro_batch
                .map(|size| checks.whole("service.micro_batch", size, 1, machine.users))
                .transpose()?,
            chunk: service.chunk.map(|size| checks.narrow("service.chunk", size, 1, MOST_TOKENS)).transpose()?,
            prompts: service.prompts.unwrap_or_default(),
            prefill: service.prefill.unwrap_or(true),
            admission: service.admission.unwrap_or(AdmissionKind::Whole),
            prefix_cache,
            host_memory_gb,
            host_bandwidth: optional("service.host_bandwidth", service.host_bandwidth, (0.001, 1e6))?,
            experts,
            routing,
            replicas: replicas(&checks, service.replicas, service.balancer, service.outages)?,
            load,
            clients,
            warm_up: checks.real("run.warm_up", run.warm_up.unwrap_or(0.0), SECONDS)?,
            window: window.or(if is_trace { None } else { Some(USUAL_WINDOW) }),
            requests: run.requests.map(|most| checks.whole("run.requests", most, 1, MOST_REQUESTS)).transpose()?,
            seed,
            machine,
        })
    }
}

impl StreamScenario {
    /// Seconds of the window, as long as a run may be where nothing is said.
    pub fn window_seconds(&self) -> f64 {
        self.window.unwrap_or(LONGEST_RUN.seconds())
    }
}

/// Clients, where anything is said of them or of a plan.
fn clients(
    checks: &Checks<'_>,
    plan: Option<String>,
    text: Option<&str>,
    file: ClientsFile,
    seed: u64,
) -> Result<Option<ClientSettings>, StreamError> {
    if plan.is_none() && file.is_empty() {
        return Ok(None);
    }
    let name = plan.unwrap_or_else(|| "none".into());
    let plan = match text {
        Some(text) => ServicePlan::parse(text, &name)?,
        None => ServicePlan::built_in(&name).map_err(|error| checks.of_setting("service.plan", error))?,
    };
    let preset = ClientProfile::preset(file.profile.as_deref().unwrap_or("openai-sdk"));
    let mut profile = preset.map_err(|error| checks.of_setting("clients.profile", error))?;
    profile.overflow = overflow(checks, &file, profile.overflow)?;
    if let Some(layers) = file.layers {
        for (place, layer) in layers.iter().enumerate() {
            let field = |name: &str| format!("clients.layers[{place}].backoff.{name}");
            checks.real(&field("base"), layer.backoff.base, (0.0, 1e6))?;
            checks.real(&field("factor"), layer.backoff.factor, (1.0, 1e3))?;
            checks.real(&field("cap"), layer.backoff.cap, (0.0, 1e6))?;
            let [low, high] = layer.backoff.jitter;
            checks.real(&field("jitter"), low, (0.0, high.clamp(0.0, 100.0)))?;
            checks.real(&field("jitter"), high, (0.0, 100.0))?;
        }
        profile = ClientProfile { name: "own layers".into(), layers, ..profile };
    }
    let most = file.max_tokens.map(|most| checks.narrow("clients.max_tokens", most, 1, MOST_TOKENS)).transpose()?;
    profile.max_tokens = most.or(profile.max_tokens);
    let seconds = |field: &str, value: Option<f64>, usual: f64| checks.real(field, value.unwrap_or(usual), (0.0, 1e3));
    let patience = file.patience.map(|patience| checks.real("clients.patience", patience, (0.0, 1e6))).transpose()?;
    Ok(Some(ClientSettings {
        plan,
        profile,
        organisations: checks.narrow("clients.organisations", file.organisations.unwrap_or(1), 1, MOST_USERS)?,
        network: seconds("clients.network", file.network, NETWORK)?,
        host: seconds("clients.host", file.host, HOST)?,
        delivery: Delivery {
            handshakes: checks.real("clients.handshakes", file.handshakes.unwrap_or(0.0), (0.0, 10.0))?,
            chunk: checks.narrow("clients.chunk", file.chunk.unwrap_or(1), 1, MOST_TOKENS)?,
            streams: file.stream.unwrap_or(true),
        },
        patience,
        deadline: file.deadline.map(|most| checks.real("clients.deadline", most, (1e-3, 1e6))).transpose()?,
        seed,
    }))
}

/// What clients make of a refused quota of tokens, on top of what the preset does.
fn overflow(
    checks: &Checks<'_>,
    file: &ClientsFile,
    preset: Option<Overflow>,
) -> Result<Option<Overflow>, StreamError> {
    let usual = match file.overflow {
        Some(true) => Some(preset.unwrap_or_default()),
        Some(false) => None,
        None => preset,
    };
    let Some(usual) = usual else {
        let said = file.summary.map(|_| "clients.summary").or(file.again.map(|_| "clients.again"));
        let problem = || "is set, but these clients wait for a refused quota, and nobody asks again".into();
        return said
            .map_or(Ok(None), |field| Err(checks.refuse(field, problem(), "with clients.overflow = true".into())));
    };
    let summary = checks.narrow("clients.summary", file.summary.unwrap_or(usual.summary), 1, MOST_TOKENS)?;
    let again = checks.real("clients.again", file.again.unwrap_or(usual.again), (0.0, 1e6))?;
    Ok(Some(Overflow { summary, again }))
}

/// Machines behind a balancer, where anything is said of them.
fn replicas(
    checks: &Checks<'_>,
    count: Option<u32>,
    balancer: Option<BalancerKind>,
    outages: Option<Vec<Outage>>,
) -> Result<Option<ReplicaScenario>, StreamError> {
    if count.is_none_or(|count| count == 1) && balancer.is_none() && outages.as_ref().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let count = checks.narrow("service.replicas", count.unwrap_or(1), 1, MOST_REPLICAS)?;
    let outages = outages.unwrap_or_default();
    let mut until = vec![0.0f64; count as usize];
    for (place, outage) in outages.iter().enumerate() {
        let field = |name: &str| format!("service.outages[{place}].{name}");
        let last = u64::from(count) - 1;
        checks.narrow(&field("replica"), outage.replica, 0, last)?;
        let before = until.get(outage.replica as usize).copied().unwrap_or(0.0);
        checks.real(&field("from"), outage.from, (before, 1e7))?;
        checks.real(&field("to"), outage.to, (outage.from, 1e7))?;
        if let Some(until) = until.get_mut(outage.replica as usize) {
            *until = outage.to;
        }
    }
    Ok(Some(ReplicaScenario { count, balancer: balancer.unwrap_or_default(), outages }))
}

/// Where experts come from: whoever says from where wants them drawn.
fn experts(
    checks: &Checks<'_>,
    asked: Option<ExpertKind>,
    file: RoutingFile,
) -> Result<(ExpertKind, RoutingScenario), StreamError> {
    let generator = file.generator.unwrap_or(false);
    if !generator {
        for (field, is_given) in [("work", file.work.is_some()), ("kinds_of_work", file.kinds_of_work.is_some())] {
            if is_given {
                let problem = "says something of the generator".to_owned();
                return Err(checks.refuse(&format!("routing.{field}"), problem, "with generator = true".into()));
            }
        }
    }
    let (field, routing) = match (file.trace, generator) {
        (Some(file), true) => {
            let problem = format!("is '{file}', and routing.generator is true");
            return Err(checks.refuse("routing.trace", problem, "one of the two".into()));
        }
        (None, false) => return Ok((asked.unwrap_or(ExpertKind::Expected), RoutingScenario::Popularity)),
        (Some(file), false) => ("routing.trace", RoutingScenario::Trace { file }),
        (None, true) => {
            let kinds = checks.narrow("routing.kinds_of_work", file.kinds_of_work.unwrap_or(1), 1, MOST_KINDS)?;
            let wanted = GeneratorScenario { work: file.work.unwrap_or_default(), kinds_of_work: kinds };
            ("routing.generator", RoutingScenario::Generator(wanted))
        }
    };
    if asked == Some(ExpertKind::Expected) {
        let problem = "is given, and service.experts is expected".to_owned();
        return Err(checks.refuse(field, problem, "with service.experts = sampled".into()));
    }
    Ok((ExpertKind::Sampled, routing))
}

fn load(checks: &Checks<'_>, file: LoadFile, longest: u32, seed: u64) -> Result<LoadScenario, StreamError> {
    let kind = file.kind.unwrap_or(LoadKind::Closed);
    refuse_strangers(checks, &file, kind)?;
    let requests = file.requests.map(|most| checks.whole("load.requests", most, 1, MOST_REQUESTS)).transpose()?;
    let lengths =
        |field: &str, value: Option<LengthFile>, usual| checks.lengths(field, value.unwrap_or(usual), longest);
    let think = |usual| checks.real("load.think", file.think.unwrap_or(usual), SECONDS);
    let users = || checks.narrow("load.users", file.users.unwrap_or(1), 1, MOST_USERS);
    let day = agents::day(checks, file.day.clone(), file.starts)?;
    let loaded = match kind {
        LoadKind::Closed => LoadScenario::Closed(ClosedSettings {
            users: users()?,
            think: think(0.0)?,
            prompt: lengths("load.prompt", file.prompt, length(1024, 0.0))?,
            output: lengths("load.output", file.output, length(256, 0.0))?,
            requests,
            day,
        }),
        LoadKind::Open => LoadScenario::Open(OpenSettings {
            rate: checks.real("load.rate", file.rate.unwrap_or(1.0), (1e-6, 1e6))?,
            variation: checks.real("load.variation", file.variation.unwrap_or(1.0), (0.0, 100.0))?,
            prompt: lengths("load.prompt", file.prompt, length(1024, 0.0))?,
            output: lengths("load.output", file.output, length(256, 0.0))?,
            requests,
            day,
        }),
        LoadKind::Sessions => {
            let most = checks.narrow("load.longest", file.longest.unwrap_or(longest), 2, u64::from(longest.max(2)))?;
            LoadScenario::Sessions(SessionSettings {
                agents: users()?,
                prefix: lengths(
                    "load.prefix",
                    file.prefix,
                    length(118_656.min(longest / 2).max(1), PREFIX_SPREAD.value),
                )?,
                common: checks.narrow("load.common", file.common.unwrap_or(COMMON.value as u32), 0, MOST_TOKENS)?,
                append: lengths("load.append", file.append, length(875, APPEND_SPREAD.value))?,
                output: lengths("load.output", file.output, length(214, OUTPUT_SPREAD.value))?,
                steps: checks.real("load.steps", file.steps.unwrap_or(8.8), (1.0, 1e6))?,
                tool: checks.real("load.tool", file.tool.unwrap_or(1.0), (0.0, 1e6))?,
                tool_shortest: checks.real(
                    "load.tool_shortest",
                    file.tool_shortest.unwrap_or(SHORTEST_TOOL.value),
                    (1e-6, 0.1),
                )?,
                tool_longest: checks.real(
                    "load.tool_longest",
                    file.tool_longest.unwrap_or(LONGEST_TOOL.value),
                    (192.0, 1e6),
                )?,
                think: think(THINK.value)?,
                longest: most,
                requests,
                day,
                helpers: agents::helpers(checks, &file, longest)?,
            })
        }
        LoadKind::Tasks => LoadScenario::Tasks(agents::tasks(checks, &file, longest, day)?),
        LoadKind::Trace => LoadScenario::Trace(TraceScenario {
            file: file.file.clone().ok_or_else(|| {
                checks.refuse(
                    "load.file",
                    "is missing".into(),
                    "the path of a trace, from the scenario's folder".into(),
                )
            })?,
            reading: reading(checks, &file, seed)?,
            speed: checks.real("load.speed", file.speed.unwrap_or(1.0), (1e-3, 1e3))?,
            requests,
            part: 1.0,
        }),
    };
    refuse_too_long(checks, &loaded, longest)?;
    Ok(loaded)
}

/// How a trace is read.
fn reading(checks: &Checks<'_>, file: &LoadFile, seed: u64) -> Result<Settings, StreamError> {
    let optional =
        |field: &str, value: Option<f64>, range| value.map(|value| checks.real(field, value, range)).transpose();
    Ok(Settings {
        format: file.format.unwrap_or_default(),
        columns: file.columns.clone().unwrap_or_default(),
        time_unit: file.time_unit,
        origin: file.origin.as_ref().map(ToString::to_string),
        block: file.block,
        history: file.history,
        sort: file.sort.unwrap_or(false),
        rate: optional("load.rate", file.rate, (1e-6, 1e6))?,
        characters_per_token: optional("load.characters_per_token", file.characters_per_token, (0.1, 100.0))?,
        seed,
    })
}

impl LoadFile {
    /// How a trace is read, where these are settings of one. `file` is their name in messages.
    ///
    /// # Errors
    /// Where a value is outside its range, or says nothing of a trace.
    pub fn reading(&self, file: &str, seed: u64) -> Result<Settings, StreamError> {
        let checks = Checks { file };
        refuse_strangers(&checks, self, LoadKind::Trace)?;
        reading(&checks, self, seed)
    }
}

/// A load whose every request is longer than the machine's context would only be refused.
fn refuse_too_long(checks: &Checks<'_>, load: &LoadScenario, longest: u32) -> Result<(), StreamError> {
    let (field, tokens) = match load {
        LoadScenario::Closed(load) => ("load.prompt", u64::from(load.prompt.median) + u64::from(load.output.median)),
        LoadScenario::Open(load) => ("load.prompt", u64::from(load.prompt.median) + u64::from(load.output.median)),
        LoadScenario::Sessions(load) => ("load.append", u64::from(load.append.median) + u64::from(load.output.median)),
        LoadScenario::Tasks(load) => ("load.append", u64::from(load.append.median) + u64::from(load.output.median)),
        LoadScenario::Trace(_) => return Ok(()),
    };
    if tokens <= u64::from(longest) {
        return Ok(());
    }
    let problem = format!("with its answer makes {tokens} tokens");
    Err(checks.refuse(field, problem, format!("at most machine.context, {longest}")))
}

/// A field that the kind of load does not look at would be a misunderstanding.
fn refuse_strangers(checks: &Checks<'_>, file: &LoadFile, kind: LoadKind) -> Result<(), StreamError> {
    use LoadKind::{Closed, Open, Sessions, Tasks, Trace};
    let fields: [(&str, bool, &[LoadKind]); 38] = [
        ("users", file.users.is_some(), &[Closed, Sessions, Tasks]),
        ("think", file.think.is_some(), &[Closed, Sessions, Tasks]),
        ("rate", file.rate.is_some(), &[Open, Trace]),
        ("variation", file.variation.is_some(), &[Open]),
        ("prompt", file.prompt.is_some(), &[Closed, Open]),
        ("output", file.output.is_some(), &[Closed, Open, Sessions, Tasks]),
        ("prefix", file.prefix.is_some(), &[Sessions, Tasks]),
        ("longest", file.longest.is_some(), &[Sessions, Tasks]),
        ("common", file.common.is_some(), &[Sessions, Tasks]),
        ("append", file.append.is_some(), &[Sessions, Tasks]),
        ("steps", file.steps.is_some(), &[Sessions, Tasks]),
        ("tool", file.tool.is_some(), &[Sessions, Tasks]),
        ("tool_shortest", file.tool_shortest.is_some(), &[Sessions, Tasks]),
        ("tool_longest", file.tool_longest.is_some(), &[Sessions, Tasks]),
        ("file", file.file.is_some(), &[Trace]),
        ("format", file.format.is_some(), &[Trace]),
        ("speed", file.speed.is_some(), &[Trace]),
        ("columns", file.columns.is_some(), &[Trace]),
        ("time_unit", file.time_unit.is_some(), &[Trace]),
        ("origin", file.origin.is_some(), &[Trace]),
        ("block", file.block.is_some(), &[Trace]),
        ("history", file.history.is_some(), &[Trace]),
        ("sort", file.sort.is_some(), &[Trace]),
        ("characters_per_token", file.characters_per_token.is_some(), &[Trace]),
        ("requests", file.requests.is_some(), &[Closed, Open, Sessions, Trace]),
        ("day", file.day.is_some(), &[Closed, Open, Sessions, Tasks]),
        ("starts", file.starts.is_some(), &[Closed, Open, Sessions, Tasks]),
        ("side", file.side.is_some(), &[Sessions]),
        ("subagents", file.subagents.is_some(), &[Sessions]),
        ("summary", file.summary.is_some(), &[Sessions]),
        ("planning", file.planning.is_some(), &[Tasks]),
        ("plan", file.plan.is_some(), &[Tasks]),
        ("repeat", file.repeat.is_some(), &[Tasks]),
        ("check", file.check.is_some(), &[Tasks]),
        ("success", file.success.is_some(), &[Tasks]),
        ("attempts", file.attempts.is_some(), &[Tasks]),
        ("repair", file.repair.is_some(), &[Tasks]),
        ("tasks", file.tasks.is_some(), &[Tasks]),
    ];
    let name = |kind: &LoadKind| match kind {
        Closed => "closed",
        Open => "open",
        Sessions => "sessions",
        Tasks => "tasks",
        Trace => "trace",
    };
    let stranger = fields.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind));
    let Some((field, _, kinds)) = stranger else { return Ok(()) };
    let kinds: Vec<&str> = kinds.iter().map(name).collect();
    let problem = format!("does not go with a load of kind '{}'", name(&kind));
    Err(checks.refuse(&format!("load.{field}"), problem, format!("with kind {}", kinds.join(" or "))))
}

/// What is wrong in the table `[machine]`, with its whole path.
fn in_machine(error: SpecError) -> StreamError {
    StreamError::Spec(match error {
        SpecError::Field { file, field, problem, allowed } => {
            SpecError::Field { file, field: format!("machine.{field}"), problem, allowed }
        }
        other => other,
    })
}
