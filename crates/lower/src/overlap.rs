//! Conversion of stored weights beside the transfers before it. Ours.
//!
//! Weights that are stored in 8 or 4 bit are converted before they are multiplied. Which weights those are is known
//! before the vector arrives, except for routed experts, whose gate and up matrices wait for the router's choice. A
//! core is free while a reduction or a multicast runs in a microthread (sources.md#wse-3-characterisation-notes), so
//! the conversion can run then.

use wafersim_program::{Action, Axis, Math, Node, Program, Step};

/// The operator whose weights are not known before the router has chosen.
const WAITS_FOR_THE_ROUTER: &str = "experts.gate_up";

/// The steps of an operator, and whether its conversions have to wait where they are.
pub(crate) struct Body<'a> {
    pub nodes: &'a mut Vec<Node>,
    pub waits: bool,
}

/// Moves every conversion of a program beside the last transfer before it. A transfer hides one conversion; nothing
/// else changes place.
pub(crate) fn hide_conversions(program: &mut Program) {
    let bodies = program.body.iter_mut().filter_map(|node| match node {
        Node::Operator { name, body } => Some(Body { waits: name == WAITS_FOR_THE_ROUTER, nodes: body }),
        _ => None,
    });
    hide(bodies.collect());
}

/// The operator whose reduction carries the router's logits.
const CARRIES_LOGITS: &str = "attention.output";

/// The member of its line that a reduction along an axis ends at, where the last operator's last transfer is the
/// multicast of a tree's result.
pub(crate) fn last_root(program: &Program, axis: Axis) -> Option<u64> {
    let Some(Node::Operator { name, body }) = program.body.iter().rev().find(|node| is_named(node, CARRIES_LOGITS))
    else {
        return None;
    };
    debug_assert_eq!(name, CARRIES_LOGITS);
    body.iter().rev().find_map(|node| match node {
        Node::Step(Step { action: Action::Multicast(cast), .. }) if cast.axis == axis => Some(cast.from),
        _ => None,
    })
}

fn is_named(node: &Node, wanted: &str) -> bool {
    matches!(node, Node::Operator { name, .. } if name == wanted)
}

/// Moves the choice of experts, up to where it is broadcast, beside the multicast of the stream: it needs the logits
/// alone, which end in the same line as the stream does.
pub(crate) fn hide_choice(program: &mut Program) {
    let at = |program: &Program, wanted: &str| program.body.iter().rposition(|node| is_named(node, wanted));
    let (Some(output), Some(router)) = (at(program, CARRIES_LOGITS), at(program, "router")) else { return };
    let is_cast =
        |node: &Node| matches!(node, Node::Step(Step { action: Action::Multicast(cast), .. }) if cast.axis == Axis::X);
    let cast = match program.body.get(output) {
        Some(Node::Operator { body, .. }) => body.iter().rposition(is_cast),
        _ => None,
    };
    let Some(cast) = cast else { return };
    let Some(Node::Operator { body, .. }) = program.body.get_mut(router) else { return };
    let is_broadcast = |node: &Node| matches!(node, Node::Step(step) if matches!(step.action, Action::Broadcast(_)));
    let Some(broadcast) = body.iter().position(is_broadcast) else { return };
    let choice: Vec<Node> = body.drain(..broadcast).collect();
    if let Some(Node::Operator { body, .. }) = program.body.get_mut(output)
        && let Some(moved) = body.get_mut(cast)
    {
        let alone = std::mem::replace(moved, Node::Sequence(Vec::new()));
        *moved = Node::Parallel(vec![alone, Node::Sequence(choice)]);
    }
}

/// The same for operators that follow one another. What stands inside branches is left alone, and no conversion passes
/// them: they hide their own ([`crate::clustered`]).
pub(crate) fn hide(mut bodies: Vec<Body<'_>>) {
    let mut transfer: Option<(usize, usize)> = None;
    for operator in 0..bodies.len() {
        let mut part = 0;
        while let Some(node) = bodies[operator].nodes.get(part) {
            if is_transfer(node) {
                transfer = Some((operator, part));
            } else if matches!(node, Node::Parallel(_)) {
                transfer = None;
            } else if is_conversion(node)
                && !bodies[operator].waits
                && let Some((before, at)) = transfer.take()
            {
                let conversion = bodies[operator].nodes.remove(part);
                if let Some(moved) = bodies[before].nodes.get_mut(at) {
                    let alone = std::mem::replace(moved, Node::Sequence(Vec::new()));
                    *moved = Node::Parallel(vec![alone, conversion]);
                }
                continue;
            }
            part += 1;
        }
    }
}

