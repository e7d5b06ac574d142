//! Stages that move no wavelets: vector work, and meetings of neighbours.

use super::{Mesh, Workspace, in_pieces};
use crate::circuit::recorder::{Span, Sum};
use crate::circuit::route::Area;
use crate::circuit::timing::Tick;

impl Mesh {
    /// All cores of an area are busy.
    pub(super) fn busy(&self, at: u32, area: &Area, time: Tick, works: &mut [Workspace]) -> Tick {
        let (rows, width) = (area.rows as usize, area.columns as usize);
        let done = in_pieces(works, rows, rows * width, |work, range| {
            let mut finished = 0;
            for y in range {
                let first = (area.y as usize + y) * self.columns + area.x as usize;
                for place in first..first + width {
                    let start = self.ready.get(place);
                    let end = start + time;
                    self.busy.set(place, self.busy.get(place) + time);
                    self.ready.set(place, end);
                    finished = finished.max(end);
                    if let Some(sheet) = &mut work.sheet {
                        sheet.spread(Sum::Busy, start, end, time);
                        sheet.span(at, Span { start, worked: end, first: Tick::MAX, end, place: place as u32 });
                    }
                }
            }
            Ok(finished)
        });
        done.unwrap_or(0)
    }

    /// Each waits for those `hops` away along both axes; times are before, way and after.
    pub(super) fn meet(&self, at: u32, area: &Area, hops: u32, times: [Tick; 3], works: &mut [Workspace]) -> Tick {
        let [before, way, after] = times;
        let (width, rows, hops) = (area.columns as usize, area.rows as usize, hops as usize);
        let start = |y: usize| (area.y as usize + y) * self.columns + area.x as usize;
        let told: Vec<Tick> =
            (0..rows).flat_map(|y| (start(y)..start(y) + width).map(|place| self.ready.get(place))).collect();
        let done = in_pieces(works, rows, rows * width, |work, range| {
            let mut latest = 0;
            for y in range {
                for x in 0..width {
                    let mine = y * width + x;
                    let mut heard = told[mine];
                    if x >= hops {
                        heard = heard.max(told[mine - hops]);
                    }
                    if x + hops < width {
                        heard = heard.max(told[mine + hops]);
                    }
                    if y >= hops {
                        heard = heard.max(told[mine - hops * width]);
                    }
                    if y + hops < rows {
                        heard = heard.max(told[mine + hops * width]);
                    }
                    let end = heard + before + way + after;
                    let place = start(y) + x;
                    self.ready.set(place, end);
                    latest = latest.max(end);
                    if let Some(sheet) = &mut work.sheet {
                        let start = told[mine];
                        sheet.span(at, Span { start, worked: start, first: heard, end, place: place as u32 });
                    }
                }
            }
            Ok(latest)
        });
        done.unwrap_or(0)
    }
}
