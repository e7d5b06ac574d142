//! All-to-all at once against staggered, over what nobody can beat: `cargo run --release -p wafersim-fabric --example
//! all_to_all`. The table of docs/src/fabric.md.

#![allow(clippy::print_stdout, dead_code, reason = "an example prints; shared files hold more than one needs")]

#[path = "../tests/all_to_all.rs"]
mod cases;
#[path = "../tests/circuit/programs.rs"]
mod programs;

use wafersim_fabric::circuit::{self, TICKS_PER_CYCLE};
use wafersim_fabric::packet::Coordinate;
use wafersim_program::{Action, Axis, Multicast, Node, Program, Region, Style};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Wafer};

/// Everybody of a row of `nodes` sends `words` to all others: all at once, or one after the other.
fn gather(nodes: u64, words: u64, at_once: bool) -> Program {
    let mut program = Program::new("all-gather", Region::new(0, 0, nodes, 1));
    let payload = program.buffer("piece", words, DataType::Fp32);
    let colors = program.new_colors(nodes as u32);
    let casts: Vec<Node> = (0..nodes)
        .map(|from| {
            let colors = vec![colors[from as usize]];
            let cast =
                Multicast { axis: Axis::X, from, span: nodes, stride: 1, style: Style::Streaming, payload, colors };
            program.step(Action::Multicast(cast))
        })
        .collect();
    program.push("all-gather", if at_once { vec![Node::Parallel(casts)] } else { casts });
    program
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("packet mode, 16 nodes, 256 flits from each to each: cycles over the bound");
    println!("nodes                 bound   at once  staggered  at once / staggered");
    let block: Vec<Coordinate> = (0..16).map(|node| Coordinate::new(node % 4, node / 4)).collect();
    let lattice = block.iter().map(|node| Coordinate::new(4 * node.column, 4 * node.row)).collect();
    for (name, side, nodes) in [
        ("diagonal", 16, (0..16).map(|node| Coordinate::new(node, node)).collect::<Vec<_>>()),
        ("knight's moves", 16, (0..16).map(|node| Coordinate::new(node, 5 * node % 16)).collect()),
        ("dense block", 4, block.clone()),
        ("lattice", 16, lattice),
    ] {
        let (once, staggered) = cases::over_bound(side, &nodes);
        let bound = cases::bound(&nodes);
        println!("{name:18} {bound:>8} {once:>9.3} {staggered:>10.3} {:>20.3}", once / staggered);
    }
    println!("circuit mode, WSE-3: all of a row of 16 send 256 wavelets to all: cycles, and of the busiest link");
    let wafer = Wafer::builtin("wse3")?;
    let mut cycles = Vec::new();
    for at_once in [true, false] {
        let lowered = circuit::lower(&gather(16, 256, at_once), &wafer, RateSet::Silicon, &|_| 0.0)?;
        let outcome = circuit::run(&lowered, |_| ())?;
        let busiest = outcome.maps.links.iter().flatten().max().copied().unwrap_or(0);
        // Nobody can take more than one wavelet at a time either: 15 pieces.
        let bound = f64::from(busiest) * lowered.timing.wavelet as f64 / TICKS_PER_CYCLE as f64;
        println!(
            "{:10} {:>8.0} cycles, {:.3} of the busiest link's {bound:.0}",
            if at_once { "at once" } else { "in turn" },
            outcome.cycles.0,
            outcome.cycles.0 / bound
        );
        cycles.push(outcome.cycles.0);
    }
    println!("at once / in turn: {:.3}", cycles[0] / cycles[1]);
    Ok(())
}
