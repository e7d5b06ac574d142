//! Coding tasks from beginning to end: planning, attempts that fail and are repeated, and the time to a finished task.
//!
//! A user gives an agent a task. The agent plans in a few calls, the last of which answers with a plan; then it makes an
//! attempt: steps with tools in between, of which some have to be repeated since a tool refused what the model wrote. At
//! the end of the attempt tests run. Where they pass, the task is finished, and the user reads what was done and thinks
//! of another; where they fail, the agent makes another, shorter attempt with all it has in its context, up to a number
//! of attempts; after the last the task stays unfinished.
//!
//! Figures: a trial of Codex on SWE-bench Pro has 33 calls, 17,200 tokens of answers, a first context of 12,400 tokens
//! and a last one of 84,000, in the mean of 610 (`Inferact/codex_swebenchpro_traces`): the lengths and the number of
//! steps. Qwen3-Coder-480B solves 62.4 % of SWE-bench Verified (OpenHands index): that an attempt succeeds. What is not
//! published is guessed: [`task_guesses`].

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1};
use serde::{Deserialize, Serialize};

use super::sessions::{Guess, ToolTimes, more_steps};
use super::{DayCurve, Lengths, LoadSource, Lost, Story};
use crate::random::{Purpose, stream_of};
use crate::request::{Content, Request};
use crate::statistics::{Distribution, Summary};
use crate::time::Time;

/// Settings of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TaskSettings {
    /// Agents, each of which works on one task at a time.
    pub agents: u32,
    /// Tokens of a task's first context, those in common included.
    pub prefix: Lengths,
    /// Tokens that all tasks begin with.
    pub common: u32,
    /// New tokens of a call.
    pub append: Lengths,
    /// Tokens of an answer.
    pub output: Lengths,
    /// Mean calls of planning; 0: none. Geometric.
    pub planning: f64,
    /// Tokens of the plan.
    pub plan: u32,
    /// Mean steps of the first attempt, at least 1. Geometric.
    pub steps: f64,
    /// Probability that a step has to be repeated.
    pub repeat: f64,
    /// Seconds of the tests at the end of an attempt.
    pub check: f64,
    /// Probability that an attempt succeeds.
    pub success: f64,
    /// Attempts at most.
    pub attempts: u32,
    /// Steps of a further attempt, in parts of those of the first.
    pub repair: f64,
    /// Factor on the tool times of the facts.
    pub tool: f64,
    /// Shortest and longest tool time before the factor, in seconds.
    pub tool_ends: [f64; 2],
    /// Mean seconds between tasks; exponential.
    pub think: f64,
    /// Tokens at which an agent goes on with a summary.
    pub longest: u32,
    /// Tasks in all, dealt out to the agents; nothing is no end.
    pub tasks: Option<u64>,
    /// How fast users think, hour by hour.
    #[serde(skip_serializing_if = "DayCurve::is_flat")]
    pub day: DayCurve,
}

const fn guess(setting: &'static str, what: &'static str, [low, value, high]: [f64; 3], why: &'static str) -> Guess {
    Guess { setting, what, value, low, high, why }
}

/// Calls of planning.
pub const PLANNING: Guess = guess(
    "load.planning",
    "mean calls of planning",
    [0.0, 3.0, 8.0],
    "agents read some files before they write; from none to a separate mode for plans",
);
/// Tokens of a plan.
pub const PLAN: Guess =
    guess("load.plan", "tokens of a plan", [200.0, 800.0, 3000.0], "a list of steps, or a page with reasons");
/// Steps that are repeated.
pub const REPEAT: Guess = guess(
    "load.repeat",
    "probability that a step has to be repeated",
    [0.03, 0.1, 0.25],
    "edits whose context is not found, calls with wrong arguments, commands that do not run",
);
/// Tests.
pub const CHECK: Guess = guess(
    "load.check",
    "seconds of the tests at the end of an attempt",
    [5.0, 20.0, 200.0],
    "some unit tests, up to a build; p99 of tools is 192 s",
);
/// Success.
pub const SUCCESS: Guess = guess(
    "load.success",
    "probability that an attempt succeeds",
    [0.4, 0.624, 0.8],
    "the share of SWE-bench Verified that Qwen3-Coder-480B solves; that a second attempt is as good as the first is a guess",
);
/// Attempts.
pub const ATTEMPTS: Guess = guess("load.attempts", "attempts at most", [1.0, 3.0, 5.0], "then a person takes over");
/// Length of further attempts.
pub const REPAIR: Guess = guess(
    "load.repair",
    "steps of a further attempt, in parts of the first",
    [0.25, 0.5, 1.0],
    "much of what was read is still in the context",
);

