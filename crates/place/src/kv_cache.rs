//! Where keys and values live in the region of a layer, and how many tokens it holds.
//!
//! The columns are divided into blocks, one per KV head; inside a block `dimension_split` columns share the head's
//! width and `sequence_split` groups of columns share the sequence, besides all rows. Rows are levelled by shifting old
//! entries up (sources.md#waferllm), so the tokens of all users lie evenly over all rows: keys that are
//! only appended fill one row first, and hold fewer tokens by a factor of the number of rows.
//!
//! A layer of linear attention has a state in place of a cache. Its blocks are those of the key heads;
//! `dimension_split` columns of a block share a head's keys, `sequence_split` groups of them and the rows the values of
//! all heads of the block. The last inputs of its convolution lie where they are made: those of queries and keys shared
//! out over the columns of a block, in every row; those of values with the state, in all columns that share its keys.
//! (`lower` has the same layout.)

use serde::Serialize;
use wafersim_spec::model::{Attention, Reach};
use wafersim_spec::{Bytes, DataType, Size};

use crate::arithmetic::divide_up;

/// How the dimension split is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KvLayoutChoice {
    /// What takes the fewest bytes in the worst processing element: cache, and the activations and buffers that follow.
    #[default]
    Balanced,
    /// Each head over all columns of its block, as the published kernels do.
    WholeBlock,
    /// Over so many columns of its block (at most all of them): for who chooses by other means than bytes.
    DimensionSplit(u64),
    /// Some or all numbers by other means than bytes.
    Given(KvSizes),
}

/// Numbers of a KV layout; what is left open is chosen by bytes, heads and copies as few as there can be. A number that
/// the region does not allow is brought to the nearest that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct KvSizes {
    /// KV heads of one block; parts are of all KV heads.
    pub heads_per_block: Size,
    /// Copies of keys and values; parts are of the query heads of a KV head.
    pub head_copies: Size,
    /// Columns that share a head's width; parts are of the columns of a copy.
    pub dimension_split: Size,
    /// Groups of columns that share the sequence; parts are of the columns of a copy.
    pub sequence_split: Size,
}

/// What a layer caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KvContents {
    /// Heads with keys and values of their own; 1 for the latent of MLA.
    pub kv_heads: u64,
    /// Width of what is cached of a head: `head_dim`, or latent and rotary key of MLA together, with the key of an
    /// indexer.
    pub head_dim: u64,
    /// Width of a head's value where keys and values are cached; 0 where one vector is both (MLA), or a state is kept.
    pub value_dim: u64,
    /// Query heads that look at one KV head.
    pub queries_per_head: u64,
    /// How far back the layer looks.
    pub reach: Reach,
    /// What is kept of each user whatever the context; linear attention alone.
    pub state: Option<StateContents>,
}

/// What a layer of linear attention keeps of a user, beside the numbers of heads and widths of [`KvContents`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StateContents {
    /// Width of a head's value. A state has `head_dim` x `value_dim` elements in fp32.
    pub value_dim: u64,
    /// Tokens that the convolution reads again: one less than it reaches over.
    pub tail: u64,
}

impl KvContents {
    /// What an attention caches.
    pub fn new(attention: &Attention) -> Self {
        let (kv_heads, head_dim, value_dim) = match attention {
            Attention::Grouped(grouped) => (grouped.kv_heads, grouped.head_dim, grouped.value_dim()),
            Attention::Latent(_) => (1, attention.kv_width(), 0),
            Attention::Linear(linear) => (linear.key_heads, linear.key_dim, 0),
        };
        let state = match attention {
            Attention::Linear(linear) => {
                Some(StateContents { value_dim: linear.value_dim, tail: linear.kernel.saturating_sub(1) })
            }
            Attention::Grouped(_) | Attention::Latent(_) => None,
        };
        let queries_per_head = divide_up(attention.query_heads(), kv_heads);
        Self { kv_heads, head_dim, value_dim, queries_per_head, reach: attention.reach(), state }
    }

    /// Elements that one token adds.
    pub const fn elements_per_token(&self) -> u64 {
        if self.state.is_some() {
            return 0;
        }
        self.kv_heads.saturating_mul(self.head_dim.saturating_add(self.value_dim))
    }

