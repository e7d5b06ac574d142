//! Where heads and the KV cache lie on the columns and rows of a region.
//!
//! Columns are divided into blocks, one for each KV head (or several heads, where there are more heads than columns). In a
//! block the columns go, fastest first: groups that share the sequence, parts of a head's width, copies that share the query
//! heads. (Neighbours share the sequence: two of three reductions of a layer's attention run over them, and reductions of
//! members that are not neighbours run in turn.) Columns that are left over at the end of the region hold nothing.

use wafersim_mapping::KvMapping;
use wafersim_program::{Axis, Digit, Dimension, Field, Region, Spread};

/// Heads over a line of columns: a run of neighbouring columns for each head, or several heads in one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadColumns {
    pub heads: u64,
    pub blocks: u64,
    /// Columns of a block.
    pub width: u64,
}

impl HeadColumns {
    pub fn new(heads: u64, columns: u64) -> Self {
        let heads = heads.max(1);
        let blocks = heads.div_ceil(heads.div_ceil(heads.min(columns.max(1))));
        Self { heads, blocks, width: (columns / blocks).max(1) }
    }

    /// The first column of a head.
    pub fn first_column(&self, head: u64) -> u64 {
        even_part(self.heads, self.blocks, head).saturating_mul(self.width)
    }

    /// The heads, over the blocks.
    pub fn heads(&self) -> Dimension {
        Dimension::split(self.heads, Digit::blocks(Axis::X, self.width, self.blocks))
    }

    /// Heads over their blocks, the width of each over the columns of its block; rotary pairs stay together.
    pub fn field(&self, name: &'static str, tokens: u64, head_dim: u64) -> Field {
        let spread = Spread::Pairs(Digit::inside(Axis::X, self.width));
        Field::new(name, Dimension::whole(tokens), vec![self.heads(), Dimension { size: head_dim, spread }])
    }

    /// The columns in use of a region.
    pub fn in_use(&self, region: Region) -> Region {
        Region::new(region.x, region.y, self.blocks * self.width, region.rows)
    }
}

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
}

impl KvLies {
    /// The cache of some heads on a region of `rows` rows.
    pub(crate) fn new(kv: &KvMapping, heads: HeadSizes, rows: u64) -> Self {
        Self {
            kv_heads: heads.kv_heads,
            group: heads.group,
            key_dim: heads.key_dim,
            value_dim: heads.value_dim,
            rows,
            blocks: heads.kv_heads.div_ceil(kv.heads_per_block.max(1)).max(1),
            dims: kv.dimension_split.max(1),
            groups: kv.sequence_split.max(1),
            copies: kv.head_copies.max(1),
        }
    }

    /// Columns of a block.
    pub const fn pitch(&self) -> u64 {
        self.dims.saturating_mul(self.groups).saturating_mul(self.copies)
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

    /// Whether each column is the only one that holds its part of a head: queries can be made where they are needed.
    pub const fn every_column_has_its_own(&self) -> bool {
        self.groups == 1 && self.copies == 1
    }

    fn kv_head(&self) -> Dimension {
        Dimension::split(self.kv_heads, Digit::blocks(Axis::X, self.pitch(), self.blocks))
    }

    /// The query heads of a KV head, over the copies.
    fn queries(&self) -> Dimension {
        let across = self.dims * self.groups;
        let digit =
            Digit { axis: Axis::X, modulus: self.pitch(), limit: self.pitch(), stride: across, parts: self.copies };
        Dimension::split(self.group, digit)
    }

    fn dims_digit(&self) -> Digit {
        let across = self.dims * self.groups;
        Digit { axis: Axis::X, modulus: across, limit: across, stride: self.groups, parts: self.dims }
    }

    /// Groups of columns that share the sequence.
    pub fn groups_digit(&self) -> Digit {
        Digit { axis: Axis::X, modulus: self.groups, limit: self.groups, stride: 1, parts: self.groups }
    }

    fn width(&self, size: u64) -> Dimension {
        Dimension { size, spread: Spread::Pairs(self.dims_digit()) }
    }

    fn cached(&self, tokens: u64) -> Dimension {
        Dimension { size: tokens, spread: Spread::Levelled { rows: self.rows, groups: self.groups_digit() } }
    }

    /// Keys of `tokens` cached tokens.
    pub fn keys(&self, tokens: u64) -> Field {
        Field::new("k", self.cached(tokens), vec![self.kv_head(), self.width(self.key_dim)])
    }

    /// Values of `tokens` cached tokens.
    pub fn values(&self, tokens: u64) -> Field {
        Field::new("v", self.cached(tokens), vec![self.kv_head(), self.width(self.value_dim)])
    }

    /// Keys or values of new tokens, in every column that holds their part of a head.
    pub fn entry(&self, name: &'static str, tokens: u64, width: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), self.width(width)])
    }

    /// Keys or values of the token number `token` alone, in the columns that will hold it, in every row.
    pub fn new_token(&self, name: &'static str, token: u64, width: u64) -> Field {
        if self.groups == 1 {
            return self.entry(name, 1, width);
        }
        let at = Spread::At { digit: self.groups_digit(), number: token % self.groups };
        let dims = Dimension { size: width, spread: Spread::Meet(vec![at, Spread::Pairs(self.dims_digit())]) };
        Field::new(name, Dimension::whole(1), vec![self.kv_head(), dims])
    }

    /// Queries in the columns whose keys they meet.
    pub fn query(&self, name: &'static str, tokens: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), self.queries(), self.width(self.key_dim)])
    }

    /// What attention makes of the values, in the columns that hold them.
    pub fn result(&self, tokens: u64) -> Field {
        Field::new("result", Dimension::whole(tokens), vec![self.kv_head(), self.queries(), self.width(self.value_dim)])
    }

    /// Scores against `visible` cached tokens.
    pub fn scores(&self, tokens: u64, visible: u64) -> Field {
        Field::new("scores", Dimension::whole(tokens), vec![self.kv_head(), self.queries(), self.cached(visible)])
    }

    /// A number for each query head.
    pub fn statistic(&self, name: &'static str, tokens: u64) -> Field {
        Field::new(name, Dimension::whole(tokens), vec![self.kv_head(), self.queries()])
    }

    /// What of the result a place multiplies: the columns that hold the same share it out.
    pub fn projected(&self, tokens: u64) -> Field {
        let field = self.result(tokens);
        if self.groups > 1 { field.shared(self.groups_digit()) } else { field }
    }
}
