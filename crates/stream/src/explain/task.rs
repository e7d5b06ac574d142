//! Time and cost of a finished task, service by service: the same tasks, run by the same engine behind the same kind of
//! clients, on wafers and on services of which only speed and price are known.
//!
//! A service that is not simulated is its speed: tokens of answers a second as they were observed, which holds whatever
//! load it was under; seconds to the first token; tokens of a prompt a second beyond what its cache has. Nobody waits
//! for anybody there. What differs besides is how many steps its model needs, and how often an attempt succeeds.
//!
//! Low is everything against the user, high is everything for the user.

use serde::Serialize;

use super::Side;
use crate::admission::Whole;
use crate::balancer::Replicas;
use crate::clients::{ClientOutcome, ClientSettings, Clients};
use crate::costs::{Costs, DraftTime, PassTimes, StationKind, Way};
use crate::engine::{Engine, HostMemory, LONGEST_RUN, Length, Service};
use crate::error::StreamError;
use crate::kv::Ledger;
use crate::load::{TaskOutcome, TaskSettings, Tasks};
use crate::observer::Nobody;
use crate::policy::FirstCome;
use crate::result::ServiceOutcome;
use crate::service::{Price, ServicePlan};
use crate::time::Time;

/// A figure at each side of its range.
pub type Range = [f64; 3];

/// A service of which only this is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnownService {
    /// Its name.
    pub name: &'static str,
    /// Tokens of an answer a second, as observed.
    pub speed: Range,
    /// Seconds to the first token of a prompt that the cache has.
    pub first_token: Range,
    /// Tokens of a prompt a second that the cache does not have.
    pub prompt_speed: Range,
    /// Steps that its model needs, in parts of those of the load.
    pub steps: Range,
    /// Probability that an attempt of its model succeeds.
    pub success: Range,
    /// Requests and tokens a minute, where they are known.
    pub per_minute: Option<[u64; 2]>,
    /// Dollars per million tokens.
    pub price: Price,
    /// What its figures rest on.
    pub evidence: &'static str,
}

const FIRST_TOKEN: Range = [2.5, 1.0, 0.5];
const PROMPT_SPEED: Range = [5_000.0, 10_000.0, 20_000.0];

/// Services that wafers are compared with.
pub const SERVICES: [KnownService; 3] = [
    KnownService {
        name: "claude-like",
        speed: [60.0, 70.0, 80.0],
        first_token: FIRST_TOKEN,
        prompt_speed: PROMPT_SPEED,
        steps: [1.0, 0.7, 0.5],
        success: [0.7, 0.744, 0.838],
        per_minute: None,
        price: Price { input: 3.0, cached: Some(0.3), output: 15.0 },
        evidence: "speed: Claude Sonnet 4.5 at 55 to 70 (independent, 2025 and 2026), taken as 60 to 80; price: list of \
                   Sonnet; success: SWE-bench Verified, Sonnet 4.5 74.2 to 74.4 %, Opus 4.8 83.8 % (OpenHands index), low a \
                   guess; steps 0.7 (0.5 to 1) of Qwen3-Coder's: a guess",
    },
    KnownService {
        name: "grok-code-like",
        speed: [92.0, 190.0, 255.0],
        first_token: FIRST_TOKEN,
        prompt_speed: PROMPT_SPEED,
        steps: [1.4, 1.0, 0.8],
        success: [0.55, 0.65, 0.708],
        per_minute: Some([480, 2_000_000]),
        price: Price { input: 0.2, cached: Some(0.02), output: 1.5 },
        evidence: "speed: 190 and 255 (vendor), 92 has no source; price, 480 requests and 2 M tokens a minute: vendor; success: \
                   70.8 % (vendor) as the high, the others guesses; steps 1 (0.8 to 1.4): a guess",
    },
    KnownService {
        name: "qwen3-coder on GPUs",
        speed: [40.0, 60.0, 101.0],
        first_token: FIRST_TOKEN,
        prompt_speed: PROMPT_SPEED,
        steps: [1.0, 1.0, 1.0],
        success: WAFER_SUCCESS,
        per_minute: None,
        price: Price { input: 0.3, cached: None, output: 1.0 },
        evidence: "speed: 8 x B200 measured at 101 tok/s with one user, 48 with 16 and 30 with 64; 60 and 40 are guesses; \
                   price: DeepInfra's; success: as on wafers, the same model",
    },
];

/// Success of Qwen3-Coder-480B: 62.4 % of SWE-bench Verified; low and high are guesses.
pub const WAFER_SUCCESS: Range = [0.55, 0.624, 0.7];

