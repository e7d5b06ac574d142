//! What a user wrote: a TOML file with everything optional, and `--set path=value` on it.

use serde::{Deserialize, Serialize};
use wafersim_requests::{Columns, Format, History, TimeUnit};
use wafersim_routing::Workload;
use wafersim_spec::{ScenarioFile, SpecError};

use crate::balancer::{BalancerKind, Outage};
use crate::clients::RetryLayer;
use crate::closed_form::PromptRule;
use crate::load::SideWhen;

/// A scenario as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamFile {
    /// Model, wafer, wafers, precision, profile...: as other scenario files.
    #[schemars(skip)]
    pub machine: ScenarioFile,
    /// How requests are served.
    pub service: ServiceFile,
    /// Where the experts come from that tokens want.
    #[serde(skip_serializing_if = "RoutingFile::is_empty")]
    pub routing: RoutingFile,
    /// Who asks.
    pub load: LoadFile,
    /// What clients are like, between who asks and the machine.
    #[serde(skip_serializing_if = "ClientsFile::is_empty")]
    pub clients: ClientsFile,
    /// How long.
    pub run: RunFile,
    /// What stands in the file that `service.plan` names, where it names one.
    #[serde(skip)]
    pub plan_text: Option<String>,
}

/// The table `[clients]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientsFile {
    /// How they retry, and how many tokens they ask for: a preset; openai-sdk where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Tokens of an answer that they ask for at most; the preset's where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Layers of retries, the innermost first; the preset's where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<RetryLayer>>,
    /// Whether they take a refused quota of tokens for a context that is too long: they have the session summarised in
    /// place of waiting, and stop where that is refused too; as the preset where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<bool>,
    /// Tokens of such a summary; 2,000 where left out. Only with `overflow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<u32>,
    /// Mean seconds until a person asks again after they have stopped; 30 where left out. Only with `overflow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<f64>,
    /// Organisations that users are dealt to in turn, each with an account of its own; 1 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisations: Option<u32>,
    /// Seconds of a round trip over the network; 0.05 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<f64>,
    /// Seconds that the service's host adds to a request; 0.004 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<f64>,
    /// Round trips that each attempt spends on setting up its connection; 0 where left out (connections are kept open).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshakes: Option<f64>,
    /// Tokens in a chunk of an answer; 1 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// Whether answers are streamed; yes where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Seconds after which a user gives up what is still refused; never where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<f64>,
    /// Seconds after which a client hangs up on a request that was let in, and retries; never where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
}

impl ClientsFile {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// [`crate::policy::FirstCome`].
    FirstCome,
    /// [`crate::policy::PrefillFirst`].
    PrefillFirst,
    /// [`crate::policy::DecodeFirst`].
    DecodeFirst,
    /// [`crate::policy::Chunked`].
    Chunked,
}

/// Ways to give room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdmissionKind {
    /// [`crate::admission::Whole`].
    Whole,
    /// [`crate::admission::Growing`].
    Growing,
}

/// Which experts tokens want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpertKind {
    /// The expected load of the closed form.
    Expected,
    /// Drawn for every token: [`crate::experts::ExpertChoice`].
    Sampled,
}

/// What users of the generator work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkKind {
    /// All published prompts.
    Mixed,
    /// Coding prompts.
    #[default]
    Coding,
}

impl From<WorkKind> for Workload {
    fn from(kind: WorkKind) -> Self {
        match kind {
            WorkKind::Mixed => Self::Mixed,
            WorkKind::Coding => Self::Coding,
        }
    }
}

/// The table `[routing]`: one of a trace and the generator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingFile {
    /// A routing trace of the model (`simctl routing`), in either form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Whether the generator of `simctl routing generate` is asked; no where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<bool>,
    /// Generator: what users work on; coding where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkKind>,
    /// Generator: kinds of work with different hot experts, dealt to the users in turn; 1 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds_of_work: Option<u32>,
}

