//! Programs with exact layouts: what the numeric reading executes.
//!
//! The same functions write a program for its cost and a program that can be executed. For the cost, a dimension that the
//! grid does not divide counts as `ceil(size / places)` everywhere, and a movement that an even division would not need is
//! left out. An exact program says which element lies where ([`wafersim_program::Layout`]), names the operands of every
//! compute step ([`wafersim_program::Formula`]) and holds every movement that the layouts need. Where the sizes divide, both
//! are the same steps with the same counts (tests/exact.rs).

use wafersim_program::formula::along;
use wafersim_program::{
    Axis, BufferId, Digit, Dimension, Field, Formula, Layout, Node, Operand, ReduceOperator, Region, Spread, Weight,
    WeightId, collective,
};
use wafersim_spec::DataType;
use wafersim_spec::model::{Attention, FeedForward, Role};

use crate::context::Kernel;
use crate::layer::{ExpertShape, KvShape, LayerShape};

/// What only an exact program needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Exact {
    /// Added to mean squares.
    pub norm_epsilon: f64,
    /// The rectangles that hold experts, seen from the region's corner: expert `e` lives in number `e mod cells`. Only for
    /// experts in rectangles.
    pub cells: Vec<Region>,
    /// The experts that the router has chosen for each token; empty where that is not known yet. Only for experts in
    /// rectangles: spread ones are chosen while the program runs.
    pub chosen: Vec<Vec<u64>>,
}

impl Exact {
    /// Without experts in rectangles.
    pub const fn new(norm_epsilon: f64) -> Self {
        Self { norm_epsilon, cells: Vec::new(), chosen: Vec::new() }
    }
}

/// Why there is no exact program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExactError {
    /// The layer has a part that no exact program is written for.
    #[error("{0} has no exact program")]
    Part(&'static str),
    /// The KV layout shares both the width of a head and its sequence among columns.
    #[error(
        "a KV layout with a dimension split of {dimensions} and a sequence split of {sequence} has no exact program: its \
         reductions would cross each other on one line; allowed: one of the two is 1"
    )]
    KvSplit {
        /// Columns that share a head's width.
        dimensions: u64,
        /// Groups of columns that share its sequence.
        sequence: u64,
    },
    /// The KV layout does not fit its region.
    #[error("the KV layout wants {wanted} columns of a region that has {columns}")]
    KvColumns {
        /// Columns of all blocks.
        wanted: u64,
        /// Columns of the region.
        columns: u64,
    },
    /// So many tokens at once.
    #[error("an exact decode layer takes one token at a time, not {0}")]
    Tokens(u64),
    /// More tokens wanted than the context has.
    #[error("a context of {context} tokens does not hold the {tokens} new ones")]
    Context {
        /// Tokens that are seen.
        context: u64,
        /// New ones among them.
        tokens: u64,
    },
    /// Rectangles of experts outside the region, or none.
    #[error("experts in rectangles need rectangles inside their region of {columns} x {rows}")]
    Cells {
        /// Columns of the region.
        columns: u64,
        /// Rows of the region.
        rows: u64,
    },
    /// A chosen expert that does not exist.
    #[error("expert {expert} was chosen, of {experts}")]
    Expert {
        /// Its number.
        expert: u64,
        /// How many there are.
        experts: u64,
    },
}

