//! What every kernel needs while it writes its part of a program.

use wafersim_program::{Axis, BufferId, Math, Node, Operation, Program, ReduceOperator, Region, Work, collective};
use wafersim_spec::{DataType, Precision};

use crate::exact::Exact;
use crate::options::{Options, Scope};

/// A program being written, with the choices that hold for all of it.
#[derive(Debug)]
pub struct Kernel {
    /// The program so far.
    pub program: Program,
    /// Data types.
    pub precision: Precision,
    /// Whose kernels.
    pub options: Options,
    /// What it is written for.
    pub scope: Scope,
    /// What an exact program needs to know; nothing for a program that is written for its cost.
    pub exact: Option<Exact>,
}

impl Kernel {
    /// Starts a program over a region.
    pub fn new(name: impl Into<String>, region: Region, precision: Precision, options: Options) -> Self {
        Self { program: Program::new(name, region), precision, options, scope: Scope::Model, exact: None }
    }

    /// The region.
    pub fn region(&self) -> Region {
        self.program.region
    }

    /// Data type of activations.
    pub fn activations(&self) -> DataType {
        self.precision.activations
    }

    /// Declares a buffer of activations.
    pub fn buffer(&mut self, name: &'static str, elements: u64) -> BufferId {
        self.typed_buffer(name, elements, self.precision.activations)
    }

    /// Declares a buffer of a given type.
    pub fn typed_buffer(&mut self, name: &'static str, elements: u64, data_type: DataType) -> BufferId {
        self.program.buffer(name, elements, data_type)
    }

    /// An all-reduce of `payload` along an axis of the region.
    pub fn all_reduce(&mut self, axis: Axis, payload: BufferId, operator: ReduceOperator) -> Vec<Node> {
        let groups = self.options.groups.on(self.region().along(axis));
        collective::all_reduce(&mut self.program, axis, groups, payload, operator)
    }

    /// A compute step.
    pub fn compute(&self, math: Math, reads: &[BufferId], writes: BufferId, work: Vec<Work>) -> Node {
        self.program.compute(math, reads, writes, work)
    }

    /// Work in the precision of activations.
    pub fn work(&self, operation: Operation, length: u64, count: u64) -> Work {
        Work::new(operation, self.activations(), length, count)
    }

    /// Exponentials of `count` vectors of `length`: the true one, or what the measured layer has in its place.
    pub fn exponential(&self, length: u64, count: u64) -> Work {
        let operation = match self.scope {
            Scope::Model => Operation::Exponential,
            Scope::Measured => Operation::UnfinishedExponential,
        };
        self.work(operation, length, count)
    }

    /// A route change, where the kernels change routes at run time.
    pub fn route_change(&self) -> Vec<Node> {
        if self.options.static_routes { Vec::new() } else { vec![self.program.route_change(1)] }
    }
}