    /// Bytes of all cached tokens of a layer, or of the states of all users, without rounding to processing elements
    /// and without copies.
    pub fn cached_bytes(&self, load: &KvLoad) -> Bytes {
        if let Some(state) = self.state {
            let values = self.kv_heads.saturating_mul(self.values_per_head(state));
            let channels = values.saturating_add(2 * self.kv_heads.saturating_mul(self.head_dim));
            let tail = load.activations.storage(channels.saturating_mul(state.tail));
            return (DataType::Fp32.storage(values.saturating_mul(self.head_dim)) + tail) * load.users;
        }
        let tokens = load.users.saturating_mul(self.reach.visible(load.context));
        load.cache.storage(self.elements_per_token().saturating_mul(tokens))
    }

    /// Width of the values of all heads that share a key head.
    const fn values_per_head(&self, state: StateContents) -> u64 {
        self.queries_per_head.saturating_mul(state.value_dim)
    }
}

/// The load on the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KvLoad {
    /// Users whose tokens are cached.
    pub users: u64,
    /// Tokens of each user.
    pub context: u64,
    /// Tokens that the layer works on at once in decode, each of another user.
    pub micro_batch: u64,
    /// Format of the cache.
    pub cache: DataType,
    /// Format of queries and scores.
    pub activations: DataType,
}

/// Where keys and values of a layer live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KvLayout {
    /// What is cached.
    pub shape: KvContents,
    /// Rows of the region; all share the sequence.
    pub rows: u64,
    /// Blocks of columns.
    pub blocks: u64,
    /// KV heads of one block: 1, or more where there are fewer columns than heads.
    pub heads_per_block: u64,
    /// Columns of one block. Columns that integer division leaves hold no cache.
    pub columns_per_head: u64,
    /// Columns of a block that share the width of a head.
    pub dimension_split: u64,
    /// Groups of `dimension_split` columns that share the sequence.
    pub sequence_split: u64,
    /// Copies of keys and values, each on `dimension_split * sequence_split` columns of its own. The query heads of a
    /// KV head are shared out among them.
    pub head_copies: u64,
}

impl KvLayout {
    /// The layout over a region of `columns` x `rows` for which `bytes` is smallest; ties go to the larger sequence
    /// split. Candidates are the powers of two and the divisors of the head's width up to the columns of a block, and
    /// the whole block.
    pub fn choose(
        shape: KvContents,
        region: (u64, u64),
        choice: KvLayoutChoice,
        mut bytes: impl FnMut(&Self) -> Bytes,
    ) -> Self {
        let sizes = match choice {
            KvLayoutChoice::WholeBlock => return Self::with_dimension_split(shape, region, u64::MAX),
            KvLayoutChoice::DimensionSplit(split) => return Self::with_dimension_split(shape, region, split),
            KvLayoutChoice::Balanced => KvSizes::default(),
            KvLayoutChoice::Given(sizes) => sizes,
        };
        let whole = Self::whole(shape, region, sizes.heads_per_block, sizes.head_copies);
        // Columns of one copy.
        let columns = whole.dimension_split;
        let given_sequence = sizes.sequence_split.of(columns).map(|split| split.clamp(1, columns));
        let sequence_of = |dimension_split: u64| {
            let most = columns / dimension_split;
            given_sequence.map_or(most, |given| given.min(most))
        };
        if let Some(dimension_split) = sizes.dimension_split.of(columns) {
            let dimension_split = dimension_split.clamp(1, columns);
            return Self { dimension_split, sequence_split: sequence_of(dimension_split), ..whole };
        }
        let whole = match given_sequence {
            Some(sequence_split) => Self { dimension_split: columns / sequence_split, sequence_split, ..whole },
            None => whole,
        };
        let widest = whole.dimension_split.min(shape.head_dim);
        let mut best = whole;
        let mut least = (bytes(&whole), u64::MAX - whole.sequence_split);
        for dimension_split in
            (1..=widest).filter(|split| split.is_power_of_two() || shape.head_dim.is_multiple_of(*split))
        {
            let sequence_split = sequence_of(dimension_split);
            let layout = Self { dimension_split, sequence_split, ..whole };
            let candidate = (bytes(&layout), u64::MAX - sequence_split);
            if candidate < least {
                (least, best) = (candidate, layout);
            }
        }
        best
    }

