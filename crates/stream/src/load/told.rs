//! A load of which somebody is told: every request that goes on to the machine, in order of time. Traces are made of it.

use super::{Door, Entry, LoadSource, Lost, Story, TaskOutcome};
use crate::request::{BLOCK, Content, Request};
use crate::time::Time;

/// Who is told of a request, and when it came.
pub type Tell<'t> = dyn FnMut(&Request, Time) + 't;

/// A load, and who is told.
pub struct Told<'t, L> {
    inner: L,
    tell: &'t mut Tell<'t>,
}

impl<'t, L: LoadSource> Told<'t, L> {
    /// Tells of each request when it comes to the machine.
    pub const fn new(inner: L, tell: &'t mut Tell<'t>) -> Self {
        Self { inner, tell }
    }

    /// The load.
    pub fn into_inner(self) -> L {
        self.inner
    }
}

impl<L: std::fmt::Debug> std::fmt::Debug for Told<'_, L> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Told").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<L: LoadSource> LoadSource for Told<'_, L> {
    fn next(&mut self) -> Option<Request> {
        self.inner.next()
    }

    fn most_inside(&self) -> Option<u64> {
        self.inner.most_inside()
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        self.inner.after(user, now)
    }

    fn asks(&self) -> bool {
        true
    }

    fn ask(&mut self, request: &Request, door: &Door, now: Time) -> Entry {
        let entry = if self.inner.asks() { self.inner.ask(request, door, now) } else { Entry::In };
        if matches!(entry, Entry::In) {
            (self.tell)(request, now);
        }
        entry
    }

    fn served(&mut self, story: &Story<'_>) {
        self.inner.served(story);
    }

    fn beside(&mut self) -> Option<Request> {
        self.inner.beside()
    }

    fn deadline(&self, request: &Request) -> Option<Time> {
        self.inner.deadline(request)
    }

    fn queue_deadline(&self) -> Option<Time> {
        self.inner.queue_deadline()
    }

    fn lost(&mut self, lost: &Lost<'_>, now: Time) -> Option<Request> {
        self.inner.lost(lost, now)
    }

    fn owner(&self, user: u32) -> u32 {
        self.inner.owner(user)
    }

    fn tasks(&self, end: Time) -> Option<TaskOutcome> {
        self.inner.tasks(end)
    }
}

/// Hashes of a prompt in blocks of `size` tokens, a multiple of [`BLOCK`], each for its block and all before it; the last
/// block may not be full, and is then like that of an equal prompt only. Nothing where the prompt is like no other.
pub fn hashes(request: &Request, size: u32) -> Vec<u64> {
    if request.content == Content::Unique {
        return Vec::new();
    }
    let each = (size / BLOCK).max(1);
    let last = request.prompt.saturating_sub(1) / BLOCK;
    let blocks = 0..request.prompt.div_ceil(size.max(1));
    let hash = |block: u32| {
        let full = block.saturating_add(1).saturating_mul(each).saturating_sub(1);
        let is_full = block.saturating_add(1).saturating_mul(size) <= request.prompt;
        let key = request.content.block(full.min(last))?;
        Some(if is_full { key } else { key.rotate_left(17) ^ u64::from(request.prompt) })
    };
    blocks.map_while(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prompts_have_in_common_is_what_the_engine_finds() {
        let request = |session, prompt| Request {
            arrival: Time::ZERO,
            user: 0,
            prompt,
            output: 1,
            content: Content::Session { session, common: 1024 },
        };
        let (one, longer, other) = (request(1, 1700), request(1, 2100), request(2, 2100));
        let of = |request: &Request| hashes(request, 512);
        assert_eq!((of(&one).len(), of(&longer).len()), (4, 5));
        assert_eq!(of(&one)[..3], of(&longer)[..3]);
        assert_ne!(of(&one)[3], of(&longer)[3], "a block that is not full is not that of a longer prompt");
        assert_eq!(of(&one)[..2], of(&other)[..2]);
        assert_ne!(of(&one)[2], of(&other)[2]);
    }
}
