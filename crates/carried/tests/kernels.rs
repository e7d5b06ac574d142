//! Kernels by themselves, any shape on any grid: what wavelets have carried is what the numeric reading says, bit for
//! bit. And faults are noticed: a bit that flips, wavelets that change places, a route that leads elsewhere.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{Case, data_types, matrix, precision, with_device};
use proptest::prelude::*;
use wafersim_fabric::circuit::{Direction, Lowered, Part};
use wafersim_kernels::Groups;
use wafersim_kernels::gemm::{Gemm, exact_mesh_gemm};
use wafersim_kernels::gemv::{Gemv, chain_gemv, mesh_gemv};
use wafersim_program::{
    Action, Axis, BufferId, Dimension, End, Field, Layout, Multicast, Program, ReduceOperator, Region, Relayout, Shift,
    Spread, Style, collective, formula::along, movement,
};
use wafersim_spec::DataType;
use wafersim_spec::model::Role;

fn gemv_case(grid: (u64, u64), (k, n): (u64, u64), axis: Axis, library: bool, data_type: DataType, seed: u64) -> Case {
    let region = Region::new(0, 0, grid.0, grid.1);
    let gemv = Gemv { precision: precision(data_type), ..Gemv::fp16(region, k, n, axis) };
    let program = if library { chain_gemv(&gemv) } else { mesh_gemv(&gemv, Groups::SquareRoot) };
    Case::new(program, "x", data_type, matrix(k, n, seed), seed)
}

/// A program of one buffer that a collective works on.
fn collective_case(
    (columns, rows): (u64, u64),
    (axis, width): (Axis, u64),
    kind: u64,
    from: u64,
    data_type: DataType,
    seed: u64,
) -> Case {
    let region = Region::new(2, 1, columns, rows);
    let mut program = Program::new("collective", region);
    let field = Field::new("payload", Dimension::whole(2), vec![Dimension::whole(width)]);
    let payload = program.laid_buffer("payload", data_type, Layout { region, fields: vec![field] });
    let line = region.along(axis);
    let groups = collective::default_groups(line);
    let nodes = match kind {
        0 => collective::all_reduce(&mut program, axis, groups, payload, ReduceOperator::Add),
        1 => collective::all_reduce(&mut program, axis, groups, payload, ReduceOperator::Max),
        2 => collective::library_all_reduce(&mut program, axis, payload, ReduceOperator::Add),
        3 => collective::chain_all_reduce(&mut program, axis, line, payload, ReduceOperator::Max),
        4 => {
            let colors = program.new_colors(2);
            let shift = Shift { axis, ring: false, payload, colors };
            vec![program.step(Action::Shift(shift))]
        }
        _ => {
            let (colors, style) = (program.new_colors(2), Style::Streaming);
            let cast = Multicast { axis, from: from % line, span: line, stride: 1, style, payload, colors };
            vec![program.step(Action::Multicast(cast))]
        }
    };
    program.push("collective", nodes);
    Case::new(program, "payload", data_type, matrix(2, 2, 1), seed).with_partials(seed)
}

/// A relayout between two ways to share a vector out along a line, or from everybody's copy to sums.
fn relayout_case(
    (columns, rows): (u64, u64),
    (axis, width): (Axis, u64),
    (spread_to_whole, accumulate): (bool, bool),
    data_type: DataType,
    seed: u64,
) -> Case {
    let region = Region::new(0, 0, columns, rows);
    let mut program = Program::new("relayout", region);
    let shared = || Field::new("x", Dimension::whole(2), vec![along(width, axis, region)]);
    let backwards = || {
        let indices = (0..width).rev().step_by(2).collect();
        Field::new("x", Dimension::whole(2), vec![Dimension { size: width, spread: Spread::Listed(indices) }])
    };
    let whole = || Field::new("x", Dimension::whole(2), vec![Dimension::whole(width)]);
    let (from, to) = match (accumulate, spread_to_whole) {
        (true, _) => (whole(), shared()),
        (false, true) => (shared(), backwards()),
        (false, false) => (shared(), whole()),
    };
    let mut buffer = |name: &'static str, field: Field| -> BufferId {
        program.laid_buffer(name, data_type, Layout { region, fields: vec![field] })
    };
    let (source, target) = (buffer("source", from), buffer("target", to));
    let (hops, wavelets) = (region.along(axis), data_type.wavelets(2 * width));
    let colors = collective::transit_colors(&mut program, axis);
    let moved =
        Relayout { axis, hops, wavelets, others: Vec::new(), farthest: End::First, source, target, accumulate, colors };
    let node = program.step(Action::Relayout(moved));
    program.push("relayout", vec![node]);
    let case = Case::new(program, "source", data_type, matrix(2, 2, 1), seed);
    if accumulate { case.with_partials(seed) } else { case }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn gemv_is_carried(
        columns in 1u64..11, rows in 1u64..11, k in 1u64..50, n in 1u64..50,
        along_x in any::<bool>(), library in any::<bool>(), data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        let agreement = gemv_case((columns, rows), (k, n), axis, library, data_type, seed).agreement()?;
        prop_assert!(agreement.is_whole(), "{:#?}", agreement.first);
    }

    #[test]
    fn mesh_gemm_is_carried(
        columns in 1u64..9, rows in 1u64..9, m in 1u64..20, k in 1u64..24, n in 1u64..20,
        data_type in data_types(), seed in 0u64..100,
    ) {
        let region = Region::new(0, 0, columns, rows);
        let program = exact_mesh_gemm(&Gemm { region, m, k, n }, Role::Gate, precision(data_type));
        let agreement = Case::new(program, "gemm.input", data_type, matrix(k, n, seed), seed).agreement()?;
        prop_assert!(agreement.is_whole(), "{:#?}", agreement.first);
    }

    #[test]
    fn collectives_are_carried(
        columns in 1u64..14, rows in 1u64..14, along_x in any::<bool>(), width in 1u64..9, kind in 0u64..6,
        from in 0u64..14, data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        let agreement = collective_case((columns, rows), (axis, width), kind, from, data_type, seed).agreement()?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
    }

    #[test]
    fn relayouts_are_carried_by_their_owners(
        columns in 1u64..10, rows in 1u64..10, along_x in any::<bool>(), width in 1u64..30,
        some in any::<bool>(), accumulate in any::<bool>(), data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        let case = relayout_case((columns, rows), (axis, width), (some, accumulate), data_type, seed);
        let (agreement, outcome) =
            case.run(|_| (), |_, _, _, _, word| word).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
        let program = &case.prepared.program;
        let step = program.steps().next().unwrap();
        let Action::Relayout(moved) = &step.action else { panic!("a relayout is one") };
        let known = movement(program, step.region, moved, 0).unwrap().unwrap();
        let (up, down) = known.busiest_link(|elements| data_type.wavelets(elements));
        let most = |direction: Direction| outcome.maps.links[direction as usize].iter().copied().max().unwrap_or(0);
        prop_assert_eq!(u64::from(most(Direction::along(axis, true))), up);
        prop_assert_eq!(u64::from(most(Direction::along(axis, false))), down);
    }
}

