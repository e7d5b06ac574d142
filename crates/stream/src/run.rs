//! A scenario, put together and run; and a sweep over one of its settings.

mod points;

pub use points::{KeptRun, Point, knee, sweep};

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wafersim_answer::{Effort, Pipeline, PrefillElsewhere, Provenance, Question, Verified};
use wafersim_mapping::{Mapping, Resolved};
use wafersim_routing::Trace as RoutingTrace;
use wafersim_spec::Cycles;
use wafersim_spec::model::Reach;
use wafersim_spec::scenario::WaferCount;
use wafersim_spec::wafer::{Key, RateSet};

use crate::admission::{Growing, Whole};
use crate::balancer::Replicas;
use crate::clients::Clients;
use crate::closed_form::{ClosedForm, prompt_times};
use crate::elsewhere::{Elsewhere, PromptWork};
use crate::engine::live::FromOutside;
use crate::engine::{Drafting, Engine, HostMemory, LONGEST_RUN, Length, Progress, Service};
use crate::error::StreamError;
use crate::experts::{ExpertChoice, ExpertDelay, ExpertSource, ExpertTimes};
use crate::explain::{Alone, SHORT};
use crate::invariants;
use crate::kv::Ledger;
use crate::load::{ClosedLoop, LoadSource, OpenLoop, Replay, Sessions, Tasks, Tell, Told};
use crate::observer::{Nobody, Observer};
use crate::own::StreamExtensions;
use crate::policy::{Chunked, DecodeFirst, FirstCome, PrefillFirst};
use crate::request::BLOCK;
use crate::result::ServiceOutcome;
use crate::scenario::{AdmissionKind, LoadScenario, PolicyKind, RoutingScenario, StreamScenario};
use crate::service::ServicePlan;
use crate::time::Time;
use crate::trace::Trace;

/// A scenario with everything that it names read, whose machine is not placed yet.
#[derive(Debug, Clone)]
pub struct Prepared {
    scenario: StreamScenario,
    question: Question,
    trace: Option<Arc<Trace>>,
    experts: ExpertChoice,
    own: StreamExtensions,
}

/// A scenario with its machine placed and its trace read.
#[derive(Debug, Clone)]
pub struct Server {
    prepared: Prepared,
    pipeline: Pipeline,
    chunk: u32,
}

/// Another load for a machine that is placed.
#[derive(Debug, Clone, PartialEq)]
pub struct Under {
    /// Who asks.
    pub load: LoadScenario,
    /// Organisations among its users; nothing: as many as the scenario has.
    pub organisations: Option<u32>,
    /// Seconds before the window.
    pub warm_up: f64,
    /// Seconds of the window.
    pub window: f64,
    /// Seed.
    pub seed: u64,
}

/// What stands in the files that a scenario names, each with its name in messages.
#[derive(Debug, Clone, Default)]
pub struct Files<'a> {
    /// The trace of requests.
    pub requests: Option<Arc<Trace>>,
    /// The routing trace.
    pub routing: Option<(Arc<RoutingTrace>, &'a str)>,
    /// The mapping of the profiles `best` and `ideal`.
    pub mapping: Option<Mapping>,
    /// How much is tried to find one where none is given; nothing: the recipes that are built in.
    pub search: Option<Effort>,
}

/// What a run says of its machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineSummary {
    /// Name of the model.
    pub model: String,
    /// Name of the wafer.
    pub wafer: String,
    /// Wafers that were asked for; the same as `wafers` where the fewest were.
    pub wafers_asked: u32,
    /// Wafers that are used: fewer where the rest would only make ways longer and is not needed to hold the users.
    pub wafers: u32,
    /// Profile.
    pub profile: String,
    /// How drafts are verified; nothing without speculation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verified>,
    /// Slots of the pipeline.
    pub slots: usize,
    /// What each slot holds: layers, parts of the tables.
    pub slots_hold: Vec<String>,
    /// Users of a decoding pass at most.
    pub micro_batch: u64,
    /// Tokens of a chunk of a prompt at most.
    pub chunk: u32,
    /// Tokens of a request at most.
    pub longest: u64,
    /// Tokens of keys and values that fit at once.
    pub kv_tokens: u64,
    /// Bytes of keys and values of a token, in all layers that see everything.
    pub kv_bytes_per_token: u64,
    /// One user at the machine's context on the idle machine, by the closed form: seconds per output token.
    pub closed_form_per_token: f64,
    /// The same: seconds to the first token of a prompt of the machine's `prompt`.
    pub closed_form_first_token: f64,
    /// The machine full of micro-batches at the machine's context, by the closed form: output tokens a second.
    pub closed_form_full: f64,
    /// Where prompts are computed elsewhere: what of the closed form's first token is what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<PrefillElsewhere>,
    /// Code from outside, by kind and id: `policy: patient`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
}