/// All guesses of tasks.
pub const fn task_guesses() -> [Guess; 7] {
    [PLANNING, PLAN, REPEAT, CHECK, SUCCESS, ATTEMPTS, REPAIR]
}

impl TaskSettings {
    /// The value of a guessed setting in these.
    pub fn value(&self, guess: &Guess) -> Option<f64> {
        match guess.setting {
            "load.planning" => Some(self.planning),
            "load.plan" => Some(f64::from(self.plan)),
            "load.repeat" => Some(self.repeat),
            "load.check" => Some(self.check),
            "load.success" => Some(self.success),
            "load.attempts" => Some(f64::from(self.attempts)),
            "load.repair" => Some(self.repair),
            _ => None,
        }
    }

    /// Mean attempts of a task: the sum of the probabilities that each is made.
    pub fn mean_attempts(&self) -> f64 {
        (0..self.attempts).map(|before| (1.0 - self.success).powi(before as i32)).sum()
    }

    /// The share of tasks that are finished.
    pub fn finished_share(&self) -> f64 {
        1.0 - (1.0 - self.success).powi(self.attempts as i32)
    }
}

/// What became of tasks that ended in the window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Tasks that were finished.
    pub finished: u64,
    /// Tasks that were left unfinished after the last attempt.
    pub unfinished: u64,
    /// Tasks that agents are at work on at the end.
    pub at_work: u64,
    /// Seconds from a task's beginning to its end, of finished tasks.
    pub time: Option<Summary>,
    /// Seconds of all tasks that ended, for each that was finished: what an unfinished one cost is shared out.
    pub seconds_per_finished: Option<f64>,
    /// Attempts for each task that ended.
    pub attempts: Option<f64>,
    /// Calls for each task that ended.
    pub calls: Option<f64>,
    /// Requests of these that their client gave up: the agent went on without an answer.
    pub without_answer: u64,
    /// Mean seconds of a task that ended.
    pub shares: TaskShares,
    /// Tokens of prompts, of all tasks that ended, those of the cache included.
    pub prompt_tokens: u64,
    /// Of these, tokens that the cache had.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
}

impl TaskOutcome {
    /// Tasks that ended.
    pub const fn ended(&self) -> u64 {
        self.finished + self.unfinished
    }

    /// Dollars for each finished task at prices per million tokens (new input, cached input, output).
    pub fn dollars_per_finished(&self, [input, cached, output]: [f64; 3]) -> Option<f64> {
        let fresh = self.prompt_tokens.saturating_sub(self.cached_tokens) as f64 * input;
        let all = fresh + self.cached_tokens as f64 * cached + self.output_tokens as f64 * output;
        (self.finished > 0).then(|| all * 1e-6 / self.finished as f64)
    }
}

/// Where the time of a task goes, in the mean, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskShares {
    /// Waiting for the service, from wanting an answer to its end, refusals included.
    pub service: f64,
    /// Tools.
    pub tools: f64,
    /// Tests at the end of attempts.
    pub checks: f64,
}

/// A task in work.
#[derive(Debug, Clone, Copy, Default)]
struct Task {
    session: u64,
    /// Tokens of its context so far.
    tokens: u32,
    /// Whether there is one; before the first there is none.
    is_there: bool,
    planning_left: u32,
    calls_left: u32,
    /// Steps of its first attempt.
    steps: u32,
    attempts: u32,
    calls: u64,
    without_answer: u64,
    began: Time,
    sent: Time,
    was_served: bool,
    service: Time,
    tools: Time,
    checks: Time,
    prompt: u64,
    cached: u64,
    output: u64,
}

