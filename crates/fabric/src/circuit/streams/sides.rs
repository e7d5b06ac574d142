//! A window line by line: its rows, and its columns, each for itself.
//!
//! Streams along x and streams along y share no link and, where their colors differ, no route and no queue. They meet
//! in the cores alone: a core begins a step along one axis when it is through with the one along the other. So rows are
//! run with the moments at which their cores are through with the steps along y, and columns with those of the steps
//! along x; a core waits where such a moment is not known yet. Rows and columns are run in turn until nothing changes.
//! What is then found keeps every rule of the whole mesh at every moment, and there is only one such course of events
//! (each moment follows from earlier ones): it is what all wavelets run in one go give, to the tick.
//!
//! Of lines in which the same happens (the same parts, the same moments but for a common delay) one is run.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use wafersim_program::Axis;

use super::Mesh;
use super::contention::Contended;
use crate::circuit::lowered::{Part, Stage};
use crate::circuit::recorder::Sheet;
use crate::circuit::route::{Area, Lines};
use crate::circuit::timing::Tick;
use crate::circuit::wavelets::{Notes, Ran, Script, Share, run_window};

const NEVER: Tick = Tick::MAX;
/// Turns of rows and columns for each step of a window, from which on nothing is expected of more.
const TURNS: usize = 4;
/// Moments that are noted at most: half a gigabyte.
const MOST_NOTED: usize = 1 << 26;

/// A line that has been run.
struct Known {
    /// When its cores became ready at the earliest.
    earliest: Tick,
    /// Its first place in the mesh.
    first: i64,
    ran: Ran,
}

/// What happened on a line, as it was run for the first line like it.
pub(super) struct OfLine<'s> {
    pub(super) ran: &'s Ran,
    /// How much later.
    pub(super) later: i64,
    /// The first place of the line that was run.
    pub(super) first: i64,
}

/// All lines of an axis.
pub(super) struct Side {
    axis: Axis,
    area: Area,
    notes: Notes,
    /// What is noted of each place of the area.
    noted: Vec<Tick>,
    known: Vec<Known>,
    /// What was known of the lines, by what happened to them.
    by_inputs: FxHashMap<Vec<Tick>, usize>,
    /// Which one a line is like, and when its cores become ready at the earliest.
    of_line: Vec<(usize, Tick)>,
    /// Whether steps without transfers are counted here.
    counts_others: bool,
}

/// A window of which lines can be run for themselves.
pub(super) struct Sides<'a> {
    mesh: &'a Mesh,
    script: &'a Script<'a>,
    stages: Vec<&'a Stage>,
    sides: Vec<Side>,
}

impl Side {
    pub(super) const fn count(&self) -> usize {
        match self.axis {
            Axis::X => self.area.rows as usize,
            Axis::Y => self.area.columns as usize,
        }
    }

    pub(super) fn line(&self, number: usize) -> Area {
        match self.axis {
            Axis::X => Area { y: self.area.y + number as u32, rows: 1, ..self.area },
            Axis::Y => Area { x: self.area.x + number as u32, columns: 1, ..self.area },
        }
    }

    /// What happened on a line.
    pub(super) fn of(&self, number: usize) -> OfLine<'_> {
        let (like, earliest) = self.of_line[number];
        let known = &self.known[like];
        OfLine { ran: &known.ran, later: earliest as i64 - known.earliest as i64, first: known.first }
    }

    fn of_place(&self, place: usize) -> &[Tick] {
        &self.noted[place * self.notes.count..(place + 1) * self.notes.count]
    }

    /// Places of a line, as indices of the area's places in rows.
    fn places(&self, number: usize) -> impl Iterator<Item = usize> + use<> {
        let columns = self.area.columns as usize;
        let (first, step, count) = match self.axis {
            Axis::X => (number * columns, 1, columns),
            Axis::Y => (number, columns, self.area.rows as usize),
        };
        (0..count).map(move |index| first + index * step)
    }
}

fn carried(part: &Part) -> Option<&Lines> {
    if let Part::Carry(lines) = part { Some(lines) } else { None }
}

/// Whether a router has a color along both axes.
fn color_along_both(stages: &[&Stage]) -> bool {
    // Routers that streams of a color pass, in rectangles: along x, along y.
    let mut passed: BTreeMap<u16, [Vec<Area>; 2]> = BTreeMap::new();
    for lines in stages.iter().flat_map(|stage| &stage.parts).filter_map(carried) {
        for stream in &lines.streams {
            let (first, count) = (stream.low, stream.high - stream.low + 1);
            let area = match lines.axis {
                Axis::X => Area { x: lines.area.x + first, columns: count, ..lines.area },
                Axis::Y => Area { y: lines.area.y + first, rows: count, ..lines.area },
            };
            let known = &mut passed.entry(stream.color).or_default()[usize::from(lines.axis == Axis::Y)];
            if known.last() != Some(&area) {
                known.push(area);
            }
        }
    }
    passed.into_values().any(|[rows, columns]| rows.iter().any(|row| columns.iter().any(|column| row.overlaps(column))))
}