impl MachineSummary {
    /// Wafers that decode, and others that compute prompts.
    pub fn wafers_in_all(&self) -> u32 {
        self.wafers.saturating_add(self.prefill.as_ref().map_or(0, |prefill| prefill.wafers))
    }
}

/// A pass longer than this is no answer but a mistake: 100 s.
pub(crate) const LONGEST_PASS: f64 = 100.0;
/// Smallest chunk that is tried, where larger ones fit.
const SMALLEST_CHUNK: u64 = 64;

impl Prepared {
    /// Reads what the scenario names; `files` are read already.
    ///
    /// # Errors
    /// Where model or wafer cannot be read, or the routing trace is another model's.
    pub fn new(scenario: StreamScenario, files: Files<'_>) -> Result<Self, StreamError> {
        let question = Question::load(scenario.machine.clone())?;
        Self::asking(question.with_mapping(files.mapping.clone()).searching(files.search), scenario, files)
    }

    /// The same about a question that is there already: with a model or a wafer that no file has, or with code from
    /// outside. Its scenario is the machine; that of `scenario`, and mapping and search of `files`, do not count.
    ///
    /// # Errors
    /// Where the routing trace is another model's.
    pub fn asking(question: Question, scenario: StreamScenario, files: Files<'_>) -> Result<Self, StreamError> {
        let scenario = StreamScenario { machine: question.scenario.clone(), ..scenario };
        let experts = ExpertChoice::new(&scenario, &question.model, files.routing)?;
        let trace = files.requests.filter(|_| matches!(scenario.load, LoadScenario::Trace(_)));
        Ok(Self { scenario, question, trace, experts, own: StreamExtensions::default() })
    }

    /// The same with code from outside.
    #[must_use]
    pub fn with(self, own: StreamExtensions) -> Self {
        Self { own, ..self }
    }

    /// All code from outside, of the question and of the run, by kind and id.
    pub fn own_code(&self) -> Vec<String> {
        self.question.own_code().into_iter().chain(self.own.ids()).collect()
    }

    /// Where what a run says comes from. The hash is of model, wafer, scenario (without the names of its traces) and
    /// traces.
    pub fn provenance(&self) -> Provenance {
        let mut scenario = self.scenario.clone();
        if let LoadScenario::Trace(trace) = &mut scenario.load {
            trace.file.clear();
        }
        if let RoutingScenario::Trace { file } = &mut scenario.routing {
            file.clear();
        }
        let from = Provenance::new(&self.question);
        let mut hash = Fnv::default();
        hash.add(from.input_hash.as_bytes());
        // Field order of the structs is fixed, so equal inputs give equal text.
        hash.add(serde_json::to_string(&scenario).unwrap_or_default().as_bytes());
        for request in self.trace.iter().flat_map(|trace| trace.requests()) {
            hash.add(&request.arrival.0.to_le_bytes());
            hash.add(&request.prompt.to_le_bytes());
            hash.add(&request.output.to_le_bytes());
            let blocks = (0..request.prompt / BLOCK).map_while(|index| request.content.block(index));
            blocks.for_each(|block| hash.add(&block.to_le_bytes()));
        }
        self.experts.hashed(|bytes| hash.add(bytes));
        // Those of the question are in its hash.
        self.own.ids().iter().for_each(|id| hash.add(id.as_bytes()));
        let input_hash = format!("{:016x}", hash.0);
        Provenance { input_hash, fidelity: "stream", seed: Some(self.scenario.seed), ..from }
    }

    /// What the machine is asked.
    pub const fn question(&self) -> &Question {
        &self.question
    }

    /// What came out, with the machine that it came out of, as the point of a sweep, or alone.
    pub fn point(&self, value: &str, kept: KeptRun) -> Point {
        let KeptRun { machine, outcome } = kept;
        Point {
            value: value.to_owned(),
            swept: Vec::new(),
            provenance: self.provenance(),
            scenario: self.scenario.clone(),
            machine,
            trace: self.trace.as_ref().map(|trace| trace.about().clone()),
            outcome,
        }
    }

