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

use super::{Lengths, LoadSource};
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
    /// Requests in all; nothing is no end.
    pub requests: Option<u64>,
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
}

impl Sessions {
    /// Agents whose first requests come in the first time to think.
    pub fn new(settings: SessionSettings, seed: u64) -> Self {
        let mut new = Self {
            settings,
            agents: vec![Agent { session: 0, tokens: u32::MAX, steps_left: 0 }; settings.agents as usize],
            first: Vec::new().into_iter(),
            random: stream(seed, Purpose::Load),
            sessions: 0,
            sent: 0,
        };
        let mut first: Vec<Request> = (0..settings.agents).filter_map(|agent| new.after(agent, Time::ZERO)).collect();
        first.sort_by_key(|request| request.arrival);
        new.first = first.into_iter();
        new
    }

    fn tool_time(&mut self) -> f64 {
        let at: f64 = self.random.random();
        let [median, p90, p99] = TOOL_TIMES;
        let times = [(0.0, self.settings.tool_shortest), median, p90, p99, (1.0, self.settings.tool_longest)];
        let pair = times.windows(2).find(|pair| at <= pair[1].0);
        pair.map_or(0.0, |pair| {
            let part = (at - pair[0].0) / (pair[1].0 - pair[0].0);
            pair[0].1 * (pair[1].1 / pair[0].1).powf(part) * self.settings.tool
        })
    }
}

impl LoadSource for Sessions {
    fn next(&mut self) -> Option<Request> {
        self.first.next()
    }

    fn most_inside(&self) -> Option<u64> {
        Some(u64::from(self.settings.agents))
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        if self.settings.requests.is_some_and(|most| self.sent >= most) {
            return None;
        }
        let mut agent = *self.agents.get(user as usize)?;
        self.sent += 1;
        let pause = if agent.steps_left > 0 {
            agent.steps_left -= 1;
            self.tool_time()
        } else {
            // Geometric with the given mean, at least one step: this one.
            let more = (1.0 - 1.0 / self.settings.steps.max(1.0)).max(0.0);
            let drawn: f64 = self.random.random();
            agent.steps_left = if more > 0.0 { (drawn.max(1e-300).ln() / more.ln()) as u32 } else { 0 };
            let think: f64 = Exp1.sample(&mut self.random);
            think * self.settings.think
        };
        // Half a session at most, so that there is always room for some of it before.
        let half = (self.settings.longest / 2).saturating_sub(1).max(1);
        let append = self.settings.append.draw(&mut self.random).min(half);
        let output = self.settings.output.draw(&mut self.random).min(half);
        let needed = u64::from(append) + u64::from(output);
        if u64::from(agent.tokens) + needed > u64::from(self.settings.longest) {
            self.sessions += 1;
            agent.session = self.sessions;
            let room = u64::from(self.settings.longest).saturating_sub(needed).max(1);
            agent.tokens = self.settings.prefix.draw(&mut self.random).min(u32::try_from(room).unwrap_or(u32::MAX));
        }
        let prompt = agent.tokens.saturating_add(append);
        agent.tokens = prompt.saturating_add(output);
        self.agents[user as usize] = agent;
        let content = Content::Session { session: agent.session, common: self.settings.common };
        Some(Request { arrival: now + Time::from_seconds(pause), user, prompt, output, content })
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
        };
        for guess in guesses() {
            assert!(guess.low <= guess.value && guess.value <= guess.high && guess.low < guess.high, "{guess:?}");
            assert_eq!(settings.value(&guess), Some(guess.value), "{guess:?}");
        }
    }
}
