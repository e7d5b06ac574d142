//! One formula per word of the language. `w` is the number of wavelets of the payload in the fullest processing
//! element.
//!
//! | word | cycles | source |
//! |---|---|---|
//! | chain reduce (streaming) | message + (stages - 1) (ramps + combine) + hops hop + sides (w - 1) wavelet, and for a second side ramp + combine + issue | HPDC 2024 chain, with WaferLLM's converging chains |
//! | chain reduce with a root elsewhere | the longer of: the longer side alone (1 side), the shorter one with both payloads | ours: the shorter side is taken first |
//! | chain reduce (library) | call + reduce + stages (ramps + combine) + hops hop + sides (w - 1) wavelet, the second side as above | rows `chain_gemv_*` |
//! | any transfer after the core's own work | + the cheaper of a set-up and a completed task | the set-up: sources.md#wse-3-characterisation-notes; that the cheaper way is taken is ours |
//! | chain reduce (rotating root) | message + set-up + 2 tasks + w relay | software relay, sources.md#wse-3-characterisation-notes |
//! | multicast (streaming) | message + hops hop + (w - 1) wavelet | HPDC 2024 broadcast |
//! | multicast (library) | call + hops hop + (w - 1) wavelet | the call: rows `summa_c2d_*`; that it streams: rows `library_round_*` |
//! | reduce-scatter, ring of n | message + t turns of s words, each s wavelet + (n - 2) max(s wavelet, ramps + combine + hop), + s wavelet + combine: `ring` | ours |
//! | all-gather, ring of n | the same without combining | ours |
//! | reduce-scatter to m neighbours | message + both chains to the owners, one after the other in each: `converging` | ours |
//! | all-gather from m neighbours | message + hops hop + (m w - 1) wavelet; hops of the longer of: the first owner's way up, its way up to the last owner and from there down | ours |
//! | broadcast over both axes | message + hops hop + (w - 1) wavelet; hops of both axes together | ours: routers copy into their columns too |
//! | shift | message + hops hop + 2 w wavelet | each element sends its tile and receives the next through one ramp |
//! | relayout | 2 message + hops hop + w wavelet of the longest path | ours: a send and a receive operation per element; owners send in turn, the nearest first |
//! | synchronise | set-up + issue + message + hops hop + completions task | rows `mesh_gemm_step_*` |
//! | route change | changes route_change | sources.md#wse-3-characterisation-notes |

use wafersim_program::{
    Action, Broadcast, ChainReduce, Compute, Multicast, Operation, Owners, Path, Pieces, Program, Purpose, Region,
    Relayout, Root, Shift, Step, Style, Synchronise, Work,
};
use wafersim_spec::DataType;

use crate::cause::{Cause, Cost};
use crate::rates::{AfterWork, Rates};

