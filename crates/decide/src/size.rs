//! How many machines a load needs, of how many wafers each, so that its users see what was promised.
//!
//! Several *designs* are looked at: numbers of wafers, placed for numbers of users. Each is run event by event under
//! more and more users, until a service level does not hold; the design that needs the fewest wafers in all is taken. A
//! machine is a replica: sessions stay on the machine that they began on, and machines know nothing of each other, so
//! that one of them stands for all.
//!
//! Bisection uses one seed, the same for all, so that designs are compared under the same requests; what is taken is
//! confirmed with several, and has fewer users where their mean does not hold. Results do not depend on threads.

mod designs;
pub mod fleet;
pub mod levels;
mod moves;
mod nearest;
mod row;
mod seek;
pub mod usual;

use std::sync::Arc;

use serde::Serialize;
use wafersim_answer::{Effort, Provenance, Stop};
use wafersim_mapping::{Mapping, hash};
use wafersim_stream::run::MachineSummary;
use wafersim_stream::scenario::{LoadScenario, StreamScenario, TraceScenario};
use wafersim_stream::trace::Trace;

use crate::cost::{Cost, Load, cost};
use crate::energy::Placed;
use crate::error::DecideError;
use crate::money::{Economics, HOURS};
use crate::services::TokenMix;
use designs::{Design, designs};
use fleet::Spares;
use levels::Level;
pub use moves::Move;
pub use nearest::{Change, Nearest};
pub use row::SizeRow;
use seek::{Confirmed, Found, confirmed, most_users};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Machine, service and load of all users. The machine's number of wafers is looked for, unless it is given; its
    /// `users` are.
    pub scenario: StreamScenario,
    /// The trace of requests, where the load is one: all users together. A machine gets a part of its sessions, with
    /// their times, lengths and prefixes as they are.
    pub requests: Option<Arc<Trace>>,
    /// What users are promised.
    pub levels: Vec<Level>,
    /// The mapping of the profiles `best` and `ideal`, where one is given.
    pub mapping: Option<Mapping>,
    /// How much is tried to find one, where none is.
    pub search: Option<Effort>,
    /// Seeds that an answer is confirmed with.
    pub seeds: u32,
    /// Part of the time in which enough machines are to be up.
    pub availability: f64,
    /// How the load grows.
    pub growth: Option<Growth>,
    /// What is assumed of money.
    pub economics: Economics,
    /// Whether anybody still waits for it; it ends soon after that is set.
    pub stop: Stop,
}

/// How a load grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Growth {
    /// Each month by this part: 0.05 is 5 %.
    pub per_month: f64,
    /// For how many months.
    pub months: u32,
}

/// How many machines a load needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Size {
    /// Whether any of the designs does.
    pub feasible: bool,
    /// Machines.
    pub machines: Option<u64>,
    /// Wafers of each, those that only compute prompts among them.
    pub wafers_per_machine: Option<u32>,
    /// Of these, wafers that compute prompts and do not decode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_wafers_per_machine: Option<u32>,
    /// Users of the fullest machine, or requests a second of each.
    pub users_per_machine: Option<f64>,
    /// The level that more users would break first; nothing where one machine has room for all. Where nothing is
    /// feasible: the level that is farthest from what was promised, on the design that comes nearest.
    pub binds: Option<String>,
    /// What prompts take on the idle machine, in words.
    pub prompts: Vec<String>,
    /// Why nothing is feasible, and what would be.
    pub nearest: Option<Nearest>,
    /// Seconds to the first token at p95 on the fullest machine, the mean of all seeds.
    pub ttft_p95_s: Option<f64>,
    /// Tokens a second of a request at p5.
    pub speed_p5: Option<f64>,
    /// What users were promised, and what they get.
    pub levels: Vec<Kept>,
    /// Most users of a machine for which all levels hold, or requests a second.
    pub most_users_per_machine: Option<f64>,
    /// Output tokens a second of the fullest machine.
    pub tokens_per_second_per_machine: Option<f64>,
    /// Output tokens a second for each of its users (or of a request a second), those who think meanwhile among them.
    pub mean_tokens_per_second_per_user: Option<f64>,
    /// By how much the load may grow on these machines: 0.1 is 10 %.
    pub headroom: Option<f64>,
    /// Machines in reserve.
    pub spares: Option<Spares>,
    /// The load month by month, where it grows: those in which the number of machines changes.
    pub growth: Vec<Month>,
    /// All designs.
    pub designs: Vec<Considered>,
    /// What other assumptions make of it.
    pub moves: Vec<Move>,
    /// The machine.
    pub machine: Option<MachineSummary>,
    /// What it costs, with the machines in reserve.
    pub cost: Option<Cost>,
    /// USD a month for each user.
    pub usd_per_user_and_month: Option<f64>,
    /// What its users see through the plan, where one stands before the machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanSeen>,
    /// Users in all, or requests a second.
    pub users: f64,
    /// Seeds that it was confirmed with.
    pub seeds: u32,
    /// What was asked.
    pub scenario: StreamScenario,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// What users see through a plan, from outside. Levels are promised of what is let in: no machine makes a quota larger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanSeen {
    /// The plan.
    pub plan: String,
    /// How its clients retry.
    pub profile: String,
    /// Organisations in all, each with an account of its own.
    pub organisations: u32,
    /// Median of an answer's tokens over all the time from wanting it to its end.
    pub seen_speed_p50: Option<f64>,
    /// Seconds from wanting an answer to its first token, at p95.
    pub first_token_p95_s: Option<f64>,
    /// Share of a request's time that goes in waiting for the quota, retries included.
    pub waiting_for_quota: Option<f64>,
    /// Refusals of a machine in an hour.
    pub refused_per_hour_and_machine: Option<f64>,
    /// Part of the requests that users give up.
    pub given_up: Option<f64>,
    /// What all organisations pay for the plan in a month, where it has a price a month.
    pub usd_per_month: Option<f64>,
}

