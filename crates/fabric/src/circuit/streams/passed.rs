//! When colors have passed routers: what tells whether a stream meets another one of its color.

use wafersim_program::Axis;

use super::Contended;
use crate::circuit::cells::Counts;
use crate::circuit::lowered::{Lowered, Part};
use crate::circuit::timing::{TICKS_PER_CYCLE, Tick};

/// When the last wavelet of each color had passed each router, in whole cycles, rounded up.
#[derive(Clone)]
pub(super) struct Passed {
    cycles: Counts,
    elements: usize,
    /// Colors that are used along y only: their arrays lie column after column.
    vertical: Vec<bool>,
    columns: usize,
    rows: usize,
    /// How much later than the last wavelet a new one must land: those that have left are not yet credited, and the
    /// router before must know of a place one hop earlier.
    slack: Tick,
}

impl Passed {
    pub(super) fn new(lowered: &Lowered) -> Self {
        let colors = lowered.colors as usize;
        let mut vertical = vec![true; colors];
        for part in lowered.stages.iter().flat_map(|stage| &stage.parts) {
            if let Part::Carry(lines) = part
                && lines.axis == Axis::X
            {
                for stream in &lines.streams {
                    if let Some(only) = vertical.get_mut(stream.color as usize) {
                        *only = false;
                    }
                }
            }
        }
        let timing = &lowered.timing;
        let covered = timing.queue.saturating_sub(1).saturating_mul(timing.wavelet);
        Self {
            cycles: Counts::new(colors * lowered.elements()),
            elements: lowered.elements(),
            vertical,
            columns: lowered.columns as usize,
            rows: lowered.rows as usize,
            slack: (timing.hop + timing.credit).saturating_sub(covered),
        }
    }

    fn index(&self, color: u16, position: u32, at: &LineAddress) -> usize {
        let (base, step) = if at.horizontal || self.vertical[color as usize] { (at.own, 1) } else { (at.row, at.step) };
        color as usize * self.elements + base + position as usize * step
    }

    fn index_of(&self, color: u16, (x, y): (u32, u32)) -> usize {
        let (x, y) = (x as usize, y as usize);
        let place = if self.vertical[color as usize] { x * self.rows + y } else { y * self.columns + x };
        color as usize * self.elements + place
    }

    /// The last wavelet of a color through a router passes at a moment.
    pub(super) fn until(&self, color: u16, position: u32, at: &LineAddress, moment: Tick) {
        self.write(self.index(color, position, at), moment);
    }

    /// The same for a place.
    pub(super) fn until_at(&self, color: u16, place: (u32, u32), moment: Tick) {
        self.write(self.index_of(color, place), moment);
    }

    fn write(&self, index: usize, moment: Tick) {
        let cycles = moment.div_ceil(TICKS_PER_CYCLE).min(Tick::from(u32::MAX)) as u32;
        self.cycles.set(index, cycles);
    }

    /// Whether the color's last stream through a router is through at `moment`.
    pub(super) fn at(&self, color: u16, position: u32, at: &LineAddress, moment: Tick) -> Result<(), Contended> {
        let contended = || Contended::on_color(color, at.place(position, self.columns, self.rows));
        self.through(self.index(color, position, at), moment).then_some(()).ok_or_else(contended)
    }

    /// The same for a place.
    pub(super) fn at_place(&self, color: u16, place: (u32, u32), moment: Tick) -> Result<(), Contended> {
        self.through(self.index_of(color, place), moment).then_some(()).ok_or(Contended::on_color(color, place))
    }

    fn through(&self, index: usize, moment: Tick) -> bool {
        let last = Tick::from(self.cycles.get(index)) * TICKS_PER_CYCLE;
        last == 0 || moment >= last + self.slack
    }
}

/// Where a line lies in arrays: in those of its axis, and in those that lie row after row.
pub(super) struct LineAddress {
    pub(super) horizontal: bool,
    pub(super) own: usize,
    pub(super) row: usize,
    pub(super) step: usize,
}

impl LineAddress {
    /// Column and row of a position on a mesh of so many columns and rows.
    pub(super) const fn place(&self, position: u32, columns: usize, rows: usize) -> (u32, u32) {
        let own = self.own + position as usize;
        if self.horizontal {
            ((own % columns) as u32, (own / columns) as u32)
        } else {
            ((own / rows) as u32, (own % rows) as u32)
        }
    }
}
