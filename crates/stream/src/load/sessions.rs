//! Coding agents: long shared prefixes, short appends, tools between steps.
//!
//! An agent works in a session. A request of its user takes several steps; each step sends the session so far and
//! some new tokens, and its answer becomes part of the session; between steps a tool runs. After the last step the user
//! thinks. A session that would become longer than allowed ends, and the agent begins a new one with a summary.
//!
//! Figures: TraceLab, 357k calls of coding agents (sources.md#tracelab): median prefix 118,656 tokens, appended 875,
//! output 214, 8.8 steps a request, tool time p50 0.1 s, p90 10 s, p99 3.2 min. What is not published is guessed, with
//! a low and a high: [`guesses`]. That the number of steps is geometric is a guess too.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use super::helpers::{Helped, HelpersAtWork};
use super::{DayCurve, Helpers, Lengths, LoadSource, Shorter, SideWhen};
use crate::random::{Purpose, stream};
use crate::request::{Content, Request};
use crate::time::Time;

/// Settings of coding agents.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct SessionSettings {
    /// Agents.
    pub agents: u32,
    /// Tokens of a session when it begins, those in common included.
    pub prefix: Lengths,
    /// Tokens that all sessions begin with.
    pub common: u32,
    /// New tokens of a step.
    pub append: Lengths,
    /// Tokens of an answer.
    pub output: Lengths,
    /// Mean steps of a request, at least 1.
    pub steps: f64,
    /// Factor on the tool times of the facts.
    pub tool: f64,
    /// The shortest tool time before the factor, in seconds.
    pub tool_shortest: f64,
    /// The longest tool time before the factor, in seconds.
    pub tool_longest: f64,
    /// Mean time to think between requests, in seconds; exponential.
    pub think: f64,
    /// Tokens at which a session ends.
    pub longest: u32,
    /// Requests in all; nothing is no end. What is sent beside an agent's own work is not counted.
    pub requests: Option<u64>,
    /// How fast users think, hour by hour: factors on one over the time to think.
    #[serde(skip_serializing_if = "DayCurve::is_flat")]
    pub day: DayCurve,
    /// What is sent beside an agent's own work.
    #[serde(skip_serializing_if = "Helpers::is_none")]
    pub helpers: Helpers,
}

/// A figure for which there is no evidence.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Guess {
    /// The setting that it is the default of.
    pub setting: &'static str,
    /// What it is, with its unit.
    pub what: &'static str,
    /// The default.
    pub value: f64,
    /// What it could as well be, at the low end.
    pub low: f64,
    /// And at the high end.
    pub high: f64,
    /// What the range rests on.
    pub why: &'static str,
}

/// Tokens that all sessions begin with.
pub const COMMON: Guess = Guess {
    setting: "load.common",
    what: "tokens that all sessions begin with",
    value: 16_384.0,
    low: 4096.0,
    high: 32_768.0,
    why: "system prompt and descriptions of tools: a few thousand tokens, and more with many tools",
};
/// Spread of the new tokens of a step.
pub const APPEND_SPREAD: Guess = Guess {
    setting: "load.append.spread",
    what: "standard deviation of the logarithm of the new tokens of a step",
    value: 1.0,
    low: 0.5,
    high: 1.5,
    why: "lengths in public request traces are roughly lognormal with about 1",
};
/// Spread of answers.
pub const OUTPUT_SPREAD: Guess = Guess {
    setting: "load.output.spread",
    what: "standard deviation of the logarithm of the tokens of an answer",
    ..APPEND_SPREAD
};
/// Spread of the tokens of a session when it begins.
pub const PREFIX_SPREAD: Guess = Guess {
    setting: "load.prefix.spread",
    what: "standard deviation of the logarithm of a session's tokens when it begins",
    value: 0.0,
    low: 0.0,
    high: 0.5,
    why: "a session that became too long begins again with a summary, of about the same length each time",
};
/// Time to think.
pub const THINK: Guess = Guess {
    setting: "load.think",
    what: "mean seconds to think between requests",
    value: 30.0,
    low: 5.0,
    high: 120.0,
    why: "a person who reads what was done, from a glance to a review",
};
/// The shortest tool time.
pub const SHORTEST_TOOL: Guess = Guess {
    setting: "load.tool_shortest",
    what: "seconds of the shortest tool",
    value: 0.005,
    low: 0.001,
    high: 0.02,
    why: "reading a file on the spot; published is the median, 0.1 s",
};
/// The longest tool time.
pub const LONGEST_TOOL: Guess = Guess {
    setting: "load.tool_longest",
    what: "seconds of the longest tool",
    value: 600.0,
    low: 200.0,
    high: 3600.0,
    why: "a build or a test run that is cut off some time; published is p99, 192 s",
};

