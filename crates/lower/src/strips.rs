//! Conversion of stored weights in strips: half of a tile's rows is converted and multiplied, then the other half, so
//! that converted weights take half the room. Ours. What it costs: the second half's conversion waits for the first
//! half's product, so that a transfer hides only half of the work.

use wafersim_program::{Action, Compute, Math, Node, Operation, Program, Step, Work};

/// Cuts every conversion of a program, and the product after it, in two. Those in rectangles of a region, which run
/// beside each other, stay whole.
pub(crate) fn cut(program: &mut Program) {
    let mut halved = Vec::new();
    for node in &mut program.body {
        let Node::Operator { body, .. } = node else { continue };
        let mut cut = Vec::with_capacity(body.len() + 2);
        let mut nodes = std::mem::take(body).into_iter().peekable();
        while let Some(node) = nodes.next() {
            let product = nodes.next_if(|next| compute_of(next).is_some_and(|compute| compute.math == Math::MatVec));
            let (Some(product), Some(conversion)) = (product, conversion_of(&node).cloned()) else {
                cut.push(node);
                continue;
            };
            let Some(compute) = compute_of(&product) else { continue };
            halved.extend(conversion.reads.iter().copied());
            let [before, after] = [true, false].map(|first| {
                let work = conversion.work.iter().filter_map(|work| half(*work, first)).collect();
                with(&node, Compute { work, ..conversion.clone() })
            });
            // Numbers are made by the last strip.
            let work = compute.work.iter().filter_map(|work| half(*work, true)).collect();
            let early = Compute { work, formula: conversion.formula.clone(), ..compute.clone() };
            let work = compute.work.iter().filter_map(|work| half(*work, false)).collect();
            let late = Compute { work, ..compute.clone() };
            cut.extend([before, with(&product, early), after, with(&product, late)]);
        }
        *body = cut;
    }
    halved.sort_unstable();
    halved.dedup();
    for buffer in halved {
        program.halve(buffer);
    }
}

/// The work of the first half or of the second; nothing where all of it belongs to the other.
fn half(work: Work, first: bool) -> Option<Work> {
    let part = |whole: u64| if first { whole - whole / 2 } else { whole / 2 };
    match work.operation {
        // Each strip is set up.
        Operation::Setup => Some(work),
        Operation::Convert | Operation::Copy => Some(Work { length: part(work.length), ..work }),
        Operation::MappedFma | Operation::Scale => Some(Work { count: part(work.count), ..work }),
        // Around the accumulators, once.
        _ => (!first).then_some(work),
    }
}

fn with(node: &Node, compute: Compute) -> Node {
    match node {
        Node::Step(step) => Node::Step(Step { action: Action::Compute(compute), ..step.clone() }),
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
    let is_of_weights = |compute: &&Compute| matches!(compute.formula, Some(wafersim_program::Formula::Convert { .. }));
    compute_of(node).filter(is_of_weights)
}
