//! A stretch of the schedule, flattened for the engine of wavelets: streams with absolute coordinates, and for each
//! color which steps use it.

use std::ops::Range;

use wafersim_program::Axis;

use super::bands::Bands;
use super::queue::FROM_CORE;
use crate::circuit::contents::StreamId;
use crate::circuit::lowered::{Lowered, Part, Stage};
use crate::circuit::route::{Area, CoreOperation, Lines};
use crate::circuit::timing::Tick;

/// No flow.
pub(super) const NONE: u32 = u32::MAX;

/// A stream of a part on each of its lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) color: u16,
    /// Whether its lines go along y.
    pub(super) vertical: bool,
    /// Of a broadcast: the first and the last row that it reaches.
    across: Option<(u32, u32)>,
    pub(super) copies: bool,
    /// First and last column (or row) that it reaches.
    pub(super) low: u32,
    pub(super) high: u32,
    pub(super) wavelets: u32,
    pub(super) period: Tick,
    pub(super) lead: Tick,
    /// Of its part.
    pub(super) launch: Tick,
    pub(super) combine: Tick,
    pub(super) receivers: u64,
    /// Which stream of its stage it is.
    pub(super) id: StreamId,
    /// Its turn among the streams of its color in its stage.
    pub(super) turn: u32,
}

impl Flow {
    /// Where a wavelet wants to go: links as bits in the order of their index, and bit 4 for the core.
    pub(super) fn ways(&self, x: u32, y: u32, travels: u8) -> u8 {
        let (position, shift) = if self.vertical { (y, 2) } else { (x, 0) };
        let from_core = travels == FROM_CORE;
        let upwards = travels == shift;
        let up = (from_core || upwards) && position < self.high;
        let down = (from_core || !upwards) && position > self.low;
        let links = u8::from(up) | u8::from(down) << 1;
        if let Some((first, last)) = self.across {
            // On along the sender's row, and from there, up and down, on along the columns.
            let in_column = !from_core && travels >= 2;
            let south = (!in_column || travels == 2) && y < last;
            let north = (!in_column || travels == 3) && y > first;
            let along = if in_column { 0 } else { links };
            return along | u8::from(south) << 2 | u8::from(north) << 3 | u8::from(!from_core) << 4;
        }
        let core = !from_core && (self.copies || links == 0);
        links << shift | u8::from(core) << 4
    }
}

/// Wavelets of a color that a part of a stage sends through the places of its lines in one turn.
#[derive(Debug)]
struct Through {
    color: u16,
    turn: u32,
    area: Area,
    vertical: bool,
    counts: Vec<u64>,
}

impl Through {
    const fn key(&self) -> (u16, u32) {
        (self.color, self.turn)
    }
}

/// The flows of an operation: those taken and sent, or [`NONE`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Flows {
    pub(super) take: u32,
    pub(super) send: u32,
    /// The gap of a take.
    pub(super) gap: Tick,
}

/// The next use of a color in a router.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextUse {
    /// Its index among the uses of the color.
    pub(super) index: u32,
    /// The place in the schedule, and the turn.
    pub(super) at: (u32, u32),
    /// How many wavelets it sends through.
    pub(super) wavelets: u64,
}

/// A stretch of the schedule.
#[derive(Debug)]
pub(in crate::circuit) struct Script<'a> {
    pub(super) lowered: &'a Lowered,
    /// Where in the schedule it ends.
    pub(super) end: u32,
    pub(super) begin: u32,
    pub(super) flows: Vec<Flow>,
    /// Number of the first flow of each part, by stage.
    first_flow: Vec<Vec<u32>>,
    /// By stage; what is of a color and a turn side by side.
    through: Vec<Vec<Through>>,
    /// By stage: where its parts that carry wavelets lie, and what goes through.
    parts_at: Vec<Bands>,
    through_at: Vec<Bands>,
    /// By color: its uses, one after the other.
    uses: Vec<Vec<Use>>,
}

/// A use of a color.
#[derive(Debug, Clone)]
struct Use {
    /// The place in the schedule, and the turn.
    at: (u32, u32),
    /// What of its stage goes through.
    through: Range<usize>,
}

impl<'a> Script<'a> {
    pub(in crate::circuit) fn new(lowered: &'a Lowered, begin: u32, end: u32) -> Self {
        let mut script = Self {
            lowered,
            begin,
            end: end.min(lowered.schedule.len() as u32),
            flows: Vec::new(),
            first_flow: vec![Vec::new(); lowered.stages.len()],
            through: (0..lowered.stages.len()).map(|_| Vec::new()).collect(),
            parts_at: (0..lowered.stages.len()).map(|_| Bands::default()).collect(),
            through_at: (0..lowered.stages.len()).map(|_| Bands::default()).collect(),
            uses: vec![Vec::new(); usize::from(u16::try_from(lowered.colors).unwrap_or(u16::MAX))],
        };
        let mut known = vec![false; lowered.stages.len()];
        for at in script.begin..script.end {
            let Some(&stage) = lowered.schedule.get(at as usize) else { break };
            if !std::mem::replace(&mut known[stage as usize], true) {
                script.add(stage as usize);
            }
            let mut end = 0;
            for same in script.through[stage as usize].chunk_by(|one, other| one.key() == other.key()) {
                let through = end..end + same.len();
                end = through.end;
                let (color, turn) = same[0].key();
                if let Some(uses) = script.uses.get_mut(usize::from(color)) {
                    uses.push(Use { at: (at, turn), through });
                }
            }
        }
        script
    }

