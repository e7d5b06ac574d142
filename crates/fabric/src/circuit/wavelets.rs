//! The engine of wavelets: every wavelet through every router, in the order of time.
//!
//! A router moves, at a tick, each landed head of its queues whose links are free, whose next queues have a place that
//! the router knows of, and whose core (where it delivers) runs the operation that takes it; a multicast leaves over
//! all its outputs at once. Where several colors want a link, it goes to the next one after the last color served,
//! round-robin. A router holds one route of a color at a time, and switches to that of the next step when the wavelets
//! of this one have passed: on one color, wavelets pass a router in the order of the program, never in that of their
//! arrival.
//!
//! Places in queues come back as credits after a hop, so what happens at a tick depends on earlier ticks only and
//! the order in which routers are looked at does not matter.
//!
//! Nothing is polled: a router is looked at when a wavelet lands, a link becomes free, a credit comes back or its core
//! goes on. When nothing of that is outstanding and the program has not ended, it never will: that is a deadlock.

mod audit;
mod bands;
mod core;
mod queue;
mod router;
mod script;
mod switches;
mod wheel;

pub(super) use self::script::Script;

use wafersim_program::Axis;

use self::queue::Queue;
use self::script::NONE;
use self::switches::Switches;
use self::wheel::Wheel;
use super::contents::Contents;
use super::error::CircuitError;
use super::lowered::Lowered;
use super::outcome::{Engine, Maps, Outcome, Progress, Tally};
use super::recorder::{Plan, Sheet};
use super::route::Area;
use super::timing::{Tick, cycles, ticks};

/// How many of those that wait a deadlock names.
const NAMED: usize = 16;
/// Events between reports of progress.
const REPORT: u64 = 1 << 20;
const NEVER: Tick = Tick::MAX;

/// A processing element with its router.
#[derive(Debug, Clone)]
struct Element {
    /// Column and row.
    x: u32,
    y: u32,
    /// Place in the schedule.
    at: u32,
    /// Whether it is inside that stage.
    inside: bool,
    /// Whether the stage holds fabric operations for it.
    fabric: bool,
    /// Whether what it does in the stage is counted here.
    counted: bool,
    /// Whether the stage holds fabric operations along both axes for it, of which one is run.
    mixed: bool,
    /// How many operations of that axis are missing.
    own_left: u16,
    /// In a meeting: how many are missing.
    missing: u8,
    /// Index of its present operation that sends, and of that which takes, among those of the stage.
    sending: u16,
    taking: u16,
    /// Flow of the present operation that sends from memory, and of the one that takes; [`NONE`] without.
    send: u32,
    take: u32,
    /// Flow that the operation that takes sends on; [`NONE`] where it does not forward.
    onward: u32,
    /// Wavelets left of each.
    sends_left: u32,
    takes_left: u32,
    /// Wavelets that it has dispatched and its router has not yet passed on.
    leaving: u32,
    /// First of its queues, first of those that are not empty, and the last one that its core sent to.
    queues: u32,
    active: u32,
    core_queue: u32,
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
    /// In a meeting: when the last of those heard so far came.
    heard: Tick,
    /// The moment of the last wake, so that it is not asked for twice.
    woken: Tick,
    /// The moment of the last look, if nothing has asked for another one at that moment.
    looked: Tick,
}

impl Element {
    const fn new(x: u32, y: u32, core: Tick) -> Self {
        Self {
            x,
            y,
            at: 0,
            inside: false,
            fabric: false,
            counted: true,
            mixed: false,
            own_left: 0,
            missing: 0,
            sending: 0,
            taking: 0,
            send: NONE,
            take: NONE,
            onward: NONE,
            sends_left: 0,
            takes_left: 0,
            leaving: 0,
            queues: NONE,
            active: NONE,
            core_queue: NONE,
            next_send: NEVER,
            next_take: NEVER,
            core,
            start: 0,
            end: 0,
            first: NEVER,
            free: [0; 4],
            served: [0; 4],
            heard: 0,
            woken: NEVER,
            looked: NEVER,
        }
    }
}

/// Bytes of an idle processing element with its router in this engine, without maps.
pub const BYTES_PER_IDLE_ELEMENT: usize = size_of::<Element>();

