//! Prompts that are computed elsewhere: what must hold whatever computes them, and the closed form where nobody waits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wafersim_stream::admission::{Admission, Growing, Whole};
use wafersim_stream::balancer::{BalancerKind, Outage, Replicas};
use wafersim_stream::costs::GivenCosts;
use wafersim_stream::elsewhere::{Elsewhere, PromptWork};
use wafersim_stream::engine::{Drafting, Engine, HostMemory, Length, Service};
use wafersim_stream::invariants::of_outcome;
use wafersim_stream::kv::Ledger;
use wafersim_stream::load::{
    ClosedLoop, ClosedSettings, DayCurve, Helpers, Lengths, LoadSource, OpenLoop, OpenSettings, SessionSettings,
    Sessions,
};
use wafersim_stream::observer::Nobody;
use wafersim_stream::policy::{Chunked, DecodeFirst, FirstCome, Policy, PrefillFirst};
use wafersim_stream::run::Server;
use wafersim_stream::scenario::StreamFile;
use wafersim_stream::{ServiceOutcome, StreamError, Time};

/// Picoseconds of a microsecond.
const MICROSECOND: u64 = 1_000_000;
/// Stations of the machine, each with so many microseconds for a token.
const STAGES: u64 = 8;
const STAGE: u64 = 10;

fn machine() -> GivenCosts {
    GivenCosts::even(STAGES as u32, STAGE * MICROSECOND, 64)
}

/// The same line elsewhere, with room for so many tokens.
fn wafers(room: u64) -> PromptWork<'static> {
    PromptWork::Wafers { costs: Box::new(machine()), room: Ledger::of_tokens(room) }
}