impl RoutingFile {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The table `[service]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceFile {
    /// Who goes next; chunked where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyKind>,
    /// Most tokens of a round, for the policy chunked; 512 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<u32>,
    /// Users of a decoding pass at most; where left out, what the placement is fastest with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<u64>,
    /// Tokens of a chunk of a prompt at most; where left out, what is fastest for a prompt of the machine's `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// By what the way of a prompt is chosen; soonest where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PromptRule>,
    /// Whether prompts are computed on the wafers; yes where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<bool>,
    /// How room is given; whole where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionKind>,
    /// Whether equal prefixes are kept; no where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_cache: Option<bool>,
    /// Memory of the host for what has lost its place, in GB; 0 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_memory_gb: Option<f64>,
    /// Bandwidth from the host, in GB/s; the wafer's `link.bandwidth` where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_bandwidth: Option<f64>,
    /// Which experts tokens want; expected where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertKind>,
    /// Quotas: a built-in plan, or the path of a TOML file; no service in between where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Machines of the same kind behind a balancer; 1 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Which of them a request goes to; least_loaded where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balancer: Option<BalancerKind>,
    /// When one of them is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outages: Option<Vec<Outage>>,
}

/// Kinds of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadKind {
    /// [`crate::load::ClosedLoop`].
    Closed,
    /// [`crate::load::OpenLoop`].
    Open,
    /// [`crate::load::Sessions`].
    Sessions,
    /// [`crate::load::Tasks`].
    Tasks,
    /// [`crate::load::Replay`].
    Trace,
}

/// A length as written: always the same, or lognormal around the median.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthFile {
    /// Median in tokens.
    pub median: u32,
    /// Standard deviation of the logarithm; 0 where left out.
    #[serde(default)]
    pub spread: f64,
}

/// A side request as written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SideFile {
    /// When it is sent; with each request of a user where left out.
    #[serde(default)]
    pub when: SideWhen,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Tokens of its answer.
    pub output: u32,
    /// Seconds after the agent's own request; 0 where left out.
    #[serde(default)]
    pub delay: f64,
}

/// Sub-agents as written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubAgentsFile {
    /// Probability that a step sends them off; 0.012 where left out (TraceLab: the share of sub-agents in tool calls).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// How many at once.
    pub count: u32,
    /// Mean steps of each; 8 where left out (a guess, 3 to 20).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<f64>,
    /// Tokens of the first prompt; 12,000 where left out (a guess, 4,000 to 20,000: system prompt, tools, an order).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u32>,
    /// New tokens of each further step; 875 where left out, as agents have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append: Option<u32>,
    /// Tokens of answers; 214 where left out, as agents have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<u32>,
}

/// A time as a trace writes it: a number, or a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Origin {
    /// A whole number.
    Whole(i64),
    /// A number with a fraction.
    Number(f64),
    /// A date without quotes.
    Date(toml::value::Datetime),
    /// A date in quotes; or `first`.
    Text(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(time) => write!(formatter, "{time}"),
            Self::Number(time) => write!(formatter, "{time}"),
            Self::Date(time) => write!(formatter, "{time}"),
            Self::Text(time) => formatter.write_str(time),
        }
    }
}