    /// The layout with a given dimension split, at most the columns of a block.
    pub fn with_dimension_split(shape: KvContents, region: (u64, u64), dimension_split: u64) -> Self {
        let whole = Self::whole(shape, region, Size::Auto, Size::Auto);
        let dimension_split = dimension_split.clamp(1, whole.columns_per_head);
        Self { dimension_split, sequence_split: whole.columns_per_head / dimension_split, ..whole }
    }

    /// The layout in which the width of each head lies over all columns of its block, or of each copy.
    fn whole(shape: KvContents, (columns, rows): (u64, u64), heads_per_block: Size, head_copies: Size) -> Self {
        let fewest = divide_up(shape.kv_heads, shape.kv_heads.min(columns));
        let heads_per_block =
            heads_per_block.of(shape.kv_heads).map_or(fewest, |heads| heads.clamp(fewest, shape.kv_heads.max(fewest)));
        let blocks = divide_up(shape.kv_heads, heads_per_block);
        let columns_per_head = (columns / blocks.max(1)).max(1);
        // A state is there once: its heads have queries of their own.
        let most_copies = if shape.state.is_some() { 1 } else { shape.queries_per_head.min(columns_per_head).max(1) };
        let head_copies = head_copies.of(shape.queries_per_head).map_or(1, |copies| copies.clamp(1, most_copies));
        Self {
            shape,
            rows: rows.max(1),
            blocks,
            heads_per_block,
            columns_per_head,
            dimension_split: columns_per_head / head_copies,
            sequence_split: 1,
            head_copies,
        }
    }

    /// Dimensions of each head that a processing element holds at most.
    pub const fn dimensions_per_pe(&self) -> u64 {
        divide_up(self.shape.head_dim, self.dimension_split)
    }

    /// Places among which the tokens of a head are shared out.
    pub const fn token_places(&self) -> u64 {
        self.rows.saturating_mul(self.sequence_split)
    }

    /// Tokens of all users that a processing element holds at most, each to the reach of the layer.
    pub fn tokens_per_pe(&self, users: u64, context: u64) -> u64 {
        divide_up(users.saturating_mul(self.shape.reach.visible(context)), self.token_places())
    }

    /// Tokens of one user that a processing element holds at most: the scores that it computes for one query.
    pub fn tokens_of_one_user(&self, context: u64) -> u64 {
        divide_up(self.shape.reach.visible(context), self.token_places())
    }

    /// Query heads whose scores a processing element computes.
    pub const fn query_heads_per_pe(&self) -> u64 {
        divide_up(self.shape.queries_per_head, self.head_copies).saturating_mul(self.heads_per_block)
    }

    /// Elements of queries (or of their results, which take the same place) that a processing element holds per token.
    pub const fn query_elements_per_pe(&self) -> u64 {
        self.query_heads_per_pe().saturating_mul(self.dimensions_per_pe())
    }

    /// Elements that a processing element holds of each token that it holds a part of.
    pub const fn elements_per_token_and_pe(&self) -> u64 {
        if self.shape.state.is_some() {
            return 0;
        }
        let values = divide_up(self.shape.value_dim, self.dimension_split);
        self.dimensions_per_pe().saturating_add(values).saturating_mul(self.heads_per_block)
    }

    /// Values of a block's head for which a processing element holds states at most; 0 where there are none.
    pub fn state_values_per_pe(&self) -> u64 {
        let values = |state| divide_up(divide_up(self.shape.values_per_head(state), self.sequence_split), self.rows);
        self.shape.state.map_or(0, values)
    }

    /// Elements of states in the worst processing element, of one user.
    fn state_elements_per_pe(&self) -> u64 {
        self.state_values_per_pe().saturating_mul(self.dimensions_per_pe()).saturating_mul(self.heads_per_block)
    }

