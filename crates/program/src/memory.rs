//! What a program keeps in the memory of the fullest processing element while it runs.
//!
//! A buffer is there from the first step that names it to the last. What is there before the program starts (inputs,
//! caches) or after it ends is named by the caller and is there all the time. A reduction receives into its payload and
//! a multicast into its target, both of which are buffers: there is no hidden copy (one fabric-to-fabric operation
//! receives, combines and sends, WaferLLM, OSDI 2025), so nothing else is counted.

use std::borrow::Cow;

use wafersim_spec::Bytes;

use crate::buffer::BufferId;
use crate::pieces::{AllGather, ReduceScatter};
use crate::program::{Node, Program};
use crate::step::{Action, Step};

/// The moment at which a program keeps most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peak {
    /// Bytes of the buffers that are there.
    pub bytes: Bytes,
    /// The operator that is at work.
    pub operator: Cow<'static, str>,
    /// The buffers that are there, with their bytes, largest first.
    pub buffers: Vec<(BufferId, Bytes)>,
}

impl Step {
    /// Calls `each` for every buffer that a step names.
    pub fn each_buffer(&self, mut each: impl FnMut(BufferId)) {
        match &self.action {
            Action::ChainReduce(chain) => each(chain.payload),
            Action::Multicast(cast) => each(cast.payload),
            Action::Broadcast(cast) => each(cast.payload),
            Action::Shift(shift) => each(shift.payload),
            Action::Relayout(moved) => [moved.source, moved.target].into_iter().for_each(each),
            Action::Compute(compute) => compute.reads.iter().copied().chain([compute.writes]).for_each(each),
            Action::ReduceScatter(ReduceScatter { pieces, .. }) | Action::AllGather(AllGather { pieces }) => {
                [pieces.source, pieces.target].into_iter().for_each(each);
            }
            Action::RouteChange(_) | Action::Synchronise(_) => {}
        }
    }
}

/// The first and the last step that name a buffer.
#[derive(Debug, Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
}

impl Program {
    /// Bytes of a buffer in the fullest processing element.
    pub fn bytes_of(&self, buffer: BufferId) -> Bytes {
        self.buffer_of(buffer).bytes()
    }

    /// The moment at which the program keeps most beside the buffers whose names `elsewhere` accepts, which somebody
    /// else counts (the KV cache). Buffers that `always` accepts are there from start to end.
    pub fn peak(&self, elsewhere: impl Fn(&str) -> bool, always: impl Fn(&str) -> bool) -> Peak {
        let mut lives: Vec<Option<Life>> = vec![None; self.buffers.len()];
        // Of each operator the first step behind it.
        let mut ends = Vec::with_capacity(self.body.len());
        let mut steps = 0;
        for node in &self.body {
            node.visit(1, &mut |step, _| {
                step.each_buffer(|id| {
                    if let Some(life) = lives.get_mut(id.index()) {
                        *life = Some(Life { first: life.map_or(steps, |life| life.first), last: steps });
                    }
                });
                steps += 1;
            });
            ends.push(steps);
        }
        // What comes with each step, and what has gone when it begins.
        let mut changes = vec![(0u128, 0u128); steps + 1];
        for (life, buffer) in lives.iter_mut().zip(&self.buffers) {
            if elsewhere(&buffer.name) {
                *life = None;
            } else if always(&buffer.name) && steps > 0 {
                *life = Some(Life { first: 0, last: steps - 1 });
            }
            if let Some(Life { first, last }) = *life {
                let bytes = u128::from(buffer.bytes().0);
                changes[first].0 += bytes;
                changes[last + 1].1 += bytes;
            }
        }
        let (mut held, mut most, mut moment) = (0, 0, None);
        for (step, (come, gone)) in changes.into_iter().take(steps).enumerate() {
            held = held + come - gone;
            // The first of equal moments.
            if held > most || moment.is_none() {
                (most, moment) = (held, Some(step));
            }
        }
        let Some(moment) = moment else { return Peak { bytes: Bytes::ZERO, operator: "".into(), buffers: Vec::new() } };
        let here = |life: &Option<Life>| life.is_some_and(|life| life.first <= moment && moment <= life.last);
        let held = self.buffer_ids().zip(&lives).filter(|(_, life)| here(life)).map(|(id, _)| id);
        let mut buffers: Vec<(BufferId, Bytes)> = held.map(|id| (id, self.bytes_of(id))).collect();
        buffers.sort_unstable_by_key(|(id, bytes)| (std::cmp::Reverse(*bytes), *id));
        let operator = match self.body.get(ends.partition_point(|end| *end <= moment)) {
            Some(Node::Operator { name, .. }) => name.clone(),
            _ => "other".into(),
        };
        Peak { bytes: Bytes(u64::try_from(most).unwrap_or(u64::MAX)), operator, buffers }
    }
}

#[cfg(test)]
mod tests {
    use wafersim_spec::DataType;

    use super::*;
    use crate::region::Region;
    use crate::work::Math;

    #[test]
    fn a_buffer_is_there_from_its_first_step_to_its_last() {
        let mut program = Program::new("test", Region::new(0, 0, 4, 4));
        let sizes = [("residual", 1u64), ("a", 10), ("b", 100), ("c", 30), ("kv.cache", 1000)];
        let [residual, a, b, c, cache] = sizes.map(|(name, size)| program.buffer(name, size, DataType::Fp16));
        for (name, reads, writes) in
            [("one", residual, a), ("two", a, b), ("three", b, c), ("four", cache, c), ("five", c, residual)]
        {
            let node = program.compute(Math::Copy, &[reads], writes, Vec::new());
            program.push(name, vec![node]);
        }
        let peak = program.peak(|name| name.starts_with("kv."), |name| name == "residual");
        assert_eq!((peak.bytes, &*peak.operator), (Bytes(2 * (1 + 100 + 30)), "three"));
        assert_eq!(peak.buffers, [(b, Bytes(200)), (c, Bytes(60)), (residual, Bytes(2))]);
        let everything = program.peak(|_| false, |_| false);
        assert_eq!((everything.bytes, &*everything.operator), (Bytes(2 * (1 + 1000 + 30)), "four"));
    }
}