    /// Places the model.
    ///
    /// # Errors
    /// Where the model does not fit, or settings do not go together.
    pub fn place(self) -> Result<Server, StreamError> {
        let scenario = &self.scenario;
        let pipeline = Pipeline::new(self.question.clone(), scenario.micro_batch)?;
        let context = pipeline.question().scenario.context;
        let seconds = pipeline.decode(pipeline.micro_batch(), context, None).latency().seconds(pipeline.clock());
        if !(seconds > 0.0 && seconds <= LONGEST_PASS) {
            return Err(StreamError::TooSlow { seconds });
        }
        // What computes no prompts has no chunks: those of the machine are taken, and not used.
        let computing = pipeline.of_prompts().unwrap_or(&pipeline);
        let chunk = match scenario.chunk {
            Some(chunk) => {
                let largest = u32::try_from(computing.largest_chunk()).unwrap_or(u32::MAX);
                if chunk > largest {
                    return Err(setting(
                        "service.chunk",
                        format!("is {chunk}"),
                        format!("at most {largest}, for which the placement has room"),
                    ));
                }
                chunk
            }
            None => fastest_chunk(computing),
        };
        let seconds = computing.prefill_chunk(u64::from(chunk), context).latency().seconds(pipeline.clock());
        if !(seconds > 0.0 && seconds <= LONGEST_PASS) {
            return Err(StreamError::TooSlow { seconds });
        }
        if scenario.prefix_cache && pipeline.kv_room().reaches.iter().any(|reach| *reach != Reach::Full) {
            return Err(setting(
                "service.prefix_cache",
                "is true".into(),
                "false for a model with layers that look back a limited way only".into(),
            ));
        }
        Ok(Server { prepared: self, pipeline, chunk })
    }
}

impl Server {
    /// Places the model. `trace` is the scenario's trace, where it has one.
    ///
    /// # Errors
    /// Where the model does not fit, or settings do not go together.
    pub fn new(scenario: StreamScenario, trace: Option<Arc<Trace>>) -> Result<Self, StreamError> {
        Self::with_files(scenario, Files { requests: trace, ..Files::default() })
    }

    /// Places the model, with all files that the scenario names.
    ///
    /// # Errors
    /// As [`Server::new`]; and where the routing trace is another model's.
    pub fn with_files(scenario: StreamScenario, files: Files<'_>) -> Result<Self, StreamError> {
        Prepared::new(scenario, files)?.place()
    }

    /// The same machine under another load. What it was placed for stays; a load whose requests are longer is refused
    /// them one by one.
    #[must_use]
    pub fn under(&self, Under { load, organisations, warm_up, window, seed }: Under) -> Self {
        let mut other = self.clone();
        let scenario = &mut other.prepared.scenario;
        (scenario.load, scenario.warm_up, scenario.window, scenario.seed) = (load, warm_up, Some(window), seed);
        other.prepared.own = other.prepared.own.without_load();
        if let (Some(clients), Some(organisations)) = (&mut scenario.clients, organisations) {
            (clients.organisations, clients.seed) = (organisations.max(1), seed);
        }
        other
    }

    /// The same machine and load behind another plan; nothing changes where there are no clients.
    #[must_use]
    pub fn behind(&self, plan: ServicePlan) -> Self {
        let mut other = self.clone();
        if let Some(clients) = &mut other.prepared.scenario.clients {
            clients.plan = plan;
        }
        other
    }

    /// Seconds that keys and values of such tokens of a prompt take from where they are computed to the machine; 0
    /// where it computes them.
    fn crossing(&self, before: u64, target: u64) -> f64 {
        let Question { scenario, model, .. } = self.pipeline.question();
        if scenario.prefill.is_same() {
            return 0.0;
        }
        let bytes = model.kv_bytes_between(before, target, &scenario.precision);
        bytes.0 as f64 / self.pipeline.kv_bytes_per_second()
    }

