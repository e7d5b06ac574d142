//! The tiny Qwen3-MoE of the fixtures: 24 prompt tokens and 8 greedy decode steps as placed, against the reference's own
//! 32-bit run and against the equations in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::PathBuf;

use wafersim_kernels::Options;
use wafersim_place::KvLayoutChoice;
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_spec::{DataType, Precision};
use wafersim_values::{Checkpoint, Prefill, Record, Setup, Tensors, Tolerance, compare, plain, run};

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_qwen3_moe");
    std::fs::read(folder.join(name)).unwrap()
}

fn checkpoint() -> Checkpoint {
    let tensors = Tensors::read(vec![("model.safetensors".into(), fixture("model.safetensors"))]).unwrap();
    let config = String::from_utf8(fixture("config.json")).unwrap();
    Checkpoint::new(&config, "config.json", tensors).unwrap()
}

fn reference() -> Record {
    let tensors = Tensors::read(vec![("reference.safetensors".into(), fixture("reference.safetensors"))]).unwrap();
    Record::of_reference(&tensors, "reference.safetensors").unwrap()
}

fn precision(data_type: DataType) -> Precision {
    Precision { weights: data_type, small_weights: data_type, kv_cache: data_type, activations: data_type }
}

fn setup(columns: u64, rows: u64, experts: ExpertPlacement) -> Setup {
    Setup {
        columns,
        rows,
        experts,
        kv: KvLayoutChoice::WholeBlock,
        prefill: Prefill::Tokens,
        precision: precision(DataType::Fp32),
        options: Options::PUBLISHED,
    }
}

#[test]
fn the_equations_are_the_model() {
    let reference = reference();
    let plain = plain::run(&checkpoint(), &reference.prompt, 8).unwrap();
    let comparison = compare(&plain, &reference, Tolerance::FP32);
    assert!(comparison.is_within(), "{comparison:#?}");
    // The reference's own 64-bit run.
    assert!(comparison.of("logits_f64").unwrap().largest < 1e-12);
}

#[test]
fn the_placed_program_is_the_model() {
    let (checkpoint, reference) = (checkpoint(), reference());
    for (columns, rows) in [(4, 4), (1, 1), (2, 2), (5, 7), (8, 3), (3, 8), (16, 4), (12, 12)] {
        for experts in [ExpertPlacement::Spread, ExpertPlacement::Clustered] {
            for prefill in [Prefill::Chunk, Prefill::Tokens] {
                let setup = Setup { prefill, ..setup(columns, rows, experts) };
                let placed = run(&checkpoint, &setup, &reference.prompt, 8, None, |_, _| ());
                let what = format!("{columns} x {rows}, {experts:?}, {prefill:?}");
                let placed = placed.unwrap_or_else(|error| panic!("{what}: {error}"));
                let comparison = compare(&placed, &reference, Tolerance::FP32);
                assert!(comparison.is_within(), "{what}: {comparison:#?}");
            }
        }
    }
}
