//! Steps that contend, wavelet by wavelet: from the state that the mesh has come to, and back into it.
//!
//! That is exact as long as the steps meet nothing that earlier ones have left on the links and in the queues: the
//! first wavelet of each of their streams comes to each router after the last earlier one of its color is through, and
//! finds the links that it wants free of earlier ones. This is what the engine of streams asks of every stream.

use super::contention::Contended;
use super::joint::around;
use super::sides::{OfLine, Sides};
use super::{Mesh, State, Workspace, in_pieces};
use crate::circuit::lowered::Lowered;
use crate::circuit::outcome::Progress;
use crate::circuit::route::Area;
use crate::circuit::timing::{Tick, cycles};
use crate::circuit::wavelets::{Ran, Script, run_window};

impl State {
    /// The steps from a place of the schedule on.
    pub(super) fn window(
        &mut self,
        lowered: &Lowered,
        at: usize,
        steps: usize,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), Contended> {
        let script = Script::new(lowered, at as u32, (at + steps) as u32);
        let stages = || (at..at + steps).filter_map(|at| lowered.stage(at));
        let area = around(stages().flat_map(|stage| &stage.parts));
        self.works.iter_mut().for_each(|work| work.done = vec![0; steps]);
        let so_far = self.progress(lowered);
        let (mesh, works) = (&self.mesh, &mut self.works);
        let mut say = |latest: Tick| progress(Progress { cycles: cycles(latest).max(so_far.cycles), ..so_far });
        let sheet = works.first().and_then(|work| work.sheet.as_ref());
        match Sides::new(mesh, &script, stages(), area).map(|sides| sides.run(sheet, &mut say)) {
            Some(Some(sides)) => {
                for side in sides.done()? {
                    in_pieces(works, side.count(), usize::MAX, |work, range| {
                        for line in range {
                            let OfLine { ran, later, first } = side.of(line);
                            let area = side.line(line);
                            if let (Some(sheet), Some(noted)) = (&mut work.sheet, &ran.sheet) {
                                let here = area.y as i64 * mesh.columns as i64 + i64::from(area.x);
                                sheet.merge(noted.clone().moved(here - first));
                            }
                            mesh.take_over(ran, later, area, work)?;
                        }
                        Ok(0)
                    })?;
                }
            }
            // Both axes at once.
            _ => mesh.window(&script, area, works.first_mut().ok_or(Contended::Stuck)?, &mut say)?,
        }
        for step in 0..steps {
            let finished = self.works.iter().map(|work| work.done[step]).max();
            self.through(finished.unwrap_or(0));
        }
        Ok(())
    }
}

impl Mesh {
    /// Runs the steps of a script on an area, all wavelets in one go.
    fn window(
        &self,
        script: &Script<'_>,
        area: Area,
        work: &mut Workspace,
        say: &mut impl FnMut(Tick),
    ) -> Result<(), Contended> {
        let ready = |x: u32, y: u32| self.ready.get(y as usize * self.columns + x as usize);
        // What cannot end alone, ends or says why in the run of the whole program.
        let ran = run_window(script, area, ready, work.sheet.take(), None, say);
        let mut ran = ran.ok().filter(|ran| ran.complete).ok_or(Contended::Stuck)?;
        work.sheet = ran.sheet.take();
        self.take_over(&ran, 0, area, work)
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
                    return Err(Contended::on_link(direction, (x, y)));
                }
            }
        }
        for (local, &ready) in ran.ready.iter().enumerate() {
            let (x, y) = coordinates(local as u32);
            let place = y as usize * self.columns + x as usize;
            self.ready.set(place, then(ready));
            self.busy.set(place, self.busy.get(place) + ran.maps.busy[local]);
            self.stalled.set(place, self.stalled.get(place) + ran.maps.stalled[local]);
            self.deepen(place, ran.maps.queue[local]);
            for (direction, free) in ran.free[local].into_iter().enumerate() {
                if free > 0 {
                    let (links, own) = self.links(direction, x, y);
                    links.free[direction & 1].set(own, then(free));
                    let used = &links.used[direction & 1];
                    used.set(own, used.get(own).saturating_add(ran.maps.links[direction][local]));
                }
            }
        }
        for &(local, color, moment) in &ran.passed {
            self.passed.until_at(color, coordinates(local), then(moment));
        }
        work.tally.add(&ran.tally);
        for (latest, &done) in work.done.iter_mut().zip(&ran.done).filter(|(_, done)| **done > 0) {
            *latest = then(done).max(*latest);
        }
        Ok(())
    }
}