    /// Elements of a convolution's last inputs in the worst processing element, of one user.
    fn tail_elements_per_pe(&self) -> u64 {
        let Some(state) = self.shape.state else { return 0 };
        let keys = divide_up(self.dimensions_per_pe(), self.sequence_split);
        let channels = self.state_values_per_pe().saturating_add(2 * keys);
        state.tail.saturating_mul(channels).saturating_mul(self.heads_per_block)
    }

    /// Bytes of cache, or of states, over all processing elements, copies included and without rounding.
    pub fn held_bytes(&self, load: &KvLoad) -> Bytes {
        let contents = &self.shape;
        let Some(state) = contents.state else { return contents.cached_bytes(load) * self.head_copies };
        let values = contents.kv_heads.saturating_mul(contents.values_per_head(state));
        let keys = contents.kv_heads.saturating_mul(contents.head_dim);
        let copies = values.saturating_mul(self.dimension_split).saturating_add((2 * keys).saturating_mul(self.rows));
        let tail = load.activations.storage(copies.saturating_mul(state.tail));
        (DataType::Fp32.storage(values.saturating_mul(contents.head_dim)) + tail) * load.users
    }

    /// Bytes of cache, or of states, in the worst processing element.
    pub fn cache_bytes(&self, load: &KvLoad) -> Bytes {
        if self.shape.state.is_some() {
            let state = DataType::Fp32.storage(self.state_elements_per_pe());
            return (state + load.activations.storage(self.tail_elements_per_pe())) * load.users;
        }
        let tokens = self.tokens_per_pe(load.users, load.context);
        load.cache.storage(self.elements_per_token_and_pe().saturating_mul(tokens))
    }

    /// Tokens that `bytes` in every processing element hold when rows are levelled by shifting.
    pub fn tokens_when_levelled(&self, bytes: Bytes, cache: DataType) -> u64 {
        self.tokens_when_appended(bytes, cache).saturating_mul(self.rows)
    }

