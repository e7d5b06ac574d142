//! Token streaming: the event queue, the line, the engine, and an hour of a real trace.
//!
//! An *event* goes through the queue; a *visit* is a pass at a station, which the line works out without an event. At
//! least 5 million events a second on one core are wanted, and the hour of the Mooncake conversation trace in under 60
//! s.

#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use wafersim_requests::Settings;
use wafersim_stream::admission::Whole;
use wafersim_stream::balancer::Replicas;
use wafersim_stream::costs::{Costs, GivenCosts, PassTimes, StationKind};
use wafersim_stream::engine::{Engine, Length, Service};
use wafersim_stream::kv::Ledger;
use wafersim_stream::line::{Kind, Line};
use wafersim_stream::load::{ClosedLoop, ClosedSettings, DayCurve, Lengths};
use wafersim_stream::observer::Nobody;
use wafersim_stream::policy::FirstCome;
use wafersim_stream::run::Server;
use wafersim_stream::scenario::StreamFile;
use wafersim_stream::stepwise;
use wafersim_stream::trace::Trace;
use wafersim_stream::{ServiceOutcome, Time};

/// As many stations as 16 wafers with 64 slots have.
const STATIONS: u32 = 80;
const MICROSECOND: u64 = 1_000_000;

/// What `simctl` takes memory from.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn event_queue(criterion: &mut Criterion) {
    let times = [PassTimes::new(&[(30 * MICROSECOND, 30 * MICROSECOND); STATIONS as usize], 0)];
    let passes: Vec<(Time, usize)> = (0..2000).map(|index| (Time(index * 31 * MICROSECOND), 0)).collect();
    let mut group = criterion.benchmark_group("event queue");
    group.throughput(Throughput::Elements(stepwise::exits(&passes, &times).1));
    group.bench_function("an event for each station", |bench| {
        bench.iter(|| stepwise::exits(black_box(&passes), &times))
    });
    group.finish();
}

fn line(criterion: &mut Criterion) {
    let stations: Vec<StationKind> = (0..STATIONS).map(|slot| StationKind::Slot { slot, wafer: 0 }).collect();
    let mut costs = GivenCosts::even(STATIONS, 30 * MICROSECOND, 0);
    let times = costs.decode(1, 0).clone();
    let mut group = criterion.benchmark_group("line");
    group.throughput(Throughput::Elements(u64::from(STATIONS)));
    let mut line = Line::new(&stations);
    group.bench_function("visits, worked out at the entry", |bench| {
        bench.iter(|| {
            let at = line.entry_free();
            line.enter(black_box(at), Kind::Decode, &times)
        });
    });
    group.finish();
}

fn run_engine(stations: u32, tokens: u64) -> ServiceOutcome {
    let service = Service {
        policy: Box::new(FirstCome),
        admission: Box::new(Whole),
        micro_batch: 1,
        chunk: 512,
        prefill: true,
        prefix_cache: None,
        cache_life: None,
        elsewhere: None,
        speculation: None,
        longest: 1 << 20,
        experts: None,
        replicas: Replicas::default(),
    };
    let settings = ClosedSettings {
        users: 64,
        think: 0.01,
        prompt: Lengths::fixed(100),
        output: Lengths::fixed(200),
        requests: Some(tokens / 200),
        day: DayCurve::default(),
    };
    let mut load = ClosedLoop::new(settings, 1);
    let length = Length { warm_up: Time::ZERO, window: Time::from_seconds(1e6), requests: None, seed: 1 };
    let costs = GivenCosts::even(stations, 30 * MICROSECOND, 1);
    Engine::new(costs, Ledger::of_tokens(1 << 40), service, &mut load, &mut Nobody, length).run(|_| {})
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(10);
    for stations in [1, STATIONS] {
        let work = run_engine(stations, 200_000).work;
        group.throughput(Throughput::Elements(work.events));
        group.bench_function(format!("events, 64 users, {stations} stations"), |bench| {
            bench.iter(|| run_engine(black_box(stations), 200_000));
        });
        group.throughput(Throughput::Elements(work.events + work.visits));
        group.bench_function(format!("events and visits, 64 users, {stations} stations"), |bench| {
            bench.iter(|| run_engine(black_box(stations), 200_000));
        });
    }
    group.finish();
}

/// The hour of Mooncake, where the trace is there.
fn hour(criterion: &mut Criterion) {
    let given = std::env::var_os("WAFERSIM_TRACES").map(PathBuf::from);
    let name = "mooncake/conversation_trace.jsonl";
    let text = given.and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
    let Some(text) = text else { return };
    let scenario = include_str!("../sim/scenarios/stream/mooncake-hour.toml");
    let machine = || {
        let scenario = StreamFile::parse(scenario, "mooncake-hour.toml").ok()?.check("mooncake-hour.toml").ok()?;
        let trace = Trace::of_text(&text, name, &Settings::default()).ok()?;
        Server::new(scenario, Some(Arc::new(trace))).ok()
    };
    let Some(machine) = machine() else { return };
    let mut group = criterion.benchmark_group("hour of Mooncake, 12,031 requests");
    group.sample_size(10);
    let work = machine.run(&mut Nobody, |_| {}).work;
    group.throughput(Throughput::Elements(work.events + work.visits));
    group.bench_function("events and visits", |bench| bench.iter(|| machine.run(&mut Nobody, |_| {})));
    group.finish();
}

criterion_group!(benches, event_queue, line, engine, hour);
criterion_main!(benches);
