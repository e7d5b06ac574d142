//! Why no design does, and what would: the same load with one thing less, on the design that comes nearest.

use serde::Serialize;
use wafersim_stream::load::Lengths;
use wafersim_stream::request::Request;
use wafersim_stream::run::Server;
use wafersim_stream::scenario::LoadScenario;
use wafersim_stream::trace::Trace;

use super::designs::Design;
use super::seek::{Found, kept, least_of, run, tightest};
use super::{Asked, Kept, Size};
use crate::error::DecideError;

/// Why nothing is feasible.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Nearest {
    /// Wafers of the design that comes nearest.
    pub wafers: u32,
    /// Users that it is placed for.
    pub placed_for: u64,
    /// What its only user sees.
    pub levels: Vec<Kept>,
    /// Why, in words.
    pub why: Vec<String>,
    /// What would do, each by itself.
    pub changes: Vec<Change>,
}

/// What would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// A service level, or a setting.
    pub path: String,
    /// As it is.
    pub is: f64,
    /// The nearest value that does, for one user of a machine; nothing where none does.
    pub value: Option<f64>,
}

/// Halvings of a number of tokens.
const HALVINGS: u32 = 7;
/// Tokens are said in steps of so many.
const STEP: f64 = 1024.0;

/// What is said where nothing is feasible.
pub(super) fn infeasible(asked: &Asked, all: &[Design], found: &[Found], size: Size) -> Result<Size, DecideError> {
    let placed =
        all.iter().zip(found).filter_map(|(design, found)| Some((design, design.server.as_ref().ok()?, found)));
    // Of equally near ones the first, which has the fewest wafers.
    let nearest =
        placed.reduce(|best, other| if other.2.headroom_of_one > best.2.headroom_of_one { other } else { best });
    let Some((design, server, of_one)) = nearest else { return Ok(size) };
    let load = &asked.scenario.load;
    let outcome = run(asked, server, load, least_of(asked, load), asked.scenario.seed);
    let levels = kept(&asked.levels, std::slice::from_ref(&outcome));
    let mut changes = Vec::new();
    for (place, level) in asked.levels.iter().enumerate() {
        let values = found.iter().filter_map(|found| found.of_one.get(place).copied().flatten());
        let best = values.reduce(|one, other| level.better(one, other));
        if levels.get(place).is_some_and(|kept| !kept.holds) {
            changes.push(Change { path: level.to_string(), is: level.bound, value: best });
        }
    }
    changes.extend(tokens(asked, server));
    let binds = tightest(&asked.levels, &outcome).1.map(ToString::to_string);
    let is_speed = |path: &str| levels.iter().find(|kept| kept.level.to_string() == path).and_then(|kept| kept.value);
    let nearest = Nearest {
        wafers: design.wafers,
        placed_for: design.holds,
        why: broken(asked, of_one),
        levels: levels.clone(),
        changes,
    };
    let (ttft_p95_s, speed_p5) = (is_speed("ttft_p95"), is_speed("speed_p5"));
    Ok(Size {
        binds,
        levels,
        ttft_p95_s,
        speed_p5,
        nearest: Some(nearest),
        prompts: prompts(asked, server),
        machine: Some(server.summary()),
        ..size
    })
}

/// What prompts take alone, in words.
pub(super) fn prompts(asked: &Asked, server: &Server) -> Vec<String> {
    let prompt = |what: &str, before: u64, target: u64| {
        let seconds = server.prompt_alone(before, target.max(before + 1));
        let tokens = target.saturating_sub(before);
        let way = if asked.scenario.machine.prefill.is_same() { "" } else { ", with the way of their keys and values" };
        format!("{what} computes {tokens} tokens: {seconds:.3} s alone{way}")
    };
    match &asked.scenario.load {
        LoadScenario::Sessions(load) => {
            let (prefix, append) = (u64::from(load.prefix.median), u64::from(load.append.median));
            let has_cache = asked.scenario.prefix_cache;
            let common = if has_cache { u64::from(load.common).min(prefix) } else { 0 };
            let known = if has_cache { prefix } else { 0 };
            let first = prompt("a session's first call", common, prefix + append);
            vec![first, prompt("a later call", known, prefix + append)]
        }
        LoadScenario::Tasks(load) => {
            let first = u64::from(load.prefix.median) + u64::from(load.append.median);
            let common = if asked.scenario.prefix_cache { u64::from(load.common).min(first) } else { 0 };
            vec![prompt("a task's first call", common, first)]
        }
        LoadScenario::Closed(load) => vec![prompt("a prompt", 0, load.prompt.median.into())],
        LoadScenario::Open(load) => vec![prompt("a prompt", 0, load.prompt.median.into())],
        LoadScenario::Trace(_) => asked.requests.as_deref().map_or_else(Vec::new, |trace| of_trace(trace, server)),
    }
}