/// All guesses of coding agents.
pub const fn guesses() -> [Guess; 7] {
    [COMMON, APPEND_SPREAD, OUTPUT_SPREAD, PREFIX_SPREAD, THINK, SHORTEST_TOOL, LONGEST_TOOL]
}

/// Published quantiles of the tool time in seconds (TraceLab); between them, and the guessed ends, the logarithm is
/// linear.
const TOOL_TIMES: [(f64, f64); 3] = [(0.5, 0.1), (0.9, 10.0), (0.99, 192.0)];

#[derive(Debug, Clone, Copy)]
struct Agent {
    session: u64,
    /// Tokens of the session so far.
    tokens: u32,
    steps_left: u32,
    /// New tokens and answer of the present step.
    step: [u32; 2],
    /// Whether a summary of the session was asked for, since it has become too long.
    is_summarised: bool,
}

/// Coding agents.
#[derive(Debug)]
pub struct Sessions {
    settings: SessionSettings,
    agents: Vec<Agent>,
    first: std::vec::IntoIter<Request>,
    random: ChaCha8Rng,
    sessions: u64,
    sent: u64,
    helpers: HelpersAtWork,
    tools: ToolTimes,
}

impl Sessions {
    /// Agents whose first requests come in the first time to think.
    pub fn new(settings: SessionSettings, seed: u64) -> Self {
        let tools = ToolTimes { factor: settings.tool, ends: [settings.tool_shortest, settings.tool_longest] };
        let mut new = Self {
            settings,
            tools,
            agents: vec![
                Agent { session: 0, tokens: u32::MAX, steps_left: 0, step: [0; 2], is_summarised: true };
                settings.agents as usize
            ],
            helpers: HelpersAtWork::new(settings.helpers, settings.agents, tools, seed),
            first: Vec::new().into_iter(),
            random: stream(seed, Purpose::Load),
            sessions: 0,
            sent: 0,
        };
        let mut first: Vec<Request> = (0..settings.agents).filter_map(|agent| new.after(agent, Time::ZERO)).collect();
        first.extend(std::iter::from_fn(|| new.beside()));
        first.sort_by_key(|request| request.arrival);
        new.first = first.into_iter();
        new
    }
}

/// How long tools take: the published quantiles, and what is known of none: the ends, and a factor.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToolTimes {
    /// Factor on all times.
    pub(super) factor: f64,
    /// Shortest and longest time before it, in seconds.
    pub(super) ends: [f64; 2],
}

impl ToolTimes {
    /// The time of a tool.
    pub(super) fn draw(&self, random: &mut ChaCha8Rng) -> Time {
        let at: f64 = random.random();
        let ([median, p90, p99], [shortest, longest]) = (TOOL_TIMES, self.ends);
        let times = [(0.0, shortest), median, p90, p99, (1.0, longest)];
        let pair = times.windows(2).find(|pair| at <= pair[1].0);
        Time::from_seconds(pair.map_or(0.0, |pair| {
            let part = (at - pair[0].0) / (pair[1].0 - pair[0].0);
            pair[0].1 * (pair[1].1 / pair[0].1).powf(part) * self.factor
        }))
    }
}

/// Steps after the first, drawn: geometric, `mean` in all.
pub(super) fn more_steps(random: &mut ChaCha8Rng, mean: f64) -> u32 {
    let more = (1.0 - 1.0 / mean.max(1.0)).max(0.0);
    let drawn: f64 = random.random();
    if more > 0.0 { (drawn.max(1e-300).ln() / more.ln()) as u32 } else { 0 }
}

impl LoadSource for Sessions {
    fn next(&mut self) -> Option<Request> {
        self.first.next()
    }

    fn most_inside(&self) -> Option<u64> {
        Some(u64::from(self.settings.agents).saturating_mul(self.settings.helpers.most_at_once()))
    }

    fn owner(&self, user: u32) -> u32 {
        self.helpers.owner(user)
    }

    /// The session begins anew, as one does that has become too long; nothing for what is sent beside.
    fn shortened(&mut self, user: u32) -> Option<Shorter> {
        let agent = self.agents.get_mut(user as usize)?;
        let [append, output] = agent.step;
        let before = agent.tokens.saturating_sub(append).saturating_sub(output);
        self.sessions += 1;
        (agent.session, agent.is_summarised) = (self.sessions, false);
        let prompt = self.settings.prefix.draw(&mut self.random).min(before).saturating_add(append);
        agent.tokens = prompt.saturating_add(output);
        Some(Shorter { prompt, content: Content::Session { session: agent.session, common: self.settings.common } })
    }

