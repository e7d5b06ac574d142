//! Programs for tests and examples: the kernels of the library on a grid, a message, a contended all-gather. Owns no
//! physics.

use wafersim_kernels::Groups;
use wafersim_kernels::gemm::{self, Broadcast, Gemm};
use wafersim_kernels::gemv::{self, Gemv};
use wafersim_lower::{ExpertLoad, LayerRequest, LowerError, Routed, Scope, decode_layer, prefill_layer};
use wafersim_mapping::{KvMapping, LayerMapping};
use wafersim_program::{Action, Axis, Compute, Math, Multicast, Node, Operation, Program, Region, Step, Style, Work};
use wafersim_spec::DataType;
use wafersim_spec::model::{
    Attention, FeedForward, Gating, GroupedAttention, HeadValues, Layer, Moe, Reach, Selection,
};

/// One message over `hops`.
pub fn message(hops: u64, words: u64) -> Program {
    let mut program = Program::new("message", Region::new(0, 0, hops + 1, 1));
    let payload = program.buffer("payload", words, DataType::Fp32);
    let colors = program.new_colors(1);
    let cast =
        Multicast { axis: Axis::X, from: 0, span: hops + 1, stride: 1, style: Style::Streaming, payload, colors };
    let node = program.step(Action::Multicast(cast));
    program.push("message", vec![node]);
    program
}

/// A dense layer with one head as wide as the hidden size.
pub fn published_layer(hidden: u64, width: u64) -> Layer {
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

/// A layer of many experts; `width` is that of one expert.
pub fn expert_layer(hidden: u64, experts: u64, top_k: u64, width: u64) -> Layer {
    let dense = published_layer(hidden, width);
    let moe = Moe {
        experts,
        top_k,
        width,
        shared_width: 0,
        shared_gate: false,
        expert_bias: false,
        router_bias: false,
        selection: Selection::softmax(true),
        gating: Gating::Silu,
    };
    Layer { feed_forward: FeedForward::Moe(moe), ..dense }
}

/// A layer on a grid as published, in 16 bit.
pub struct OnGrid<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Columns and rows.
    pub grid: (u64, u64),
    /// Where keys and values lie.
    pub kv: KvMapping,
    /// Tokens that the last one sees, itself included.
    pub context: u64,
    /// Token-expert pairs.
    pub pairs: u64,
}

impl<'a> OnGrid<'a> {
    /// One head over all columns, one expert.
    pub fn new(layer: &'a Layer, hidden: u64, grid: (u64, u64), context: u64) -> Self {
        Self { layer, hidden, grid, kv: KvMapping::published(grid.0), context, pairs: 1 }
    }

    /// The decode layer that was measured.
    pub fn decode(&self) -> Result<Program, LowerError> {
        self.written(1, decode_layer)
    }

    /// The same for a prompt of `context` tokens.
    pub fn prefill(&self) -> Result<Program, LowerError> {
        self.written(self.context, |request| prefill_layer(request, u64::MAX))
    }

