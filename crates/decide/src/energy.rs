//! What a token's work takes: multiply-accumulates, bytes from SRAM, wavelets from router to router, bytes between
//! wafers, each by the energy of one.
//!
//! The counts are the model's ([`wafersim_graph::OperatorGraph`]) and the placement's; every token is taken to read its
//! weights and its cache. Instruction fetch, waiting processing elements and clocks are not counted: they are what the
//! floor is.

use serde::Serialize;
use wafersim_graph::{OperatorGraph, PassLoad};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::Key;
use wafersim_spec::{Model, Scenario};

use crate::error::DecideError;
use crate::money::Ranged;

/// What one output token takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenEnergy {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of weights and cache that are read from SRAM.
    pub bytes: u64,
    /// Bytes over links between wafers.
    pub link_bytes: u64,
    /// Joules of multiply-accumulates.
    pub mac_joules: Ranged,
    /// Joules of SRAM.
    pub sram_joules: Ranged,
    /// Joules of links.
    pub link_joules: Ranged,
    /// Joules of all.
    pub joules: Ranged,
}

impl TokenEnergy {
    /// Of a token of a scenario on so many wafers.
    ///
    /// # Errors
    /// Where the model has no graph of operators.
    pub fn of(scenario: &Scenario, model: &Model, wafer: &Wafer, wafers: u32) -> Result<Self, DecideError> {
        let precision = &scenario.precision;
        let graph = OperatorGraph::of_model(model, PassLoad::decode(1, scenario.context), precision)?;
        // A draft that is not accepted has been computed too: of k + 1 tokens of a step some are given.
        let tokens = 1 + u64::from(scenario.speculation.draft_length);
        let work = tokens as f64 / scenario.speculation.tokens_per_step();
        let counted = |count: u64| (count as f64 * work) as u64;
        let between = u64::from(wafers.saturating_sub(1));
        let macs = counted(graph.macs());
        let bytes = counted(graph.bytes_read().0);
        let link_bytes = counted(precision.activations.storage(model.hidden).0.saturating_mul(between));
        let joules = |count: u64, key: Key| {
            let figure = wafer.figure(key);
            Ranged { low: figure.low, value: figure.value, high: figure.high }.times(count as f64 * 1e-12)
        };
        let mac_joules = joules(macs, Key::EnergyMac);
        let sram_joules = joules(bytes, Key::EnergyByte);
        let link_joules = joules(link_bytes, Key::EnergyLink);
        let all = Ranged::of(|end| mac_joules.at(end) + sram_joules.at(end) + link_joules.at(end));
        Ok(Self { macs, bytes, link_bytes, mac_joules, sram_joules, link_joules, joules: all })
    }
}
