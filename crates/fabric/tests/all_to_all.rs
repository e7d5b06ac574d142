//! All-to-all among 16 nodes, every message at once against staggered: bandwidth is never lost to the model.
//!
//! A flow-level estimator that divides each link among all open messages takes twice as long for the case "at once",
//! which turns placement verdicts round. Here flits are what they are. Where no two of the nodes share a row or a
//! column, both cases come within 3 % of the bound (the busiest link, or a sink, at one flit a cycle). In a dense block
//! rows and columns are shared, and a router with one queue per input loses bandwidth to packets that wait behind
//! others (BookSim2 accepts 0.374 of 0.5 packets a cycle on 8 x 8, for the same reason); but all at once is then the
//! faster case, as nothing ever waits for its slot.

#![cfg(feature = "packet")]

use std::collections::BTreeMap;

use wafersim_fabric::packet::{Coordinate, Message, MessageConfig};

const FLITS: u32 = 256;

/// Flits over the busiest link, source or sink: cycles that nobody can beat.
pub fn bound(nodes: &[Coordinate]) -> u64 {
    let mut load: BTreeMap<(u32, u32, &str), u64> = BTreeMap::new();
    for &source in nodes {
        for &to in nodes.iter().filter(|&&to| to != source) {
            let Coordinate { mut column, mut row } = source;
            let mut add = |column, row, link| *load.entry((column, row, link)).or_default() += u64::from(FLITS);
            add(column, row, "source");
            while column != to.column {
                add(column, row, if to.column > column { "east" } else { "west" });
                column = if to.column > column { column + 1 } else { column - 1 };
            }
            while row != to.row {
                add(column, row, if to.row > row { "south" } else { "north" });
                row = if to.row > row { row + 1 } else { row - 1 };
            }
            add(column, row, "sink");
        }
    }
    load.into_values().max().unwrap_or(0)
}

/// Cycles until everything has arrived, over the bound: all at once, and in rounds of partners one slot apart.
pub fn over_bound(side: u32, nodes: &[Coordinate]) -> (f64, f64) {
    let bound = bound(nodes);
    let slot = bound / (nodes.len() as u64 - 1);
    let run = |slot: u64| {
        let rounds = (1..nodes.len()).flat_map(|round| (0..nodes.len()).map(move |from| (round, from)));
        let messages = rounds
            .map(|(round, from)| Message {
                source: nodes[from],
                destination: nodes[(from + round) % nodes.len()],
                flits: FLITS,
                cycle: (round as u64 - 1) * slot,
            })
            .collect();
        let config = MessageConfig { columns: side, rows: side, messages, ..MessageConfig::default() };
        config.check().and_then(|messages| messages.run(|_| ())).expect("runs").finish as f64 / bound as f64
    };
    (run(0), run(slot))
}

#[test]
fn nodes_that_share_no_line_reach_the_bound_either_way() {
    let diagonal: Vec<Coordinate> = (0..16).map(|node| Coordinate::new(node, node)).collect();
    let knight: Vec<Coordinate> = (0..16).map(|node| Coordinate::new(node, 5 * node % 16)).collect();
    for (name, nodes, allowed) in [("diagonal", diagonal, 1.03), ("knight's moves", knight, 1.05)] {
        let (once, staggered) = over_bound(16, &nodes);
        assert!(once > 1.0 && once < allowed, "{name}, at once: {once} of the bound");
        assert!(staggered > 1.0 && staggered < allowed, "{name}, staggered: {staggered} of the bound");
    }
}

#[test]
fn in_a_dense_block_at_once_is_not_slower() {
    let block: Vec<Coordinate> = (0..16).map(|node| Coordinate::new(node % 4, node / 4)).collect();
    let lattice: Vec<Coordinate> = block.iter().map(|node| Coordinate::new(4 * node.column, 4 * node.row)).collect();
    for (name, side, nodes) in [("block", 4, block), ("lattice", 16, lattice)] {
        let (once, staggered) = over_bound(side, &nodes);
        assert!(once > 1.0 && once < 1.55, "{name}, at once: {once} of the bound");
        assert!(once < staggered, "{name}: {once} at once, {staggered} staggered");
    }
}

/// The order in which a source lists its messages must not matter: it sends a flit of each in turn.
#[test]
fn the_order_of_the_list_hardly_matters() {
    let nodes: Vec<Coordinate> = (0..16).map(|node| Coordinate::new(node % 4, node / 4)).collect();
    let all = || nodes.iter().flat_map(|&source| nodes.iter().map(move |&destination| (source, destination)));
    let messages = |reverse: bool| {
        let mut list: Vec<Message> = all()
            .filter(|(source, destination)| source != destination)
            .map(|(source, destination)| Message { source, destination, flits: FLITS, cycle: 0 })
            .collect();
        if reverse {
            list.reverse();
        }
        list
    };
    let finish = |messages| {
        let config = MessageConfig { columns: 4, rows: 4, messages, ..MessageConfig::default() };
        config.check().and_then(|messages| messages.run(|_| ())).expect("runs").finish as f64
    };
    let ratio = finish(messages(false)) / finish(messages(true));
    assert!((ratio - 1.0).abs() < 0.08, "{ratio}");
}