    fn written(
        &self,
        tokens: u64,
        write: impl Fn(&LayerRequest<'_>) -> Result<Program, LowerError>,
    ) -> Result<Program, LowerError> {
        let (columns, rows) = self.grid;
        let mapping = LayerMapping { kv: self.kv, ..LayerMapping::published(columns, rows) };
        let pairs = self.pairs * tokens;
        write(&LayerRequest {
            layer: self.layer,
            hidden: self.hidden,
            norm_epsilon: 1e-6,
            mapping: &mapping,
            precision: gemv::fp16(),
            tokens,
            users: 1,
            context: self.context,
            routed: Routed::Expected(ExpertLoad::spread(pairs, pairs)),
            scope: Scope::Measured,
            queue: 2,
        })
    }
}

/// Four members of each line send to all of it at once, over four colors: every link is wanted by several of them. With
/// `both` the same along columns at the same time, in colors of its own.
pub fn all_gather(columns: u64, rows: u64, both: bool) -> Program {
    let mut program = Program::new("all-gather", Region::new(0, 0, columns, rows));
    let payload = program.buffer("piece", 40, DataType::Fp32);
    let colors = program.new_colors(8);
    let mut casts = Vec::new();
    for (axis, length, first) in [(Axis::X, columns, 0), (Axis::Y, rows, 4)] {
        for index in 0..if axis == Axis::X || both { 4 } else { 0 } {
            let colors = vec![colors[first + index as usize]];
            let from = index * length / 4;
            let cast = Multicast { axis, from, span: length, stride: 1, style: Style::Streaming, payload, colors };
            casts.push(program.step(Action::Multicast(cast)));
        }
    }
    program.push("all-gather", vec![Node::Parallel(casts)]);
    program
}

/// The same along both axes after work on 64 rectangles that lie across one another: no two lines are alike.
pub fn unlike_all_gather(columns: u64, rows: u64) -> Program {
    let mut program = all_gather(columns, rows, true);
    let payload = program.buffer("work", 1, DataType::Fp32);
    let mut number = 12_345u64;
    let mut draw = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    let work = (0..64).map(|_| {
        let (x, y) = (draw(columns), draw(rows));
        let region = Region::new(x, y, 1 + draw(columns - x), 1 + draw(rows - y));
        let work = vec![Work::new(Operation::Add, DataType::Fp16, 1 + draw(300), 1)];
        let compute = Compute { math: Math::Add, reads: vec![payload], writes: payload, work, formula: None };
        Node::Step(Step { region, action: Action::Compute(compute) })
    });
    program.body.insert(0, Node::Operator { name: "work".into(), body: work.collect() });
    program
}

/// The kernels of the library on a grid, by name.
pub fn library(columns: u64, rows: u64) -> Vec<(&'static str, Program)> {
    let region = Region::new(0, 0, columns, rows);
    let hidden = 12 * columns.max(rows);
    let vector = |axis| Gemv::fp16(region, hidden, hidden, axis);
    let product = Gemm { region, m: 4 * rows, k: 4 * columns, n: 4 * columns };
    let dense = published_layer(hidden, 3 * hidden);
    let experts = expert_layer(hidden, 64, 4, columns);
    let small = published_layer(2 * columns, 2 * columns);
    let size = (columns, rows);
    let dense = OnGrid::new(&dense, hidden, size, 64).decode();
    let experts = OnGrid { pairs: 4, ..OnGrid::new(&experts, hidden, size, 64) }.decode();
    let prefill = OnGrid::new(&small, 2 * columns, size, rows).prefill();
    let layers = [("decode layer, dense", dense), ("decode layer, experts", experts), ("prefill layer", prefill)];
    let mut reduce = Program::new("all-reduce", region);
    let payload = reduce.buffer("payload", 24, DataType::Fp16);
    let nodes = wafersim_program::collective::all_reduce(
        &mut reduce,
        Axis::X,
        wafersim_program::collective::default_groups(columns),
        payload,
        wafersim_program::ReduceOperator::Add,
    );
    reduce.push("all-reduce", nodes);
    let mut cast = Program::new("multicast", region);
    let payload = cast.buffer("payload", 24, DataType::Fp16);
    let node = wafersim_program::collective::multicast(&mut cast, Axis::Y, 0, payload);
    cast.push("multicast", vec![node]);
    let mut library = vec![
        ("MeshGEMV along y", gemv::mesh_gemv(&vector(Axis::Y), Groups::SquareRoot)),
        ("MeshGEMV along x", gemv::mesh_gemv(&vector(Axis::X), Groups::SquareRoot)),
        ("chain GEMV", gemv::chain_gemv(&vector(Axis::Y))),
        ("MeshGEMM", gemm::mesh_gemm(&product, true)),
        ("SUMMA", gemm::summa(&product, Broadcast::Asynchronous)),
        ("SUMMA (library)", gemm::summa(&product, Broadcast::Library)),
        ("all-reduce", reduce),
        ("multicast", cast),
    ];
    // Sizes of a library suit their grids.
    library.extend(layers.into_iter().filter_map(|(name, program)| Some((name, program.ok()?))));
    library
}