/// Whether a layer can be written exactly.
pub(crate) fn check(shape: &LayerShape<'_>, exact: &Exact) -> Result<(), ExactError> {
    let Attention::Grouped(grouped) = &shape.layer.attention else {
        return Err(ExactError::Part("latent attention"));
    };
    let has = |condition: bool, part: &'static str| if condition { Err(ExactError::Part(part)) } else { Ok(()) };
    has(grouped.sinks, "attention with sinks")?;
    has(grouped.rotary_dim != grouped.head_dim, "a partial rotary embedding")?;
    has(!grouped.head_dim.is_multiple_of(2), "a head of odd width")?;
    has(shape.layer.norms != 2, "a layer with norms of its outputs")?;
    has(shape.options.online_softmax, "online softmax (its reduction needs an operator that rescales)")?;
    has(shape.options.fused_norms, "a fused norm")?;
    let stored = [shape.precision.weights, shape.precision.small_weights, shape.precision.kv_cache];
    has(stored.into_iter().any(|stored| !stored.is_arithmetic()), "a stored format below 16 bit")?;
    let (region, kv) = (shape.region, shape.kv);
    if kv.dimension_split.max(1) > 1 && kv.sequence_split.max(1) > 1 {
        return Err(ExactError::KvSplit { dimensions: kv.dimension_split, sequence: kv.sequence_split });
    }
    let wanted = kv_blocks(kv, grouped.kv_heads).saturating_mul(kv.columns_per_head);
    let inside = kv.dimension_split.max(1).saturating_mul(kv.sequence_split.max(1)) <= kv.columns_per_head;
    if wanted > region.columns || !inside {
        return Err(ExactError::KvColumns { wanted, columns: region.columns });
    }
    if grouped.reach.visible(shape.context.saturating_add(shape.tokens)) < shape.context.saturating_add(shape.tokens) {
        return Err(ExactError::Part("a context beyond the window of a layer"));
    }
    if let FeedForward::Moe(moe) = &shape.layer.feed_forward {
        has(moe.shared_width > 0, "a shared expert")?;
        has(moe.expert_bias || moe.router_bias, "a mixture of experts with biases")?;
        if matches!(shape.experts, ExpertShape::Clustered { .. }) {
            let inside = |cell: &Region| cell.x + cell.columns <= region.columns && cell.y + cell.rows <= region.rows;
            if exact.cells.is_empty() || !exact.cells.iter().all(inside) {
                return Err(ExactError::Cells { columns: region.columns, rows: region.rows });
            }
            if let Some(&expert) = exact.chosen.iter().flatten().find(|expert| **expert >= moe.experts) {
                return Err(ExactError::Expert { expert, experts: moe.experts });
            }
        }
    }
    Ok(())
}

/// How heads lie on the columns of a region: whole blocks of columns for each head, or several heads in one column. The
/// rule of `wafersim_place::KvLayout`; columns that integer division leaves hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadBlocks {
    pub heads: u64,
    pub blocks: u64,
    pub width: u64,
}

impl HeadBlocks {
    pub fn new(heads: u64, columns: u64) -> Self {
        let heads = heads.max(1);
        let blocks = heads.div_ceil(heads.div_ceil(heads.min(columns.max(1))));
        Self { heads, blocks, width: (columns / blocks).max(1) }
    }

    /// The dimension of the heads.
    pub fn dimension(&self) -> Dimension {
        Dimension::split(self.heads, Digit::blocks(Axis::X, self.width, self.blocks))
    }

    /// Heads over their blocks, the width of each over the columns of its block.
    pub fn field(&self, name: &'static str, tokens: u64, head_dim: u64) -> Field {
        let spread = Spread::Pairs(Digit::inside(Axis::X, self.width));
        Field::new(name, Dimension::whole(tokens), vec![self.dimension(), Dimension { size: head_dim, spread }])
    }
}

fn kv_blocks(kv: KvShape, kv_heads: u64) -> u64 {
    kv_heads.div_ceil(kv.heads_per_block.max(1))
}

/// The layout of a KV cache, and of what attention makes of it.
#[derive(Debug, Clone, Copy)]
pub struct CacheLayout {
    /// KV heads.
    pub kv_heads: u64,
    /// Query heads that share a KV head.
    pub group: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Rows of the region.
    pub rows: u64,
    /// Blocks of columns.
    pub blocks: u64,
    /// Where placement put it.
    pub kv: KvShape,
}

impl CacheLayout {
    /// The cache of `kv_heads` heads on a region of `rows` rows.
    pub fn new(kv: KvShape, kv_heads: u64, group: u64, head_dim: u64, rows: u64) -> Self {
        Self { kv_heads, group, head_dim, rows, blocks: kv_blocks(kv, kv_heads), kv }
    }

