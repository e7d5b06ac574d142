//! Matrix-vector products: `y[N] = x[K] W[K, N]` on a grid.
//!
//! W is tiled over the region; `x` is split along the reduction axis and replicated along the other. The local part is
//! one mapped multiply-accumulate of length N / P for each of the K / P elements of `x`; then the partial sums are
//! reduced along the reduction axis (WaferLLM, OSDI 2025, MeshGEMV). The vendor library's version reduces with one chain
//! and sums in fp32.

use wafersim_program::{Axis, BufferId, Formula, Math, Node, Operation, ReduceOperator, Region, Work, collective};
use wafersim_spec::model::Role;
use wafersim_spec::{DataType, Precision};

use crate::context::Kernel;
use crate::exact::{Exact, first, table};
use crate::options::Options;

/// Accumulator work around one product in the published layer kernels: zeroing, copying in and out and the call, as
/// vector operations over the outputs. From the per-operation run of the vendor's simulator: the Q product of a 12 x 12
/// tile takes 194 cycles, of which 45 are markers, 16 set-up, 12 x 5 the columns; the rest is about four operations.
const ACCUMULATOR_OPERATIONS: u64 = 4;

/// Products that share their input and their reduction.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Elements of `x` in one processing element.
    pub inputs: u64,
    /// Elements of `y` in one processing element.
    pub outputs: u64,
    /// Vectors multiplied with the tile: tokens, or token-expert pairs.
    pub vectors: u64,
    /// Different tiles among them (experts); each is converted once where weights are stored narrow.
    pub tiles: u64,
}

/// The local part of a product, with conversion of stored weights and the work around the accumulators.
pub fn local_product(kernel: &mut Kernel, product: Product, x: BufferId, y: BufferId) -> Vec<Node> {
    let mut nodes = dequantise(kernel, product, x);
    let mut work = vec![
        kernel.work(Operation::Setup, 1, product.vectors.min(1)),
        kernel.work(Operation::MappedFma, product.outputs, product.inputs.saturating_mul(product.vectors)),
    ];
    if let Scaling::Sums(rows) = scaling(kernel.precision.weights, product) {
        work.push(kernel.work(Operation::Scale, product.outputs, rows));
    }
    if !kernel.options.accumulators_in_place {
        let outputs = product.outputs.saturating_mul(product.vectors);
        work.push(kernel.work(Operation::Add, outputs, ACCUMULATOR_OPERATIONS));
    }
    nodes.push(kernel.compute(Math::MatVec, &[x], y, work));
    nodes
}

/// What is multiplied by the block scales of a stored weight, and how many rows of outputs that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scaling {
    Nothing,
    /// The partial sums of a block's inputs, each time they are made.
    Sums(u64),
    /// The elements themselves, while they are converted.
    Elements(u64),
}

/// Inputs of a tile that lie in one block share the scale of each output, so that it can be taken out of their sum: one
/// mapped operation over the outputs for each block of inputs and each vector, as one more row of the product. Where more
/// vectors go through a tile than it has rows for that, its elements are scaled instead. Ours: no published kernel has
/// weights below 16 bit.
fn scaling(stored: DataType, product: Product) -> Scaling {
    let Some((inputs_of_a_block, _)) = stored.scale_tile() else { return Scaling::Nothing };
    let sums = product.inputs.div_ceil(inputs_of_a_block).saturating_mul(product.vectors);
    let elements = product.inputs.saturating_mul(product.tiles);
    match (elements, sums) {
        (0, _) => Scaling::Nothing,
        (_, 1..) if sums <= elements => Scaling::Sums(sums),
        _ => Scaling::Elements(elements),
    }
}

/// Conversion of the tiles of a product to the format that is computed in.
pub fn dequantise(kernel: &mut Kernel, product: Product, x: BufferId) -> Vec<Node> {
    let stored = kernel.precision.weights;
    let elements = product.inputs.saturating_mul(product.outputs).saturating_mul(product.tiles);
    if stored.is_arithmetic() || elements == 0 {
        return Vec::new();
    }
    let scratch = kernel.buffer("weights.converted", product.inputs.saturating_mul(product.outputs));
    let tile = product.inputs.saturating_mul(product.outputs);
    // 8-bit scales of 4-bit elements are converted with them; those of 8-bit elements are stored as numbers.
    let narrow_scales = matches!(stored.scale_block(), Some((_, 1)));
    let scales = if narrow_scales { stored.scales_of_tile(product.inputs, product.outputs) } else { 0 };
    let mut work = vec![kernel.work(Operation::Convert, tile.saturating_add(scales), product.tiles)];
    if let Scaling::Elements(rows) = scaling(stored, product) {
        work.push(kernel.work(Operation::Scale, product.outputs, rows));
    }
    vec![kernel.compute(Math::Dequantise, &[x], scratch, work)]
}

