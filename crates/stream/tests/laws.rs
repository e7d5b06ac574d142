//! What must hold whatever the numbers are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wafersim_stream::admission::{Admission, Growing, Whole};
use wafersim_stream::balancer::Replicas;
use wafersim_stream::costs::{GivenCosts, StationKind};
use wafersim_stream::engine::{Drafting, Engine, HostMemory, Length, Service};
use wafersim_stream::kv::Ledger;
use wafersim_stream::load::{
    ClosedLoop, ClosedSettings, DayCurve, Helpers, Lengths, LoadSource, OpenLoop, OpenSettings, SessionSettings,
    Sessions,
};
use wafersim_stream::observer::Nobody;
use wafersim_stream::policy::{Chunked, DecodeFirst, FirstCome, Policy, PrefillFirst};
use wafersim_stream::{ServiceOutcome, Time};

const MICROSECOND: u64 = 1_000_000;

fn service(policy: Box<dyn Policy>, micro_batch: u32, prefill: bool) -> Service<'static> {
    Service {
        policy,
        admission: Box::new(Whole),
        micro_batch,
        chunk: 512,
        prefill,
        prefix_cache: None,
        cache_life: None,
        elsewhere: None,
        speculation: None,
        longest: 1 << 20,
        experts: None,
        replicas: Replicas::default(),
    }
}

fn run(
    costs: GivenCosts,
    capacity: u64,
    service: Service<'_>,
    load: &mut dyn LoadSource,
    seconds: f64,
    warm_up: f64,
) -> ServiceOutcome {
    let length =
        Length { warm_up: Time::from_seconds(warm_up), window: Time::from_seconds(seconds), requests: None, seed: 1 };
    Engine::new(costs, Ledger::of_tokens(capacity), service, load, &mut Nobody, length).run(|_| {})
}

fn closed(users: u32, prompt: Lengths, output: Lengths, think: f64, requests: Option<u64>) -> ClosedLoop {
    ClosedLoop::new(ClosedSettings { users, think, prompt, output, requests, day: DayCurve::default() }, 7)
}

fn conserved(outcome: &ServiceOutcome) {
    let totals = &outcome.totals;
    assert_eq!(totals.arrived, totals.refused + totals.finished + totals.inside);
    assert_eq!(totals.asked, totals.produced + totals.owed);
    assert!(outcome.kv.taken.largest <= outcome.kv.capacity);
    let little = outcome.little;
    assert!(little.passes.abs() < 1e-9 && little.requests.abs() < 1e-9, "{little:?}");
}

/// Mean wait of M/D/1 (Pollaczek and Khinchine): load times service over 2 (1 - load).
#[test]
fn one_stage_with_poisson_arrivals_is_m_d_1() {
    for load in [0.3, 0.6, 0.8] {
        let service_time = 100e-6;
        let settings = OpenSettings {
            rate: load / service_time,
            variation: 1.0,
            prompt: Lengths::fixed(1),
            output: Lengths::fixed(1),
            requests: None,
            day: DayCurve::default(),
        };
        let mut arrivals = OpenLoop::new(settings, 3);
        let stage = GivenCosts::even(1, 100 * MICROSECOND, 0);
        let outcome = run(stage, u64::MAX / 2, service(Box::new(FirstCome), 1, false), &mut arrivals, 300.0, 1.0);
        let theory = load * service_time / (2.0 * (1.0 - load));
        let wait = outcome.first_token_parts.turn;
        assert!((wait / theory - 1.0).abs() < 0.02, "load {load}: {wait} against {theory}");
        assert!((outcome.first_token_parts.work - service_time).abs() < 1e-12);
        assert!((outcome.stations[0].busy - load).abs() < 0.01 * load);
        conserved(&outcome);
    }
}

