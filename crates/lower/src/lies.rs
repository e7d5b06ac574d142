//! Where heads and the KV cache lie on the columns and rows of a region.
//!
//! Columns are divided into blocks, one for each KV head (or several heads, where there are more heads than columns).
//! In a block the columns go, fastest first: groups that share the sequence, parts of a head's width, copies that share
//! the query heads. (Neighbours share the sequence: two of three reductions of a layer's attention run over them, and
//! reductions of members that are not neighbours run in turn.) Columns that are left over at the end of the region hold
//! nothing.
//!
//! Of latent attention there is one KV head, whose keys are latents and rotary keys beside them; its values are the
//! latents. The query heads lie over the copies.
//!
//! Queries, keys and values are made in the block that wants them, each column of the groups that share a sequence a
//! part of what all of them want: they have to go no farther than that group is wide.

use wafersim_mapping::{Append, KvMapping};
use wafersim_program::{Axis, Cached, Digit, Dimension, Field, Region, RowOrder, Spread};
use wafersim_spec::model::Reach;

/// The part that holds an element of a dimension that is shared out evenly ([`wafersim_program::layout::even`]).
const fn even_part(size: u64, parts: u64, element: u64) -> u64 {
    match size.checked_div(parts) {
        Some(each) if each > 0 && element < each * parts => element / each,
        Some(each) => element.saturating_sub(each * parts),
        None => 0,
    }
}

/// The layout of a KV cache, and of what attention makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLies {
    /// KV heads.
    pub kv_heads: u64,
    /// Query heads that share a KV head.
    pub group: u64,
    /// Width of a key.
    pub key_dim: u64,
    /// Width of a value.
    pub value_dim: u64,
    /// What keys and values are.
    pub contents: Contents,
    /// Rows of the region.
    pub rows: u64,
    /// Blocks of columns.
    pub blocks: u64,
    /// Columns that share a head's width.
    pub dims: u64,
    /// Groups of columns that share the sequence.
    pub groups: u64,
    /// Copies that share the query heads.
    pub copies: u64,
    /// Users, each with a cache of its own.
    pub users: u64,
    /// How rows share the sequence.
    pub order: RowOrder,
    /// How far back the layer looks.
    pub reach: Reach,
}

/// What attention works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadSizes {
    /// KV heads.
    pub kv_heads: u64,
    /// Query heads that share a KV head.
    pub group: u64,
    /// Width of a key.
    pub key_dim: u64,
    /// Width of a value.
    pub value_dim: u64,
    /// What keys and values are.
    pub contents: Contents,
    /// How far back the layer looks.
    pub reach: Reach,
}

/// What keys and values are, with the dimensions that a rotary embedding combines in pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Vectors of each head, the leading dimensions of keys rotated.
    Heads {
        /// How many.
        rotary: u64,
        /// Whether values are keys before their rotation, and lie like them.
        shared: bool,
    },
    /// Latents, with a rotary key beside each; values are the same latents.
    Latents {
        /// Width of the rotary key.
        rotary: u64,
        /// Width of the key of an indexer, whose leading dimensions are rotated alike; 0 without one.
        index: u64,
    },
    /// Keys and values of each head that were made from latents: the rotated dimensions first.
    Expanded {
        /// How many.
        rotary: u64,
    },
}

impl KvLies {
    /// The cache of some heads on a region of `rows` rows.
    pub(crate) fn new(kv: &KvMapping, heads: HeadSizes, rows: u64) -> Self {
        Self {
            kv_heads: heads.kv_heads,
            group: heads.group,
            key_dim: heads.key_dim,
            value_dim: heads.value_dim,
            contents: heads.contents,
            rows,
            blocks: heads.kv_heads.div_ceil(kv.heads_per_block.max(1)).max(1),
            dims: kv.dimension_split.max(1),
            groups: kv.sequence_split.max(1),
            copies: kv.head_copies.max(1),
            users: 1,
            order: match kv.append {
                Append::Shifted => RowOrder::Level,
                Append::RoundRobin => RowOrder::Dealt,
            },
            reach: heads.reach,
        }
    }

    /// Columns of a block.
    pub const fn pitch(&self) -> u64 {
        self.of_copy().saturating_mul(self.copies)
    }

    /// Columns of a copy.
    pub const fn of_copy(&self) -> u64 {
        self.dims.saturating_mul(self.groups)
    }