    /// Prompts that are computed elsewhere; nothing where they are computed here.
    fn elsewhere(&self, longest: u32) -> Option<Elsewhere<'_>> {
        let prefill = &self.pipeline.question().scenario.prefill;
        if prefill.is_same() || !self.prepared.scenario.prefill {
            return None;
        }
        let work = match self.pipeline.of_prompts() {
            Some(wafers) => PromptWork::Wafers {
                costs: Box::new(ClosedForm::new(wafers, longest, self.prepared.scenario.prompts)),
                room: Ledger::new(wafers.kv_room()),
            },
            // A scenario without a rate has not been checked.
            None => PromptWork::rate(prefill.tokens_per_second.unwrap_or(f64::INFINITY)),
        };
        let crossing =
            |before: u32, target: u32| Time::from_seconds(self.crossing(u64::from(before), u64::from(target)));
        Some(Elsewhere { work, crossing: Box::new(crossing) })
    }

    /// Seconds that a prompt takes on the idle machine from `before` tokens that are in the cache to `target` tokens.
    pub fn prompt_alone(&self, before: u64, target: u64) -> f64 {
        let Some(pipeline) = self.pipeline.of_prompts() else {
            let rate = self.pipeline.question().scenario.prefill.tokens_per_second.unwrap_or(f64::INFINITY);
            return target.saturating_sub(before) as f64 / rate + self.crossing(before, target);
        };
        let times = prompt_times(pipeline, before, target, u64::from(self.chunk));
        let cycles = times.iter().fold(f64::INFINITY, |least, time| least.min(time.soonest));
        Cycles(cycles).seconds(self.pipeline.clock()) + self.crossing(before, target)
    }

    /// The same with code from outside.
    #[must_use]
    pub fn with(mut self, own: StreamExtensions) -> Self {
        self.prepared = self.prepared.with(own);
        self
    }

    /// What is asked.
    pub const fn scenario(&self) -> &StreamScenario {
        &self.prepared.scenario
    }

    /// The trace that is replayed, where there is one.
    pub fn trace(&self) -> Option<&Trace> {
        self.prepared.trace.as_deref()
    }

    /// The mapping that the machine works by, with every number.
    ///
    /// # Errors
    /// Where its profile works by no mapping.
    pub fn resolved_mapping(&self) -> Result<Resolved, StreamError> {
        Ok(self.pipeline.resolved_mapping()?)
    }

    /// What the machine is.
    pub fn summary(&self) -> MachineSummary {
        let (pipeline, clock) = (&self.pipeline, self.pipeline.clock());
        let (question, room) = (pipeline.question(), pipeline.kv_room());
        let context = question.scenario.context;
        let timing = pipeline.timing();
        let full = timing.step_of_full_pipeline().seconds(clock);
        let first_token = pipeline.closed_form_first_token();
        MachineSummary {
            model: question.model.name.clone(),
            wafer: question.wafer.name.clone(),
            wafers_asked: match question.scenario.wafers {
                WaferCount::Exactly(wafers) => wafers,
                WaferCount::Auto | WaferCount::Fewest => pipeline.placement().wafers.max(pipeline.wafers_used()),
            },
            wafers: pipeline.wafers_used(),
            profile: question.scenario.profile.to_string(),
            verification: timing.verified,
            slots: pipeline.placement().slots.len(),
            slots_hold: pipeline.placement().slots.iter().map(|slot| holds(&slot.items)).collect(),
            micro_batch: pipeline.micro_batch(),
            chunk: self.chunk,
            longest: context,
            kv_tokens: room.tokens(),
            kv_bytes_per_token: room.bytes_per_token.0,
            closed_form_per_token: pipeline.step(context).seconds(clock) / timing.tokens_per_step,
            closed_form_first_token: first_token.total().seconds(clock),
            closed_form_full: timing.tokens_per_step * pipeline.micro_batch() as f64 / full,
            prefill: pipeline.prefill_elsewhere(&first_token),
            extensions: self.prepared.own_code(),
        }
    }

    /// Where what a run says comes from.
    pub fn provenance(&self) -> Provenance {
        self.prepared.provenance()
    }

    /// One machine's run as a point of a sweep, or alone.
    pub fn point(&self, value: &str, report: impl FnMut(Progress)) -> Point {
        self.watched(value, &mut Nobody, report)
    }

    /// The same, with somebody who watches.
    pub fn watched(&self, value: &str, observer: &mut impl Observer, report: impl FnMut(Progress)) -> Point {
        let outcome = self.run(observer, report);
        self.prepared.point(value, KeptRun { machine: self.summary(), outcome })
    }

    /// The pipeline.
    pub const fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// One run, with somebody who watches and somebody who is told of each request that comes to the machine.
    pub fn told<'t>(
        &self,
        observer: &mut impl Observer,
        tell: &'t mut Tell<'t>,
        report: impl FnMut(Progress),
    ) -> Point {
        let outcome = self.run_with(observer, Some(tell), report);
        self.prepared.point("", KeptRun { machine: self.summary(), outcome })
    }

    /// Runs the scenario.
    pub fn run(&self, observer: &mut impl Observer, report: impl FnMut(Progress)) -> ServiceOutcome {
        self.run_with(observer, None, report)
    }

    fn run_with<'t>(
        &self,
        observer: &mut impl Observer,
        tell: Option<&'t mut Tell<'t>>,
        mut report: impl FnMut(Progress),
    ) -> ServiceOutcome {
        let scenario = &self.prepared.scenario;
        let longest = self.longest();
        let usual = || -> Box<dyn LoadSource> {
            match &scenario.load {
                LoadScenario::Closed(settings) => Box::new(ClosedLoop::new(*settings, scenario.seed)),
                LoadScenario::Open(settings) => Box::new(OpenLoop::new(*settings, scenario.seed)),
                LoadScenario::Sessions(settings) => Box::new(Sessions::new(*settings, scenario.seed)),
                LoadScenario::Tasks(settings) => {
                    Box::new(Tasks::new(*settings, scenario.seed, Time::from_seconds(scenario.warm_up)))
                }
                LoadScenario::Trace(settings) => {
                    let replay = Replay::new(self.prepared.trace.clone().unwrap_or_default(), settings.speed);
                    Box::new(replay.part(settings.part, scenario.seed))
                }
            }
        };
        let mut load = self.prepared.own.started_load(scenario.seed).unwrap_or_else(usual);
        let length = Length {
            warm_up: Time::from_seconds(scenario.warm_up),
            window: Time::from_seconds(scenario.window_seconds()),
            requests: scenario.requests,
            seed: scenario.seed,
        };
        let costs = ClosedForm::new(&self.pipeline, longest, scenario.prompts);
        let ledger = Ledger::new(self.pipeline.kv_room());
        let report = |progress: Progress| {
            // A trace ends with its last request.
            let recorded = self.prepared.trace.as_ref().map(|trace| trace.len() as u64);
            report(Progress { requests: progress.requests.or(recorded), ..progress });
        };
        let mut service = self.service(longest);
        let Some(settings) = &scenario.clients else {
            let run =
                |load: &mut dyn LoadSource| Engine::new(costs, ledger, service, load, observer, length).run(report);
            return match tell {
                None => run(&mut load),
                Some(tell) => run(&mut Told::new(load, tell)),
            };
        };
        service.cache_life = settings.plan.cache_life.map(Time::from_seconds);
        let mut clients = Clients::new(load, settings.clone(), length.warm_up);
        let outcome = match tell {
            None => Engine::new(costs, ledger, service, &mut clients, observer, length).run(report),
            Some(tell) => {
                let mut told = Told::new(clients, tell);
                let outcome = Engine::new(costs, ledger, service, &mut told, observer, length).run(report);
                clients = told.into_inner();
                outcome
            }
        };
        let seen = clients.outcome(outcome.window_end);
        let outcome = ServiceOutcome { clients: Some(seen), ..outcome };
        invariants::debug_check(&outcome);
        outcome
    }

    /// The machine at time 0, to be fed and watched from outside ([`crate::engine::live`]); the scenario's load and
    /// length do not count. Blocks of the prefix cache that nobody uses are forgotten after `life`.
    pub fn live<'s, O: Observer>(
        &'s self,
        load: &'s mut FromOutside,
        observer: &'s mut O,
        life: Option<Time>,
    ) -> Engine<'s, ClosedForm<'s>, FromOutside, O> {
        let longest = self.longest();
        let length =
            Length { warm_up: Time::ZERO, window: LONGEST_RUN, requests: None, seed: self.prepared.scenario.seed };
        let costs = ClosedForm::new(&self.pipeline, longest, self.prepared.scenario.prompts);
        let service = Service { cache_life: life, ..self.service(longest) };
        Engine::new(costs, Ledger::new(self.pipeline.kv_room()), service, load, observer, length)
    }

    /// How fast one user is on the idle machine, by the closed form: with a short context, with drafts too, and with so
    /// many tokens of context.
    pub fn alone(&self, context: u64) -> Alone {
        let (pipeline, clock) = (&self.pipeline, self.pipeline.clock());
        let context = context.clamp(1, u64::from(self.longest()).max(1));
        let tokens = pipeline.timing().tokens_per_step;
        let stepped = |context: u64| tokens / pipeline.step(context).seconds(clock).max(1e-12);
        Alone {
            plain: 1.0 / pipeline.latency(SHORT).seconds(clock).max(1e-12),
            drafted: stepped(SHORT),
            at_context: stepped(context),
        }
    }

    /// Most tokens of a request, prompt and answer.
    pub fn longest(&self) -> u32 {
        u32::try_from(self.pipeline.question().scenario.context).unwrap_or(u32::MAX)
    }

    fn service(&self, longest: u32) -> Service<'_> {
        let scenario = &self.prepared.scenario;
        let (own, seed) = (&self.prepared.own, scenario.seed);
        let policy = own.started_policy(seed).unwrap_or_else(|| match scenario.policy {
            PolicyKind::FirstCome => Box::new(FirstCome),
            PolicyKind::PrefillFirst => Box::new(PrefillFirst),
            PolicyKind::DecodeFirst => Box::new(DecodeFirst),
            PolicyKind::Chunked => Box::new(Chunked { budget: scenario.budget }),
        });
        let admission = own.started_admission(seed).unwrap_or_else(|| match scenario.admission {
            AdmissionKind::Whole => Box::new(Whole),
            AdmissionKind::Growing => Box::new(Growing),
        });
        let expert_use = self.pipeline.question().expert_use();
        let source: Option<Box<dyn ExpertSource + '_>> = match own.started_experts(seed) {
            Some(source) => Some(source),
            None => self.prepared.experts.source(scenario, expert_use),
        };
        let experts = source.map(|source| {
            let times: Box<dyn ExpertDelay + '_> = Box::new(ExpertTimes::new(&self.pipeline, source));
            times
        });
        Service {
            policy,
            admission,
            micro_batch: u32::try_from(self.pipeline.micro_batch()).unwrap_or(u32::MAX),
            chunk: self.chunk,
            prefill: scenario.prefill,
            elsewhere: self.elsewhere(longest),
            prefix_cache: scenario.prefix_cache.then(|| self.host()),
            cache_life: None,
            speculation: Drafting::of(&self.pipeline),
            longest,
            experts,
            replicas: scenario.replicas.as_ref().map_or_else(Replicas::default, |replicas| Replicas {
                count: replicas.count,
                balancer: replicas.balancer.build(),
                outages: replicas.outages.clone(),
            }),
        }
    }

    fn host(&self) -> HostMemory {
        let bytes = (self.pipeline.kv_room().bytes_per_token * u64::from(BLOCK)).0.max(1) as f64;
        let wafer = &self.pipeline.question().wafer;
        let bandwidth =
            self.prepared.scenario.host_bandwidth.unwrap_or_else(|| wafer.value(Key::LinkBandwidth, RateSet::Silicon));
        HostMemory {
            blocks: (self.prepared.scenario.host_memory_gb * 1e9 / bytes) as u64,
            block_time: Time::from_seconds(bytes / (bandwidth * 1e9)),
        }
    }
}

fn holds<T: ToString>(items: &[T]) -> String {
    match items {
        [] => "nothing".into(),
        [only] => only.to_string(),
        [first, .., last] => format!("{} to {}", first.to_string(), last.to_string()),
    }
}

fn setting(field: &str, problem: String, allowed: String) -> StreamError {
    StreamError::Setting { file: "scenario".into(), field: field.into(), problem, allowed }
}

/// The chunk, among powers of four below the largest that fits, with which the scenario's prompt is through soonest.
fn fastest_chunk(pipeline: &Pipeline) -> u32 {
    let prompt = pipeline.question().scenario.prompt.max(1);
    let mut chunk = pipeline.largest_chunk().max(1);
    let mut best = (f64::INFINITY, chunk);
    loop {
        let [chunks, trains] = prompt_times(pipeline, 0, prompt, chunk);
        if chunks.soonest.min(trains.soonest) < best.0 {
            best = (chunks.soonest.min(trains.soonest), chunk);
        }
        if chunk / 4 < SMALLEST_CHUNK {
            return u32::try_from(best.1).unwrap_or(u32::MAX);
        }
        chunk /= 4;
    }
}

/// FNV-1a, 64 bit.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    }
}