    fn kv_head(&self) -> Dimension {
        Dimension::split(self.kv_heads, Digit::blocks(Axis::X, self.kv.columns_per_head, self.blocks))
    }

    fn dims_digit(&self) -> Digit {
        let split = self.kv.dimension_split.max(1);
        let limit = split * self.kv.sequence_split.max(1);
        // With a sequence split the dimension split is 1: every column is the only one of its kind.
        let stride = if split == 1 { self.kv.columns_per_head.max(1) } else { 1 };
        Digit { axis: Axis::X, first: 0, modulus: self.kv.columns_per_head, limit, stride, parts: split }
    }

    /// Groups of columns that share the sequence.
    pub fn groups(&self) -> Digit {
        let (split, groups) = (self.kv.dimension_split.max(1), self.kv.sequence_split.max(1));
        Digit {
            axis: Axis::X,
            first: 0,
            modulus: self.kv.columns_per_head,
            limit: split * groups,
            stride: split,
            parts: groups,
        }
    }

    fn dims(&self) -> Dimension {
        Dimension { size: self.head_dim, spread: Spread::Pairs(self.dims_digit()) }
    }

    fn cached(&self, tokens: u64) -> Dimension {
        Dimension { size: tokens, spread: Spread::Levelled { rows: self.rows, groups: self.groups() } }
    }

    /// Keys or values of `tokens` tokens.
    pub fn cache(&self, name: &'static str, tokens: u64) -> Field {
        Field::new(name, self.cached(tokens), vec![self.kv_head(), self.dims()])
    }

    /// Keys or values of the token number `token` alone, in the columns that will hold it, in every row.
    pub fn new_token(&self, name: &'static str, token: u64) -> Field {
        let groups = self.groups();
        if groups.parts == 1 {
            return Field::new(name, Dimension::whole(1), vec![self.kv_head(), self.dims()]);
        }
        let spread = Spread::At { digit: groups, number: token % groups.parts };
        Field::new(name, Dimension::whole(1), vec![self.kv_head(), Dimension { size: self.head_dim, spread }])
    }

    /// Keys or values of one token, of whichever row.
    pub fn kv(&self, name: &'static str) -> Field {
        Field::new(name, Dimension::whole(1), vec![self.kv_head(), self.dims()])
    }

    /// Queries, or results of attention, in the columns whose keys they meet.
    pub fn heads(&self, name: &'static str, tokens: u64) -> Field {
        let inner = vec![self.kv_head(), Dimension::whole(self.group), self.dims()];
        Field::new(name, Dimension::whole(tokens), inner)
    }

    /// Scores against `visible` cached tokens.
    pub fn scores(&self, tokens: u64, visible: u64) -> Field {
        let inner = vec![self.kv_head(), Dimension::whole(self.group), self.cached(visible)];
        Field::new("scores", Dimension::whole(tokens), inner)
    }

    /// A number for each query head.
    pub fn statistic(&self, tokens: u64) -> Field {
        Field::new("statistic", Dimension::whole(tokens), vec![self.kv_head(), Dimension::whole(self.group)])
    }

    /// What of the result a place multiplies: the columns that hold the same share it out.
    pub fn projected(&self, tokens: u64) -> Field {
        let field = self.heads("attention", tokens);
        if self.groups().parts > 1 { field.shared(self.groups()) } else { field }
    }
}

/// Whether two fields hold the same elements in each column of a region, in whichever order.
pub(crate) fn same_columns(a: &Field, b: &Field, columns: u64) -> bool {
    (0..columns).all(|column| {
        let [mut a, mut b] = [a, b].map(|field| field.inner_at((column, 0)));
        a.sort_unstable();
        b.sort_unstable();
        a == b
    })
}

/// A table that one axis shares out.
pub(crate) fn table(name: &'static str, rows: u64, width: u64, axis: Axis, region: Region) -> Field {
    Field::new(name, Dimension::whole(rows), vec![along(width, axis, region)])
}

