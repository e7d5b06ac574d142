//! The KV cache: what new tokens add, and how rows stay level.

use wafersim_program::{
    Action, Axis, BufferId, Dimension, Field, Formula, Math, Node, Operand, Operation, RowOrder, Shift, Spread,
    collective,
};

use crate::lies::KvLies;
use crate::relayout::Way;
use crate::writer::Writer;

/// A cache after an append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cache {
    /// Keys (or latents).
    pub keys: Operand,
    /// Values (or the same latents).
    pub values: Operand,
    /// Rotary keys beside latents.
    pub rotary: Option<Operand>,
    /// Keys of an indexer.
    pub index: Option<Operand>,
}

impl Cache {
    fn new(lies: KvLies, buffer: BufferId) -> Self {
        let [one, other] = [0, 1].map(|field| Operand::new(buffer, field));
        if lies.is_latent() {
            let index = lies.of_indexer(1).map(|_| Operand::new(buffer, 2));
            Self { keys: one, values: one, rotary: Some(other), index }
        } else {
            Self { keys: one, values: other, rotary: None, index: None }
        }
    }
}

/// Queries, keys and values of new tokens, or where they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewTokens {
    pub query: Operand,
    pub key: Operand,
    pub value: Operand,
    /// Sums of squares of queries and keys that have not been summed yet, where norms of heads ride.
    pub squares: Option<[Operand; 2]>,
}