/// Agents at work on tasks.
#[derive(Debug)]
pub struct Tasks {
    settings: TaskSettings,
    agents: Vec<Task>,
    /// Each agent has its own, so that it has the same tasks whatever others do: at every service.
    random: Vec<ChaCha8Rng>,
    begun: Vec<u64>,
    first: std::vec::IntoIter<Request>,
    sessions: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Counts {
    from: Time,
    outcome: TaskOutcome,
    times: Distribution,
    /// Picoseconds of tasks that ended: service, tools, checks.
    sums: [u128; 3],
    attempts: u64,
    calls: u64,
}

/// Longest time that is told apart: 10^7 s, in microseconds.
const LONGEST: u64 = 10_000_000_000_000;

impl Tasks {
    /// Agents whose first tasks come in the first time to think; what ends after `from` counts.
    pub fn new(settings: TaskSettings, seed: u64, from: Time) -> Self {
        let counts = Counts {
            from,
            outcome: TaskOutcome::default(),
            times: Distribution::new(LONGEST, 1e-6),
            sums: [0; 3],
            attempts: 0,
            calls: 0,
        };
        let mut new = Self {
            settings,
            agents: vec![Task::default(); settings.agents as usize],
            random: (0..settings.agents).map(|agent| stream_of(seed, Purpose::Tasks, agent)).collect(),
            begun: vec![0; settings.agents as usize],
            first: Vec::new().into_iter(),
            sessions: 0,
            counts,
        };
        let mut first: Vec<Request> = (0..settings.agents).filter_map(|agent| new.after(agent, Time::ZERO)).collect();
        first.sort_by_key(|request| request.arrival);
        new.first = first.into_iter();
        new
    }

    /// Tasks of an agent: all of them are dealt out.
    fn most(&self, user: u32) -> Option<u64> {
        let (tasks, agents) = (self.settings.tasks?, u64::from(self.settings.agents.max(1)));
        Some(tasks / agents + u64::from(u64::from(user) < tasks % agents))
    }

    /// A new task, after its user has thought of it.
    fn begin(&mut self, user: u32, now: Time) -> Option<(Task, Time)> {
        let most = self.most(user);
        let (settings, random) = (&self.settings, self.random.get_mut(user as usize)?);
        let begun = self.begun.get_mut(user as usize)?;
        if most.is_some_and(|most| *begun >= most) {
            return None;
        }
        *begun += 1;
        self.sessions += 1;
        let think: f64 = Exp1.sample(random);
        let at = settings.day.after(now, think * settings.think);
        let planning_left = if settings.planning >= 1.0 {
            1 + more_steps(random, settings.planning)
        } else {
            u32::from(random.random::<f64>() < settings.planning)
        };
        let steps = 1 + more_steps(random, settings.steps);
        let room = settings.longest.saturating_sub(2).max(1);
        let task = Task {
            session: self.sessions,
            tokens: settings.prefix.draw(random).min(room),
            is_there: true,
            planning_left,
            calls_left: steps,
            steps,
            attempts: 1,
            began: at,
            ..Task::default()
        };
        Some((task, at))
    }

    /// A call of a task at `at`.
    fn call(&mut self, user: u32, mut task: Task, at: Time) -> Option<Request> {
        let (settings, random) = (&self.settings, self.random.get_mut(user as usize)?);
        let half = (settings.longest / 2).saturating_sub(1).max(1);
        let append = settings.append.draw(random).min(half);
        let mut output = settings.output.draw(random).min(half);
        if task.planning_left > 0 {
            task.planning_left -= 1;
            if task.planning_left == 0 {
                output = settings.plan.clamp(1, half);
            }
        } else if random.random::<f64>() >= settings.repeat {
            task.calls_left = task.calls_left.saturating_sub(1);
        }
        let needed = u64::from(append) + u64::from(output);
        if u64::from(task.tokens) + needed > u64::from(settings.longest) {
            // It goes on with a summary, as long as what it began with.
            self.sessions += 1;
            task.session = self.sessions;
            let room = u32::try_from(u64::from(settings.longest).saturating_sub(needed)).unwrap_or(u32::MAX);
            task.tokens = settings.prefix.draw(random).min(room.max(1));
        }
        let prompt = task.tokens.saturating_add(append);
        task.tokens = prompt.saturating_add(output);
        task.calls += 1;
        (task.sent, task.was_served) = (at, false);
        let content = Content::Session { session: task.session, common: settings.common };
        if let Some(agent) = self.agents.get_mut(user as usize) {
            *agent = task;
        }
        Some(Request { arrival: at, user, prompt, output, content })
    }

