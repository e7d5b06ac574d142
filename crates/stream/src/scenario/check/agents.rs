//! What is checked of coding agents: the course of their day, what they send beside their own work, their tasks.

use super::{Checks, MOST_REQUESTS, MOST_TOKENS, MOST_USERS, SECONDS, length};
use crate::error::StreamError;
use crate::load::sessions::{APPEND_SPREAD, LONGEST_TOOL, OUTPUT_SPREAD, SHORTEST_TOOL, THINK};
use crate::load::tasks::{ATTEMPTS, CHECK, PLAN, PLANNING, REPAIR, REPEAT, SUCCESS};
use crate::load::{DayCurve, Guess, Helpers, SideRequest, SubAgents, TaskSettings};
use crate::scenario::{LengthFile, LoadFile};

/// Sub-agents at once.
const MOST_SUBAGENTS: u64 = 64;

/// The course of a day.
pub(super) fn day(checks: &Checks<'_>, hours: Option<Vec<f64>>, starts: Option<f64>) -> Result<DayCurve, StreamError> {
    let Some(hours) = hours else {
        return match starts {
            None => Ok(DayCurve::default()),
            Some(starts) => {
                Err(checks.refuse("load.starts", format!("is {starts}"), "only with load.day, a factor an hour".into()))
            }
        };
    };
    let allowed = "24 numbers from 0 to 1000, one for each hour, of which one at least is more than 0";
    let hours: [f64; 24] = hours
        .try_into()
        .map_err(|hours: Vec<f64>| checks.refuse("load.day", format!("has {} numbers", hours.len()), allowed.into()))?;
    for (hour, factor) in hours.iter().enumerate() {
        checks.real(&format!("load.day[{hour}]"), *factor, (0.0, 1e3))?;
    }
    if hours.iter().sum::<f64>() < 1e-6 {
        return Err(checks.refuse("load.day", "is 0 at every hour".into(), allowed.into()));
    }
    Ok(DayCurve { hours, starts: checks.real("load.starts", starts.unwrap_or(0.0), (0.0, 24.0))? })
}

/// What agents send beside their own work.
pub(super) fn helpers(checks: &Checks<'_>, file: &LoadFile, longest: u32) -> Result<Helpers, StreamError> {
    let most = u64::from(longest);
    let side = file.side.map(|side| -> Result<SideRequest, StreamError> {
        let prompt = checks.narrow("load.side.prompt", side.prompt, 1, most.saturating_sub(1).max(1))?;
        let output =
            checks.narrow("load.side.output", side.output, 1, most.saturating_sub(u64::from(prompt)).max(1))?;
        let delay = checks.real("load.side.delay", side.delay, SECONDS)?;
        Ok(SideRequest { when: side.when, prompt, output, delay })
    });
    let subagents = file.subagents.map(|subagents| -> Result<SubAgents, StreamError> {
        let tokens = |field: &str, value: Option<u32>, usual: u32| {
            checks.narrow(&format!("load.subagents.{field}"), value.unwrap_or(usual.min(longest / 4)), 1, most)
        };
        Ok(SubAgents {
            share: checks.real("load.subagents.share", subagents.share.unwrap_or(0.012), (0.0, 1.0))?,
            count: checks.narrow("load.subagents.count", subagents.count, 1, MOST_SUBAGENTS)?,
            steps: checks.real("load.subagents.steps", subagents.steps.unwrap_or(8.0), (1.0, 1e4))?,
            prompt: tokens("prompt", subagents.prompt, 12_000)?,
            append: tokens("append", subagents.append, 875)?,
            output: tokens("output", subagents.output, 214)?,
        })
    });
    Ok(Helpers {
        side: side.transpose()?,
        subagents: subagents.transpose()?,
        summary: checks.narrow("load.summary", file.summary.unwrap_or(0), 0, (most / 2).max(1))?,
    })
}

/// Tasks of coding agents.
pub(super) fn tasks(
    checks: &Checks<'_>,
    file: &LoadFile,
    longest: u32,
    day: DayCurve,
) -> Result<TaskSettings, StreamError> {
    let most = checks.narrow("load.longest", file.longest.unwrap_or(longest), 2, u64::from(longest.max(2)))?;
    let lengths =
        |field: &str, value: Option<LengthFile>, usual| checks.lengths(field, value.unwrap_or(usual), longest);
    let guessed =
        |guess: Guess, value: Option<f64>, range| checks.real(guess.setting, value.unwrap_or(guess.value), range);
    let probability = (0.0, 1.0);
    let ends = [
        checks.real("load.tool_shortest", file.tool_shortest.unwrap_or(SHORTEST_TOOL.value), (1e-6, 0.1))?,
        checks.real("load.tool_longest", file.tool_longest.unwrap_or(LONGEST_TOOL.value), (192.0, 1e6))?,
    ];
    Ok(TaskSettings {
        agents: checks.narrow("load.users", file.users.unwrap_or(1), 1, MOST_USERS)?,
        prefix: lengths("load.prefix", file.prefix, length(12_400.min(longest / 2).max(1), 0.0))?,
        common: checks.narrow("load.common", file.common.unwrap_or(COMMON_OF_TASKS), 0, MOST_TOKENS)?,
        append: lengths("load.append", file.append, length(1000, APPEND_SPREAD.value))?,
        output: lengths("load.output", file.output, length(320, OUTPUT_SPREAD.value))?,
        planning: guessed(PLANNING, file.planning, (0.0, 1e3))?,
        plan: checks.narrow(PLAN.setting, file.plan.unwrap_or(PLAN.value as u32), 1, MOST_TOKENS)?,
        steps: checks.real("load.steps", file.steps.unwrap_or(STEPS_OF_TASKS), (1.0, 1e6))?,
        repeat: guessed(REPEAT, file.repeat, (0.0, 0.99))?,
        check: guessed(CHECK, file.check, SECONDS)?,
        success: guessed(SUCCESS, file.success, probability)?,
        attempts: checks.narrow(ATTEMPTS.setting, file.attempts.unwrap_or(ATTEMPTS.value as u32), 1, 1000)?,
        repair: guessed(REPAIR, file.repair, (0.0, 100.0))?,
        tool: checks.real("load.tool", file.tool.unwrap_or(1.0), (0.0, 1e6))?,
        tool_ends: ends,
        think: checks.real("load.think", file.think.unwrap_or(THINK.value), SECONDS)?,
        longest: most,
        tasks: file.tasks.map(|most| checks.whole("load.tasks", most, 1, MOST_REQUESTS)).transpose()?,
        day,
    })
}

/// Tokens that all tasks begin with: system prompt and tools, of a first context of 12,400 (a guess, 4,000 to 12,000).
const COMMON_OF_TASKS: u32 = 10_000;
/// Steps of a first attempt: with 3 calls of planning and a tenth repeated, the 33 calls of Codex's trials.
const STEPS_OF_TASKS: f64 = 27.0;
