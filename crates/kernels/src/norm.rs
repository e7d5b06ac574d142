//! RMSNorm, per-head norms and rotary embedding.
//!
//! Counts of vector operations are read off the per-operation run of the vendor's simulator (WSE-3, 12 elements per
//! processing element; docs/src/kernels.md): RMSNorm 953 and 938 cycles with one all-reduce (534-538) inside and 45 of
//! markers, rotary embedding 212 and 197.

use wafersim_program::{Axis, BufferId, Math, Node, Operation, ReduceOperator, collective};

use crate::context::Kernel;

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
    let sums = kernel.buffer("norm.sums", vectors);
    let mut nodes = vec![kernel.compute(
        Math::SumOfSquares,
        &[x],
        sums,
        vec![kernel.work(Operation::ScalarReduce, elements, vectors)],
    )];
    if !kernel.options.fused_norms {
        nodes.extend(kernel.all_reduce(axis, sums, ReduceOperator::Add));
    }
    let operations = if kernel.options.fused_norms { LEAN_NORM_OPERATIONS } else { NORM_OPERATIONS };
    nodes.push(kernel.compute(
        Math::RmsScale,
        &[x, sums],
        x,
        vec![
            kernel.work(Operation::Divide, 1, vectors),
            kernel.work(Operation::SquareRoot, 1, vectors),
            kernel.work(Operation::Multiply, elements.saturating_mul(vectors), operations),
        ],
    ));
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

/// RMSNorm of each head, where a head lies on `columns_per_head` neighbouring columns (or several heads on one column).
pub fn head_norm(kernel: &mut Kernel, elements: u64, heads_here: u64, columns_per_head: u64, x: BufferId) -> Vec<Node> {
    let sums = kernel.buffer("head_norm.sums", heads_here);
    let mut nodes =
        vec![kernel.compute(Math::SumOfSquares, &[x], sums, vec![kernel.work(Operation::ScalarReduce, elements, 1)])];
    let program = &mut kernel.program;
    nodes.extend(collective::segment_all_reduce(program, Axis::X, columns_per_head, 1, sums, ReduceOperator::Add));
    nodes.push(kernel.compute(
        Math::RmsScale,
        &[x, sums],
        x,
        vec![
            kernel.work(Operation::Divide, 1, heads_here),
            kernel.work(Operation::SquareRoot, 1, heads_here),
            kernel.work(Operation::Multiply, elements, LEAN_NORM_OPERATIONS),
        ],
    ));
    nodes
}

/// Rotary embedding of a buffer of `elements`.
pub fn rope(kernel: &mut Kernel, elements: u64, x: BufferId) -> Node {
    let operations = if kernel.options.accumulators_in_place { LEAN_ROPE_OPERATIONS } else { ROPE_OPERATIONS };
    kernel.compute(Math::Rope, &[x], x, vec![kernel.work(Operation::Multiply, elements, operations)])
}
