//! Matrix-vector products: `y[N] = x[K] W[K, N]` on a grid.
//!
//! W is tiled over the region; `x` is split along the reduction axis and replicated along the other. The local part is
//! one mapped multiply-accumulate of length N / P for each of the K / P elements of `x`; then the partial sums are
//! reduced along the reduction axis (WaferLLM, OSDI 2025, MeshGEMV). The vendor library's version reduces with one
//! chain and sums in fp32. Buffers have layouts and steps their operands: these programs can be executed.

use serde::Serialize;
use wafersim_program::collective::default_groups;
use wafersim_program::formula::along;
use wafersim_program::{
    Axis, Dimension, Field, Formula, Math, Operation, Program, ReduceOperator, Region, Work, collective,
};
use wafersim_spec::model::Role;
use wafersim_spec::{DataType, Precision};

use crate::kernel::Kernel;

/// Groups of the two-level reductions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Groups {
    /// About the square root of the line's length, as the published kernels choose without being told.
    SquareRoot,
    /// So many on every line.
    Count(u64),
}

impl Groups {
    /// Groups for a line of `length`.
    pub fn on(self, length: u64) -> u64 {
        match self {
            Self::SquareRoot => default_groups(length),
            Self::Count(count) => count.clamp(1, length.max(1)),
        }
    }
}

/// A product of a vector with a matrix of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemv {
    /// Processing elements.
    pub region: Region,
    /// Rows of the matrix: elements of `x`.
    pub rows: u64,
    /// Columns of the matrix: elements of `y`.
    pub columns: u64,
    /// The axis that `x` is split along, and sums travel along.
    pub axis: Axis,
    /// The matrix.
    pub role: Role,
    /// Data types.
    pub precision: Precision,
}

impl Gemv {
    /// In 16 bit.
    pub fn fp16(region: Region, rows: u64, columns: u64, axis: Axis) -> Self {
        Self { region, rows, columns, axis, role: Role::Gate, precision: fp16() }
    }

    /// The local part, with `y` summed in a type. Returns the kernel and the buffer of the sums.
    fn local(&self, name: &str, operation: Operation, sums: DataType) -> (Kernel, wafersim_program::BufferId) {
        let mut kernel = Kernel::exact(name, self.region, self.precision);
        let table = |name: &'static str, width: u64, axis: Axis| {
            Field::new(name, Dimension::whole(1), vec![along(width, axis, self.region)])
        };
        let x = kernel.laid_buffer("x", self.precision.activations, table("x", self.rows, self.axis));
        let y = kernel.laid_buffer("y", sums, table("y", self.columns, self.axis.across()));
        let (inputs, outputs) = (kernel.field(x), kernel.field(y));
        let weight = kernel.weight(self.role, inputs, outputs);
        let elements = |operand: wafersim_program::Operand| kernel.program.buffer_of(operand.buffer).elements;
        let work = vec![kernel.work(Operation::Setup, 1, 1), kernel.work(operation, elements(y), elements(x))];
        let node = kernel.compute(Math::MatVec, &[x.buffer], y.buffer, work);
        let node = kernel.means(node, || Formula::Product { x, weight, y, chosen: None, bias: None });
        kernel.program.push("product", vec![node]);
        (kernel, y.buffer)
    }
}

/// MeshGEMV, as it was measured.
///
/// ```
/// use wafersim_kernels::Groups;
/// use wafersim_kernels::gemv::{Gemv, mesh_gemv};
/// use wafersim_program::{Axis, Region};
///
/// let program = mesh_gemv(&Gemv::fp16(Region::new(0, 0, 120, 120), 4320, 4320, Axis::Y), Groups::SquareRoot);
/// assert_eq!(program.macs_per_element(), 36 * 36);
/// ```
pub fn mesh_gemv(gemv: &Gemv, groups: Groups) -> Program {
    let (mut kernel, y) = gemv.local("MeshGEMV", Operation::MappedFma, gemv.precision.activations);
    let groups = groups.on(gemv.region.along(gemv.axis));
    let reduce = collective::all_reduce(&mut kernel.program, gemv.axis, groups, y, ReduceOperator::Add);
    kernel.program.push("all-reduce", reduce);
    kernel.program
}

/// The vendor library's matrix-vector product: a plain loop over columns with fp32 sums, as in the vendor's example of
/// its collectives (sources.md#cerebras-example-kernels), one chain and a broadcast by the library.
pub fn chain_gemv(gemv: &Gemv) -> Program {
    let (mut kernel, y) = gemv.local("chain GEMV", Operation::LoopedMixedFma, DataType::Fp32);
    let reduce = collective::library_all_reduce(&mut kernel.program, gemv.axis, y, ReduceOperator::Add);
    kernel.program.push("all-reduce", reduce);
    kernel.program
}

/// The matrix-vector product of a single processing element, `rows` x `columns`.
pub fn local_gemv(rows: u64, columns: u64, data_type: DataType) -> Program {
    let mut kernel = Kernel::new("local GEMV", Region::new(0, 0, 1, 1), fp16());
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
        ..Precision::default()
    }
}