    /// The first column of the block that wants a head, of `heads` heads that share out the KV heads.
    pub fn first_column(&self, head: u64, heads: u64) -> u64 {
        let kv_head = head / (heads / self.kv_heads.max(1)).max(1);
        even_part(self.kv_heads, self.blocks, kv_head).saturating_mul(self.pitch())
    }

    /// The columns in use of a region.
    pub const fn in_use(&self, region: Region) -> Region {
        Region::new(region.x, region.y, self.blocks.saturating_mul(self.pitch()), region.rows)
    }

    /// The oldest token that a query at the end of `tokens` tokens sees.
    pub const fn oldest(&self, tokens: u64) -> u64 {
        self.reach.oldest(tokens)
    }

    fn kv_head(&self) -> Dimension {
        Dimension::split(self.kv_heads, Digit::blocks(Axis::X, self.pitch(), self.blocks))
    }

    /// The query heads of a KV head, over the copies.
    fn queries(&self) -> Dimension {
        Dimension::split(self.group, self.copies_digit())
    }

    /// Copies of a block.
    pub fn copies_digit(&self) -> Digit {
        let (pitch, stride) = (self.pitch(), self.of_copy());
        Digit { axis: Axis::X, first: 0, modulus: pitch, limit: pitch, stride, parts: self.copies }
    }

    /// Columns that share the width of a head.
    pub fn dims_digit(&self) -> Digit {
        let across = self.of_copy();
        Digit { axis: Axis::X, first: 0, modulus: across, limit: across, stride: self.groups, parts: self.dims }
    }

    /// Groups of columns that share the sequence.
    pub fn groups_digit(&self) -> Digit {
        Digit { axis: Axis::X, first: 0, modulus: self.groups, limit: self.groups, stride: 1, parts: self.groups }
    }

    /// All columns of a copy.
    pub fn copy_digit(&self) -> Digit {
        Digit::inside(Axis::X, self.of_copy())
    }

    /// Whether latents are cached, and rotary keys beside them.
    pub const fn is_latent(&self) -> bool {
        matches!(self.contents, Contents::Latents { .. })
    }

    /// Dimensions that are rotated.
    pub const fn rotary(&self) -> u64 {
        match self.contents {
            Contents::Heads { rotary, .. } | Contents::Latents { rotary, .. } | Contents::Expanded { rotary } => rotary,
        }
    }

    fn key_width(&self) -> Dimension {
        let digit = self.dims_digit();
        let spread = match self.contents {
            Contents::Heads { rotary, .. } if rotary == 0 || rotary >= self.key_dim => Spread::Pairs(digit),
            Contents::Heads { rotary, .. } => Spread::LeadingPairs { digit, leading: rotary },
            Contents::Latents { .. } => Spread::Split(digit),
            Contents::Expanded { rotary } => Spread::Beside {
                size: rotary,
                first: Box::new(Spread::Pairs(digit)),
                behind: Box::new(Spread::Split(digit)),
            },
        };
        Dimension { size: self.key_dim, spread }
    }

    fn value_width(&self) -> Dimension {
        let digit = self.dims_digit();
        let spread = match self.contents {
            Contents::Heads { shared: true, .. } => return self.key_width(),
            Contents::Heads { .. } => Spread::Pairs(digit),
            Contents::Latents { .. } | Contents::Expanded { .. } => Spread::Split(digit),
        };
        Dimension { size: self.value_dim, spread }
    }

    /// The rotated part of a key alone.
    pub fn rotated_width(&self) -> Dimension {
        Dimension { size: self.rotary(), spread: Spread::Pairs(self.dims_digit()) }
    }

    /// A vector of each KV head that lies evenly over the columns that share a head's width.
    pub fn of_kv_heads(&self, name: &'static str, tokens: u64, size: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), Dimension::split(size, self.dims_digit())])
    }

