//! The streams of lines, one line after the other: first wavelets forwards, last ones with what holds them up.

use wafersim_program::Axis;

use super::joint::Joint;
use super::passed::LineAddress;
use super::{Contended, Leaves, Line, Point, Times};
use crate::circuit::recorder::{Span, Sum};
use crate::circuit::route::{CoreOperation, Lines};
use crate::circuit::timing::{Tick, Timing};

/// Numbers of the lines across the axis.
pub(super) fn across(lines: &Lines) -> (u32, u32) {
    let area = lines.area;
    match lines.axis {
        Axis::X => (area.y, area.y + area.rows),
        Axis::Y => (area.x, area.x + area.columns),
    }
}

/// Whether lines can be run as streams.
pub(super) fn check(lines: &Lines, timing: &Timing) -> Result<(), Contended> {
    let most = lines.streams.iter().map(|stream| stream.wavelets).max().unwrap_or(0);
    let deep = timing.queues_cover_hops() || most <= timing.queue;
    if lines.ordered && deep { Ok(()) } else { Err(Contended::Here) }
}

impl Times<'_> {
    /// Calls `each` with line of the block, position and place for all places of `count` lines from `number` on, in the
    /// order in which the places lie in memory as far as can be; positions of a line come in order.
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

    /// Neighbouring lines of a stage that is this part alone.
    pub(super) fn alone(&mut self, number: u32, count: usize) -> Result<Tick, Contended> {
        let (mesh, columns) = (self.mesh, self.mesh.columns);
        let mut lines = std::mem::take(&mut self.work.block);
        let recorded = self.work.sheet.is_some();
        let mut latest = 0;
        lines[..count].iter_mut().for_each(|line| line.start.clear());
        self.each_place(number, count, columns, |line, _, place| lines[line].start.push(mesh.ready.get(place)));
        for (line, number) in lines[..count].iter_mut().zip(number..) {
            line.begin(recorded);
            self.line(line, &self.address(number, columns, mesh.rows))?;
        }
        let mut spans = self.work.sheet.take();
        self.each_place(number, count, columns, |line, index, place| {
            let line = &lines[line];
            mesh.deepen(place, line.queue[index]);
            if line.end[index] > 0 {
                let end = line.end[index] + self.timing.completion;
                mesh.ready.set(place, end);
                latest = latest.max(end);
                mesh.stalled.set(place, mesh.stalled.get(place) + line.stalled[index]);
                if let Some(sheet) = &mut spans {
                    let (start, first) = (line.start[index], line.first[index]);
                    sheet.span(self.at, Span { start, worked: start, first, end, place: place as u32 });
                }
            }
        });
        self.work.sheet = spans;
        self.work.block = lines;
        Ok(latest)
    }

    /// Neighbouring lines of a part of a stage of several.
    pub(super) fn beside(&mut self, number: u32, count: usize, joint: &Joint) -> Result<Tick, Contended> {
        let (mesh, columns) = (self.mesh, self.mesh.columns);
        let mut lines = std::mem::take(&mut self.work.block);
        lines[..count].iter_mut().for_each(|line| line.start.clear());
        self.each_place(number, count, columns, |line, _, place| lines[line].start.push(mesh.ready.get(place)));
        lines[..count].iter_mut().for_each(|line| line.begin(joint.first.is_some()));
        self.each_place(number, count, columns, |line, index, place| {
            lines[line].sends[index] = joint.sends.get(place);
            lines[line].takes[index] = joint.takes.get(place);
        });
        for (line, number) in lines[..count].iter_mut().zip(number..) {
            self.line(line, &self.address(number, columns, mesh.rows))?;
        }
        self.each_place(number, count, columns, |line, index, place| {
            let line = &lines[line];
            joint.sends.set(place, line.sends[index]);
            joint.takes.set(place, line.takes[index]);
            joint.end.set(place, joint.end.get(place).max(line.end[index]));
            if let Some(first) = &joint.first {
                first.set(place, first.get(place).min(line.first[index]));
            }
            mesh.stalled.set(place, mesh.stalled.get(place) + line.stalled[index]);
            mesh.deepen(place, line.queue[index]);
        });
        self.work.block = lines;
        Ok(0)
    }

    /// All streams of one line, which begins at `base` in the arrays of its axis.
    fn line(&mut self, line: &mut Line, at: &LineAddress) -> Result<(), Contended> {
        let base = at.own;
        let links = &self.mesh.along[usize::from(self.lines.axis == Axis::Y)];
        let passed = &self.mesh.passed;
        self.work.points.clear();
        let mut waited = None;
        for index in 0..self.lines.streams.len() {
            let stream = self.lines.streams[index];
            let source = stream.source as usize;
            let operation = self.lines.operations(source).iter().find(|operation| match operation {
                CoreOperation::Send { stream } | CoreOperation::Forward { send: stream, .. } => *stream == index as u32,
                CoreOperation::Take { .. } => false,
            });
            let launch = self.lines.launch;
            let at_core = match operation {
                Some(CoreOperation::Send { .. }) => {
                    if !self.work.points.is_empty() {
                        return Err(Contended::Here);
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
                Some(CoreOperation::Forward { .. }) => {
                    let Some(taken) = self.work.points.last() else { return Err(Contended::Here) };
                    if taken.position != stream.source || !matches!(taken.what, Leaves::Forwarded) {
                        return Err(Contended::Here);
                    }
                    taken.first + self.timing.ramp_in + self.lines.combine + self.timing.ramp_out
                }
                _ => return Err(Contended::Here),
            };
            // Two directions: up is walked first, down is a list of its own that must not hold the sender up.
            let (up, down) = (stream.high > stream.source, stream.low < stream.source);
            let what = match (up, down) {
                (true, true) => Leaves::BothLinks,
                (true, false) => Leaves::Link(0),
                _ => Leaves::Link(1),
            };
            for (wanted, direction) in [(up, 0), (down, 1)] {
                if wanted && at_core < links.free[direction].get(base + source) {
                    return Err(self.on_link(direction, stream.source, at));
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
                self.walk(index as u32, direction, at_core, line, at, &mut waited)?;
                if up && down {
                    // The points of this direction: finished here, after a look at whether they hold the sender up.
                    let n = stream.wavelets;
                    if waited.is_some() && self.last_at(fork - 1, n, stream.period) > at_core + (n - 1) * stream.period
                    {
                        return Err(Contended::Here);
                    }
                    self.finish(fork, waited, line, at, index);
                    self.work.points.truncate(fork);
                    waited = was_waited;
                }
            }
            if matches!(self.work.points.last(), Some(Point { what: Leaves::Forwarded, .. })) {
                continue;
            }
            self.finish(0, waited, line, at, index);
            self.work.points.clear();
            waited = None;
        }
        if self.work.points.is_empty() { Ok(()) } else { Err(Contended::Here) }
    }

    /// The first wavelet's way from the sender's router in one direction.
    fn walk(
        &mut self,
        index: u32,
        direction: usize,
        leaves: Tick,
        line: &mut Line,
        at: &LineAddress,
        waited: &mut Option<usize>,
    ) -> Result<(), Contended> {
        let base = at.own;
        let links = &self.mesh.along[usize::from(self.lines.axis == Axis::Y)];
        let passed = &self.mesh.passed;
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
                        CoreOperation::Take { stream, gap } if stream == index => {
                            first = landed.max(line.takes[place].max(start) + gap);
                            if last {
                                what = Leaves::Taken;
                            }
                        }
                        CoreOperation::Forward { take, .. } if take == index => {
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
            if !last && landed < links.free[direction].get(base + place) {
                return Err(self.on_link(direction, position, at));
            }
            self.work.points.push(Point { first, depth: self.timing.queue, position, color: stream.color, what });
        }
        Ok(())
    }

    /// The link of a position, upwards (0) or downwards (1), is still in use.
    fn on_link(&self, direction: usize, position: u32, at: &LineAddress) -> Contended {
        let first = if self.lines.axis == Axis::X { 0 } else { 2 };
        Contended::on_link(first + direction, at.place(position, self.mesh.columns, self.mesh.rows))
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

    /// How many wavelets have landed in the queue of a point and not left it, at most: before each departure, those
    /// that landed until then. All times are runs of constant period, which begin anew (later) where a blockage further
    /// on reaches back.
    fn deepest(&self, point: usize, n: u64, period: Tick, blocked: bool) -> u64 {
        let points = &self.work.points;
        let (before, here) = (&points[point - 1], &points[point]);
        let landed = before.first + self.timing.hop;
        if !blocked {
            let waits = here.first.saturating_sub(landed);
            return if waits < period { 1 } else { (waits / period + 1).min(n) };
        }
        let arrivals = self.runs(point - 1, n, period);
        let departures = self.runs(point, n, period);
        let end = |runs: &[(u64, Tick)], index: usize| runs.get(index + 1).map_or(n, |&(from, _)| from);
        let mut deepest = 1;
        for &(left_from, left) in &departures {
            for (index, &(landed_from, landed)) in arrivals.iter().enumerate() {
                let Some(ahead) = left.checked_sub(landed + self.timing.hop).map(|time| time / period) else {
                    continue;
                };
                let first = left_from.max(landed_from.saturating_sub(ahead));
                let last = (end(&arrivals, index) - 1).min(first + ahead);
                deepest = deepest.max((last + 1).saturating_sub(first));
            }
        }
        deepest
    }

    /// When the wavelets leave a point: runs, each with the number of its first wavelet and the moment at which wavelet
    /// 0 would have left in it.
    fn runs(&self, point: usize, n: u64, period: Tick) -> Vec<(u64, Tick)> {
        let mut runs: Vec<(u64, Tick)> = Vec::new();
        let (mut behind, mut latest) = (0, 0);
        for (steps, after) in self.work.points[point..].iter().enumerate() {
            if steps > 0 {
                behind += after.depth;
            }
            if behind >= n {
                break;
            }
            let moment = after.first + steps as u64 * self.timing.credit;
            // `behind` wavelets further back the same place is free.
            let Some(base) = moment.checked_sub(behind * period).filter(|&base| base > latest || steps == 0) else {
                continue;
            };
            latest = base;
            runs.push((behind, base));
        }
        runs
    }

    /// Writes down the ends of the points from `from` on. All streams of a list have the same wavelets and period.
    fn finish(&mut self, from: usize, waited: Option<usize>, line: &mut Line, at: &LineAddress, index: usize) {
        let base = at.own;
        let links = &self.mesh.along[usize::from(self.lines.axis == Axis::Y)];
        let passed = &self.mesh.passed;
        let stream = self.lines.streams[index];
        let (n, period) = (stream.wavelets, stream.period);
        let timing = self.timing;
        let run = (n - 1) * period;
        self.work.last.clear();
        let count = |wavelets: u64| wavelets.min(u64::from(u32::MAX)) as u32;
        let mut from_core = from == 0;
        for point in from..self.work.points.len() {
            let blocked = n > timing.queue && waited.is_some_and(|place| place > point);
            let here = self.work.points[point];
            let last = if blocked { self.last_at(point, n, period) } else { here.first + run };
            self.work.last.push(last);
            if !std::mem::replace(&mut from_core, matches!(here.what, Leaves::Memory | Leaves::Forwarded)) {
                // Whether a blockage further on reaches the queue or the one before it.
                let blocked = n > timing.queue && waited.is_some_and(|place| place >= point);
                let words = self.deepest(point, n, period, blocked).min(u64::from(u16::MAX)) as u16;
                let deepest = &mut line.queue[here.position as usize];
                *deepest = words.max(*deepest);
                if let Some(sheet) = &mut self.work.sheet {
                    sheet.depth(here.first, u64::from(words));
                }
            }
        }
        self.work.tally.events += self.work.last.len() as u64;
        if self.work.sheet.is_some() {
            self.record(from, line, n, stream.copies, stream.source);
        }
        let mut from_core = false;
        for (point, &last) in self.work.points[from..].iter().zip(&self.work.last) {
            let place = point.position as usize;
            if std::mem::take(&mut from_core) {
                // What is sent has left the core when the router has passed it on.
                line.end[place] = line.end[place].max(last);
            }
            if point.what != Leaves::Memory {
                passed.until(point.color, point.position, at, last);
            }
            from_core = matches!(point.what, Leaves::Memory | Leaves::Forwarded);
            let mut crossed = |direction: usize| {
                links.free[direction].set(base + place, last + timing.wavelet);
                let used = &links.used[direction];
                used.set(base + place, used.get(base + place).saturating_add(count(n)));
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
            if !point.takes(stream.copies, stream.source) {
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

    /// Notes the points from `from` on, whose last wavelets are known.
    fn record(&mut self, from: usize, line: &mut Line, n: u64, copies: bool, source: u32) {
        let timing = self.timing;
        let Some(sheet) = &mut self.work.sheet else { return };
        // When the wavelets of the present stream were dispatched: of a fork, the sender is not among the points.
        let mut dispatched = (from > 0)
            .then(|| self.work.points[from - 1].first.saturating_sub(timing.ramp_out))
            .map_or((0, 0), |first| (first, first + 1));
        for (point, &last) in self.work.points[from..].iter().zip(&self.work.last) {
            let place = point.position as usize;
            let links = match point.what {
                Leaves::Link(_) => 1,
                Leaves::BothLinks => 2,
                _ => 0,
            };
            if links > 0 {
                sheet.spread(Sum::Links, point.first, last + timing.wavelet, links * n * timing.wavelet);
            }
            let takes = point.takes(copies, source);
            if takes {
                sheet.spread(Sum::Sent, dispatched.0, dispatched.1, n);
                sheet.spread(Sum::Delivered, point.first, last + 1, n);
            }
            if takes || point.what == Leaves::Memory {
                line.first[place] = line.first[place].min(point.first);
            }
            if matches!(point.what, Leaves::Memory | Leaves::Forwarded) {
                dispatched = (point.first, last + 1);
            }
        }
    }
}

impl Point {
    /// Whether the core of the point's place takes the wavelets of a stream.
    const fn takes(&self, copies: bool, source: u32) -> bool {
        match self.what {
            Leaves::Taken | Leaves::Forwarded => true,
            // A copy taken in passing.
            Leaves::Link(_) => copies && self.position != source,
            Leaves::Memory | Leaves::BothLinks => false,
        }
    }
}