/// Keys and values cross at so many nanoseconds a token.
fn at(work: PromptWork<'static>, nanoseconds: u64) -> Option<Elsewhere<'static>> {
    let crossing = move |from: u32, until: u32| Time(u64::from(until - from) * nanoseconds * 1000);
    Some(Elsewhere { work, crossing: Box::new(crossing) })
}

fn service(elsewhere: Option<Elsewhere<'static>>) -> Service<'static> {
    Service {
        policy: Box::new(Chunked { budget: 256 }),
        admission: Box::new(Whole),
        micro_batch: 4,
        chunk: 512,
        prefill: true,
        elsewhere,
        prefix_cache: None,
        cache_life: None,
        speculation: None,
        longest: 1 << 20,
        experts: None,
        replicas: Replicas::default(),
    }
}

fn run(service: Service<'_>, load: &mut dyn LoadSource, capacity: u64, seconds: f64) -> ServiceOutcome {
    let length = Length { warm_up: Time::ZERO, window: Time::from_seconds(seconds), requests: None, seed: 1 };
    let room = Ledger::of_tokens(capacity);
    let outcome = Engine::new(machine(), room, service, load, &mut Nobody, length).run(|_| {});
    let totals = &outcome.totals;
    let ended = totals.refused + totals.finished + totals.cancelled + totals.aborted;
    assert_eq!(totals.arrived, ended + totals.inside, "{totals:?}");
    assert_eq!(totals.asked, totals.produced + totals.owed);
    assert!(outcome.little.requests.abs() < 1e-9 && outcome.little.passes.abs() < 1e-9, "{:?}", outcome.little);
    assert_eq!(of_outcome(&outcome), Vec::new());
    outcome
}

fn closed(users: u32, prompt: u32, output: u32, requests: Option<u64>) -> ClosedLoop {
    let (prompt, output) = (Lengths::fixed(prompt), Lengths::fixed(output));
    ClosedLoop::new(ClosedSettings { users, think: 0.0, prompt, output, requests, day: DayCurve::default() }, 7)
}

fn open(rate: f64, prompt: Lengths, output: Lengths) -> OpenLoop {
    let requests = Some(400);
    OpenLoop::new(OpenSettings { rate, variation: 1.0, prompt, output, requests, day: DayCurve::default() }, 3)
}

/// Alone: the prompt, then the way, then a pass, to the picosecond.
#[test]
fn one_request_takes_the_sum_of_its_parts() {
    let first = |work, nanoseconds| {
        let outcome = run(service(at(work, nanoseconds)), &mut closed(1, 1000, 3, Some(1)), 1 << 24, 1e3);
        let parts = outcome.first_token_parts;
        let sum = parts.room + parts.host + parts.turn + parts.work + parts.transfer + parts.decode;
        assert!((sum - outcome.first_token.unwrap().mean).abs() < 1e-9);
        [parts.work, parts.transfer, parts.decode]
    };
    let pass = (STAGES * STAGE) as f64 * 1e-6;
    let close = |one: [f64; 3], other: [f64; 3]| {
        assert!(one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-11), "{one:?} against {other:?}");
    };
    // A thousand tokens at 2 us each, and at 30 ns on the way.
    close(first(PromptWork::rate(5e5), 30), [2e-3, 30e-6, pass]);
    // Two chunks, of 512 and 488 tokens: the second is shorter, and waits for the first at every stage.
    let scale = |tokens: u64| (STAGE * MICROSECOND * ((tokens - 1) * 64 + 1024) / 1024) as f64 * 1e-12;
    close(first(wafers(1 << 24), 5), [STAGES as f64 * scale(512) + scale(488), 5e-6, pass]);
}

/// What computes at once and carries at once gives what a machine does whose prompts are there already.
#[test]
fn at_once_is_decode_alone() {
    for users in [1, 7] {
        let alone = Service { prefill: false, ..service(None) };
        let alone = run(alone, &mut closed(users, 1000, 20, None), 1 << 24, 1.0);
        let at_once =
            run(service(at(PromptWork::rate(f64::INFINITY), 0)), &mut closed(users, 1000, 20, None), 1 << 24, 1.0);
        assert_eq!(at_once.first_token, alone.first_token);
        assert_eq!(at_once.user_speed, alone.user_speed);
        assert_eq!(at_once.totals.produced, alone.totals.produced);
    }
}

/// A slower way, and a slower rate, never give an earlier first token, under light and heavy loads.
#[test]
fn what_is_slower_is_never_earlier() {
    for rate in [50.0, 200.0, 900.0] {
        let first = |work, nanoseconds| {
            let lengths = |median| Lengths { median, spread: 0.8, longest: 4000 };
            let outcome = run(service(at(work, nanoseconds)), &mut open(rate, lengths(600), lengths(20)), 1 << 24, 1e3);
            assert_eq!(outcome.totals.finished, 400);
            outcome.first_token.unwrap()
        };
        for room in [1 << 24, 5000] {
            let means = [0, 100, 1000, 10_000].map(|nanoseconds| first(wafers(room), nanoseconds).mean);
            assert!(means.is_sorted(), "{rate}, {room}: {means:?}");
        }
        let means = [1e9, 1e6, 3e5, 1e5].map(|speed| first(PromptWork::rate(speed), 100).mean);
        assert!(means.is_sorted(), "{rate}: {means:?}");
    }
}

fn policies() -> [Box<dyn Policy>; 4] {
    [Box::new(FirstCome), Box::new(PrefillFirst), Box::new(DecodeFirst), Box::new(Chunked { budget: 128 })]
}

/// Where requests come at times of their own, a user decodes at least as fast as beside prompts, under every policy;
/// no step waits for a prompt.
#[test]
fn nobody_decodes_slower_than_beside_prompts() {
    for rate in [20.0, 100.0, 300.0] {
        for index in 0..policies().len() {
            let lengths = |median| Lengths { median, spread: 0.5, longest: 4000 };
            let under = |elsewhere: Option<Elsewhere<'static>>| {
                let policy = policies().into_iter().nth(index).unwrap();
                let service = Service { policy, ..service(elsewhere) };
                run(service, &mut open(rate, lengths(800), lengths(40)), 1 << 24, 1e3)
            };
            let same = under(None).user_speed.unwrap();
            for elsewhere in [at(wafers(1 << 24), 100), at(PromptWork::rate(1e6), 100)] {
                let outcome = under(elsewhere);
                let speed = outcome.user_speed.unwrap();
                assert_eq!(outcome.step_parts.prefill, 0.0);
                // Quantiles are known to 0.1 %.
                let pairs = [(speed.p5, same.p5), (speed.p50, same.p50), (speed.mean, same.mean)];
                assert!(pairs.iter().all(|(there, here)| *there >= here * 0.998), "{rate}, {index}: {pairs:?}");
            }
        }
    }
}

