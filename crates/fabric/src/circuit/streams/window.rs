//! Steps that contend, wavelet by wavelet: from the state that the mesh has come to, and back into it.
//!
//! That is exact as long as the steps meet nothing that earlier ones have left on the links and in the queues: the first
//! wavelet of each of their streams comes to each router after the last earlier one of its color is through, and finds
//! the links that it wants free of earlier ones. This is what the engine of streams asks of every stream.

use super::joint::around;
use super::{Contended, Mesh, State, Workspace, in_pieces};
use crate::circuit::lowered::{Lowered, Part};
use crate::circuit::route::Area;
use crate::circuit::timing::Tick;
use crate::circuit::wavelets::{Ran, Script, run_window};

impl State {
    /// The steps from a place of the schedule on.
    pub(super) fn window(&mut self, lowered: &Lowered, at: usize, steps: usize) -> Result<(), Contended> {
        let script = Script::new(lowered, at as u32, (at + steps) as u32);
        let stages = || (at..at + steps).filter_map(|at| lowered.stage(at));
        let mut parts = stages().flat_map(|stage| &stage.parts);
        if let (Some(Part::Carry(lines)), None) = (parts.next(), parts.next()) {
            // Lines of one step have nothing to do with one another.
            let (first, end) = super::line::across(lines);
            let (count, mesh) = ((end - first) as usize, &self.mesh);
            let finished = in_pieces(&mut self.works, count, usize::MAX, |work, range| {
                let mut latest = 0;
                for number in range {
                    let area = lines.line_area(first + number as u32);
                    latest = latest.max(mesh.window(&script, area, work)?.into_iter().max().unwrap_or(0));
                }
                Ok(latest)
            })?;
            self.through(finished);
            return Ok(());
        }
        let area = around(stages().flat_map(|stage| &stage.parts));
        let Some(work) = self.works.first_mut() else { return Err(Contended) };
        for finished in self.mesh.window(&script, area, work)? {
            self.through(finished);
        }
        Ok(())
    }
}

impl Mesh {
    /// Runs the steps of a script on an area: when the last core is through with each.
    fn window(&self, script: &Script<'_>, area: Area, work: &mut Workspace) -> Result<Vec<Tick>, Contended> {
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
        Ok(ran.done)
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