/// What is guessed of all services that are only known, with low, expected and high.
pub const GUESSED: &str =
    "first token 2.5, 1 and 0.5 s, prompts at 5,000, 10,000 and 20,000 tok/s beyond the cache, which lives 5 minutes";

/// What a service made of the tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TasksDone {
    /// Tasks.
    pub tasks: TaskOutcome,
    /// Dollars for each finished task, at the price per token.
    pub usd_per_finished: Option<f64>,
    /// What clients saw.
    pub clients: ClientOutcome,
}

impl TasksDone {
    /// From a run.
    ///
    /// # Errors
    /// Where the run had no tasks, or no clients.
    pub fn of(run: &ServiceOutcome, price: Option<Price>) -> Result<Self, StreamError> {
        let (Some(tasks), Some(clients)) = (&run.tasks, &run.clients) else {
            return Err(StreamError::Setting {
                file: "scenario".into(),
                field: "load.kind".into(),
                problem: "has no tasks, or no clients with a plan".into(),
                allowed: "tasks, with service.plan".into(),
            });
        };
        let usd_per_finished = price.and_then(|price| {
            tasks.dollars_per_finished([price.input, price.cached.unwrap_or(price.input), price.output])
        });
        Ok(Self { tasks: tasks.clone(), usd_per_finished, clients: clients.clone() })
    }
}

impl Side {
    /// The value of a range at this side.
    pub const fn of(self, range: Range) -> f64 {
        let [low, expected, high] = range;
        match self {
            Self::Low => low,
            Self::Expected => expected,
            Self::High => high,
        }
    }
}

/// The tasks of a service at a side: how many steps, and how often an attempt succeeds.
pub fn tasks_at(settings: &TaskSettings, side: Side, steps: Range, success: Range) -> TaskSettings {
    TaskSettings { steps: (settings.steps * side.of(steps)).max(1.0), success: side.of(success), ..*settings }
}

impl KnownService {
    /// Its plan.
    ///
    /// # Errors
    /// None that its figures can cause.
    fn plan(&self) -> Result<ServicePlan, StreamError> {
        let limits = self.per_minute.map_or_else(String::new, |[requests, tokens]| {
            format!("requests = {{ minute = {requests} }}\ntokens = {{ minute = {tokens} }}\n")
        });
        let plan = ServicePlan::parse(&format!("{limits}cache_life = 300.0"), self.name)?;
        Ok(ServicePlan { price: Some(self.price), ..plan })
    }

    /// Runs tasks against it. Clients are like `clients`, each with the service's plan.
    ///
    /// # Errors
    /// None that its figures can cause.
    pub fn run(&self, settings: &TaskSettings, clients: &ClientSettings, side: Side) -> Result<TasksDone, StreamError> {
        let settings = tasks_at(settings, side, self.steps, self.success);
        let clients = ClientSettings { plan: self.plan()?, ..clients.clone() };
        let life = clients.plan.cache_life.map(Time::from_seconds);
        let mut load = Clients::new(Tasks::new(settings, clients.seed, Time::ZERO), clients.clone(), Time::ZERO);
        let service = Service {
            policy: Box::new(FirstCome),
            admission: Box::new(Whole),
            micro_batch: 1,
            chunk: u32::MAX,
            prefill: true,
            elsewhere: None,
            prefix_cache: Some(HostMemory::default()),
            cache_life: life,
            speculation: None,
            longest: u32::MAX,
            experts: None,
            replicas: Replicas::default(),
        };
        let length = Length { warm_up: Time::ZERO, window: LONGEST_RUN, requests: None, seed: clients.seed };
        let costs = SpeedCosts::new(side.of(self.speed), side.of(self.first_token), side.of(self.prompt_speed));
        let room = Ledger::of_tokens(ENDLESS);
        let run = Engine::new(costs, room, service, &mut load, &mut Nobody, length).run(|_| {});
        let run = ServiceOutcome { clients: Some(load.outcome(run.window_end)), ..run };
        TasksDone::of(&run, Some(self.price))
    }
}

/// Tokens for which there is always room.
const ENDLESS: u64 = 1 << 50;

/// Times of a service that is known by its speed: nobody holds up anybody.
#[derive(Debug)]
struct SpeedCosts {
    first: f64,
    per_prompt_token: f64,
    decode: PassTimes,
    prefill: PassTimes,
}

const ONE: [StationKind; 1] = [StationKind::Slot { slot: 0, wafer: 0 }];

