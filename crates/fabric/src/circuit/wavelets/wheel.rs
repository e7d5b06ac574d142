//! Who is to be looked at when: a wheel of cycles, each with its places by tick. Moments are never compared.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::circuit::timing::Tick;

/// Ticks of a bucket: one cycle.
const TICKS: u64 = 64;
/// Cycles of the wheel; what lies further ahead waits in a heap.
const CYCLES: u64 = 1024;

/// Moments and places, in the order of time; the places of one moment in no order that matters.
#[derive(Debug)]
pub(super) struct Wheel {
    cycle: u64,
    /// Places of the present cycle, by tick.
    present: Vec<Vec<u32>>,
    /// Which of them are not empty.
    ticks: u64,
    /// Tick within the cycle and place.
    ahead: Vec<Vec<(u8, u32)>>,
    /// Which buckets of `ahead` are not empty.
    cycles: [u64; (CYCLES / 64) as usize],
    far: BinaryHeap<Reverse<(Tick, u32)>>,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            cycle: 0,
            present: vec![Vec::new(); TICKS as usize],
            ticks: 0,
            ahead: vec![Vec::new(); CYCLES as usize],
            cycles: [0; (CYCLES / 64) as usize],
            far: BinaryHeap::new(),
        }
    }

    /// A place at a moment that is not before the last one popped.
    pub(super) fn push(&mut self, moment: Tick, place: u32) {
        let cycle = moment / TICKS;
        let tick = (moment % TICKS) as usize;
        if cycle == self.cycle {
            self.present[tick].push(place);
            self.ticks |= 1 << tick;
        } else if cycle - self.cycle < CYCLES {
            let bucket = (cycle % CYCLES) as usize;
            self.ahead[bucket].push((tick as u8, place));
            self.cycles[bucket / 64] |= 1 << (bucket % 64);
        } else {
            self.far.push(Reverse((moment, place)));
        }
    }

    /// The next moment and place.
    pub(super) fn pop(&mut self) -> Option<(Tick, u32)> {
        loop {
            while self.ticks != 0 {
                let tick = self.ticks.trailing_zeros();
                // The last comes first: what was touched last is still in the cache.
                if let Some(place) = self.present[tick as usize].pop() {
                    return Some((self.cycle * TICKS + u64::from(tick), place));
                }
                self.ticks &= !(1 << tick);
            }
            self.advance()?;
        }
    }

    /// Goes to the next cycle in which there is something.
    fn advance(&mut self) -> Option<()> {
        let near = self.next_near();
        let far = self.far.peek().map(|Reverse((moment, _))| moment / TICKS);
        let cycle = near.into_iter().chain(far).min()?;
        self.cycle = cycle;
        if near == Some(cycle) {
            let bucket = (cycle % CYCLES) as usize;
            self.cycles[bucket / 64] &= !(1 << (bucket % 64));
            for (tick, place) in self.ahead[bucket].drain(..) {
                self.present[usize::from(tick)].push(place);
                self.ticks |= 1 << tick;
            }
        }
        while let Some(&Reverse((moment, place))) = self.far.peek() {
            if moment / TICKS != cycle {
                break;
            }
            self.far.pop();
            self.present[(moment % TICKS) as usize].push(place);
            self.ticks |= 1 << (moment % TICKS);
        }
        Some(())
    }

    /// The next cycle of the wheel in which there is something.
    fn next_near(&self) -> Option<u64> {
        let words = self.cycles.len() as u64;
        let from = self.cycle % CYCLES;
        for step in 0..=words {
            let index = (from / 64 + step) % words;
            let mut word = self.cycles[index as usize];
            if step == 0 {
                // The present cycle's own bit is never set: what comes for it goes into `present`.
                word &= u64::MAX << (from % 64);
            } else if step == words {
                word &= !(u64::MAX << (from % 64));
            }
            if word != 0 {
                let bucket = index * 64 + u64::from(word.trailing_zeros());
                return Some(self.cycle + (bucket + CYCLES - from) % CYCLES);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wheel_is_a_heap(
            first in prop::collection::vec((0..500_000u64, 0..9u32), 1..60),
            later in prop::collection::vec((0..90_000u64, 0..9u32), 0..60),
        ) {
            let (mut wheel, mut heap) = (Wheel::new(), BinaryHeap::new());
            for (moment, place) in first {
                wheel.push(moment, place);
                heap.push(Reverse(moment));
            }
            let mut later = later.into_iter();
            while let Some((moment, _)) = wheel.pop() {
                prop_assert_eq!(heap.pop(), Some(Reverse(moment)));
                if let Some((delay, place)) = later.next() {
                    wheel.push(moment + delay, place);
                    heap.push(Reverse(moment + delay));
                }
            }
            prop_assert!(heap.is_empty());
        }
    }
}
