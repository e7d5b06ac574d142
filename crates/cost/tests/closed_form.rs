//! Closed forms against published ones and against figures worked out by hand.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use wafersim_cost::{Cause, Rates, View, cost, formula};
use wafersim_program::{
    Action, Axis, ChainReduce, Multicast, Node, Operation, Program, ReduceOperator, Region, Root, Segment, Step, Style,
    Work, collective,
};
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{DataType, Wafer};

fn rates(name: &str) -> Rates {
    Rates::new(&Wafer::builtin(name).unwrap(), RateSet::Silicon, View::Achieved)
}

/// No software: what the published collective model counts.
fn hardware_only(name: &str) -> Rates {
    Rates { task: 0.0, completion: 0.0, map_issue: 0.0, setup: 0.0, ..rates(name) }
}

fn chain(line: u64, wavelets: u64, root: Root) -> (Program, Node) {
    let mut program = Program::new("chain", Region::new(0, 0, line, 1));
    let payload = program.buffer("payload", wavelets, DataType::Fp32);
    let node = program.step(Action::ChainReduce(ChainReduce {
        axis: Axis::X,
        count: line,
        stride: 1,
        offset: 0,
        segment: Segment::LINE,
        root,
        operator: ReduceOperator::Add,
        style: Style::Streaming,
        payload,
        colors: Vec::new(),
    }));
    (program, node)
}

fn read(program: &mut Program, node: Node, rates: &Rates) -> f64 {
    program.push("all", vec![node]);
    cost(program, rates).total().0
}

/// HPDC 2024, WSE-2, T_R = 2: a chain takes B + (2 T_R + 2)(P - 1) cycles, one ramp in and out beside.
#[test]
fn chains_meet_the_published_model() {
    for (line, wavelets) in [(2, 1), (16, 32), (100, 256), (512, 1), (750, 4096)] {
        let (mut program, node) = chain(line, wavelets, Root::First);
        let ours = read(&mut program, node, &hardware_only("wse2"));
        let published = wavelets as f64 + 6.0 * (line - 1) as f64;
        assert!((ours - published).abs() <= 2.0, "P {line}, B {wavelets}: {ours} against {published}");
    }
}

/// HPDC 2024: a broadcast takes B + P + 2 T_R cycles.
#[test]
fn broadcasts_meet_the_published_model() {
    for (line, wavelets) in [(2u64, 1u64), (16, 32), (100, 256), (750, 4096)] {
        let mut program = Program::new("broadcast", Region::new(0, 0, line, 1));
        let payload = program.buffer("payload", wavelets, DataType::Fp32);
        let cast = Multicast {
            axis: Axis::X,
            from: 0,
            span: line,
            stride: 1,
            style: Style::Streaming,
            payload,
            colors: Vec::new(),
        };
        let node = program.step(Action::Multicast(cast));
        let ours = read(&mut program, node, &hardware_only("wse2"));
        let published = (wavelets + line) as f64 + 4.0;
        assert!((ours - published).abs() <= 2.0, "P {line}, B {wavelets}: {ours} against {published}");
    }
}

/// The two-level all-reduce of WaferLLM: stages g/2 + G/2, hops (G/2 g + g/2) twice, five passes of the payload.
#[test]
fn two_level_reductions_follow_their_critical_path() {
    let rates = rates("wse3");
    for (line, groups, elements) in [(16u64, 4u64, 2u64), (720, 8, 8), (360, 20, 36), (655, 26, 1)] {
        let mut program = Program::new("reduce", Region::new(0, 0, 1, line));
        let payload = program.buffer("payload", elements, DataType::Fp16);
        let steps = collective::all_reduce(&mut program, Axis::Y, groups, payload, ReduceOperator::Add);
        program.push("all-reduce", steps);
        let found = cost(&program, &rates).cost();
        let size = line.div_ceil(groups);
        let groups = line.div_ceil(size);
        let stages = (size / 2 + groups / 2) as f64;
        let to_root = groups / 2 * size + size / 2;
        let back = to_root.max(line - 1 - to_root.min(line - 1));
        assert_eq!(found.cause(Cause::Hops).0, (to_root + back) as f64 * rates.hop);
        let words = elements.div_ceil(2) as f64;
        assert!((found.cause(Cause::Payload).0 - 5.0 * (words - 1.0) * rates.wavelet).abs() < 1e-9);
        // Each chain's first sender and root share one message; the root takes its second side after the first.
        let second_side = rates.ramp_in + rates.combine + rates.map_issue;
        let software = 3.0 * rates.message() + 2.0 * second_side;
        assert!((found.cause(Cause::Stages).0 - software - (stages - 2.0) * rates.stage(DataType::Fp16)).abs() < 1e-9);
    }
}

