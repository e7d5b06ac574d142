//! probe
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it")]

use wafersim_cost::{Rates, View, cost, formula};
use wafersim_fabric::circuit;
use wafersim_program::{
    Action, Axis, Digit, Dimension, End, Field, Layout, Program, Region, Relayout, Spread, collective, movement,
};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Wafer};

fn probe(name: &str, columns: u64, source: Field, target: Field) {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let region = Region::new(0, 0, columns, 1);
    let mut program = Program::new("probe", region);
    let source = program.laid_buffer("s", DataType::Fp16, Layout { region, fields: vec![source] });
    let target = program.laid_buffer("t", DataType::Fp16, Layout { region, fields: vec![target] });
    let colors = collective::transit_colors(&mut program, Axis::X);
    let mut moved = Relayout {
        axis: Axis::X, hops: columns, wavelets: 0, farthest: End::First, source, target, accumulate: false, colors,
    };
    let movement = movement(&program, region, &moved, 0).unwrap().unwrap();
    let words = |elements: u64| DataType::Fp16.wavelets(elements);
    let (up, down) = movement.busiest_link(words);
    let far = movement.pieces.iter().map(|piece| piece.from.abs_diff(piece.to)).max().unwrap_or(0);
    // loads of places
    let mut into = vec![(0u64, 0u64, 0u64); columns as usize];
    for piece in &movement.pieces {
        let w = words(piece.elements.len() as u64);
        if piece.to > piece.from {
            for p in piece.from + 1..=piece.to { into[p as usize].0 += w; into[p as usize].2 += 1; }
        } else {
            for p in piece.to..piece.from { into[p as usize].1 += w; into[p as usize].2 += 1; }
        }
    }
    let both = into.iter().map(|(a, b, _)| a + b).max().unwrap();
    let owners = into.iter().map(|(_, _, n)| *n).max().unwrap();
    moved.hops = far;
    moved.wavelets = both;
    let node = program.step(Action::Relayout(moved));
    program.push("probe", vec![node]);
    let cost = cost(&program, &rates).total().0;
    let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap();
    let outcome = circuit::run(&lowered, |_| ()).unwrap();
    let fabric = outcome.cycles.0;
    println!("{name:40} hops {far} up {up} down {down} place {both} owners {owners}: cost {cost:.0} fabric {fabric:.0}  ({:+.1} %) {:?}; minus 2 messages and hops: {:.1}", (cost/fabric-1.0)*100.0, outcome.engine, fabric - 80.0 - far as f64);
}

#[test]
fn probes() {
    let whole = |size| Field::new("f", Dimension::whole(1), vec![Dimension::whole(size)]);
    let split = |size, digit| Field::new("f", Dimension::whole(1), vec![Dimension::split(size, digit)]);
    for (n, size) in [(4, 16), (8, 64), (8, 8), (16, 64), (32, 32), (32, 128), (64, 128), (128, 128)] {
        probe(&format!("gather {size} on {n}"), n, split(size, Digit::line(Axis::X, n)), whole(size));
    }
    for (n, size, at) in [(32, 128, 0), (32, 128, 31), (32, 128, 16), (64,128,32)] {
        let one = Dimension { size, spread: Spread::At { digit: Digit::line(Axis::X, n), number: at } };
        probe(&format!("gather {size} on {n} to {at}"), n, split(size, Digit::line(Axis::X, n)), Field::new("f", Dimension::whole(1), vec![one.clone()]));
        probe(&format!("scatter {size} on {n} from {at}"), n, Field::new("f", Dimension::whole(1), vec![one]), split(size, Digit::line(Axis::X, n)));
    }
    for (n, heads, width, pitch, dims) in [(24u64, 4u64, 12u64, 6u64, 3u64), (30, 3, 32, 8, 4), (64, 4, 32, 12, 4), (60, 8, 64, 7, 7)] {
        let made = Field::new("f", Dimension::whole(1), vec![
            Dimension::split(heads, Digit::blocks(Axis::X, n / heads, heads)),
            Dimension { size: width, spread: Spread::Pairs(Digit::inside(Axis::X, n / heads)) }]);
        let groups = pitch / dims;
        let wanted = Field::new("f", Dimension::whole(1), vec![
            Dimension::split(heads, Digit::blocks(Axis::X, pitch, heads)),
            Dimension { size: width, spread: Spread::Pairs(Digit { axis: Axis::X, modulus: pitch, limit: pitch, stride: groups, parts: dims }) }]);
        probe(&format!("heads {heads}x{width} on {n} to {pitch}/{dims}"), n, made, wanted);
    }
}
