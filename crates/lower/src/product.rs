//! Products with matrices at rest: `y[N] = x[K] W[K, N]`, K over one axis, N over the other.
//!
//! The local part is one mapped multiply-accumulate of the length of the outputs here for each of the inputs here; then the
//! partial sums of all products of an operator are reduced together (WaferLLM, OSDI 2025, MeshGEMV).

use wafersim_program::{
    Action, Axis, Chosen, Compute, Field, Formula, Math, Node, Operand, Operation, Rescaled, Step, Work,
};
use wafersim_spec::model::Role;

use crate::norm::Riding;
use crate::writer::Writer;

/// Accumulator work around one product in the published layer kernels: zeroing, copying in and out and the call, as
/// vector operations over the outputs. From the per-operation run of the vendor's simulator: the Q product of a 12 x 12
/// tile takes 194 cycles, of which 45 are markers, 16 set-up, 12 x 5 the columns; the rest is about four operations.
pub(crate) const ACCUMULATOR_OPERATIONS: u64 = 4;

/// A product of one input with one matrix.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    /// What the matrix does.
    pub role: Role,
    /// Input.
    pub x: Operand,
    /// Which inputs a place multiplies; the layout of `x`, or a part of it.
    pub inputs: Field,
    /// Output.
    pub y: Operand,
    /// Where the accumulators of the first place along this axis start from the bias of the matrix.
    pub bias: Option<Axis>,
    /// For experts, whose tile each row is multiplied with.
    pub chosen: Option<Chosen>,
    /// Vectors that go through.
    pub vectors: u64,
    /// Different tiles among them (experts); each is converted once where weights are stored narrow.
    pub tiles: u64,
}

impl Product {
    /// A product of every row of `x` with one matrix.
    pub fn plain(writer: &Writer<'_>, role: Role, x: Operand, y: Operand) -> Self {
        let inputs = writer.field(x);
        let vectors = inputs.rows.most();
        Self { role, x, inputs, y, bias: None, chosen: None, vectors, tiles: 1 }
    }

    /// With a bias that starts along an axis, where there is one.
    pub fn with_bias(self, bias: bool, axis: Axis) -> Self {
        Self { bias: bias.then_some(axis), ..self }
    }
}

impl Writer<'_> {
    /// The local part of a product, with the conversion of stored weights and the work around the accumulators.
    pub fn product(&mut self, product: Product, accumulators_in_place: bool) -> Vec<Node> {
        let outputs_field = self.field(product.y);
        let (inputs, outputs) = (product.inputs.most_inner(), outputs_field.most_inner());
        let weight = self.weight(product.role, product.inputs, outputs_field);
        let mut nodes = self.conversion(product.role, weight, inputs.saturating_mul(outputs), product.tiles);
        let mut work = vec![
            self.work(Operation::Setup, 1, product.vectors.min(1)),
            self.work(Operation::MappedFma, outputs, inputs.saturating_mul(product.vectors)),
        ];
        if !accumulators_in_place {
            work.push(self.work(Operation::Add, outputs.saturating_mul(product.vectors), ACCUMULATOR_OPERATIONS));
        }
        let Product { x, y, chosen, bias, .. } = product;
        let formula = Formula::Product { x, weight, y, chosen, bias };
        nodes.push(self.compute(Math::MatVec, &[x.buffer], y.buffer, work, formula));
        nodes
    }

    /// Conversion of tiles that are stored narrow to the format that is computed in.
    pub fn conversion(
        &mut self,
        role: Role,
        weight: wafersim_program::WeightId,
        elements: u64,
        tiles: u64,
    ) -> Vec<Node> {
        if self.stored(role).is_arithmetic() || elements == 0 || tiles == 0 {
            return Vec::new();
        }
        let scratch = self.program.buffer("weights.converted", elements, self.activations());
        let work = vec![self.work(Operation::Convert, elements, tiles)];
        vec![self.compute(Math::Dequantise, &[scratch], scratch, work, Formula::Convert { weight })]
    }

    /// Where a norm rides: its sum of squares here goes into the payload.
    pub fn ride(&self, riding: Option<Riding>, sums: Operand) -> Vec<Node> {
        riding.map(|riding| self.sum_of_squares(riding.x, sums, riding.width)).into_iter().collect()
    }

    /// After the reduction that carried a norm's sum: what was made is scaled.
    pub fn scale(&self, riding: Option<Riding>, sums: Operand, made: Vec<Rescaled>) -> Vec<Node> {
        riding.map(|riding| self.rescale(riding, sums, made)).into_iter().collect()
    }
}

/// Products of one input whose tiles lie interleaved: the first does the work of all, in operations as long as all of theirs
/// together, and the others have nothing left to do; likewise their conversions, which come before.
pub(crate) fn interleave(nodes: Vec<Node>) -> Vec<Node> {
    let (mut conversions, mut products): (Vec<Node>, Vec<Node>) =
        nodes.into_iter().partition(|node| compute_of(node).is_some_and(|compute| compute.math == Math::Dequantise));
    for alike in [&mut conversions, &mut products] {
        let mut merged: Vec<Work> = Vec::new();
        for work in alike.iter_mut().filter_map(work_of).flat_map(std::mem::take) {
            match merged.iter_mut().find(|known| known.operation == work.operation) {
                // Set-up is done once; all else is as often, and longer.
                Some(_) if work.operation == Operation::Setup => {}
                Some(known) => known.length = known.length.saturating_add(work.length),
                None => merged.push(work),
            }
        }
        if let Some(work) = alike.first_mut().and_then(work_of) {
            *work = merged;
        }
    }
    // Conversions change no number: one step stands for all.
    conversions.truncate(1);
    conversions.extend(products);
    conversions
}

fn compute_of(node: &Node) -> Option<&Compute> {
    match node {
        Node::Step(Step { action: Action::Compute(compute), .. }) => Some(compute),
        _ => None,
    }
}

fn work_of(node: &mut Node) -> Option<&mut Vec<Work>> {
    match node {
        Node::Step(Step { action: Action::Compute(compute), .. }) => Some(&mut compute.work),
        _ => None,
    }
}
