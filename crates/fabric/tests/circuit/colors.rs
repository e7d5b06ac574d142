//! Colors counted by router: programs by hand where the count is plain to see, and a published layer.

use wafersim_fabric::circuit::{self, ColorUse, colors};
use wafersim_program::collective::{self, Along, Tree};
use wafersim_program::{Action, Axis, Color, Multicast, Node, Program, ReduceOperator, Region, Step, Style};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Wafer};

use crate::programs::{OnGrid, published_layer};

fn counted(program: &Program) -> ColorUse {
    let wafer = Wafer::builtin("wse3").unwrap();
    colors::count(&circuit::lower_names(program, &wafer, RateSet::Silicon, &|_| 0.0).unwrap())
}

fn multicast(program: &mut Program, region: Region, axis: Axis, from: u64, color: u32) -> Node {
    let payload = program.buffer("payload", 2, DataType::Fp16);
    let cast =
        Multicast { axis, from, span: 99, stride: 1, style: Style::Streaming, payload, colors: vec![Color(color)] };
    Node::Step(Step { region, action: Action::Multicast(cast) })
}

fn program(region: Region, write: impl FnOnce(&mut Program) -> Vec<Node>) -> Program {
    let mut program = Program::new("colors", region);
    let nodes = write(&mut program);
    program.push("all", nodes);
    program
}

#[test]
fn names_that_do_not_meet_share_a_color() {
    let (left, right) = (Region::new(2, 1, 4, 2), Region::new(6, 1, 4, 2));
    let apart = program(Region::new(2, 1, 8, 2), |program| {
        vec![multicast(program, left, Axis::X, 0, 0), multicast(program, right, Axis::X, 0, 1)]
    });
    let used = counted(&apart);
    assert_eq!((used.given.names, used.given.physical, used.busiest.pairs), (2, 1, 1));
    assert!(used.rerouted.is_empty());
    // Along x and along y they meet everywhere: the first router where they do is the corner.
    let crossed = program(Region::new(2, 1, 4, 4), |program| {
        let region = program.region;
        vec![multicast(program, region, Axis::X, 0, 0), multicast(program, region, Axis::Y, 0, 1)]
    });
    let used = counted(&crossed);
    assert_eq!((used.given.names, used.given.physical), (2, 2));
    assert_eq!((used.busiest.pairs, used.busiest.column, used.busiest.row), (2, 2, 1));
}

#[test]
fn one_route_in_several_steps_is_one_color() {
    let same = program(Region::new(0, 0, 6, 1), |program| {
        let region = program.region;
        (0..3).map(|color| multicast(program, region, Axis::X, 2, color)).collect()
    });
    let used = counted(&same);
    // Three pairs as the names stand, one when they are one color.
    assert_eq!((used.given.names, used.given.physical, used.busiest.pairs), (3, 1, 3));
    let wafer = Wafer::builtin("wse3").unwrap();
    let lowered = circuit::lower_names(&same, &wafer, RateSet::Silicon, &|_| 0.0).unwrap();
    let cycles = circuit::run(&lowered, |_| ()).unwrap().cycles;
    let renamed = used.given.renamed(lowered);
    assert_eq!((renamed.colors, colors::count(&renamed).busiest.pairs), (1, 1));
    assert_eq!(circuit::run(&renamed, |_| ()).unwrap().cycles, cycles);
}

#[test]
fn another_route_of_a_color_in_a_later_step_is_a_change() {
    let region = Region::new(0, 0, 6, 3);
    let moved = program(region, |program| {
        vec![multicast(program, region, Axis::X, 0, 0), multicast(program, region, Axis::X, 5, 0)]
    });
    let used = counted(&moved);
    assert_eq!((used.given.names, used.given.physical, used.busiest.pairs), (1, 1, 2));
    // Every router but none keeps its route: all turn round.
    assert_eq!(used.rerouted.len(), 1);
    assert_eq!((used.rerouted[0].name, used.rerouted[0].at, used.rerouted[0].routers), (0, 1, 18));
    // A root one place further on changes its own router, its neighbour's, and no other.
    let next = program(region, |program| {
        vec![multicast(program, region, Axis::X, 2, 0), multicast(program, region, Axis::X, 3, 0)]
    });
    let used = counted(&next);
    assert_eq!((used.rerouted[0].routers, used.rerouted[0].column, used.rerouted[0].row), (6, 2, 0));
}

/// Trees of three levels along both axes have more names than a router has colors; their routers do not.
#[test]
fn trees_fit_by_router_where_their_names_would_not() {
    let region = Region::new(0, 0, 120, 90);
    let both = program(region, |program| {
        let payload = program.buffer("payload", 8, DataType::Fp16);
        let mut nodes = Vec::new();
        for axis in [Axis::X, Axis::Y] {
            let tree = Tree::of_sizes(region.along(axis), &[5, 3]).unwrap();
            let along = Along { axis, payload, operator: ReduceOperator::Add };
            nodes.extend(collective::tree_reduce(program, region, &tree, along));
            nodes.push(collective::multicast(program, axis, tree.root(0), payload));
        }
        nodes
    });
    let used = counted(&both);
    // Chains of three members with the root between them use two colors of four.
    assert_eq!(used.given.names, 22);
    assert!(used.given.physical <= 22 && used.given.physical >= used.busiest.names, "{} colors", used.given.physical);
    let wafer = Wafer::builtin("wse3").unwrap();
    let lowered = circuit::lower(&both, &wafer, RateSet::Silicon, &|_| 0.0).unwrap();
    assert_eq!(lowered.colors, used.given.physical);
    let named = circuit::lower_names(&both, &wafer, RateSet::Silicon, &|_| 0.0).unwrap();
    assert_eq!(circuit::run(&lowered, |_| ()).unwrap().cycles, circuit::run(&named, |_| ()).unwrap().cycles);
}

/// The published decode layer. All its reductions along an axis have the same trees, so no router ever changes a route.
/// Names along x and along y all meet, so none can be saved.
#[test]
fn a_published_layer_is_counted() {
    let dense = published_layer(4096, 14336);
    let program = OnGrid::new(&dense, 4096, (360, 360), 4096).decode().unwrap();
    let used = counted(&program);
    assert_eq!((used.given.names, used.given.physical, used.busiest.pairs), (18, 18, 10));
    assert_eq!(used.rerouted, []);
}

/// A broadcast over both axes: one color in every router, its route that of the row, or of a column above or below.
#[test]
fn a_broadcast_takes_one_color_everywhere() {
    let region = Region::new(1, 1, 6, 5);
    let cast = program(region, |program| {
        let payload = program.buffer("payload", 2, DataType::Fp16);
        let first = collective::broadcast(program, region, (2, 3), payload);
        vec![first.clone(), collective::broadcast(program, region, (3, 3), payload), first]
    });
    let used = counted(&cast);
    assert_eq!((used.given.names, used.given.physical, used.busiest.pairs), (1, 1, 2));
    // The two senders' routers, there and back; columns are as they were.
    let routers: Vec<u64> = used.rerouted.iter().map(|change| change.routers).collect();
    assert_eq!(routers, [2, 2]);
    assert_eq!((used.rerouted[0].column, used.rerouted[0].row), (3, 4));
}
