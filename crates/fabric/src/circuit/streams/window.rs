//! Steps that contend, wavelet by wavelet: from the state that the mesh has come to, and back into it.
//!
//! That is exact as long as the steps meet nothing that earlier ones have left on the links and in the queues: the first
//! wavelet of each of their streams comes to each router after the last earlier one of its color is through, and finds
//! the links that it wants free of earlier ones. This is what the engine of streams asks of every stream.

use wafersim_program::Axis;

use super::joint::around;
use super::{Contended, Mesh, State, Workspace, in_pieces};
use crate::circuit::lowered::{Lowered, Part};
use crate::circuit::recorder::Sheet;
use crate::circuit::route::Area;
use crate::circuit::timing::Tick;
use crate::circuit::wavelets::{Ran, Script, run_window};

/// Lines that are remembered, by the times at which their cores become ready.
const MOST_KNOWN: usize = 16;

impl State {
    /// The steps from a place of the schedule on.
    pub(super) fn window(&mut self, lowered: &Lowered, at: usize, steps: usize) -> Result<(), Contended> {
        let script = Script::new(lowered, at as u32, (at + steps) as u32);
        let parts = || (at..at + steps).filter_map(|at| lowered.stage(at)).flat_map(|stage| &stage.parts);
        let (area, mesh) = (around(parts()), &self.mesh);
        self.works.iter_mut().for_each(|work| work.done = vec![0; steps]);
        match only_axis(parts()) {
            // Lines have nothing to do with one another.
            Some(axis) => {
                let (count, line) = match axis {
                    Axis::X => (area.rows, Area { rows: 1, ..area }),
                    Axis::Y => (area.columns, Area { columns: 1, ..area }),
                };
                in_pieces(&mut self.works, count as usize, usize::MAX, |work, range| {
                    let mut known = Vec::new();
                    for number in range {
                        let line = match axis {
                            Axis::X => Area { y: area.y + number as u32, ..line },
                            Axis::Y => Area { x: area.x + number as u32, ..line },
                        };
                        let here: Vec<bool> = parts().map(|part| part.area().overlaps(&line)).collect();
                        mesh.line_window(&script, (line, here), work, &mut known)?;
                    }
                    Ok(0)
                })?;
            }
            None => mesh.window(&script, area, self.works.first_mut().ok_or(Contended)?)?,
        }
        for step in 0..steps {
            let finished = self.works.iter().map(|work| work.done[step]).max();
            self.through(finished.unwrap_or(0));
        }
        Ok(())
    }
}

/// The axis of all parts that move wavelets, if it is one and nobody waits for neighbours.
fn only_axis<'a>(parts: impl Iterator<Item = &'a Part>) -> Option<Axis> {
    let mut axis = None;
    for part in parts {
        match part {
            Part::Busy { .. } => {}
            Part::Carry(lines) if lines.spread.is_none() && axis.is_none_or(|axis| axis == lines.axis) => {
                axis = Some(lines.axis)
            }
            Part::Carry(_) | Part::Meet { .. } => return None,
        }
    }
    axis
}

/// A line that has been run.
struct Known {
    /// Which parts of the steps reach it.
    here: Vec<bool>,
    /// When its cores became ready, after the earliest of them.
    ready: Vec<Tick>,
    earliest: Tick,
    /// Its first place in the mesh.
    first: usize,
    ran: Ran,
}

impl Mesh {
    /// Runs the steps of a script on an area.
    fn window(&self, script: &Script<'_>, area: Area, work: &mut Workspace) -> Result<(), Contended> {
        let ready = |x: u32, y: u32| self.ready.get(y as usize * self.columns + x as usize);
        // What cannot end alone, ends or says why in the run of the whole program.
        let mut ran = run_window(script, area, ready, work.sheet.take()).map_err(|_| Contended)?;
        work.sheet = ran.sheet.take();
        self.take_over(&ran, 0, area, work)
    }

