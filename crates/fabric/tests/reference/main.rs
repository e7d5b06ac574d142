//! Differential test: the network of the crate against a slow, obvious one, packet by packet and cycle by cycle.

#![cfg(feature = "packet")]
#![allow(
    clippy::needless_range_loop,
    reason = "the reference reads as the description of the router does: by port number"
)]

mod router;

use proptest::prelude::*;
use wafersim_fabric::packet::{Coordinate, Message, MessageConfig};

#[derive(Debug, Clone)]
struct Case {
    config: MessageConfig,
}

fn cases() -> impl Strategy<Value = Case> {
    let mesh = (1_u32..=6, 1_u32..=6, 1_u32..=6, 1_u32..=5);
    mesh.prop_flat_map(|(columns, rows, queue, router_cycles)| {
        let node = (0..columns, 0..rows).prop_map(|(column, row)| Coordinate::new(column, row));
        // Half of the messages go to one of two nodes, so that queues fill up and credits run out.
        let hot = [Coordinate::new(columns / 2, rows / 2), Coordinate::new(columns - 1, 0)];
        let destination = prop_oneof![node.clone(), prop::sample::select(hot.to_vec())];
        let message = (node, destination, 1_u32..=6, 0_u64..80);
        prop::collection::vec(message, 1..250).prop_map(move |messages| {
            let messages = messages.into_iter().map(|(source, destination, flits, cycle)| Message {
                source,
                destination,
                flits,
                cycle,
            });
            let messages = messages.collect();
            Case { config: MessageConfig { columns, rows, queue, router_cycles, messages, ..MessageConfig::default() } }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_message_arrives_when_the_reference_says(case in cases()) {
        let config = &case.config;
        let expected =
            router::completions(config.columns, config.rows, config.queue, config.router_cycles.into(), &config.messages);
        let report = config.check().and_then(|messages| messages.run(|_| ())).map_err(|error| {
            TestCaseError::fail(error.to_string())
        })?;
        prop_assert_eq!(&report.completion, &expected);
        let flit_hops: u64 = config
            .messages
            .iter()
            .map(|message| u64::from(message.flits) * u64::from(message.source.hops(message.destination)))
            .sum();
        prop_assert_eq!(report.flit_hops, flit_hops, "every flit passes every router on its way once");
        prop_assert_eq!(report.finish, expected.into_iter().max().unwrap_or(0));
    }
}

/// Everybody to one node through queues of one: the credits and the holders decide everything.
#[test]
fn a_flood_is_the_same() {
    for (columns, rows, queue, router_cycles) in [(7, 5, 1, 3), (5, 7, 2, 1), (12, 1, 4, 4), (4, 4, 8, 3)] {
        let all = (0..columns * rows).map(|node| Coordinate::new(node % columns, node / columns));
        let destination = Coordinate::new(columns / 2, rows / 3);
        let messages: Vec<Message> =
            all.map(|source| Message { source, destination, flits: 40, cycle: u64::from(source.column) }).collect();
        let expected = router::completions(columns, rows, queue, router_cycles.into(), &messages);
        let config = MessageConfig { columns, rows, queue, router_cycles, messages, ..MessageConfig::default() };
        let report = config.check().and_then(|messages| messages.run(|_| ())).expect("runs");
        assert_eq!(report.completion, expected);
    }
}

/// The crate goes through the mesh in blocks of 4,096 routers: meshes of more, with floods across the borders.
#[test]
fn meshes_of_several_blocks_are_the_same() {
    for (columns, rows) in [(128, 40), (3, 2_900)] {
        let mut state = 7_u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        // Around the border between the first two blocks, a third of them to one node.
        let border = 4_096 / columns;
        let mut near = |spread: u32| Coordinate::new(next(columns), (border + next(spread)).saturating_sub(spread / 2));
        let messages: Vec<Message> = (0..600)
            .map(|index| {
                let (source, cycle) = (near(16), index % 50);
                let destination = if index % 3 == 0 { Coordinate::new(columns / 2, border) } else { near(8) };
                Message { source, destination, flits: 2, cycle }
            })
            .collect();
        let expected = router::completions(columns, rows, 2, 3, &messages);
        let config = MessageConfig { columns, rows, queue: 2, messages, ..MessageConfig::default() };
        let report = config.check().and_then(|messages| messages.run(|_| ())).expect("runs");
        assert_eq!(report.completion, expected);
    }
}
