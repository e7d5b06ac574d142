//! One formula per word of the language. `w` is the number of wavelets of the payload in the fullest processing element.
//!
//! | word | cycles | source |
//! |---|---|---|
//! | chain reduce (streaming) | message + (stages - 1) (ramps + combine) + hops hop + sides (w - 1) wavelet, and for a second side ramp + combine + issue | HPDC 2024 chain, with WaferLLM's converging chains |
//! | chain reduce (library) | call + reduce + stages (ramps + combine) + hops hop + (w - 1) wavelet | rows `chain_gemv_*` |
//! | any transfer after the core's own work | + the cheaper of a set-up and a completed task | the set-up: sources.md#wse-3-characterisation-notes; that the cheaper way is taken is ours |
//! | chain reduce (rotating root) | message + set-up + 2 tasks + w relay | software relay, sources.md#wse-3-characterisation-notes |
//! | multicast (streaming) | message + hops hop + (w - 1) wavelet | HPDC 2024 broadcast |
//! | multicast (library) | call + hops hop + w relay | rows `summa_c2d_*` |
//! | shift | message + hops hop + 2 w wavelet | each element sends its tile and receives the next through one ramp |
//! | relayout | 2 message + hops hop + w wavelet | scatter or gather: a send and a receive operation per element |
//! | synchronise | set-up + issue + message + hops hop + completions task | rows `mesh_gemm_step_*` |
//! | route change | changes route_change | sources.md#wse-3-characterisation-notes |

use wafersim_program::{
    Action, ChainReduce, Compute, Multicast, Operation, Program, Relayout, Root, Shift, Step, Style, Synchronise, Work,
};
use wafersim_spec::DataType;

use crate::cause::{Cause, Cost};
use crate::rates::Rates;

/// Cycles of one step on its critical path.
pub fn step(step: &Step, program: &Program, rates: &Rates) -> Cost {
    match &step.action {
        Action::ChainReduce(chain) => chain_reduce(chain, program, rates),
        Action::Multicast(cast) => multicast(cast, program, rates),
        Action::Shift(moved) => shift(moved, program, rates),
        Action::Relayout(moved) => relayout(moved, rates),
        Action::Compute(compute) => self::compute(compute, rates),
        Action::RouteChange(change) => Cost::of(Cause::RouteChange, change.changes as f64 * rates.route_change),
        Action::Synchronise(wait) => synchronise(wait, rates),
    }
}

/// Cycles for which a transfer keeps its ramp busy when it runs again and again beside other work: the part of a
/// systolic loop that double buffering cannot hide.
pub fn occupancy(step: &Step, program: &Program, rates: &Rates) -> Cost {
    match &step.action {
        Action::Multicast(Multicast { payload, style: Style::Streaming, .. }) => {
            Cost::of(Cause::Payload, program.buffer_of(*payload).wavelets() as f64 * rates.wavelet)
        }
        _ => self::step(step, program, rates),
    }
}

fn following_wavelets(wavelets: u64, rates: &Rates) -> f64 {
    wavelets.saturating_sub(1) as f64 * rates.wavelet
}

fn chain_reduce(chain: &ChainReduce, program: &Program, rates: &Rates) -> Cost {
    let payload = program.buffer_of(chain.payload);
    let (stages, hops) = chain.longest_way();
    let sides = chain.sides();
    if sides == 0 {
        return Cost::ZERO;
    }
    let wavelets = payload.wavelets();
    if chain.root == Root::Rotating {
        let software = rates.message() + rates.setup + 2.0 * rates.task;
        return Cost::of(Cause::Stages, software) + Cost::of(Cause::Payload, wavelets as f64 * rates.relay_word);
    }
    // The message holds the ramps of the first sender and of the root: `stages - 1` members pass values on. The root takes
    // its second side after the first.
    let second_side = (sides - 1) as f64 * (rates.ramp_in + rates.combine_of(payload.data_type) + rates.map_issue);
    let (launch, forwards) = match chain.style {
        Style::Streaming => (rates.message() + second_side, stages.saturating_sub(1)),
        Style::Library => (rates.library_call + rates.library_reduce, stages),
    };
    Cost::of(Cause::Stages, launch + forwards as f64 * rates.stage(payload.data_type))
        + Cost::of(Cause::Hops, hops as f64 * rates.hop)
        + Cost::of(Cause::Payload, sides as f64 * following_wavelets(wavelets, rates))
}

/// What a transfer takes more when the core has worked before it: its operation is set up in the running task, or by one
/// that a completion activates, whichever is quicker. After another transfer that task is part of the message before.
pub fn set_up_after_work(rates: &Rates) -> Cost {
    Cost::of(Cause::Stages, rates.setup.min(rates.completion + rates.task))
}