    /// The same for a line. Of lines that the same parts reach and whose cores become ready at the same times but for a common
    /// delay, only the first is run: all that happens on the others is the same, so much later.
    fn line_window(
        &self,
        script: &Script<'_>,
        (area, here): (Area, Vec<bool>),
        work: &mut Workspace,
        known: &mut Vec<Known>,
    ) -> Result<(), Contended> {
        let (columns, places) = (area.columns as usize, area.columns as usize * area.rows as usize);
        let first = area.y as usize * self.columns + area.x as usize;
        let ready = |local: usize| self.ready.get(first + local / columns * self.columns + local % columns);
        let earliest = (0..places).map(ready).min().unwrap_or(0);
        let recorded = work.sheet.is_some();
        let same = |known: &Known| {
            // What is recorded lies in bins of time, which cannot be moved.
            let movable = !recorded || known.earliest == earliest;
            movable
                && known.here == here
                && known.ready.iter().enumerate().all(|(local, &after)| ready(local) - earliest == after)
        };
        let index = match known.iter().position(same) {
            Some(index) => index,
            None => {
                let at = |x: u32, y: u32| self.ready.get(y as usize * self.columns + x as usize);
                let sheet = work.sheet.as_ref().map(Sheet::blank);
                let ran = run_window(script, area, at, sheet).map_err(|_| Contended)?;
                if known.len() >= MOST_KNOWN {
                    known.clear();
                }
                let ready = (0..places).map(|local| ready(local) - earliest).collect();
                known.push(Known { here, ready, earliest, first, ran });
                known.len() - 1
            }
        };
        let Some(known) = known.get(index) else { return Err(Contended) };
        if let (Some(sheet), Some(noted)) = (&mut work.sheet, &known.ran.sheet) {
            sheet.merge(noted.clone().moved(first as i64 - known.first as i64));
        }
        self.take_over(&known.ran, earliest as i64 - known.earliest as i64, area, work)
    }

    /// The links of a direction's axis, and the index of a place there.
    pub(super) fn links(&self, direction: usize, x: u32, y: u32) -> (&super::Links, usize) {
        let (x, y) = (x as usize, y as usize);
        let own = if direction < 2 { y * self.columns + x } else { x * self.rows + y };
        (&self.along[direction >> 1], own)
    }

    /// Writes down what a window has come to, so much later than it ran.
    fn take_over(&self, ran: &Ran, later: i64, area: Area, work: &mut Workspace) -> Result<(), Contended> {
        let then = |moment: Tick| moment.saturating_add_signed(later);
        let coordinates = |local: u32| (area.x + local % area.columns, area.y + local / area.columns);
        for arrival in &ran.arrivals {
            let ((x, y), lands) = (coordinates(arrival.place), then(arrival.lands));
            self.passed.at_place(arrival.color, (x, y), lands)?;
            for direction in (0..4).filter(|direction| arrival.links & (1 << direction) != 0) {
                let (links, own) = self.links(direction, x, y);
                if lands < links.free[direction & 1].get(own) {
                    return Err(Contended);
                }
            }
        }
        for local in 0..area.columns as usize * area.rows as usize {
            let (x, y) = coordinates(local as u32);
            let place = y as usize * self.columns + x as usize;
            self.ready.set(place, then(ran.ready(local)));
            self.busy.set(place, self.busy.get(place) + ran.maps.busy[local]);
            self.stalled.set(place, self.stalled.get(place) + ran.maps.stalled[local]);
            self.deepen(place, ran.maps.queue[local]);
            for (direction, free) in ran.free(local).into_iter().enumerate() {
                if free > 0 {
                    let (links, own) = self.links(direction, x, y);
                    links.free[direction & 1].set(own, then(free));
                    let used = &links.used[direction & 1];
                    used.set(own, used.get(own).saturating_add(ran.maps.links[direction][local]));
                }
            }
            for (color, moment) in ran.passed(local) {
                self.passed.until_at(color, (x, y), then(moment));
            }
        }
        work.tally.add(&ran.tally);
        for (latest, &done) in work.done.iter_mut().zip(&ran.done).filter(|(_, done)| **done > 0) {
            *latest = then(done).max(*latest);
        }
        Ok(())
    }
}