#[test]
fn micro_figures_are_those_of_the_notes() {
    let (chip, simulator) =
        (rates("wse3"), Rates::new(&Wafer::builtin("wse3").unwrap(), RateSet::VendorSimulator, View::Achieved));
    assert_eq!(formula::message(8, 1, &chip), 56.0);
    let add = |length| formula::vector_completion(Operation::Add, DataType::Fp16, length, &simulator);
    assert_eq!([add(8), add(16), add(64)], [4.0, 6.0, 18.0]);
    // max(5, 2 ceil(len / 8) - 1) in the simulator.
    let mapped = |length| formula::work(&Work::new(Operation::MappedFma, DataType::Fp16, length, 1), &simulator);
    assert_eq!([mapped(1), mapped(24), mapped(40)], [5.0, 5.0, 9.0]);
    // The published fit of the relay: 1.001 N B + 16.1 N + 16.5.
    let relay = formula::relay_chain(16, 8, &simulator);
    assert!((relay / (1.001 * 128.0 + 16.1 * 16.0 + 16.5) - 1.0).abs() < 0.01);
}

#[test]
fn parallel_takes_the_longest_and_loops_hide_what_is_shorter() {
    let rates = rates("wse3");
    let mut program = Program::new("loop", Region::new(0, 0, 8, 8));
    let buffer = program.buffer("tile", 64, DataType::Fp16);
    let work = |count| {
        let work = vec![Work::new(Operation::TileColumn, DataType::Fp16, 0, count)];
        program.compute(wafersim_program::Math::MatMul, &[buffer], buffer, work)
    };
    let (short, long) = (work(1), work(100));
    let shift = Step {
        region: program.region,
        action: Action::Shift(wafersim_program::Shift {
            axis: Axis::X,
            ring: true,
            payload: buffer,
            colors: Vec::new(),
        }),
    };
    let of = |node: &Node| wafersim_cost::cost_node(node, &program, &rates).total().0;
    assert_eq!(of(&Node::Parallel(vec![short.clone(), long.clone()])), of(&long));
    let systolic = |compute: &Node| {
        of(&Node::Systolic {
            times: 10,
            compute: Box::new(compute.clone()),
            transfers: vec![shift.clone()],
            after: vec![],
        })
    };
    assert_eq!(systolic(&long), 10.0 * of(&long), "transfers hide behind long work");
    assert_eq!(systolic(&short), 10.0 * of(&Node::Step(shift.clone())), "short work hides behind transfers");
}

