//! Kernels by themselves, with random numbers, against `ndarray`'s matrix product: any shape on any grid.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{checkpoint, precision};
use ndarray::Array2;
use proptest::prelude::*;
use wafersim_kernels::Groups;
use wafersim_kernels::gemm::{Gemm, exact_mesh_gemm};
use wafersim_kernels::gemv::{Gemv, chain_gemv, mesh_gemv};
use wafersim_program::{Action, Axis, Node, Operand, Program, Region};
use wafersim_spec::DataType;
use wafersim_spec::model::Role;
use wafersim_values::Checkpoint;
use wafersim_values::checkpoint::WeightName;
use wafersim_values::interpreter::{MeshState, Prepared, Tiles, execute};

/// A checkpoint whose gate matrix is `k x n`.
fn matrix(k: u64, n: u64, seed: u64) -> Checkpoint {
    let config = format!(
        r#"{{"model_type": "llama", "hidden_size": {k}, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 2, "vocab_size": 2, "max_position_embeddings": 4,
        "intermediate_size": {n}, "rms_norm_eps": 1e-6}}"#
    );
    checkpoint(&config, seed)
}

/// Runs a program on an input; its result, or why not.
fn result_of(
    program: Program,
    checkpoint: &Checkpoint,
    (input, output): (&str, &str),
    x: &Array2<f32>,
    data_type: DataType,
) -> Result<Vec<f32>, String> {
    let prepared = Prepared::new(program);
    let mut mesh = MeshState::new(&prepared);
    let operand = |name: &str| Operand::new(prepared.program.find(name).unwrap(), 0);
    mesh.scatter(&prepared, operand(input), x.as_slice().unwrap())?;
    let mut tiles = Tiles::new(checkpoint, data_type, data_type);
    execute(&prepared, &mut mesh, &mut tiles, 0, 0..usize::MAX).map_err(|error| error.to_string())?;
    mesh.gather(&prepared, operand(output))
}

fn whole(checkpoint: &Checkpoint, k: u64, n: u64) -> Array2<f32> {
    let (rows, columns): (Vec<u32>, Vec<u32>) = ((0..k as u32).collect(), (0..n as u32).collect());
    checkpoint.tile(WeightName::new(0, Role::Gate), wafersim_program::Part::Whole, (&rows, &columns)).unwrap()
}

fn random(m: u64, k: u64, seed: u64) -> Array2<f32> {
    let ids = wafersim_values::random_prompt(2001, m * k, seed);
    Array2::from_shape_vec((m as usize, k as usize), ids.into_iter().map(|id| id as f32 / 1000.0 - 1.0).collect())
        .unwrap()
}

fn largest_difference(have: &[f32], wanted: &Array2<f32>) -> f32 {
    assert_eq!(have.len(), wanted.len());
    have.iter().zip(wanted).map(|(have, wanted)| (have - wanted).abs()).fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gemv_is_a_matrix_product(
        columns in 1u64..15, rows in 1u64..15, k in 1u64..70, n in 1u64..70,
        along_x in any::<bool>(), library in any::<bool>(), seed in 0u64..100,
    ) {
        let (checkpoint, x) = (matrix(k, n, seed), random(1, k, seed));
        let axis = if along_x { Axis::X } else { Axis::Y };
        let region = Region::new(0, 0, columns, rows);
        let gemv = Gemv { precision: precision(DataType::Fp32), ..Gemv::fp16(region, k, n, axis) };
        let program = if library { chain_gemv(&gemv) } else { mesh_gemv(&gemv, Groups::SquareRoot) };
        let result = result_of(program, &checkpoint, ("x", "y"), &x, DataType::Fp32).map_err(TestCaseError::fail)?;
        prop_assert!(largest_difference(&result, &x.dot(&whole(&checkpoint, k, n))) < 1e-5);
    }

    #[test]
    fn mesh_gemm_is_a_matrix_product(
        columns in 1u64..15, rows in 1u64..15, m in 1u64..40, k in 1u64..50, n in 1u64..50, seed in 0u64..100,
    ) {
        let (checkpoint, a) = (matrix(k, n, seed), random(m, k, seed));
        let region = Region::new(0, 0, columns, rows);
        let precision = precision(DataType::Fp32);
        let program = exact_mesh_gemm(&Gemm { region, m, k, n }, Role::Gate, precision);
        let names = ("gemm.input", "gemm.result");
        let result = result_of(program, &checkpoint, names, &a, DataType::Fp32).map_err(TestCaseError::fail)?;
        prop_assert!(largest_difference(&result, &a.dot(&whole(&checkpoint, k, n))) < 1e-5);
    }
}