/// Cycles of one step on its critical path.
pub fn step(step: &Step, program: &Program, rates: &Rates) -> Cost {
    match &step.action {
        Action::ChainReduce(chain) => {
            let lines = chain.different_lines().min(step.region.along(chain.axis.across()));
            let of = |line| chain_reduce(chain, line, program, rates);
            (1..lines).map(of).fold(of(0), Cost::longer)
        }
        Action::Multicast(cast) => multicast(cast, program, rates),
        Action::Broadcast(cast) => broadcast(cast, step.region, program, rates),
        Action::ReduceScatter(_) | Action::AllGather(_) => pieces_beside(step, 1, program, rates),
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

/// The chains of a line of the region.
fn chain_reduce(chain: &ChainReduce, line: u64, program: &Program, rates: &Rates) -> Cost {
    let payload = program.buffer_of(chain.payload);
    let [longer, shorter] = chain.sides(line);
    if longer == 0 {
        return Cost::ZERO;
    }
    let wavelets = payload.wavelets();
    if chain.root == Root::Rotating {
        let software = rates.message() + rates.setup + 2.0 * rates.task;
        return Cost::of(Cause::Stages, software) + Cost::of(Cause::Payload, wavelets as f64 * rates.relay_word);
    }
    // The message holds the ramps of the first sender and of the root: `stages - 1` members pass values on.
    let stage = rates.stage(payload.data_type);
    let side = |stages: u64, sides: u64| {
        let (launch, forwards) = match chain.style {
            Style::Streaming => (rates.message(), stages.saturating_sub(1)),
            Style::Library => (rates.library_call + rates.library_reduce, stages),
        };
        Cost::of(Cause::Stages, launch + forwards as f64 * stage)
            + Cost::of(Cause::Hops, (stages * chain.stride) as f64 * rates.hop)
            + Cost::of(Cause::Payload, sides as f64 * following_wavelets(wavelets, rates))
    };
    if shorter == 0 {
        return side(longer, 1);
    }
    // The root takes its second side after the first.
    let second_side = Cost::of(Cause::Stages, rates.ramp_in + rates.combine_of(payload.data_type) + rates.map_issue);
    match chain.root {
        // Middle roots take the longer one first.
        Root::Middle | Root::First | Root::Rotating => side(longer, 2) + second_side,
        Root::At(_) | Root::Staggered(_) => (side(shorter, 2) + second_side).longer(side(longer, 1)),
    }
}

/// Pieces of `w` wavelets on their way to, or from, their owners.
///
/// Multicasts of neighbouring owners follow one another: who passes one on takes it as well, and takes the first
/// owner's first. So the last owner's goes down the line when the first one's has come up to it.
///
/// Where as many rings run `beside` each other, members of one between those of the others, each link carries the words
/// of all.
pub fn pieces_beside(step: &Step, beside: u64, program: &Program, rates: &Rates) -> Cost {
    let Some((pieces, purpose)) = step.action.pieces() else { return Cost::ZERO };
    let line = step.region.along(pieces.axis);
    let parties = Parties::of(pieces, line, purpose);
    if line == 0 || parties.reached <= 1 {
        return Cost::ZERO;
    }
    let (buffer, combine) = match purpose {
        Purpose::Reduce => {
            (program.buffer_of(pieces.target), rates.combine_of(program.buffer_of(pieces.target).data_type))
        }
        Purpose::Gather => (program.buffer_of(pieces.source), 0.0),
    };
    let words = buffer.wavelets().max(1) as f64;
    let stage = rates.ramp_in + rates.ramp_out + combine;
    let ramp_out = rates.ramp_out;
    let way = Way { ramp_out, stage, hop: pieces.stride as f64 * rates.hop, words: words * rates.wavelet };
    let launch = Cost::of(Cause::Stages, rates.message());
    match (pieces.owners, purpose) {
        (Owners::All { words: most }, _) => {
            let words = buffer.wavelets().max(1);
            let turn = |words: u64| Cost::of(Cause::Payload, (beside * words) as f64 * rates.wavelet);
            let last = Cost::of(Cause::Stages, combine) + Cost::of(Cause::Payload, -rates.wavelet);
            launch + ring(parties.members, [words, words.div_ceil(most.max(1))], turn, &way) + last
        }
        (Owners::Neighbours { .. }, Purpose::Reduce) => {
            let last = Cost::of(Cause::Stages, combine) + Cost::of(Cause::Payload, -rates.wavelet);
            launch + converging(&parties, &way, rates.ramp_in + combine + rates.map_issue) + last
        }
        (Owners::Neighbours { .. }, Purpose::Gather) => {
            let Parties { first, last, reached, .. } = parties;
            let hops = (reached - 1 - first).max(last - first + last);
            launch
                + Cost::of(Cause::Hops, hops as f64 * rates.hop)
                + Cost::of(Cause::Payload, way.words * parties.owners as f64 - rates.wavelet)
        }
    }
}

/// What counts of the first segment of a line, which is never cut short where another follows.
struct Parties {
    /// Members.
    members: u64,
    /// Those of them that come before the first owner.
    below: u64,
    /// Members that own a piece.
    owners: u64,
    /// Places of the first and of the last owner.
    first: u64,
    last: u64,
    /// Places that a piece is with at its beginning or at its end, counted from the start of the line for multicasts.
    reached: u64,
}

impl Parties {
    /// As `Pieces::segment` lists them.
    fn of(pieces: &Pieces, line: u64, purpose: Purpose) -> Self {
        let (count, stride) = (pieces.count.max(1), pieces.stride.max(1));
        let full = line.saturating_sub(pieces.offset).div_ceil(stride).min(count);
        let Owners::Neighbours { first, count: wanted } = pieces.owners else {
            return Self { members: full, below: 0, owners: full, first: 0, last: 0, reached: full };
        };
        // The root of a group that the end of the line cuts short before it is its last member, as in chains.
        let is_short = purpose == Purpose::Reduce && full < count && full * stride < line;
        let members = full + u64::from(is_short);
        let below = first.min(members);
        let owners = wanted.min(members - below);
        let place = |member: u64| if member < full { pieces.offset + member * stride } else { line - 1 };
        let [first, last] = if owners == 0 { [0, 0] } else { [below, below + owners - 1].map(place) };
        let reached = match purpose {
            Purpose::Reduce => members,
            Purpose::Gather => line.min(count.saturating_mul(stride)),
        };
        Self { members, below, owners, first, last, reached }
    }
}

/// What a piece needs from member to member, in cycles.
struct Way {
    ramp_out: f64,
    /// Both ramps and combining.
    stage: f64,
    hop: f64,
    /// Its words over a link, one after the other.
    words: f64,
}

impl Way {
    /// From the readiness of the first word in one member to that in another, so many members further on.
    fn edges(&self, edges: u64) -> Cost {
        Cost::of(Cause::Stages, edges as f64 * self.stage) + Cost::of(Cause::Hops, edges as f64 * self.hop)
    }

    /// The same from a member that sends from memory: its ramps are in the message.
    fn edges_out_of_memory(&self, edges: u64) -> Option<Cost> {
        let forwards = Cost::of(Cause::Stages, -self.stage);
        (edges > 0).then(|| self.edges(edges) + forwards)
    }

    fn pieces(&self, pieces: u64) -> Cost {
        Cost::of(Cause::Payload, pieces as f64 * self.words)
    }
}

/// A ring of pieces of so many words in so many turns, after the message; `over_link` is the time of some words.
///
/// In each turn a member sends the words of its first piece from memory and passes `members - 2` more on; each follows
/// after what a link needs for these words, or after the way to the next member, whichever is longer. What is passed
/// first waits until the own words are sent. The way back from the last member to the first is long; it is passed once
/// a turn, where the members do not keep so far behind one another as it needs.
fn ring(members: u64, [words, turns]: [u64; 2], over_link: impl Fn(u64) -> Cost, way: &Way) -> Cost {
    if members == 2 {
        // Both send and take at the same time.
        return Cost::of(Cause::Hops, way.hop) + over_link(words);
    }
    let forwards = (members - 2) as f64;
    let (next, back) = (way.edges(1), Cost::of(Cause::Hops, (members - 1) as f64 * way.hop));
    let all_ways = next * (forwards - 1.0) + Cost::of(Cause::Stages, way.stage) + back;
    // The sizes of turns differ by a word at most: the first one is of the smaller ones, the last of the larger.
    let (smaller, larger, more) = (words / turns, words.div_ceil(turns), words % turns);
    let first = over_link(smaller);
    let passed = first.longer(next);
    // The ramp out of the first sender is part of the message, for a piece that does not wait for the words before it.
    let ramp = Cost::of(Cause::Stages, way.ramp_out);
    let back_later = first + passed * (forwards - 1.0) + Cost::of(Cause::Stages, way.stage) + back;
    let begin = (first + passed * forwards).longer(ramp + back + passed * forwards).longer(back_later) + ramp * -1.0;
    let turn = |words: u64| over_link(words) + (over_link(words) * forwards).longer(all_ways);
    begin + turn(smaller) * (turns - 1 - more) as f64 + turn(larger) * more as f64 + over_link(larger)
}

/// Chains from both ends of a segment to neighbouring owners, after the message: each owner first takes what comes from
/// above, the pieces of those below it passed on, then what comes from below, its own piece first. `between` is what an
/// owner waits between the two takes of its own piece.
fn converging(parties: &Parties, way: &Way, between: f64) -> Cost {
    let Parties { members, below, owners: count, .. } = *parties;
    // Without owners nobody is before them.
    let below = if count == 0 { 0 } else { below };
    let above = members - below - count;
    let mut end = Cost::ZERO;
    let mut passes: Option<Cost> = None;
    for number in 0..count {
        let from_above =
            way.edges_out_of_memory(above + count - 1 - number).map(|start| start + way.pieces(number + 1));
        let free = from_above.map(|done| done + Cost::of(Cause::Stages, between));
        // What comes from below begins with its own piece, when the owner below has had its own.
        let from_below = match number {
            0 => way.edges_out_of_memory(below),
            _ => passes.map(|start| start + way.edges(1)).or(way.edges_out_of_memory(number)),
        };
        let Some(start) = from_below else {
            end = end.longer(from_above.unwrap_or(Cost::ZERO));
            continue;
        };
        let start = free.map_or(start, |free| free.longer(start));
        end = end.longer(start + way.pieces(count - number));
        passes = Some(start + way.pieces(1));
    }
    end
}

/// What a transfer takes more when the core has worked before it: its operation is set up in the running task, or by
/// one that a completion activates, whichever is quicker. After another transfer that task is part of the message
/// before.
pub fn set_up_after_work(rates: &Rates) -> Cost {
    match rates.after_work {
        AfterWork::SetUp => Cost::of(Cause::Stages, rates.setup.min(rates.completion + rates.task)),
        AfterWork::Ready => Cost::ZERO,
    }
}

fn multicast(cast: &Multicast, program: &Program, rates: &Rates) -> Cost {
    let wavelets = program.buffer_of(cast.payload).wavelets();
    if cast.span <= 1 {
        return Cost::ZERO;
    }
    let launch = match cast.style {
        Style::Streaming => rates.message(),
        Style::Library => rates.library_call,
    };
    Cost::of(Cause::Stages, launch)
        + Cost::of(Cause::Hops, cast.longest_way() as f64 * rates.hop)
        + Cost::of(Cause::Payload, following_wavelets(wavelets, rates))
}

/// Along the sender's row, and from there along all columns at the same time.
fn broadcast(cast: &Broadcast, region: Region, program: &Program, rates: &Rates) -> Cost {
    if region.elements() <= 1 {
        return Cost::ZERO;
    }
    Cost::of(Cause::Stages, rates.message())
        + Cost::of(Cause::Hops, cast.longest_way(region) as f64 * rates.hop)
        + Cost::of(Cause::Payload, following_wavelets(program.buffer_of(cast.payload).wavelets(), rates))
}

fn shift(moved: &Shift, program: &Program, rates: &Rates) -> Cost {
    let wavelets = program.buffer_of(moved.payload).wavelets() as f64;
    Cost::of(Cause::Stages, rates.message())
        + Cost::of(Cause::Hops, moved.hops() as f64 * rates.hop)
        + Cost::of(Cause::Payload, 2.0 * wavelets * rates.wavelet)
}

/// Cycles of a scatter or gather: its longest path.
///
/// Along a line every owner sends its piece and then lets pass what comes from farther owners. So the piece of the
/// farthest one is at a place after its hops, or after all wavelets of those before it, whichever is later; and a piece
/// that goes on past others' targets (an all-gather, whose places take one direction after the other) has its way still
/// to go.
pub fn relayout(moved: &Relayout, rates: &Rates) -> Cost {
    let own = Path { hops: moved.hops, wavelets: moved.wavelets };
    let paths = std::iter::once(&own).chain(&moved.others).filter(|path| path.hops > 0);
    let paths = paths.map(|path| {
        Cost::of(Cause::Hops, path.hops as f64 * rates.hop)
            + Cost::of(Cause::Payload, path.wavelets as f64 * rates.wavelet)
    });
    let longest = paths.reduce(Cost::longer);
    longest.map_or(Cost::ZERO, |path| Cost::of(Cause::Stages, 2.0 * rates.message()) + path)
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
/// Mapped multiply-accumulate: max(issue, column + ceil(length / lanes) wave), sources.md#wse-3-characterisation-notes.
/// Plain operations: set-up + length / rate. In a plain loop the set-up and the turn of the loop are what software
/// takes to handle a word (`relay_word`): a loop around an operation over one element. The fp32 sweep on WSE-2 (rows
/// `pe_gemv_wse2_*`) is set-up + N (column + ceil(N / 4) wave).
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
        Operation::MappedFma | Operation::Scale => mapped(rates.lanes_16, rates.map_wave_16),
        Operation::MappedMixedFma => mapped(rates.lanes_16, rates.map_wave_mixed),
        Operation::LoopedFma => rates.relay_word + length / rate(rates.fma_16, rates.fma_32),
        Operation::LoopedMixedFma => rates.relay_word + length * rates.map_wave_mixed / rates.lanes_16,
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
        Operation::UnfinishedExponential => length * rates.unfinished_exponential,
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
