//! Packets behind the head of a queue: one pool for the whole mesh, so that an idle router owns no slots.
//!
//! Each queue is a ring of linked slots of which the router keeps the last; the last one's successor is the first.
//! Depth limits are not kept here: credits keep them.

use super::router::Packet;

/// No slot: an empty ring, or the end of the free slots.
pub(crate) const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Slot {
    packet: Packet,
    next: u32,
}

/// The pool of slots.
#[derive(Debug, Clone)]
pub(crate) struct WaitingPool {
    slots: Vec<Slot>,
    free: u32,
}

impl WaitingPool {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE }
    }

    /// Appends a packet to the ring that ends in `last`.
    #[inline]
    pub(crate) fn push(&mut self, last: &mut u32, packet: Packet) {
        let slot = if self.free == NONE {
            self.slots.push(Slot { packet, next: NONE });
            (self.slots.len() - 1) as u32
        } else {
            let slot = self.free;
            self.free = self.slots[slot as usize].next;
            self.slots[slot as usize].packet = packet;
            slot
        };
        if *last == NONE {
            self.slots[slot as usize].next = slot;
        } else {
            self.slots[slot as usize].next = self.slots[*last as usize].next;
            self.slots[*last as usize].next = slot;
        }
        *last = slot;
    }

    /// Takes the first packet of the ring that ends in `last`.
    #[inline]
    pub(crate) fn pop(&mut self, last: &mut u32) -> Option<Packet> {
        if *last == NONE {
            return None;
        }
        let first = self.slots[*last as usize].next;
        let Slot { packet, next } = self.slots[first as usize];
        if first == *last {
            *last = NONE;
        } else {
            self.slots[*last as usize].next = next;
        }
        self.slots[first as usize].next = self.free;
        self.free = first;
        Some(packet)
    }

    /// Packets in the ring that ends in `last`. For checks: walks the ring.
    pub(crate) fn count(&self, last: u32) -> u32 {
        if last == NONE {
            return 0;
        }
        let (mut count, mut slot) = (1, self.slots[last as usize].next);
        while slot != last {
            count += 1;
            slot = self.slots[slot as usize].next;
        }
        count
    }

    /// Bytes that the pool holds.
    pub(crate) const fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_first_in_first_out_and_slots_are_used_again() {
        let packet = |tag| Packet { tag, ..Packet::NOTHING };
        let mut pool = WaitingPool::new();
        let (mut one, mut two) = (NONE, NONE);
        for round in 0..100 {
            for tag in 0..5 {
                pool.push(&mut one, packet(10 * round + tag));
                pool.push(&mut two, packet(tag));
            }
            assert_eq!(pool.count(one), 5);
            for tag in 0..5 {
                assert_eq!(pool.pop(&mut one).map(|packet| packet.tag), Some(10 * round + tag));
                assert_eq!(pool.pop(&mut two).map(|packet| packet.tag), Some(tag));
            }
            assert_eq!(pool.pop(&mut one).map(|packet| packet.tag), None);
        }
        assert_eq!(pool.slots.len(), 10);
    }
}
