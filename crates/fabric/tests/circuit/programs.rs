//! Programs for tests and examples: the kernels of the library on a grid, a message, a contended all-gather. Owns no physics.

use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::gemm::{self, Broadcast};
use wafersim_kernels::{
    ExpertShape, Groups, KvShape, LayerShape, Options, Scope, decode_layer_for, gemv, prefill_layer_for,
};
use wafersim_program::{
    Action, Axis, Compute, Math, Multicast, Node, Operation, Program, Region, Step, Style, Work,
};
use wafersim_spec::DataType;
use wafersim_spec::model::{Attention, FeedForward, Gating, GroupedAttention, Layer, Moe, Reach, Selection};

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
            qk_norm: false,
            sinks: false,
            rotary_dim: hidden,
            reach: Reach::Full,
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
        expert_bias: false,
        router_bias: false,
        selection: Selection::softmax(true),
        gating: Gating::Silu,
    };
    Layer { feed_forward: FeedForward::Moe(moe), ..dense }
}

/// A layer program over a region.
pub fn layer(
    layer: &Layer,
    hidden: u64,
    (columns, rows): (u64, u64),
    tokens: (u64, u64),
    load: ExpertLoad,
    groups: Groups,
    decode: bool,
) -> Program {
    let shape = LayerShape {
        layer,
        hidden,
        region: Region::new(0, 0, columns, rows),
        kv: KvShape::published(columns),
        experts: ExpertShape::Spread,
        precision: gemv::fp16(),
        tokens: tokens.0,
        context: tokens.1,
        key_block: u64::MAX,
        load,
        options: Options { groups, ..Options::PUBLISHED },
    };
    if decode { decode_layer_for(&shape, Scope::Measured) } else { prefill_layer_for(&shape, Scope::Measured) }
}

/// Load of a dense layer.
pub const DENSE: ExpertLoad = ExpertLoad { pairs: 1, distinct: 1, busiest: 1 };

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
    let options = Options::PUBLISHED;
    let dense = published_layer(hidden, 3 * hidden);
    let experts = expert_layer(hidden, 64, 4, columns);
    let load = ExpertLoad { pairs: 4, distinct: 4, busiest: 1 };
    let small = published_layer(2 * columns, 2 * columns);
    let (size, groups) = ((columns, rows), Groups::SquareRoot);
    let mut reduce = Program::new("all-reduce", region);
    let payload = reduce.buffer("payload", 24, DataType::Fp16);
    let nodes = wafersim_program::collective::all_reduce(
        &mut reduce,
        Axis::X,
        groups.on(columns),
        payload,
        wafersim_program::ReduceOperator::Add,
    );
    reduce.push("all-reduce", nodes);
    let mut cast = Program::new("multicast", region);
    let payload = cast.buffer("payload", 24, DataType::Fp16);
    let node = wafersim_program::collective::multicast(&mut cast, Axis::Y, 0, payload);
    cast.push("multicast", vec![node]);
    vec![
        ("MeshGEMV along y", gemv::mesh_gemv(region, hidden, hidden, Axis::Y, options)),
        ("MeshGEMV along x", gemv::mesh_gemv(region, hidden, hidden, Axis::X, options)),
        ("chain GEMV", gemv::chain_gemv(region, hidden, hidden, Axis::Y)),
        ("MeshGEMM", gemm::mesh_gemm(region, 4 * rows, 4 * columns, 4 * columns, true, options)),
        ("SUMMA", gemm::summa(region, 4 * rows, 4 * columns, 4 * columns, Broadcast::Asynchronous, options)),
        ("SUMMA (library)", gemm::summa(region, 4 * rows, 4 * columns, 4 * columns, Broadcast::Library, options)),
        ("all-reduce", reduce),
        ("multicast", cast),
        ("decode layer, dense", layer(&dense, hidden, size, (1, 64), DENSE, groups, true)),
        ("decode layer, experts", layer(&experts, hidden, size, (1, 64), load, groups, true)),
        ("prefill layer", layer(&small, 2 * columns, size, (rows, 0), DENSE, groups, false)),
    ]
}
