//! A broadcast over both axes as one event for each router: a wavelet comes to each by the sender's row and the
//! router's column.

use super::{Contended, Mesh, Workspace, in_pieces};
use crate::circuit::recorder::{Span, Sum};
use crate::circuit::route::{Direction, Lines};
use crate::circuit::timing::{Tick, Timing};

impl Mesh {
    /// Each core takes the wavelets as they land; where one is not ready by then, or a link not free, the broadcast is
    /// run wavelet by wavelet.
    pub(super) fn broadcast(
        &self,
        at: u32,
        lines: &Lines,
        timing: &Timing,
        works: &mut [Workspace],
    ) -> Result<Tick, Contended> {
        let (Some(row), Some(stream)) = (lines.spread, lines.streams.first()) else { return Err(Contended::Here) };
        if !timing.queues_cover_hops() && stream.wavelets > timing.queue {
            return Err(Contended::Here);
        }
        let (area, columns) = (lines.area, self.columns);
        let place = |x: u32, y: u32| (area.y + y) as usize * columns + (area.x + x) as usize;
        let source = place(stream.source, row);
        let first = self.ready.get(source) + lines.launch + stream.lead;
        let run = (stream.wavelets - 1) * stream.period;
        let count = stream.wavelets.min(u64::from(u32::MAX)) as u32;
        // The bits of `out` are the links that a router sends it on.
        let out = |x: u32, y: u32| {
            let in_row = y == row;
            [
                in_row && x >= stream.source && x + 1 < area.columns,
                in_row && x <= stream.source && x > 0,
                y >= row && y + 1 < area.rows,
                y <= row && y > 0,
            ]
        };
        let lands = |x: u32, y: u32| {
            let hops = Tick::from(x.abs_diff(stream.source)) + Tick::from(y.abs_diff(row));
            first + timing.ramp_out + hops * timing.hop
        };
        let width = area.columns as usize;
        let all = |row: usize| (0..area.columns).map(move |x| (x, row as u32));
        // First whether nothing is in the way, then what it leaves: nothing may be written by one that gives up.
        in_pieces(works, area.rows as usize, area.rows as usize * width, |_, range| {
            for (x, y) in range.flat_map(all) {
                let (here, lands) = (place(x, y), lands(x, y));
                if here != source && self.ready.get(here) + lines.launch > lands {
                    return Err(Contended::Here);
                }
                self.passed.at_place(stream.color, (area.x + x, area.y + y), lands)?;
                for direction in (0..4).filter(|direction| out(x, y)[*direction]) {
                    let (links, own) = self.links(direction, area.x + x, area.y + y);
                    if lands < links.free[direction & 1].get(own) {
                        return Err(Contended::on_link(direction, (area.x + x, area.y + y)));
                    }
                }
            }
            Ok(0)
        })?;
        in_pieces(works, area.rows as usize, area.rows as usize * width, |work, range| {
            let mut finished = 0;
            for (x, y) in range.flat_map(all) {
                let (here, lands) = (place(x, y), lands(x, y));
                let last = lands + run;
                work.tally.events += 1;
                let mut left = 0;
                for direction in Direction::ALL.map(|direction| direction as usize) {
                    if out(x, y)[direction] {
                        let (links, own) = self.links(direction, area.x + x, area.y + y);
                        links.free[direction & 1].set(own, last + timing.wavelet);
                        let used = &links.used[direction & 1];
                        used.set(own, used.get(own).saturating_add(count));
                        left += 1;
                    }
                }
                work.tally.wavelet_hops = work.tally.wavelet_hops.saturating_add(left * stream.wavelets);
                self.passed.until_at(stream.color, (area.x + x, area.y + y), last);
                let start = self.ready.get(here);
                // What is sent has left the core when the router has passed it on.
                let end = if here == source { last } else { last + timing.ramp_in + lines.combine };
                let after = end + timing.completion;
                self.ready.set(here, after);
                finished = finished.max(after);
                if here != source {
                    self.deepen(here, 1);
                    work.tally.sent = work.tally.sent.saturating_add(stream.wavelets);
                    work.tally.delivered = work.tally.delivered.saturating_add(stream.wavelets);
                }
                if let Some(sheet) = &mut work.sheet {
                    let began = if here == source { first } else { lands };
                    if left > 0 {
                        sheet.spread(Sum::Links, lands, last + timing.wavelet, left * stream.wavelets * timing.wavelet);
                    }
                    if here != source {
                        sheet.spread(Sum::Sent, first, first + 1, stream.wavelets);
                        sheet.spread(Sum::Delivered, lands, last + 1, stream.wavelets);
                        sheet.depth(lands, 1);
                    }
                    sheet.span(at, Span { start, worked: start, first: began, end: after, place: here as u32 });
                }
            }
            Ok(finished)
        })
    }
}
