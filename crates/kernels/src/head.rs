//! The ends of the model: embedding lookup, final norm, LM head and sampling. Not part of the published layer rows.

use wafersim_program::{Axis, BufferId, Math, Node, Operation, Program, ReduceOperator, Region};
use wafersim_spec::Precision;

use crate::context::Kernel;
use crate::gemv::{Product, local_product};
use crate::norm::{fused_elements, rms_norm};
use crate::options::Options;

/// One row of the table per token: it lies on a line of processing elements and is multicast along the other axis.
pub fn embedding(region: Region, hidden: u64, tokens: u64, precision: Precision, options: Options) -> Program {
    let mut kernel = Kernel::new("embedding", region, precision, options);
    let elements = region.share(Axis::Y, hidden).saturating_mul(tokens);
    let row = kernel.buffer("embedding.row", elements);
    let mut nodes = vec![kernel.compute(Math::Lookup, &[row], row, vec![kernel.work(Operation::Copy, elements, 1)])];
    nodes.push(wafersim_program::collective::multicast(&mut kernel.program, Axis::X, 0, row));
    kernel.program.push("embedding", nodes);
    kernel.program
}

/// Final norm, logits and the choice of the next token. Greedy: the largest logit of each processing element, then two
/// reductions of (value, index), one along each axis.
pub fn lm_head(
    region: Region,
    hidden: u64,
    vocabulary: u64,
    tokens: u64,
    precision: Precision,
    options: Options,
) -> Program {
    let mut kernel = Kernel::new("LM head", region, precision, options);
    let inputs = region.share(Axis::Y, hidden);
    let outputs = region.share(Axis::X, vocabulary);
    let x = kernel.buffer("head.x", inputs.saturating_mul(tokens));
    let norm = rms_norm(&mut kernel, Axis::Y, inputs, tokens, x);
    kernel.program.push("final_norm", norm);
    let logits_elements = outputs.saturating_mul(tokens);
    let sums = fused_elements(&kernel, tokens);
    let logits = kernel.buffer("head.logits", logits_elements + sums);
    let mut head = local_product(&mut kernel, Product { inputs, outputs, vectors: tokens, tiles: 1 }, x, logits);
    head.extend(kernel.all_reduce(Axis::Y, logits, ReduceOperator::Add));
    kernel.program.push("lm_head", head);
    let best = sampling(&mut kernel, outputs, tokens, logits);
    kernel.program.push("sampling", best);
    kernel.program
}

fn sampling(kernel: &mut Kernel, logits_each: u64, tokens: u64, logits: BufferId) -> Vec<Node> {
    let best = kernel.buffer("sampling.best", tokens.saturating_mul(2));
    let scan = kernel.work(Operation::ScalarReduce, logits_each, tokens);
    let mut nodes = vec![kernel.compute(Math::ArgMax, &[logits], best, vec![scan])];
    nodes.extend(kernel.all_reduce(Axis::X, best, ReduceOperator::Max));
    nodes
}
