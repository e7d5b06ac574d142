//! The closed form's own load, event by event: so many users, who never pause, every one of whose tokens sees the
//! context of the scenario.
//!
//! The closed form takes users as ceil(U / b) full micro-batches of b that follow each other in even gaps. Here users
//! join whatever pass enters next: micro-batches may be smaller, and bunch. Prompts are not computed, room is what the
//! placement has proved, the context does not grow; so one user alone gets the closed form's figure exactly, and what
//! differs under load is only who waits for whom.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use wafersim_answer::rows::Rows;
use wafersim_answer::{Pipeline, Question};
use wafersim_spec::Scenario;

use crate::admission::Whole;
use crate::balancer::Replicas;
use crate::closed_form::{ClosedForm, PromptRule};
use crate::costs::{Costs, DraftTime, PassTimes, StationKind, Way};
use crate::engine::{Drafting, Engine, Length, Service};
use crate::error::StreamError;
use crate::kv::Ledger;
use crate::load::{ClosedLoop, ClosedSettings, DayCurve, Lengths};
use crate::observer::Nobody;
use crate::policy::FirstCome;
use crate::result::StepParts;
use crate::run::LONGEST_PASS;
use crate::statistics::Summary;
use crate::time::Time;

/// What users get, event by event, beside the closed form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Steady {
    /// Users.
    pub users: u64,
    /// Tokens that every token sees.
    pub context: u64,
    /// Seed: it draws accepted drafts, where there is speculation.
    pub seed: u64,
    /// Output tokens per second of an answer's user (see `answer_tokens`), over the answers that ended in the window.
    pub user_speed: Summary,
    /// Output tokens of an answer after its first: the window of a user's speed.
    pub answer_tokens: u32,
    /// Output tokens per second of all users, over the window.
    pub tokens_per_second_total: f64,
    /// Seconds between two steps of a user.
    pub between_steps: Summary,
    /// Where the time between two steps goes, in the mean, in seconds.
    pub step_parts: StepParts,
    /// Users of a pass, in the mean.
    pub micro_batch: f64,
    /// Seconds before the window.
    pub warm_up_s: f64,
    /// Seconds of the window.
    pub window_s: f64,
    /// The closed form of the same placement: tokens per second of each user.
    pub closed_form_per_user: f64,
    /// The closed form: tokens per second of all users.
    pub closed_form_total: f64,
    /// The closed form: users of a micro-batch.
    pub closed_form_micro_batch: u64,
}

impl Steady {
    /// By how much the median user's speed differs from the closed form, in per cent.
    pub fn deviation_percent(&self) -> f64 {
        (self.user_speed.p50 / self.closed_form_per_user - 1.0) * 100.0
    }
}

/// Most users of a run.
const MOST_USERS: u64 = 1_000_000;
/// Tokens of an answer after its first where users are few.
const ANSWER_TOKENS: u64 = 64;
/// The same with speculation: drafts beyond the end of an answer are lost, which shall not count.
const DRAFTED_ANSWER_TOKENS: u64 = 512;
/// Steps of all users together in an answer's time: with many users answers are shorter.
const MOST_STEPS: u64 = 4_000_000;
/// Lengths of an answer in the closed form's time: the warm-up, and the window.
const WARM_UP_ANSWERS: f64 = 1.0;
const WINDOW_ANSWERS: f64 = 8.0;

