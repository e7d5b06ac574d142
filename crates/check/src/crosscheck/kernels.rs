//! The kernels of a cross-check: what each is on a grid.
//!
//! Sizes grow with the grid so that tiles stay the same: 12 elements of a vector in a processing element for products
//! with vectors and decode layers, 4 x 4 tiles for products of matrices, 2 elements and one token a row for prefill.
//! Experts are 64 of which 4 are chosen; clustered ones lie in rectangles of an eighth of each side.

use wafersim_kernels::Groups;
use wafersim_kernels::gemm::{self, Broadcast, Gemm};
use wafersim_kernels::gemv::{self, Gemv};
use wafersim_mapping::Recipe;
use wafersim_program::collective::{self, Along, Sharing, SplitRoots, Tree};
use wafersim_program::pieces::ring_words;
use wafersim_program::{Axis, Node, Program, ReduceOperator, Region, Root, Stagger};
use wafersim_spec::model::{
    Attention, FeedForward, Gating, GroupedAttention, HeadValues, Layer, Moe, Reach, Selection,
};
use wafersim_spec::{DataType, Wafer};

use super::Grid;
use super::mapped::CheckedLayer;

/// Elements of a vector in one processing element.
const SHARE: u64 = 12;
/// Rows and columns of a tile in products of matrices.
const TILE: u64 = 4;
/// Tokens in the cache, for each row of processing elements.
pub(super) const CACHED_PER_ROW: u64 = 8;
pub(super) const EXPERTS: u64 = 64;
pub(super) const TOP_K: u64 = 4;

/// How far kernels go that take as many rounds as the grid has columns: their wavelet-hops grow with the cube of the
/// side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A minute or two for all kernels and grids.
    Short,
    /// Everything that was asked for.
    Full,
}

/// A kernel that both readings run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckedKernel {
    /// MeshGEMV that reduces along y.
    MeshGemvY,
    /// MeshGEMV that reduces along x.
    MeshGemvX,
    /// The vendor library's matrix-vector product.
    ChainGemv,
    /// MeshGEMM with alignment.
    MeshGemm,
    /// SUMMA with streaming multicasts.
    Summa,
    /// SUMMA with the vendor library's broadcasts.
    SummaLibrary,
    /// A two-level all-reduce of 24 fp16 values along x.
    AllReduce,
    /// A multicast of 24 fp16 values along y.
    Multicast,
    /// A tree of three levels along x: 24 fp16 values to one root.
    TreeReduce,
    /// The same with a root that differs by row.
    StaggeredRoots,
    /// A chain of groups along x whose 96 fp16 values two neighbouring roots share.
    SplitRoots,
    /// 16 fp16 values for each of the 8 columns of a segment that end with their sums.
    ReduceScatter,
    /// The same columns' pieces, back to all of them.
    AllGather,
    /// 24 fp16 values from the middle to the whole grid, over both axes.
    Broadcast,
    /// RMSNorm along y.
    RmsNorm,
    /// Scores, softmax and values of a decoding token.
    Attention,
    /// Router and choice of experts.
    Router,
    /// Clustered experts alone: dispatch, the network, combine.
    DispatchCombine,
    /// A dense decode layer.
    DecodeDense,
    /// A decode layer with experts over the whole region.
    DecodeSpread,
    /// A decode layer with experts in rectangles.
    DecodeClustered,
    /// A dense prefill layer.
    Prefill,
    /// A prefill layer with spread experts.
    PrefillSpread,
}

impl CheckedKernel {
    /// All kernels in the order in which they are shown.
    pub const ALL: [Self; 23] = [
        Self::MeshGemvY,
        Self::MeshGemvX,
        Self::ChainGemv,
        Self::MeshGemm,
        Self::Summa,
        Self::SummaLibrary,
        Self::AllReduce,
        Self::Multicast,
        Self::TreeReduce,
        Self::StaggeredRoots,
        Self::SplitRoots,
        Self::ReduceScatter,
        Self::AllGather,
        Self::Broadcast,
        Self::RmsNorm,
        Self::Attention,
        Self::Router,
        Self::DispatchCombine,
        Self::DecodeDense,
        Self::DecodeSpread,
        Self::DecodeClustered,
        Self::Prefill,
        Self::PrefillSpread,
    ];

