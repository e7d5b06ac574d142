//! The designs that are looked at: numbers of wafers, placed for numbers of users.

use rayon::prelude::*;
use wafersim_answer::Question;
use wafersim_answer::map::fewest;
use wafersim_spec::Scenario;
use wafersim_spec::scenario::WaferCount;
use wafersim_stream::run::{Files, Prepared, Server};
use wafersim_stream::scenario::StreamScenario;

use super::{Asked, Told, is_counted, users_of};
use crate::error::DecideError;

/// A machine that could be bought.
pub(super) struct Design {
    /// Wafers of it that decode.
    pub(super) wafers: u32,
    /// Users that it is placed for.
    pub(super) holds: u64,
    /// It, placed; or why it cannot be.
    pub(super) server: Result<Server, String>,
}

impl Design {
    /// Wafers of it that compute prompts and do not decode; nothing where it has none.
    pub(super) fn prefill_wafers(&self) -> Option<u32> {
        let server = self.server.as_ref().ok()?;
        Some(server.pipeline().prefill_wafers()).filter(|wafers| *wafers > 0)
    }

    /// All its wafers.
    pub(super) fn systems(&self) -> u32 {
        self.wafers.saturating_add(self.prefill_wafers().unwrap_or(0))
    }
}

/// Most users that a machine is placed for, and most wafers of it.
const MOST_HELD: u64 = 128;
const MOST_WAFERS: u32 = 256;
/// Wafers beside the fewest that hold the users: parts of those.
const MORE: [f64; 5] = [1.0, 1.1, 1.25, 1.5, 1.8];

/// All designs, placed.
///
/// # Errors
/// Where the model or the wafer cannot be read.
pub(super) fn designs(asked: &Asked, told: Told<'_>) -> Result<Vec<Design>, DecideError> {
    let question = Question::load(asked.scenario.machine.clone())?.stopped_by(asked.stop.clone());
    let given = match asked.scenario.machine.wafers {
        WaferCount::Exactly(wafers) => Some(wafers),
        WaferCount::Auto | WaferCount::Fewest => None,
    };
    let users = users_of(asked)?;
    // How many of the requests that come at a rate are there at once is not known yet.
    let most = if is_counted(&asked.scenario.load) { 2.0 * users } else { f64::INFINITY };
    let counts: Vec<u64> = held().take_while(|holds| *holds == 1 || *holds as f64 <= most).collect();
    told(&format!("looking for numbers of wafers for {} numbers of users", counts.len()));
    let of = |holds: u64| wafers_for(asked, &question, holds, given).into_iter().map(move |wafers| (wafers, holds));
    let mut all: Vec<(u32, u64)> = counts.into_par_iter().flat_map_iter(of).collect();
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

/// Numbers of users that machines are placed for: powers of two, and one between two of them.
fn held() -> impl Iterator<Item = u64> {
    let between = (1..).map(|power| 3 << (power - 1)).take_while(|count| *count <= MOST_HELD);
    let mut all: Vec<u64> =
        (0..).map(|power| 1 << power).take_while(|count| *count <= MOST_HELD).chain(between).collect();
    all.sort_unstable();
    all.into_iter()
}

/// Numbers of wafers for so many users: those at which a search finds more speed; without one, the fewest and some
/// more.
fn wafers_for(asked: &Asked, question: &Question, holds: u64, given: Option<u32>) -> Vec<u32> {
    let scenario = Scenario { users: holds, wafers: WaferCount::Auto, ..asked.scenario.machine.clone() };
    let Ok(of_users) = question.asking(scenario) else { return Vec::new() };
    let Ok(least) = fewest(&of_users) else { return Vec::new() };
    let counts: Vec<u32> = match (given, asked.search) {
        (Some(given), _) => vec![given],
        (None, Some(effort)) if asked.mapping.is_none() => {
            let searching = of_users.searching(Some(effort));
            let considered = searching.searched().map(|found| found.considered.clone()).unwrap_or_default();
            std::iter::once(least).chain(considered.into_iter().map(|one| one.wafers)).collect()
        }
        _ => MORE.iter().map(|part| (f64::from(least) * part).ceil() as u32).collect(),
    };
    counts.into_iter().filter(|wafers| (least..=MOST_WAFERS.max(least)).contains(wafers)).collect()
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
    let question = Question::load(scenario.machine.clone())?.stopped_by(asked.stop.clone());
    let question = question.with_mapping(asked.mapping.clone()).searching(asked.search);
    let files = Files { requests: asked.requests.clone(), ..Files::default() };
    Ok(Prepared::asking(question, scenario, files)?.place()?)
}
