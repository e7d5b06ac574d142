//! A program with its corner at another place of the mesh.

use crate::program::{Node, Program};
use crate::region::Region;
use crate::step::Step;

impl Program {
    /// The same program so many columns to the east and rows to the south: its steps, and where its buffers and
    /// weights lie.
    #[must_use]
    pub fn moved(&self, columns: u64, rows: u64) -> Self {
        let by = |region: &mut Region| {
            region.x = region.x.saturating_add(columns);
            region.y = region.y.saturating_add(rows);
        };
        let mut program = self.clone();
        by(&mut program.region);
        program.body.iter_mut().for_each(|node| each_step(node, &|step| by(&mut step.region)));
        program
            .buffers
            .iter_mut()
            .filter_map(|buffer| buffer.layout.as_mut())
            .for_each(|layout| by(&mut layout.region));
        program.weights.iter_mut().for_each(|weight| by(&mut weight.region));
        program
    }
}

fn each_step(node: &mut Node, change: &impl Fn(&mut Step)) {
    match node {
        Node::Step(step) => change(step),
        Node::Operator { body, .. } | Node::Sequence(body) | Node::Parallel(body) => {
            body.iter_mut().for_each(|node| each_step(node, change));
        }
        Node::Systolic { compute, transfers, after, .. } => {
            each_step(compute, change);
            transfers.iter_mut().chain(after).for_each(change);
        }
        Node::Repeat { body, .. } => each_step(body, change),
    }
}
