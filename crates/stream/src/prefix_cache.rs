//! Blocks of keys and values that stay after their request, for others that begin alike.
//!
//! A block is held while requests use it; after that it stays until its room is wanted, and the block that was released
//! longest ago goes first (of one request the last blocks first, so that prefixes shrink from their end). Blocks that
//! go can be kept in the memory of the host, as far as it reaches: from there they come back over the off-wafer link
//! instead of being computed again. Where blocks have a *life*, those that nobody has used for so long are forgotten. Every block is taken to be written to the host as it is made, in the background.
//!
//! Two requests that compute the same block at the same time each keep their own; the first one's is shared from then
//! on.

use rustc_hash::FxHashMap;

use crate::request::{BLOCK, Content};
use crate::time::Time;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Block {
    key: u64,
    users: u32,
    /// Since when nobody uses it.
    since: Time,
    /// Neighbours in the order of release, or in the host's order of arrival.
    older: u32,
    newer: u32,
}

/// A list of blocks in the order in which they came.
#[derive(Debug, Clone, Copy)]
struct Order {
    oldest: u32,
    newest: u32,
    length: u64,
}

impl Order {
    const EMPTY: Self = Self { oldest: NONE, newest: NONE, length: 0 };

    fn append(&mut self, blocks: &mut [Block], at: u32) {
        blocks[at as usize].older = self.newest;
        blocks[at as usize].newer = NONE;
        match self.newest {
            NONE => self.oldest = at,
            newest => blocks[newest as usize].newer = at,
        }
        self.newest = at;
        self.length += 1;
    }

    fn remove(&mut self, blocks: &mut [Block], at: u32) {
        let Block { older, newer, .. } = blocks[at as usize];
        match older {
            NONE => self.oldest = newer,
            older => blocks[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => blocks[newer as usize].older = older,
        }
        self.length -= 1;
    }
}

/// Blocks on the wafers and on the host.
#[derive(Debug, Clone)]
pub struct PrefixCache {
    blocks: Vec<Block>,
    unused: Vec<u32>,
    on_wafer: FxHashMap<u64, u32>,
    idle: Order,
    on_host: FxHashMap<u64, u32>,
    host: Order,
    host_blocks: u64,
    life: Option<Time>,
}

/// What of a prompt is there already, in whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Leading blocks on the wafers.
    pub on_wafer: u32,
    /// Blocks after them on the host.
    pub on_host: u32,
    /// Of those on the wafers, how many nobody uses: they stop being room that can be taken back.
    pub idle: u32,
}

impl PrefixCache {
    /// Without blocks, with room for so many on the host; blocks that nobody uses are forgotten after `life`.
    pub fn new(host_blocks: u64, life: Option<Time>) -> Self {
        Self {
            blocks: Vec::new(),
            unused: Vec::new(),
            on_wafer: FxHashMap::default(),
            idle: Order::EMPTY,
            on_host: FxHashMap::default(),
            host: Order::EMPTY,
            host_blocks,
            life,
        }
    }

    /// Forgets what nobody has used for its life. Returns the blocks whose room on the wafers is free again.
    pub fn expire(&mut self, now: Time) -> u64 {
        let Some(life) = self.life else { return 0 };
        let is_over = |block: &Block| block.since + life <= now;
        let mut freed = 0;
        while self.blocks.get(self.idle.oldest as usize).is_some_and(is_over) {
            let at = self.idle.oldest;
            self.idle.remove(&mut self.blocks, at);
            self.on_wafer.remove(&self.blocks[at as usize].key);
            self.unused.push(at);
            freed += 1;
        }
        while self.blocks.get(self.host.oldest as usize).is_some_and(is_over) {
            let at = self.host.oldest;
            self.host.remove(&mut self.blocks, at);
            self.on_host.remove(&self.blocks[at as usize].key);
            self.unused.push(at);
        }
        freed
    }

    /// Blocks that nobody uses: their room can be taken back.
    pub const fn idle(&self) -> u64 {
        self.idle.length
    }

    /// Blocks on the wafers, used or not.
    pub fn held(&self) -> u64 {
        self.on_wafer.len() as u64
    }

    /// What of the first `tokens` tokens is there.
    pub fn find(&self, content: &Content, tokens: u32) -> Found {
        let mut found = Found::default();
        for index in 0..tokens / BLOCK {
            let Some(key) = content.block(index) else { break };
            match self.on_wafer.get(&key) {
                Some(block) if found.on_host == 0 => {
                    found.on_wafer += 1;
                    found.idle += u32::from(self.blocks[*block as usize].users == 0);
                }
                // Behind a block of the host, a block on the wafers counts as one of the host: it is brought again.
                _ if self.on_host.contains_key(&key) => found.on_host += 1,
                _ => break,
            }
        }
        found
    }

    /// Takes the first `count` blocks, which are on the wafers, into use.
    pub fn hold(&mut self, content: &Content, count: u32, held: &mut Vec<u32>) {
        for index in 0..count {
            let Some(at) = content.block(index).and_then(|key| self.on_wafer.get(&key).copied()) else { break };
            if self.blocks[at as usize].users == 0 {
                self.idle.remove(&mut self.blocks, at);
            }
            self.blocks[at as usize].users += 1;
            held.push(at);
        }
    }

