//! Products with matrices at rest: `y[N] = x[K] W[K, N]`, K over one axis, N over the other.
//!
//! The local part is one mapped multiply-accumulate of the length of the outputs here for each of the inputs here; then
//! the partial sums of all products of an operator are reduced together (WaferLLM, OSDI 2025, MeshGEMV).

use wafersim_program::{
    Action, Axis, Chosen, Compute, Dimension, Factor, Field, Formula, Math, Node, Operand, Operation, Part, Rescaled,
    Scaling, Spread, Step, Stored, Weight, WeightId, Work,
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
    /// What the input goes through before: the tile is one of the product of all.
    pub behind: Vec<Factor>,
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
    /// Whether the tiles of all pairs lie side by side, each row of which is one operation.
    pub concatenated: Option<Concatenated>,
    /// Which part of the matrix it is.
    pub part: Part,
}

/// Tiles side by side, in the order of their pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concatenated {
    /// Their outputs: an input goes through the tiles of all of its pairs in one operation.
    Outputs,
    /// Their inputs: each pair has its own, so that operations are as long and as many as without.
    Inputs,
}

impl Product {
    /// A product of every row of `x` with one matrix.
    pub fn plain(writer: &Writer<'_>, role: Role, x: Operand, y: Operand) -> Self {
        let inputs = writer.field(x);
        let vectors = inputs.rows.most();
        let (behind, bias, chosen, concatenated, part) = (Vec::new(), None, None, None, Part::Whole);
        Self { role, behind, x, inputs, y, bias, chosen, vectors, tiles: 1, concatenated, part }
    }

    /// With a bias that starts along an axis, where there is one.
    pub fn with_bias(self, bias: bool, axis: Axis) -> Self {
        Self { bias: bias.then_some(axis), ..self }
    }

    /// Rows of the input by how many pairs each goes into: (pairs, rows).
    fn pairs_of_rows(&self) -> Vec<(u64, u64)> {
        self.chosen.as_ref().map_or_else(|| vec![(1, self.vectors)], |chosen| chosen.pairs.of_rows())
    }
}

/// A tile in the fullest place: how many inputs and outputs, and in how many blocks with scales of their own these lie.
#[derive(Debug, Clone, Copy)]
struct TileSize {
    inputs: u64,
    outputs: u64,
    input_blocks: u64,
    output_blocks: u64,
    /// Heads that share out the outputs, each with inputs of its own.
    heads: u64,
    /// Sums that are made here, or stay zero.
    accumulators: u64,
}

/// Blocks of `block` neighbours that the part of a dimension touches which touches most. Blocks begin with the
/// dimension, not with the parts, so that a part smaller than a block may lie in two.
fn blocks_touched(field: &Field, block: u64) -> u64 {
    let most = field.most_inner();
    if block <= 1 || most <= 1 {
        return most;
    }
    let split = match (field.inner.as_slice(), field.shares.as_slice()) {
        ([Dimension { size, spread: Spread::Split(digit) }], []) => Some((*size, digit.parts.max(1))),
        // Neighbours of a list that is as long in all places.
        (inner, [digit]) => Some((inner.iter().map(Dimension::most).product(), digit.parts.max(1))),
        _ => None,
    };
    let Some((size, parts)) = split else { return (most - 2) / block + 2 };
    let (each, rest) = (size / parts, size % parts);
    // An element of the rest comes from the end of the dimension.
    touched_by_runs(each, parts, block) + u64::from(rest > 0)
}

/// Blocks of `block` neighbours that the run which touches most touches, of `parts` runs of `each` neighbours side by
/// side.
fn touched_by_runs(each: u64, parts: u64, block: u64) -> u64 {
    if each == 0 {
        return 0;
    }
    // A run touches one block more than it fills where it begins so far behind the beginning of a block.
    let (filled, behind) = ((each - 1) / block + 1, (each - 1) % block);
    // Beginnings come again after some runs; all multiples of a number are among them then.
    let least = common_divisor(each, block);
    if behind < least {
        return filled;
    }
    if parts >= block / least {
        return filled + 1;
    }
    let is_reached = first_between(each % block, block, block - behind, block - 1).is_some_and(|run| run < parts);
    filled + u64::from(is_reached)
}