    /// A task has ended.
    fn end(&mut self, task: &Task, is_finished: bool, now: Time) {
        let counts = &mut self.counts;
        if now < counts.from {
            return;
        }
        let outcome = &mut counts.outcome;
        *(if is_finished { &mut outcome.finished } else { &mut outcome.unfinished }) += 1;
        if is_finished {
            counts.times.add((now - task.began).nanoseconds() / 1000, 1);
        }
        counts.attempts += u64::from(task.attempts);
        counts.calls += task.calls;
        for (sum, part) in counts.sums.iter_mut().zip([task.service, task.tools, task.checks]) {
            *sum += u128::from(part.0);
        }
        outcome.without_answer += task.without_answer;
        outcome.prompt_tokens += task.prompt;
        outcome.cached_tokens += task.cached;
        outcome.output_tokens += task.output;
    }
}

impl LoadSource for Tasks {
    fn next(&mut self) -> Option<Request> {
        self.first.next()
    }

    fn most_inside(&self) -> Option<u64> {
        Some(u64::from(self.settings.agents))
    }

    fn served(&mut self, story: &Story<'_>) {
        let Some(task) = self.agents.get_mut(story.request.user as usize) else { return };
        task.was_served = true;
        task.prompt += u64::from(story.request.prompt);
        task.cached += u64::from(story.cached);
        task.output += u64::from(story.request.output);
    }

    fn lost(&mut self, lost: &Lost<'_>, now: Time) -> Option<Request> {
        self.after(lost.request.user, now)
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        let mut task = *self.agents.get(user as usize)?;
        let mut at = now;
        if task.is_there {
            task.service += now - task.sent;
            task.without_answer += u64::from(!task.was_served);
            let work_left = task.planning_left > 0 || task.calls_left > 0;
            if work_left {
                let tools = ToolTimes { factor: self.settings.tool, ends: self.settings.tool_ends };
                let tool = tools.draw(self.random.get_mut(user as usize)?);
                task.tools += tool;
                return self.call(user, task, now + tool);
            }
            let check = Time::from_seconds(self.settings.check);
            task.checks += check;
            at = now + check;
            let is_finished = self.random.get_mut(user as usize)?.random::<f64>() < self.settings.success;
            if !is_finished && task.attempts < self.settings.attempts {
                task.attempts += 1;
                task.calls_left = ((f64::from(task.steps) * self.settings.repair).ceil() as u32).max(1);
                return self.call(user, task, at);
            }
            self.end(&task, is_finished, at);
        }
        if let Some(agent) = self.agents.get_mut(user as usize) {
            agent.is_there = false;
        }
        let (new, at) = self.begin(user, at)?;
        self.call(user, new, at)
    }

    fn tasks(&self, _end: Time) -> Option<TaskOutcome> {
        let counts = &self.counts;
        let ended = counts.outcome.ended();
        let mean = |sum: f64| (ended > 0).then(|| sum / ended as f64);
        let seconds = counts.sums.map(|sum| sum as f64 * 1e-12);
        let [service, tools, checks] = seconds.map(|sum| mean(sum).unwrap_or(0.0));
        let finished = counts.outcome.finished;
        Some(TaskOutcome {
            at_work: self.agents.iter().filter(|task| task.is_there).count() as u64,
            time: counts.times.summary(),
            seconds_per_finished: (finished > 0).then(|| seconds.iter().sum::<f64>() / finished as f64),
            attempts: mean(counts.attempts as f64),
            calls: mean(counts.calls as f64),
            shares: TaskShares { service, tools, checks },
            ..counts.outcome.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guess_lies_in_its_range() {
        for guess in task_guesses() {
            assert!(guess.low <= guess.value && guess.value <= guess.high && guess.low < guess.high, "{guess:?}");
        }
    }
}