/// A level, and what came of it over several seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// The level.
    pub level: Level,
    /// What was promised.
    pub promised: f64,
    /// The mean over the seeds; nothing where nobody was served.
    pub value: Option<f64>,
    /// Half the 95 % interval of the mean; nothing with one seed.
    pub half_width: Option<f64>,
    /// Whether the mean holds.
    pub holds: bool,
    /// Whether the whole interval does.
    pub surely: bool,
}

/// A design, and how many users a machine of it serves.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Considered {
    /// Wafers of a machine that decode.
    pub wafers: u32,
    /// Wafers of it that compute prompts and do not decode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_wafers: Option<u32>,
    /// Users that it is placed for: whose keys and values it holds at their longest.
    pub placed_for: u64,
    /// Most users for which all levels hold, or requests a second; nothing where one is too many.
    pub most_users: Option<f64>,
    /// Wafers of as many machines as all users need.
    pub wafers_in_all: Option<u64>,
    /// Why not: the level that one user breaks, or why it cannot be placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// A month in which the number of machines changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Month {
    /// From 0.
    pub month: u32,
    /// Users, or requests a second.
    pub users: f64,
    /// Machines without those in reserve.
    pub machines: u64,
}

/// Hours of a month.
const MONTH: f64 = HOURS / 12.0;
/// Designs that are confirmed: those that need the fewest wafers.
const CONFIRMED: usize = 3;

/// Who is told what is being done.
pub type Told<'a> = &'a (dyn Fn(&str) + Sync);

/// How many machines the load needs.
///
/// # Errors
/// Where [`check`] refuses it, no design can be placed at all, or somebody has stopped it.
pub fn size(asked: &Asked, told: Told<'_>) -> Result<Size, DecideError> {
    check(asked)?;
    let users = users_of(asked)?;
    let all = designs(asked, told)?;
    told(&format!("{} designs placed", all.iter().filter(|design| design.server.is_ok()).count()));
    let found: Vec<Found> = most_users(asked, &all, users);
    let considered = || all.iter().zip(&found).map(|(design, found)| in_all(design, found, users)).collect::<Vec<_>>();
    let mut best: Vec<(u64, &Design, f64)> = Vec::new();
    for (design, found) in all.iter().zip(&found) {
        if let Some(most) = found.most {
            best.push((wafers_in_all(design, most, users), design, most));
        }
    }
    best.sort_by_key(|(wafers, design, _)| (*wafers, design.wafers, design.holds));
    told(&format!("{} designs hold the levels", best.len()));
    let mut confirmed_best: Option<(u64, &Design, Confirmed)> = None;
    for (_, design, most) in best.into_iter().take(CONFIRMED) {
        let Some(confirmed) = confirmed(asked, design, most, users) else { continue };
        let wafers = wafers_in_all(design, confirmed.users, users);
        if confirmed_best.as_ref().is_none_or(|(known, ..)| wafers < *known) {
            confirmed_best = Some((wafers, design, confirmed));
        }
    }
    if asked.stop.is_set() {
        return Err(DecideError::Stopped);
    }
    let base = Provenance { seed: Some(asked.scenario.seed), fidelity: "stream", ..provenance(&all, asked)? };
    let size = Size {
        feasible: false,
        machines: None,
        wafers_per_machine: None,
        prefill_wafers_per_machine: None,
        users_per_machine: None,
        binds: None,
        prompts: Vec::new(),
        nearest: None,
        ttft_p95_s: None,
        speed_p5: None,
        levels: Vec::new(),
        most_users_per_machine: None,
        tokens_per_second_per_machine: None,
        mean_tokens_per_second_per_user: None,
        headroom: None,
        spares: None,
        growth: Vec::new(),
        designs: considered(),
        moves: Vec::new(),
        machine: None,
        cost: None,
        usd_per_user_and_month: None,
        plan: None,
        users,
        seeds: asked.seeds,
        scenario: asked.scenario.clone(),
        provenance: base,
    };
    match confirmed_best {
        Some((_, design, confirmed)) => feasible(asked, design, &confirmed, size, told),
        None => {
            told("nothing holds the levels: looking for what would");
            nearest::infeasible(asked, &all, &found, size)
        }
    }
}