impl Writer<'_> {
    /// What the columns that share a sequence have made between them, to all of them.
    pub fn spread_to_groups(&mut self, lies: KvLies, new: NewTokens) -> (Vec<Node>, NewTokens) {
        if lies.groups == 1 {
            return (Vec::new(), new);
        }
        let tokens = self.request.tokens;
        let mut wanted = vec![lies.query(tokens), lies.new_keys(tokens), lies.new_values(tokens)];
        if new.squares.is_some() {
            wanted.extend(self.squares(lies, false));
        }
        let target = self.declare("attention.shared", wanted);
        let (source, region) = (new.query.buffer, lies.in_use(self.region()));
        let count = lies.groups;
        let segment = self.segment(count, 1, source, target);
        let nodes = collective::all_gather(&mut self.program, region, segment);
        let at = |field: u32| Operand::new(target, field);
        let squares = new.squares.map(|_| [at(3), at(4)]);
        (nodes, NewTokens { query: at(0), key: at(1), value: at(2), squares })
    }

    /// The append of new tokens (keys and values, or latents and rotary keys), the first of which becomes number
    /// `token` of each user's cache. Where rows are levelled, an entry of each row moves on for each of them; where
    /// tokens are dealt to the rows, nothing moves.
    pub fn append(&mut self, lies: KvLies, new: &[Operand], token: u64) -> (Vec<Node>, Cache) {
        let stored = self.request.precision.kv_cache;
        let mut nodes = Vec::new();
        let (mut number, end) = (token, token + self.request.consecutive());
        let mut before = self.declare_typed("kv.before", stored, fields(lies, token, lies.oldest(token)));
        while number < end {
            // All at once where nothing moves.
            let next = if lies.order == RowOrder::Dealt { end } else { number + 1 };
            // The first of the new tokens still sees its oldest one when the last has come.
            let name = match next == end {
                true if lies.oldest(token + 1) == lies.oldest(end) => "kv.cache",
                true => "kv.seen",
                false => "kv.between",
            };
            let after = self.declare_typed(name, stored, fields(lies, next, lies.oldest(token + 1)));
            let mut one = vec![lies.new_keys(lies.users), lies.new_values(lies.users)];
            one.extend(lies.of_indexer(1).map(|index| index.new_keys(lies.users)));
            let elements = one.iter().map(Field::most).sum();
            let copy = |writer: &Self, reads: &[BufferId], writes: BufferId, count: u64, formula: Formula| {
                let work = vec![writer.work(Operation::Copy, elements, count)];
                writer.compute(Math::KvAppend, reads, writes, work, formula)
            };
            let mut reads = vec![before];
            reads.extend(new.first().map(|entry| entry.buffer));
            let mut entry = None;
            if lies.order == RowOrder::Level {
                // One entry of a row for each user, whichever token it is.
                let leaving = self.declare_typed("attention.entry", stored, one);
                nodes.push(copy(self, &[before], leaving, 1, Formula::Leave { before, after, entry: leaving }));
                let colors = collective::transit_colors(&mut self.program, Axis::Y);
                let shift = Action::Shift(Shift { axis: Axis::Y, ring: false, payload: leaving, colors });
                nodes.push(self.program.step(shift));
                reads.push(leaving);
                entry = Some(leaving);
            }
            // A place takes in at most so many of the new tokens.
            let entering = (next - number).div_ceil(lies.groups).div_ceil(lies.rows);
            let enter = Formula::Enter { before, entry, new: new.to_vec(), after, row: token * lies.users };
            nodes.push(copy(self, &reads, after, entering, enter));
            (before, number) = (after, next);
        }
        (nodes, Cache::new(lies, before))
    }

    /// After a draft, the cache keeps what its first token has seen and no later one will: what is left is levelled
    /// again where rows are, and stays where tokens are dealt.
    pub fn forget(&mut self, lies: KvLies, cache: Cache) -> Vec<Node> {
        let (context, consecutive) = (self.request.context, self.request.consecutive());
        let oldest = lies.oldest(context);
        let forgotten = oldest - lies.oldest(context + 1 - consecutive);
        if forgotten == 0 {
            return Vec::new();
        }
        let stored = self.request.precision.kv_cache;
        let kept = self.declare_typed("kv.cache", stored, fields(lies, context, oldest));
        match lies.order {
            RowOrder::Level => {
                // An entry moves on by as many rows as hold what was forgotten before it.
                let each = (context - oldest) / lies.groups / lies.rows;
                let places = forgotten.div_ceil(lies.groups);
                let hops = places.checked_div(each).map_or(lies.rows - 1, |rows| (rows + 1).min(lies.rows - 1));
                let one = lies.new_keys(lies.users).most() + lies.new_values(lies.users).most();
                let way = Way::Through { hops, elements: one.saturating_mul(places) };
                vec![self.relayout(Axis::Y, cache.keys.buffer, kept, way)]
            }
            RowOrder::Dealt => (0..2)
                .map(|field| {
                    let [source, target] = [cache.keys.buffer, kept].map(|buffer| Operand::new(buffer, field));
                    let formula = Formula::Select { source, target };
                    self.compute(Math::Copy, &[source.buffer], kept, Vec::new(), formula)
                })
                .collect(),
        }
    }

    /// The cache as it lies, without an append.
    pub fn resting_cache(&mut self, lies: KvLies, tokens: u64) -> Cache {
        let stored = self.request.precision.kv_cache;
        let cache = self.declare_typed("kv.cache", stored, fields(lies, tokens, lies.oldest(tokens)));
        Cache::new(lies, cache)
    }

    /// The keys and values that a prompt has left behind in buffers of these names, first to their rows, then to their
    /// columns.
    pub fn hand_over(&mut self, lies: KvLies, made: [(&'static str, Field); 2], tokens: u64) -> Vec<Node> {
        let stored = self.request.precision.kv_cache;
        let oldest = lies.oldest(tokens);
        let level = Spread::CachedRows(lies.cached_tokens(oldest));
        let wanted = [lies.keys(tokens, oldest), lies.values(tokens, oldest)];
        let sources: Vec<BufferId> =
            made.iter().map(|(name, field)| self.declare(*name, vec![field.clone()])).collect();
        let whole_axis = |writer: &Self, axis: Axis, target: BufferId| Way::Through {
            hops: writer.region().along(axis) - 1,
            elements: writer.program.buffer_of(target).elements,
        };
        let mut nodes = Vec::new();
        let mut levelled = Vec::new();
        for (source, (_, field)) in sources.into_iter().zip(made) {
            let rows = Dimension { size: tokens, spread: level.clone() };
            let target = self.declare("kv.levelled", vec![Field { rows, ..field }]);
            let way = whole_axis(self, Axis::Y, target);
            nodes.push(self.relayout(Axis::Y, source, target, way));
            levelled.push(target);
        }
        for ((source, name), field) in levelled.into_iter().zip(["kv.keys", "kv.values"]).zip(wanted) {
            let target = self.declare_typed(name, stored, vec![field]);
            let way = whole_axis(self, Axis::X, target);
            nodes.push(self.relayout(Axis::X, source, target, way));
        }
        nodes
    }
}

fn fields(lies: KvLies, tokens: u64, oldest: u64) -> Vec<Field> {
    let mut fields = vec![lies.keys(tokens, oldest), lies.values(tokens, oldest)];
    fields.extend(lies.of_indexer(1).map(|index| index.keys(tokens, oldest)));
    fields
}