/// Runs the load of a question.
///
/// # Errors
/// Where the model does not fit, a pass takes too long, or there are too many users.
pub fn steady(question: Question, seed: u64) -> Result<Steady, StreamError> {
    let pipeline = Pipeline::new(question, None)?;
    let scenario = &pipeline.question().scenario;
    let users = u32::try_from(scenario.users).ok().filter(|users| u64::from(*users) <= MOST_USERS);
    let users = users.ok_or_else(|| StreamError::Setting {
        file: "scenario".into(),
        field: "users".into(),
        problem: format!("is {}", scenario.users),
        allowed: format!("at most {MOST_USERS} in a run event by event"),
    })?;
    let context = u32::try_from(scenario.context).unwrap_or(u32::MAX / 2);
    let timing = pipeline.timing();
    let pass = timing.times.latency.total().seconds(pipeline.clock());
    if !(pass > 0.0 && pass <= LONGEST_PASS) {
        return Err(StreamError::TooSlow { seconds: pass });
    }
    let per_token = timing.seconds_per_token(pipeline.question());
    let is_drafted = scenario.speculation.draft_length > 0;
    let longest = if is_drafted { DRAFTED_ANSWER_TOKENS } else { ANSWER_TOKENS };
    let answer_tokens = (MOST_STEPS / u64::from(users).max(1)).clamp(4, longest) as u32;
    let output = answer_tokens + 1;
    let answer = per_token * f64::from(answer_tokens);
    let length = Length {
        warm_up: Time::from_seconds(answer * WARM_UP_ANSWERS),
        window: Time::from_seconds(answer * WINDOW_ANSWERS),
        requests: None,
        seed,
    };
    let settings = ClosedSettings {
        users,
        think: 0.0,
        prompt: Lengths::fixed(context),
        output: Lengths::fixed(output),
        requests: None,
        day: DayCurve::default(),
    };
    let closed_form = ClosedForm::new(&pipeline, context, PromptRule::default());
    let step = closed_form.step_of(context);
    let costs = AtOneContext { closed_form, step };
    let tokens = u64::from(context) + u64::from(output);
    let service = Service {
        policy: Box::new(FirstCome),
        admission: Box::new(Whole),
        micro_batch: u32::try_from(pipeline.micro_batch()).unwrap_or(u32::MAX),
        chunk: 1,
        prefill: false,
        elsewhere: None,
        prefix_cache: None,
        cache_life: None,
        speculation: Drafting::of(&pipeline),
        longest: context.saturating_add(output),
        experts: None,
        replicas: Replicas::default(),
    };
    let ledger = Ledger::of_tokens(tokens.saturating_mul(u64::from(users)));
    let mut load = ClosedLoop::new(settings, seed);
    let outcome = Engine::new(costs, ledger, service, &mut load, &mut Nobody, length).run(|_| {});
    let (Some(user_speed), Some(between_steps)) = (outcome.user_speed, outcome.between_steps) else {
        // Not reached: the window holds several answers of every user.
        return Err(StreamError::TooSlow { seconds: pass });
    };
    Ok(Steady {
        users: scenario.users,
        context: scenario.context,
        seed,
        user_speed,
        answer_tokens,
        tokens_per_second_total: outcome.tokens_per_second.mean,
        between_steps,
        step_parts: outcome.step_parts,
        micro_batch: outcome.queues.micro_batch,
        warm_up_s: length.warm_up.seconds(),
        window_s: length.window.seconds(),
        closed_form_per_user: 1.0 / per_token,
        closed_form_total: scenario.users as f64 / per_token,
        closed_form_micro_batch: pipeline.micro_batch(),
    })
}

/// The same for many scenarios side by side; the order is theirs, whatever the number of threads. Scenarios that are
/// not there have no result.
///
/// # Errors
/// The first of [`steady`]'s, in the order of the scenarios; and where a run cannot be kept.
pub fn steady_each<Error: From<StreamError> + Send>(
    base: &Question,
    scenarios: Vec<Option<Scenario>>,
    seed: u64,
    rows: &Rows<'_, Option<Steady>, Error>,
) -> Result<Vec<Option<Steady>>, Error> {
    let runs: Vec<Result<Option<Steady>, Error>> = scenarios
        .into_par_iter()
        .enumerate()
        .map(|(place, scenario)| {
            rows.at(place, || {
                let run = |scenario| steady(base.asking(scenario)?, seed);
                Ok(scenario.map(run).transpose()?)
            })
        })
        .collect();
    runs.into_iter().collect()
}

/// The closed form's costs, with every token at one step of the context.
#[derive(Debug)]
struct AtOneContext<'a> {
    closed_form: ClosedForm<'a>,
    step: u32,
}

impl Costs for AtOneContext<'_> {
    fn stations(&self) -> &[StationKind] {
        self.closed_form.stations()
    }

    fn step_of(&self, _context: u32) -> u32 {
        self.step
    }

    fn decode(&mut self, users: u32, steps: u64) -> &PassTimes {
        self.closed_form.decode(users, steps)
    }

    fn way(&mut self, before: u32, target: u32, chunk: u32) -> Way {
        self.closed_form.way(before, target, chunk)
    }

    fn prefill(&mut self, tokens: u32, before: u32, way: Way) -> &PassTimes {
        self.closed_form.prefill(tokens, before, way)
    }

    fn draft(&mut self, step: u32) -> DraftTime {
        self.closed_form.draft(step)
    }
}