/// The vendor library sums in fp32, MeshGEMV in the format of its operands: rounding makes the difference, and it
/// shows.
#[test]
fn mixed_sums_are_nearer_than_narrow_ones() {
    let (k, n) = (96, 40);
    let (checkpoint, x) = (matrix(k, n, 3), random(1, k, 3));
    let x = x.mapv(|value| half::f16::from_f32(value).to_f32());
    let weight = whole(&checkpoint, k, n).mapv(|value| half::f16::from_f32(value).to_f32());
    let exact = x.dot(&weight);
    let error = |library: bool| {
        let gemv = Gemv { precision: precision(DataType::Fp16), ..Gemv::fp16(Region::new(0, 0, 4, 6), k, n, Axis::Y) };
        let program = if library { chain_gemv(&gemv) } else { mesh_gemv(&gemv, Groups::SquareRoot) };
        let result = result_of(program, &checkpoint, ("x", "y"), &x, DataType::Fp16).unwrap();
        largest_difference(&result, &exact)
    };
    let (mixed, narrow) = (error(true), error(false));
    assert!(mixed < 1e-5 && narrow > 1e-4 && narrow < 1e-2, "{mixed} {narrow}");
}

/// A program that leaves a movement out is refused, or computes something else; it never passes.
#[test]
fn a_missing_transfer_does_not_pass() {
    let (k, n) = (30, 20);
    let (checkpoint, a) = (matrix(k, n, 1), random(24, k, 1));
    let region = Region::new(0, 0, 5, 6);
    let precision = precision(DataType::Fp32);
    let whole_program = || exact_mesh_gemm(&Gemm { region, m: 24, k, n }, Role::Gate, precision);
    let names = ("gemm.input", "gemm.result");
    let run = |program: Program| result_of(program, &checkpoint, names, &a, DataType::Fp32);
    assert!(run(whole_program()).is_ok());
    let mut unaligned = whole_program();
    if let Node::Operator { body, .. } = &mut unaligned.body[0] {
        body.truncate(1);
    }
    assert!(run(unaligned).unwrap_err().contains("meets piece"));
    let mut one_shift = whole_program();
    if let Node::Operator { body, .. } = &mut one_shift.body[1]
        && let Node::Systolic { transfers, .. } = &mut body[0]
    {
        transfers.pop();
    }
    assert!(run(one_shift).unwrap_err().contains("meets piece"));

    let vector = random(1, k, 1);
    let product = || mesh_gemv(&Gemv { precision, ..Gemv::fp16(region, k, n, Axis::Y) }, Groups::SquareRoot);
    let steps = product().steps().count();
    for left_out in 1..steps {
        let mut program = product();
        if let Node::Operator { body, .. } = &mut program.body[1] {
            assert!(matches!(&body[left_out - 1], Node::Step(step) if !matches!(step.action, Action::Compute(_))));
            body.remove(left_out - 1);
        }
        let result = result_of(program, &checkpoint, ("x", "y"), &vector, DataType::Fp32);
        let wanted = vector.dot(&whole(&checkpoint, k, n));
        assert!(result.is_err() || largest_difference(&result.unwrap(), &wanted) > 1e-3, "without step {left_out}");
    }
}