    /// Tokens that `bytes` in every processing element hold when keys are only appended: the last row is full first.
    pub fn tokens_when_appended(&self, bytes: Bytes, cache: DataType) -> u64 {
        let each = cache.storage(self.elements_per_token_and_pe()).0.max(1);
        (bytes.0 / each).saturating_mul(self.sequence_split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(users: u64, context: u64) -> KvLoad {
        KvLoad { users, context, micro_batch: 1, cache: DataType::Bf16, activations: DataType::Fp16 }
    }

    /// Cache, queries and scores.
    fn bytes(layout: &KvLayout, load: &KvLoad) -> Bytes {
        let scores = layout.query_heads_per_pe() * layout.tokens_of_one_user(load.context);
        let working = load.activations.storage(load.micro_batch * (layout.query_elements_per_pe() + scores));
        layout.cache_bytes(load) + working
    }

    fn choose(shape: KvContents, region: (u64, u64), load: &KvLoad, choice: KvLayoutChoice) -> KvLayout {
        KvLayout::choose(shape, region, choice, |layout| bytes(layout, load))
    }

    fn grouped(kv_heads: u64, head_dim: u64, queries_per_head: u64) -> KvContents {
        KvContents { kv_heads, head_dim, value_dim: head_dim, queries_per_head, reach: Reach::Full, state: None }
    }

    #[test]
    fn qwen3_coder_at_32k_by_hand() {
        // 8 heads of 128 over 755 columns: blocks of 94. 8 columns per head's width: 16 dimensions, 11 groups,
        // 32,768 / (234 * 11) -> 13 tokens; 2 * 16 * 13 * 2 B = 832 B.
        let shape = grouped(8, 128, 12);
        let layout = choose(shape, (755, 234), &load(1, 32_768), KvLayoutChoice::Balanced);
        assert_eq!((layout.columns_per_head, layout.dimension_split, layout.sequence_split), (94, 8, 11));
        assert_eq!(layout.cache_bytes(&load(1, 32_768)), Bytes(832));
        let published = choose(shape, (755, 234), &load(1, 32_768), KvLayoutChoice::WholeBlock);
        assert_eq!((published.dimension_split, published.sequence_split, published.dimensions_per_pe()), (94, 1, 2));
        assert_eq!(published.cache_bytes(&load(1, 32_768)), Bytes(2 * 2 * 141 * 2));
    }

    #[test]
    fn the_balanced_layout_is_the_best_of_all_splits() {
        for (shape, region, load) in [
            (grouped(8, 128, 12), (755, 234), load(1, 32_768)),
            (grouped(8, 128, 12), (755, 234), load(50, 8192)),
            (grouped(40, 128, 1), (125, 195), load(3, 4096)),
            (grouped(8, 64, 8), (5, 7), load(1, 100)),
            (KvContents { value_dim: 0, ..grouped(1, 576, 128) }, (755, 390), load(1, 32_768)),
        ] {
            let best = bytes(&choose(shape, region, &load, KvLayoutChoice::Balanced), &load);
            for split in (0..8).map(|power| 1 << power).chain([3, 9, 72, 144, 192, 288, 576, u64::MAX]) {
                let layout = KvLayout::with_dimension_split(shape, region, split);
                if split == u64::MAX || shape.head_dim.is_multiple_of(layout.dimension_split) {
                    assert!(best <= bytes(&layout, &load), "{split}");
                }
            }
        }
    }

    #[test]
    fn fewer_columns_than_heads() {
        let layout = KvLayout::with_dimension_split(grouped(8, 64, 1), (5, 7), u64::MAX);
        assert_eq!((layout.blocks, layout.heads_per_block, layout.columns_per_head), (4, 2, 1));
    }

    #[test]
    fn windows_and_chunks_cache_what_they_see() {
        let shape = KvContents { reach: Reach::Window(128), ..grouped(8, 64, 8) };
        let layout = KvLayout::with_dimension_split(shape, (80, 16), 1);
        assert_eq!(layout.tokens_per_pe(4, 1_000_000), 4); // 512 tokens over 160 places
        assert_eq!(layout.tokens_per_pe(4, 100), 400_u64.div_ceil(160));
    }

    /// Qwen3-Next: 16 key heads of 128, two value heads of 128 each; on 360 x 234 blocks of 22 columns: 256 values of a
    /// block over 234 rows, 128 keys over 22 columns.
    #[test]
    fn a_state_does_not_grow_with_the_context() {
        let state = Some(StateContents { value_dim: 128, tail: 3 });
        let shape = KvContents { value_dim: 0, state, ..grouped(16, 128, 2) };
        let layout = choose(shape, (360, 234), &load(3, 1), KvLayoutChoice::WholeBlock);
        assert_eq!((layout.blocks, layout.dimension_split, layout.sequence_split), (16, 22, 1));
        for context in [1, 1_000_000] {
            let load = load(3, context);
            assert_eq!(layout.cache_bytes(&load), Bytes(3 * (4 * 2 * 6 + 2 * 3 * (2 + 2 * 6))));
            assert_eq!(shape.cached_bytes(&load), Bytes(3 * (4 * 32 * 128 * 128 + 2 * 3 * 8192)));
            let copies = 2 * 3 * (4096 * 22 + 4096 * 234);
            assert_eq!(layout.held_bytes(&load), Bytes(3 * (4 * 32 * 128 * 128 + copies)));
        }
        // Fewer rows: two groups of columns share the values, and 16 keys are in each of 8 columns.
        let layout = KvLayout::with_dimension_split(shape, (256, 128), 8);
        assert_eq!((layout.sequence_split, layout.head_copies), (2, 1));
        assert_eq!(layout.cache_bytes(&load(1, 9)), Bytes(4 * 16 + 2 * 3 * (1 + 2 * 8)));
    }

    #[test]
    fn levelled_rows_hold_as_many_times_more_as_there_are_rows() {
        // Published for Llama-3-8B on 360 rows: 382 tokens appended, 137,548 shifted.
        let layout = KvLayout::with_dimension_split(grouped(8, 128, 4), (360, 360), u64::MAX);
        let each = layout.elements_per_token_and_pe() * 2;
        let appended = layout.tokens_when_appended(Bytes(382 * each), DataType::Fp16);
        let levelled = layout.tokens_when_levelled(Bytes(382 * each), DataType::Fp16);
        assert_eq!(appended, 382);
        assert_eq!(levelled / appended, 360);
        assert!(levelled.abs_diff(137_548) * 1000 < 137_548);
    }
}