/// The first wavelet of a stream comes to a router: what a window needs to know whether it meets what was there before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Place in the window.
    pub(super) place: u32,
    pub(super) color: u16,
    /// The links that it wants, as bits.
    pub(super) links: u8,
    pub(super) lands: Tick,
}

/// An area of the mesh for a stretch of the schedule.
struct Mesh<'a, C: Contents> {
    script: &'a Script<'a>,
    lowered: &'a Lowered,
    area: Area,
    elements: Vec<Element>,
    queues: Vec<Queue<C::Word>>,
    /// Queues whose head has landed, of the router that is looked at.
    landed: Vec<u32>,
    switches: Switches,
    wheel: Wheel,
    maps: Maps,
    tally: Tally,
    done: Vec<Tick>,
    /// Kept for a window only.
    arrivals: Option<Vec<Arrival>>,
    /// What is run, where it is not all, and what is noted of it.
    share: Option<Share<'a>>,
    noted: Vec<Tick>,
    sheet: Option<Sheet>,
    contents: C,
    now: Tick,
}

/// What is run of a window, where it is not all: the streams along one axis. Fabric operations of a core along the
/// other one are passed over; that they end is known, or the core waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share<'a> {
    pub(super) axis: Axis,
    pub(super) own: &'a Notes,
    /// Those of the other axis, and what is noted of it: by place.
    pub(super) others: &'a Notes,
    pub(super) noted: &'a [Tick],
    /// Whether steps without fabric operations are counted.
    pub(super) counts_others: bool,
}

/// What is noted of the streams along an axis, for each place: of each step that holds some, when the core is through
/// with it (of a core that has operations along both axes: when it is through with its operations along this one); of
/// each step that has operations along both, its first wavelet, and when the core goes on to its next operation after
/// each. Never where it is not known.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// For each step of the window: where its end is noted.
    pub(super) ends: Vec<Option<u32>>,
    /// Where its first wavelet is noted, and after it its operations.
    pub(super) operations: Vec<Option<u32>>,
    /// How many there are.
    pub(super) count: usize,
}

impl Notes {
    fn end(&self, place: usize, step: usize) -> Option<usize> {
        self.ends.get(step).copied().flatten().map(|index| place * self.count + index as usize)
    }

    fn first(&self, place: usize, step: usize) -> Option<usize> {
        self.operations.get(step).copied().flatten().map(|index| place * self.count + index as usize)
    }

    fn operation(&self, place: usize, step: usize, operation: u16) -> Option<usize> {
        let index = self.first(place, step)? + 1 + usize::from(operation);
        (index < (place + 1) * self.count).then_some(index)
    }
}

/// What a window has come to.
pub(super) struct Ran {
    /// Whether all cores have come to its end.
    pub(super) complete: bool,
    /// By place of the window, row after row: when its core is ready for what comes next.
    pub(super) ready: Vec<Tick>,
    /// When its links are free; 0 where nothing has crossed them.
    pub(super) free: Vec<[Tick; 4]>,
    /// The places and colors that have been passed, and when the last wavelets did.
    pub(super) passed: Vec<(u32, u16, Tick)>,
    pub(super) maps: Maps,
    pub(super) tally: Tally,
    /// For each step of the stretch, when the last core was through.
    pub(super) done: Vec<Tick>,
    /// Of a [`Share`]: by place, as its own notes say.
    pub(super) noted: Vec<Tick>,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) sheet: Option<Sheet>,
}

