//! The KV cache: what a new token adds, and how rows stay level.

use wafersim_program::{
    Action, Axis, BufferId, Dimension, Field, Formula, Math, Node, Operand, Operation, Shift, Spread, collective,
};

use crate::lies::KvLies;
use crate::relayout::Way;
use crate::writer::{Writer, first};

/// A cache after an append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cache {
    /// Keys (or latents).
    pub keys: Operand,
    /// Values (or the same latents).
    pub values: Operand,
}

impl Writer<'_> {
    /// The append of one token's keys and values, which become number `token` of the cache, and the shift that keeps rows
    /// level: one entry of a row goes up. `new`: keys and values where their products left them.
    pub fn append(&mut self, lies: KvLies, new: [Operand; 2], token: u64) -> (Vec<Node>, Cache) {
        let stored = self.request.precision.kv_cache;
        let fields = |tokens: u64| vec![lies.keys(tokens), lies.values(tokens)];
        let before = self.declare_typed("kv.before", stored, fields(token));
        let after = self.declare_typed("kv.cache", stored, fields(token + 1));
        let mut nodes = Vec::new();
        let mut new = new;
        if !lies.every_column_has_its_own() {
            let wanted = vec![lies.new_token("k", token, lies.key_dim), lies.new_token("v", token, lies.value_dim)];
            let gathered = self.declare("kv.new", wanted);
            let way =
                self.heads_to_blocks(lies, lies.kv_heads, self.field(new[0]).row_size() / lies.kv_heads.max(1), 2);
            nodes.push(self.relayout(Axis::X, new[0].buffer, gathered, way));
            new = [Operand::new(gathered, 0), Operand::new(gathered, 1)];
        }
        // One entry of a row, whichever token it is.
        let entry = self.declare_typed(
            "kv.entry",
            stored,
            vec![lies.new_token("k", 0, lies.key_dim), lies.new_token("v", 0, lies.value_dim)],
        );
        let elements = self.program.buffer_of(entry).elements;
        let copy = |writer: &Self, reads: &[BufferId], writes: BufferId, formula: Formula| {
            writer.compute(Math::KvAppend, reads, writes, vec![writer.work(Operation::Copy, elements, 1)], formula)
        };
        nodes.push(copy(self, &[before], entry, Formula::Leave { before, after, entry }));
        let colors = collective::transit_colors(&mut self.program, Axis::Y);
        let shift = Action::Shift(Shift { axis: Axis::Y, ring: false, payload: entry, colors });
        nodes.push(self.program.step(shift));
        let reads = [before, entry, new[0].buffer];
        nodes.push(copy(self, &reads, after, Formula::Enter { before, entry, new, after, token }));
        (nodes, Cache { keys: first(after), values: Operand::new(after, 1) })
    }

    /// The cache as it lies, without an append.
    pub fn resting_cache(&mut self, lies: KvLies, tokens: u64) -> Cache {
        let stored = self.request.precision.kv_cache;
        let cache = self.declare_typed("kv.cache", stored, vec![lies.keys(tokens), lies.values(tokens)]);
        Cache { keys: first(cache), values: Operand::new(cache, 1) }
    }

    /// The keys and values that a prompt has left behind, first to their rows, then to their columns.
    pub fn hand_over(&mut self, lies: KvLies, made: [Field; 2], tokens: u64) -> Vec<Node> {
        let region = self.region();
        let stored = self.request.precision.kv_cache;
        let level = Spread::LevelledRows { rows: region.rows, groups: lies.groups };
        let wanted = [lies.keys(tokens), lies.values(tokens)];
        let tensors = ["attention.key", "attention.value"].into_iter().zip(["kv.keys", "kv.values"]);
        let sources: Vec<BufferId> =
            tensors.clone().zip(&made).map(|((name, _), field)| self.declare(name, vec![field.clone()])).collect();
        let whole_axis = |writer: &Self, axis: Axis, target: BufferId| Way {
            hops: writer.region().along(axis) - 1,
            elements: writer.program.buffer_of(target).elements,
        };
        let mut nodes = Vec::new();
        let mut levelled = Vec::new();
        for (source, field) in sources.into_iter().zip(made) {
            let rows = Dimension { size: tokens, spread: level.clone() };
            let target = self.declare("kv.levelled", vec![Field { rows, ..field }]);
            let way = whole_axis(self, Axis::Y, target);
            nodes.push(self.relayout(Axis::Y, source, target, way));
            levelled.push(target);
        }
        for ((source, (_, name)), field) in levelled.into_iter().zip(tensors).zip(wanted) {
            let target = self.declare_typed(name, stored, vec![field]);
            let way = whole_axis(self, Axis::X, target);
            nodes.push(self.relayout(Axis::X, source, target, way));
        }
        nodes
    }

    /// The way of `heads` heads of `width` elements (`tensors` tensors of that size), made in even runs of columns, to the
    /// blocks of columns that want them. Every place of a block takes from all runs of its heads, so all elements of a block
    /// pass its busiest link; the farthest way is from the one end of a head's run to the other end of its block.
    pub fn heads_to_blocks(&self, lies: KvLies, heads: u64, width: u64, tensors: u64) -> Way {
        let made = crate::lies::HeadColumns::new(heads, self.region().columns);
        let per_block = heads.div_ceil(lies.blocks.max(1));
        let hops = (0..heads).map(|head| {
            let (from, to) = (made.first_column(head), lies.first_column(head, heads));
            let (last, last_to) = (from + made.width - 1, to + lies.pitch() - 1);
            last_to.saturating_sub(from).max(last.saturating_sub(to))
        });
        Way { hops: hops.max().unwrap_or(0), elements: per_block.saturating_mul(width).saturating_mul(tensors) }
    }
}
