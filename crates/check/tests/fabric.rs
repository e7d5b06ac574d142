//! What has been measured, and the published collective model, on the fabric.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use wafersim_check::measurements::{BUILTIN_MEASUREMENTS, Measurement, read_table};
use wafersim_check::validate::measured_program;
use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit;
use wafersim_program::{
    Action, Axis, ChainReduce, Multicast, Node, Program, ReduceOperator, Region, Root, Segment, Step, Style,
};
use wafersim_program::{Color, collective};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Wafer};

fn rows(kernel: &str) -> Vec<Measurement> {
    let table = read_table(BUILTIN_MEASUREMENTS, "wse.csv").unwrap();
    table.into_iter().filter(|row| row.kernel == kernel).collect()
}

fn fabric(program: &Program, wafer: &Wafer, set: RateSet) -> f64 {
    let rates = Rates::new(wafer, set, View::Achieved);
    let lowered = circuit::lower(program, wafer, set, &|work| formula::work(work, &rates)).unwrap();
    circuit::run(&lowered, |_| ()).unwrap().cycles.0
}

/// One message over `hops`.
fn message(hops: u64, words: u64) -> Program {
    let mut program = Program::new("message", Region::new(0, 0, hops + 1, 1));
    let payload = program.buffer("payload", words, DataType::Fp32);
    let colors = program.new_colors(1);
    let cast =
        Multicast { axis: Axis::X, from: 0, span: hops + 1, stride: 1, style: Style::Streaming, payload, colors };
    let node = program.step(Action::Multicast(cast));
    program.push("message", vec![node]);
    program
}

fn errors(kernel: &str, device: &str, largest_grid: u64) -> Vec<f64> {
    let wafer = Wafer::builtin(device).unwrap();
    let rows = rows(kernel).into_iter().filter(|row| row.device == device && row.grid_x <= largest_grid);
    rows.map(|row| {
        let measured = measured_program(&row, &wafer).unwrap();
        fabric(&measured.program, &wafer, row.rate_set()) / measured.rounds as f64 / row.value - 1.0
    })
    .collect()
}

fn mean(errors: &[f64]) -> f64 {
    assert!(!errors.is_empty());
    errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len() as f64
}

#[test]
fn messages_are_exact() {
    assert_eq!(errors("message", "wse3", 4096), vec![0.0; 6]);
}

/// The simulator's reductions, word by word.
#[test]
fn reductions_over_512_elements() {
    let all: Vec<f64> =
        ["reduce_chain", "reduce_two_phase"].iter().flat_map(|kernel| errors(kernel, "wse2", 512)).collect();
    assert!(all.len() == 5 && mean(&all) < 0.02, "{all:?}");
}

/// The same order of phases as in closed form, with elements that do not wait for each other: somewhat faster.
#[test]
fn rounds_of_library_collectives() {
    let rounds = errors("library_round", "wse3", 64);
    assert!(rounds.len() == 5 && mean(&rounds) < 0.15, "{rounds:?}");
}

#[test]
fn a_stream_moves_at_the_rate_of_a_link() {
    let wafer = Wafer::builtin("wse3").unwrap();
    for row in rows("stream_rate") {
        let time = |words| fabric(&message(1, words), &wafer, row.rate_set());
        let rate = (time(5001) - time(1)) / 5000.0;
        assert!((rate / row.value - 1.0).abs() < 0.02, "{}: {rate}", row.id);
    }
}

/// Each member receives the whole payload before it sends it on. The benchmark's members do not start a task in
/// between: their completion issues the prepared send, which takes the send's own two cycles.
#[test]
fn relay_chains() {
    let mut wafer = Wafer::builtin("wse3").unwrap();
    let setup = wafer.value(wafersim_spec::wafer::Key::VectorSetup, RateSet::VendorSimulator);
    wafer.set("software.task_activation", 2.0).unwrap();
    for row in rows("relay_chain") {
        let whole = |key: &str| row.parameters[key].parse::<u64>().unwrap();
        let stages = whole("stages");
        let mut program = Program::new("relay", Region::new(0, 0, stages + 1, 1));
        let payload = program.buffer("payload", whole("words"), DataType::Fp32);
        let colors = program.new_colors(2);
        for stage in 0..stages {
            let region = Region::new(stage, 0, 2, 1);
            let colors = vec![colors[(stage % 2) as usize]];
            let cast =
                Multicast { axis: Axis::X, from: 0, span: 2, stride: 1, style: Style::Streaming, payload, colors };
            program.push("stage", vec![Node::Step(Step { region, action: Action::Multicast(cast) })]);
        }
        let cycles = setup + fabric(&program, &wafer, row.rate_set());
        assert!((cycles / row.value - 1.0).abs() < 0.02, "{}: {cycles}", row.id);
    }
}