/// MeshGEMV on its own, as it was measured: `y[columns of W] = x W` on the region, reduced along `axis`.
///
/// ```
/// use wafersim_kernels::{Options, gemv};
/// use wafersim_program::{Axis, Region};
///
/// let program = gemv::mesh_gemv(Region::new(0, 0, 120, 120), 4320, 4320, Axis::Y, Options::PUBLISHED);
/// assert_eq!(program.macs_per_element(), 36 * 36);
/// ```
pub fn mesh_gemv(region: Region, rows: u64, columns: u64, axis: Axis, options: Options) -> wafersim_program::Program {
    let precision = fp16();
    let options = Options { accumulators_in_place: true, ..options };
    let mut kernel = Kernel::new("MeshGEMV", region, precision, options);
    let product = Product {
        inputs: region.share(axis, rows),
        outputs: region.share(axis.across(), columns),
        vectors: 1,
        tiles: 1,
    };
    let x = kernel.buffer("x", product.inputs);
    let y = kernel.buffer("y", product.outputs);
    let local = local_product(&mut kernel, product, x, y);
    kernel.program.push("product", local);
    let reduce = kernel.all_reduce(axis, y, ReduceOperator::Add);
    kernel.program.push("all-reduce", reduce);
    kernel.program
}

/// The vendor library's matrix-vector product: fp32 sums, one chain and a broadcast by the collectives library.
pub fn chain_gemv(region: Region, rows: u64, columns: u64, axis: Axis) -> wafersim_program::Program {
    let mut kernel = Kernel::new("chain GEMV", region, fp16(), Options::PUBLISHED);
    let inputs = region.share(axis, rows);
    let outputs = region.share(axis.across(), columns);
    let x = kernel.buffer("x", inputs);
    let y = kernel.typed_buffer("y", outputs, DataType::Fp32);
    let work = vec![
        kernel.work(Operation::Setup, 1, 1),
        Work::new(Operation::MappedMixedFma, DataType::Fp16, outputs, inputs),
    ];
    let local = kernel.compute(Math::MatVec, &[x], y, work);
    kernel.program.push("product", vec![local]);
    let reduce = collective::library_all_reduce(&mut kernel.program, axis, y, ReduceOperator::Add);
    kernel.program.push("all-reduce", reduce);
    kernel.program
}

/// A matrix-vector product as an exact program: `x` times the weight `role` gives `y`, split along the other axis. `library`: with
/// the vendor library's reduction and fp32 sums, else MeshGEMV.
pub fn exact_gemv(
    region: Region,
    (rows, columns): (u64, u64),
    axis: Axis,
    (role, precision): (Role, Precision),
    library: bool,
) -> wafersim_program::Program {
    let options = Options { accumulators_in_place: true, ..Options::PUBLISHED };
    let mut kernel = Kernel::new(if library { "chain GEMV" } else { "MeshGEMV" }, region, precision, options);
    kernel.exact = Some(Exact::new(0.0));
    let x = kernel.declare("x", 0, || vec![table("x", 1, rows, axis, region)]);
    let sums = if library { DataType::Fp32 } else { precision.activations };
    let y = kernel.declare_typed("y", 0, sums, || vec![table("y", 1, columns, axis.across(), region)]);
    let (inputs, outputs) = (kernel.field(first(x)), kernel.field(first(y)));
    let weight = kernel.weight(role, inputs, outputs);
    let (inputs, outputs) = (kernel.program.buffer_of(x).elements, kernel.program.buffer_of(y).elements);
    let operation = if library { Operation::MappedMixedFma } else { Operation::MappedFma };
    let work = vec![kernel.work(Operation::Setup, 1, 1), kernel.work(operation, outputs, inputs)];
    let node = kernel.compute(Math::MatVec, &[x], y, work);
    let formula = || Formula::Product { x: first(x), weight, y: first(y), chosen: None, bias: None };
    let node = kernel.means(node, formula);
    kernel.program.push("product", vec![node]);
    let reduce = if library {
        collective::library_all_reduce(&mut kernel.program, axis, y, ReduceOperator::Add)
    } else {
        kernel.all_reduce(axis, y, ReduceOperator::Add)
    };
    kernel.program.push("all-reduce", reduce);
    kernel.program
}

/// The matrix-vector product of a single processing element, `rows` x `columns`.
pub fn local_gemv(rows: u64, columns: u64, data_type: DataType) -> wafersim_program::Program {
    let mut kernel = Kernel::new("local GEMV", Region::new(0, 0, 1, 1), fp16(), Options::PUBLISHED);
    let x = kernel.typed_buffer("x", rows, data_type);
    let y = kernel.typed_buffer("y", columns, data_type);
    let work =
        vec![Work::new(Operation::Setup, data_type, 1, 1), Work::new(Operation::MappedFma, data_type, columns, rows)];
    let local = kernel.compute(Math::MatVec, &[x], y, work);
    kernel.program.push("product", vec![local]);
    kernel.program
}

/// 16 bit everywhere: what the published kernels compute in.
pub fn fp16() -> Precision {
    Precision {
        weights: DataType::Fp16,
        small_weights: DataType::Fp16,
        kv_cache: DataType::Fp16,
        activations: DataType::Fp16,
    }
}
