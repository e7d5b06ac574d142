//! One layer on the fabric: its program moved to its true region, lowered, run, and compared with the closed form
//! operator by operator.

use serde::Serialize;
use wafersim_cost::{Cause, Cost, OperatorCost, ProgramCost, Rates, formula};
use wafersim_fabric::circuit::{self, CircuitError, Outcome, Progress, Record};
use wafersim_program::Program;
use wafersim_spec::Region;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::{Key, RateSet};

use super::Place;
use crate::error::AnswerError;
use crate::written::Flow;

/// Time of an operator, both ways.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OperatorOnFabric {
    /// Operator.
    pub operator: String,
    /// Cycles in closed form.
    pub closed_form_cycles: f64,
    /// By how many cycles the operator moved the moment at which the last processing element was done. Operators
    /// overlap where processing elements run ahead, so that single operators may differ by more than the layer does.
    pub cycles: f64,
    /// Fabric over closed form, less one, in per cent; nothing where the closed form is 0.
    pub deviation_percent: Option<f64>,
}

/// A layer that ran on the fabric.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerOnFabric {
    /// The layer, from 0.
    pub layer: u64,
    /// Its wafer, from 0.
    pub wafer: u32,
    /// Its processing elements on that wafer.
    pub region: Region,
    /// Tokens that went through together.
    pub tokens: u64,
    /// Tokens in the cache that they saw.
    pub context: u64,
    /// Cycles in closed form.
    pub closed_form_cycles: f64,
    /// Cycles on the fabric.
    pub cycles: f64,
    /// Fabric over closed form, less one, in per cent.
    pub deviation_percent: f64,
    /// By operator, in the order of the program.
    pub operators: Vec<OperatorOnFabric>,
    /// Wavelets times links crossed.
    pub wavelet_hops: u64,
    /// First wavelets of streams that found their way blocked.
    pub stalls: u64,
    /// Colors of the router that are used.
    pub colors: u32,
    /// Share of the run for which the busiest link carried wavelets; 0 to 1.
    pub busiest_link: f64,
    /// The same, mean over all links of the region in all four directions.
    pub mean_link: f64,
    /// Share of the run for which a processing element ran vector work, mean over the region; 0 to 1.
    pub mean_busy: f64,
    /// Which engine ran it: `streams`, `mixed` where steps in which streams contend for links went wavelet by wavelet,
    /// or `wavelets`.
    pub engine: &'static str,
    /// Whether it is one of the neighbouring layers that pictures show.
    pub is_shown: bool,
}

/// A layer that ran, with what was found at every place.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerRun {
    /// What it was and what it took.
    pub layer: LayerOnFabric,
    /// All that the fabric says.
    pub outcome: Outcome,
    /// Cycles for which a wavelet occupies a link.
    pub cycles_per_wavelet: f64,
}

/// A layer to run.
pub(super) struct Task<'a> {
    pub place: Place,
    pub flow: Flow,
    pub program: &'a Program,
    pub closed: ProgramCost,
    pub is_shown: bool,
    pub pass: usize,
}

impl Task<'_> {
    /// Runs it: what was found, and its cost in the form of the closed one.
    pub fn run(
        &self,
        wafer: &Wafer,
        rates: &Rates,
        record: Option<Record>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(LayerRun, ProgramCost), AnswerError> {
        let Place { layer, wafer: at, region, .. } = self.place;
        let program = self.program.moved(region.x, region.y);
        let failed = |reason: CircuitError| AnswerError::Fabric { what: format!("layer {layer}"), reason };
        let lowered = circuit::lower(&program, wafer, RateSet::Silicon, &|work| formula::work(work, rates));
        let outcome = lowered
            .and_then(|lowered| match record {
                Some(record) => circuit::run_recorded(&lowered, &record, progress),
                None => circuit::run(&lowered, progress),
            })
            .map_err(failed)?;
        let cycles_per_wavelet = wafer.value(Key::WaveletCost, RateSet::Silicon);
        let (tokens, context) = match self.flow {
            Flow::Decode { tokens, context, .. } => (tokens, context),
            Flow::Batch { tokens, before } => (tokens, before.saturating_add(tokens)),
            Flow::Prefill { tokens, before } => (tokens, before),
        };
        let operators = compared(&self.closed, &outcome);
        let cost = as_cost(&self.closed, &operators);
        let closed = self.closed.total().0;
        let (busiest_link, mean_link) = link_use(&outcome, cycles_per_wavelet);
        let elements = outcome.maps.busy.len().max(1) as f64;
        let layer = LayerOnFabric {
            layer,
            wafer: at,
            region,
            tokens,
            context,
            closed_form_cycles: closed,
            cycles: outcome.cycles.0,
            deviation_percent: (outcome.cycles.0 / closed - 1.0) * 100.0,
            operators,
            wavelet_hops: outcome.tally.wavelet_hops,
            stalls: outcome.tally.stalls,
            colors: outcome.colors,
            busiest_link,
            mean_link,
            mean_busy: outcome.busy_share().sum::<f64>() / elements,
            engine: outcome.engine.name(),
            is_shown: self.is_shown,
        };
        Ok((LayerRun { layer, outcome, cycles_per_wavelet }, cost))
    }
}

/// Share of the run for which the busiest link carried wavelets, and the mean over all places and directions.
fn link_use(outcome: &Outcome, cycles_per_wavelet: f64) -> (f64, f64) {
    let all = outcome.cycles.0.max(f64::MIN_POSITIVE);
    let counts = || outcome.maps.links.iter().flatten();
    let links = counts().count().max(1) as f64;
    let share = |wavelets: f64| wavelets * cycles_per_wavelet / all;
    (
        share(f64::from(counts().copied().max().unwrap_or(0))),
        share(counts().map(|count| f64::from(*count)).sum()) / links,
    )
}

/// Operators of the closed form beside the fabric's; names are those of the program in both.
fn compared(closed: &ProgramCost, outcome: &Outcome) -> Vec<OperatorOnFabric> {
    let fabric =
        |name: &str| outcome.operators.iter().find(|known| known.name == name).map_or(0.0, |found| found.cycles.0);
    closed
        .operators
        .iter()
        .map(|operator| {
            let (closed, cycles) = (operator.cost.total().0, fabric(&operator.name));
            OperatorOnFabric {
                operator: operator.name.to_string(),
                closed_form_cycles: closed,
                cycles,
                deviation_percent: (closed > 0.0).then(|| (cycles / closed - 1.0) * 100.0),
            }
        })
        .collect()
}

/// The fabric's cycles with the closed form's causes in proportion; cycles where the closed form has none count as
/// stages.
fn as_cost(closed: &ProgramCost, operators: &[OperatorOnFabric]) -> ProgramCost {
    let scaled = closed.operators.iter().zip(operators).map(|(known, found)| {
        let total = known.cost.total().0;
        let cost =
            if total > 0.0 { known.cost * (found.cycles / total) } else { Cost::of(Cause::Stages, found.cycles) };
        OperatorCost { name: known.name.clone(), cost }
    });
    ProgramCost { operators: scaled.collect(), colors: closed.colors }
}
