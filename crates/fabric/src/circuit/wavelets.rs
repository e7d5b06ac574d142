//! The engine of wavelets: every wavelet through every router, in the order of time.
//!
//! A router moves, at a tick, each landed head of its queues whose links are free, whose next queues have a place that the
//! router knows of, and whose core (where it delivers) runs the operation that takes it; a multicast leaves over all its
//! outputs at once. Where several colors want a link, it goes to the next one after the last color served, round-robin.
//! A router holds one route of a color at a time, and switches to that of the next step when the wavelets of this one have
//! passed: on one color, wavelets pass a router in the order of the program, never in that of their arrival.
//!
//! Places in queues come back as credits after a hop, so what happens at a tick depends on earlier ticks only and
//! the order in which routers are looked at does not matter.
//!
//! Nothing is polled: a router is looked at when a wavelet lands, a link becomes free, a credit comes back or its core
//! goes on. When nothing of that is outstanding and the program has not ended, it never will: that is a deadlock.

mod audit;
mod core;
mod router;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wafersim_program::Axis;

use super::error::CircuitError;
use super::lowered::{Lowered, Part, Stage};
use super::outcome::{Engine, Maps, Outcome, Progress, Tally};
use super::queue::{FROM_CORE, NONE, Queue};
use super::recorder::{Plan, Sheet};
use super::route::{Direction, Lines, Operation, Stream};
use super::switches::Switches;
use super::timing::{Tick, cycles};

/// How many of those that wait a deadlock names.
const NAMED: usize = 16;
/// Events between reports of progress.
const REPORT: u64 = 1 << 20;
const NEVER: Tick = Tick::MAX;

/// A processing element with its router.
#[derive(Debug, Clone)]
struct Element {
    /// Place in the schedule.
    at: u32,
    /// Whether it is inside that stage.
    inside: bool,
    /// Whether the stage holds fabric operations for it.
    fabric: bool,
    /// Index of its present operation that sends, and of that which takes, among those of the stage.
    sending: u16,
    taking: u16,
    /// Wavelets left of each.
    sends_left: u32,
    takes_left: u32,
    /// Wavelets that it has dispatched and its router has not yet passed on.
    leaving: u32,
    /// When the next wavelet may be sent, or taken; never where no operation is under way.
    next_send: Tick,
    next_take: Tick,
    /// When the core is ready for its next stage, or its vector work of this one ends.
    core: Tick,
    start: Tick,
    end: Tick,
    /// Its first wavelet of the stage.
    first: Tick,
    /// When links are free: east, west, south, north.
    free: [Tick; 4],
    /// Last color served on each.
    served: [u16; 4],
    /// First of its queues.
    queues: u32,
    /// In a meeting: when the last of those heard so far came, and how many are missing.
    heard: Tick,
    missing: u8,
    /// The moment of the last wake, so that it is not asked for twice.
    woken: Tick,
}

/// Bytes of an idle processing element with its router in this engine, without maps.
pub const BYTES_PER_IDLE_ELEMENT: usize = size_of::<Element>();

struct Mesh<'a> {
    lowered: &'a Lowered,
    elements: Vec<Element>,
    queues: Vec<Queue>,
    /// Queues that no router uses.
    spare: Vec<u32>,
    /// Queues whose head has landed, of the router that is looked at.
    landed: Vec<usize>,
    switches: Switches,
    wakes: BinaryHeap<Reverse<(Tick, u32)>>,
    maps: Maps,
    tally: Tally,
    done: Vec<Tick>,
    sheet: Option<Sheet>,
    now: Tick,
}

