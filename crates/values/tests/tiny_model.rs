//! The tiny Qwen3-MoE of the fixtures: 24 prompt tokens and 8 greedy decode steps as placed, against the reference's
//! own 32-bit run and against the equations in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::path::PathBuf;

use common::precision;
use wafersim_spec::DataType;
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_values::{Checkpoint, Grid, Prefill, Record, RunInput, Setup, Tensors, Tolerance, compare, plain, run};

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
                let grid = Grid { experts, ..Grid::published(columns, rows) };
                let setup =
                    Setup { mappings: grid.mappings(&checkpoint.model), prefill, precision: precision(DataType::Fp32) };
                let placed = run(&checkpoint, &setup, RunInput::new(&reference.prompt, 8), |_, _| ());
                let what = format!("{columns} x {rows}, {experts:?}, {prefill:?}");
                let placed = placed.unwrap_or_else(|error| panic!("{what}: {error}"));
                let comparison = compare(&placed, &reference, Tolerance::FP32);
                assert!(comparison.is_within(), "{what}: {comparison:#?}");
            }
        }
    }
}
