//! A program being written: buffers with layouts, steps with formulas, reductions as the mapping wants them.

use std::borrow::Cow;

use wafersim_graph::LayerGraph;
use wafersim_graph::layer::{self, LayerOperator};
use wafersim_mapping::{LayerMapping, LineKind, Reduction, Routes};
use wafersim_program::collective::Segment;
use wafersim_program::pieces::ring_words;
use wafersim_program::{
    Action, Axis, BufferId, Compute, Digit, Dimension, Field, Formula, Layout, Math, Node, Operand, Operation, Program,
    ReduceOperator, Region, Step, Weight, WeightId, Work, collective,
};
use wafersim_spec::DataType;
use wafersim_spec::model::Role;

use crate::request::{LayerRequest, Scope};

/// The lines of the program's region on which a reduction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Whole rows or columns.
    Whole(Axis),
    /// Segments of rows: `count` members, `stride` columns apart, one segment after the other.
    Segments {
        /// Members.
        count: u64,
        /// Columns between neighbouring members.
        stride: u64,
    },
}

/// A program being written.
pub(crate) struct Writer<'a> {
    /// The program so far. Steps are written for its region, which is set to the rectangle that is at work.
    pub program: Program,
    /// What is asked.
    pub request: &'a LayerRequest<'a>,
}

impl<'a> Writer<'a> {
    pub fn new(name: &'static str, request: &'a LayerRequest<'a>) -> Self {
        Self { program: Program::new(name, request.mapping.whole()), request }
    }

    pub fn mapping(&self) -> &'a LayerMapping {
        self.request.mapping
    }

    pub fn region(&self) -> Region {
        self.program.region
    }

    pub fn activations(&self) -> DataType {
        self.request.precision.activations
    }

    /// Writes with another rectangle as the program's region.
    pub fn within<T>(&mut self, region: Region, write: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.program.region, region);
        let written = write(self);
        self.program.region = outer;
        written
    }

    /// Declares a buffer of activations on the region.
    pub fn declare(&mut self, name: impl Into<Cow<'static, str>>, fields: Vec<Field>) -> BufferId {
        self.declare_typed(name, self.activations(), fields)
    }

    /// The same with a data type.
    pub fn declare_typed(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        data_type: DataType,
        fields: Vec<Field>,
    ) -> BufferId {
        let layout = Layout { region: self.region(), fields };
        self.program.laid_buffer(name, data_type, layout)
    }

    /// The declared layout of an operand.
    pub fn field(&self, operand: Operand) -> Field {
        let layout = self.program.buffer_of(operand.buffer).layout.as_ref();
        let field = layout.and_then(|layout| layout.fields.get(operand.field as usize)).cloned();
        field.unwrap_or_else(|| Field::new("", Dimension::whole(0), Vec::new()))
    }

    /// Elements of an operand in the fullest processing element.
    pub fn most(&self, operand: Operand) -> u64 {
        self.field(operand).most()
    }

    /// Work in the precision of activations.
    pub fn work(&self, operation: Operation, length: u64, count: u64) -> Work {
        Work::new(operation, self.activations(), length, count)
    }

    /// A compute step over the region.
    pub fn compute(&self, math: Math, reads: &[BufferId], writes: BufferId, work: Vec<Work>, formula: Formula) -> Node {
        let compute = Compute { math, reads: reads.to_vec(), writes, work, formula: Some(formula) };
        Node::Step(Step { region: self.region(), action: Action::Compute(compute) })
    }

    /// A weight between two fields on the region.
    pub fn weight(&mut self, role: Role, inputs: Field, outputs: Field) -> WeightId {
        let region = self.region();
        self.program.weight(Weight::new(role, region, inputs, outputs))
    }

    /// The reduction that the mapping wants of an operator along a kind of line, and its result in every member.
    pub fn reduce(&mut self, operator: &str, line: LineKind, on: Lines, payload: BufferId) -> Vec<Node> {
        self.reduce_by(operator, line, on, payload, ReduceOperator::Add)
    }

    /// The same with another way to combine.
    pub fn reduce_by(
        &mut self,
        operator: &str,
        line: LineKind,
        on: Lines,
        payload: BufferId,
        combine: ReduceOperator,
    ) -> Vec<Node> {
        let reduction = self.mapping().reduction(operator, line);
        match on {
            Lines::Whole(axis) => {
                let groups = two_level_groups(reduction, self.region().along(axis));
                collective::all_reduce(&mut self.program, axis, groups, payload, combine)
            }
            Lines::Segments { count, stride } => {
                collective::segment_all_reduce(&mut self.program, Axis::X, count, stride, payload, combine)
            }
        }
    }

    /// A payload in pieces that go round segments of the columns.
    pub const fn segment(&self, count: u64, stride: u64, source: BufferId, target: BufferId) -> Segment {
        Segment { axis: Axis::X, count, stride, words: ring_words(self.request.queue), source, target }
    }

    /// A route change, where routes change while the layer runs.
    pub fn route_change(&self) -> Vec<Node> {
        match self.mapping().routes {
            Routes::Static => Vec::new(),
            Routes::Changed => vec![self.program.route_change(1)],
        }
    }

    /// Appends an operator between two route changes: the published WSE-3 kernel changes its routes when the axis of its
    /// reductions changes, six times a layer.
    pub fn push_with_route_changes(&mut self, name: impl Into<Cow<'static, str>>, body: Vec<Node>) {
        let mut nodes = self.route_change();
        nodes.extend(body);
        nodes.extend(self.route_change());
        self.program.push(name, nodes);
    }

    /// The exponential of a softmax. Measured layers stop after two squarings (kernels of WaferLLM, 2025).
    pub fn exponential(&self) -> Operation {
        match self.request.scope {
            Scope::Model => Operation::Exponential,
            Scope::Measured => Operation::UnfinishedExponential,
        }
    }

    /// How the matrices of a role are stored.
    pub fn stored(&self, role: Role) -> DataType {
        match role {
            // A small weight: stored in 16 bit, never converted.
            Role::Router => self.request.precision.small_weights,
            _ => self.mapping().stored(role, &self.request.precision),
        }
    }
}