    fn add(&mut self, stage: usize) {
        for (number, part) in (0u32..).zip(&self.lowered.stages[stage].parts) {
            self.first_flow[stage].push(self.flows.len() as u32);
            let Part::Carry(lines) = part else { continue };
            let vertical = lines.axis == Axis::Y;
            let base = if vertical { lines.area.y } else { lines.area.x };
            let first = self.through[stage].len();
            for (index, stream) in (0u32..).zip(&lines.streams) {
                let turn = if lines.switched { index } else { 0 };
                self.flows.push(Flow {
                    id: StreamId { part: number, stream: index },
                    turn,
                    color: stream.color,
                    vertical,
                    across: lines.spread.map(|_| (lines.area.y, lines.area.y + lines.area.rows - 1)),
                    copies: stream.copies,
                    low: base + stream.low,
                    high: base + stream.high,
                    wavelets: stream.wavelets.min(u64::from(u32::MAX)) as u32,
                    period: stream.period,
                    lead: stream.lead,
                    launch: lines.launch,
                    combine: lines.combine,
                    receivers: lines.receivers(stream),
                });
                let alike = |through: &Through| through.color == stream.color && through.turn == turn;
                let of_color = self.through[stage][first..].iter().position(alike);
                let index = of_color.map_or_else(
                    || {
                        let (color, area, counts) =
                            (stream.color, lines.area, vec![0; lines.area.along(lines.axis) as usize]);
                        self.through[stage].push(Through { color, turn, area, vertical, counts });
                        self.through[stage].len() - 1
                    },
                    |index| first + index,
                );
                for count in &mut self.through[stage][index].counts[stream.low as usize..=stream.high as usize] {
                    *count += stream.wavelets;
                }
            }
        }
        self.through[stage].sort_by_key(Through::key);
        let through: Vec<(u32, Area)> = (0..).zip(&self.through[stage]).map(|(index, one)| (index, one.area)).collect();
        self.through_at[stage] = Bands::new(&through);
        let parts = (0..).zip(&self.lowered.stages[stage].parts);
        let parts: Vec<(u32, Area)> = parts
            .filter_map(|(number, part)| match part {
                Part::Carry(lines) => Some((number, lines.area)),
                _ => None,
            })
            .collect();
        self.parts_at[stage] = Bands::new(&parts);
    }

    pub(super) fn stage(&self, at: u32) -> Option<&'a Stage> {
        if at < self.end { self.lowered.stage(at as usize) } else { None }
    }

    /// The parts of a stage whose lines a place is on, each with its number.
    fn lines_at(&self, stage: usize, (x, y): (u32, u32)) -> impl Iterator<Item = (usize, &'a Lines)> {
        let parts = &self.lowered.stages[stage].parts;
        self.parts_at[stage].near((x, y)).iter().filter_map(move |&number| match parts.get(number as usize) {
            Some(Part::Carry(lines)) if lines.area.contains(x, y) => Some((number as usize, lines)),
            _ => None,
        })
    }

    /// The operation of a place in a step.
    pub(super) fn operation(&self, at: u32, (x, y): (u32, u32), mut index: usize) -> Option<Flows> {
        let stage = *self.lowered.schedule.get(at as usize)? as usize;
        for (number, lines) in self.lines_at(stage, (x, y)) {
            let first = self.first_flow[stage][number];
            let operations = lines.operations_at(x, y);
            match operations.get(index) {
                Some(CoreOperation::Send { stream }) => {
                    return Some(Flows { take: NONE, send: first + stream, gap: 0 });
                }
                Some(CoreOperation::Take { stream, gap }) => {
                    return Some(Flows { take: first + stream, send: NONE, gap: *gap });
                }
                Some(CoreOperation::Forward { take, send }) => {
                    return Some(Flows { take: first + take, send: first + send, gap: 0 });
                }
                None => index -= operations.len(),
            }
        }
        None
    }

    /// How many operations a place has in a step, along x and along y.
    pub(super) fn operations_along(&self, at: u32, (x, y): (u32, u32)) -> [u16; 2] {
        let mut along = [0u16; 2];
        let Some(&stage) = self.lowered.schedule.get(at as usize).filter(|_| at < self.end) else { return along };
        for (_, lines) in self.lines_at(stage as usize, (x, y)) {
            let count = &mut along[usize::from(lines.axis == Axis::Y)];
            *count = count.saturating_add(lines.operations_at(x, y).len().min(usize::from(u16::MAX)) as u16);
        }
        along
    }

    /// The use of a color from the `index`-th on that concerns a router.
    pub(super) fn next_use(&self, color: u16, mut index: u32, (x, y): (u32, u32)) -> NextUse {
        let Some(uses) = self.uses.get(usize::from(color)) else {
            return NextUse { index, at: (self.end, 0), wavelets: 0 };
        };
        while let Some(Use { at, through }) = uses.get(index as usize) {
            let stage = self.lowered.schedule[at.0 as usize] as usize;
            let near = self.through_at[stage].near((x, y));
            let first = near.partition_point(|&index| (index as usize) < through.start);
            let of_use = near[first..].iter().map(|&index| index as usize).take_while(|index| *index < through.end);
            let mut wavelets = 0;
            for through in of_use.map(|index| &self.through[stage][index]) {
                if through.area.contains(x, y) {
                    let position = if through.vertical { y - through.area.y } else { x - through.area.x };
                    wavelets += through.counts.get(position as usize).copied().unwrap_or(0);
                }
            }
            if wavelets > 0 {
                return NextUse { index, at: *at, wavelets };
            }
            index += 1;
        }
        NextUse { index, at: (self.end, 0), wavelets: 0 }
    }
}
