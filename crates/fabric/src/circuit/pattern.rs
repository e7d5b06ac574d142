//! The streams of each word of the language along one line, and what each core does for them.
//!
//! Who sends to whom comes from [`Step::transfers`]: the same enumeration that the tests of the language are held to.

use wafersim_program::{
    Action, AllGather, Axis, Broadcast, ChainReduce, Color, End, KnownMovements, Multicast, Owners, Pieces, Program,
    Purpose, ReduceScatter, Region, Relayout, Root, Shift, Step, Style, Transfer,
};

use super::laid;
use super::lower::Detail;
use super::route::{Area, CoreOperation, Lines, Stream};
use super::timing::{Tick, Timing};

/// What a pattern needs beside its step.
pub(super) struct Context<'a> {
    /// For payloads.
    pub program: &'a Program,
    /// For set-up times.
    pub timing: &'a Timing,
    /// Where the step runs, in the simulated mesh.
    pub area: Area,
    /// Physical color of a color of the program.
    pub physical: &'a dyn Fn(Color) -> u16,
    /// How much is wanted.
    pub detail: Detail,
    /// What relayouts move.
    pub movements: &'a KnownMovements,
}

/// Colors of a step that names too few: a color per purpose, after those of the program.
pub(super) fn colors_of(step: &Step, program: &Program) -> Vec<Color> {
    let spare = program.color_count();
    let laid = laid::moves_contents(step, program);
    let (given, axis, wanted): (&[Color], Axis, u32) = match &step.action {
        Action::ChainReduce(chain) => {
            (&chain.colors, chain.axis, if chain.root == Root::Rotating && !laid { 2 } else { 4 })
        }
        Action::Multicast(cast) => (&cast.colors, cast.axis, 1),
        Action::Broadcast(cast) => (&cast.colors, Axis::X, 1),
        Action::ReduceScatter(ReduceScatter { pieces, .. }) | Action::AllGather(AllGather { pieces }) => {
            let wanted = match (pieces.owners, &step.action) {
                (Owners::All { .. }, _) => 3,
                (Owners::Neighbours { .. }, Action::ReduceScatter(_)) => 4,
                (Owners::Neighbours { count, .. }, _) => u32::try_from(count).unwrap_or(u32::MAX).max(1),
            };
            (&pieces.colors, pieces.axis, wanted)
        }
        Action::Shift(shift) => (&shift.colors, shift.axis, if shift.ring { 4 } else { 2 }),
        Action::Relayout(moved) => (&moved.colors, moved.axis, if laid { 2 } else { 1 }),
        Action::Compute(_) | Action::RouteChange(_) | Action::Synchronise(_) => return Vec::new(),
    };
    if given.is_empty() {
        let first = spare.saturating_add(if axis == Axis::X { 0 } else { wanted });
        (0..wanted).map(|index| Color(first.saturating_add(index))).collect()
    } else {
        given.iter().take(wanted as usize).copied().collect()
    }
}

/// The streams of a step; nothing where nothing moves.
pub(super) fn lines(step: &Step, colors: &[Color], context: &Context<'_>) -> Option<Lines> {
    let mut lines = match &step.action {
        Action::ChainReduce(chain) if chain.root == Root::Rotating => rotating(chain, colors, context),
        Action::ChainReduce(chain) => chain_reduce(chain, colors, context),
        Action::Multicast(cast) => multicast(cast, colors, context),
        Action::Broadcast(cast) => return broadcast(cast, colors, context),
        Action::ReduceScatter(ReduceScatter { pieces, .. }) => scattered(pieces, Purpose::Reduce, colors, context),
        Action::AllGather(AllGather { pieces }) => scattered(pieces, Purpose::Gather, colors, context),
        Action::Shift(moved) => shift(moved, colors, context),
        Action::Relayout(moved) => relayout(moved, colors, context),
        Action::Compute(_) | Action::RouteChange(_) | Action::Synchronise(_) => return None,
    };
    // The flows of a ring wait for one another in a circle.
    let circle = step.action.pieces().is_some_and(|(pieces, _)| matches!(pieces.owners, Owners::All { .. }));
    lines.ordered = !circle;
    (!lines.streams.is_empty()).then_some(lines)
}

pub(super) fn wavelets(context: &Context<'_>, payload: wafersim_program::BufferId) -> u64 {
    // An empty payload still says that it is there: one control wavelet.
    context.program.buffer_of(payload).wavelets().max(1)
}

