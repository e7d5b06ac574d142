//! Several machines, each of which does what an answer says: users, tokens, power and money of all.
//!
//! Machines are replicas that know nothing of each other: speeds stay, everything else is so many times as much. What
//! routing of sessions over machines does is an event-by-event question ([`wafersim_stream::balancer`]).

use serde::Serialize;
use wafersim_spec::Wafer;

use crate::money::{Economics, Hourly, Ranged, per_million};

/// One machine under its load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OneMachine {
    /// Its wafers.
    pub wafers: u64,
    /// Its users.
    pub users: u64,
    /// Tokens a second of all of them.
    pub tokens_per_second: f64,
}

/// So many of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Several {
    /// Machines.
    pub machines: u64,
    /// One of them.
    pub each: OneMachine,
    /// Wafers of all.
    pub wafers: u64,
    /// Users of all.
    pub users: u64,
    /// Tokens a second of all users.
    pub tokens_per_second: f64,
    /// What all draw at their rated power, in kW.
    pub facility_kw: Ranged,
    /// USD an hour of all.
    pub usd_per_hour: Ranged,
    /// USD for a million tokens, at the part of the time in which the load is there.
    pub usd_per_million: Ranged,
}

impl Several {
    /// So many machines of these wafers.
    pub fn of(wafer: &Wafer, economics: &Economics, each: OneMachine, machines: u64) -> Self {
        let system = Hourly::of(wafer, economics);
        let wafers = each.wafers.saturating_mul(machines);
        let tokens_per_second = each.tokens_per_second * machines as f64;
        let usd_per_hour = system.total.times(wafers as f64);
        let per_token = |end| per_million(usd_per_hour.at(end), tokens_per_second, economics.occupancy.at(end.other()));
        Self {
            machines,
            each,
            wafers,
            users: each.users.saturating_mul(machines),
            tokens_per_second,
            facility_kw: system.facility_kw.times(wafers as f64),
            usd_per_hour,
            usd_per_million: Ranged::of(per_token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_machines_are_so_many_times_one() {
        let (wafer, economics) = (Wafer::builtin("wse3").unwrap(), Economics::default());
        let each = OneMachine { wafers: 16, users: 4, tokens_per_second: 3000.0 };
        let [one, ten] = [1, 10].map(|machines| Several::of(&wafer, &economics, each, machines));
        assert_eq!((ten.wafers, ten.users), (160, 40));
        assert!((ten.facility_kw.value / one.facility_kw.value - 10.0).abs() < 1e-9);
        assert!((ten.usd_per_hour.high / one.usd_per_hour.high - 10.0).abs() < 1e-9);
        assert!((ten.usd_per_million.value - one.usd_per_million.value).abs() < 1e-9, "a token costs the same");
    }
}