/// What is to be noted along an axis.
fn notes(stages: &[&Stage], axis: Axis) -> Notes {
    let mut notes = Notes::default();
    let mut count = 0;
    let along = |stage: &Stage, axis: Axis| stage.parts.iter().filter_map(carried).any(|lines| lines.axis == axis);
    for stage in stages {
        let own = along(stage, axis);
        notes.ends.push(own.then_some(count));
        count += u32::from(own);
        let both = own && along(stage, axis.across());
        notes.operations.push(both.then_some(count));
        if both {
            let most =
                |lines: &Lines| (0..lines.length()).map(|place| lines.operations(place).len()).max().unwrap_or(0);
            count += 1 + stage.parts.iter().filter_map(carried).map(|lines| most(lines) as u32).sum::<u32>();
        }
    }
    notes.count = count as usize;
    notes
}

impl<'a> Sides<'a> {
    /// Nothing where cores wait for neighbours or take part in a broadcast over both axes, or where a router has a
    /// color along both.
    pub(super) fn new(
        mesh: &'a Mesh,
        script: &'a Script<'a>,
        stages: impl Iterator<Item = &'a Stage>,
        area: Area,
    ) -> Option<Self> {
        let stages: Vec<&Stage> = stages.collect();
        for part in stages.iter().flat_map(|stage| &stage.parts) {
            match part {
                Part::Meet { .. } => return None,
                Part::Carry(lines) if lines.spread.is_some() => return None,
                Part::Busy { .. } | Part::Carry(_) => {}
            }
        }
        if color_along_both(&stages) {
            return None;
        }
        // Those that come first in the program first; steps without transfers are counted by them.
        let first = stages.iter().flat_map(|stage| &stage.parts).find_map(carried).map_or(Axis::X, |lines| lines.axis);
        let mut sides = Vec::new();
        for axis in [first, first.across()] {
            let notes = notes(&stages, axis);
            if axis != first && notes.count == 0 {
                continue;
            }
            let words = notes.count.checked_mul(area.columns as usize * area.rows as usize);
            let words = words.filter(|words| *words <= MOST_NOTED)?;
            let side = Side {
                axis,
                area,
                notes,
                noted: vec![NEVER; words],
                known: Vec::new(),
                by_inputs: FxHashMap::default(),
                of_line: Vec::new(),
                counts_others: axis == first,
            };
            sides.push(side);
        }
        Some(Self { mesh, script, stages, sides })
    }

    /// Runs rows and columns in turn; nothing where that comes to no end.
    pub(super) fn run(mut self, sheet: Option<&Sheet>, say: &mut impl FnMut(Tick)) -> Option<Self> {
        if self.sides.len() < 2 {
            // Nobody is waited for.
            self.sides.iter_mut().for_each(|side| side.noted.clear());
        }
        for _ in 0..TURNS * (self.stages.len() + 2) {
            let mut changed = false;
            for side in 0..self.sides.len() {
                changed |= self.turn(side, sheet, say).ok()?;
            }
            if !changed {
                return Some(self);
            }
        }
        None
    }

    /// The sides, where all their lines have come to the end.
    pub(super) fn done(self) -> Result<Vec<Side>, Contended> {
        let complete = |side: &Side| side.known.iter().all(|known| known.ran.complete);
        if self.sides.iter().all(complete) { Ok(self.sides) } else { Err(Contended::Stuck) }
    }

    /// What a line's course depends on, and when its cores become ready at the earliest.
    fn inputs(&self, side: &Side, others: Option<&Side>, number: usize, recorded: bool) -> (Vec<Tick>, Tick) {
        let (mesh, area) = (self.mesh, side.area);
        let line = side.line(number);
        let ready = |place: usize| {
            let (x, y) = (place % area.columns as usize, place / area.columns as usize);
            mesh.ready.get((area.y as usize + y) * mesh.columns + area.x as usize + x)
        };
        let earliest = side.places(number).map(ready).min().unwrap_or(0);
        let mut inputs: Vec<Tick> = Vec::new();
        // Which parts reach it, and whether its cores have something to do in those along the other axis.
        inputs.extend(self.stages.iter().flat_map(|stage| &stage.parts).map(|part| match carried(part) {
            _ if !part.area().overlaps(&line) => 0,
            Some(lines)
                if lines.axis != side.axis
                    && lines.operations_at(line.x.max(lines.area.x), line.y.max(lines.area.y)).is_empty() =>
            {
                1
            }
            _ => 2,
        }));
        inputs.extend(side.places(number).map(|place| ready(place) - earliest));
        if let Some(others) = others {
            let after = |end: &Tick| if *end == NEVER { NEVER } else { end.wrapping_sub(earliest) };
            for place in side.places(number) {
                inputs.extend(others.of_place(place).iter().map(after));
            }
        }
        if recorded {
            // What is recorded lies in bins of time, which cannot be moved.
            inputs.push(earliest);
        }
        (inputs, earliest)
    }

