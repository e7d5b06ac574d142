//! Coding agents: long shared prefixes, short appends, tools between steps.
//!
//! An agent works in a session. A request of its user takes several steps; each step sends the session so far and
//! some new tokens, and its answer becomes part of the session; between steps a tool runs. After the last step the user
//! thinks. A session that would become longer than allowed ends, and the agent begins a new one with a summary.
//!
//! Figures: TraceLab, 357k calls of coding agents (shared/facts/workload.md): median prefix 118,656 tokens, appended 875,
//! output 214, 8.8 steps a request, tool time p50 0.1 s, p90 10 s, p99 3.2 min. Guesses, for want of figures: the spread
//! of lengths (1.0 in the logarithm), the common prefix (16,384 tokens: system prompt and tools), the time to think
//! (30 s), steps geometric.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use super::{Lengths, Load};
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
    /// Mean time to think between requests, in seconds; exponential.
    pub think: f64,
    /// Tokens at which a session ends.
    pub longest: u32,
    /// Requests in all; nothing is no end.
    pub requests: Option<u64>,
}

/// Quantiles of the tool time in seconds (TraceLab); between them the logarithm is linear. The first and the last are guesses.
const TOOL_TIMES: [(f64, f64); 5] = [(0.0, 0.005), (0.5, 0.1), (0.9, 10.0), (0.99, 192.0), (1.0, 600.0)];

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
        let pair = TOOL_TIMES.windows(2).find(|pair| at <= pair[1].0);
        pair.map_or(0.0, |pair| {
            let part = (at - pair[0].0) / (pair[1].0 - pair[0].0);
            pair[0].1 * (pair[1].1 / pair[0].1).powf(part) * self.settings.tool
        })
    }
}

impl Load for Sessions {
    fn next(&mut self) -> Option<Request> {
        self.first.next()
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