    /// Their names, in the same order.
    pub const NAMES: [&'static str; 23] = [
        "mesh_gemv_y",
        "mesh_gemv_x",
        "chain_gemv",
        "mesh_gemm",
        "summa",
        "summa_library",
        "all_reduce",
        "multicast",
        "tree_reduce",
        "staggered_roots",
        "split_roots",
        "reduce_scatter",
        "all_gather",
        "broadcast",
        "rms_norm",
        "attention",
        "router",
        "dispatch_combine",
        "decode_dense",
        "decode_spread",
        "decode_clustered",
        "prefill",
        "prefill_spread",
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The kernel of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kernel| kernel.name() == name)
    }

    /// Whether a grid is within the extent.
    pub const fn is_within(self, grid: Grid, extent: Extent) -> bool {
        /// Processing elements times the longer side.
        const SHORT: u64 = 160 * 160 * 160;
        let rounds =
            matches!(self, Self::MeshGemm | Self::Summa | Self::SummaLibrary | Self::Prefill | Self::PrefillSpread);
        let longer = if grid.columns > grid.rows { grid.columns } else { grid.rows };
        match extent {
            Extent::Full => true,
            Extent::Short => !rounds || grid.columns.saturating_mul(grid.rows).saturating_mul(longer) <= SHORT,
        }
    }

    /// The layer that it is on a grid, or of which it is a part.
    fn layer(self, grid: Grid) -> Option<CheckedLayer> {
        let hidden = SHARE * grid.columns.max(grid.rows);
        let width = expert_width(grid);
        let decode = |layer, clustered| CheckedLayer { layer, hidden, grid, prefill: false, clustered };
        let prefill = |layer, hidden| CheckedLayer { layer, hidden, grid, prefill: true, clustered: false };
        Some(match self {
            Self::DecodeDense | Self::RmsNorm | Self::Attention => decode(dense(hidden, 3 * hidden), false),
            Self::DecodeSpread | Self::Router => decode(experts(hidden, width), false),
            Self::DecodeClustered | Self::DispatchCombine => decode(experts(hidden, width), true),
            Self::Prefill => prefill(dense(2 * grid.columns, 2 * grid.columns), 2 * grid.columns),
            Self::PrefillSpread => prefill(experts(2 * grid.columns, grid.columns), 2 * grid.columns),
            _ => return None,
        })
    }

    /// Beginnings of the names of the operators that it has of its layer.
    const fn parts(self) -> &'static [&'static str] {
        match self {
            Self::RmsNorm => &["attention.norm"],
            Self::Attention => &["attention.scores", "attention.softmax", "attention.values"],
            Self::Router => &["router"],
            Self::DispatchCombine => &["experts."],
            _ => &[""],
        }
    }

    /// Its program on a grid; layers and their parts as a recipe says.
    ///
    /// # Errors
    /// Where a layer cannot be written so: why, in words.
    pub fn program(self, grid: Grid, wafer: &Wafer, recipe: &Recipe) -> Result<Program, String> {
        let Some(layer) = self.layer(grid) else { return Ok(self.by_itself(grid)) };
        let mut program = layer.program(wafer, recipe)?;
        let is_part = |name: &str| self.parts().iter().any(|part| name.starts_with(part));
        program.body.retain(|node| !matches!(node, Node::Operator { name, .. } if !is_part(name)));
        Ok(program)
    }

    /// The program of what is no part of a layer.
    fn by_itself(self, grid: Grid) -> Program {
        let Grid { columns, rows } = grid;
        let region = Region::new(0, 0, columns, rows);
        let hidden = SHARE * columns.max(rows);
        let vector = |axis| Gemv::fp16(region, hidden, hidden, axis);
        let product = Gemm { region, m: TILE * rows, k: TILE * columns, n: TILE * columns };
        match self {
            Self::MeshGemvY => gemv::mesh_gemv(&vector(Axis::Y), Groups::SquareRoot),
            Self::MeshGemvX => gemv::mesh_gemv(&vector(Axis::X), Groups::SquareRoot),
            Self::ChainGemv => gemv::chain_gemv(&vector(Axis::Y)),
            Self::MeshGemm => gemm::mesh_gemm(&product, true),
            Self::Summa => gemm::summa(&product, Broadcast::Asynchronous),
            Self::SummaLibrary => gemm::summa(&product, Broadcast::Library),
            Self::AllReduce => {
                let mut program = Program::new("all-reduce", region);
                let payload = program.buffer("payload", 24, DataType::Fp16);
                let groups = collective::default_groups(columns);
                let nodes = collective::all_reduce(&mut program, Axis::X, groups, payload, ReduceOperator::Add);
                program.push("all-reduce", nodes);
                program
            }
            Self::Multicast => {
                let mut program = Program::new("multicast", region);
                let payload = program.buffer("payload", 24, DataType::Fp16);
                let node = collective::multicast(&mut program, Axis::Y, 0, payload);
                program.push("multicast", vec![node]);
                program
            }
            Self::TreeReduce | Self::StaggeredRoots | Self::SplitRoots => tree(self, region),
            Self::ReduceScatter | Self::AllGather => pieces(self, region),
            Self::Broadcast => {
                let mut program = Program::new("broadcast", region);
                let payload = program.buffer("payload", 24, DataType::Fp16);
                let node = collective::broadcast(&mut program, region, (columns / 2, rows / 2), payload);
                program.push("broadcast", vec![node]);
                program
            }
            Self::RmsNorm
            | Self::Attention
            | Self::Router
            | Self::DispatchCombine
            | Self::DecodeDense
            | Self::DecodeSpread
            | Self::DecodeClustered
            | Self::Prefill
            | Self::PrefillSpread => Program::new(self.name(), region),
        }
    }
}

