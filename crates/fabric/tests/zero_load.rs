//! Micro-timing: a packet alone takes exactly router_cycles x hops + 2, and a link carries what its queue allows.

#![cfg(feature = "packet")]

use wafersim_fabric::packet::{Coordinate, Message, MessageConfig, MessageReport, TrafficConfig};

fn run(config: &MessageConfig) -> MessageReport {
    config.check().and_then(|messages| messages.run(|_| ())).expect("runs")
}

#[test]
fn alone_every_pair_takes_the_routers_and_the_channels() {
    let (columns, rows) = (5, 4);
    let places = || (0..columns * rows).map(|node| Coordinate::new(node % columns, node / columns));
    let pairs = places().flat_map(|source| places().map(move |destination| (source, destination)));
    let messages: Vec<Message> = pairs
        .enumerate()
        .map(|(index, (source, destination))| Message { source, destination, flits: 1, cycle: 100 * index as u64 })
        .collect();
    assert_eq!(messages.len(), 400);
    for router_cycles in 1..=4 {
        for queue in [1, 8] {
            let messages = messages.clone();
            let config = MessageConfig { columns, rows, queue, router_cycles, messages, ..MessageConfig::default() };
            let mesh = config.check().expect("fits").mesh();
            for (message, complete) in config.messages.iter().zip(run(&config).completion) {
                let hops = message.source.hops(message.destination);
                let latency = complete - message.cycle;
                assert_eq!(latency, u64::from(router_cycles * hops + 2), "{message:?}, {router_cycles} cycles a hop");
                assert_eq!(latency, mesh.zero_load_latency(hops));
            }
        }
    }
}

/// The credit round trip is router_cycles + 3, so a stream on one link runs at queue / (router_cycles + 3), at most 1;
/// from the source to its own router it is 4.
#[test]
fn a_stream_runs_at_queue_by_round_trip() {
    let flits = 6_000;
    for router_cycles in [1, 3, 4] {
        for queue in 1..=9 {
            let (source, destination) = (Coordinate::new(0, 0), Coordinate::new(4, 0));
            let messages = vec![Message { source, destination, flits, cycle: 0 }];
            let config =
                MessageConfig { columns: 5, rows: 1, queue, router_cycles, messages, ..MessageConfig::default() };
            let rate = f64::from(flits) / run(&config).finish as f64;
            let link = config.check().expect("fits").mesh().link_capacity();
            assert!((link - f64::from(queue.min(router_cycles + 3)) / f64::from(router_cycles + 3)).abs() < 1e-12);
            assert!(
                (rate / link - 1.0).abs() < 0.01,
                "queue {queue}, {router_cycles} cycles a hop: {rate}, not {link}"
            );
        }
    }
}

/// One flit per input, output and cycle: two streams that meet share the link evenly.
#[test]
fn two_streams_share_a_link_evenly() {
    let destination = Coordinate::new(3, 1);
    let flits = 1_000;
    let sources = [Coordinate::new(0, 1), Coordinate::new(2, 1)];
    let messages = sources.map(|source| Message { source, destination, flits, cycle: 0 }).to_vec();
    let report = run(&MessageConfig { columns: 4, rows: 3, messages, ..MessageConfig::default() });
    assert!(report.finish.abs_diff(2_000) < 40, "{}", report.finish);
    assert!(report.completion[0].abs_diff(report.completion[1]) < 40, "{:?}", report.completion);
    assert!(report.link_use.east.max > 0.98 && report.link_use.west.max == 0.0, "{:?}", report.link_use);
}

/// At a low rate the mean latency of traffic is that of packets alone, per pattern.
#[test]
fn sparse_traffic_meets_no_other() {
    for name in ["uniform", "transpose", "bitcomp", "neighbor", "tornado", "hotspot"] {
        for router_cycles in [1, 3, 5] {
            let pattern = name.parse().expect(name);
            let config = TrafficConfig {
                columns: 6,
                rows: 6,
                pattern,
                rate: 0.0005,
                router_cycles,
                measured: 60_000,
                ..TrafficConfig::default()
            };
            let report = config.check().and_then(|traffic| traffic.run(|_| ())).expect("runs");
            let alone = f64::from(router_cycles) * report.mean_hops + 2.0;
            assert!((report.mean_latency / alone - 1.0).abs() < 0.005, "{name}: {} and {alone}", report.mean_latency);
            assert!(!report.saturated);
        }
    }
}
