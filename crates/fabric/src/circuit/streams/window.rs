//! Steps that contend, wavelet by wavelet: from the state that the mesh has come to, and back into it.
//!
//! That is exact as long as the steps meet nothing that earlier ones have left on the links and in the queues: the first
//! wavelet of each of their streams comes to each router after the last earlier one of its color is through, and finds
//! the links that it wants free of earlier ones. This is what the engine of streams asks of every stream.

use wafersim_program::Axis;

use super::joint::around;
use super::{Contended, Mesh, State, Workspace, in_pieces};
use crate::circuit::lowered::{Lowered, Part};
use crate::circuit::route::Area;
use crate::circuit::wavelets::{Ran, Script, run_window};

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
                    for number in range {
                        let line = match axis {
                            Axis::X => Area { y: area.y + number as u32, ..line },
                            Axis::Y => Area { x: area.x + number as u32, ..line },
                        };
                        mesh.window(&script, line, work)?;
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
            Part::Carry(lines) if axis.is_none_or(|axis| axis == lines.axis) => axis = Some(lines.axis),
            Part::Carry(_) | Part::Meet { .. } => return None,
        }
    }
    axis
}

impl Mesh {
    /// Runs the steps of a script on an area.
    fn window(&self, script: &Script<'_>, area: Area, work: &mut Workspace) -> Result<(), Contended> {
        let ready = |x: u32, y: u32| self.ready.get(y as usize * self.columns + x as usize);
        // What cannot end alone, ends or says why in the run of the whole program.
        let mut ran = run_window(script, area, ready, work.sheet.take()).map_err(|_| Contended)?;
        let coordinates = |place: u32| (area.x + place % area.columns, area.y + place / area.columns);
        for arrival in &ran.arrivals {
            let (x, y) = coordinates(arrival.place);
            self.passed.at_place(arrival.color, (x, y), arrival.lands)?;
            for direction in (0..4).filter(|direction| arrival.links & (1 << direction) != 0) {
                let (links, own) = self.links(direction, x, y);
                if arrival.lands < links.free[direction & 1].get(own) {
                    return Err(Contended);
                }
            }
        }
        work.sheet = ran.sheet.take();
        work.tally.add(&ran.tally);
        self.take_over(&ran, area);
        work.done.iter_mut().zip(&ran.done).for_each(|(latest, &done)| *latest = done.max(*latest));
        Ok(())
    }

    /// The links of a direction's axis, and the index of a place there.
    fn links(&self, direction: usize, x: u32, y: u32) -> (&super::Links, usize) {
        let (x, y) = (x as usize, y as usize);
        let own = if direction < 2 { y * self.columns + x } else { x * self.rows + y };
        (&self.along[direction >> 1], own)
    }

    fn take_over(&self, ran: &Ran, area: Area) {
        for local in 0..area.columns as usize * area.rows as usize {
            let (x, y) = (area.x + local as u32 % area.columns, area.y + local as u32 / area.columns);
            let place = y as usize * self.columns + x as usize;
            self.ready.set(place, ran.ready(local));
            self.busy.set(place, self.busy.get(place) + ran.maps.busy[local]);
            self.stalled.set(place, self.stalled.get(place) + ran.maps.stalled[local]);
            self.deepen(place, ran.maps.queue[local]);
            for (direction, free) in ran.free(local).into_iter().enumerate() {
                if free > 0 {
                    let (links, own) = self.links(direction, x, y);
                    links.free[direction & 1].set(own, free);
                    let used = &links.used[direction & 1];
                    used.set(own, used.get(own).saturating_add(ran.maps.links[direction][local]));
                }
            }
            for (color, moment) in ran.passed(local) {
                self.passed.until_at(color, (x, y), moment);
            }
        }
    }
}