/// Reductions to the roots of a tree along x.
fn tree(kernel: CheckedKernel, region: Region) -> Program {
    let mut program = Program::new(kernel.name(), region);
    let split = kernel == CheckedKernel::SplitRoots;
    let payload = program.buffer("payload", if split { 96 } else { 24 }, DataType::Fp16);
    let along = Along { axis: Axis::X, payload, operator: ReduceOperator::Add };
    let sizes = sizes(region.columns, if split { 2 } else { 3 });
    let tree = Tree::of_sizes(region.columns, &sizes);
    let top = sizes.last().copied().unwrap_or(1);
    let stagger = Stagger { first: top / 3, step: 1, roots: top.div_ceil(3) };
    let tree = tree.and_then(|tree| {
        if kernel == CheckedKernel::StaggeredRoots { tree.with_root(Root::Staggered(stagger)) } else { Ok(tree) }
    });
    // Sizes that divide a line are always right for it.
    let tree = tree.unwrap_or_else(|_| Tree::two_level(region.columns, 1));
    let nodes = if split {
        let target = program.buffer("piece", 48, DataType::Fp16);
        collective::split_reduce(&mut program, region, &tree, along, SplitRoots { roots: 2.min(top), target })
    } else {
        collective::tree_reduce(&mut program, region, &tree, along)
    };
    program.push("reduce", nodes);
    program
}

/// Members of the levels of a tree that divide a line: each the largest divisor up to the root of what is left.
fn sizes(line: u64, levels: u32) -> Vec<u64> {
    let mut left = line;
    let below = (2..=levels).rev().map(|level| {
        let size = (1..=left).filter(|size| left.is_multiple_of(*size) && size.pow(level) <= left).max().unwrap_or(1);
        left /= size;
        size
    });
    let mut sizes: Vec<u64> = below.collect();
    sizes.push(left);
    sizes
}

/// Pieces of eight columns, as many words as go round at a time on either machine.
fn pieces(kernel: CheckedKernel, region: Region) -> Program {
    /// Words of the smaller queues, those of WSE-2.
    const QUEUE: u64 = 2;
    let mut program = Program::new(kernel.name(), region);
    let count = region.columns.min(8);
    let (whole, piece) =
        (program.buffer("whole", 16 * count, DataType::Fp16), program.buffer("piece", 16, DataType::Fp16));
    let segment = Sharing { axis: Axis::X, count, stride: 1, words: ring_words(QUEUE), source: whole, target: piece };
    let nodes = match kernel {
        CheckedKernel::AllGather => {
            collective::all_gather(&mut program, region, Sharing { source: piece, target: whole, ..segment })
        }
        _ => collective::reduce_scatter(&mut program, region, segment, ReduceOperator::Add),
    };
    program.push("pieces", nodes);
    program
}

fn expert_width(grid: Grid) -> u64 {
    grid.columns
}

/// A dense layer with one head as wide as the hidden size, as it was published.
fn dense(hidden: u64, width: u64) -> Layer {
    Layer {
        attention: Attention::Grouped(GroupedAttention {
            heads: 1,
            kv_heads: 1,
            head_dim: hidden,
            qkv_bias: false,
            output_bias: false,
            qk_norm: wafersim_spec::model::QkNorm::None,
            sinks: false,
            output_gate: false,
            head_gate: false,
            rotary_dim: hidden,
            reach: Reach::Full,
            query_rank: None,
            values: HeadValues::Plain,
        }),
        feed_forward: FeedForward::Dense { width, bias: false },
        norms: 2,
    }
}

fn experts(hidden: u64, width: u64) -> Layer {
    Layer { feed_forward: FeedForward::Moe(mixture(width)), ..dense(hidden, width) }
}

const fn mixture(width: u64) -> Moe {
    Moe {
        experts: EXPERTS,
        top_k: TOP_K,
        width,
        shared_width: 0,
        shared_gate: false,
        expert_bias: false,
        router_bias: false,
        selection: Selection::softmax(true),
        gating: Gating::Silu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kernels() {
        for (index, kernel) in CheckedKernel::ALL.into_iter().enumerate() {
            assert_eq!(kernel as usize, index, "the order of names");
            assert_eq!(CheckedKernel::of_name(kernel.name()), Some(kernel));
        }
        assert_eq!(CheckedKernel::of_name("mesh_gem"), None);
    }

    #[test]
    fn every_kernel_is_a_program_of_its_region() {
        let grid = Grid { columns: 9, rows: 7 };
        let (wafer, recipe) = (Wafer::builtin("wse3").unwrap(), Recipe::published());
        for kernel in CheckedKernel::ALL {
            let program = kernel.program(grid, &wafer, &recipe).unwrap();
            assert!(program.steps().count() > 0, "{}", kernel.name());
            assert!(program.steps().all(|step| step.region.columns <= 9 && step.region.rows <= 7), "{}", kernel.name());
        }
    }
}