#[test]
fn products_and_layers_within_five_per_cent_mean() {
    for (kernel, device, grid) in [
        ("mesh_gemv", "wse3", 720),
        ("mesh_gemv", "wse2", 600),
        ("chain_gemv", "wse3", 480),
        ("pe_gemv", "wse2", 1),
        ("decode_layer", "wse3", 660),
        ("decode_layer", "wse2", 660),
    ] {
        let errors = errors(kernel, device, grid);
        println!("{kernel} {device}: mean {:.2} % of {} rows", 100.0 * mean(&errors), errors.len());
        assert!(mean(&errors) < 0.05, "{kernel} {device}: {errors:?}");
    }
}

/// WSE-2 without software: what the published model (HPDC 2024) speaks of.
fn hardware() -> Wafer {
    let mut wafer = Wafer::builtin("wse2").unwrap();
    for path in ["software.task_activation", "fabric.completion", "vector.setup", "map.issue"] {
        wafer.set(path, 0.0).unwrap();
    }
    wafer
}

fn line(length: u64, words: u64, write: impl Fn(&mut Program, wafersim_program::BufferId) -> Vec<Node>) -> f64 {
    let mut program = Program::new("line", Region::new(0, 0, length, 1));
    let payload = program.buffer("payload", words, DataType::Fp32);
    let nodes = write(&mut program, payload);
    program.push("line", nodes);
    fabric(&program, &hardware(), RateSet::Silicon)
}

fn chain(program: &Program, payload: wafersim_program::BufferId, (count, stride): (u64, u64), color: u32) -> Node {
    program.step(Action::ChainReduce(ChainReduce {
        axis: Axis::X,
        count,
        stride,
        offset: 0,
        segment: Segment::LINE,
        root: Root::First,
        operator: ReduceOperator::Add,
        style: Style::Streaming,
        payload,
        colors: (color..color + 4).map(Color).collect(),
    }))
}

fn held(name: &str, measured: f64, model: f64) {
    let error = (measured / model - 1.0) * 100.0;
    assert!(error.abs() < 2.0, "{name}: fabric {measured}, model {model}");
}

/// T_R = 2, B words, P processing elements.
#[test]
fn published_collectives_within_two_per_cent() {
    for (p, b) in [(64u64, 64u64), (64, 256), (256, 64), (512, 1024)] {
        let (length, words) = (p as f64, b as f64);
        let reduce = line(p, b, |program, payload| vec![chain(program, payload, (p, 1), 0)]);
        held(&format!("chain P {p} B {b}"), reduce, words + 6.0 * (length - 1.0));

        let broadcast = line(p, b, |program, payload| vec![collective::multicast(program, Axis::X, 0, payload)]);
        held(&format!("broadcast P {p} B {b}"), broadcast, words + length + 4.0);
    }
    for (p, b) in [(16u64, 64u64), (64, 256), (256, 64), (256, 512)] {
        // Groups of sqrt(P): chains in the groups, then a chain of their roots over routes that pass the others.
        let side = (p as f64).sqrt() as u64;
        let two_phase = line(p, b, |program, payload| {
            vec![chain(program, payload, (side, 1), 0), chain(program, payload, (side, side), 4)]
        });
        // C = 2B, D = 2 sqrt(P) - 2, and the way: P - sqrt(P) hops between roots, sqrt(P) - 1 in a group.
        let model = 2.0 * b as f64 + 5.0 * (2 * side - 2) as f64 + (p - 1) as f64;
        held(&format!("two-phase P {p} B {b}"), two_phase, model);
    }
    for (p, b) in [(8u64, 64u64), (16, 512), (64, 1024)] {
        // A tree: in each level neighbours at twice the distance reduce in pairs. Held where the payload dominates: the
        // model lets the ways of all levels pass behind it, where pairs that wait for one another add up P - 1 hops.
        let levels = p.ilog2();
        let tree = line(p, b, |program, payload| {
            (0..levels).map(|level| chain(program, payload, (2, 1 << level), 4 * (level % 2))).collect()
        });
        let (levels, length, words) = (f64::from(levels), p as f64, b as f64);
        let contention = words * levels;
        let energy = words * length / (2.0 * (length - 1.0)) * levels + length - 1.0;
        held(&format!("tree P {p} B {b}"), tree, contention.max(energy) + 5.0 * levels);
    }
}