/// The same with two, three and more stations behind the first: in a tandem of fixed times only the slowest makes wait.
#[test]
fn saturation_is_one_over_the_slowest_stage() {
    let times = [20, 25, 33, 21, 33, 10];
    let stations = |extra: u64| {
        let kinds = times.iter().enumerate().map(|(slot, time)| {
            let kind = if slot == 3 {
                StationKind::Link { wafer: 0 }
            } else {
                StationKind::Slot { slot: slot as u32, wafer: 0 }
            };
            // A slot may be busy for longer than a pass is in it.
            (kind, time * MICROSECOND, (time + extra) * MICROSECOND)
        });
        GivenCosts::new(kinds.collect(), 0)
    };
    for extra in [0, 5] {
        let mut users = closed(64, Lengths::fixed(10), Lengths::fixed(200), 0.0, None);
        let outcome = run(stations(extra), u64::MAX / 2, service(Box::new(FirstCome), 1, false), &mut users, 5.0, 0.5);
        let expected = 1e6 / (33 + extra) as f64;
        let got = outcome.tokens_per_second.mean;
        assert!((got / expected - 1.0).abs() < 0.01, "{got} against {expected}");
        assert!(outcome.stations[2].busy > 0.99);
        conserved(&outcome);
    }
}

#[test]
fn micro_batches_fill_when_the_line_is_full() {
    // Twice the time for eight users: four times the tokens.
    let costs = GivenCosts::even(4, 10 * MICROSECOND, 1024 / 7);
    let mut users = closed(64, Lengths::fixed(10), Lengths::fixed(200), 0.0, None);
    let outcome = run(costs, u64::MAX / 2, service(Box::new(FirstCome), 8, false), &mut users, 2.0, 0.1);
    assert!(outcome.queues.micro_batch > 7.9);
    let expected = 8.0 / (10e-6 * (1024.0 + 7.0 * 146.0) / 1024.0);
    assert!((outcome.tokens_per_second.mean / expected - 1.0).abs() < 0.01);
}

#[test]
fn one_user_never_waits() {
    let mut user = closed(1, Lengths::fixed(1000), Lengths::fixed(100), 0.0, None);
    let outcome = run(
        GivenCosts::even(62, 30 * MICROSECOND, 1),
        u64::MAX / 2,
        service(Box::new(FirstCome), 4, true),
        &mut user,
        2.0,
        0.0,
    );
    let parts = outcome.step_parts;
    assert_eq!((parts.stage, parts.prefill, parts.links, parts.room), (0.0, 0.0, 0.0, 0.0));
    let per_token = outcome.per_output_token.unwrap();
    assert_eq!((per_token.min, per_token.max), (62.0 * 30e-6, 62.0 * 30e-6));
}

fn policies() -> Vec<Box<dyn Policy>> {
    vec![Box::new(FirstCome), Box::new(PrefillFirst), Box::new(DecodeFirst), Box::new(Chunked { budget: 128 })]
}

/// Little's law from both sides, parts that add up, tokens that are conserved: under every policy, tight and roomy.
#[test]
fn laws_hold_under_every_policy() {
    for index in 0..policies().len() {
        for (capacity, growing) in [(1u64 << 40, false), (60_000, false), (40_000, true)] {
            let policy = policies().swap_remove(index);
            let prompt = Lengths { median: 800, spread: 0.8, longest: 8000 };
            let output = Lengths { median: 150, spread: 0.8, longest: 2000 };
            let mut users = closed(40, prompt, output, 0.05, None);
            let mut service = service(policy, 4, true);
            if growing {
                service.admission = Box::new(Growing);
            }
            let costs = GivenCosts::even(20, 20 * MICROSECOND, 8);
            let outcome = run(costs, capacity, service, &mut users, 60.0, 5.0);
            conserved(&outcome);
            // And as it is usually said, up to who is inside at the ends of the window: number = rate x time.
            let other = outcome.requests_per_second.mean * outcome.whole_request.unwrap().mean;
            assert!((outcome.queues.inside.mean / other - 1.0).abs() < 0.01, "{capacity}");
            let parts = outcome.step_parts;
            let sum =
                parts.service + parts.draft + parts.stage + parts.expert + parts.prefill + parts.links + parts.room;
            let steps = outcome.between_steps.unwrap().mean;
            // The histogram's exact mean is of whole nanoseconds.
            assert!((sum / steps - 1.0).abs() < 1e-4, "{sum} {steps}");
            let first = outcome.first_token_parts;
            let sum = first.room + first.host + first.turn + first.work;
            assert!((sum / outcome.first_token.unwrap().mean - 1.0).abs() < 1e-4);
            if growing {
                assert!(outcome.totals.gave_way > 0 && parts.room > 0.0);
            } else {
                assert!(outcome.totals.gave_way == 0 && parts.room == 0.0);
            }
        }
    }
}