/// A table that every place holds.
pub(crate) fn everywhere(name: &'static str, rows: u64, width: u64) -> Field {
    Field::new(name, Dimension::whole(rows), vec![Dimension::whole(width)])
}

/// The first field of a buffer.
pub(crate) const fn first(buffer: BufferId) -> Operand {
    Operand::new(buffer, 0)
}

impl Kernel {
    /// Declares a buffer of activations: of so many elements, or in exact programs with these fields.
    pub fn declare(&mut self, name: &'static str, elements: u64, fields: impl FnOnce() -> Vec<Field>) -> BufferId {
        self.declare_typed(name, elements, self.precision.activations, fields)
    }

    /// The same with a data type.
    pub fn declare_typed(
        &mut self,
        name: &'static str,
        elements: u64,
        data_type: DataType,
        fields: impl FnOnce() -> Vec<Field>,
    ) -> BufferId {
        if self.exact.is_some() {
            let layout = Layout { region: self.region(), fields: fields() };
            self.program.laid_buffer(name, data_type, layout)
        } else {
            self.typed_buffer(name, elements, data_type)
        }
    }

    /// Gives a compute step its meaning, in exact programs.
    pub fn means(&self, node: Node, formula: impl FnOnce() -> Formula) -> Node {
        let Some(_) = self.exact else { return node };
        match node {
            Node::Step(mut step) => {
                if let wafersim_program::Action::Compute(compute) = &mut step.action {
                    compute.formula = Some(formula());
                }
                Node::Step(step)
            }
            other => other,
        }
    }

    /// Gives the last of several nodes its meaning.
    pub fn last_means(&self, mut nodes: Vec<Node>, formula: impl FnOnce() -> Formula) -> Vec<Node> {
        if let Some(last) = nodes.pop() {
            nodes.push(self.means(last, formula));
        }
        nodes
    }

    /// The declared layout of a field.
    pub fn field(&self, operand: Operand) -> Field {
        let fields = self.program.buffer_of(operand.buffer).layout.as_ref().map(|layout| &layout.fields);
        let field = fields.and_then(|fields| fields.get(operand.field as usize)).cloned();
        field.unwrap_or_else(|| Field::new("", Dimension::whole(0), Vec::new()))
    }

    /// The weight of a product between two fields on the region.
    pub fn weight(&mut self, role: Role, inputs: Field, outputs: Field) -> WeightId {
        let region = self.region();
        self.program.weight(Weight::new(role, region, inputs, outputs))
    }

    /// All-reduces inside `blocks` blocks of `width` columns. In exact programs each block is a region of its own.
    pub fn block_all_reduce(
        &mut self,
        width: u64,
        blocks: u64,
        payload: BufferId,
        operator: ReduceOperator,
    ) -> Vec<Node> {
        if self.exact.is_none() {
            return collective::segment_all_reduce(&mut self.program, Axis::X, width, 1, payload, operator);
        }
        self.blocks_of_columns(blocks, width, width, payload, operator)
    }

    /// All-reduces over the first `width` columns of each block of `pitch` columns.
    pub(crate) fn blocks_of_columns(
        &mut self,
        blocks: u64,
        pitch: u64,
        width: u64,
        payload: BufferId,
        operator: ReduceOperator,
    ) -> Vec<Node> {
        if width <= 1 {
            return Vec::new();
        }
        let outer = self.program.region;
        let mut branches = Vec::new();
        for block in 0..blocks {
            self.program.region = Region::new(outer.x + block * pitch, outer.y, width, outer.rows);
            let groups = collective::default_groups(width);
            branches.push(Node::Sequence(collective::all_reduce(
                &mut self.program,
                Axis::X,
                groups,
                payload,
                operator,
            )));
        }
        self.program.region = outer;
        match branches.len() {
            1 => branches,
            _ => vec![Node::Parallel(branches)],
        }
    }
}
