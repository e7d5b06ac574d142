//! What every kernel needs while it writes its program.

use wafersim_program::{
    BufferId, Field, Formula, Layout, Math, Node, Operand, Operation, Program, Region, Weight, WeightId, Work,
};
use wafersim_spec::model::Role;
use wafersim_spec::{DataType, Precision};

/// A program being written.
#[derive(Debug)]
pub struct Kernel {
    /// The program so far.
    pub program: Program,
    /// Data types.
    pub precision: Precision,
    /// Whether buffers have layouts and compute steps their operands, so that the program can be executed.
    pub exact: bool,
}

impl Kernel {
    /// Starts a program over a region that is written for its time.
    pub fn new(name: impl Into<String>, region: Region, precision: Precision) -> Self {
        Self { program: Program::new(name, region), precision, exact: false }
    }

    /// The same that can be executed.
    pub fn exact(name: impl Into<String>, region: Region, precision: Precision) -> Self {
        Self { exact: true, ..Self::new(name, region, precision) }
    }

    /// The region.
    pub fn region(&self) -> Region {
        self.program.region
    }

    /// Declares a buffer of activations.
    pub fn buffer(&mut self, name: &'static str, elements: u64) -> BufferId {
        self.typed_buffer(name, elements, self.precision.activations)
    }

    /// Declares a buffer of a given type.
    pub fn typed_buffer(&mut self, name: &'static str, elements: u64, data_type: DataType) -> BufferId {
        self.program.buffer(name, elements, data_type)
    }

    /// Declares a buffer with one field.
    pub fn laid_buffer(&mut self, name: &'static str, data_type: DataType, field: Field) -> Operand {
        let layout = Layout { region: self.region(), fields: vec![field] };
        Operand::new(self.program.laid_buffer(name, data_type, layout), 0)
    }

    /// The declared layout of a field.
    pub fn field(&self, operand: Operand) -> Field {
        let fields = self.program.buffer_of(operand.buffer).layout.as_ref().map(|layout| &layout.fields);
        let field = fields.and_then(|fields| fields.get(operand.field as usize)).cloned();
        field.unwrap_or_else(|| Field::new("", wafersim_program::Dimension::whole(0), Vec::new()))
    }

    /// The weight of a product between two fields on the region.
    pub fn weight(&mut self, role: Role, inputs: Field, outputs: Field) -> WeightId {
        let region = self.region();
        self.program.weight(Weight::new(role, region, inputs, outputs))
    }

    /// A compute step.
    pub fn compute(&self, math: Math, reads: &[BufferId], writes: BufferId, work: Vec<Work>) -> Node {
        self.program.compute(math, reads, writes, work)
    }

    /// Work in the precision of activations.
    pub fn work(&self, operation: Operation, length: u64, count: u64) -> Work {
        Work::new(operation, self.precision.activations, length, count)
    }

    /// Gives a compute step its meaning, in programs that can be executed.
    pub fn means(&self, node: Node, formula: impl FnOnce() -> Formula) -> Node {
        match node {
            Node::Step(mut step) if self.exact => {
                if let wafersim_program::Action::Compute(compute) = &mut step.action {
                    compute.formula = Some(formula());
                }
                Node::Step(step)
            }
            other => other,
        }
    }
}