/// The transfers along one line of the area, where all lines do the same.
pub(super) fn along_one_line(action: Action, axis: Axis, length: u32) -> Vec<Transfer> {
    let length = u64::from(length);
    let region = match axis {
        Axis::X => Region::new(0, 0, length, 1),
        Axis::Y => Region::new(0, 0, 1, length),
    };
    Step { region, action }.transfers()
}

/// Chains to the root of one line of several.
pub(super) fn chain_with_root(chain: &ChainReduce, root: u64, colors: &[Color], context: &Context<'_>) -> Lines {
    let mut lines = chain_reduce(&ChainReduce { root: Root::At(root), ..chain.clone() }, colors, context);
    lines.ordered = true;
    lines
}

pub(super) fn position(axis: Axis, place: (u64, u64)) -> u32 {
    match axis {
        Axis::X => place.0 as u32,
        Axis::Y => place.1 as u32,
    }
}

pub(super) struct Builder<'a> {
    context: &'a Context<'a>,
    axis: Axis,
    streams: Vec<Stream>,
    operations: Vec<Vec<CoreOperation>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(context: &'a Context<'a>, axis: Axis) -> Self {
        let length = if context.detail.has_operations() { context.area.along(axis) as usize } else { 0 };
        Self { context, axis, streams: Vec::new(), operations: vec![Vec::new(); length] }
    }

    pub(super) fn push(&mut self, stream: Stream) -> u32 {
        self.streams.push(stream);
        self.streams.len() as u32 - 1
    }

    pub(super) fn at(&mut self, position: u32) -> Option<&mut Vec<CoreOperation>> {
        self.operations.get_mut(position as usize)
    }

    pub(super) fn finish(self) -> Lines {
        if !self.context.detail.has_operations() {
            return Lines::without_operations(self.context.area, self.axis, self.streams);
        }
        Lines::new(self.context.area, self.axis, self.streams, &self.operations)
    }
}

/// A stream from one place to another, with the period of a link.
pub(super) fn point_to_point(from: u32, to: u32, color: u16, wavelets: u64, period: Tick) -> Stream {
    Stream { color, source: from, low: from.min(to), high: from.max(to), copies: false, wavelets, period, lead: 0 }
}

/// A stream from one place to all between two ends.
fn cast_from(source: u32, (low, high): (u32, u32), color: u16, wavelets: u64, period: Tick) -> Stream {
    Stream { color, source, low, high, copies: true, wavelets, period, lead: 0 }
}

/// Two chains converge on the root; each member receives, combines and sends on in one operation. The root takes its
/// two sides one after the other, in the order of the transfers.
fn chain_reduce(chain: &ChainReduce, colors: &[Color], context: &Context<'_>) -> Lines {
    let action = Action::ChainReduce(ChainReduce { colors: colors.to_vec(), ..chain.clone() });
    let transfers = along_one_line(action, chain.axis, context.area.along(chain.axis));
    let hops = transfers
        .iter()
        .map(|sent| Hop { from: position(chain.axis, sent.from), to: position(chain.axis, sent.to), color: sent.color })
        .collect();
    chain_of(hops, chain, context)
}

/// From a member of a chain to the next one, as places along the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) color: Color,
}

/// Chains of given hops, those of each chain from its ends inwards.
pub(super) fn chain_of(hops: Vec<Hop>, chain: &ChainReduce, context: &Context<'_>) -> Lines {
    let timing = context.timing;
    let count = wavelets(context, chain.payload);
    let combine = timing.combine_of(context.program.buffer_of(chain.payload).data_type);
    let mut builder = Builder::new(context, chain.axis);
    let mut incoming: Vec<Option<u32>> = vec![None; context.area.along(chain.axis) as usize];
    let library = timing.library_call + timing.library_reduce;
    for Hop { from, to, color } in hops {
        let before = incoming.get_mut(from as usize).and_then(Option::take);
        let mut stream = point_to_point(from, to, (context.physical)(color), count, timing.wavelet);
        if chain.style == Style::Library && before.is_none() {
            stream.lead = library.saturating_sub(timing.message());
        }
        let sent = builder.push(stream);
        let operation = match before {
            Some(take) => CoreOperation::Forward { take, send: sent },
            None => CoreOperation::Send { stream: sent },
        };
        if let Some(operations) = builder.at(from) {
            // The take was written when its stream was: it becomes part of the forward.
            operations.retain(
                |known| !matches!((known, before), (CoreOperation::Take { stream, .. }, Some(take)) if *stream == take),
            );
            operations.push(operation);
        }
        let between = (timing.ramp_in + combine + timing.issue).saturating_sub(timing.wavelet);
        if let Some(operations) = builder.at(to) {
            let second = operations.iter().any(|known| matches!(known, CoreOperation::Take { .. }));
            operations.push(CoreOperation::Take { stream: sent, gap: if second { between } else { 0 } });
        }
        if let Some(place) = incoming.get_mut(to as usize) {
            *place = Some(sent);
        }
    }
    let mut lines = builder.finish();
    lines.combine = combine;
    lines
}

