//! What a token's work takes: multiply-accumulates, bytes from SRAM, wavelets from router to router, bytes between
//! wafers, each by the energy of one.
//!
//! Multiply-accumulates and bytes are the model's ([`wafersim_graph::OperatorGraph`]), wavelets those of the programs
//! of its mapping ([`wafersim_answer::Pipeline::wavelet_hops_per_token`]); every token is taken to read its weights and
//! its cache. Instruction fetch, waiting processing elements and clocks are not counted: they are what the
//! floor is.

use serde::Serialize;
use wafersim_answer::Pipeline;
use wafersim_graph::{OperatorGraph, PassLoad};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::Key;
use wafersim_spec::{Model, Scenario};

use crate::error::DecideError;
use crate::money::Ranged;

/// What one output token takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TokenEnergy {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of weights and cache that are read from SRAM.
    pub bytes: u64,
    /// Hops of 32-bit wavelets from router to router.
    pub wavelet_hops: u64,
    /// Bytes over links between wafers.
    pub link_bytes: u64,
    /// Joules of multiply-accumulates.
    pub mac_joules: Ranged,
    /// Joules of SRAM.
    pub sram_joules: Ranged,
    /// Joules of hops.
    pub hop_joules: Ranged,
    /// Joules of links.
    pub link_joules: Ranged,
    /// Joules of all.
    pub joules: Ranged,
}

/// What placement and programs say of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Wafers that are used.
    pub wafers: u32,
    /// Hops of 32-bit wavelets for each output token.
    pub wavelet_hops: f64,
}

impl Placed {
    /// Of a placement.
    ///
    /// # Errors
    /// Where a layer cannot be written as its mapping says.
    pub fn of(pipeline: &Pipeline) -> Result<Self, DecideError> {
        Ok(Self { wafers: pipeline.wafers_used(), wavelet_hops: pipeline.wavelet_hops_per_token()? })
    }
}

impl TokenEnergy {
    /// Of a token of a scenario that is placed so.
    ///
    /// # Errors
    /// Where the model has no graph of operators.
    pub fn of(scenario: &Scenario, model: &Model, wafer: &Wafer, placed: Placed) -> Result<Self, DecideError> {
        let precision = &scenario.precision;
        let graph = OperatorGraph::of_model(model, PassLoad::decode(1, scenario.context), precision)?;
        // A draft that is not accepted has been computed too: of k + 1 tokens of a step some are given.
        let tokens = 1 + u64::from(scenario.speculation.draft_length);
        let work = tokens as f64 / scenario.speculation.tokens_per_step();
        let counted = |count: u64| (count as f64 * work) as u64;
        let between = u64::from(placed.wafers.saturating_sub(1));
        let macs = counted(graph.macs());
        let bytes = counted(graph.bytes_read().0);
        let link_bytes = counted(precision.activations.storage(model.hidden).0.saturating_mul(between));
        let joules = |count: u64, key: Key| {
            let figure = wafer.figure(key);
            Ranged { low: figure.low, value: figure.value, high: figure.high }.times(count as f64 * 1e-12)
        };
        let mac_joules = joules(macs, Key::EnergyMac);
        let sram_joules = joules(bytes, Key::EnergyByte);
        let wavelet_hops = placed.wavelet_hops as u64;
        let hop_joules = joules(wavelet_hops, Key::EnergyHop);
        let link_joules = joules(link_bytes, Key::EnergyLink);
        let all = Ranged::of(|end| mac_joules.at(end) + sram_joules.at(end) + hop_joules.at(end) + link_joules.at(end));
        Ok(Self {
            macs,
            bytes,
            wavelet_hops,
            link_bytes,
            mac_joules,
            sram_joules,
            hop_joules,
            link_joules,
            joules: all,
        })
    }
}
