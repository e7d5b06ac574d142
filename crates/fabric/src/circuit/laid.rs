//! Steps whose layouts say who holds what: then those who hold it send it, and a round of a loop does what the layouts
//! want of it. Programs that are written for their cost alone have no layouts, and `pattern` lowers all of their steps.
//!
//! | step | without layouts | with layouts |
//! |---|---|---|
//! | relayout | one stream past all places | every owner sends what others want, in turn on one color a direction |
//! | alignment of a ring | every line moves one way in every round | each line moves its way, as often as it has to |
//! | rotating chain | sums move on by one place a round | the sums of a round go to that round's root |
//!
//! Chains whose roots differ by line are here too, laid out or not: their lines are not alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use wafersim_program::layout::ring_number;
use wafersim_program::{
    Action, AllGather, Axis, BufferId, ChainReduce, Color, LinesAlike, Program, ReduceScatter, Region, Relayout, Ring,
    Root, Shift, Stagger, Step,
};

use super::lower::Detail;
use super::lowered::Part;
use super::pattern::{self, Builder, Context, Hop, along_one_line, chain_of, point_to_point, position};
use super::route::{Area, CoreOperation, Lines, Stream};

pub(super) fn has_layout(program: &Program, buffer: BufferId) -> bool {
    program.buffer_of(buffer).layout.is_some()
}

/// The ring that a shift moves around, where its payload's layout says so.
pub(super) fn ring(program: &Program, shift: &Shift) -> Option<Ring> {
    let layout = program.buffer_of(shift.payload).layout.as_ref().filter(|_| shift.ring)?;
    layout.fields.first()?.ring(shift.axis)
}

/// Whether a step moves something that has a layout.
pub(super) fn moves_contents(step: &Step, program: &Program) -> bool {
    match &step.action {
        Action::ChainReduce(chain) => has_layout(program, chain.payload),
        Action::Multicast(cast) => has_layout(program, cast.payload),
        Action::Broadcast(cast) => has_layout(program, cast.payload),
        Action::Shift(shift) => has_layout(program, shift.payload),
        Action::Relayout(moved) => has_layout(program, moved.source) && has_layout(program, moved.target),
        Action::ReduceScatter(ReduceScatter { pieces, .. }) | Action::AllGather(AllGather { pieces }) => {
            has_layout(program, pieces.source) && has_layout(program, pieces.target)
        }
        Action::Compute(_) | Action::RouteChange(_) | Action::Synchronise(_) => false,
    }
}

/// The parts of a step that its layouts decide, in round `round` of the loop around it; nothing where they do not.
/// Places that send and take nothing may still have something to do in their own memory: they have a part that takes no
/// time.
pub(super) fn parts(
    step: &Step,
    colors: &[Color],
    context: &Context<'_>,
    (round, systolic): (u64, bool),
) -> Option<Result<Vec<Part>, String>> {
    match &step.action {
        Action::Relayout(moved) if moves_contents(step, context.program) => {
            Some(relayout(moved, step.region, colors, context))
        }
        Action::Shift(shift) if !systolic => {
            let ring = ring(context.program, shift)?;
            Some(Ok(alignment(shift, (ring, round), step.region, colors, context)))
        }
        Action::ChainReduce(chain) if chain.root == Root::Rotating && has_layout(context.program, chain.payload) => {
            Some(Ok(rotating(chain, round, colors, context)))
        }
        Action::ChainReduce(ChainReduce { root: Root::Staggered(stagger), .. }) => {
            Some(Ok(staggered(step, *stagger, colors, context)))
        }
        _ => None,
    }
}

fn part(lines: Lines) -> Part {
    if lines.streams.is_empty() { Part::Busy { area: lines.area, time: 0 } } else { Part::Carry(lines) }
}

/// The same context for lines `first..first + lines` of the area alone.
fn only<'a>(context: &Context<'a>, axis: Axis, first: u32, lines: u32) -> Context<'a> {
    let Area { x, y, columns, rows } = context.area;
    let area = match axis {
        Axis::X => Area { x, y: y + first, columns, rows: lines },
        Axis::Y => Area { x: x + first, y, columns: lines, rows },
    };
    Context { area, ..*context }
}

/// Neighbouring lines that do the same.
struct Alike<T> {
    /// Index of the first.
    first: u32,
    /// How many.
    lines: u32,
    /// What they do.
    does: T,
}

fn alike<T: PartialEq>(lines: impl Iterator<Item = T>) -> Vec<Alike<T>> {
    let mut groups: Vec<Alike<T>> = Vec::new();
    for (first, does) in (0..).zip(lines) {
        match groups.last_mut() {
            Some(known) if known.does == does => known.lines += 1,
            _ => groups.push(Alike { first, lines: 1, does }),
        }
    }
    groups
}

