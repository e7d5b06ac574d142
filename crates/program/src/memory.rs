//! What a program keeps in the memory of the fullest processing element while it runs.
//!
//! A buffer is there from the first step that names it to the last. What is there before the program starts (inputs, caches)
//! or after it ends is named by the caller and is there all the time. A reduction receives into its payload and a multicast
//! into its target, both of which are buffers: there is no hidden copy (one fabric-to-fabric operation receives, combines
//! and sends, WaferLLM, OSDI 2025), so nothing else is counted.

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
    pub operator: String,
    /// The buffers that are there, with their bytes, largest first.
    pub buffers: Vec<(BufferId, Bytes)>,
}

impl Step {
    /// The buffers that a step names.
    pub fn buffers(&self) -> Vec<BufferId> {
        match &self.action {
            Action::ChainReduce(chain) => vec![chain.payload],
            Action::Multicast(cast) => vec![cast.payload],
            Action::Broadcast(cast) => vec![cast.payload],
            Action::Shift(shift) => vec![shift.payload],
            Action::Relayout(moved) => vec![moved.source, moved.target],
            Action::Compute(compute) => {
                let mut named = compute.reads.clone();
                named.push(compute.writes);
                named
            }
            Action::ReduceScatter(ReduceScatter { pieces, .. }) | Action::AllGather(AllGather { pieces }) => {
                vec![pieces.source, pieces.target]
            }
            Action::RouteChange(_) | Action::Synchronise(_) => Vec::new(),
        }
    }
}

impl Program {
    /// Bytes of a buffer in the fullest processing element.
    pub fn bytes_of(&self, buffer: BufferId) -> Bytes {
        let buffer = self.buffer_of(buffer);
        buffer.data_type.storage(buffer.elements)
    }

    /// The moment at which the program keeps most beside the buffers whose names `elsewhere` accepts, which somebody else
    /// counts (the KV cache). Buffers that `always` accepts are there from start to end.
    pub fn peak(&self, elsewhere: impl Fn(&str) -> bool, always: impl Fn(&str) -> bool) -> Peak {
        let mut steps: Vec<(usize, Vec<BufferId>)> = Vec::new();
        for (operator, node) in self.body.iter().enumerate() {
            node.visit(1, &mut |step, _| steps.push((operator, step.buffers())));
        }
        let last = steps.len().saturating_sub(1);
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        for (index, (_, named)) in steps.iter().enumerate() {
            for buffer in named {
                if let Some(life) = lives.get_mut(buffer.0 as usize) {
                    *life = Some(life.map_or((index, index), |(first, _)| (first, index)));
                }
            }
        }
        for (life, buffer) in lives.iter_mut().zip(&self.buffers) {
            if elsewhere(&buffer.name) {
                *life = None;
            } else if always(&buffer.name) {
                *life = Some((0, last));
            }
        }
        let held = |index: usize| {
            let here = move |life: &Option<(usize, usize)>| life.is_some_and(|(from, to)| from <= index && index <= to);
            (0u32..).zip(&lives).filter(move |(_, life)| here(life)).map(|(id, _)| BufferId(id))
        };
        let bytes_at = |index: usize| held(index).map(|id| self.bytes_of(id)).sum::<Bytes>();
        // The first of equal moments.
        let most = (0..steps.len()).max_by(|a, b| bytes_at(*a).cmp(&bytes_at(*b)).then(b.cmp(a)));
        let Some(most) = most else { return Peak { bytes: Bytes::ZERO, operator: String::new(), buffers: Vec::new() } };
        let mut buffers: Vec<(BufferId, Bytes)> = held(most).map(|id| (id, self.bytes_of(id))).collect();
        buffers.sort_by_key(|(id, bytes)| (std::cmp::Reverse(*bytes), *id));
        let operator = match self.body.get(steps[most].0) {
            Some(Node::Operator { name, .. }) => name.to_string(),
            _ => "other".into(),
        };
        Peak { bytes: bytes_at(most), operator, buffers }
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
        assert_eq!((peak.bytes, peak.operator.as_str()), (Bytes(2 * (1 + 100 + 30)), "three"));
        assert_eq!(peak.buffers, [(b, Bytes(200)), (c, Bytes(60)), (residual, Bytes(2))]);
        let everything = program.peak(|_| false, |_| false);
        assert_eq!((everything.bytes, everything.operator.as_str()), (Bytes(2 * (1000 + 30)), "four"));
    }
}