/// The table `[load]`. Which fields go with which kind is checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadFile {
    /// Kind; closed where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<LoadKind>,
    /// Closed: users. Sessions: agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// Closed, sessions, tasks: mean time to think, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<f64>,
    /// Open, and a trace without times: requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Open: coefficient of variation of the times between requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variation: Option<f64>,
    /// Closed, open: prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<LengthFile>,
    /// Closed, open, sessions: answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<LengthFile>,
    /// Sessions: tokens of a session when it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<LengthFile>,
    /// Sessions: tokens at which a session ends and a new one begins; the longest request where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<u32>,
    /// Sessions: tokens that all sessions begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common: Option<u32>,
    /// Sessions: new tokens of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append: Option<LengthFile>,
    /// Sessions: mean steps of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<f64>,
    /// Sessions: factor on tool times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<f64>,
    /// Sessions: seconds of the shortest tool, before the factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_shortest: Option<f64>,
    /// Sessions: seconds of the longest tool, before the factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_longest: Option<f64>,
    /// Trace: the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Trace: how it is written; by its content where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Trace: names of its columns or keys, where they are not the format's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// Trace: unit of its times, where it is not the format's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_unit: Option<TimeUnit>,
    /// Trace: the time that counts as 0, as the file writes it; the first request where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub origin: Option<Origin>,
    /// Trace: tokens of a hashed block, where it is not the format's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// Trace: what the prompts of later turns count; the whole where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Trace: whether it is put in order of time first; no where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<bool>,
    /// Trace: characters of a token, where it has texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters_per_token: Option<f64>,
    /// Trace: how many times as fast as recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Most requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// All but a trace: factors on what is asked, one for each hour of the day; 1 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Vec<f64>>,
    /// With `day`: hour of the day at which the run begins; 0 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts: Option<f64>,
    /// Sessions: a small request beside an agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<SideFile>,
    /// Sessions: sub-agents, for all of which their agent waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subagents: Option<SubAgentsFile>,
    /// Sessions: tokens of the summary that a session asks for when it has become too long; none where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<u32>,
    /// Tasks: mean calls of planning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planning: Option<f64>,
    /// Tasks: tokens of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<u32>,
    /// Tasks: probability that a step has to be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<f64>,
    /// Tasks: seconds of the tests at the end of an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<f64>,
    /// Tasks: probability that an attempt succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<f64>,
    /// Tasks: attempts at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Tasks: steps of a further attempt, in parts of those of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<f64>,
    /// Tasks: how many in all; no end where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
}

/// The table `[run]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    /// Seconds before the window; 0 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<f64>,
    /// Seconds of the window; where left out 60, and for a trace as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<f64>,
    /// Requests after whose end the run ends too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Seed of the random streams; 1 where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl StreamFile {
    /// The scenario that a TOML text describes. `file` is its name in messages.
    ///
    /// # Errors
    /// Where the text is no TOML, names a key that does not exist, or gives a value of the wrong type; with line,
    /// column and what is allowed.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        toml::from_str(text).map_err(|error| syntax(file, &error))
    }

    /// The same with one setting changed: `path` as in the file (`load.users`), `value` as there; a bare word is a
    /// text.
    ///
    /// # Errors
    /// As [`StreamFile::parse`], in the name of `flag`.
    pub fn with(&self, flag: &str, path: &str, value: &str) -> Result<Self, SpecError> {
        let name = format!("{flag} {path}={value}");
        let no_table = |problem: String| SpecError::Syntax { file: name.clone(), detail: problem };
        let mut table =
            toml::Table::try_from(self).map_err(|error| no_table(format!("the scenario as a table: {error}")))?;
        let value = format!("value = {value}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        // A wafer parameter has a dot in its name.
        let parts: Vec<&str> = match path.strip_prefix("machine.wafer_parameters.") {
            Some(parameter) => vec!["machine", "wafer_parameters", parameter],
            None => path.split('.').collect(),
        };
        let (last, tables) = parts.split_last().ok_or_else(|| no_table("no path".into()))?;
        let mut here = &mut table;
        for part in tables {
            let inner = here.entry((*part).to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            here = inner.as_table_mut().ok_or_else(|| no_table(format!("'{part}' is no table")))?;
        }
        here.insert((*last).to_owned(), value);
        table.try_into().map_err(|error: toml::de::Error| syntax(&name, &error))
    }
}

fn syntax(file: &str, error: &toml::de::Error) -> SpecError {
    SpecError::Syntax { file: file.into(), detail: error.to_string().trim_end().to_owned() }
}
