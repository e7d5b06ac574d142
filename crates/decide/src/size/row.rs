//! A size as a row of a table: what is said of each combination where settings are swept.

use serde::{Deserialize, Serialize};
use wafersim_answer::plan::Swept;

use super::{MONTH, Size};
use crate::error::DecideError;

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SizeRow {
    /// What was swept.
    pub swept: Vec<Swept>,
    /// Whether any design does.
    pub feasible: bool,
    /// Machines.
    pub machines: Option<u64>,
    /// Wafers of each.
    pub wafers_per_machine: Option<u32>,
    /// Wafers of all machines, without those in reserve.
    pub wafers_in_all: Option<u64>,
    /// Machines in reserve.
    pub in_reserve: Option<u64>,
    /// Users of the fullest machine, or requests a second of each.
    pub users_per_machine: Option<f64>,
    /// The level that more users would break first, or that is farthest from what was promised.
    pub binds: Option<String>,
    /// Seconds to the first token at p95.
    pub ttft_p95_s: Option<f64>,
    /// Tokens a second of a request at p5.
    pub speed_p5: Option<f64>,
    /// What all machines draw at their rated power, those in reserve too, in kW.
    pub facility_kw: Option<f64>,
    /// USD a month of all machines, those in reserve too.
    pub usd_per_month: Option<f64>,
    /// The same for each user.
    pub usd_per_user_and_month: Option<f64>,
    /// USD for a million output tokens, prompts included.
    pub usd_per_million: Option<f64>,
    /// Why no machine can be placed at all, where none can.
    pub why_not: Option<String>,
    /// Hash of what it depends on; empty where no machine can be placed.
    pub input_hash: String,
}

impl SizeRow {
    /// The row of a combination.
    pub fn of(swept: &[Swept], size: &Size) -> Self {
        let cost = size.cost.as_ref();
        Self {
            swept: swept.to_vec(),
            feasible: size.feasible,
            machines: size.machines,
            wafers_per_machine: size.wafers_per_machine,
            wafers_in_all: size.machines.zip(size.wafers_per_machine).map(|(all, each)| all * u64::from(each)),
            in_reserve: size.spares.map(|spares| spares.machines),
            users_per_machine: size.users_per_machine,
            binds: size.binds.clone(),
            ttft_p95_s: size.ttft_p95_s,
            speed_p5: size.speed_p5,
            facility_kw: cost.map(|cost| cost.facility_kw.value),
            usd_per_month: cost.map(|cost| cost.usd_per_hour.value * MONTH),
            usd_per_user_and_month: size.usd_per_user_and_month,
            usd_per_million: cost.map(|cost| cost.usd_per_million.value),
            why_not: None,
            input_hash: size.provenance.input_hash.clone(),
        }
    }

    /// The row of a combination for which there is no machine.
    pub fn without_machine(swept: &[Swept], why: &DecideError) -> Self {
        Self {
            swept: swept.to_vec(),
            feasible: false,
            machines: None,
            wafers_per_machine: None,
            wafers_in_all: None,
            in_reserve: None,
            users_per_machine: None,
            binds: None,
            ttft_p95_s: None,
            speed_p5: None,
            facility_kw: None,
            usd_per_month: None,
            usd_per_user_and_month: None,
            usd_per_million: None,
            why_not: Some(why.to_string()),
            input_hash: String::new(),
        }
    }
}
