//! The queue of events: a heap with four children to a node, in order of time; of events at the same time the one that
//! was pushed first comes first. A few thousand events are live at most (passes in flight, users who think), so the
//! heap stays in the first cache, and half the depth of a binary one saves half its misses.

use crate::time::Time;

/// Events in order of time.
#[derive(Debug, Clone)]
pub struct EventQueue<E> {
    heap: Vec<Entry<E>>,
    pushed: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry<E> {
    at: Time,
    order: u64,
    event: E,
}

impl<E> Entry<E> {
    fn is_before(&self, other: &Self) -> bool {
        (self.at, self.order) < (other.at, other.order)
    }
}

const CHILDREN: usize = 4;

impl<E: Copy> Default for EventQueue<E> {
    fn default() -> Self {
        Self { heap: Vec::new(), pushed: 0 }
    }
}

impl<E: Copy> EventQueue<E> {
    /// Adds an event.
    pub fn push(&mut self, at: Time, event: E) {
        let entry = Entry { at, order: self.pushed, event };
        self.pushed += 1;
        let mut place = self.heap.len();
        self.heap.push(entry);
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if !entry.is_before(&self.heap[parent]) {
                break;
            }
            self.heap[place] = self.heap[parent];
            place = parent;
        }
        self.heap[place] = entry;
    }

    /// Time of the next event.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.first().map(|entry| entry.at)
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        let first = *self.heap.first()?;
        let last = self.heap.pop()?;
        if !self.heap.is_empty() {
            self.sink(last);
        }
        Some((first.at, first.event))
    }

    /// Puts an entry in the place of the first and lets it sink.
    fn sink(&mut self, entry: Entry<E>) {
        let length = self.heap.len();
        let mut place = 0;
        loop {
            let children = place * CHILDREN + 1;
            if children >= length {
                break;
            }
            let mut least = children;
            for child in children + 1..(children + CHILDREN).min(length) {
                if self.heap[child].is_before(&self.heap[least]) {
                    least = child;
                }
            }
            if !self.heap[least].is_before(&entry) {
                break;
            }
            self.heap[place] = self.heap[least];
            place = least;
        }
        self.heap[place] = entry;
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Events that were ever pushed.
    pub const fn pushed(&self) -> u64 {
        self.pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The order of a stable sort, whatever is pushed and popped in between.
        #[test]
        fn events_come_in_order(times in prop::collection::vec((0u64..50, any::<bool>()), 0..400)) {
            let mut queue = EventQueue::default();
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (index, (at, pops)) in times.iter().enumerate() {
                queue.push(Time(*at), index);
                model.push((*at, index));
                if *pops {
                    model.sort_unstable();
                    let first = model.remove(0);
                    prop_assert_eq!(queue.pop(), Some((Time(first.0), first.1)));
                }
            }
            model.sort_unstable();
            for first in model {
                prop_assert_eq!(queue.pop(), Some((Time(first.0), first.1)));
            }
            prop_assert!(queue.is_empty());
        }
    }
}
