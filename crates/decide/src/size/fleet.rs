//! How many machines there must be so that enough of them are up.
//!
//! A machine of several wafers works as long as all of them do: it is up for `(1 - repair / (repair + time between
//! failures)) ^ wafers` of the time. Machines fail independently of each other; of `n` the number that is up is
//! binomial. With one down, its sessions are begun anew on others: what that costs them is not counted.

use serde::Serialize;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::Key;

/// Machines beside those that the load needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Spares {
    /// Part of the time in which a machine is up.
    pub machine_is_up: f64,
    /// Part of the time in which enough machines are to be up.
    pub wanted: f64,
    /// Machines in reserve.
    pub machines: u64,
    /// Part of the time in which enough are up, with these.
    pub reached: f64,
    /// The same with one machine in reserve.
    pub with_one: f64,
    /// The same with none.
    pub with_none: f64,
}

/// More machines in reserve than this are no answer.
const MOST_SPARES: u64 = 1_000;

impl Spares {
    /// For so many machines of so many wafers.
    pub fn of(wafer: &Wafer, wafers: u32, machines: u64, wanted: f64) -> Self {
        let figure = |key: Key| wafer.figure(key).value;
        let (between, repair) = (figure(Key::SystemFailures), figure(Key::SystemRepair));
        let machine_is_up = (between / (between + repair)).powf(f64::from(wafers));
        let up = |spares: u64| enough_up(machines, spares, machine_is_up);
        let spares = (0..MOST_SPARES).find(|spares| up(*spares) >= wanted).unwrap_or(MOST_SPARES);
        Self { machine_is_up, wanted, machines: spares, reached: up(spares), with_one: up(1), with_none: up(0) }
    }
}

/// The probability that of `needed + spares` machines at least `needed` are up, each with the probability `up`.
pub fn enough_up(needed: u64, spares: u64, up: f64) -> f64 {
    let all = needed + spares;
    // From the logarithm of the first term on: each is the one before times a ratio.
    let mut logarithm = all as f64 * up.ln();
    let mut sum = 0.0;
    for down in 0..=spares {
        sum += logarithm.exp();
        let left = (all - down) as f64;
        logarithm += (left / (down as f64 + 1.0)).ln() + ((1.0 - up) / up).ln();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spares_are_binomial() {
        let up: f64 = 0.9;
        assert!((enough_up(2, 0, up) - 0.81).abs() < 1e-12);
        // Of three at least two: 0.9^3 + 3 * 0.9^2 * 0.1.
        assert!((enough_up(2, 1, up) - 0.972).abs() < 1e-12);
        assert!((enough_up(50, 20, 1.0) - 1.0).abs() < 1e-12, "machines that never fail");
    }

    #[test]
    fn more_is_wanted_with_more_spares() {
        let wafer = Wafer::builtin("wse3").unwrap();
        let of = |wafers, machines, wanted| Spares::of(&wafer, wafers, machines, wanted);
        assert!(of(16, 10, 0.999).machines >= of(16, 10, 0.99).machines);
        assert!(of(32, 10, 0.999).machines >= of(16, 10, 0.999).machines);
        let spares = of(16, 10, 0.999);
        assert!(spares.reached >= 0.999 && spares.with_none < spares.with_one && spares.machine_is_up < 0.96);
    }
}