/// Refuses what no size can be said of, without looking for one.
///
/// # Errors
/// Where machines are given, nothing is promised, or a trace has no span of time.
pub fn check(asked: &Asked) -> Result<(), DecideError> {
    users_of(asked)?;
    if asked.scenario.replicas.is_some() {
        return Err(DecideError::Value {
            what: "service.replicas, service.balancer or service.outages".into(),
            value: "given, and how many machines there are is what is looked for".into(),
            allowed: "a scenario without them".into(),
        });
    }
    if asked.levels.is_empty() {
        return Err(DecideError::Value {
            what: "the number of service levels".into(),
            value: "0".into(),
            allowed: "at least one, for example --ttft-p95 1s or --speed-p5 300".into(),
        });
    }
    Ok(())
}

/// Of one of the designs, with everything else that a size depends on in its hash.
fn provenance(all: &[Design], asked: &Asked) -> Result<Provenance, DecideError> {
    match all.iter().find_map(|design| design.server.as_ref().ok()) {
        Some(server) => {
            let from = server.provenance();
            let Asked { levels, seeds, availability, growth, economics, .. } = asked;
            let levels: Vec<(&Level, f64)> = levels.iter().map(|level| (level, level.bound)).collect();
            let all = (levels, seeds, availability, growth, economics);
            // Whichever design is first: what was asked is the same.
            let machine = (&asked.scenario, asked.search, server.pipeline().question().wafer.system());
            Ok(Provenance { input_hash: hash::of(&(&from.input_hash, machine, all)), ..from })
        }
        None => {
            let why = all.iter().find_map(|design| design.server.as_ref().err()).cloned().unwrap_or_default();
            Err(DecideError::Value {
                what: format!("the model {}", asked.scenario.machine.model),
                value: format!("in none of the designs that were tried ({why})"),
                allowed: "more wafers, a shorter context, smaller data types".into(),
            })
        }
    }
}

fn machines(most: f64, users: f64) -> u64 {
    (users / most).ceil().max(1.0) as u64
}

fn wafers_in_all(design: &Design, most: f64, users: f64) -> u64 {
    machines(most, users).saturating_mul(u64::from(design.systems()))
}

fn in_all(design: &Design, found: &Found, users: f64) -> Considered {
    Considered {
        wafers: design.wafers,
        prefill_wafers: design.prefill_wafers(),
        placed_for: design.holds,
        most_users: found.most,
        wafers_in_all: found.most.map(|most| wafers_in_all(design, most, users)),
        why_not: found.why_not.clone(),
    }
}

