//! How a wafer is divided into equal slots. It knows nothing of what they hold.

use std::fmt;

use serde::Serialize;
use wafersim_spec::Region;

use crate::machine::Machine;

/// The division of a wafer into equal slots. What integer division leaves at the east and south edges stays unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Arrangement {
    /// Slots side by side.
    pub across: u64,
    /// Slots one below the other.
    pub down: u64,
}

impl Arrangement {
    /// Every way to write `slots` as across x down with at least one processing element a slot, by rising `across`.
    pub fn of_slots(slots: u64, machine: &Machine) -> impl Iterator<Item = Self> {
        let (columns, rows) = (machine.columns, machine.rows);
        (1..=slots.min(columns)).filter(move |across| slots.is_multiple_of(*across)).filter_map(move |across| {
            let down = slots / across;
            (down <= rows).then_some(Self { across, down })
        })
    }

    /// Slots on one wafer.
    pub const fn slots(&self) -> u64 {
        self.across.saturating_mul(self.down)
    }

    /// Columns and rows of a slot.
    pub const fn slot_size(&self, machine: &Machine) -> (u64, u64) {
        (
            machine.columns / if self.across == 0 { 1 } else { self.across },
            machine.rows / if self.down == 0 { 1 } else { self.down },
        )
    }

    /// The rectangle of a slot. Slots run in a snake, west to east and back, so that consecutive slots touch.
    pub fn slot(&self, index: u64, machine: &Machine) -> Region {
        let (columns, rows) = self.slot_size(machine);
        let line = index / self.across.max(1);
        let place = index % self.across.max(1);
        let place = if line.is_multiple_of(2) { place } else { self.across.saturating_sub(1 + place) };
        Region { x: place * columns, y: line * rows, columns, rows }
    }
}

impl fmt::Display for Arrangement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} x {}", self.across, self.down)
    }
}

#[cfg(test)]
mod tests {
    use wafersim_spec::Bytes;

    use super::*;

    #[test]
    fn consecutive_slots_touch_and_none_overlap() {
        let machine = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
        for slots in 1..40 {
            for arrangement in Arrangement::of_slots(slots, &machine) {
                let all: Vec<Region> = (0..slots).map(|index| arrangement.slot(index, &machine)).collect();
                for (index, slot) in all.iter().enumerate() {
                    assert!(slot.x + slot.columns <= 755 && slot.y + slot.rows <= 1170);
                    assert!(all[..index].iter().all(|earlier| !earlier.overlaps(slot)));
                    if let Some(next) = all.get(index + 1) {
                        assert_eq!(slot.x.abs_diff(next.x) / slot.columns + slot.y.abs_diff(next.y) / slot.rows, 1);
                    }
                }
            }
        }
    }

    #[test]
    fn six_slots_can_be_arranged_in_four_ways() {
        let machine = Machine { columns: 10, rows: 10, memory: Bytes(1), free_memory: Bytes(1) };
        let ways: Vec<String> = Arrangement::of_slots(6, &machine).map(|way| way.to_string()).collect();
        assert_eq!(ways, ["1 x 6", "2 x 3", "3 x 2", "6 x 1"]);
        assert_eq!(Arrangement::of_slots(101, &machine).count(), 0);
    }
}
