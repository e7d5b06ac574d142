//! What a program sends, without what its cores compute: programs that send alike need the same routes and colors.

use std::borrow::Cow;

use serde::Serialize;

use crate::buffer::Buffer;
use crate::program::{Node, Order, Program};
use crate::region::Region;
use crate::step::{Action, Step};

/// What a program sends, to be compared or hashed.
#[derive(Debug, PartialEq, Serialize)]
pub struct Traffic<'a> {
    region: Region,
    order: Order,
    body: Vec<Sends<'a>>,
}

/// What a node sends.
#[derive(Debug, PartialEq, Serialize)]
enum Sends<'a> {
    Step { region: Region, action: &'a Action, buffers: Vec<&'a Buffer> },
    Computes { region: Region },
    Operator { name: &'a Cow<'static, str>, body: Vec<Self> },
    Sequence(Vec<Self>),
    Parallel(Vec<Self>),
    Systolic { times: u64, compute: Box<Self>, transfers: Vec<Self>, after: Vec<Self> },
    Repeat { times: u64, body: Box<Self> },
}

impl Program {
    /// What the program sends: of steps that compute their rectangle alone.
    pub fn traffic(&self) -> Traffic<'_> {
        Traffic { region: self.region, order: self.order, body: self.sends(&self.body) }
    }

    fn sends<'a>(&'a self, nodes: &'a [Node]) -> Vec<Sends<'a>> {
        nodes.iter().map(|node| self.sent_by(node)).collect()
    }

    fn sent_by<'a>(&'a self, node: &'a Node) -> Sends<'a> {
        let steps = |steps: &'a [Step]| steps.iter().map(|step| self.sent_in(step)).collect();
        match node {
            Node::Step(step) => self.sent_in(step),
            Node::Operator { name, body } => Sends::Operator { name, body: self.sends(body) },
            Node::Sequence(body) => Sends::Sequence(self.sends(body)),
            Node::Parallel(body) => Sends::Parallel(self.sends(body)),
            Node::Systolic { times, compute, transfers, after } => Sends::Systolic {
                times: *times,
                compute: Box::new(self.sent_by(compute)),
                transfers: steps(transfers),
                after: steps(after),
            },
            Node::Repeat { times, body } => Sends::Repeat { times: *times, body: Box::new(self.sent_by(body)) },
        }
    }

    fn sent_in<'a>(&'a self, step: &'a Step) -> Sends<'a> {
        let Step { region, action } = step;
        if matches!(action, Action::Compute(_)) {
            return Sends::Computes { region: *region };
        }
        let mut buffers = Vec::new();
        step.each_buffer(|id| buffers.push(self.buffer_of(id)));
        Sends::Step { region: *region, action, buffers }
    }
}

#[cfg(test)]
mod tests {
    use wafersim_spec::DataType;

    use super::*;
    use crate::region::Axis;
    use crate::step::{Multicast, Style};
    use crate::work::{Math, Operation, Work};

    #[test]
    fn work_is_no_traffic_and_payloads_are() {
        let of = |elements: u64, length: u64| {
            let mut program = Program::new("test", Region::new(0, 0, 4, 4));
            let payload = program.buffer("payload", elements, DataType::Fp16);
            let own = program.buffer("own", length, DataType::Fp16);
            let work = Work::new(Operation::Add, DataType::Fp16, length, 1);
            let compute = program.compute(Math::Copy, &[own], own, vec![work]);
            let colors = program.new_colors(1);
            let axis = Axis::X;
            let cast = Multicast { axis, from: 0, span: 4, stride: 1, style: Style::Streaming, payload, colors };
            let cast = program.step(Action::Multicast(cast));
            program.push("all", vec![compute, cast]);
            program
        };
        let one = of(8, 8);
        assert_eq!(one.traffic(), of(8, 16).traffic());
        assert_ne!(one.traffic(), of(16, 8).traffic());
    }
}