    /// What is cached of a token: names and widths of keys and values, or of latents and rotary keys.
    fn cached_widths(&self) -> [(&'static str, Dimension); 2] {
        if self.is_latent() {
            [("latent", self.key_width()), ("rotary_key", self.rotated_width())]
        } else {
            [("k", self.key_width()), ("v", self.value_width())]
        }
    }

    /// Where the tokens from `first` on of one user lie.
    pub fn cached_tokens(&self, first: u64) -> Cached {
        Cached { first, users: 1, rows: self.rows, groups: self.groups_digit(), order: self.order }
    }

    fn cached(&self, tokens: u64, first: u64) -> Dimension {
        Dimension { size: tokens, spread: Spread::Cached(self.cached_tokens(first)) }
    }

    /// The same of all users.
    fn cached_of_all(&self, tokens: u64, first: u64) -> Dimension {
        let cached = Cached { users: self.users, ..self.cached_tokens(first) };
        Dimension { size: tokens.saturating_mul(self.users), spread: Spread::Cached(cached) }
    }

    /// Keys of the tokens from `first` on of `tokens` of each user, or latents.
    pub fn keys(&self, tokens: u64, first: u64) -> Field {
        let [(name, width), _] = self.cached_widths();
        Field::new(name, self.cached_of_all(tokens, first), vec![self.kv_head(), width])
    }

    /// Values of the tokens from `first` on of `tokens` of each user, or rotary keys.
    pub fn values(&self, tokens: u64, first: u64) -> Field {
        let [_, (name, width)] = self.cached_widths();
        Field::new(name, self.cached_of_all(tokens, first), vec![self.kv_head(), width])
    }

    /// An indexer's heads beside this cache of latents: their one key lies in the columns that share a latent's width.
    pub fn of_indexer(&self, heads: u64) -> Option<Self> {
        let Contents::Latents { rotary, index } = self.contents else { return None };
        (index > 0).then_some(Self {
            group: heads,
            key_dim: index,
            value_dim: index,
            contents: Contents::Heads { rotary, shared: false },
            ..*self
        })
    }

    /// The same entries where each of `tokens` new ones has a cache of its own, of so many in every place.
    pub fn packed(&self, tokens: u64) -> Self {
        let contents = match self.contents {
            Contents::Latents { rotary, .. } => Contents::Latents { rotary, index: 0 },
            other => other,
        };
        Self { users: tokens, contents, reach: Reach::Full, ..*self }
    }

    /// `size` numbers for each KV head, in every place.
    pub fn numbers(&self, name: &'static str, tokens: u64, size: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), Dimension::whole(size)])
    }

    /// A number for each of `cached` tokens, in every column that holds a part of it.
    pub fn of_tokens(&self, name: &'static str, tokens: u64, cached: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), self.cached(cached, 0)])
    }

    /// A number for each cached token of each user, likewise.
    pub fn marks(&self, name: &'static str, tokens: u64) -> Field {
        Field::new(name, self.cached_of_all(tokens, 0), vec![self.kv_head()])
    }

    /// Keys of new tokens, or latents, in every column that holds their part of a head.
    pub fn new_keys(&self, tokens: u64) -> Field {
        let [(name, width), _] = self.cached_widths();
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), width])
    }

    /// Values of new tokens, or rotary keys, likewise.
    pub fn new_values(&self, tokens: u64) -> Field {
        let [_, (name, width)] = self.cached_widths();
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), width])
    }

    /// Vectors of all query heads, over the copies: `width` of each.
    pub fn heads(&self, name: &'static str, tokens: u64, width: Dimension) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), self.queries(), width])
    }

    /// A latent of each query head, each of the columns that share a sequence with a part of what lies here of it.
    pub fn shared_latents(&self, name: &'static str, tokens: u64) -> Field {
        let spread = match self.groups {
            1 => self.key_width().spread,
            _ => Spread::Shared { spread: Box::new(self.key_width().spread), digit: self.groups_digit() },
        };
        self.heads(name, tokens, Dimension { size: self.key_dim, spread })
    }

    /// Queries in the columns whose keys they meet.
    pub fn query(&self, tokens: u64) -> Field {
        self.heads("q", tokens, self.key_width())
    }

    /// What is made of a field: each of the columns that share a sequence a part of what all of them want.
    pub fn made(&self, wanted: Field) -> Field {
        if self.groups > 1 { wanted.shared(self.groups_digit()) } else { wanted }
    }

    /// What attention makes of the values, in the columns that hold them.
    pub fn result(&self, tokens: u64) -> Field {
        self.heads("result", tokens, self.value_width())
    }

    /// Scores against the tokens from `first` on of `cached`.
    pub fn scores(&self, tokens: u64, cached: u64, first: u64) -> Field {
        let inner = vec![self.kv_head(), self.queries(), self.cached(cached, first)];
        Field::new("scores", Dimension::whole(tokens), inner)
    }

    /// A number for each query head.
    pub fn statistic(&self, name: &'static str, tokens: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), self.queries()])
    }

    /// A number for each KV head.
    pub fn key_statistic(&self, name: &'static str, tokens: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head()])
    }

    /// What of the result a place multiplies: the columns that hold the same share it out.
    pub fn projected(&self, tokens: u64) -> Field {
        self.made(self.result(tokens))
    }
}