impl SpeedCosts {
    fn new(speed: f64, first_token: f64, prompt_speed: f64) -> Self {
        let per_token = Time::from_seconds(1.0 / speed.max(1e-6)).0;
        Self {
            first: first_token,
            per_prompt_token: 1.0 / prompt_speed.max(1e-6),
            decode: PassTimes::new(&[(per_token, 0)], 0),
            prefill: PassTimes::new(&[(0, 0)], 0),
        }
    }
}

impl Costs for SpeedCosts {
    fn stations(&self) -> &[StationKind] {
        &ONE
    }

    fn step_of(&self, _context: u32) -> u32 {
        0
    }

    fn decode(&mut self, _users: u32, _steps: u64) -> &PassTimes {
        &self.decode
    }

    fn way(&mut self, _before: u32, _target: u32, _chunk: u32) -> Way {
        Way::Chunks
    }

    fn prefill(&mut self, tokens: u32, _before: u32, _way: Way) -> &PassTimes {
        let time = Time::from_seconds(self.first + f64::from(tokens) * self.per_prompt_token);
        self.prefill = PassTimes::new(&[(time.0, 0)], 0);
        &self.prefill
    }

    fn draft(&mut self, _step: u32) -> DraftTime {
        DraftTime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::{ClientProfile, Delivery};
    use crate::load::{DayCurve, Lengths};

    fn settings() -> TaskSettings {
        TaskSettings {
            agents: 6,
            prefix: Lengths::fixed(12_400),
            common: 10_000,
            append: Lengths::fixed(1000),
            output: Lengths::fixed(320),
            planning: 0.0,
            plan: 800,
            steps: 1.0,
            repeat: 0.0,
            check: 20.0,
            success: 1.0,
            attempts: 1,
            repair: 0.5,
            tool: 1.0,
            tool_ends: [0.005, 600.0],
            think: 30.0,
            longest: 131_072,
            tasks: Some(60),
            day: DayCurve::default(),
        }
    }

    fn clients() -> ClientSettings {
        ClientSettings {
            plan: ServicePlan::built_in("none").expect("built in"),
            profile: ClientProfile::preset("openai-sdk").expect("a preset"),
            organisations: 6,
            network: 0.05,
            host: 0.004,
            delivery: Delivery::default(),
            patience: None,
            deadline: None,
            seed: 3,
        }
    }

    /// One call: the way there, the first token, 12,400 + 1,000 tokens of a prompt less what the cache has, 319 tokens.
    #[test]
    fn a_call_takes_what_the_figures_say() {
        let service = KnownService { steps: [1.0; 3], success: [1.0; 3], ..SERVICES[0].clone() };
        let done = service.run(&settings(), &clients(), Side::Expected).expect("it runs");
        assert_eq!((done.tasks.finished, done.tasks.unfinished), (60, 0));
        let fresh = (13_400 * 60 - done.tasks.cached_tokens) as f64 / 60.0;
        let call = 0.054 + 1.0 + fresh / 10_000.0 + 319.0 / 70.0;
        assert!((done.tasks.shares.service - call).abs() < 1e-6, "{} {call}", done.tasks.shares.service);
        let time = done.tasks.time.expect("finished").mean;
        assert!((time - call - 20.0).abs() < 1e-3, "{time}");
        let cost = (fresh * 3.0 + (13_400.0 - fresh) * 0.3 + 320.0 * 15.0) * 1e-6;
        assert!((done.usd_per_finished.expect("a price") - cost).abs() < 1e-9);
    }

    /// The same tasks at every service: a faster one, and nothing else, is faster.
    #[test]
    fn who_is_faster_is_done_sooner() {
        let tasks = TaskSettings { steps: 8.0, repeat: 0.1, success: 0.6, attempts: 3, planning: 3.0, ..settings() };
        let at = |speed: f64| {
            let service = KnownService { speed: [speed; 3], steps: [1.0; 3], success: [0.6; 3], ..SERVICES[0].clone() };
            service.run(&tasks, &clients(), Side::Expected).expect("it runs").tasks
        };
        let (slow, fast) = (at(50.0), at(2000.0));
        assert_eq!((slow.finished, slow.calls, slow.output_tokens), (fast.finished, fast.calls, fast.output_tokens));
        let saved = slow.shares.service - fast.shares.service;
        // Of every answer, all tokens but the first.
        let calls = slow.calls.expect("calls") * slow.ended() as f64;
        let tokens = (slow.output_tokens as f64 - calls) / slow.ended() as f64;
        let by_hand = tokens * (1.0 / 50.0 - 1.0 / 2000.0);
        // What the cache still has after longer pauses differs a little.
        assert!((saved / by_hand - 1.0).abs() < 0.03, "{saved} {by_hand}");
    }
}