/// Groups of a reduction of two levels.
fn two_level_groups(reduction: &Reduction, length: u64) -> u64 {
    match reduction {
        Reduction::Tree(tree) | Reduction::SplitRoots { tree, .. } => {
            let sizes = tree.sizes(length);
            sizes.get(1..).map_or(1, |upper| upper.iter().product::<u64>().max(1))
        }
        Reduction::Chain { .. } | Reduction::ReduceScatter => 1,
    }
}

/// A dimension shared out evenly along a whole axis of a region.
pub(crate) fn along(size: u64, axis: Axis, region: Region) -> Dimension {
    Dimension::split(size, Digit::line(axis, region.along(axis)))
}

/// A table that one axis of a region shares out.
pub(crate) fn table(name: &'static str, rows: u64, width: u64, axis: Axis, region: Region) -> Field {
    Field::new(name, Dimension::whole(rows), vec![along(width, axis, region)])
}

/// A table that every place holds.
pub(crate) fn everywhere(name: &'static str, rows: u64, width: u64) -> Field {
    Field::new(name, Dimension::whole(rows), vec![Dimension::whole(width)])
}

/// The first field of a buffer.
pub(crate) const fn first(buffer: BufferId) -> Operand {
    Operand::new(buffer, 0)
}

/// The weights of an operator: role, bias, copies.
pub(crate) fn roles(graph: &LayerGraph, operator: &LayerOperator) -> Vec<(Role, bool)> {
    let of = |tensor: &layer::Tensor| match tensor.kind {
        layer::TensorKind::Weight { role, bias, .. } => Some((role, bias)),
        _ => None,
    };
    graph.weights(operator).filter_map(of).collect()
}
