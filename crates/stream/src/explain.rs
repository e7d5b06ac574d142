//! From what is advertised to what one observes: where the tokens a second go.
//!
//! Speeds are worked out one after the other, each with one more thing that takes time, and a step is
//! the difference of two. They are whole thousandths of a token a second, so that the steps add up to the last digit.
//!
//! | after the step | speed |
//! |---|---|
//! | mapping | one user alone with [`SHORT`] tokens, without drafts, by the closed form |
//! | drafts | the same with the scenario's drafts |
//! | context | the same with the agent's context |
//! | other users | tokens after the first over the time from the first to the last, of the run |
//! | prompts | all tokens of answers over that time and what the prompts' new tokens take |
//! | cache misses | the same with all of what prompts take; new and missed tokens share it in proportion |
//! | queue | ... and waiting for room and turn |
//! | quota | ... and waiting as long as the first refusal said |
//! | retries | ... and what clients wait beyond that, for want of room, or for answers that never come |
//! | network | ... and the way there and back, and the host: what is observed |

pub mod task;

use serde::Serialize;
use wafersim_spec::scenario::{Profile as MachineProfile, SpeculationFile};

use crate::clients::{ClientOutcome, NETWORK};
use crate::error::StreamError;
use crate::result::ServiceOutcome;
use crate::run::Server;
use crate::scenario::{LengthFile, LoadFile, LoadKind, StreamFile, StreamScenario};

/// Tokens of the context at which speeds are advertised.
pub const SHORT: u64 = 1024;

/// A coding agent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agent {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Sessions at once on one account.
    pub at_once: u32,
    /// Tokens of a session when it begins.
    pub prefix: u32,
    /// Tokens at which a session ends and a new one begins.
    pub longest: u32,
    /// New tokens of a step, the median.
    pub append: u32,
    /// Tokens of an answer, the median.
    pub output: u32,
    /// Mean seconds to think between requests.
    pub think: f64,
}

/// Coding agents. The median's tokens are published (96.3k in, 213 out: an analyst's median; 875 new tokens: TraceLab);
/// the other two are guesses on both sides of it.
pub const AGENTS: [Agent; 3] = [
    Agent {
        name: "light",
        what: "short sessions, one at a time, with pauses",
        at_once: 1,
        prefix: 12_000,
        longest: 32_768,
        append: 500,
        output: 400,
        think: 60.0,
    },
    Agent {
        name: "median",
        what: "one session of some 96,000 tokens",
        at_once: 1,
        prefix: 82_000,
        longest: 112_000,
        append: 875,
        output: 213,
        think: 30.0,
    },
    Agent {
        name: "heavy",
        what: "four long sessions at once on one account",
        at_once: 4,
        prefix: 90_000,
        longest: 131_072,
        append: 1700,
        output: 250,
        think: 5.0,
    },
];

/// Ends of the range of what is not known, and its middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Everything that is not known is against the user.
    Low,
    /// As the scenario says.
    Expected,
    /// Everything is for the user.
    High,
}

impl Side {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Low, Self::Expected, Self::High];
}

/// What is not known: its values for [`Side::Low`], [`Side::Expected`] and [`Side::High`], in words.
///
/// Drafts: EAGLE-3 on Qwen3-Coder-480B has 2.3 to 2.8 tokens of a step with 3 proposed, in mathematics; what services
/// draft with is not public.
pub const UNKNOWN: [(&str, [&str; 3]); 6] = [
    ("kernels (machine.profile)", ["published", "the scenario's", "ideal"]),
    ("drafts (machine.speculation)", ["the scenario's", "the scenario's", "3 tokens, 2.8 of a step"]),
    ("round trip over the network", ["0.2 s", "0.05 s", "0.01 s"]),
    ("reservations come back (refund)", ["no", "the plan's", "yes"]),
    ("tokens of the cache count against the quota", ["yes", "the plan's", "no"]),
    ("a person asks again where the agent has stopped (clients.again)", ["120 s", "the scenario's", "5 s"]),
];

/// The scenario of an agent at one side of the range.
pub fn scenario(base: &StreamFile, agent: &Agent, side: Side) -> StreamFile {
    let mut file = base.clone();
    let length = |median, spread| Some(LengthFile { median, spread });
    let accounts = (file.load.users.unwrap_or(agent.at_once) / agent.at_once).max(1);
    file.load = LoadFile {
        kind: Some(LoadKind::Sessions),
        users: Some(accounts * agent.at_once),
        prefix: length(agent.prefix, 0.0),
        longest: Some(agent.longest),
        append: length(agent.append, 1.0),
        output: length(agent.output, 1.0),
        think: Some(agent.think),
        ..LoadFile::default()
    };
    file.clients.organisations = Some(accounts);
    at_side(&file, side)
}

/// A scenario with what is not known of its machine and network at one side of the range.
pub fn at_side(base: &StreamFile, side: Side) -> StreamFile {
    let mut file = base.clone();
    match side {
        Side::Expected => file.clients.network = file.clients.network.or(Some(NETWORK)),
        Side::Low => {
            file.machine.profile = Some(MachineProfile::Published);
            file.clients.network = Some(0.2);
        }
        Side::High => {
            file.machine.profile = Some(MachineProfile::Ideal);
            if file.machine.speculation == SpeculationFile::default() {
                file.machine.speculation = SpeculationFile {
                    draft_length: Some(3),
                    accepted_length: Some(2.8),
                    draft_cost: Some(0.05),
                    ..SpeculationFile::default()
                };
            }
            file.clients.network = Some(0.01);
        }
    }
    file
}

