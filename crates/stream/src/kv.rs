//! The room for keys and values: what is taken, by whom it may be taken back, and how much is left.
//!
//! All stages see the same tokens, so the ledger counts tokens: one count for each way that layers look back. What
//! fits is for [`KvRoom`]: the bytes of the fullest processing element of each slot. Where all layers see everything,
//! one number says it: the capacity in tokens.

use wafersim_answer::pipeline::KvRoom;
use wafersim_spec::model::Reach;

/// The room, and what is taken.
#[derive(Debug, Clone)]
pub struct Ledger {
    room: Option<KvRoom>,
    reaches: Vec<Reach>,
    /// Tokens that fit, where one count says it.
    capacity: u64,
    /// Tokens taken, by reach.
    taken: Vec<u64>,
    /// Most of the first count that was ever taken.
    peak: u64,
}

impl Ledger {
    /// The room of a pipeline.
    pub fn new(room: KvRoom) -> Self {
        let capacity = room.tokens();
        let mut reaches = room.reaches.clone();
        if reaches.is_empty() {
            reaches.push(Reach::Full);
        }
        let taken = vec![0; reaches.len()];
        let room = (reaches.len() > 1).then_some(room);
        Self { room, reaches, capacity, taken, peak: 0 }
    }

    /// Room for so many tokens that see everything.
    pub fn of_tokens(capacity: u64) -> Self {
        Self { room: None, reaches: vec![Reach::Full], capacity, taken: vec![0], peak: 0 }
    }

    /// Whether every layer sees everything: then blocks of tokens can be shared.
    pub fn is_plain(&self) -> bool {
        self.reaches == [Reach::Full]
    }

    /// Tokens that fit where all layers see everything.
    pub const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Tokens taken, of the first reach.
    pub fn taken(&self) -> u64 {
        self.taken.first().copied().unwrap_or(0)
    }

    /// The most that was ever taken.
    pub const fn peak(&self) -> u64 {
        self.peak
    }

    /// Whether a user's reservation may go from `before` to `after` tokens.
    pub fn fits(&self, before: u64, after: u64) -> bool {
        match &self.room {
            None => {
                let (before, after) = self.visible(0, before, after);
                self.taken().saturating_sub(before).saturating_add(after) <= self.capacity
            }
            Some(room) => {
                let taken = self.taken.iter().enumerate().map(|(index, taken)| {
                    let (before, after) = self.visible(index, before, after);
                    taken.saturating_sub(before).saturating_add(after)
                });
                room.holds(&taken.collect::<Vec<_>>())
            }
        }
    }

    /// Whether a user with so many tokens fits the empty room.
    pub fn could_ever_hold(&self, tokens: u64) -> bool {
        match &self.room {
            None => self.reaches[0].visible(tokens) <= self.capacity,
            Some(room) => {
                let alone: Vec<u64> = self.reaches.iter().map(|reach| reach.visible(tokens)).collect();
                room.holds(&alone)
            }
        }
    }

    /// A user's reservation goes from `before` to `after` tokens.
    pub fn change(&mut self, before: u64, after: u64) {
        for index in 0..self.taken.len() {
            let (before, after) = self.visible(index, before, after);
            self.taken[index] = self.taken[index].saturating_sub(before).saturating_add(after);
        }
        self.peak = self.peak.max(self.taken());
    }

    fn visible(&self, index: usize, before: u64, after: u64) -> (u64, u64) {
        let reach = self.reaches[index];
        (reach.visible(before), reach.visible(after))
    }
}
