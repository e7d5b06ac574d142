//! Random legal programs on random small meshes: never lose a wavelet, never deadlock, and agree with the slow router.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use wafersim_fabric::circuit::{self, CircuitError, Engine};
use wafersim_program::{
    Action, Axis, ChainReduce, Color, End, Math, Multicast, Node, Operation, Program, ReduceOperator, Region, Relayout,
    Root, Segment, Shift, Step, Style, Work,
};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Wafer};

use crate::reference;

/// A machine whose times are all multiples of 1/8 cycle, so that the slow router may go in such steps.
fn machine(queue: u32, hop: u32, wavelet_eighths: u32) -> Wafer {
    let mut wafer = Wafer::builtin("wse3").unwrap();
    for (path, value) in [
        ("fabric.input_queue", f64::from(queue)),
        ("fabric.hop_latency", f64::from(hop)),
        ("fabric.wavelet_cost", f64::from(wavelet_eighths) / 8.0),
        ("software.relay_word", 9.0),
        ("software.library_call", 60.0),
        ("software.library_reduce", 20.0),
        ("software.task_activation", 5.0),
    ] {
        wafer.set(path, value).unwrap();
    }
    wafer
}

#[derive(Debug, Clone)]
struct Draw {
    kind: u8,
    axis: bool,
    at: (u64, u64, u64, u64),
    words: u64,
    a: u64,
    b: u64,
    colors: u32,
}

fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let at = (0..5u64, 0..5u64, 1..7u64, 1..7u64);
    let one = (0..8u8, any::<bool>(), at, 1..14u64, 0..6u64, 1..7u64, 0..3u32);
    prop::collection::vec(
        one.prop_map(|(kind, axis, at, words, a, b, colors)| Draw { kind, axis, at, words, a, b, colors }),
        1..9,
    )
}

/// How a random program is put together.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Steps in pairs, side by side.
    together: bool,
    /// Other colors along y than along x.
    by_axis: bool,
}

fn action(draw: &Draw, program: &mut Program, region: Region, by_axis: bool) -> Action {
    let axis = if draw.axis { Axis::X } else { Axis::Y };
    let payload = program.buffer("payload", draw.words, DataType::Fp32);
    let first = draw.colors * 4 + if by_axis && !draw.axis { 12 } else { 0 };
    let colors: Vec<Color> = (first..first + 4).map(Color).collect();
    let style = if draw.b == 6 { Style::Library } else { Style::Streaming };
    let line = region.along(axis);
    match draw.kind {
        0 | 1 => {
            let count = draw.b.min(line);
            let stride = if count * 2 <= line { 1 + draw.a % 2 } else { 1 };
            let root = [Root::Middle, Root::First, Root::Rotating][(draw.a % 3) as usize];
            let operator = ReduceOperator::Add;
            Action::ChainReduce(ChainReduce {
                axis,
                count,
                stride,
                offset: 0,
                segment: Segment::LINE,
                root,
                operator,
                style,
                payload,
                colors,
            })
        }
        2 | 3 => Action::Multicast(Multicast { axis, from: draw.a, span: draw.b, stride: 1, style, payload, colors }),
        4 => Action::Shift(Shift { axis, ring: draw.a > 2, payload, colors }),
        5 => Action::Relayout(Relayout {
            axis,
            hops: draw.b,
            wavelets: draw.words,
            others: Vec::new(),
            farthest: End::First,
            source: payload,
            target: payload,
            accumulate: false,
            colors,
        }),
        6 => Action::Synchronise(wafersim_program::Synchronise { hops: 1 + draw.a % 2, completions: draw.a }),
        _ => Action::Compute(wafersim_program::Compute {
            math: Math::Add,
            reads: vec![payload],
            writes: payload,
            work: vec![Work::new(Operation::Add, DataType::Fp16, draw.words * draw.b, 1)],
            formula: None,
        }),
    }
}

fn program(columns: u64, rows: u64, draws: &[Draw], way: Way) -> Program {
    let mut program = Program::new("random", Region::new(0, 0, columns, rows));
    let _ = program.new_colors(24);
    let mut nodes = Vec::new();
    for draw in draws {
        let (x, y) = (draw.at.0 % columns, draw.at.1 % rows);
        let region = Region::new(x, y, draw.at.2.min(columns - x), draw.at.3.min(rows - y));
        let action = action(draw, &mut program, region, way.by_axis);
        nodes.push(Node::Step(Step { region, action }));
    }
    let body = if way.together { nodes.chunks(2).map(|pair| Node::Parallel(pair.to_vec())).collect() } else { nodes };
    program.push("steps", body);
    program
}

fn check(program: &Program, wafer: &Wafer) -> Result<Option<Engine>, TestCaseError> {
    let lowered = match circuit::lower(program, wafer, RateSet::Silicon, &|work| work.length as f64) {
        Ok(lowered) => lowered,
        Err(CircuitError::TwoSources { .. } | CircuitError::SharedColor { .. }) => return Ok(None),
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    let fast = circuit::run(&lowered, |_| ()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let slow = circuit::run_wavelets(&lowered, |_| ()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let obvious = reference::run(&lowered, 8, 64 * 100_000).expect("the slow router ends");
    prop_assert_eq!(fast.cycles.0, slow.cycles.0);
    prop_assert_eq!(&fast.maps, &slow.maps);
    prop_assert_eq!(&fast.operators, &slow.operators);
    prop_assert_eq!(fast.tally.stalls, slow.tally.stalls);
    for outcome in [&fast, &slow] {
        let found = reference::Found {
            ticks: (outcome.cycles.0 * 64.0) as u64,
            hops: outcome.tally.wavelet_hops,
            sent: outcome.tally.sent,
            delivered: outcome.tally.delivered,
            links: outcome.maps.links.clone(),
        };
        prop_assert_eq!(&found, &obvious);
    }
    prop_assert_eq!(slow.tally.sent, slow.tally.delivered);
    Ok(Some(fast.engine))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_agree_with_the_slow_router(
        (columns, rows) in (1..8u64, 1..8u64),
        draws in draws(),
        (together, by_axis) in (any::<bool>(), any::<bool>()),
        (queue, hop, wavelet) in (1..6u32, 1..4u32, 8..11u32),
    ) {
        check(&program(columns, rows, &draws, Way { together, by_axis }), &machine(queue, hop, wavelet))?;
    }
}

/// The property above would say little if one of the engines were never asked.
#[test]
fn random_programs_meet_all_engines() {
    let mut runner = TestRunner::deterministic();
    let (mut streams, mut mixed, mut wavelets, mut refused) = (0, 0, 0, 0);
    for case in 0..300 {
        let drawn = draws().new_tree(&mut runner).unwrap().current();
        let way = Way { together: case % 2 == 0, by_axis: case % 3 > 0 };
        let program = program(1 + case % 7, 1 + case % 6, &drawn, way);
        match check(&program, &machine(1 + case as u32 % 5, 1 + case as u32 % 3, 8 + case as u32 % 3)).unwrap() {
            Some(Engine::Streams) => streams += 1,
            Some(Engine::Mixed) => mixed += 1,
            Some(Engine::Wavelets) => wavelets += 1,
            None => refused += 1,
        }
    }
    println!("{streams} as streams, {mixed} mixed, {wavelets} wavelet by wavelet, {refused} refused");
    assert!(streams >= 30 && mixed >= 30 && refused < 150);
}