#[test]
fn physics_is_never_slower_than_what_is_achieved() {
    for name in ["wse2", "wse3", "example-dojo-like"] {
        let wafer = Wafer::builtin(name).unwrap();
        let (achieved, physics) =
            (Rates::new(&wafer, RateSet::Silicon, View::Achieved), Rates::new(&wafer, RateSet::Silicon, View::Physics));
        for operation in [
            Operation::MappedFma,
            Operation::MappedMixedFma,
            Operation::LoopedFma,
            Operation::LoopedMixedFma,
            Operation::TileFma,
            Operation::TileColumn,
            Operation::Fma,
            Operation::Add,
            Operation::Multiply,
            Operation::Copy,
            Operation::Convert,
            Operation::Scale,
            Operation::ScalarReduce,
            Operation::Exponential,
            Operation::UnfinishedExponential,
            Operation::Silu,
            Operation::Divide,
            Operation::SquareRoot,
            Operation::Setup,
        ] {
            for data_type in [DataType::Fp16, DataType::Fp32] {
                for length in [0, 1, 3, 8, 9, 64, 1000] {
                    let work = Work::new(operation, data_type, length, 3);
                    let (slow, fast) = (formula::work(&work, &achieved), formula::work(&work, &physics));
                    assert!(fast <= slow && fast >= 0.0, "{name} {work:?}: {fast} {slow}");
                }
            }
        }
        assert_eq!(physics.message(), 0.0);
        assert!(physics.hop > 0.0, "hops are physics");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Longer lines, larger payloads and slower parts never make a reduction quicker, whatever the groups.
    #[test]
    fn reductions_grow_with_line_payload_and_latency(line in 2u64..800, groups in 1u64..60, elements in 1u64..200, which in 0usize..6) {
        let wafer = Wafer::builtin("wse3").unwrap();
        let take = |line: u64, elements: u64, rates: &Rates| {
            let mut program = Program::new("reduce", Region::new(0, 0, line, 1));
            let payload = program.buffer("payload", elements, DataType::Fp16);
            let steps = collective::all_reduce(&mut program, Axis::X, groups, payload, ReduceOperator::Add);
            program.push("all-reduce", steps);
            cost(&program, rates).total().0
        };
        let base = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
        let time = take(line, elements, &base);
        prop_assert!(take(line, elements + 1, &base) >= time);
        let key = [Key::HopLatency, Key::RampOut, Key::RampIn, Key::TaskActivation, Key::WaveletCost, Key::CombineLatency][which];
        let mut slower = wafer.clone();
        let path = wafersim_spec::wafer::DECLARATIONS[key as usize].path;
        slower.set(path, wafer.value(key, RateSet::Silicon) * 2.0 + 1.0).unwrap();
        prop_assert!(take(line, elements, &Rates::new(&slower, RateSet::Silicon, View::Achieved)) >= time);
    }
}

mod longest_path {
    use proptest::prelude::*;
    use wafersim_cost::{Rates, View, cost};
    use wafersim_program::{Action, Compute, Formula, Math, Node, Operation, Order, Program, Region, Step, Work};
    use wafersim_spec::wafer::RateSet;
    use wafersim_spec::{DataType, Wafer};

    fn work(program: &mut Program, region: Region, length: u64) -> Node {
        let buffer = program.buffer("x", length, DataType::Fp16);
        let work = vec![Work::new(Operation::Add, DataType::Fp16, length, 1)];
        let formula = None::<Formula>;
        let compute = Compute { math: Math::Add, reads: vec![buffer], writes: buffer, work, formula };
        Node::Step(Step { region, action: Action::Compute(compute) })
    }

    fn rates() -> Rates {
        Rates::new(&Wafer::builtin("wse3").unwrap(), RateSet::Silicon, View::Achieved)
    }

    /// Two halves work at the same time, then the whole waits for the longer one.
    #[test]
    fn halves_overlap_and_the_whole_waits_for_both() {
        let mut program = Program::new("test", Region::new(0, 0, 8, 8));
        let (left, right) = (Region::new(0, 0, 4, 8), Region::new(4, 0, 4, 8));
        for (name, region, length) in
            [("left", left, 100), ("right", right, 300), ("left again", left, 100), ("whole", program.region, 50)]
        {
            let node = work(&mut program, region, length);
            program.push(name, vec![node]);
        }
        let rates = rates();
        let of = |length: f64| rates.setup + length / rates.add_16;
        let sum = cost(&program, &rates).total().0;
        assert!((sum - (of(100.0) + of(300.0) + of(100.0) + of(50.0))).abs() < 1e-9);
        program.order = Order::Own;
        let path = cost(&program, &rates);
        assert!((path.total().0 - ((2.0 * of(100.0)).max(of(300.0)) + of(50.0))).abs() < 1e-9);
        let on_path: Vec<&str> =
            path.operators.iter().filter(|operator| operator.cost.total().0 > 0.0).map(|o| o.name.as_ref()).collect();
        assert_eq!(on_path, ["right", "whole"]);
    }

    proptest! {
        /// The path is never longer than the sum, never shorter than the work of any processing element, and equals it
        /// where every step covers the region.
        #[test]
        fn between_the_fullest_element_and_the_sum(
            steps in proptest::collection::vec((0u64..4, 0u64..4, 1u64..4, 1u64..4, 1u64..200), 1..20), whole: bool,
        ) {
            let mut program = Program::new("test", Region::new(0, 0, 7, 7));
            let mut of_element = [[0.0; 7]; 7];
            let rates = rates();
            for (x, y, columns, rows, length) in steps {
                let region = if whole { program.region } else { Region::new(x, y, columns, rows) };
                let node = work(&mut program, region, length);
                program.push("step", vec![node]);
                for row in region.y..region.y + region.rows {
                    for column in region.x..region.x + region.columns {
                        of_element[row as usize][column as usize] += rates.setup + length as f64 / rates.add_16;
                    }
                }
            }
            let sum = cost(&program, &rates).total().0;
            program.order = Order::Own;
            let path = cost(&program, &rates).total().0;
            let fullest = of_element.iter().flatten().copied().fold(0.0, f64::max);
            prop_assert!(path <= sum + 1e-6 && path >= fullest - 1e-6, "{fullest} {path} {sum}");
            prop_assert!(!whole || (path - sum).abs() < 1e-6);
        }
    }
}
