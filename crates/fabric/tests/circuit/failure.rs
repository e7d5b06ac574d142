//! What is refused, what contends, and what a fabric says that cannot move.

use std::borrow::Cow;

use wafersim_fabric::circuit::{
    self, Area, CircuitError, CoreOperation, Engine, Lines, Lowered, Part, Stage, Stream, Timing, Waiter,
};
use wafersim_program::{Action, Axis, Color, Multicast, Node, Program, Region, Shift, Step, Style};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Wafer};

use crate::reference;

fn wse3() -> Wafer {
    Wafer::builtin("wse3").unwrap()
}

fn lower(program: &Program) -> Result<Lowered, CircuitError> {
    circuit::lower(program, &wse3(), RateSet::Silicon, &|_| 0.0)
}

fn multicast(program: &mut Program, region: Region, axis: Axis, from: u64, words: u64, color: u32) -> Node {
    let payload = program.buffer("payload", words, DataType::Fp32);
    let cast =
        Multicast { axis, from, span: 99, stride: 1, style: Style::Streaming, payload, colors: vec![Color(color)] };
    Node::Step(Step { region, action: Action::Multicast(cast) })
}

#[test]
fn more_colors_than_a_router_has_are_refused_with_their_number() {
    let region = Region::new(5, 3, 30, 1);
    let all_from = |from: &dyn Fn(u32) -> u64| {
        let mut program = Program::new("colors", region);
        let nodes = (0..25).map(|color| multicast(&mut program, region, Axis::X, from(color), 1, color)).collect();
        program.push("all", nodes);
        lower(&program)
    };
    // The router of the last sender passes 24 streams on and has one of its own; its neighbours that one as well.
    let refused = all_from(&|color| u64::from(color) + 1).unwrap_err();
    let wanted = CircuitError::Colors { names: 25, wanted: 25, available: 24 };
    assert_eq!(refused, wanted);
    // With one route they are one color.
    assert_eq!(all_from(&|_| 0).unwrap().colors, 1);
}

#[test]
fn two_sources_on_a_color_are_refused_with_their_router() {
    let mut program = Program::new("sources", Region::new(3, 2, 5, 1));
    let payload = program.buffer("payload", 1, DataType::Fp16);
    let shift = Shift { axis: Axis::X, ring: false, payload, colors: vec![Color(0)] };
    let node = program.step(Action::Shift(shift));
    program.push("shift", vec![node]);
    match lower(&program).unwrap_err() {
        CircuitError::TwoSources { color: 0, column: 4, row: 2, .. } => {}
        other => panic!("{other}"),
    }
}

#[test]
fn a_region_beyond_the_fabric_is_refused() {
    let mut program = Program::new("large", Region::new(700, 0, 100, 1));
    let node = multicast(&mut program, Region::new(700, 0, 100, 1), Axis::X, 0, 1, 0);
    program.push("all", vec![node]);
    assert!(matches!(lower(&program).unwrap_err(), CircuitError::OutsideFabric { column: 799, .. }));
}

/// Two streams of two colors over the same links: they take turns, and the bandwidth is not lost.
#[test]
fn streams_that_share_a_link_serialise_fully() {
    let words = 200;
    let mut program = Program::new("shared", Region::new(0, 0, 8, 1));
    let one = multicast(&mut program, Region::new(0, 0, 8, 1), Axis::X, 0, words, 0);
    let two = multicast(&mut program, Region::new(1, 0, 7, 1), Axis::X, 0, words, 1);
    program.push("both", vec![Node::Parallel(vec![one, two])]);
    let lowered = lower(&program).unwrap();
    let outcome = circuit::run(&lowered, |_| ()).unwrap();
    assert_eq!(outcome.engine, Engine::Mixed, "arbitration is needed");
    let both = 2.0 * words as f64 * 1.125;
    let ideal = 40.0 + 7.0 * 2.0 + both;
    let deviation = outcome.cycles.0 / ideal - 1.0;
    assert!(deviation.abs() < 0.02, "{} cycles, ideal {ideal}", outcome.cycles);
    let slow = reference::run(&lowered, 1, 1 << 20).unwrap();
    assert_eq!(slow.ticks, (outcome.cycles.0 * 64.0) as u64);
}

/// Two cores, each of which forwards what the other one sends: nobody begins.
#[test]
fn a_ring_of_forwards_is_reported_with_who_waits_for_whom() {
    let stream =
        |source: u32, color| Stream { color, source, low: 0, high: 1, copies: false, wavelets: 3, period: 72, lead: 0 };
    let area = Area { x: 0, y: 0, columns: 2, rows: 1 };
    let operations =
        [vec![CoreOperation::Forward { take: 1, send: 0 }], vec![CoreOperation::Forward { take: 0, send: 1 }]];
    let lines = Lines::new(area, Axis::X, vec![stream(0, 0), stream(1, 1)], &operations);
    let lowered = Lowered {
        columns: 2,
        rows: 1,
        origin: (10, 20),
        timing: Timing::new(&wse3(), RateSet::Silicon),
        stages: vec![Stage { operator: 0, parts: vec![Part::Carry(lines)], steps: vec![0] }],
        schedule: vec![0],
        rounds: vec![0],
        operators: vec![Cow::Borrowed("ring")],
        colors: 2,
    };
    let CircuitError::Deadlock(deadlock) = circuit::run(&lowered, |_| ()).unwrap_err() else {
        panic!("a ring of forwards cannot move")
    };
    assert_eq!((deadlock.cycle, deadlock.waiting), (0, 2));
    let first = &deadlock.first[0];
    assert_eq!((first.column, first.row, first.step, first.operator.as_str()), (10, 20, 0, "ring"));
    assert_eq!(first.who, Waiter::Receive { color: 1, missing: 3 });
    assert!(deadlock.to_string().contains("column 11, row 20, step 0 (ring): waits for 3 wavelets of color 0"));
}

/// A receiver that never comes: the queues fill hop by hop back to the sender.
#[test]
fn a_missing_receiver_fills_the_queues_back_to_the_sender() {
    let stream = Stream { color: 0, source: 0, low: 0, high: 3, copies: false, wavelets: 500, period: 72, lead: 0 };
    let area = Area { x: 0, y: 0, columns: 4, rows: 1 };
    let operations = [vec![CoreOperation::Send { stream: 0 }], Vec::new(), Vec::new(), Vec::new()];
    let timing = Timing::new(&wse3(), RateSet::Silicon);
    let lowered = Lowered {
        columns: 4,
        rows: 1,
        origin: (0, 0),
        timing,
        stages: vec![Stage {
            operator: 0,
            parts: vec![Part::Carry(Lines::new(area, Axis::X, vec![stream], &operations))],
            steps: vec![0],
        }],
        schedule: vec![0],
        rounds: vec![0],
        operators: vec![Cow::Borrowed("lost")],
        colors: 1,
    };
    let CircuitError::Deadlock(deadlock) = circuit::run(&lowered, |_| ()).unwrap_err() else {
        panic!("nobody takes the wavelets")
    };
    let words: Vec<u64> = deadlock
        .first
        .iter()
        .filter_map(|waiting| match waiting.who {
            Waiter::Queue { words, .. } => Some(words),
            _ => None,
        })
        .collect();
    assert_eq!(words, [timing.core_queue, timing.queue, timing.queue, timing.queue]);
    assert!(deadlock.cycle < 100, "it is known soon: cycle {}", deadlock.cycle);
}
