//! What an answer costs: systems, electricity, a token; beside what services charge and what GPUs give.

use serde::Serialize;
use wafersim_answer::{Answer, Pipeline, Question};

use crate::energy::{Placed, TokenEnergy};
use crate::error::DecideError;
use crate::gpus::{Beside, GpuComparison, compare};
use crate::money::{Economics, Hourly, Ranged, per_kwh, per_million};
use crate::services::{ServicePrice, TokenMix, services};

/// What a load is like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Load {
    /// Systems that are paid for: wafers, of all machines.
    pub systems: u64,
    /// Tokens a second of each user.
    pub tokens_per_second_per_user: f64,
    /// Output tokens a second of all users while they are there.
    pub tokens_per_second_total: f64,
    /// What its requests are like.
    pub mix: TokenMix,
}

/// What it costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cost {
    /// The load.
    pub load: Load,
    /// What is assumed.
    pub economics: Economics,
    /// One system in an hour.
    pub system: Hourly,
    /// USD an hour of all systems.
    pub usd_per_hour: Ranged,
    /// USD for a million output tokens, prompts included.
    pub usd_per_million: Ranged,
    /// The same where the load is there day and night.
    pub usd_per_million_when_full: f64,
    /// What all systems draw at their rated power, in kW.
    pub facility_kw: Ranged,
    /// What they draw by their floor and the work of decoding, in kW: counted, where rated power is what is written.
    pub facility_kw_by_activity: Ranged,
    /// Output tokens of a kWh at the rated power.
    pub tokens_per_kwh: Ranged,
    /// The same by floor and work.
    pub tokens_per_kwh_by_activity: Ranged,
    /// The work of a token.
    pub energy: TokenEnergy,
    /// What services charge.
    pub services: Vec<Charged>,
    /// What GPUs give; nothing where no row of the model is near.
    pub gpus: Option<GpuComparison>,
}

/// What a service charges for the load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Charged {
    /// The service.
    #[serde(flatten)]
    pub price: ServicePrice,
    /// Whether it is the same model.
    pub same_model: bool,
    /// USD for a million output tokens with the prompts that belong to them.
    pub usd_per_million: f64,
    /// What the machines cost over that: below 1 they are cheaper.
    pub machines_over_service: f64,
}

/// Tokens of a request of a coding agent: TraceLab's medians (357,000 calls) and what its prefix caches knew.
pub const AGENT_OUTPUT: f64 = 214.0;
/// Part of a coding agent's prompt tokens that a prefix cache knows.
pub const AGENT_CACHED: f64 = 0.957;

/// Of a question's answer, on so many machines of its wafers.
///
/// # Errors
/// Where the model has no graph of operators.
pub fn of_answer(question: &Question, answer: &Answer, load: Load, economics: Economics) -> Result<Cost, DecideError> {
    let pipeline = Pipeline::new(question.clone(), None)?;
    let placed = Placed { wafers: answer.load.wafers_used, ..Placed::of(&pipeline)? };
    cost(question, placed, load, economics)
}

/// Of a load on machines of a question's wafers.
///
/// # Errors
/// Where the model has no graph of operators.
pub fn cost(question: &Question, placed: Placed, load: Load, economics: Economics) -> Result<Cost, DecideError> {
    let energy = TokenEnergy::of(&question.scenario, &question.model, &question.wafer, placed)?;
    let system = Hourly::of(&question.wafer, &economics);
    let systems = load.systems as f64;
    let usd_per_hour = system.total.times(systems);
    let facility_kw = system.facility_kw.times(systems);
    let total = load.tokens_per_second_total;
    let occupancy = economics.occupancy;
    let cooling = question.wafer.figure(wafersim_spec::wafer::Key::SystemCooling).value;
    let by_activity = Ranged::of(|end| {
        let work_kw = energy.joules.at(end) * total * occupancy.at(end) * 1e-3 * cooling;
        // Nothing draws more than what it is rated at.
        (system.floor_kw.at(end) * systems + work_kw).min(facility_kw.at(end))
    });
    let usd_per_million = Ranged::of(|end| per_million(usd_per_hour.at(end), total, occupancy.at(end.other())));
    let charged = services()?.into_iter().map(|price| {
        let usd = price.per_million_outputs(load.mix);
        Charged {
            same_model: price.model == question.model.name,
            usd_per_million: usd,
            machines_over_service: usd_per_million.value / usd,
            price,
        }
    });
    let beside = Beside {
        model: &question.model.name,
        context: question.scenario.context,
        speed: load.tokens_per_second_per_user,
        total,
        usd_per_hour: usd_per_hour.value,
        occupancy: occupancy.value,
    };
    Ok(Cost {
        load,
        economics,
        system,
        usd_per_hour,
        usd_per_million,
        usd_per_million_when_full: per_million(usd_per_hour.value, total, 1.0),
        facility_kw,
        facility_kw_by_activity: by_activity,
        tokens_per_kwh: Ranged::of(|end| per_kwh(total, facility_kw.at(end.other()), occupancy.at(end))),
        tokens_per_kwh_by_activity: Ranged::of(|end| per_kwh(total, by_activity.at(end.other()), occupancy.at(end))),
        energy,
        services: charged.collect(),
        gpus: compare(beside)?,
    })
}
