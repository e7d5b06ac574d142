//! What agents send beside their own work: small side requests (titles, memory), sub-agents that work in parallel
//! while their agent waits for all of them, and summaries of sessions that have become too long.
//!
//! Users of a load with helpers are numbered: first the agents, then for each agent its side request and its
//! sub-agents.

use std::collections::VecDeque;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::sessions::{ToolTimes, more_steps};
use crate::random::{Purpose, stream};
use crate::request::{Content, Request};
use crate::time::Time;

/// When a side request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SideWhen {
    /// With the first request of a session: a title.
    Session,
    /// Whenever the user asks: memory, suggestions.
    #[default]
    Request,
}

/// A small request beside an agent's own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SideRequest {
    /// When it is sent.
    pub when: SideWhen,
    /// Tokens of its prompt, which it has in common with no other.
    pub prompt: u32,
    /// Tokens of its answer.
    pub output: u32,
    /// Seconds after the agent's own request.
    pub delay: f64,
}

/// Sub-agents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SubAgents {
    /// Probability that a step sends them off, in place of a tool.
    pub share: f64,
    /// How many at once.
    pub count: u32,
    /// Mean steps of each, at least 1; geometric.
    pub steps: f64,
    /// Tokens of its first prompt.
    pub prompt: u32,
    /// New tokens of each further step.
    pub append: u32,
    /// Tokens of its answers.
    pub output: u32,
}

/// What is sent beside an agent's own work; by default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Helpers {
    /// Side requests; an agent has one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<SideRequest>,
    /// Sub-agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subagents: Option<SubAgents>,
    /// Tokens of the summary that a session ends with that has become too long; 0: none is asked for.
    pub summary: u32,
}

impl Helpers {
    /// Whether nothing is sent.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn of_an_agent(&self) -> u32 {
        1 + self.subagents.map_or(0, |settings| settings.count)
    }

    /// Requests of an agent that can be on the way at once, its own included.
    pub fn most_at_once(&self) -> u64 {
        // An agent waits while its sub-agents work.
        u64::from(self.subagents.map_or(1, |settings| settings.count.max(1))) + u64::from(self.side.is_some())
    }
}

/// Whose turn it is after a request has ended.
#[derive(Debug)]
pub(super) enum Helped {
    /// It was the agent's own: the agent goes on.
    Own,
    /// A sub-agent goes on.
    Next(Request),
    /// Nothing comes of it.
    Nothing,
    /// The last of an agent's sub-agents is done: the agent goes on.
    All {
        /// The agent.
        agent: u32,
    },
}

#[derive(Debug, Clone, Copy, Default)]
struct SubAgent {
    session: u64,
    tokens: u32,
    steps_left: u32,
}

/// The helpers of one agent.
#[derive(Debug, Clone, Default)]
struct OfAgent {
    has_side: bool,
    at_work: u32,
    subagents: Vec<SubAgent>,
}

/// Helpers at work.
#[derive(Debug)]
pub(super) struct HelpersAtWork {
    settings: Helpers,
    agents: Vec<OfAgent>,
    tools: ToolTimes,
    to_send: VecDeque<Request>,
    random: ChaCha8Rng,
}

impl HelpersAtWork {
    pub(super) fn new(settings: Helpers, agents: u32, tools: ToolTimes, seed: u64) -> Self {
        let count = settings.subagents.map_or(0, |settings| settings.count as usize);
        let one = OfAgent { subagents: vec![SubAgent::default(); count], ..OfAgent::default() };
        let agents = if settings.is_none() { Vec::new() } else { vec![one; agents as usize] };
        Self { settings, agents, tools, to_send: VecDeque::new(), random: stream(seed, Purpose::Helpers) }
    }

    /// The next request that is sent beside others.
    pub(super) fn beside(&mut self) -> Option<Request> {
        self.to_send.pop_front()
    }

    /// The agent and the place among its helpers, where the user is one.
    fn helper(&self, user: u32) -> Option<(u32, u32)> {
        let each = self.settings.of_an_agent();
        let helper = user.checked_sub(u32::try_from(self.agents.len()).ok()?)?;
        (!self.agents.is_empty()).then(|| (helper / each, helper % each))
    }

    fn number(&self, agent: u32, place: u32) -> u32 {
        let first = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        first.saturating_add(agent.saturating_mul(self.settings.of_an_agent())).saturating_add(place)
    }

    /// The agent whose work a user's requests are.
    pub(super) fn owner(&self, user: u32) -> u32 {
        self.helper(user).map_or(user, |(agent, _)| agent)
    }

    /// Sends a side request where there is one at such a time, and none is on its way.
    pub(super) fn side(&mut self, when: SideWhen, agent: u32, at: Time) {
        let user = self.number(agent, 0);
        let Some(side) = self.settings.side.filter(|side| side.when == when) else { return };
        let Some(of) = self.agents.get_mut(agent as usize).filter(|of| !of.has_side) else { return };
        of.has_side = true;
        self.to_send.push_back(Request {
            arrival: at + Time::from_seconds(side.delay),
            user,
            prompt: side.prompt,
            output: side.output,
            content: Content::Unique,
        });
    }

    /// Whether an agent sends its sub-agents off; it goes on when the last of them is done.
    pub(super) fn fan_out(&mut self, agent: u32, now: Time, sessions: &mut u64) -> bool {
        let Some(settings) = self.settings.subagents else { return false };
        if self.random.random::<f64>() >= settings.share || settings.count == 0 {
            return false;
        }
        for place in 0..settings.count {
            *sessions += 1;
            let steps_left = more_steps(&mut self.random, settings.steps);
            let tokens = settings.prompt.saturating_add(settings.output);
            let new = SubAgent { session: *sessions, tokens, steps_left };
            let user = self.number(agent, place + 1);
            let Some(of) = self.agents.get_mut(agent as usize) else { return false };
            if let Some(subagent) = of.subagents.get_mut(place as usize) {
                *subagent = new;
            }
            of.at_work += 1;
            let content = Content::Session { session: new.session, common: 0 };
            let request = Request { arrival: now, user, prompt: settings.prompt, output: settings.output, content };
            self.to_send.push_back(request);
        }
        true
    }

    /// What follows on the end of a user's request.
    pub(super) fn after(&mut self, user: u32, now: Time) -> Helped {
        let Some((agent, place)) = self.helper(user) else { return Helped::Own };
        let Some(of) = self.agents.get_mut(agent as usize) else { return Helped::Nothing };
        let (Some(place), Some(settings)) = (place.checked_sub(1), self.settings.subagents) else {
            of.has_side = false;
            return Helped::Nothing;
        };
        let Some(subagent) = of.subagents.get_mut(place as usize) else { return Helped::Nothing };
        if subagent.steps_left == 0 {
            of.at_work = of.at_work.saturating_sub(1);
            return if of.at_work == 0 { Helped::All { agent } } else { Helped::Nothing };
        }
        subagent.steps_left -= 1;
        let prompt = subagent.tokens.saturating_add(settings.append);
        subagent.tokens = prompt.saturating_add(settings.output);
        let content = Content::Session { session: subagent.session, common: 0 };
        let arrival = now + self.tools.draw(&mut self.random);
        Helped::Next(Request { arrival, user, prompt, output: settings.output, content })
    }
}