/// Several prompts share what computes them, and the way: its busy share is the work that was asked of it.
#[test]
fn busy_shares_are_the_work_over_the_time() {
    // 100 requests a second of 1,000 tokens: 2 us each there, 4 us each on the way.
    let mut load = OpenLoop::new(
        OpenSettings {
            rate: 100.0,
            variation: 0.0,
            prompt: Lengths::fixed(1000),
            output: Lengths::fixed(5),
            requests: None,
            day: DayCurve::default(),
        },
        3,
    );
    let outcome = run(service(at(PromptWork::rate(5e5), 4000)), &mut load, 1 << 24, 50.0);
    let prefill = outcome.prefill.unwrap();
    assert!((prefill.busy - 0.2).abs() < 2e-3, "{prefill:?}");
    assert!((prefill.transfer_busy - 0.4).abs() < 4e-3, "{prefill:?}");
    // Little's law on the way: those who come every second, times how long each is on it.
    let on_the_way = outcome.requests_per_second.mean * outcome.first_token_parts.transfer;
    assert!((prefill.crossing.mean / on_the_way - 1.0).abs() < 0.01, "{prefill:?} against {on_the_way}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever computes prompts, and whatever machines and outages do, no request is lost, and nothing leaks.
    #[test]
    fn no_request_is_lost(
        count in 1u32..4,
        outages in prop::collection::vec((0u32..3, 0.0f64..5.0, 0.0f64..3.0), 0..5),
        capacity in 12_000u64..60_000,
        there in prop::option::of(4000u64..20_000),
        nanoseconds in prop::sample::select(vec![0u64, 50, 5000]),
        grows: bool,
        drafts: bool,
        host in prop::option::of(0u64..64),
    ) {
        let outages = outages.into_iter().filter(|(replica, _, _)| *replica < count);
        let outages = outages.map(|(replica, from, lasts)| Outage { replica, from, to: from + lasts }).collect();
        let work = there.map_or_else(|| PromptWork::rate(1e5), wafers);
        let admission: Box<dyn Admission> = if grows { Box::new(Growing) } else { Box::new(Whole) };
        let service = Service {
            admission,
            prefix_cache: host.map(|blocks| HostMemory { blocks, block_time: Time(2_000_000_000) }),
            speculation: drafts.then(|| Drafting { acceptance: vec![0.8, 0.5], streamed: true }),
            replicas: Replicas { count, balancer: BalancerKind::LeastLoaded.build(), outages },
            ..service(at(work, nanoseconds))
        };
        let mut load = Sessions::new(SessionSettings {
            agents: 6,
            prefix: Lengths { median: 2000, spread: 0.3, longest: 20_000 },
            common: 1024,
            append: Lengths { median: 200, spread: 1.0, longest: 2000 },
            output: Lengths { median: 40, spread: 1.0, longest: 400 },
            steps: 4.0,
            tool: 0.02,
            tool_shortest: 0.005,
            tool_longest: 600.0,
            think: 0.5,
            longest: 9000,
            requests: Some(150),
            day: DayCurve::default(),
            helpers: Helpers::default(),
        }, 9);
        let outcome = run(service, &mut load, capacity, 1e6);
        prop_assert_eq!(outcome.totals.inside, 0);
        prop_assert_eq!(outcome.kv.taken_at_end, outcome.kv.idle_at_end);
        prop_assert_eq!(outcome.step_parts.prefill, 0.0);
    }
}

fn placed(machine: &str, load: &str) -> Result<Server, StreamError> {
    Server::new(StreamFile::parse(&format!("[machine]\n{machine}\n{load}"), "test")?.check("test")?, None)
}

const MACHINES: [&str; 3] = [
    "model = 'qwen3-coder-480b-a35b'\ncontext = 8192\n",
    "model = 'gpt-oss-120b'\ncontext = 8192\nprofile = 'ideal'\n",
    "model = 'llama-3.1-8b'\ncontext = 8192\nwafers = 1\n",
];

/// One request on machines of every kind: the closed form's first token, to the nanosecond where the rate is given, as
/// near as that of prompts on the same wafers where wafers compute them.
#[test]
fn one_prompt_takes_what_the_closed_form_says() {
    let places = [
        ("where = 'external'\ntokens_per_second = 2e5\nbandwidth = 1e11", 0.0),
        ("where = 'other wafers'", 0.03),
        ("where = 'other wafers'\nwafers = 20\nbandwidth = 1e10", 0.03),
    ];
    for machine in MACHINES {
        for (place, within) in places {
            let prompt = 8192 - 64;
            let machine = format!("{machine}prompt = {prompt}\n[machine.prefill]\n{place}\n");
            let load = format!("[load]\nprompt = {{ median = {prompt} }}\noutput = {{ median = 4 }}\nrequests = 1\n");
            let server = placed(&machine, &load).unwrap();
            let outcome = server.run(&mut Nobody, |_| {});
            let (summary, parts) = (server.summary(), outcome.first_token_parts);
            let (got, said) = (outcome.first_token.unwrap().mean, summary.closed_form_first_token);
            assert!((got - said).abs() <= 1e-9 + within * said, "{machine}: {got} s against {said} s");
            let said = summary.prefill.unwrap();
            let exact = [(parts.transfer, said.transfer_time_ms), (parts.decode, said.decode_time_ms)];
            assert!(exact.iter().all(|(got, said)| (got * 1e3 - said).abs() < 1e-6), "{machine}: {exact:?}");
        }
    }
}

/// A machine cannot have its prompts computed nowhere and elsewhere.
#[test]
fn prompts_that_are_there_already_are_not_computed_elsewhere() {
    let machine = "model = 'llama-3.1-8b'\n[machine.prefill]\nwhere = 'other wafers'\n[service]\nprefill = false\n";
    let error = placed(machine, "").unwrap_err().to_string();
    assert!(error.contains("service.prefill") && error.contains("other wafers"), "{error}");
}
