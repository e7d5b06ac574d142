//! Conversion of stored weights beside the transfers before it. Ours.
//!
//! Weights that are stored in 8 or 4 bit are converted before they are multiplied. Which weights those are is known before
//! the vector arrives, except for routed experts, whose gate and up matrices wait for the router's choice. A core is free
//! while a reduction or a multicast runs in a microthread (sources.md#wse-3-characterisation-notes), so the conversion can run then.

use wafersim_program::{Action, Math, Node, Program};

/// The operator whose weights are not known before the router has chosen.
const WAITS_FOR_THE_ROUTER: &str = "experts.gate_up";

/// The steps of an operator, and whether its conversions have to wait where they are.
pub(crate) struct Body<'a> {
    pub nodes: &'a mut Vec<Node>,
    pub waits: bool,
}

/// Moves every conversion of a program beside the last transfer before it. A transfer hides one conversion; nothing else
/// changes place.
pub(crate) fn hide_conversions(program: &mut Program) {
    let bodies = program.body.iter_mut().filter_map(|node| match node {
        Node::Operator { name, body } => Some(Body { waits: name == WAITS_FOR_THE_ROUTER, nodes: body }),
        _ => None,
    });
    hide(bodies.collect());
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
        // The first has no transfer before it, the second moves, the third finds no free transfer, the fourth has to wait, the
        // last stays behind the branches.
        assert_eq!([parts(0), parts(1), parts(2), parts(4)], [4, 1, 1, 2]);
        assert!(matches!(&program.body[0], Node::Operator { body, .. } if matches!(body[3], Node::Parallel(_))));
    }
}