pub(crate) fn is_transfer(node: &Node) -> bool {
    matches!(node, Node::Step(step) if matches!(step.action, Action::ChainReduce(_) | Action::Multicast(_)))
}

pub(crate) fn is_conversion(node: &Node) -> bool {
    matches!(node, Node::Step(step)
        if matches!(&step.action, Action::Compute(compute) if compute.math == Math::Dequantise))
}

/// Transfers beside the work of an operator before its reduction: each beside the next step that `may` stand beside
/// one, those that find none before all else.
pub(crate) fn beside_each(transfers: Vec<Node>, work: Vec<Node>, may: impl Fn(&Node) -> bool) -> Vec<Node> {
    let can = |node: &Node| is_work(node) && may(node);
    let places = work.iter().filter(|node| can(node)).count();
    let mut transfers = transfers.into_iter();
    let early = transfers.len().saturating_sub(places);
    let mut nodes: Vec<Node> = transfers.by_ref().take(early).collect();
    nodes.extend(work.into_iter().map(|node| match if can(&node) { transfers.next() } else { None } {
        Some(transfer) => Node::Parallel(vec![transfer, node]),
        None => node,
    }));
    nodes
}

/// Work beside the last chain of a reduction, before its multicast: a core is free while others' words pass. Behind a
/// reduction that is none of chains.
pub(crate) fn beside_reduction(reduction: &mut Vec<Node>, work: Vec<Node>) {
    let is_chain = |node: &Node| matches!(node, Node::Step(step) if matches!(step.action, Action::ChainReduce(_)));
    match reduction.iter_mut().rfind(|node| is_chain(node)) {
        Some(chain) if !work.is_empty() => {
            let alone = std::mem::replace(chain, Node::Sequence(Vec::new()));
            *chain = Node::Parallel(vec![alone, Node::Sequence(work)]);
        }
        _ => reduction.extend(work),
    }
}

/// Whether a step is work of cores that takes time.
pub(crate) fn is_work(node: &Node) -> bool {
    matches!(node, Node::Step(step) if matches!(&step.action, Action::Compute(compute) if !compute.work.is_empty()))
}

#[cfg(test)]
mod tests {
    use wafersim_program::{Axis, Operation, ReduceOperator, Region, Work, collective};
    use wafersim_spec::DataType;

    use super::*;

    #[test]
    fn conversions_move_beside_the_transfer_before_them_and_nothing_is_lost() {
        let mut program = Program::new("test", Region::new(0, 0, 16, 16));
        let buffer = program.buffer("x", 8, DataType::Fp16);
        let convert = |program: &Program| {
            let work = vec![Work::new(Operation::Convert, DataType::Fp16, 8, 1)];
            program.compute(Math::Dequantise, &[buffer], buffer, work)
        };
        let mut reduce = collective::all_reduce(&mut program, Axis::Y, 4, buffer, ReduceOperator::Add);
        let first = convert(&program);
        reduce.insert(0, first);
        program.push("attention.values", reduce.clone());
        let second = vec![convert(&program), convert(&program)];
        program.push("attention.output", second);
        let waiting = vec![convert(&program)];
        program.push("experts.gate_up", waiting);
        program.push("router", reduce[1..].to_vec());
        let branches = vec![Node::Parallel(vec![Node::Sequence(reduce)]), convert(&program)];
        program.push("experts.down", branches);

        let steps = program.steps().count();
        hide_conversions(&mut program);
        assert_eq!(program.steps().count(), steps);
        let parts = |at: usize| match &program.body[at] {
            Node::Operator { body, .. } => body.len(),
            _ => 0,
        };
        // The first has no transfer before it, the second moves, the third finds no free transfer, the fourth has to
        // wait, the last stays behind the branches.
        assert_eq!([parts(0), parts(1), parts(2), parts(4)], [4, 1, 1, 2]);
        assert!(matches!(&program.body[0], Node::Operator { body, .. } if matches!(body[3], Node::Parallel(_))));
    }
}
