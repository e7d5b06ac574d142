//! Laws of a run: same input, same bytes; nothing is lost; it always ends; wrong input is refused with what is allowed.

#![cfg(feature = "packet")]

use wafersim_fabric::packet::{
    Coordinate, Drain, Hotspot, Message, MessageConfig, Pattern, TrafficConfig, TrafficError, TrafficReport,
};

fn contended(pattern: Pattern) -> TrafficConfig {
    TrafficConfig {
        columns: 9,
        rows: 9,
        pattern,
        rate: 0.4,
        queue: 3,
        measured: 2_000,
        warm_up: 500,
        ..Default::default()
    }
}

fn run(config: &TrafficConfig) -> TrafficReport {
    config.check().and_then(|traffic| traffic.run(|_| ())).expect("runs")
}

fn bytes(config: &TrafficConfig) -> String {
    serde_json::to_string(&run(config)).expect("a report is JSON")
}

#[test]
fn same_input_same_bytes_alone_and_beside_another_run() {
    for pattern in [Pattern::Uniform, Pattern::Tornado, Pattern::Hotspot(Hotspot::default())] {
        let config = contended(pattern);
        let alone = bytes(&config);
        assert_eq!(alone, bytes(&config));
        let both = std::thread::scope(|scope| {
            let threads = [scope.spawn(|| bytes(&config)), scope.spawn(|| bytes(&config))];
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_eq!(both, [alone.clone(), alone.clone()]);
        assert_ne!(alone, bytes(&TrafficConfig { seed: 2, ..config }), "another seed is another run");
    }
}

/// The callback sees sent = delivered + in flight, and the simulator counts every slot itself at these checkpoints in
/// debug builds. After a quiet drain nothing is left.
#[test]
fn nothing_is_lost() {
    let config = contended(Pattern::Uniform);
    let mut seen = Vec::new();
    let report = config.check().and_then(|traffic| traffic.run(|progress| seen.push(progress))).expect("runs");
    assert!(seen.len() >= 2 && seen.windows(2).all(|pair| pair[0].cycle < pair[1].cycle), "{seen:?}");
    assert!(seen.iter().any(|progress| progress.in_flight > 100), "it is contended: {seen:?}");
    assert!(report.packets > 10_000 && report.flit_hops > report.packets);

    let all = || (0..49).map(|node| Coordinate::new(node % 7, node / 7));
    let messages: Vec<Message> = all()
        .flat_map(|source| all().map(move |destination| Message { source, destination, flits: 3, cycle: 0 }))
        .collect();
    let config = MessageConfig { columns: 7, rows: 7, queue: 2, messages, ..MessageConfig::default() };
    let report = config.check().and_then(|messages| messages.run(|_| ())).expect("runs");
    assert_eq!(report.flits, 3 * 49 * 49);
    assert!(report.completion.iter().all(|&cycle| cycle > 0 && cycle <= report.finish));
}

/// Uniform traffic below saturation loads every link as arithmetic says: of K columns, a link after column c
/// carries rate x (c + 1) x (K - c - 1) / K packets a cycle.
#[test]
fn links_are_as_busy_as_arithmetic_says() {
    let (columns, rows, rate) = (6, 4, 0.3);
    let config = TrafficConfig { columns, rows, rate, measured: 60_000, ..TrafficConfig::default() };
    let links = run(&config).link_use;
    let busy = |sides: u32, nodes_per_line: f64| {
        let load = |cut: u32| rate * nodes_per_line * f64::from(cut * (sides - cut)) / f64::from(sides);
        let loads: Vec<f64> = (1..sides).map(load).collect();
        (loads.iter().sum::<f64>() / loads.len() as f64, loads.iter().copied().fold(0.0, f64::max))
    };
    for (link, (mean, max)) in [(links.east, busy(columns, 1.0)), (links.south, busy(rows, 1.0))] {
        assert!((link.mean / mean - 1.0).abs() < 0.01, "{} is not {mean}", link.mean);
        assert!((link.max / max - 1.0).abs() < 0.03, "{} is not {max}", link.max);
    }
}

#[test]
fn saturation_is_said_and_runs_end() {
    for drain in [Drain::Quiet, Drain::Loaded] {
        for (rate, saturated) in [(0.2, false), (0.6, true), (1.0, true)] {
            let config = TrafficConfig { rate, drain, ..TrafficConfig::default() };
            let report = run(&config);
            assert_eq!(report.saturated, saturated, "rate {rate}, {drain:?}");
            let offered = report.offered;
            assert!(if saturated { report.accepted < 0.4 } else { (report.accepted / offered - 1.0).abs() < 0.02 });
            assert!(report.p50_latency as f64 <= report.mean_latency * 2.0 && report.p50_latency <= report.p99_latency);
        }
    }
    let hot = TrafficConfig {
        pattern: Pattern::Hotspot(Hotspot { places: vec![Coordinate::new(3, 3)], share: 1.0 }),
        rate: 0.1,
        ..TrafficConfig::default()
    };
    let report = run(&hot);
    assert!(report.saturated && (report.accepted * 64.0 - 1.0).abs() < 0.01, "one sink takes one packet a cycle");
}

/// What the specification of packet mode allows an idle router: 200 bytes.
#[test]
fn idle_routers_are_small() {
    for side in [8, 32, 300] {
        let config = TrafficConfig { columns: side, rows: side, queue: 255, ..TrafficConfig::default() };
        let bytes = config.check().expect("fits").idle_bytes_per_router();
        assert!(bytes > 128.0 && bytes <= 200.0, "{bytes} bytes on {side} x {side}");
    }
}

#[test]
fn meshes_of_every_shape_run() {
    for (columns, rows) in [(1, 1), (1, 9), (9, 1), (2, 2), (17, 5), (64, 3)] {
        for pattern in [Pattern::Uniform, Pattern::BitComplement, Pattern::Neighbor, Pattern::Tornado] {
            let (warm_up, measured) = (200, 500);
            let config = TrafficConfig { columns, rows, pattern, warm_up, measured, queue: 2, ..Default::default() };
            let report = run(&config);
            assert!(report.mean_latency >= 5.0 && report.mean_hops >= 1.0, "{config:?}");
        }
    }
}

#[test]
fn wrong_input_is_refused_with_what_is_allowed() {
    let base = TrafficConfig::default();
    let traffic = [
        (TrafficConfig { columns: 0, ..base.clone() }, "1 to 4096"),
        (TrafficConfig { rows: 5000, ..base.clone() }, "1 to 4096"),
        (TrafficConfig { rate: 0.0, ..base.clone() }, "above 0"),
        (TrafficConfig { rate: 1.5, ..base.clone() }, "up to 1"),
        (TrafficConfig { rate: f64::NAN, ..base.clone() }, "up to 1"),
        (TrafficConfig { queue: 0, ..base.clone() }, "1 to 255"),
        (TrafficConfig { queue: 256, ..base.clone() }, "1 to 255"),
        (TrafficConfig { router_cycles: 0, ..base.clone() }, "1 to 64"),
        (TrafficConfig { seed: 1 << 30, ..base.clone() }, "1073741823"),
        (TrafficConfig { measured: 0, ..base.clone() }, "at least 1"),
        (TrafficConfig { warm_up: u64::MAX, ..base.clone() }, "100,000,000"),
        (TrafficConfig { columns: 4, pattern: Pattern::Transpose, ..base.clone() }, "as many rows"),
    ];
    for (config, allowed) in traffic {
        let error = config.check().expect_err(allowed).to_string();
        assert!(error.contains(allowed), "{error}");
    }
    let nothing = TrafficConfig { rate: 1e-12, warm_up: 0, measured: 5, ..base };
    let error = nothing.check().and_then(|traffic| traffic.run(|_| ())).expect_err("no packet");
    assert!(matches!(error, TrafficError::NothingMeasured { .. }), "{error}");

    let place = Coordinate::new(1, 1);
    let one = Message { source: place, destination: place, flits: 1, cycle: 0 };
    let with = |message| MessageConfig { messages: vec![message], ..MessageConfig::default() };
    let messages = [
        (MessageConfig::default(), "1 to 4,294,967,295"),
        (with(Message { flits: 0, ..one }), "1 or more"),
        (with(Message { destination: Coordinate::new(8, 0), ..one }), "columns 0 to 7"),
        (with(Message { cycle: u64::MAX, ..one }), "max_cycles"),
        (MessageConfig { max_cycles: u64::MAX, ..with(one) }, "1,000,000,000,000 cycles"),
    ];
    for (config, allowed) in messages {
        let error = config.check().expect_err(allowed).to_string();
        assert!(error.contains(allowed), "{error}");
    }
    let long = MessageConfig { max_cycles: 50, ..with(Message { flits: 1_000, ..one }) };
    let error = long.check().and_then(|messages| messages.run(|_| ())).expect_err("too long");
    assert!(matches!(error, TrafficError::Unfinished { flits: 1_000, .. }), "{error}");
}

/// Configurations and reports go through JSON; unknown fields are refused.
#[test]
fn json_in_and_out() {
    let config: TrafficConfig = serde_json::from_str(
        r#"{"pattern": {"hotspot": {"places": [{"column": 1, "row": 2}], "share": 0.2}}, "rate": 0.02}"#,
    )
    .expect("a configuration");
    let text = serde_json::to_value(run(&config)).expect("JSON");
    for field in
        ["mean_latency", "p50_latency", "p99_latency", "mean_hops", "accepted", "offered", "link_use", "saturated"]
    {
        assert!(text.get(field).is_some(), "{field}");
    }
    assert!(serde_json::from_str::<TrafficConfig>(r#"{"raet": 0.1}"#).is_err());
    assert_eq!(serde_json::from_str::<Pattern>(r#""bitcomp""#).expect("a name"), Pattern::BitComplement);
}
