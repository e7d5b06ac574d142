//! What is on its way: a place for the events of each of the next cycles.

/// Events of this cycle and of the next ones.
#[derive(Debug, Clone)]
pub(crate) struct Ring<T> {
    slots: Vec<T>,
    now: usize,
}

impl<T: Default> Ring<T> {
    /// A ring for events that come up to `longest_delay` cycles later.
    pub(crate) fn new(longest_delay: u32) -> Self {
        Self { slots: (0..=longest_delay).map(|_| T::default()).collect(), now: 0 }
    }

    /// The events of the cycle `delay` cycles from now.
    #[inline]
    pub(crate) fn at(&mut self, delay: u32) -> &mut T {
        let slot = self.now + delay as usize;
        let slot = if slot >= self.slots.len() { slot - self.slots.len() } else { slot };
        &mut self.slots[slot]
    }

    /// Takes the events of that cycle out, to be put back.
    pub(crate) fn take(&mut self, delay: u32) -> T {
        std::mem::take(self.at(delay))
    }

    /// Goes to the next cycle. The events of this one must be gone: their place becomes that of the longest delay.
    pub(crate) const fn advance(&mut self) {
        self.now = if self.now + 1 == self.slots.len() { 0 } else { self.now + 1 };
    }

    /// The places of all cycles, in no particular order.
    pub(crate) fn slots(&self) -> &[T] {
        &self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_when_they_are_due() {
        let mut ring = Ring::<Vec<u32>>::new(3);
        let mut seen = Vec::new();
        for cycle in 0..50 {
            seen.extend(ring.at(0).drain(..).map(|event| (cycle, event)));
            ring.at(3).push(cycle);
            let mut next = ring.take(1);
            next.push(100 + cycle);
            *ring.at(1) = next;
            ring.advance();
        }
        for cycle in 3..50 {
            assert!(seen.contains(&(cycle, cycle - 3)) && seen.contains(&(cycle, 99 + cycle)));
        }
        assert_eq!(seen.len(), 47 + 49);
        assert_eq!(ring.slots().iter().flatten().count(), 3 + 1);
    }
}
