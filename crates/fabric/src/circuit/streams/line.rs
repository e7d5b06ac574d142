//! The streams of lines, one line after the other: first wavelets forwards, last ones with what holds them up.

use wafersim_program::Axis;

use super::passed::{LineAddress, Passed};
use super::{BLOCK, Contended, Joint, Leaves, Line, Links, Mesh, Point, Times};
use crate::circuit::route::Operation;
use crate::circuit::timing::{TICKS_PER_CYCLE, Tick};

impl Times<'_> {
    /// Numbers of the lines across the axis, and the place of a position of a line.
    fn across(&self) -> (u32, u32) {
        let area = self.lines.area;
        match self.lines.axis {
            Axis::X => (area.y, area.y + area.rows),
            Axis::Y => (area.x, area.x + area.columns),
        }
    }

    /// Calls `each` with line of the block, position and place for all places of `count` lines from `number` on, in the order
    /// in which the places lie in memory as far as can be; positions of a line come in order.
    fn each_place(&self, number: u32, count: usize, columns: usize, mut each: impl FnMut(usize, usize, usize)) {
        let area = self.lines.area;
        let (number, length) = (number as usize, self.lines.length());
        match self.lines.axis {
            Axis::X => {
                for line in 0..count {
                    let first = (number + line) * columns + area.x as usize;
                    (0..length).for_each(|index| each(line, index, first + index));
                }
            }
            Axis::Y => {
                for index in 0..length {
                    let first = (area.y as usize + index) * columns + number;
                    (0..count).for_each(|line| each(line, index, first + line));
                }
            }
        }
    }

    fn address(&self, number: u32, columns: usize, rows: usize) -> LineAddress {
        let (area, number) = (self.lines.area, number as usize);
        match self.lines.axis {
            Axis::X => {
                let own = number * columns + area.x as usize;
                LineAddress { horizontal: true, own, row: own, step: 1 }
            }
            Axis::Y => LineAddress {
                horizontal: false,
                own: number * rows + area.y as usize,
                row: area.y as usize * columns + number,
                step: columns,
            },
        }
    }

    /// A stage that is this part alone.
    pub(super) fn alone(&mut self, mesh: &mut Mesh) -> Result<Tick, Contended> {
        self.check()?;
        let columns = mesh.columns;
        let mut lines = std::mem::take(&mut self.work.block);
        let mut latest = 0;
        let (first, end) = self.across();
        for number in (first..end).step_by(BLOCK) {
            let count = BLOCK.min((end - number) as usize);
            lines[..count].iter_mut().for_each(|line| line.start.clear());
            self.each_place(number, count, columns, |line, _, place| lines[line].start.push(mesh.ready[place]));
            for (line, number) in lines[..count].iter_mut().zip(number..) {
                line.begin();
                self.line(line, &self.address(number, columns, mesh.rows), mesh)?;
            }
            self.each_place(number, count, columns, |line, index, place| {
                let line = &lines[line];
                if line.end[index] > 0 {
                    let moment = line.end[index] + self.timing.completion;
                    mesh.ready[place] = moment;
                    latest = latest.max(moment);
                    mesh.stalled[place] += line.stalled[index];
                }
            });
        }
        self.work.block = lines;
        Ok(latest)
    }

    /// A part of a stage of several.
    pub(super) fn beside(&mut self, mesh: &mut Mesh, joint: &mut Joint) -> Result<(), Contended> {
        self.check()?;
        let columns = mesh.columns;
        let mut lines = std::mem::take(&mut self.work.block);
        let (first, end) = self.across();
        for number in (first..end).step_by(BLOCK) {
            let count = BLOCK.min((end - number) as usize);
            lines[..count].iter_mut().for_each(|line| line.start.clear());
            self.each_place(number, count, columns, |line, _, place| lines[line].start.push(mesh.ready[place]));
            lines[..count].iter_mut().for_each(Line::begin);
            self.each_place(number, count, columns, |line, index, place| {
                lines[line].sends[index] = joint.sends[place];
                lines[line].takes[index] = joint.takes[place];
            });
            for (line, number) in lines[..count].iter_mut().zip(number..) {
                self.line(line, &self.address(number, columns, mesh.rows), mesh)?;
            }
            self.each_place(number, count, columns, |line, index, place| {
                let line = &lines[line];
                joint.sends[place] = line.sends[index];
                joint.takes[place] = line.takes[index];
                joint.end[place] = joint.end[place].max(line.end[index]);
                mesh.stalled[place] += line.stalled[index];
            });
        }
        self.work.block = lines;
        Ok(())
    }

    fn check(&self) -> Result<(), Contended> {
        let most = self.lines.streams.iter().map(|stream| stream.wavelets).max().unwrap_or(0);
        let deep = self.timing.queues_cover_hops() || most <= self.timing.queue;
        if self.lines.ordered && deep { Ok(()) } else { Err(Contended) }
    }

    /// All streams of one line, which begins at `base` in the arrays of its axis.
    fn line(&mut self, line: &mut Line, at: &LineAddress, mesh: &mut Mesh) -> Result<(), Contended> {
        let base = at.own;
        let links = &mut mesh.along[usize::from(self.lines.axis == Axis::Y)];
        let passed = &mut mesh.passed;
        self.work.points.clear();
        let mut waited = None;
        for index in 0..self.lines.streams.len() {
            let stream = self.lines.streams[index];
            let source = stream.source as usize;
            let operation = self.lines.operations(source).iter().find(|operation| match operation {
                Operation::Send { stream } | Operation::Forward { send: stream, .. } => *stream == index as u32,
                Operation::Take { .. } => false,
            });
            let launch = self.lines.launch;
            let at_core = match operation {
                Some(Operation::Send { .. }) => {
                    if !self.work.points.is_empty() {
                        return Err(Contended);
                    }
                    let first = line.sends[source].max(line.start[source] + launch) + stream.lead;
                    self.work.points.push(Point {
                        first,
                        depth: u64::MAX,
                        position: stream.source,
                        color: stream.color,
                        what: Leaves::Memory,
                    });
                    first + self.timing.ramp_out
                }
                Some(Operation::Forward { .. }) => {
                    let Some(taken) = self.work.points.last() else { return Err(Contended) };
                    if taken.position != stream.source || !matches!(taken.what, Leaves::Forwarded) {
                        return Err(Contended);
                    }
                    taken.first + self.timing.ramp_in + self.lines.combine + self.timing.ramp_out
                }
                _ => return Err(Contended),
            };
            // Two directions: up is walked first, down is a list of its own that must not hold the sender up.
            let (up, down) = (stream.high > stream.source, stream.low < stream.source);
            let what = match (up, down) {
                (true, true) => Leaves::BothLinks,
                (true, false) => Leaves::Link(0),
                _ => Leaves::Link(1),
            };
            for (wanted, direction) in [(up, 0), (down, 1)] {
                if wanted && at_core < links.free[direction][base + source] {
                    return Err(Contended);
                }
            }
            passed.at(stream.color, stream.source, at, at_core)?;
            self.work.points.push(Point {
                first: at_core,
                depth: self.timing.core_queue,
                position: stream.source,
                color: stream.color,
                what,
            });
            let fork = self.work.points.len();
            for (wanted, direction) in [(up, 0), (down, 1)] {
                if !wanted {
                    continue;
                }
                let was_waited = waited;
                self.walk(index as u32, direction, at_core, line, at, (links, passed), &mut waited)?;
                if up && down {
                    // The points of this direction: finished here, after a look at whether they hold the sender up.
                    let n = stream.wavelets;
                    if waited.is_some() && self.last_at(fork - 1, n, stream.period) > at_core + (n - 1) * stream.period
                    {
                        return Err(Contended);
                    }
                    self.finish(fork, waited, line, at, (links, passed), index);
                    self.work.points.truncate(fork);
                    waited = was_waited;
                }
            }
            if matches!(self.work.points.last(), Some(Point { what: Leaves::Forwarded, .. })) {
                continue;
            }
            self.finish(0, waited, line, at, (links, passed), index);
            self.work.points.clear();
            waited = None;
        }
        if self.work.points.is_empty() { Ok(()) } else { Err(Contended) }
    }

    /// The first wavelet's way from the sender's router in one direction.
    #[allow(clippy::too_many_arguments, reason = "the state of a line, borrowed in pieces")]
    fn walk(
        &mut self,
        index: u32,
        direction: usize,
        leaves: Tick,
        line: &mut Line,
        at: &LineAddress,
        (links, passed): (&mut Links, &mut Passed),
        waited: &mut Option<usize>,
    ) -> Result<(), Contended> {
        let base = at.own;
        let stream = self.lines.streams[index as usize];
        let end = if direction == 0 { stream.high } else { stream.low };
        let mut position = stream.source;
        let mut first = leaves;
        while position != end {
            position = if direction == 0 { position + 1 } else { position - 1 };
            let place = position as usize;
            let landed = first + self.timing.hop;
            let last = position == end;
            first = landed;
            let mut what = Leaves::Link(direction as u8);
            passed.at(stream.color, position, at, landed)?;
            if stream.copies || last {
                let start = line.start[place] + self.lines.launch;
                for operation in self.lines.operations(place) {
                    match *operation {
                        Operation::Take { stream, gap } if stream == index => {
                            first = landed.max(line.takes[place].max(start) + gap);
                            if last {
                                what = Leaves::Taken;
                            }
                        }
                        Operation::Forward { take, .. } if take == index => {
                            first = landed.max(line.takes[place].max(line.sends[place]).max(start));
                            what = Leaves::Forwarded;
                        }
                        _ => {}
                    }
                }
                if first > landed {
                    line.stalled[place] += first - landed;
                    self.work.tally.stalls += 1;
                    *waited = Some(self.work.points.len());
                }
            }
            if !last && landed < links.free[direction][base + place] {
                return Err(Contended);
            }
            self.work.points.push(Point { first, depth: self.timing.queue, position, color: stream.color, what });
        }
        Ok(())
    }

    /// When the last of `n` wavelets leaves a point.
    fn last_at(&self, point: usize, n: u64, period: Tick) -> Tick {
        let mut last = 0;
        let mut behind = 0;
        for (steps, after) in self.work.points[point..].iter().enumerate() {
            if steps > 0 {
                behind += after.depth;
            }
            if behind >= n {
                break;
            }
            last = last.max(after.first + (n - 1 - behind) * period + steps as u64 * self.timing.credit);
        }
        last
    }

    /// Writes down the ends of the points from `from` on. All streams of a list have the same wavelets and period.
    fn finish(
        &mut self,
        from: usize,
        waited: Option<usize>,
        line: &mut Line,
        at: &LineAddress,
        (links, passed): (&mut Links, &mut Passed),
        index: usize,
    ) {
        let base = at.own;
        let stream = self.lines.streams[index];
        let (n, period) = (stream.wavelets, stream.period);
        let timing = self.timing;
        let run = (n - 1) * period;
        self.work.last.clear();
        for point in from..self.work.points.len() {
            let blocked = n > timing.queue && waited.is_some_and(|place| place > point);
            let last = if blocked { self.last_at(point, n, period) } else { self.work.points[point].first + run };
            self.work.last.push(last);
        }
        self.work.tally.events += self.work.last.len() as u64;
        let mut from_core = false;
        for (point, &last) in self.work.points[from..].iter().zip(&self.work.last) {
            let place = point.position as usize;
            if std::mem::take(&mut from_core) {
                // What is sent has left the core when the router has passed it on.
                line.end[place] = line.end[place].max(last);
            }
            if point.what != Leaves::Memory {
                let cycles = last.div_ceil(TICKS_PER_CYCLE).min(Tick::from(u32::MAX)) as u32;
                *passed.place(point.color, point.position, at) = cycles;
            }
            from_core = matches!(point.what, Leaves::Memory | Leaves::Forwarded);
            let mut crossed = |direction: usize| {
                links.free[direction][base + place] = last + timing.wavelet;
                let used = &mut links.used[direction][base + place];
                *used = used.saturating_add(n.min(u64::from(u32::MAX)) as u32);
                self.work.tally.wavelet_hops = self.work.tally.wavelet_hops.saturating_add(n);
            };
            match point.what {
                Leaves::Memory => line.sends[place] = last + period,
                Leaves::Link(direction) => crossed(usize::from(direction)),
                Leaves::BothLinks => {
                    crossed(0);
                    crossed(1);
                }
                Leaves::Taken | Leaves::Forwarded => {}
            }
            let taken = match point.what {
                Leaves::Taken | Leaves::Forwarded => true,
                // A copy taken in passing.
                Leaves::Link(_) => stream.copies && point.position != stream.source,
                Leaves::Memory | Leaves::BothLinks => false,
            };
            if !taken {
                continue;
            }
            self.work.tally.sent = self.work.tally.sent.saturating_add(n);
            self.work.tally.delivered = self.work.tally.delivered.saturating_add(n);
            line.takes[place] = last + period;
            if matches!(point.what, Leaves::Forwarded) {
                line.sends[place] = last + period;
            }
            line.end[place] = line.end[place].max(last + timing.ramp_in + self.lines.combine);
        }
    }
}