/// A million requests through tight room: what is taken never exceeds it, and all of it comes back.
#[test]
fn room_never_leaks() {
    for (growing, caches) in [(false, false), (true, false), (true, true)] {
        let requests = 1_000_000;
        let prompt = Lengths { median: 200, spread: 0.7, longest: 1000 };
        let output = Lengths { median: 3, spread: 0.7, longest: 200 };
        let mut users: Box<dyn LoadSource> = if caches {
            let settings = SessionSettings {
                agents: 20,
                prefix: prompt,
                common: 256,
                append: Lengths::fixed(40),
                output,
                steps: 4.0,
                tool: 0.0001,
                tool_shortest: 0.005,
                tool_longest: 600.0,
                think: 0.001,
                longest: 1400,
                requests: Some(requests),
                day: DayCurve::default(),
                helpers: Helpers::default(),
            };
            Box::new(Sessions::new(settings, 5))
        } else {
            Box::new(closed(20, prompt, output, 0.001, Some(requests)))
        };
        let mut service = service(Box::new(FirstCome), 4, true);
        if growing {
            service.admission = Box::new(Growing);
        }
        if caches {
            service.prefix_cache = Some(HostMemory { blocks: 30, block_time: Time(MICROSECOND) });
        }
        let costs = GivenCosts::even(2, MICROSECOND / 10, 0);
        let outcome = run(costs, 4096, service, users.as_mut(), 1e6, 0.0);
        assert_eq!(outcome.totals.finished, requests);
        assert_eq!(outcome.totals.inside, 0);
        assert_eq!(outcome.kv.taken_at_end, outcome.kv.idle_at_end, "what is left is what nobody uses");
        if caches {
            assert!(outcome.totals.cached_tokens > 0 && outcome.totals.loaded_tokens > 0);
        } else {
            assert_eq!(outcome.kv.taken_at_end, 0);
        }
        conserved(&outcome);
    }
}

#[test]
fn what_can_never_fit_is_refused_and_ends() {
    let mut users = closed(3, Lengths::fixed(5000), Lengths::fixed(10), 0.0, None);
    let outcome =
        run(GivenCosts::even(2, MICROSECOND, 0), 4096, service(Box::new(FirstCome), 4, true), &mut users, 100.0, 0.0);
    assert_eq!(outcome.totals.refused, outcome.totals.arrived);
    assert!((300..400).contains(&outcome.totals.arrived), "one a second and user");
    conserved(&outcome);
}

#[test]
fn accepted_drafts_follow_leviathan() {
    // Ten stages of 10 us: a step takes a pass, and as a stream the slowest stage for each further token.
    for (streamed, step) in [(false, 100e-6), (true, 140e-6)] {
        for (acceptance, tokens) in [
            (vec![0.8; 4], (1.0 - 0.8f64.powi(5)) / 0.2),
            (vec![0.9, 0.5, 0.5, 0.1], 1.0 + 0.9 + 0.45 + 0.225 + 0.0225),
        ] {
            let mut users = closed(1, Lengths::fixed(1), Lengths::fixed(10_000), 0.0, None);
            let mut service = service(Box::new(FirstCome), 1, false);
            service.speculation = Some(Drafting { acceptance, streamed });
            let outcome = run(GivenCosts::even(10, 10 * MICROSECOND, 0), u64::MAX / 2, service, &mut users, 100.0, 0.0);
            let expected = tokens / step;
            assert!((outcome.tokens_per_second.mean / expected - 1.0).abs() < 0.005, "{streamed} {expected}");
        }
    }
}