/// Runs a lowered program wavelet by wavelet.
pub(super) fn run(
    lowered: &Lowered,
    plan: Option<&Plan>,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, CircuitError> {
    let idle = Element {
        at: 0,
        inside: false,
        fabric: false,
        sending: 0,
        taking: 0,
        sends_left: 0,
        takes_left: 0,
        leaving: 0,
        next_send: NEVER,
        next_take: NEVER,
        core: 0,
        start: 0,
        end: 0,
        first: NEVER,
        free: [0; 4],
        served: [0; 4],
        queues: NONE,
        heard: 0,
        missing: 0,
        woken: NEVER,
    };
    let elements = lowered.elements();
    let mut mesh = Mesh {
        lowered,
        elements: vec![idle; elements],
        queues: Vec::new(),
        spare: Vec::new(),
        landed: Vec::new(),
        switches: Switches::new(lowered),
        wakes: BinaryHeap::new(),
        maps: Maps::new(elements),
        tally: Tally::default(),
        done: vec![0; lowered.schedule.len()],
        sheet: plan.map(Plan::sheet),
        now: 0,
    };
    for place in 0..elements {
        mesh.wake(place, 0);
    }
    while let Some(Reverse((now, place))) = mesh.wakes.pop() {
        let place = place as usize;
        mesh.now = now;
        if mesh.elements[place].woken == now {
            mesh.elements[place].woken = NEVER;
        }
        mesh.tally.events += 1;
        mesh.look(place)?;
        if mesh.tally.events.is_multiple_of(REPORT) {
            if cfg!(debug_assertions) {
                mesh.check_conservation()?;
            }
            let steps = mesh.elements.iter().map(|element| element.at).min().unwrap_or(0);
            progress(Progress {
                cycles: cycles(now),
                steps: u64::from(steps),
                all_steps: lowered.schedule.len() as u64,
            });
        }
    }
    mesh.check_conservation()?;
    let through = |element: &Element| !element.inside && element.at as usize >= lowered.schedule.len();
    if !mesh.elements.iter().all(through) || mesh.in_flight() > 0 {
        return Err(CircuitError::Deadlock(Box::new(mesh.deadlock())));
    }
    Ok(Outcome::new(lowered, &mesh.done, mesh.tally, mesh.maps, Engine::Wavelets).with_timeline(lowered, mesh.sheet))
}

/// The operations of a place in a stage: their part, its lines, the place's position, and the operation.
fn operation(stage: &Stage, x: u32, y: u32, mut index: usize) -> Option<(u16, &Lines, Operation)> {
    for (part, lines) in carried(stage, x, y) {
        let operations = lines.operations(lines.position(x, y) as usize);
        if let Some(operation) = operations.get(index) {
            return Some((part, lines, *operation));
        }
        index -= operations.len();
    }
    None
}

fn carried(stage: &Stage, x: u32, y: u32) -> impl Iterator<Item = (u16, &Lines)> {
    stage.parts.iter().enumerate().filter_map(move |(index, part)| match part {
        Part::Carry(lines) if lines.area.contains(x, y) => Some((index as u16, lines)),
        _ => None,
    })
}

/// Where a wavelet wants to go from a position of its line.
#[derive(Clone, Copy)]
struct Ways {
    links: [bool; 4],
    core: bool,
}

fn ways(stream: &Stream, axis: Axis, position: u32, travels: u8) -> Ways {
    let from_core = travels == FROM_CORE;
    let upwards = travels == Direction::along(axis, true) as u8;
    let up = (from_core || upwards) && position < stream.high;
    let down = (from_core || !upwards) && position > stream.low;
    let mut links = [false; 4];
    links[Direction::along(axis, true) as usize] = up;
    links[Direction::along(axis, false) as usize] = down;
    Ways { links, core: !from_core && (stream.copies || !(up || down)) }
}

impl Mesh<'_> {
    fn coordinates(&self, place: usize) -> (u32, u32) {
        let columns = self.lowered.columns as usize;
        ((place % columns) as u32, (place / columns) as u32)
    }

    fn neighbour(&self, place: usize, direction: usize) -> usize {
        let columns = self.lowered.columns as usize;
        match direction {
            0 => place + 1,
            1 => place.wrapping_sub(1),
            2 => place + columns,
            _ => place.wrapping_sub(columns),
        }
    }

    fn wake(&mut self, place: usize, moment: Tick) {
        let Some(element) = self.elements.get_mut(place) else { return };
        if moment == NEVER || moment == element.woken {
            return;
        }
        let moment = moment.max(self.now);
        element.woken = moment;
        self.wakes.push(Reverse((moment, place as u32)));
    }

    fn stage(&self, at: u32) -> Option<&Stage> {
        self.lowered.stage(at as usize)
    }

    /// Everything that a processing element and its router can do now.
    fn look(&mut self, place: usize) -> Result<(), CircuitError> {
        loop {
            let mut moved = self.enter(place);
            moved |= self.send(place)?;
            moved |= self.route(place)?;
            moved |= self.leave(place);
            if !moved {
                return Ok(());
            }
        }
    }
}