/// A reduction whose root moves on by one member a round is systolic: in each round the partial sums move to the next
/// member by software (set-up, two tasks, a relayed word each), and one of them has arrived at its root.
fn rotating(chain: &ChainReduce, colors: &[Color], context: &Context<'_>) -> Lines {
    let timing = context.timing;
    let moved = Shift { axis: chain.axis, ring: false, payload: chain.payload, colors: colors.to_vec() };
    let mut lines = shift(&moved, colors, context);
    lines.launch = timing.setup + 2 * timing.task;
    lines.combine = timing.combine_of(context.program.buffer_of(chain.payload).data_type);
    for stream in &mut lines.streams {
        stream.period = timing.relay_word;
        stream.lead = timing.relay_word;
    }
    lines
}

/// One color serves both directions: the router of the sender has one source and two outputs.
fn multicast(cast: &Multicast, colors: &[Color], context: &Context<'_>) -> Lines {
    let timing = context.timing;
    let length = u64::from(context.area.along(cast.axis));
    let (span, count) = (cast.span.max(1), wavelets(context, cast.payload));
    let color = colors.first().map_or(0, |&color| (context.physical)(color));
    let period = timing.wavelet;
    let lead = match cast.style {
        Style::Streaming => 0,
        Style::Library => timing.library_call.saturating_sub(timing.message()),
    };
    let mut builder = Builder::new(context, cast.axis);
    for start in (0..length).step_by(span.min(length) as usize) {
        let end = start.saturating_add(span).min(length) - 1;
        let from = start.saturating_add(cast.from).min(length - 1);
        if end == start && from == start {
            continue;
        }
        let (low, high) = (start.min(from) as u32, end.max(from) as u32);
        let source = from as u32;
        let stream = builder.push(Stream { color, source, low, high, copies: true, wavelets: count, period, lead });
        for place in low..=high {
            let operation =
                if place == source { CoreOperation::Send { stream } } else { CoreOperation::Take { stream, gap: 0 } };
            if let Some(operations) = builder.at(place) {
                operations.push(operation);
            }
        }
    }
    builder.finish()
}

/// One color, from the sender's row into all columns.
fn broadcast(cast: &Broadcast, colors: &[Color], context: &Context<'_>) -> Option<Lines> {
    let (area, period) = (context.area, context.timing.wavelet);
    if area.columns * area.rows <= 1 {
        return None;
    }
    let color = colors.first().map_or(0, |&color| (context.physical)(color));
    let last = |from: u64, length: u32| from.min(u64::from(length) - 1) as u32;
    let place = (last(cast.column, area.columns), last(cast.row, area.rows));
    let wavelets = wavelets(context, cast.payload);
    let stream = Stream { color, source: 0, low: 0, high: 0, copies: true, wavelets, period, lead: 0 };
    Some(Lines::broadcast(area, place, stream))
}

