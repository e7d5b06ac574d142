//! Conversion of stored weights in strips: some rows of a tile are converted and multiplied, then the next, so that
//! converted weights take a part of the room. Ours. What it costs: each strip's conversion waits for the product before
//! it, so that a transfer hides the first alone, and each is set up.

use wafersim_program::{Action, Compute, Formula, Math, Node, Operation, Program, Step, Work};

/// Strips of the tiles of a layer.
pub(crate) const OF_LAYERS: u64 = 2;

/// Strips of a tile of the LM head, which is multiplied once a token and is as large as those of several layers.
pub(crate) const OF_TABLES: u64 = 16;

/// Cuts every conversion of a program, and the product after it. Those in rectangles of a region, which run beside each
/// other, stay whole.
pub(crate) fn cut(program: &mut Program, strips: u64) {
    let mut smaller = Vec::new();
    for node in &mut program.body {
        let Node::Operator { body, .. } = node else { continue };
        if !body.iter().any(|node| conversion_of(node).is_some()) {
            continue;
        }
        let mut cut = Vec::with_capacity(body.len() + 2);
        let mut nodes = std::mem::take(body).into_iter().peekable();
        while let Some(node) = nodes.next() {
            let is_product = |next: &Node| compute_of(next).is_some_and(|compute| compute.math == Math::MatVec);
            let conversion = conversion_of(&node).cloned();
            let Some((conversion, product)) = conversion.and_then(|found| Some((found, nodes.next_if(is_product)?)))
            else {
                cut.push(node);
                continue;
            };
            let Some(compute) = compute_of(&product) else {
                cut.extend([node, product]);
                continue;
            };
            smaller.extend(conversion.reads.iter().copied());
            for strip in 0..strips {
                let is_last = strip + 1 == strips;
                let part = |work: &Work| part(*work, strip, strips);
                let work = conversion.work.iter().filter_map(part).collect();
                cut.push(with(&node, Compute { work, ..conversion.clone() }));
                // Numbers are made by the last strip.
                let formula = if is_last { &compute.formula } else { &conversion.formula };
                let work = compute.work.iter().filter_map(part).collect();
                cut.push(with(&product, Compute { work, formula: formula.clone(), ..compute.clone() }));
            }
        }
        *body = cut;
    }
    smaller.sort_unstable();
    smaller.dedup();
    for buffer in smaller {
        program.shrink(buffer, strips);
    }
}

/// The work of a strip; nothing where all of it belongs to another.
fn part(work: Work, strip: u64, strips: u64) -> Option<Work> {
    let part = |whole: u64| whole.saturating_mul(strip + 1) / strips - whole.saturating_mul(strip) / strips;
    match work.operation {
        // Each strip is set up.
        Operation::Setup => Some(work),
        Operation::Convert | Operation::Copy => Some(Work { length: part(work.length), ..work }),
        Operation::MappedFma | Operation::Scale => Some(Work { count: part(work.count), ..work }),
        // Around the accumulators, once.
        _ => (strip + 1 == strips).then_some(work),
    }
}

fn with(node: &Node, compute: Compute) -> Node {
    match node {
        Node::Step(step) => Node::Step(Step { action: Action::Compute(compute), region: step.region }),
        other => other.clone(),
    }
}

fn compute_of(node: &Node) -> Option<&Compute> {
    match node {
        Node::Step(Step { action: Action::Compute(compute), .. }) => Some(compute),
        _ => None,
    }
}

/// A conversion of weights; those of cached keys and values name no weight.
fn conversion_of(node: &Node) -> Option<&Compute> {
    compute_of(node).filter(|compute| matches!(compute.formula, Some(Formula::Convert { .. })))
}
