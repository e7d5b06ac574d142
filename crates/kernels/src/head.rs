//! The ends of the model: embedding lookup, final norm, LM head and sampling. Not part of the published layer rows.

use wafersim_program::formula::along;
use wafersim_program::{Axis, BufferId, Formula, Math, Node, Operation, Program, ReduceOperator, Region};
use wafersim_spec::Precision;
use wafersim_spec::model::Role;

use crate::context::Kernel;
use crate::exact::{Exact, ExactError, everywhere, first, table};
use crate::gemv::{Product, local_product};
use crate::norm::{fused_elements, rms_norm_to};
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

/// The same for one token in an exact program: the table's rows are shared out over the columns, and the column that holds
/// the token's row sends it.
pub fn exact_embedding(
    region: Region,
    hidden: u64,
    vocabulary: u64,
    token: u64,
    precision: Precision,
    options: Options,
) -> Program {
    let mut kernel = Kernel::new("embedding", region, precision, options);
    kernel.exact = Some(Exact::new(0.0));
    let elements = region.share(Axis::Y, hidden);
    let owners = along(vocabulary, Axis::X, region);
    let owner = (0..region.columns).find(|column| owners.spread.indices(vocabulary, (*column, 0)).contains(&token));
    let row = kernel.declare("embedding.row", elements, || vec![table("row", 1, hidden, Axis::Y, region)]);
    let node = kernel.compute(Math::Lookup, &[row], row, vec![kernel.work(Operation::Copy, elements, 1)]);
    let mut nodes =
        vec![kernel.means(node, || Formula::Lookup { rows: first(row), tokens: vec![token], table: owners })];
    if region.columns > 1 {
        let from = owner.unwrap_or(0);
        nodes.push(wafersim_program::collective::multicast(&mut kernel.program, Axis::X, from, row));
    }
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
    write_lm_head(Kernel::new("LM head", region, precision, options), hidden, vocabulary, tokens)
}

/// The same as an exact program. Its input is the buffer `head.x`.
///
/// # Errors
/// Where the options ask for a fused norm.
pub fn exact_lm_head(
    region: Region,
    hidden: u64,
    vocabulary: u64,
    tokens: u64,
    precision: Precision,
    (options, norm_epsilon): (Options, f64),
) -> Result<Program, ExactError> {
    if options.fused_norms {
        return Err(ExactError::Part("a fused norm"));
    }
    let mut kernel = Kernel::new("LM head", region, precision, options);
    kernel.exact = Some(Exact::new(norm_epsilon));
    Ok(write_lm_head(kernel, hidden, vocabulary, tokens))
}

fn write_lm_head(mut kernel: Kernel, hidden: u64, vocabulary: u64, tokens: u64) -> Program {
    let region = kernel.region();
    let inputs = region.share(Axis::Y, hidden);
    let outputs = region.share(Axis::X, vocabulary);
    let x =
        kernel.declare("head.x", inputs.saturating_mul(tokens), || vec![table("x", tokens, hidden, Axis::Y, region)]);
    let (norm, x) = rms_norm_to(&mut kernel, inputs, tokens, x, (Role::FinalNorm, "head.normed", hidden));
    kernel.program.push("final_norm", norm);
    let logits_elements = outputs.saturating_mul(tokens);
    let sums = fused_elements(&kernel, tokens);
    let logits = kernel
        .declare("head.logits", logits_elements + sums, || vec![table("logits", tokens, vocabulary, Axis::X, region)]);
    let mut head = local_product(&mut kernel, Product { inputs, outputs, vectors: tokens, tiles: 1 }, x, logits);
    if kernel.exact.is_some() {
        let (inputs, outputs) = (kernel.field(first(x)), kernel.field(first(logits)));
        let weight = kernel.weight(Role::LmHead, inputs, outputs);
        let formula = Formula::Product { x: first(x), weight, y: first(logits), chosen: None, bias: None };
        head = kernel.last_means(head, || formula);
    }
    head.extend(kernel.all_reduce(Axis::Y, logits, ReduceOperator::Add));
    kernel.program.push("lm_head", head);
    let best = sampling(&mut kernel, outputs, tokens, logits);
    kernel.program.push("sampling", best);
    kernel.program
}

fn sampling(kernel: &mut Kernel, logits_each: u64, tokens: u64, logits: BufferId) -> Vec<Node> {
    let best = kernel.declare("sampling.best", tokens.saturating_mul(2), || vec![everywhere("best", tokens, 2)]);
    let scan = kernel.work(Operation::ScalarReduce, logits_each, tokens);
    let node = kernel.compute(Math::ArgMax, &[logits], best, vec![scan]);
    let mut nodes = vec![kernel.means(node, || Formula::ArgMax { scores: first(logits), best: first(best) })];
    nodes.extend(kernel.all_reduce(Axis::X, best, ReduceOperator::ArgMax));
    nodes
}
