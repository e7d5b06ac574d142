//! How the answer moves with what is assumed: what sessions share, how long people think, the mapping, drafts.

use rayon::prelude::*;
use serde::Serialize;
use wafersim_spec::DataType;
use wafersim_spec::scenario::{Acceptance, AcceptancePreset, Profile};
use wafersim_stream::load::sessions::{COMMON, THINK};
use wafersim_stream::run::Server;
use wafersim_stream::scenario::{LoadScenario, StreamScenario};

use super::designs::{Design, placed_as};
use super::seek::{bisected, least_of, run, tightest};
use super::{Asked, machines};

/// Another assumption, on machines of as many wafers that are placed for as many users.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Move {
    /// What is assumed.
    pub path: String,
    /// Otherwise.
    pub value: String,
    /// Most users of a machine then; nothing where one is too many, or it cannot be placed.
    pub most_users_per_machine: Option<f64>,
    /// Machines for all.
    pub machines: Option<u64>,
}

/// Draft of the other assumption, and how it is accepted: EAGLE-3's usual three tokens as measured on code.
const DRAFT: u32 = 3;
const ACCEPTED: &str = "eagle3-qwen3-8b-coding";

/// What else might be assumed.
struct Other {
    path: &'static str,
    value: String,
    scenario: StreamScenario,
    /// Whether the machine is another one.
    is_placed_anew: bool,
    searches: bool,
}

/// All moves.
pub(super) fn moves(asked: &Asked, design: &Design, most: f64, users: f64) -> Vec<Move> {
    let others = others(asked);
    let of = |other: &Other| {
        let most = most_with(asked, design, other, most, users);
        Move {
            path: other.path.to_owned(),
            value: other.value.clone(),
            most_users_per_machine: most,
            machines: most.map(|most| machines(most, users)),
        }
    };
    others.par_iter().map(of).collect()
}

fn others(asked: &Asked) -> Vec<Other> {
    let scenario = &asked.scenario;
    let mut others = Vec::new();
    if let LoadScenario::Sessions(load) = &scenario.load {
        let mut loaded = |path: &'static str, value: f64, set: &dyn Fn(&mut wafersim_stream::load::SessionSettings)| {
            let mut load = *load;
            set(&mut load);
            let scenario = StreamScenario { load: LoadScenario::Sessions(load), ..scenario.clone() };
            others.push(Other { path, value: value.to_string(), scenario, is_placed_anew: false, searches: true });
        };
        let half = f64::from(load.prefix.median / 2 / 1024 * 1024);
        for common in [COMMON.low, COMMON.high, half].into_iter().filter(|common| *common as u32 != load.common) {
            loaded("load.common", common, &|load| load.common = common as u32);
        }
        for think in [THINK.low, THINK.high].into_iter().filter(|think| (*think - load.think).abs() > 1e-9) {
            loaded("load.think", think, &|load| load.think = think);
        }
    }
    let mut placed = |path: &'static str, value: &str, searches: bool, set: &dyn Fn(&mut StreamScenario)| {
        let mut other = scenario.clone();
        set(&mut other);
        others.push(Other { path, value: value.to_owned(), scenario: other, is_placed_anew: true, searches });
    };
    if asked.mapping.is_none() && asked.search.is_some() {
        placed("mapping", "built in", false, &|_| ());
    }
    if scenario.machine.profile != Profile::Published {
        placed("machine.profile", Profile::Published.name(), true, &|other| other.machine.profile = Profile::Published);
    }
    if scenario.machine.precision.kv_cache.bits() > DataType::Fp8.bits() {
        placed("machine.precision.kv_cache", DataType::Fp8.name(), true, &|other| {
            other.machine.precision.kv_cache = DataType::Fp8;
        });
    }
    match (scenario.machine.speculation.draft_length, AcceptancePreset::named(ACCEPTED)) {
        (0, Some(preset)) => {
            let value = format!("{DRAFT} tokens, accepted as {ACCEPTED}");
            placed("machine.speculation", &value, true, &|other| {
                other.machine.speculation.draft_length = DRAFT;
                other.machine.speculation.acceptance = Acceptance::Preset(preset);
            });
        }
        (0, None) => {}
        _ => placed("machine.speculation", "none", true, &|other| other.machine.speculation = Default::default()),
    }
    others
}

fn most_with(asked: &Asked, design: &Design, other: &Other, most: f64, users: f64) -> Option<f64> {
    let anew: Server;
    let server = if other.is_placed_anew {
        let asked = Asked { search: asked.search.filter(|_| other.searches), ..asked.clone() };
        anew = placed_as(&asked, other.scenario.clone(), design.wafers, design.holds).ok()?;
        &anew
    } else {
        design.server.as_ref().ok()?
    };
    let load = &other.scenario.load;
    let holds = |count: f64| tightest(&asked.levels, &run(asked, server, load, count, asked.scenario.seed)).0 >= 0.0;
    let least = least_of(asked, load);
    holds(least).then(|| bisected(asked, least, most, users, &holds))
}
