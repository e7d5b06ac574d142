//! The engine of streams and the engine of wavelets give the same result, to the tick, for every kernel.

use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Engine, Outcome};
use wafersim_mapping::KvMapping;
use wafersim_program::{Action, Axis, Compute, Math, Multicast, Node, Program, Region, Step, Style, Work};
use wafersim_spec::model::Attention;
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Wafer};

use crate::programs;

/// Runs a program by both engines, and holds them to the same result.
pub fn both(program: &Program, wafer: &Wafer, set: RateSet) -> Outcome {
    let rates = Rates::new(wafer, set, View::Achieved);
    let lowered = circuit::lower(program, wafer, set, &|work| formula::work(work, &rates)).unwrap();
    let fast = circuit::run(&lowered, |_| ()).unwrap();
    let slow = circuit::run_wavelets(&lowered, |_| ()).unwrap();
    assert_eq!(slow.engine, Engine::Wavelets);
    assert_eq!(fast.cycles, slow.cycles, "{}", program.name);
    assert_eq!(fast.operators, slow.operators, "{}", program.name);
    assert_eq!(fast.maps, slow.maps, "{}", program.name);
    let counts = |outcome: &Outcome| circuit::Tally { events: 0, ..outcome.tally };
    assert_eq!(counts(&fast), counts(&slow), "{}", program.name);
    assert_eq!(fast.tally.sent, fast.tally.delivered);
    fast
}

#[test]
fn both_engines_give_the_same_bytes_for_every_kernel() {
    for device in ["wse2", "wse3"] {
        let wafer = Wafer::builtin(device).unwrap();
        for (columns, rows) in [(8, 8), (5, 9), (12, 7)] {
            for (name, program) in programs::library(columns, rows) {
                let outcome = both(&program, &wafer, RateSet::Silicon);
                println!("{device} {columns}x{rows} {name}: {} {:?}", outcome.cycles, outcome.engine);
            }
        }
    }
}

/// Rows that start later than others, or in another order of their cores, or under fewer parts: those that are alike
/// but for a common delay are run once, and the others are not taken for them.
#[test]
fn lines_that_are_alike_run_once_and_others_for_themselves() {
    let mut program = Program::new("delays", Region::new(0, 0, 10, 12));
    let payload = program.buffer("payload", 30, DataType::Fp32);
    let colors = program.new_colors(3);
    let compute = |region: Region, length: u64| {
        let work = vec![Work::new(wafersim_program::Operation::Add, DataType::Fp16, length, 1)];
        Node::Step(Step {
            region,
            action: Action::Compute(Compute {
                math: Math::Add,
                reads: vec![payload],
                writes: payload,
                work,
                formula: None,
            }),
        })
    };
    let cast = |region: Region, from: u64, color: usize| {
        let colors = vec![colors[color]];
        let cast = Multicast { axis: Axis::X, from, span: 10, stride: 1, style: Style::Streaming, payload, colors };
        Node::Step(Step { region, action: Action::Multicast(cast) })
    };
    let delays = vec![
        // Whole rows later than others; one row with a late core in it; and the last rows under two casts only.
        compute(Region::new(0, 2, 10, 3), 4_000),
        compute(Region::new(0, 4, 10, 4), 9_000),
        compute(Region::new(6, 7, 1, 1), 700),
    ];
    let casts = vec![
        cast(Region::new(0, 0, 10, 12), 0, 0),
        cast(Region::new(0, 0, 10, 12), 3, 1),
        cast(Region::new(0, 0, 10, 9), 7, 2),
    ];
    program.push("delays", delays);
    program.push("casts", vec![Node::Parallel(casts)]);
    for device in ["wse2", "wse3"] {
        let outcome = both(&program, &Wafer::builtin(device).unwrap(), RateSet::Silicon);
        assert_eq!(outcome.engine, Engine::Mixed);
    }
}

/// Heads with columns of their own, whose collectives end at different times and meet: what a layer of a real model
/// does.
#[test]
fn a_layer_of_many_heads_is_the_same_in_windows() {
    let hidden = 160;
    let mut layer = programs::expert_layer(hidden, 16, 4, 20);
    if let Attention::Grouped(attention) = &mut layer.attention {
        (attention.heads, attention.kv_heads, attention.head_dim, attention.rotary_dim) = (8, 4, 20, 20);
        attention.qk_norm = wafersim_spec::model::QkNorm::Head;
    }
    let kv = KvMapping { dimension_split: 3, sequence_split: 3, ..KvMapping::published(9) };
    let written = programs::OnGrid { kv, pairs: 4, ..programs::OnGrid::new(&layer, hidden, (37, 15), 300) };
    let outcome = both(&written.decode().unwrap(), &Wafer::builtin("wse3").unwrap(), RateSet::Silicon);
    assert_eq!(outcome.engine, Engine::Mixed);
}

/// Rows and columns that contend at the same time, in the same step and in steps one after the other: they are run in
/// turn.
#[test]
fn rows_and_columns_that_contend_at_once_are_the_same() {
    for (columns, rows) in [(24, 20), (9, 31)] {
        both(&programs::unlike_all_gather(columns, rows), &Wafer::builtin("wse3").unwrap(), RateSet::Silicon);
        let mut program = programs::all_gather(columns, rows, true);
        both(&program, &Wafer::builtin("wse3").unwrap(), RateSet::Silicon);
        let region = Region::new(0, 0, columns, rows);
        let payload = program.buffer("piece", 30, DataType::Fp32);
        let colors = program.new_colors(8);
        let cast = |axis: Axis, from: u64, color: usize| {
            let colors = vec![colors[color]];
            let cast = Multicast { axis, from, span: 7, stride: 1, style: Style::Streaming, payload, colors };
            Node::Step(Step { region, action: Action::Multicast(cast) })
        };
        let mut casts = Vec::new();
        for round in 0..3 {
            casts
                .push(Node::Parallel((0..3).map(|index| cast(Axis::X, (index + round) % 7, index as usize)).collect()));
            casts.push(Node::Parallel((0..2).map(|index| cast(Axis::Y, 5 * index, 4 + index as usize)).collect()));
            casts.push(cast(Axis::X, 3, 3));
        }
        program.push("casts", casts);
        let outcome = both(&program, &Wafer::builtin("wse3").unwrap(), RateSet::Silicon);
        assert_eq!(outcome.engine, Engine::Mixed);
    }
}