    /// Runs the lines of a side to which something else happens than before. Whether there were any.
    fn turn(&mut self, index: usize, sheet: Option<&Sheet>, say: &mut impl FnMut(Tick)) -> Result<bool, Contended> {
        let this = &*self;
        let (side, others) = match (this.sides.as_slice(), index) {
            ([first, second], 0) => (first, Some(second)),
            ([first, second], _) => (second, Some(first)),
            (sides, _) => (sides.first().ok_or(Contended::Stuck)?, None),
        };
        let inputs: Vec<(Vec<Tick>, Tick)> = (0..side.count())
            .into_par_iter()
            .map(|number| this.inputs(side, others, number, sheet.is_some()))
            .collect();
        let mut before: FxHashMap<Vec<Tick>, usize> = FxHashMap::default();
        // Of the lines, those that are unlike all others, with what is known of them from before.
        let mut unlike: Vec<(usize, Option<usize>)> = Vec::new();
        let mut of_line = Vec::with_capacity(inputs.len());
        for (number, (inputs, earliest)) in inputs.into_iter().enumerate() {
            let like = match before.get(&inputs) {
                Some(like) => *like,
                None => {
                    unlike.push((number, side.by_inputs.get(&inputs).copied()));
                    before.insert(inputs, unlike.len() - 1);
                    unlike.len() - 1
                }
            };
            of_line.push((like, earliest));
        }
        let new: Vec<usize> = unlike.iter().filter(|(_, known)| known.is_none()).map(|(number, _)| *number).collect();
        let same = new.is_empty() && of_line.len() == side.of_line.len() && {
            let as_before = |&(like, _): &(usize, Tick)| unlike[like].1;
            of_line.iter().zip(&side.of_line).all(|(now, then)| as_before(now) == Some(then.0))
        };
        if same {
            return Ok(false);
        }
        let mut ran = Vec::with_capacity(new.len());
        // So many at once that a report comes now and then.
        for some in new.chunks(16 * rayon::current_num_threads()) {
            let some: Vec<Result<Known, Contended>> =
                some.par_iter().map(|&number| this.run_line(side, others, number, sheet)).collect();
            for known in some {
                let known = known?;
                say(known.ran.done.iter().copied().max().unwrap_or(0));
                ran.push(known);
            }
        }
        let Some(side) = self.sides.get_mut(index) else { return Ok(false) };
        let mut old: Vec<Option<Known>> = std::mem::take(&mut side.known).into_iter().map(Some).collect();
        let mut ran = ran.into_iter();
        for (_, known) in unlike {
            let known = match known {
                Some(known) => old.get_mut(known).and_then(Option::take),
                None => ran.next(),
            };
            side.known.push(known.ok_or(Contended::Stuck)?);
        }
        (side.by_inputs, side.of_line) = (before, of_line);
        if !side.noted.is_empty() {
            let (mut all, count) = (std::mem::take(&mut side.noted), side.notes.count);
            for number in 0..side.count() {
                let OfLine { ran, later, .. } = side.of(number);
                for (place, own) in side.places(number).zip(ran.noted.chunks(count)) {
                    let then = |end: &Tick| if *end == NEVER { NEVER } else { end.saturating_add_signed(later) };
                    let to = &mut all[place * count..(place + 1) * count];
                    to.iter_mut().zip(own.iter().map(then)).for_each(|(to, end)| *to = end);
                }
            }
            side.noted = all;
        }
        Ok(true)
    }

    fn run_line(
        &self,
        side: &Side,
        others: Option<&Side>,
        number: usize,
        sheet: Option<&Sheet>,
    ) -> Result<Known, Contended> {
        let (mesh, area) = (self.mesh, side.line(number));
        let at = |x: u32, y: u32| mesh.ready.get(y as usize * mesh.columns + x as usize);
        let (mut noted, none) = (Vec::new(), Notes::default());
        if let Some(others) = others {
            side.places(number).for_each(|place| noted.extend_from_slice(others.of_place(place)));
        }
        let share = Share {
            axis: side.axis,
            own: &side.notes,
            others: others.map_or(&none, |others| &others.notes),
            noted: &noted,
            counts_others: side.counts_others,
        };
        let ran = run_window(self.script, area, at, sheet.map(Sheet::blank), Some(share), &mut |_| ());
        // What cannot end alone, ends or says why in the run of the whole program.
        let ran = ran.map_err(|_| Contended::Stuck)?;
        let ready = (area.x..area.x + area.columns).flat_map(|x| (area.y..area.y + area.rows).map(move |y| (x, y)));
        let earliest = ready.map(|(x, y)| at(x, y)).min().unwrap_or(0);
        Ok(Known { earliest, first: i64::from(area.y) * mesh.columns as i64 + i64::from(area.x), ran })
    }
}
