//! Stages of several parts: vector work beside transfers, and transfers beside each other.

use super::{Contended, Mesh, Workspace, in_pieces};
use crate::circuit::cells::Ticks;
use crate::circuit::lowered::Part;
use crate::circuit::recorder::{Span, Sum};
use crate::circuit::route::Area;
use crate::circuit::timing::{Tick, Timing};

/// State of a stage of several parts, by processing element.
#[derive(Clone)]
pub(super) struct Joint {
    pub(super) sends: Ticks,
    pub(super) takes: Ticks,
    /// End of the fabric operations; 0 where there are none.
    pub(super) end: Ticks,
    /// First wavelet; only where it is recorded.
    pub(super) first: Option<Ticks>,
}

impl Joint {
    pub(super) fn new(elements: usize, recorded: bool) -> Self {
        Self {
            sends: Ticks::new(elements),
            takes: Ticks::new(elements),
            end: Ticks::new(elements),
            first: recorded.then(|| Ticks::new(elements)),
        }
    }
}

/// The smallest area around all parts.
pub(super) fn around<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Area {
    let mut areas = parts.into_iter().map(Part::area);
    let first = areas.next().unwrap_or(Area { x: 0, y: 0, columns: 0, rows: 0 });
    areas.fold(first, |all, area| {
        let (x, y) = (all.x.min(area.x), all.y.min(area.y));
        Area {
            x,
            y,
            columns: (all.x + all.columns).max(area.x + area.columns) - x,
            rows: (all.y + all.rows).max(area.y + area.rows) - y,
        }
    })
}

impl Mesh {
    pub(super) fn side_by_side(
        &self,
        at: u32,
        parts: &[Part],
        joint: &Joint,
        timing: &Timing,
        works: &mut [Workspace],
    ) -> Result<Tick, Contended> {
        let area = around(parts);
        let (rows, width) = (area.rows as usize, area.columns as usize);
        let row = |y: usize| {
            let first = (area.y as usize + y) * self.columns + area.x as usize;
            first..first + width
        };
        in_pieces(works, rows, rows * width, |_, range| {
            for place in range.flat_map(row) {
                let ready = self.ready.get(place);
                joint.sends.set(place, ready);
                joint.takes.set(place, ready);
                joint.end.set(place, 0);
                if let Some(first) = &joint.first {
                    first.set(place, Tick::MAX);
                }
            }
            Ok(0)
        })?;
        for part in parts {
            match part {
                Part::Carry(lines) if lines.spread.is_some() => return Err(Contended::Here),
                Part::Carry(lines) => {
                    self.in_blocks(at, lines, timing, works, |times, number, count| {
                        times.beside(number, count, joint)
                    })?;
                }
                Part::Busy { .. } => {}
                Part::Meet { .. } => return Err(Contended::Here),
            }
        }
        in_pieces(works, rows, rows * width, |work, range| {
            let mut finished = 0;
            for y in range {
                for (x, place) in (area.x..).zip(row(y)) {
                    let busy = |part: &Part| match part {
                        Part::Busy { area: busy, time } if busy.contains(x, area.y + y as u32) => *time,
                        _ => 0,
                    };
                    let time: Tick = parts.iter().map(busy).sum();
                    let (start, end) = (self.ready.get(place), joint.end.get(place));
                    let fabric = if end > 0 { end + timing.completion } else { 0 };
                    let after = (start + time).max(fabric);
                    if after > start {
                        self.ready.set(place, after);
                        self.busy.set(place, self.busy.get(place) + time);
                        finished = finished.max(after);
                        if let Some(sheet) = &mut work.sheet {
                            let worked = start + time;
                            let first = joint.first.as_ref().map_or(Tick::MAX, |first| first.get(place));
                            sheet.spread(Sum::Busy, start, worked, time);
                            sheet.span(at, Span { start, worked, first, end: after, place: place as u32 });
                        }
                    }
                }
            }
            Ok(finished)
        })
    }
}
