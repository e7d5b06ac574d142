//! RMSNorm, per-head norms and rotary embedding.
//!
//! Counts of vector operations are read off the per-operation run of the vendor's simulator (WSE-3, 12 elements per
//! processing element; docs/src/kernels.md): RMSNorm 953 and 938 cycles with one all-reduce (534-538) inside and 45 of
//! markers, rotary embedding 212 and 197.

use wafersim_program::{Axis, BufferId, Dimension, Field, Formula, Math, Node, Operand, Operation, ReduceOperator};
use wafersim_spec::model::Role;

use crate::context::Kernel;
use crate::exact::{HeadBlocks, everywhere, first, table};

/// Vector operations of RMSNorm over its elements: (953 - 536 - 45 - 24 - 150) / (16 + 12 / 4) is about ten.
const NORM_OPERATIONS: u64 = 10;

/// Vector operations of the rotary embedding of q, or of k: (205 - 45) / (16 + 12 / 4) is about eight.
const ROPE_OPERATIONS: u64 = 8;

/// Fewest vector operations that do the same: multiply by the scale, multiply by the gain.
const LEAN_NORM_OPERATIONS: u64 = 2;

/// Fewest for the rotation of pairs: four products and two sums.
const LEAN_ROPE_OPERATIONS: u64 = 6;

/// RMSNorm of `vectors` vectors of which each processing element holds `elements`, split along `axis`. Where the norm is
/// fused, its sum travels with the next reduction: the caller adds [`fused_elements`] to that payload.
pub fn rms_norm(kernel: &mut Kernel, axis: Axis, elements: u64, vectors: u64, x: BufferId) -> Vec<Node> {
    named_rms_norm(kernel, axis, elements, vectors, (x, x), None)
}

/// The same with the role of its gain and the name of its output, which exact programs need; there the result lies in a
/// buffer of its own, since the residual stream goes on unscaled.
pub fn rms_norm_to(
    kernel: &mut Kernel,
    elements: u64,
    vectors: u64,
    x: BufferId,
    (gain, name, width): (Role, &'static str, u64),
) -> (Vec<Node>, BufferId) {
    let region = kernel.region();
    let y = if kernel.exact.is_some() {
        kernel.declare(name, 0, || vec![table("normed", vectors, width, Axis::Y, region)])
    } else {
        x
    };
    (named_rms_norm(kernel, Axis::Y, elements, vectors, (x, y), Some((gain, width))), y)
}

fn named_rms_norm(
    kernel: &mut Kernel,
    axis: Axis,
    elements: u64,
    vectors: u64,
    (x, y): (BufferId, BufferId),
    gain: Option<(Role, u64)>,
) -> Vec<Node> {
    let sums = kernel.declare("norm.sums", vectors, || vec![everywhere("sums", vectors, 1)]);
    let (role, width) = gain.unwrap_or((Role::AttentionNorm, 0));
    let epsilon = kernel.exact.as_ref().map_or(0.0, |exact| exact.norm_epsilon);
    let squares =
        kernel.compute(Math::SumOfSquares, &[x], sums, vec![kernel.work(Operation::ScalarReduce, elements, vectors)]);
    let squares = kernel.means(squares, || Formula::SumOfSquares { x: first(x), sums: first(sums), width });
    let mut nodes = vec![squares];
    if !kernel.options.fused_norms {
        nodes.extend(kernel.all_reduce(axis, sums, ReduceOperator::Add));
    }
    let operations = if kernel.options.fused_norms { LEAN_NORM_OPERATIONS } else { NORM_OPERATIONS };
    let scale = kernel.compute(
        Math::RmsScale,
        &[x, sums],
        y,
        vec![
            kernel.work(Operation::Divide, 1, vectors),
            kernel.work(Operation::SquareRoot, 1, vectors),
            kernel.work(Operation::Multiply, elements.saturating_mul(vectors), operations),
        ],
    );
    nodes.push(kernel.means(scale, || Formula::RmsScale {
        x: first(x),
        sums: first(sums),
        gain: (role, 0),
        y: first(y),
        width,
        epsilon,
    }));
    nodes
}

/// RMSNorm that no product follows (Grok's norms of its outputs, MLA's norm of what it caches): nothing to fuse it with.
pub fn closed_rms_norm(kernel: &mut Kernel, axis: Axis, elements: u64, vectors: u64, x: BufferId) -> Vec<Node> {
    let fused = std::mem::replace(&mut kernel.options.fused_norms, false);
    let nodes = rms_norm(kernel, axis, elements, vectors, x);
    kernel.options.fused_norms = fused;
    nodes
}

/// Elements that a fused norm adds to the payload of the reduction that follows it.
pub fn fused_elements(kernel: &Kernel, vectors: u64) -> u64 {
    if kernel.options.fused_norms { vectors } else { 0 }
}

/// RMSNorm of each of `heads` heads: a head lies on neighbouring columns (or several heads on one column). `here`: elements in
/// one processing element.
pub fn head_norm(kernel: &mut Kernel, here: u64, heads: u64, tokens: u64, x: Operand, copy: u64) -> Vec<Node> {
    let columns = kernel.region().columns;
    let blocks = HeadBlocks::new(heads, columns);
    let exact = kernel.exact.is_some();
    let columns_per_head = if exact { blocks.width } else { columns.div_ceil(heads).max(1) };
    let heads_here = heads.div_ceil(columns).saturating_mul(tokens);
    let elements = here.saturating_mul(tokens);
    let sums = kernel.declare("head_norm.sums", heads_here, || {
        vec![Field::new("sums", Dimension::whole(tokens), vec![blocks.dimension()])]
    });
    let width = kernel.field(x).inner.last().map_or(0, |dimension| dimension.size);
    let epsilon = kernel.exact.as_ref().map_or(0.0, |exact| exact.norm_epsilon);
    let scalar = vec![kernel.work(Operation::ScalarReduce, elements, 1)];
    let squares = kernel.compute(Math::SumOfSquares, &[x.buffer], sums, scalar);
    let mut nodes = vec![kernel.means(squares, || Formula::SumOfSquares { x, sums: first(sums), width })];
    nodes.extend(kernel.block_all_reduce(columns_per_head, blocks.blocks, sums, ReduceOperator::Add));
    let scale = kernel.compute(
        Math::RmsScale,
        &[x.buffer, sums],
        x.buffer,
        vec![
            kernel.work(Operation::Divide, 1, heads_here),
            kernel.work(Operation::SquareRoot, 1, heads_here),
            kernel.work(Operation::Multiply, elements, LEAN_NORM_OPERATIONS),
        ],
    );
    let gain = (Role::AttentionInnerNorm, copy);
    nodes.push(kernel.means(scale, || Formula::RmsScale { x, sums: first(sums), gain, y: x, width, epsilon }));
    nodes
}

/// Rotary embedding of a buffer of `elements`.
pub fn rope(kernel: &mut Kernel, elements: u64, x: BufferId) -> Node {
    rope_of(kernel, elements, first(x), 0, 0)
}

/// The same for heads of a known width, of tokens from a position on.
pub fn rope_of(kernel: &mut Kernel, elements: u64, x: Operand, head_dim: u64, position: u64) -> Node {
    let operations = if kernel.options.accumulators_in_place { LEAN_ROPE_OPERATIONS } else { ROPE_OPERATIONS };
    let work = vec![kernel.work(Operation::Multiply, elements, operations)];
    let node = kernel.compute(Math::Rope, &[x.buffer], x.buffer, work);
    kernel.means(node, || Formula::Rope { x, head_dim, rotary: head_dim, position, users: 1 })
}