/// The first multiple of `step`, counted from 0, whose rest by `modulus` is in `low..=high`, if there is one; with
/// `low <= high < modulus`. As Euclid finds a common divisor: in each turn the question is asked of the rests by which
/// multiples overshoot the modulus.
fn first_between(step: u64, modulus: u64, low: u64, high: u64) -> Option<u64> {
    if low == 0 {
        return Some(0);
    }
    let step = step % modulus;
    if step == 0 {
        return None;
    }
    // Before any multiple overshoots: there is one where it is no further above `low` than `high` is.
    let first = low.div_ceil(step);
    if (step - low % step) % step <= high - low {
        return Some(first);
    }
    // `count * step - turns * modulus` is between: `turns * modulus` modulo `step` is between these.
    let turns = first_between(modulus % step, step, (step - high % step) % step, (step - low % step) % step)?;
    let before = u128::from(turns) * u128::from(modulus) + u128::from(low);
    u64::try_from(before.div_ceil(u128::from(step))).ok()
}

const fn common_divisor(one: u64, other: u64) -> u64 {
    let (mut one, mut other) = (one, other);
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

impl Writer<'_> {
    fn tile_size(&self, product: &Product) -> TileSize {
        let outputs = self.laid(product.y);
        let (along, across) = self.stored(product.role).scale_tile().unwrap_or((u64::MAX, u64::MAX));
        let (along, across) =
            if matches!(product.part, Part::OfHeadsTurned { .. }) { (across, along) } else { (along, across) };
        let size = TileSize {
            inputs: product.inputs.most_inner(),
            outputs: outputs.most_inner(),
            input_blocks: blocks_touched(&product.inputs, along),
            output_blocks: if across == 1 { 1 } else { blocks_touched(outputs, across) },
            heads: 1,
            accumulators: outputs.most_inner(),
        };
        let last = |field: &Field| field.inner.last().cloned().unwrap_or(Dimension::whole(0));
        match product.part {
            Part::Whole | Part::Outputs(_) | Part::Rotated(_) | Part::RotatedFirst { .. } => size,
            // The outputs here are those of a few heads, each with inputs of its own.
            Part::OfHeads { part, .. } => {
                let of_head = last(&product.inputs);
                let inputs = of_head.most();
                let heads = blocks_touched(outputs, part.size).max(1);
                let input_blocks = blocks_touched(&Field::new("", Dimension::whole(1), vec![of_head]), along);
                TileSize { inputs, input_blocks, heads, ..size }
            }
            // The inputs here are those of a few heads; their outputs lie here for all heads, and are zero for the
            // others.
            Part::OfHeadsTurned { .. } => {
                let of_head = last(outputs);
                let outputs = of_head.most();
                let field = Field::new("", Dimension::whole(1), vec![of_head]);
                let output_blocks = if across == 1 { 1 } else { blocks_touched(&field, across) };
                TileSize { outputs, output_blocks, ..size }
            }
        }
    }

    /// What the block scales of a stored weight multiply, and how many operations over how many outputs that takes.
    ///
    /// Inputs of a tile that lie in one block share the scale of each output, so that it can be taken out of their sum:
    /// one mapped operation over the outputs for each block of inputs and each vector, as one more row of the product.
    /// Where more vectors go through a tile than it has rows for that, its elements are scaled instead. Ours: no
    /// published kernel has weights below 16 bit.
    fn scaling(&self, product: &Product, size: TileSize) -> Option<(Scaling, Work)> {
        self.stored(product.role).scale_tile()?;
        let sums = size.input_blocks.saturating_mul(product.vectors);
        let elements = size.inputs.saturating_mul(product.tiles);
        let (scaling, rows) = if sums <= elements { (Scaling::Sums, sums) } else { (Scaling::Elements, elements) };
        let blocks = size.output_blocks.max(1);
        let work = self.work(Operation::Scale, size.outputs.div_ceil(blocks), rows.saturating_mul(blocks));
        Some((scaling, work))
    }

    /// The local part of a product, with the conversion of stored weights and the work around the accumulators.
    pub fn product(&mut self, mut product: Product, accumulators_in_place: bool) -> Vec<Node> {
        let size = self.tile_size(&product);
        let TileSize { inputs, outputs, .. } = size;
        let scaling = self.scaling(&product, size);
        let data_type = self.stored(product.role);
        let stored = Some(Stored { data_type, scaling: scaling.map_or(Scaling::Nothing, |(scaling, _)| scaling) });
        let region = self.region();
        let inputs_here = std::mem::replace(&mut product.inputs, Field::new("", Dimension::whole(0), Vec::new()));
        let declared = Weight::new(product.role, region, inputs_here, self.field(product.y));
        let (behind, part) = (std::mem::take(&mut product.behind), product.part);
        let weight = self.program.weight(Weight { behind, stored, part, ..declared });
        let scaled = |wanted: Scaling| scaling.filter(|(scaling, _)| *scaling == wanted).map(|(_, work)| work);
        let mut nodes = Vec::with_capacity(2);
        nodes.extend(self.conversion(&product, weight, size, scaled(Scaling::Elements)));
        let mut work = Vec::with_capacity(4);
        work.push(self.work(Operation::Setup, 1, product.vectors.min(1)));
        match product.concatenated {
            Some(Concatenated::Outputs) => {
                let rows = product.pairs_of_rows().into_iter();
                work.extend(rows.map(|(pairs, rows)| {
                    self.work(Operation::MappedFma, outputs.saturating_mul(pairs), inputs.saturating_mul(rows))
                }));
            }
            Some(Concatenated::Inputs) | None => {
                let times = inputs.saturating_mul(product.vectors).saturating_mul(size.heads);
                work.push(self.work(Operation::MappedFma, outputs.div_ceil(size.heads), times));
            }
        }
        work.extend(scaled(Scaling::Sums));
        let accumulators = size.accumulators.saturating_mul(product.vectors);
        if !accumulators_in_place {
            work.push(self.work(Operation::Add, accumulators, ACCUMULATOR_OPERATIONS));
        } else if size.accumulators > outputs {
            // Those of other heads are zero.
            work.push(self.work(Operation::Copy, accumulators, 1));
        }
        work.extend(self.bias_work(&product, outputs, accumulators_in_place));
        let Product { x, y, chosen, bias, .. } = product;
        let formula = Formula::Product { x, weight, y, chosen, bias };
        nodes.push(self.compute(Math::MatVec, &[x.buffer], y.buffer, work, formula));
        nodes
    }

    /// Accumulators that start from a bias. A copy in place of zeros, which the work around accumulators holds where it
    /// is done; biases with weights are multiplied and added, one for each pair.
    fn bias_work(&self, product: &Product, outputs: u64, in_place: bool) -> Option<Work> {
        product.bias?;
        match &product.chosen {
            Some(Chosen { bias_weights: Some(_), pairs, .. }) => Some(self.work(Operation::Fma, outputs, pairs.len())),
            _ if in_place => Some(self.work(Operation::Copy, outputs.saturating_mul(product.vectors), 1)),
            _ => None,
        }
    }

    /// Conversion of tiles that are stored narrow to the format that is computed in. Tiles side by side are written so
    /// while they are converted; those that need no conversion are copied, and one that serves several pairs is there
    /// once for each.
    fn conversion(
        &mut self,
        product: &Product,
        weight: WeightId,
        size: TileSize,
        scaled: Option<Work>,
    ) -> Option<Node> {
        let stored = self.stored(product.role);
        let elements = size.inputs.saturating_mul(size.outputs);
        let beside = product.concatenated.map(|_| product.vectors);
        if elements == 0 || product.tiles == 0 || (stored.is_arithmetic() && beside.is_none()) {
            return None;
        }
        let room = elements.saturating_mul(beside.unwrap_or(1));
        let scratch = self.program.buffer("weights.converted", room, self.activations());
        // 8-bit scales of 4-bit elements are converted with them; those of 8-bit elements are stored as numbers.
        let narrow_scales = matches!(stored.scale_block(), Some((_, 1)));
        let scales = if narrow_scales { size.input_blocks.saturating_mul(size.outputs) } else { 0 };
        let (math, operation) =
            if stored.is_arithmetic() { (Math::Copy, Operation::Copy) } else { (Math::Dequantise, Operation::Convert) };
        let times = beside.unwrap_or(product.tiles);
        let work =
            std::iter::once(self.work(operation, elements.saturating_add(scales), times)).chain(scaled).collect();
        Some(self.compute(math, &[scratch], scratch, work, Formula::Convert { weight }))
    }

    /// Conversion of a tile of `inputs` x `outputs` through which many vectors go: its elements are scaled.
    pub fn whole_conversion(&mut self, role: Role, weight: WeightId, (inputs, outputs): (u64, u64)) -> Vec<Node> {
        let stored = self.stored(role);
        let elements = inputs.saturating_mul(outputs);
        if stored.is_arithmetic() || elements == 0 {
            return Vec::new();
        }
        let scratch = self.program.buffer("weights.converted", elements, self.activations());
        let narrow_scales = matches!(stored.scale_block(), Some((_, 1)));
        let scales = if narrow_scales { stored.scales_of_tile(inputs, outputs) } else { 0 };
        let work = vec![
            self.work(Operation::Convert, elements.saturating_add(scales), 1),
            self.work(Operation::Scale, outputs, inputs),
        ];
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

/// Products of one input whose tiles lie interleaved: the first does the work of all, in operations as long as those of
/// all together, and the others have nothing left to do; likewise their conversions, which come before.
pub(crate) fn interleave(nodes: Vec<Node>) -> Vec<Node> {
    let is_conversion = |compute: &Compute| matches!(compute.formula, Some(Formula::Convert { .. }));
    let (conversions, products): (Vec<Node>, Vec<Node>) =
        nodes.into_iter().partition(|node| compute_of(node).is_some_and(is_conversion));
    // Conversions change no number: one step stands for all.
    let mut merged = all_in_first(conversions);
    merged.truncate(1);
    merged.extend(all_in_first(products));
    merged
}

/// Moves the work of the others of some alike steps into the first.
pub(crate) fn all_in_first(mut steps: Vec<Node>) -> Vec<Node> {
    in_first_of(&mut steps, |_| true);
    steps
}

/// The same of those among some steps that are `alike`.
pub(crate) fn in_first_of(steps: &mut [Node], alike: impl Fn(&Compute) -> bool) {
    let mut computes = steps.iter_mut().filter_map(compute_mut).filter(|compute| alike(compute));
    let Some(first) = computes.next() else { return };
    for other in computes {
        // Set-up is done once; all else is as often, and longer.
        for more in std::mem::take(&mut other.work) {
            let is_alike = |work: &&mut Work| (work.operation, work.count) == (more.operation, more.count);
            match first.work.iter_mut().find(is_alike) {
                Some(work) if more.operation == Operation::Setup => work.count = work.count.max(more.count),
                Some(work) => work.length = work.length.saturating_add(more.length),
                None => first.work.push(more),
            }
        }
        first.reads.extend(&other.reads);
    }
}

fn compute_of(node: &Node) -> Option<&Compute> {
    match node {
        Node::Step(Step { action: Action::Compute(compute), .. }) => Some(compute),
        _ => None,
    }
}

fn compute_mut(node: &mut Node) -> Option<&mut Compute> {
    match node {
        Node::Step(Step { action: Action::Compute(compute), .. }) => Some(compute),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_touch_as_many_blocks_as_their_ends_say() {
        for block in [2u64, 3, 12, 32, 128] {
            for (each, parts) in (0..70).flat_map(|each| [1u64, 2, 5, 31, 64, 755].map(|parts| (each, parts))) {
                let touched =
                    |part: u64| if each == 0 { 0 } else { (each * (part + 1) - 1) / block - each * part / block + 1 };
                let most = (0..parts).map(touched).max().unwrap_or(0);
                assert_eq!(touched_by_runs(each, parts, block), most, "{each} {parts} {block}");
            }
        }
    }
}
