//! The tiny Qwen3-MoE, its numbers carried by wavelets: every buffer of every processing element after every program of
//! a prompt and of decode steps is what the numeric reading says, bit for bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::PathBuf;

use proptest::prelude::*;
use wafersim_carried::{Agreement, Device, carry, compare};
use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit;
use wafersim_mapping::{KvMapping, LayerMapping, Rewrite, Rewrites};
use wafersim_place::KvLayoutChoice;
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Precision, Wafer};
use wafersim_values::{Checkpoint, Grid, Prefill, RunInput, Setup, Tensors, random_prompt, run_observed};

fn checkpoint() -> Checkpoint {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../values/tests/fixtures/tiny_qwen3_moe");
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let tensors = Tensors::read(vec![("model.safetensors".into(), file("model.safetensors"))]).unwrap();
    Checkpoint::new(&String::from_utf8(file("config.json")).unwrap(), "config.json", tensors).unwrap()
}

/// Carries all programs of a run: how many they were, and how far they agree.
fn carried(setup: &Setup, tokens: u64, steps: u64) -> (u64, Agreement) {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let work_cycles = |work: &wafersim_program::Work| formula::work(work, &rates);
    let device = Device { wafer: &wafer, set: RateSet::Silicon, work_cycles: &work_cycles };
    let checkpoint = checkpoint();
    let prompt = random_prompt(checkpoint.model.vocabulary, tokens, 5);
    let (mut programs, mut all) = (0, Agreement::default());
    let mut observe = |executed: &wafersim_values::Executed<'_>| {
        let prepared = executed.prepared;
        let name = &prepared.program.name;
        let carried = carry(prepared, executed.before, (executed.tiles, executed.layer), &device)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let lowered = device.lower(&prepared.program).unwrap();
        assert_eq!(circuit::run(&lowered, |_| ()).unwrap().cycles, carried.outcome.cycles, "{name}");
        let agreement = compare(&prepared.program, executed.after, &carried.mesh);
        assert!(agreement.is_whole(), "{name}: {:#?}", agreement.first);
        programs += 1;
        all.add(&agreement);
    };
    run_observed(&checkpoint, setup, RunInput::new(&prompt, steps), |_, _| (), &mut observe).unwrap();
    (programs, all)
}

fn precision(data_type: DataType) -> Precision {
    Precision {
        weights: data_type,
        small_weights: data_type,
        kv_cache: data_type,
        activations: data_type,
        ..Precision::default()
    }
}

fn setup(grid: Grid, data_type: DataType) -> Setup {
    let mappings = grid.mappings(&checkpoint().model);
    Setup { mappings, prefill: Prefill::Tokens, precision: precision(data_type) }
}

fn published((columns, rows): (u64, u64), experts: ExpertPlacement) -> Grid {
    Grid { experts, ..Grid::published(columns, rows) }
}

/// Rewrites that decode layers are written with.
const WRITTEN: Rewrites = Rewrites::ALL
    .with(Rewrite::EarlyRouter, false)
    .with(Rewrite::SingleChoice, false)
    .with(Rewrite::ConcatenatedExperts, false);

const GRIDS: [(u64, u64); 4] = [(4, 4), (5, 3), (8, 2), (3, 7)];

#[test]
fn decode_layers_are_the_numeric_reading_bit_for_bit() {
    for grid in GRIDS {
        for experts in [ExpertPlacement::Spread, ExpertPlacement::Clustered] {
            for data_type in [DataType::Fp32, DataType::Fp16, DataType::Bf16] {
                let (programs, agreement) = carried(&setup(published(grid, experts), data_type), 2, 1);
                assert!(programs > 2 && agreement.elements > 1000, "{programs} programs, {}", agreement.elements);
            }
        }
    }
}

#[test]
fn a_cache_shared_along_its_sequence_is_carried_too() {
    let grid = Grid { kv: KvLayoutChoice::DimensionSplit(1), ..Grid::published(6, 4) };
    assert!(carried(&setup(grid, DataType::Fp32), 3, 1).1.is_whole());
}

/// Every rewrite that layers are written with, alone and together; both splits of the cache with copies; drafts.
#[test]
fn mappings_are_carried_too() {
    let kv = |dimension_split, sequence_split, head_copies| KvMapping {
        columns_per_head: dimension_split * sequence_split * head_copies,
        dimension_split,
        sequence_split,
        head_copies,
        ..KvMapping::published(1)
    };
    let none = Rewrites::NONE;
    let mut cases = vec![(9, 3, kv(2, 2, 1), none), (13, 4, kv(3, 2, 1), none), (12, 2, kv(1, 3, 2), none)];
    let rewrites = Rewrite::ALL.into_iter().filter(|rewrite| WRITTEN.has(*rewrite));
    cases.extend(rewrites.map(|rewrite| (9, 3, kv(2, 2, 1), Rewrites::from_iter([rewrite]))));
    cases.extend([(8, 4, kv(4, 1, 1), WRITTEN), (13, 3, kv(2, 3, 1), WRITTEN), (12, 2, kv(1, 3, 2), WRITTEN)]);
    for (number, (columns, rows, kv, rewrites)) in cases.into_iter().enumerate() {
        let data_type = [DataType::Fp32, DataType::Fp16, DataType::Bf16][number % 3];
        let mapping = LayerMapping { kv, rewrites, ..LayerMapping::published(columns, rows) };
        let prefill = if number % 2 == 0 { Prefill::Tokens } else { Prefill::Drafts(3) };
        let setup = Setup { mappings: vec![mapping], prefill, precision: precision(data_type) };
        let (programs, agreement) = carried(&setup, 3, 1);
        assert!(programs > 2 && agreement.elements > 1000, "{programs} programs, {}", agreement.elements);
    }
}

#[test]
fn prefill_layers_are_the_numeric_reading_bit_for_bit() {
    for grid in GRIDS {
        for experts in [ExpertPlacement::Spread, ExpertPlacement::Clustered] {
            for data_type in [DataType::Fp32, DataType::Fp16, DataType::Bf16] {
                let setup = Setup { prefill: Prefill::Chunk, ..setup(published(grid, experts), data_type) };
                assert!(carried(&setup, 7, 1).1.is_whole());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_grid_is_carried(
        columns in 1u64..12, rows in 1u64..12, clustered in any::<bool>(), sequence in any::<bool>(), chunk in any::<bool>(),
        data_type in prop::sample::select(vec![DataType::Fp32, DataType::Fp16, DataType::Bf16]), tokens in 1u64..9,
    ) {
        let experts = if clustered { ExpertPlacement::Clustered } else { ExpertPlacement::Spread };
        let grid = Grid {
            kv: if sequence { KvLayoutChoice::DimensionSplit(1) } else { KvLayoutChoice::WholeBlock },
            ..published((columns, rows), experts)
        };
        let prefill = if chunk { Prefill::Chunk } else { Prefill::Tokens };
        let setup = Setup { prefill, ..setup(grid, data_type) };
        prop_assert!(carried(&setup, tokens, 1).1.is_whole());
    }
}
