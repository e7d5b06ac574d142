//! A hypothetical improvement on a whole program: conversion of stored weights beside the transfers before it.
//!
//! Weights that are stored in 8 or 4 bit are converted before they are multiplied. Which weights those are is known before
//! the vector arrives, except for routed experts, whose gate and up matrices wait for the router's choice. A core is free
//! while a reduction or a multicast runs in a microthread (sources.md#wse-3-characterisation-notes), so the conversion can run then.

use wafersim_program::{Action, Math, Node, Program};

/// The operator whose weights are not known before the router has chosen.
const WAITS_FOR_THE_ROUTER: &str = "experts.gate_up";

/// Where a transfer stands: operator and part.
type Place = (usize, usize);

/// Moves every conversion beside the last transfer before it. A transfer hides one conversion; nothing else changes place.
pub fn hide_conversions(program: &mut Program) {
    let mut transfer: Option<Place> = None;
    for operator in 0..program.body.len() {
        let mut part = 0;
        while let Some(Node::Operator { name, body }) = program.body.get_mut(operator) {
            let waits = name == WAITS_FOR_THE_ROUTER;
            let Some(node) = body.get(part) else { break };
            if is_transfer(node) {
                transfer = Some((operator, part));
            } else if is_conversion(node)
                && !waits
                && let Some(before) = transfer.take()
            {
                let conversion = body.remove(part);
                put_beside(program, before, conversion);
                continue;
            }
            part += 1;
        }
    }
}

fn put_beside(program: &mut Program, (operator, part): Place, conversion: Node) {
    if let Some(Node::Operator { body, .. }) = program.body.get_mut(operator)
        && let Some(transfer) = body.get_mut(part)
    {
        let alone = std::mem::replace(transfer, Node::Sequence(Vec::new()));
        *transfer = Node::Parallel(vec![alone, conversion]);
    }
}

fn is_transfer(node: &Node) -> bool {
    matches!(node, Node::Step(step) if matches!(step.action, Action::ChainReduce(_) | Action::Multicast(_)))
}

fn is_conversion(node: &Node) -> bool {
    matches!(node, Node::Step(step)
        if matches!(&step.action, Action::Compute(compute) if compute.math == Math::Dequantise))
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
        program.push("attention.values", reduce);
        let second = vec![convert(&program), convert(&program)];
        program.push("attention.output", second);
        let waiting = vec![convert(&program)];
        program.push("experts.gate_up", waiting);

        let steps = program.steps().count();
        hide_conversions(&mut program);
        assert_eq!(program.steps().count(), steps);
        let parts = |at: usize| match &program.body[at] {
            Node::Operator { body, .. } => body.len(),
            _ => 0,
        };
        // The first has no transfer before it, the second moves, the third finds no free transfer, the last has to wait.
        assert_eq!([parts(0), parts(1), parts(2)], [4, 1, 1]);
        assert!(matches!(&program.body[0], Node::Operator { body, .. } if matches!(body[3], Node::Parallel(_))));
    }
}