/// Runs a lowered program wavelet by wavelet; its wavelets carry `contents`.
pub(super) fn run(
    lowered: &Lowered,
    plan: Option<&Plan>,
    contents: impl Contents,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, CircuitError> {
    let script = Script::new(lowered, 0, u32::MAX);
    let area = Area { x: 0, y: 0, columns: lowered.columns, rows: lowered.rows };
    let mut mesh = Mesh::new(&script, area, |_, _| 0, plan.map(Plan::sheet), contents);
    mesh.run(&mut progress)?;
    if !mesh.is_complete() {
        return Err(CircuitError::Deadlock(Box::new(mesh.deadlock())));
    }
    Ok(Outcome::new(lowered, &mesh.done, mesh.tally, mesh.maps, Engine::Wavelets).with_timeline(lowered, mesh.sheet))
}

/// Runs a stretch of the schedule on an area from which no wavelet leaves, whose cores become ready at times of their
/// own.
pub(super) fn run_window(
    script: &Script<'_>,
    area: Area,
    ready: impl Fn(u32, u32) -> Tick,
    sheet: Option<Sheet>,
    share: Option<Share<'_>>,
    say: &mut impl FnMut(Tick),
) -> Result<Ran, CircuitError> {
    let mut mesh = Mesh::new(script, area, ready, sheet, ());
    mesh.arrivals = Some(Vec::new());
    if let Some(share) = share {
        mesh.noted = vec![NEVER; mesh.elements.len() * share.own.count];
        mesh.share = Some(share);
    }
    mesh.run(&mut |progress: Progress| say(ticks(progress.cycles.0)))?;
    let passed = |place: usize| {
        let switches = mesh.switches.of(place).filter(|switch| switch.passed > 0);
        switches.map(move |switch| (place as u32, switch.color, switch.passed))
    };
    Ok(Ran {
        complete: mesh.is_complete(),
        ready: mesh.elements.iter().map(|element| element.core).collect(),
        free: mesh.elements.iter().map(|element| element.free).collect(),
        passed: (0..mesh.elements.len()).flat_map(passed).collect(),
        maps: mesh.maps,
        tally: mesh.tally,
        done: mesh.done,
        noted: mesh.noted,
        arrivals: mesh.arrivals.unwrap_or_default(),
        sheet: mesh.sheet,
    })
}

impl<'a, C: Contents> Mesh<'a, C> {
    fn new(
        script: &'a Script<'a>,
        area: Area,
        ready: impl Fn(u32, u32) -> Tick,
        sheet: Option<Sheet>,
        contents: C,
    ) -> Self {
        let places = area.columns as usize * area.rows as usize;
        let rows = area.y..area.y + area.rows;
        let elements: Vec<Element> = rows
            .flat_map(|y| (area.x..area.x + area.columns).map(move |x| (x, y)))
            .map(|(x, y)| Element { at: script.begin, ..Element::new(x, y, ready(x, y)) })
            .collect();
        let mut mesh = Self {
            script,
            lowered: script.lowered,
            area,
            elements,
            queues: Vec::new(),
            landed: Vec::new(),
            switches: Switches::new(places),
            wheel: Wheel::new(),
            maps: Maps::new(places),
            tally: Tally::default(),
            done: vec![0; script.end.saturating_sub(script.begin) as usize],
            arrivals: None,
            share: None,
            noted: Vec::new(),
            sheet,
            contents,
            now: 0,
        };
        for place in 0..places {
            let moment = mesh.elements[place].core;
            mesh.wake(place, moment);
        }
        mesh
    }

    /// Until nothing is outstanding.
    fn run(&mut self, progress: &mut impl FnMut(Progress)) -> Result<(), CircuitError> {
        while let Some((now, place)) = self.wheel.pop() {
            let place = place as usize;
            self.now = now;
            let element = &mut self.elements[place];
            if element.woken == now {
                element.woken = NEVER;
            } else if element.looked == now {
                // The same moment was asked for several times.
                continue;
            }
            element.looked = now;
            self.tally.events += 1;
            self.look(place)?;
            if self.tally.events.is_multiple_of(REPORT) {
                if cfg!(debug_assertions) {
                    self.check_conservation()?;
                }
                let steps = self.elements.iter().map(|element| element.at).min().unwrap_or(0);
                progress(Progress {
                    cycles: cycles(now),
                    steps: u64::from(steps),
                    all_steps: self.lowered.schedule.len() as u64,
                });
            }
        }
        self.check_conservation()
    }

    /// Whether all cores have come to the end, and all wavelets to a core.
    fn is_complete(&self) -> bool {
        let through = |element: &Element| !element.inside && element.at >= self.script.end;
        self.elements.iter().all(through) && self.in_flight() == 0
    }

    fn neighbour(&self, place: usize, direction: usize) -> usize {
        let columns = self.area.columns as usize;
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
        if moment == self.now {
            element.looked = NEVER;
        }
        self.wheel.push(moment, place as u32);
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