/// What the requests of a trace are like, and how many are too long.
fn of_trace(trace: &Trace, server: &Server) -> Vec<String> {
    let sorted = |of: &dyn Fn(&Request) -> u32| {
        let mut all: Vec<u32> = trace.requests().map(|request| of(&request)).collect();
        all.sort_unstable();
        all
    };
    let at = |sorted: &[u32], part: f64| {
        let place = (part * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(place).copied().unwrap_or_default()
    };
    let (prompts, outputs) = (sorted(&|request| request.prompt), sorted(&|request| request.output));
    let said = |what: &str, sorted: &[u32]| {
        format!("{what}: {} tokens in the median, {} at p95", at(sorted, 0.5), at(sorted, 0.95))
    };
    let mut sentences = vec![said("prompts", &prompts), said("answers", &outputs)];
    let median = u64::from(at(&prompts, 0.5));
    sentences.push(format!(
        "a prompt of {median} tokens, none of them known: {:.3} s alone",
        server.prompt_alone(0, median)
    ));
    let longest = u64::from(server.longest());
    let is_too_long = |request: &Request| u64::from(request.prompt) + u64::from(request.output) > longest;
    let refused = trace.requests().filter(is_too_long).count();
    if refused > 0 {
        let all = trace.len();
        sentences.push(format!("{refused} of {all} requests are longer than {longest} tokens, and refused"));
    }
    sentences
}

/// Which levels one user alone breaks, in words.
fn broken(asked: &Asked, of_one: &Found) -> Vec<String> {
    let levels = asked.levels.iter().zip(&of_one.of_one);
    let broken = levels.filter_map(|(level, value)| Some((level, value.filter(|value| !level.holds(*value))?)));
    let said =
        broken.map(|(level, value)| format!("one user alone: {level} is {value:.4}, and {} was promised", level.bound));
    said.collect()
}

/// What fewer tokens would do.
fn tokens(asked: &Asked, server: &Server) -> Vec<Change> {
    let holds = |load: &LoadScenario| {
        let least = least_of(asked, load);
        tightest(&asked.levels, &run(asked, server, load, least, asked.scenario.seed)).0 >= 0.0
    };
    let scaled = |lengths: Lengths, tokens: f64| Lengths { median: tokens.max(1.0) as u32, ..lengths };
    match &asked.scenario.load {
        LoadScenario::Sessions(load) => {
            let (common, prefix) = (f64::from(load.common), f64::from(load.prefix.median));
            let shared = |tokens: f64| {
                let mut other = *load;
                other.common = tokens as u32;
                LoadScenario::Sessions(other)
            };
            let shorter = |tokens: f64| {
                let mut other = *load;
                other.prefix = scaled(load.prefix, tokens);
                LoadScenario::Sessions(other)
            };
            let mut changes = Vec::new();
            if asked.scenario.prefix_cache && common < prefix {
                let value = least(common, prefix, &|tokens| holds(&shared(tokens)));
                changes.push(Change { path: "load.common".into(), is: common, value });
            }
            let value = least(prefix, STEP.min(prefix), &|tokens| holds(&shorter(tokens)));
            changes.push(Change { path: "load.prefix.median".into(), is: prefix, value });
            changes
        }
        LoadScenario::Tasks(load) => {
            let is = f64::from(load.prefix.median);
            let shorter = |tokens: f64| {
                let mut other = *load;
                other.prefix = scaled(load.prefix, tokens);
                LoadScenario::Tasks(other)
            };
            let value = least(is, STEP.min(is), &|tokens| holds(&shorter(tokens)));
            vec![Change { path: "load.prefix.median".into(), is, value }]
        }
        LoadScenario::Closed(load) => {
            let is = f64::from(load.prompt.median);
            let shorter = |tokens: f64| {
                let mut other = *load;
                other.prompt = scaled(load.prompt, tokens);
                LoadScenario::Closed(other)
            };
            let value = least(is, 1.0, &|tokens| holds(&shorter(tokens)));
            vec![Change { path: "load.prompt.median".into(), is, value }]
        }
        LoadScenario::Open(load) => {
            let is = f64::from(load.prompt.median);
            let shorter = |tokens: f64| {
                let mut other = *load;
                other.prompt = scaled(load.prompt, tokens);
                LoadScenario::Open(other)
            };
            let value = least(is, 1.0, &|tokens| holds(&shorter(tokens)));
            vec![Change { path: "load.prompt.median".into(), is, value }]
        }
        LoadScenario::Trace(_) => Vec::new(),
    }
}

/// The value nearest to `from` on the way to `to` that holds, in steps of [`STEP`] where there are that many; nothing
/// where the other end does not.
fn least(from: f64, to: f64, holds: &dyn Fn(f64) -> bool) -> Option<f64> {
    if !holds(to) {
        return None;
    }
    let (mut bad, mut good) = (from, to);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (bad + good);
        let middle = if (good - bad).abs() > 2.0 * STEP { (middle / STEP).round() * STEP } else { middle.round() };
        if middle == good || middle == bad {
            break;
        }
        if holds(middle) { good = middle } else { bad = middle }
    }
    Some(good)
}