/// What of the plan and of people is not known, at one side of the range.
pub const fn decide(scenario: &mut StreamScenario, side: Side) {
    if let Some(clients) = &mut scenario.clients {
        match side {
            Side::Expected => {}
            Side::Low => (clients.plan.refund, clients.plan.counts_cached) = (false, true),
            Side::High => (clients.plan.refund, clients.plan.counts_cached) = (true, false),
        }
        if let Some(overflow) = &mut clients.profile.overflow {
            overflow.again = match side {
                Side::Expected => overflow.again,
                Side::Low => 120.0,
                Side::High => 5.0,
            };
        }
    }
}

/// A step of the way, in thousandths of a token a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GapStep {
    /// What takes the time.
    pub name: &'static str,
    /// What the speed changes by.
    pub change: i64,
    /// The speed after it.
    pub speed: i64,
}

/// From what is advertised to what is observed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gap {
    /// What is advertised, in thousandths of a token a second.
    pub advertised: i64,
    /// Steps from there.
    pub steps: Vec<GapStep>,
    /// What is observed: what is advertised, and all changes.
    pub observed: i64,
    /// What the clients saw.
    pub clients: ClientOutcome,
}

/// Speeds of one user on an idle machine, by the closed form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alone {
    /// With [`SHORT`] tokens, without drafts.
    pub plain: f64,
    /// The same with drafts.
    pub drafted: f64,
    /// The same with the agent's context.
    pub at_context: f64,
}

/// The gap of a run.
///
/// # Errors
/// Where nobody was served in the window, or no clients were between the load and the machine.
pub fn gap(advertised: f64, agent: &Agent, server: &Server, run: &ServiceOutcome) -> Result<Gap, StreamError> {
    let clients = run.clients.as_ref().filter(|clients| clients.served > 0).ok_or_else(|| StreamError::Setting {
        file: "scenario".into(),
        field: "run.window".into(),
        problem: format!("is so short that no request of the agent '{}' was answered in it", agent.name),
        allowed: "a longer window".into(),
    })?;
    let served = clients.served as f64;
    let context = clients.prompt_tokens as f64 / served;
    let alone = server.alone(context as u64);
    Ok(from_parts(advertised, agent, &alone, clients))
}

/// The same from its parts.
pub fn from_parts(advertised: f64, agent: &Agent, alone: &Alone, clients: &ClientOutcome) -> Gap {
    let served = clients.served.max(1) as f64;
    let tokens = clients.output_tokens as f64 / served;
    let shares = &clients.shares;
    let computed = (clients.prompt_tokens - clients.cached_tokens) as f64 / served;
    // The mean of a lognormal law of spread 1.
    let new = f64::from(agent.append) * 0.5f64.exp();
    let needed = shares.prompt * (new / computed.max(1.0)).min(1.0);
    let speed = |time: f64| if time > 0.0 { tokens / time } else { 0.0 };
    let mut time = shares.decode + needed;
    let mut with = |more: f64| {
        time += more;
        speed(time)
    };
    let decode = if shares.decode > 0.0 { (tokens - 1.0) / shares.decode } else { alone.at_context };
    let speeds = [
        ("mapping: the machine with a short context", alone.plain),
        ("drafts", alone.drafted),
        ("context", alone.at_context),
        ("other users", decode),
        ("prompts: new tokens", with(0.0)),
        ("prompts: what the cache missed", with(shares.prompt - needed)),
        ("queue: room and turn", with(shares.queue)),
        ("quota", with(shares.quota)),
        ("retries", with(shares.retries + shares.capacity + shares.outage + shares.deadline)),
        ("network and host", with(shares.network)),
    ];
    let whole = |speed: f64| (speed * 1e3).round() as i64;
    let mut before = whole(advertised);
    let mut steps = Vec::with_capacity(speeds.len());
    for (name, speed) in speeds {
        let speed = whole(speed);
        steps.push(GapStep { name, change: speed - before, speed });
        before = speed;
    }
    Gap { advertised: whole(advertised), steps, observed: before, clients: clients.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Shares;

    #[test]
    fn the_steps_add_up_to_the_last_digit() {
        let shares = Shares {
            quota: 31.4159,
            retries: 2.51,
            capacity: 0.3,
            outage: 0.11,
            deadline: 0.07,
            network: 0.0541,
            queue: 0.21,
            prompt: 0.77,
            decode: 0.4321,
        };
        let clients = ClientOutcome {
            served: 7,
            prompt_tokens: 7 * 96_300,
            cached_tokens: 7 * 90_112,
            output_tokens: 1501,
            shares,
            ..ClientOutcome::default()
        };
        let alone = Alone { plain: 1031.77, drafted: 1503.2, at_context: 555.5557 };
        for agent in &AGENTS {
            let found = from_parts(2000.0, agent, &alone, &clients);
            let changes: i64 = found.steps.iter().map(|step| step.change).sum();
            assert_eq!(found.advertised + changes, found.observed);
            let seen = 1501.0 / 7.0 / shares.sum();
            assert_eq!(found.observed, (seen * 1e3).round() as i64);
            // What takes time makes nothing faster.
            assert!(found.steps[4..].iter().all(|step| step.change <= 0), "{:?}", found.steps);
        }
    }
}