fn multicast(cast: &Multicast, program: &Program, rates: &Rates) -> Cost {
    let wavelets = program.buffer_of(cast.payload).wavelets();
    if cast.span <= 1 {
        return Cost::ZERO;
    }
    let (launch, payload) = match cast.style {
        Style::Streaming => (rates.message(), following_wavelets(wavelets, rates)),
        Style::Library => (rates.library_call, wavelets as f64 * rates.relay_word),
    };
    Cost::of(Cause::Stages, launch)
        + Cost::of(Cause::Hops, cast.longest_way() as f64 * rates.hop)
        + Cost::of(Cause::Payload, payload)
}

fn shift(moved: &Shift, program: &Program, rates: &Rates) -> Cost {
    let wavelets = program.buffer_of(moved.payload).wavelets() as f64;
    Cost::of(Cause::Stages, rates.message())
        + Cost::of(Cause::Hops, moved.hops() as f64 * rates.hop)
        + Cost::of(Cause::Payload, 2.0 * wavelets * rates.wavelet)
}

/// Cycles of a scatter or gather on its critical path.
pub fn relayout(moved: &Relayout, rates: &Rates) -> Cost {
    if moved.hops == 0 {
        return Cost::ZERO;
    }
    Cost::of(Cause::Stages, 2.0 * rates.message())
        + Cost::of(Cause::Hops, moved.hops as f64 * rates.hop)
        + Cost::of(Cause::Payload, moved.wavelets as f64 * rates.wavelet)
}

fn synchronise(wait: &Synchronise, rates: &Rates) -> Cost {
    let software = rates.setup + rates.map_issue + rates.message() + wait.completions as f64 * rates.task;
    Cost::of(Cause::Stages, software) + Cost::of(Cause::Hops, wait.hops as f64 * rates.hop)
}

fn compute(compute: &Compute, rates: &Rates) -> Cost {
    Cost::of(Cause::Compute, compute.work.iter().map(|work| self::work(work, rates)).sum())
}

/// Cycles of vector work in one processing element.
///
/// Mapped multiply-accumulate: max(issue, column + ceil(length / lanes) wave), sources.md#wse-3-characterisation-notes. Plain operations:
/// set-up + length / rate. The fp32 sweep on WSE-2 (rows `pe_gemv_wse2_*`) is set-up + N (column + ceil(N / 4) wave).
pub fn work(work: &Work, rates: &Rates) -> f64 {
    let (length, count) = (work.length as f64, work.count as f64);
    let wide = work.data_type.bits() > 16;
    let rate = |narrow: f64, broad: f64| if wide { broad } else { narrow };
    let plain = |elements_per_cycle: f64| rates.setup + length / elements_per_cycle;
    let mapped =
        |lanes: f64, wave: f64| (rates.map_column + (length / lanes).ceil() * wave).max(rates.map_issue).max(0.0);
    let once = match work.operation {
        _ if work.length == 0 && work.operation != Operation::TileColumn => 0.0,
        Operation::MappedFma if wide => mapped(rates.lanes_32, rates.map_wave_32),
        Operation::MappedFma => mapped(rates.lanes_16, rates.map_wave_16),
        Operation::MappedMixedFma => mapped(rates.lanes_16, rates.map_wave_mixed),
        Operation::TileFma => {
            rates.tile_issue + (length * (work.data_type.bits() as f64) / 64.0).ceil() * rates.tile_word
        }
        Operation::TileColumn => rates.tile_column,
        Operation::Fma => plain(rate(rates.fma_16, rates.fma_32)),
        Operation::Add | Operation::Multiply => plain(rate(rates.add_16, rates.add_32)),
        Operation::Copy => plain(rate(rates.copy_16, rates.copy_32)),
        Operation::Convert => (length / rates.convert).max(rates.map_issue),
        Operation::ScalarReduce => length * rates.scalar_reduce,
        Operation::Exponential => length * rates.exponential,
        Operation::Silu => length * rates.silu,
        Operation::Divide => length * rates.divide,
        Operation::SquareRoot => length * rates.square_root,
        Operation::Setup => rates.setup,
    };
    once * count
}

/// Cycles from dispatch to use of one message of `wavelets` over `hops` (rows `message_*`).
pub fn message(hops: u64, wavelets: u64, rates: &Rates) -> f64 {
    rates.message() + hops as f64 * rates.hop + following_wavelets(wavelets, rates)
}

/// Cycles of a store-and-forward chain of `stages` elements, each receiving `wavelets` whole before it sends them on
/// (rows `relay_*`): a set-up, then per stage the payload, both ramps, the completion, a hop and the send's own cycle.
pub fn relay_chain(stages: u64, wavelets: u64, rates: &Rates) -> f64 {
    let stage = wavelets as f64 * rates.wavelet + rates.ramp_out + rates.ramp_in + rates.completion + rates.hop + 1.0;
    rates.setup + stages as f64 * stage
}

/// Cycles from start to completion of one prepared vector operation (rows `add16_*`).
pub fn vector_completion(operation: Operation, data_type: DataType, length: u64, rates: &Rates) -> f64 {
    let per_element = Work::new(operation, data_type, length, 1);
    rates.latency + work(&per_element, rates) - rates.setup
}
