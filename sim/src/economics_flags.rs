//! Flags of money: what electricity costs, how long a system lasts, how much of the time is sold.

use clap::Args;
use wafersim::decide::money::Economics;

use crate::failure::Failure;

/// What is assumed of money.
#[derive(Debug, Args)]
pub struct EconomicsFlags {
    /// USD for a kWh of electricity [default: 0.08, from 0.05 to 0.15].
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    price_kwh: Option<f64>,
    /// Years over which a system is written off [default: the wafer file's].
    #[arg(long, value_name = "YEARS", allow_negative_numbers = true)]
    years: Option<f64>,
    /// Part of the time in which the load is there, 1 for day and night [default: 0.5, from 0.2 to 1].
    #[arg(long, value_name = "0..1", allow_negative_numbers = true)]
    occupancy: Option<f64>,
}

impl EconomicsFlags {
    /// What is assumed.
    pub fn economics(&self) -> Result<Economics, Failure> {
        Ok(Economics::with(self.price_kwh, self.occupancy, self.years)?)
    }
}