/// What is said of machines that do.
fn feasible(
    asked: &Asked,
    design: &Design,
    confirmed: &Confirmed,
    size: Size,
    told: Told<'_>,
) -> Result<Size, DecideError> {
    let users = size.users;
    let machines = machines(confirmed.users, users);
    let spares =
        design.server.as_ref().ok().map(|server| {
            Spares::of(&server.pipeline().question().wafer, design.systems(), machines, asked.availability)
        });
    let Ok(server) = &design.server else { return Ok(size) };
    let question = server.pipeline().question();
    let traffic = &confirmed.traffic;
    let load = Load {
        systems: (machines + spares.map_or(0, |spares| spares.machines)) * u64::from(design.systems()),
        tokens_per_second_per_user: traffic.median_speed,
        tokens_per_second_total: traffic.tokens_per_second * machines as f64,
        mix: TokenMix { input_per_output: traffic.input_per_output, cached: traffic.cached },
    };
    let cost = cost(question, Placed::of(server.pipeline())?, load, asked.economics)?;
    told("what other assumptions make of it");
    let moves = moves::moves(asked, design, confirmed.users, users);
    let level = |name: &str| size_level(confirmed, name);
    Ok(Size {
        feasible: true,
        machines: Some(machines),
        wafers_per_machine: Some(design.systems()),
        prefill_wafers_per_machine: design.prefill_wafers(),
        users_per_machine: Some(confirmed.users),
        binds: confirmed.binds.clone(),
        prompts: nearest::prompts(asked, server),
        ttft_p95_s: level("ttft_p95").or(Some(traffic.ttft_p95)),
        speed_p5: level("speed_p5").or(Some(traffic.speed_p5)),
        levels: confirmed.kept.clone(),
        most_users_per_machine: Some(confirmed.most),
        tokens_per_second_per_machine: Some(traffic.tokens_per_second),
        mean_tokens_per_second_per_user: Some(traffic.tokens_per_second / confirmed.users),
        headroom: Some((confirmed.most * machines as f64 / users - 1.0).max(0.0)),
        spares,
        growth: asked.growth.map_or_else(Vec::new, |growth| months(growth, users, confirmed.users)),
        moves,
        machine: Some(server.summary()),
        usd_per_user_and_month: Some(cost.usd_per_hour.value * MONTH / users),
        cost: Some(cost),
        plan: confirmed.plan.clone(),
        ..size
    })
}

fn size_level(confirmed: &Confirmed, name: &str) -> Option<f64> {
    confirmed.kept.iter().find(|kept| kept.level.to_string() == name).and_then(|kept| kept.value)
}

fn months(growth: Growth, users: f64, most: f64) -> Vec<Month> {
    let mut months: Vec<Month> = Vec::new();
    for month in 0..=growth.months {
        let users = users * (1.0 + growth.per_month).powi(i32::try_from(month).unwrap_or(i32::MAX));
        let machines = machines(most, users);
        if months.last().is_none_or(|last| last.machines != machines) {
            months.push(Month { month, users, machines });
        }
    }
    months
}

/// Users of a load, or requests a second.
fn users_of(asked: &Asked) -> Result<f64, DecideError> {
    match &asked.scenario.load {
        LoadScenario::Closed(load) => Ok(f64::from(load.users)),
        LoadScenario::Sessions(load) => Ok(f64::from(load.agents)),
        LoadScenario::Tasks(load) => Ok(f64::from(load.agents)),
        LoadScenario::Open(load) => Ok(load.rate),
        LoadScenario::Trace(load) if asked.requests.is_none() => Err(DecideError::Value {
            what: "load.file".into(),
            value: format!("{}, whose requests are not given", load.file),
            allowed: "another kind of load, or a trace where files are read".into(),
        }),
        LoadScenario::Trace(load) => rate_of(asked, load).ok_or_else(|| DecideError::Value {
            what: "load.file".into(),
            value: format!("{}, whose requests come all at once", load.file),
            allowed: "a trace with times, so that it has requests a second".into(),
        }),
    }
}

/// Requests a second of a trace as it is replayed.
fn rate_of(asked: &Asked, load: &TraceScenario) -> Option<f64> {
    Some(asked.requests.as_ref()?.rate()? * load.speed)
}

/// The same load with another number of users, or of requests a second: of a trace, the part of its sessions that has
/// so many.
fn with_users(asked: &Asked, load: &LoadScenario, users: f64) -> LoadScenario {
    let whole = users.round().clamp(1.0, f64::from(u32::MAX)) as u32;
    match load.clone() {
        LoadScenario::Closed(load) => {
            LoadScenario::Closed(wafersim_stream::load::ClosedSettings { users: whole, ..load })
        }
        LoadScenario::Sessions(load) => {
            LoadScenario::Sessions(wafersim_stream::load::SessionSettings { agents: whole, ..load })
        }
        LoadScenario::Tasks(load) => LoadScenario::Tasks(wafersim_stream::load::TaskSettings { agents: whole, ..load }),
        LoadScenario::Open(load) => LoadScenario::Open(wafersim_stream::load::OpenSettings { rate: users, ..load }),
        LoadScenario::Trace(load) => {
            let part = rate_of(asked, &load).map_or(1.0, |rate| (users / rate).min(1.0));
            LoadScenario::Trace(TraceScenario { part, ..load })
        }
    }
}

/// Whether users are counted in whole numbers.
const fn is_counted(load: &LoadScenario) -> bool {
    !matches!(load, LoadScenario::Open(_) | LoadScenario::Trace(_))
}