fn cases() -> BTreeMap<&'static str, Case> {
    let region = Region::new(0, 0, 5, 4);
    let precision = precision(DataType::Fp32);
    let gemm = exact_mesh_gemm(&Gemm { region, m: 9, k: 20, n: 9 }, Role::Gate, precision);
    BTreeMap::from([
        ("gemv", gemv_case((5, 4), (20, 15), Axis::Y, false, DataType::Fp32, 1)),
        ("gemm", Case::new(gemm, "gemm.input", DataType::Fp32, matrix(20, 9, 2), 3)),
        ("all-reduce", collective_case((5, 4), (Axis::X, 3), 0, 0, DataType::Fp32, 4)),
        ("shift", collective_case((5, 4), (Axis::Y, 3), 4, 0, DataType::Fp16, 4)),
        ("multicast", collective_case((5, 4), (Axis::Y, 3), 5, 2, DataType::Fp32, 4)),
        ("relayout", relayout_case((5, 4), (Axis::X, 15), (false, false), DataType::Bf16, 4)),
    ])
}

/// One bit of one word, wherever that is sent.
#[test]
fn a_flipped_bit_is_noticed() {
    for (name, case) in cases() {
        let mut sent = 0u64;
        let (agreement, _) = case
            .run(
                |_| (),
                |_, _, _, _, word| {
                    sent += 1;
                    word
                },
            )
            .unwrap();
        assert!(agreement.is_whole() && sent > 8, "{name}: {sent} words");
        // The last words of a ring may only fill its payload up.
        for chosen in [1, sent / 3, sent / 2] {
            let mut count = 0;
            let (agreement, _) = case
                .run(
                    |_| (),
                    |_, _, _, _, word| {
                        count += 1;
                        if count == chosen { word ^ 1 << 13 } else { word }
                    },
                )
                .unwrap();
            assert!(!agreement.is_whole(), "{name}: word {chosen} of {sent}");
        }
    }
}

/// Two words of a stream in each other's place.
#[test]
fn words_out_of_order_are_noticed() {
    for (name, case) in cases() {
        let mut held = BTreeMap::new();
        let result = case.run(
            |_| (),
            |core, at, stream, index, word| {
                // Each word arrives in the place of the next one.
                held.insert((core, at, stream), word).filter(|_| index > 0).unwrap_or(word)
            },
        );
        let (agreement, _) = result.unwrap();
        assert!(!agreement.is_whole(), "{name}");
    }
}

/// A sender's stream that reaches one place less, or goes to another: refused, stuck or wrong, never right.
#[test]
fn another_route_is_noticed() {
    for (name, case) in cases() {
        let streams = with_device(|device| device.lower(&case.prepared.program)).unwrap();
        let count: usize = streams.stages.iter().flat_map(|stage| &stage.parts).map(streams_of).sum();
        for chosen in 0..count {
            let shorten = |lowered: &mut Lowered| {
                let mut left = chosen;
                for part in lowered.stages.iter_mut().flat_map(|stage| &mut stage.parts) {
                    let Part::Carry(lines) = part else { continue };
                    match lines.streams.get_mut(left) {
                        Some(stream) if stream.high > stream.source => stream.high -= 1,
                        Some(stream) => stream.low += 1,
                        None => {
                            left -= lines.streams.len();
                            continue;
                        }
                    }
                    return;
                }
            };
            let mut used = true;
            let result = case.run(
                |lowered| {
                    shorten(lowered);
                    used = is_used(lowered, chosen);
                },
                |_, _, _, _, word| word,
            );
            let right = result.is_ok_and(|(agreement, _)| agreement.is_whole());
            assert!(!right || !used, "{name}: stream {chosen} of {count}");
        }
    }
}

fn streams_of(part: &Part) -> usize {
    match part {
        Part::Carry(lines) => lines.streams.len(),
        _ => 0,
    }
}

/// Whether the stage of a stream is in the schedule: some stages are written and then replaced by variants.
fn is_used(lowered: &Lowered, chosen: usize) -> bool {
    let mut left = chosen;
    for (index, stage) in lowered.stages.iter().enumerate() {
        let here: usize = stage.parts.iter().map(streams_of).sum();
        if left < here {
            return lowered.schedule.contains(&(index as u32));
        }
        left -= here;
    }
    false
}