/// Owners send in turn: the switch position of a color advances in each router when an owner's last wavelet has passed.
/// Who passes on the way takes all words, and keeps those that it wants.
fn relayout(moved: &Relayout, region: Region, colors: &[Color], context: &Context<'_>) -> Result<Vec<Part>, String> {
    if context.detail == Detail::Outline {
        return Ok(vec![part(outline(moved, colors, context))]);
    }
    let movements = context.movements.of(context.program, region, moved).unwrap_or_else(|| Ok(Arc::default()))?;
    let all = movements.iter().map(|LinesAlike { first, count, sent }| {
        let context = only(context, moved.axis, *first as u32, *count as u32);
        let data_type = context.program.buffer_of(moved.source).data_type;
        let mut builder = Builder::new(&context, moved.axis);
        let mut begun = BTreeSet::new();
        for sent in sent {
            let (source, to) = (sent.from as u32, sent.to as u32);
            let color = colors.get(usize::from(to < source)).or(colors.first());
            let lead = if begun.insert(source) { context.timing.message() } else { 0 };
            let stream = builder.push(Stream {
                color: color.map_or(0, |&color| (context.physical)(color)),
                source,
                low: source.min(to),
                high: source.max(to),
                copies: true,
                wavelets: data_type.wavelets(sent.elements),
                period: context.timing.wavelet,
                lead,
            });
            for place in source.min(to)..=source.max(to) {
                let operation = if place == source {
                    CoreOperation::Send { stream }
                } else {
                    CoreOperation::Take { stream, gap: 0 }
                };
                if let Some(operations) = builder.at(place) {
                    operations.push(operation);
                }
            }
        }
        let mut lines = builder.finish();
        lines.switched = true;
        part(lines)
    });
    Ok(all.collect())
}

/// The colors of a relayout from end to end, whoever sends.
fn outline(moved: &Relayout, colors: &[Color], context: &Context<'_>) -> Lines {
    let mut builder = Builder::new(context, moved.axis);
    let last = context.area.along(moved.axis).saturating_sub(1);
    for (color, (from, to)) in colors.iter().take(2).zip([(0, last), (last, 0)]) {
        builder.push(point_to_point(from, to, (context.physical)(*color), 1, context.timing.wavelet));
    }
    let mut lines = builder.finish();
    lines.switched = true;
    lines
}

/// Each line has a root of its own; neighbouring lines with the same root are a part.
fn staggered(step: &Step, stagger: Stagger, colors: &[Color], context: &Context<'_>) -> Vec<Part> {
    let Action::ChainReduce(chain) = &step.action else { return Vec::new() };
    let roots = (0..step.region.along(chain.axis.across())).map(|line| stagger.of(line));
    let parts = alike(roots).into_iter().map(|Alike { first, lines: count, does: root }| {
        let context = only(context, chain.axis, first, count);
        part(pattern::chain_with_root(chain, root, colors, &context))
    });
    parts.collect()
}

/// What a line of a ring does in a round of its alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    On,
    Back,
    Rest,
}

/// Each line rotates one way or the other, whichever is shorter, until it lies as its layout says.
fn alignment(
    shift: &Shift,
    (ring, round): (Ring, u64),
    region: Region,
    colors: &[Color],
    context: &Context<'_>,
) -> Vec<Part> {
    let layout = context.program.buffer_of(shift.payload).layout.as_ref();
    let corner = layout.map_or((0, 0), |layout| (layout.region.x, layout.region.y));
    let turns = (0..region.along(shift.axis.across())).map(|line| {
        let across = match shift.axis {
            Axis::X => (region.y + line).saturating_sub(corner.1),
            Axis::Y => (region.x + line).saturating_sub(corner.0),
        };
        let rotation = ring.rotation(across);
        match rotation <= ring.pieces / 2 {
            true if round < rotation => Turn::On,
            false if round < ring.pieces - rotation => Turn::Back,
            _ => Turn::Rest,
        }
    });
    let action = Action::Shift(Shift { colors: colors.to_vec(), ..shift.clone() });
    let transfers = along_one_line(action, shift.axis, context.area.along(shift.axis));
    let count = pattern::wavelets(context, shift.payload);
    let groups = alike(turns).into_iter().filter(|group| group.does != Turn::Rest);
    let parts = groups.map(|Alike { first, lines, does: turn }| {
        let context = only(context, shift.axis, first, lines);
        let mut builder = Builder::new(&context, shift.axis);
        for sent in &transfers {
            let (mut from, mut to) = (position(shift.axis, sent.from), position(shift.axis, sent.to));
            if turn == Turn::Back {
                (from, to) = (to, from);
            }
            let period = 2 * context.timing.wavelet;
            let stream = builder.push(point_to_point(from, to, (context.physical)(sent.color), count, period));
            if let Some(operations) = builder.at(from) {
                operations.push(CoreOperation::Send { stream });
            }
            if let Some(operations) = builder.at(to) {
                operations.push(CoreOperation::Take { stream, gap: 0 });
            }
        }
        let mut lines = builder.finish();
        lines.ordered = true;
        part(lines)
    });
    parts.collect()
}

/// The sums of a round go from both ends of each segment to the place whose ring number is the round's.
fn rotating(chain: &ChainReduce, round: u64, colors: &[Color], context: &Context<'_>) -> Vec<Part> {
    let count = chain.count.max(1);
    let root = (0..count).find(|index| ring_number(count, *index) == round % count).unwrap_or(0);
    let color = |index: u64| colors.get(index as usize % colors.len().max(1)).copied().unwrap_or(Color(0));
    let mut hops = Vec::new();
    for segment in 0..u64::from(context.area.along(chain.axis)) / count {
        let start = segment * count;
        let hop = |from: u64, to: u64, first: u64| Hop {
            from: (start + from) as u32,
            to: (start + to) as u32,
            color: color(first + from % 2),
        };
        hops.extend((0..root).map(|index| hop(index, index + 1, 0)));
        hops.extend((root + 1..count).rev().map(|index| hop(index, index - 1, 2)));
    }
    let mut lines = chain_of(hops, chain, context);
    lines.ordered = true;
    vec![part(lines)]
}
