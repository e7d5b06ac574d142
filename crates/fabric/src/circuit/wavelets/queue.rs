//! The queues of routers: one for each color and input that has carried a wavelet, in a pool.

use std::collections::VecDeque;

use crate::circuit::timing::Tick;

/// Wavelets from the router's own core; 0 to 3 are those that travel east, west, south, north.
pub(super) const FROM_CORE: u8 = 4;

/// A wavelet in a queue or on its way to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wavelet<W> {
    /// When it lands.
    pub(super) lands: Tick,
    /// Place of its stage in the schedule.
    pub(super) at: u32,
    /// Number of its flow, twice, and 1 for the first wavelet of a stream.
    flow: u32,
    /// What it carries.
    pub(super) word: W,
}

impl<W: Copy> Wavelet<W> {
    pub(super) const fn new(lands: Tick, at: u32, flow: u32, first: bool, word: W) -> Self {
        Self { lands, at, flow: flow << 1 | first as u32, word }
    }

    /// The same, one hop further.
    pub(super) const fn landing(self, lands: Tick) -> Self {
        Self { lands, ..self }
    }

    pub(super) const fn flow(&self) -> u32 {
        self.flow >> 1
    }

    pub(super) const fn first(&self) -> bool {
        self.flow & 1 == 1
    }
}

/// A queue.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Queue<W> {
    /// When its first wavelet lands; never without one.
    lands: Tick,
    /// The next queue of the same router, and the next of those that are not empty.
    pub(super) next: u32,
    pub(super) next_active: u32,
    /// The router.
    pub(super) place: u32,
    /// The queue of the next router straight on, as far as it is known: to be verified.
    pub(super) straight: u32,
    /// The switch of its color in its router.
    pub(super) switch: u32,
    /// Physical color.
    pub(super) color: u16,
    /// How its wavelets travel: an index of a direction, or [`FROM_CORE`].
    pub(super) travels: u8,
    /// Whether the router before it waits for a place.
    pub(super) wanted: bool,
    /// Whether it is among those that are not empty.
    pub(super) active: bool,
    /// Wavelets, in the order in which they land.
    wavelets: VecDeque<Wavelet<W>>,
    /// When the router before it hears of places that have become free.
    credits: VecDeque<Tick>,
}

impl<W: Copy> Queue<W> {
    pub(super) fn new(place: u32, color: u16, travels: u8, switch: u32, next: u32) -> Self {
        Self {
            lands: Tick::MAX,
            next,
            next_active: u32::MAX,
            place,
            straight: u32::MAX,
            switch,
            color,
            travels,
            wanted: false,
            active: false,
            wavelets: VecDeque::new(),
            credits: VecDeque::new(),
        }
    }

    /// Makes it another queue of its router; its memory is used again.
    pub(super) fn reuse(&mut self, color: u16, travels: u8, switch: u32) {
        (self.color, self.travels, self.switch, self.wanted) = (color, travels, switch, false);
        self.straight = u32::MAX;
        self.credits.clear();
    }

    /// Whether it is the queue of a place, color and input.
    pub(super) const fn is(&self, place: u32, color: u16, travels: u8) -> bool {
        self.place == place && self.color == color && self.travels == travels
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.lands == Tick::MAX
    }

    /// Whether nothing is in it or on the way back from it.
    pub(super) fn is_spare(&self, now: Tick) -> bool {
        self.is_empty() && self.credits.back().is_none_or(|&heard| heard <= now)
    }

    /// Whether the first wavelet has landed.
    pub(super) const fn has_landed(&self, now: Tick) -> bool {
        self.lands <= now
    }

    /// The wavelet that may leave at `now`.
    pub(super) fn head(&self, now: Tick) -> Option<Wavelet<W>> {
        if self.lands <= now { self.wavelets.front().copied() } else { None }
    }

    /// The wavelets in it and on their way to it.
    pub(super) const fn wavelets(&self) -> &VecDeque<Wavelet<W>> {
        &self.wavelets
    }

    /// One more, which lands after all others.
    pub(super) fn push(&mut self, wavelet: Wavelet<W>) {
        self.lands = self.lands.min(wavelet.lands);
        self.wavelets.push_back(wavelet);
    }

    /// Whether the router before knows of a place at `now`; else when it will hear of the next one, if that is known.
    pub(super) fn place(&mut self, now: Tick, depth: u64) -> Result<(), Option<Tick>> {
        while self.credits.front().is_some_and(|&heard| heard <= now) {
            self.credits.pop_front();
        }
        if ((self.wavelets.len() + self.credits.len()) as u64) < depth {
            return Ok(());
        }
        self.wanted = true;
        Err(self.credits.front().copied())
    }

    /// How many wavelets have landed.
    pub(super) fn landed(&self, now: Tick) -> usize {
        self.wavelets.iter().take_while(|wavelet| wavelet.lands <= now).count()
    }

    /// Takes the head off; the place is known to be free `credit` later.
    pub(super) fn leave(&mut self, now: Tick, credit: Tick) {
        self.wavelets.pop_front();
        self.lands = self.wavelets.front().map_or(Tick::MAX, |wavelet| wavelet.lands);
        self.credits.push_back(now + credit);
    }
}