#[test]
fn the_policy_decides_who_waits() {
    let outcome = |policy: Box<dyn Policy>| {
        let mut users = closed(12, Lengths::fixed(4000), Lengths::fixed(300), 0.2, None);
        run(GivenCosts::even(20, 20 * MICROSECOND, 16), u64::MAX / 2, service(policy, 2, true), &mut users, 60.0, 5.0)
    };
    let prefill = outcome(Box::new(PrefillFirst));
    let decode = outcome(Box::new(DecodeFirst));
    let chunked = outcome(Box::new(Chunked { budget: 128 }));
    let first = |outcome: &ServiceOutcome| outcome.first_token.unwrap().p50;
    let gap = |outcome: &ServiceOutcome| outcome.between_steps.unwrap().p99;
    assert!(first(&prefill) <= first(&decode), "{} {}", first(&prefill), first(&decode));
    assert!(gap(&decode) <= gap(&prefill));
    assert!(gap(&chunked) < gap(&prefill), "{} {}", gap(&chunked), gap(&prefill));
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_one_another() {
    let outcome = |seed| {
        let settings = OpenSettings {
            rate: 100.0,
            variation: 3.0,
            prompt: Lengths { median: 500, spread: 1.0, longest: 4000 },
            output: Lengths { median: 50, spread: 1.0, longest: 1000 },
            requests: None,
            day: DayCurve::default(),
        };
        let mut load = OpenLoop::new(settings, seed);
        run(
            GivenCosts::even(20, 20 * MICROSECOND, 8),
            50_000,
            service(Box::new(FirstCome), 4, true),
            &mut load,
            20.0,
            1.0,
        )
    };
    assert_eq!(outcome(1), outcome(1));
    assert_ne!(outcome(1), outcome(2));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// More users never raise a single user's median speed.
    #[test]
    fn more_users_are_never_faster(
        fewer in 1u32..40, more in 1u32..40, micro_batch in 1u32..6, slots in 1u32..30, per_token in 0u64..600,
        prefill in any::<bool>(),
    ) {
        let speed = |count| {
            let mut users = closed(count, Lengths::fixed(200), Lengths::fixed(120), 0.0, None);
            let costs = GivenCosts::even(slots, 20 * MICROSECOND, per_token);
            let outcome =
                run(costs, u64::MAX / 2, service(Box::new(FirstCome), micro_batch, prefill), &mut users, 4.0, 1.0);
            conserved(&outcome);
            outcome.user_speed.map_or(0.0, |speed| speed.p50)
        };
        // Quantiles are within a thousandth.
        prop_assert!(speed(fewer + more) <= speed(fewer) * 1.002);
    }

    /// Whatever the settings: nothing is lost, and no room beyond the ledger is taken.
    #[test]
    fn nothing_is_lost(
        seed in 0u64..1000, users in 1u32..30, capacity in 2000u64..30_000, micro_batch in 1u32..5, which in 0usize..4,
        growing in any::<bool>(), caches in any::<bool>(), host in 0u64..20, draft in 0u32..4, window in 0.0f64..3.0,
    ) {
        let settings = SessionSettings {
            agents: users, prefix: Lengths { median: 600, spread: 1.0, longest: 3000 }, common: 300,
            append: Lengths { median: 80, spread: 1.0, longest: 500 },
            output: Lengths { median: 30, spread: 1.0, longest: 300 },
            steps: 3.0, tool: 0.01,
            tool_shortest: 0.005,
            tool_longest: 600.0, think: 0.05, longest: 4000, requests: None, day: DayCurve::default(), helpers: Helpers::default(),
        };
        let mut load = Sessions::new(settings, seed);
        let mut service = service(policies().swap_remove(which), micro_batch, true);
        let admission: Box<dyn Admission> = if growing { Box::new(Growing) } else { Box::new(Whole) };
        service.admission = admission;
        service.prefix_cache = caches.then_some(HostMemory { blocks: host, block_time: Time(10 * MICROSECOND) });
        service.speculation =
            (draft > 0).then(|| Drafting { acceptance: vec![0.6; draft as usize], streamed: growing });
        let outcome = run(GivenCosts::even(7, 20 * MICROSECOND, 30), capacity, service, &mut load, window, window / 5.0);
        conserved(&outcome);
    }
}