    /// Makes blocks `from..to` of a request shared, as far as they are not there yet. Returns how many became so: they
    /// are no longer the request's own.
    pub fn share(&mut self, content: &Content, from: u32, to: u32, held: &mut Vec<u32>) -> u32 {
        let mut shared = 0;
        for index in from..to {
            let Some(key) = content.block(index) else { break };
            if self.on_wafer.contains_key(&key) {
                continue;
            }
            let block = Block { key, users: 1, since: Time::ZERO, older: NONE, newer: NONE };
            let at = self.place(block);
            self.on_wafer.insert(key, at);
            held.push(at);
            shared += 1;
        }
        shared
    }

    /// Gives blocks back.
    pub fn release(&mut self, held: &mut Vec<u32>, now: Time) {
        // The last ones first, so that they are the oldest of the request.
        while let Some(at) = held.pop() {
            let block = &mut self.blocks[at as usize];
            block.users = block.users.saturating_sub(1);
            if block.users == 0 {
                block.since = now;
                self.idle.append(&mut self.blocks, at);
            }
        }
    }

    /// Takes the room of the block that has been idle for longest; the host keeps it where it can.
    pub fn evict(&mut self) -> bool {
        let at = self.idle.oldest;
        if at == NONE {
            return false;
        }
        self.idle.remove(&mut self.blocks, at);
        let Block { key, since, .. } = self.blocks[at as usize];
        self.on_wafer.remove(&key);
        self.unused.push(at);
        self.keep_on_host(key, since);
        true
    }

    fn keep_on_host(&mut self, key: u64, since: Time) {
        if self.host_blocks == 0 {
            return;
        }
        if let Some(at) = self.on_host.get(&key).copied() {
            self.host.remove(&mut self.blocks, at);
            self.blocks[at as usize].since = since;
            self.host.append(&mut self.blocks, at);
            return;
        }
        if self.host.length == self.host_blocks {
            let oldest = self.host.oldest;
            self.host.remove(&mut self.blocks, oldest);
            self.on_host.remove(&self.blocks[oldest as usize].key);
            self.unused.push(oldest);
        }
        let at = self.place(Block { key, users: 0, since, older: NONE, newer: NONE });
        self.on_host.insert(key, at);
        self.host.append(&mut self.blocks, at);
    }

    fn place(&mut self, block: Block) -> u32 {
        if let Some(at) = self.unused.pop() {
            self.blocks[at as usize] = block;
            return at;
        }
        self.blocks.push(block);
        u32::try_from(self.blocks.len() - 1).unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u64) -> Content {
        Content::Session { session: number, common: 2 * BLOCK }
    }

    #[test]
    fn what_is_released_first_goes_first_and_comes_back_from_the_host() {
        let mut cache = PrefixCache::new(1, None);
        let (one, other) = (session(1), session(2));
        let mut held = Vec::new();
        assert_eq!(cache.share(&one, 0, 4, &mut held), 4);
        cache.release(&mut held, Time::ZERO);
        assert_eq!((cache.held(), cache.idle()), (4, 4));
        // Two blocks are common to all sessions.
        assert_eq!(cache.find(&other, 10 * BLOCK), Found { on_wafer: 2, on_host: 0, idle: 2 });
        assert_eq!(cache.find(&one, 10 * BLOCK).on_wafer, 4);
        // The last block of the prefix goes first; the host has room for one.
        assert!(cache.evict());
        assert_eq!(cache.find(&one, 10 * BLOCK), Found { on_wafer: 3, on_host: 1, idle: 3 });
        assert!(cache.evict());
        assert_eq!(cache.find(&one, 10 * BLOCK), Found { on_wafer: 2, on_host: 1, idle: 2 });
        cache.hold(&one, 2, &mut held);
        assert!(!cache.evict(), "what is in use stays");
    }

    #[test]
    fn what_nobody_uses_lives_as_long_as_was_said() {
        let mut cache = PrefixCache::new(8, Some(Time(10)));
        let mut held = Vec::new();
        cache.share(&session(1), 0, 4, &mut held);
        cache.release(&mut held, Time(5));
        assert!(cache.evict(), "one goes to the host, and no life with it");
        assert_eq!(cache.expire(Time(14)), 0);
        assert_eq!(cache.find(&session(1), 4 * BLOCK), Found { on_wafer: 3, on_host: 1, idle: 3 });
        cache.hold(&session(1), 2, &mut held);
        assert_eq!(cache.expire(Time(15)), 1, "two are in use");
        assert_eq!(cache.find(&session(1), 4 * BLOCK), Found { on_wafer: 2, on_host: 0, idle: 0 });
        cache.release(&mut held, Time(20));
        assert_eq!((cache.expire(Time(29)), cache.expire(Time(30))), (0, 2));
    }

    #[test]
    fn only_whole_blocks_count_and_unique_prompts_share_nothing() {
        let mut cache = PrefixCache::new(0, None);
        let mut held = Vec::new();
        assert_eq!(cache.share(&Content::Unique, 0, 4, &mut held), 0);
        cache.share(&session(3), 0, 4, &mut held);
        assert_eq!(cache.find(&session(3), 4 * BLOCK - 1).on_wafer, 3);
    }

    #[test]
    fn hashed_blocks_are_made_of_several() {
        let content = |hashes: &[u64]| Content::Hashed { size: 512, hashes: hashes.into() };
        let mut cache = PrefixCache::new(0, None);
        let mut held = Vec::new();
        assert_eq!(cache.share(&content(&[7, 8]), 0, 8, &mut held), 8);
        assert_eq!(cache.find(&content(&[7, 9]), 1024).on_wafer, 4);
        assert_eq!(cache.find(&content(&[9, 8]), 1024).on_wafer, 0);
    }
}
