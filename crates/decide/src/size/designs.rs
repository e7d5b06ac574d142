//! The designs that are looked at: numbers of wafers, placed for numbers of users.

use rayon::prelude::*;
use wafersim_answer::Question;
use wafersim_answer::map::fewest;
use wafersim_spec::Scenario;
use wafersim_spec::scenario::WaferCount;
use wafersim_stream::run::{Files, Prepared, Server};
use wafersim_stream::scenario::StreamScenario;

use super::{Asked, Told, users_of};
use crate::error::DecideError;

/// A machine that could be bought.
pub(super) struct Design {
    /// Wafers of it.
    pub(super) wafers: u32,
    /// Users that it is placed for.
    pub(super) holds: u64,
    /// It, placed; or why it cannot be.
    pub(super) server: Result<Server, String>,
}

/// Most users that a machine is placed for, and most wafers of it.
const MOST_HELD: u64 = 128;
const MOST_WAFERS: u32 = 256;
/// Wafers beside the fewest that hold the users: parts of those.
const MORE: [f64; 3] = [1.0, 1.35, 1.8];

/// All designs, placed.
///
/// # Errors
/// Where the model or the wafer cannot be read.
pub(super) fn designs(asked: &Asked, told: Told<'_>) -> Result<Vec<Design>, DecideError> {
    let question = Question::load(asked.scenario.machine.clone())?;
    let given = match asked.scenario.machine.wafers {
        WaferCount::Exactly(wafers) => Some(wafers),
        WaferCount::Auto | WaferCount::Fewest => None,
    };
    let users = users_of(&asked.scenario.load)?;
    let mut all: Vec<(u32, u64)> = Vec::new();
    let mut holds = 1_u64;
    while holds <= MOST_HELD && (holds == 1 || holds as f64 <= 2.0 * users) {
        let scenario = Scenario { users: holds, wafers: WaferCount::Auto, ..asked.scenario.machine.clone() };
        if let Ok(least) = question.asking(scenario).map_err(DecideError::from).and_then(|asked| Ok(fewest(&asked)?)) {
            let counts: Vec<u32> = match given {
                Some(given) => vec![given],
                None => MORE.iter().map(|part| (f64::from(least) * part).ceil() as u32).collect(),
            };
            all.extend(
                counts
                    .into_iter()
                    .filter(|wafers| (least..=MOST_WAFERS.max(least)).contains(wafers))
                    .map(|wafers| (wafers, holds)),
            );
        }
        holds *= 2;
    }
    if all.is_empty() {
        // Why not, in the words of placement.
        fewest(&question.asking(Scenario { users: 1, wafers: WaferCount::Auto, ..asked.scenario.machine.clone() })?)?;
        let wafers = given.map_or_else(String::new, |given| given.to_string());
        return Err(DecideError::Value {
            what: "machine.wafers".into(),
            value: wafers,
            allowed: "as many as hold the model and one user".into(),
        });
    }
    all.sort_unstable();
    all.dedup();
    told(&format!("placing {} designs", all.len()));
    let placed = all.into_par_iter().map(|(wafers, holds)| {
        let server = placed(asked, wafers, holds).map_err(|error| error.to_string());
        Design { wafers, holds, server }
    });
    Ok(placed.collect())
}

/// A machine of so many wafers for so many users.
pub(super) fn placed(asked: &Asked, wafers: u32, holds: u64) -> Result<Server, DecideError> {
    placed_as(asked, asked.scenario.clone(), wafers, holds)
}

/// The same with other settings.
pub(super) fn placed_as(
    asked: &Asked,
    mut scenario: StreamScenario,
    wafers: u32,
    holds: u64,
) -> Result<Server, DecideError> {
    scenario.machine.wafers = WaferCount::Exactly(wafers);
    scenario.machine.users = holds;
    scenario.micro_batch = scenario.micro_batch.map(|size| size.min(holds));
    let files = Files { mapping: asked.mapping.clone(), search: asked.search, ..Files::default() };
    Ok(Prepared::new(scenario, files)?.place()?)
}