/// Pieces on their way to, or from, their owners. What a core does comes in the order of the flows' turns. Of two takes
/// of one piece (an owner's, from both sides) the second waits until the first has been combined, as in a chain.
fn scattered(pieces: &Pieces, purpose: Purpose, colors: &[Color], context: &Context<'_>) -> Lines {
    let timing = context.timing;
    let piece = match purpose {
        Purpose::Reduce => pieces.target,
        Purpose::Gather => pieces.source,
    };
    let length = u64::from(context.area.along(pieces.axis));
    let colored = Pieces { colors: colors.to_vec(), ..pieces.clone() };
    let combine = match purpose {
        Purpose::Reduce => timing.combine_of(context.program.buffer_of(piece).data_type),
        Purpose::Gather => 0,
    };
    let mut builder = Builder::new(context, pieces.axis);
    if !context.detail.has_operations() {
        for flow in colored.ways(length, purpose) {
            let color = |at: usize| flow.colors.get(at).map_or(0, |&color| (context.physical)(color));
            let edges = flow.path.windows(2).enumerate();
            for (at, edge) in edges {
                builder.push(point_to_point(edge[0] as u32, edge[1] as u32, color(at), 1, timing.wavelet));
            }
            if let Some((low, high)) = flow.reaches {
                builder.push(cast_from(flow.owner as u32, (low as u32, high as u32), color(0), 1, timing.wavelet));
            }
        }
        return builder.finish();
    }
    let mut order: Vec<Vec<(u64, usize, CoreOperation)>> = vec![Vec::new(); length as usize];
    for flow in colored.flows(length, purpose, wavelets(context, piece)) {
        let mut note = |place: u64, at: usize, operation: CoreOperation| {
            if let Some(order) = order.get_mut(place as usize) {
                order.push((flow.turn, at, operation));
            }
        };
        let color = |at: usize| flow.colors.get(at).map_or(0, |&color| (context.physical)(color));
        let (period, wavelets) = (timing.wavelet, flow.words);
        if let Some((low, high)) = flow.reaches {
            let stream =
                builder.push(cast_from(flow.owner as u32, (low as u32, high as u32), color(0), wavelets, period));
            note(flow.owner, 0, CoreOperation::Send { stream });
            let others = (low..=high).filter(|place| *place != flow.owner);
            others.for_each(|place| note(place, 0, CoreOperation::Take { stream, gap: 0 }));
            continue;
        }
        let mut taken = None;
        for (at, edge) in flow.path.windows(2).enumerate() {
            let (from, to) = (edge[0] as u32, edge[1] as u32);
            let send = builder.push(point_to_point(from, to, color(at), wavelets, period));
            note(
                edge[0],
                at,
                taken.map_or(CoreOperation::Send { stream: send }, |take| CoreOperation::Forward { take, send }),
            );
            taken = Some(send);
        }
        if let (Some(stream), Some(end)) = (taken, flow.path.last()) {
            note(*end, flow.path.len(), CoreOperation::Take { stream, gap: 0 });
        }
    }
    let between = (timing.ramp_in + combine + timing.issue).saturating_sub(timing.wavelet);
    for (place, mut order) in (0..).zip(order) {
        order.sort_by_key(|(turn, at, _)| (*turn, *at));
        let Some(operations) = builder.at(place) else { continue };
        for (_, _, mut operation) in order {
            if let (CoreOperation::Take { gap, .. }, Some(CoreOperation::Take { .. }), Purpose::Reduce) =
                (&mut operation, operations.last(), purpose)
            {
                *gap = between;
            }
            operations.push(operation);
        }
    }
    let mut lines = builder.finish();
    lines.combine = combine;
    lines
}

/// Everybody sends and takes at the same time, through one ramp: its core handles a wavelet either way in turn, so that
/// a stream moves at half a link's rate (the alignment in the rows `mesh_gemm_*` takes about so long).
fn shift(moved: &Shift, colors: &[Color], context: &Context<'_>) -> Lines {
    let period = 2 * context.timing.wavelet;
    let action = Action::Shift(Shift { colors: colors.to_vec(), ..moved.clone() });
    let count = wavelets(context, moved.payload);
    let mut builder = Builder::new(context, moved.axis);
    for sent in along_one_line(action, moved.axis, context.area.along(moved.axis)) {
        let (from, to) = (position(moved.axis, sent.from), position(moved.axis, sent.to));
        let stream = builder.push(point_to_point(from, to, (context.physical)(sent.color), count, period));
        if let Some(operations) = builder.at(from) {
            operations.push(CoreOperation::Send { stream });
        }
        if let Some(operations) = builder.at(to) {
            operations.push(CoreOperation::Take { stream, gap: 0 });
        }
    }
    builder.finish()
}

/// Pieces travel along the line past those that keep their part. The pieces' own sources and targets are not known
/// here; what is known, the load of the busiest link, the farthest way and the end it begins at, is carried by one
/// stream past all places, after a first operation that brings the pieces on their way.
fn relayout(moved: &Relayout, colors: &[Color], context: &Context<'_>) -> Lines {
    let timing = context.timing;
    let length = u64::from(context.area.along(moved.axis));
    let color = colors.first().map_or(0, |&color| (context.physical)(color));
    let mut builder = Builder::new(context, moved.axis);
    if moved.hops == 0 {
        return builder.finish();
    }
    let segment = moved.hops.saturating_add(1).min(length);
    for start in (0..length).step_by(segment as usize) {
        let (low, high) = (start as u32, (start + segment).min(length) as u32 - 1);
        if high == low {
            continue;
        }
        let source = if moved.farthest == End::First { low } else { high };
        let stream = builder.push(Stream {
            color,
            source,
            low,
            high,
            copies: true,
            wavelets: moved.wavelets.max(1),
            period: timing.wavelet,
            lead: timing.message(),
        });
        for place in low..=high {
            let operation =
                if place == source { CoreOperation::Send { stream } } else { CoreOperation::Take { stream, gap: 0 } };
            if let Some(operations) = builder.at(place) {
                operations.push(operation);
            }
        }
    }
    builder.finish()
}