    fn beside(&mut self) -> Option<Request> {
        self.helpers.beside()
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        match self.helpers.after(user, now) {
            Helped::Own => self.step(user, now, false),
            Helped::Next(request) => Some(request),
            Helped::Nothing => None,
            Helped::All { agent } => self.step(agent, now, true),
        }
    }
}

impl Sessions {
    /// The next step of an agent's own work, right after its sub-agents or after a tool.
    fn step(&mut self, user: u32, now: Time, is_helped: bool) -> Option<Request> {
        if self.settings.requests.is_some_and(|most| self.sent >= most) {
            return None;
        }
        let mut agent = *self.agents.get(user as usize)?;
        let is_asked = agent.steps_left == 0 && !is_helped;
        if !is_asked && !is_helped && self.helpers.fan_out(user, now, &mut self.sessions) {
            return None;
        }
        self.sent += 1;
        let arrival = if is_helped {
            agent.steps_left = agent.steps_left.saturating_sub(1);
            now
        } else if is_asked {
            // At least one step: this one.
            agent.steps_left = more_steps(&mut self.random, self.settings.steps);
            let think: f64 = Exp1.sample(&mut self.random);
            self.settings.day.after(now, think * self.settings.think)
        } else {
            agent.steps_left -= 1;
            now + self.tools.draw(&mut self.random)
        };
        // Half a session at most, so that there is always room for some of it before.
        let half = (self.settings.longest / 2).saturating_sub(1).max(1);
        let append = self.settings.append.draw(&mut self.random).min(half);
        let output = self.settings.output.draw(&mut self.random).min(half);
        let needed = u64::from(append) + u64::from(output);
        if u64::from(agent.tokens) + needed > u64::from(self.settings.longest) {
            let summary = self.settings.helpers.summary.min(half);
            if summary > 0 && !agent.is_summarised {
                // The whole session once more, for a short answer; the step itself comes after it.
                agent.is_summarised = true;
                agent.steps_left = agent.steps_left.saturating_add(1);
                let prompt = agent.tokens.min(self.settings.longest.saturating_sub(summary)).max(1);
                let content = Content::Session { session: agent.session, common: self.settings.common };
                self.agents[user as usize] = agent;
                return Some(Request { arrival, user, prompt, output: summary, content });
            }
            self.sessions += 1;
            (agent.session, agent.is_summarised) = (self.sessions, false);
            let room = u64::from(self.settings.longest).saturating_sub(needed).max(1);
            agent.tokens = self.settings.prefix.draw(&mut self.random).min(u32::try_from(room).unwrap_or(u32::MAX));
            self.helpers.side(SideWhen::Session, user, arrival);
        }
        if is_asked {
            self.helpers.side(SideWhen::Request, user, arrival);
        }
        let prompt = agent.tokens.saturating_add(append);
        agent.tokens = prompt.saturating_add(output);
        agent.step = [append, output];
        self.agents[user as usize] = agent;
        let content = Content::Session { session: agent.session, common: self.settings.common };
        Some(Request { arrival, user, prompt, output, content })
    }
}

impl SessionSettings {
    /// The value of a guessed setting in these.
    pub fn value(&self, guess: &Guess) -> Option<f64> {
        match guess.setting {
            "load.common" => Some(f64::from(self.common)),
            "load.append.spread" => Some(self.append.spread),
            "load.output.spread" => Some(self.output.spread),
            "load.prefix.spread" => Some(self.prefix.spread),
            "load.think" => Some(self.think),
            "load.tool_shortest" => Some(self.tool_shortest),
            "load.tool_longest" => Some(self.tool_longest),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guess_lies_in_its_range_and_is_a_setting() {
        let settings = SessionSettings {
            agents: 1,
            prefix: Lengths { median: 1000, spread: PREFIX_SPREAD.value, longest: 4000 },
            common: COMMON.value as u32,
            append: Lengths { median: 100, spread: APPEND_SPREAD.value, longest: 4000 },
            output: Lengths { median: 100, spread: OUTPUT_SPREAD.value, longest: 4000 },
            steps: 8.8,
            tool: 1.0,
            tool_shortest: SHORTEST_TOOL.value,
            tool_longest: LONGEST_TOOL.value,
            think: THINK.value,
            longest: 4000,
            requests: None,
            day: DayCurve::default(),
            helpers: Helpers::default(),
        };
        for guess in guesses() {
            assert!(guess.low <= guess.value && guess.value <= guess.high && guess.low < guess.high, "{guess:?}");
            assert_eq!(settings.value(&guess), Some(guess.value), "{guess:?}");
        }
    }
}
