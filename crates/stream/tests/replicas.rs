//! What must hold of several machines behind a balancer, of outages and deadlines, of what agents send beside their
//! own work, and of tasks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wafersim_stream::admission::{Admission, Growing, Whole};
use wafersim_stream::balancer::{BalancerKind, Outage, Replicas};
use wafersim_stream::clients::{ClientOutcome, ClientProfile, ClientSettings, Clients, Delivery};
use wafersim_stream::costs::GivenCosts;
use wafersim_stream::engine::{Drafting, Engine, HostMemory, Length, Service};
use wafersim_stream::kv::Ledger;
use wafersim_stream::load::{
    ClosedLoop, ClosedSettings, DayCurve, Helpers, Lengths, LoadSource, OpenLoop, OpenSettings, SessionSettings,
    Sessions, SideRequest, SideWhen, SubAgents, TaskSettings, Tasks,
};
use wafersim_stream::observer::Nobody;
use wafersim_stream::policy::Chunked;
use wafersim_stream::service::ServicePlan;
use wafersim_stream::{ServiceOutcome, Time};

fn service(replicas: Replicas) -> Service<'static> {
    Service {
        policy: Box::new(Chunked { budget: 256 }),
        admission: Box::new(Whole),
        micro_batch: 4,
        chunk: 512,
        prefill: true,
        prefix_cache: Some(HostMemory::default()),
        cache_life: None,
        elsewhere: None,
        speculation: None,
        longest: 1 << 20,
        experts: None,
        replicas,
    }
}

fn behind(count: u32, kind: BalancerKind, outages: Vec<Outage>) -> Replicas {
    Replicas { count, balancer: kind.build(), outages }
}

fn run_with(load: &mut dyn LoadSource, service: Service<'_>, capacity: u64, seconds: f64) -> ServiceOutcome {
    let length = Length { warm_up: Time::ZERO, window: Time::from_seconds(seconds), requests: None, seed: 1 };
    // Eight stages of 10 us.
    let machine = GivenCosts::even(8, 10_000_000, 64);
    let outcome = Engine::new(machine, Ledger::of_tokens(capacity), service, load, &mut Nobody, length).run(|_| {});
    let totals = &outcome.totals;
    let ended = totals.refused + totals.finished + totals.cancelled + totals.aborted;
    assert_eq!(totals.arrived, ended + totals.inside, "{totals:?}");
    assert_eq!(totals.asked, totals.produced + totals.owed);
    assert!(outcome.little.requests.abs() < 1e-9 && outcome.little.passes.abs() < 1e-9, "{:?}", outcome.little);
    let by_replica: u64 = outcome.replicas.iter().map(|replica| replica.finished).sum();
    assert!(outcome.replicas.is_empty() || by_replica == totals.finished);
    outcome
}

fn run(load: &mut dyn LoadSource, replicas: Replicas, seconds: f64) -> ServiceOutcome {
    run_with(load, service(replicas), 1 << 24, seconds)
}

fn sessions(agents: u32, helpers: Helpers) -> SessionSettings {
    SessionSettings {
        agents,
        prefix: Lengths { median: 3000, spread: 0.3, longest: 20_000 },
        common: 1024,
        append: Lengths { median: 200, spread: 1.0, longest: 2000 },
        output: Lengths { median: 40, spread: 1.0, longest: 400 },
        steps: 4.0,
        tool: 0.02,
        tool_shortest: 0.005,
        tool_longest: 600.0,
        think: 0.5,
        longest: 9000,
        requests: None,
        day: DayCurve::default(),
        helpers,
    }
}

fn poisson(rate: f64, day: DayCurve) -> OpenLoop {
    let (prompt, output) = (Lengths::fixed(600), Lengths::fixed(30));
    OpenLoop::new(OpenSettings { rate, variation: 1.0, prompt, output, requests: None, day }, 3)
}

fn settings(profile: &str) -> ClientSettings {
    ClientSettings {
        plan: ServicePlan::parse("", "test").unwrap(),
        profile: ClientProfile::preset(profile).unwrap(),
        organisations: 1,
        network: 0.05,
        host: 0.004,
        delivery: Delivery::default(),
        patience: None,
        deadline: None,
        seed: 1,
    }
}

fn served(
    load: impl LoadSource,
    settings: ClientSettings,
    service: Service<'_>,
    seconds: f64,
) -> (ServiceOutcome, ClientOutcome) {
    let mut clients = Clients::new(load, settings, Time::ZERO);
    let outcome = run_with(&mut clients, service, 1 << 20, seconds);
    let seen = clients.outcome(outcome.window_end);
    let totals = &outcome.totals;
    assert_eq!(seen.attempts, totals.arrived + seen.refused_quota + seen.refused_capacity + seen.refused_away);
    assert_eq!(seen.lost, totals.aborted);
    // One that hung up while it was in the line is inside until it is through.
    assert!(totals.cancelled <= seen.timed_out && seen.timed_out <= totals.cancelled + totals.inside);
    if let Some(whole) = &seen.whole {
        let sum = seen.shares.sum();
        assert!((sum / whole.mean - 1.0).abs() < 1e-8, "{sum} of {}", whole.mean);
    }
    (outcome, seen)
}

/// One machine behind any balancer is the machine.
#[test]
fn one_machine_needs_no_balancer() {
    let alone = run(&mut Sessions::new(sessions(6, Helpers::default()), 5), Replicas::default(), 60.0);
    for kind in [BalancerKind::LeastLoaded, BalancerKind::RoundRobin, BalancerKind::Sticky, BalancerKind::Prefix] {
        let load = &mut Sessions::new(sessions(6, Helpers::default()), 5);
        assert_eq!(run(load, behind(1, kind, Vec::new()), 60.0), alone);
    }
    assert!(alone.totals.finished > 100 && alone.replicas.is_empty());
}

/// Two machines with twice the load: each is as busy as one was, and nobody waits longer than where they stood apart.
#[test]
fn two_machines_take_twice_the_load() {
    let one = run(&mut poisson(900.0, DayCurve::default()), Replicas::default(), 20.0);
    let kind = BalancerKind::LeastLoaded;
    let two = run(&mut poisson(1800.0, DayCurve::default()), behind(2, kind, Vec::new()), 20.0);
    let busy = |outcome: &ServiceOutcome| outcome.stations.iter().map(|station| station.busy).fold(0.0, f64::max);
    assert!((busy(&two) / busy(&one) - 1.0).abs() < 0.05, "{} {}", busy(&two), busy(&one));
    assert!(busy(&one) > 0.3, "{}", busy(&one));
    let twice = two.tokens_per_second.mean / one.tokens_per_second.mean;
    assert!((twice - 2.0).abs() < 0.1, "{twice}");
    let wait = |outcome: &ServiceOutcome| outcome.whole_request.unwrap().mean;
    assert!(wait(&two) < wait(&one) * 1.02, "pooled servers wait less: {} {}", wait(&two), wait(&one));
    let [left, right] = [two.replicas[0].finished, two.replicas[1].finished];
    assert!(left.abs_diff(right) * 20 < left + right, "{left} {right}");
}

/// Sessions find their prefixes where they were served before; one after the other they lose them.
#[test]
fn sessions_that_stay_find_their_cache() {
    let cached = |kind| {
        let load = &mut Sessions::new(sessions(12, Helpers::default()), 5);
        let outcome = run(load, behind(4, kind, Vec::new()), 60.0);
        outcome.totals.cached_tokens as f64 / outcome.totals.prompt_tokens as f64
    };
    let alone = {
        let outcome = run(&mut Sessions::new(sessions(12, Helpers::default()), 5), Replicas::default(), 60.0);
        outcome.totals.cached_tokens as f64 / outcome.totals.prompt_tokens as f64
    };
    let [sticky, prefix, turns] = [BalancerKind::Sticky, BalancerKind::Prefix, BalancerKind::RoundRobin].map(cached);
    assert!((sticky - alone).abs() < 0.03 && (prefix - alone).abs() < 0.03, "{sticky} {prefix} {alone}");
    assert!(turns < sticky - 0.05, "{turns} {sticky}");
}

/// As much is asked in an hour as the curve says.
#[test]
fn the_day_has_its_course() {
    let mut hours = [1.0; 24];
    (hours[1], hours[2], hours[3]) = (0.0, 0.25, 3.0);
    let mut load = poisson(1.0, DayCurve { hours, starts: 0.0 });
    let mut counts = [0u32; 24];
    while let Some(request) = load.next().filter(|request| request.arrival < Time::from_seconds(86_400.0)) {
        counts[(request.arrival.seconds() / 3600.0) as usize] += 1;
    }
    for (count, factor) in counts.iter().zip(hours) {
        let wanted = 3600.0 * factor;
        // Five standard deviations of a Poisson count.
        assert!((f64::from(*count) - wanted).abs() <= 5.0 * wanted.sqrt(), "{count} of {wanted}");
    }
}

/// A machine that goes away loses what it serves; clients ask again, and all is served in the end.
#[test]
fn what_is_lost_is_asked_again() {
    let away = vec![Outage { replica: 0, from: 20.0, to: 30.0 }];
    let closed = |users| {
        let (prompt, output) = (Lengths::fixed(2000), Lengths::fixed(400));
        ClosedLoop::new(
            ClosedSettings { users, think: 0.05, prompt, output, requests: Some(4000), day: DayCurve::default() },
            7,
        )
    };
    let patient = ClientProfile { layers: ClientProfile::preset("roo").unwrap().layers, ..settings("roo").profile };
    let (outcome, seen) = served(
        closed(8),
        ClientSettings { profile: patient, ..settings("roo") },
        service(behind(1, BalancerKind::LeastLoaded, away.clone())),
        1e6,
    );
    assert_eq!((seen.served, seen.abandoned), (4000, 0));
    assert!(seen.lost > 0 && seen.lost <= 8 && seen.refused_away > 0, "{seen:?}");
    assert!(seen.shares.outage > 0.0);
    assert_eq!(outcome.replicas[0].away.to_bits(), 10.0f64.to_bits());
    // With a second machine nobody is refused: what was lost goes there.
    let two = service(behind(2, BalancerKind::Sticky, away));
    let (outcome, seen) = served(closed(8), settings("openai-sdk"), two, 1e6);
    assert_eq!((seen.served, seen.refused_away), (4000, 0));
    assert_eq!(outcome.replicas[1].aborted, 0);
}

/// Who does not wait longer than so much never sees an answer that took longer.
#[test]
fn deadlines_are_kept() {
    let load = |users| {
        let (prompt, output) = (Lengths { median: 600, spread: 1.0, longest: 6000 }, Lengths::fixed(30));
        ClosedLoop::new(
            ClosedSettings { users, think: 0.01, prompt, output, requests: None, day: DayCurve::default() },
            7,
        )
    };
    // The client counts from when it sends: 29 ms go by on the way there.
    let hurried = ClientSettings { deadline: Some(0.06), ..settings("openai-sdk") };
    let (outcome, seen) = served(load(60), hurried, service(Replicas::default()), 10.0);
    assert!(seen.timed_out > 50 && seen.served > 50, "{} {}", seen.timed_out, seen.served);
    assert!(outcome.whole_request.unwrap().max <= 0.031 + 1e-9);
    assert!(seen.shares.deadline > 0.0 && seen.shares.outage.to_bits() == 0);
    let patient = ClientSettings { deadline: Some(60.0), ..settings("none") };
    let (_, seen) = served(load(4), patient, service(Replicas::default()), 10.0);
    assert_eq!(seen.timed_out, 0);
}

/// A plan's deadline is for room alone: who has it is served, however long that takes.
#[test]
fn the_queue_has_a_deadline() {
    let plan = ServicePlan::parse("deadline = 0.01", "test").unwrap();
    let mut clients = Clients::new(
        ClosedLoop::new(
            ClosedSettings {
                users: 12,
                think: 0.01,
                prompt: Lengths::fixed(3000),
                output: Lengths::fixed(300),
                requests: None,
                day: DayCurve::default(),
            },
            7,
        ),
        ClientSettings { plan, ..settings("openai-sdk") },
        Time::ZERO,
    );
    // Room for three.
    let outcome = run_with(&mut clients, service(Replicas::default()), 10_000, 20.0);
    let seen = clients.outcome(outcome.window_end);
    assert!(seen.expired > 20 && seen.served > 20, "{seen:?}");
    assert!(outcome.first_token_parts.room <= 0.01 && outcome.whole_request.unwrap().p50 > 0.02);
    assert_eq!((seen.expired, seen.timed_out), (outcome.totals.cancelled, 0));
    assert!(seen.shares.capacity > 0.0);
}

/// An agent waits for all of its sub-agents; titles go beside.
#[test]
fn helpers_are_sent_and_waited_for() {
    let helpers = Helpers {
        side: Some(SideRequest { when: SideWhen::Request, prompt: 600, output: 10, delay: 0.0 }),
        subagents: Some(SubAgents { share: 0.3, count: 3, steps: 2.0, prompt: 900, append: 100, output: 30 }),
        summary: 50,
    };
    let plain = run(&mut Sessions::new(sessions(3, Helpers::default()), 5), Replicas::default(), 120.0);
    let helped = run(&mut Sessions::new(sessions(3, helpers), 5), Replicas::default(), 120.0);
    assert!(helped.totals.finished > plain.totals.finished, "{:?} {:?}", helped.totals, plain.totals);
    assert!(helped.queues.inside.largest > 3, "sub-agents work at once");
    assert!(helped.queues.inside.largest <= 3 * helpers.most_at_once());
    // With clients between, helpers are their agent's: one organisation for each.
    let of_two = ClientSettings { organisations: 2, ..settings("openai-sdk") };
    let (_, seen) = served(Sessions::new(sessions(2, helpers), 5), of_two, service(Replicas::default()), 60.0);
    assert!(seen.fairness.unwrap() > 0.5);
}

fn tasks(success: f64, attempts: u32) -> TaskSettings {
    TaskSettings {
        agents: 4,
        prefix: Lengths::fixed(3000),
        common: 2000,
        append: Lengths { median: 200, spread: 1.0, longest: 3000 },
        output: Lengths { median: 40, spread: 1.0, longest: 400 },
        planning: 2.0,
        plan: 100,
        steps: 5.0,
        repeat: 0.2,
        check: 1.0,
        success,
        attempts,
        repair: 0.5,
        tool: 0.01,
        tool_ends: [0.005, 600.0],
        think: 1.0,
        longest: 30_000,
        tasks: Some(1500),
        day: DayCurve::default(),
    }
}

/// Attempts, calls and ends are as the probabilities say; the parts of a task's time add up to it.
#[test]
fn tasks_go_as_their_settings_say() {
    for (success, attempts) in [(1.0, 1), (0.5, 3), (0.3, 5)] {
        let settings = tasks(success, attempts);
        let outcome = run(&mut Tasks::new(settings, 3, Time::ZERO), Replicas::default(), 1e6);
        let found = outcome.tasks.unwrap();
        assert_eq!((found.ended(), found.at_work, found.without_answer), (1500, 0, 0));
        let share = found.finished as f64 / 1500.0;
        // Four standard deviations of 1,500 draws at most.
        assert!((share - settings.finished_share()).abs() < 0.052, "{share} {}", settings.finished_share());
        let tries = found.attempts.unwrap();
        assert!((tries / settings.mean_attempts() - 1.0).abs() < 0.08, "{tries} {}", settings.mean_attempts());
        // A step is repeated with 0.2: 1 / 0.8 calls; further attempts have half the steps, rounded up.
        let calls = found.calls.unwrap();
        let further = (tries - 1.0) * 0.5 * 5.0;
        let least = 2.0 + (5.0 + further) / 0.8;
        let most = 2.0 + (5.0 + further + (tries - 1.0) * 0.5) / 0.8;
        assert!(calls > 0.93 * least && calls < 1.07 * most, "{calls}: {least} to {most}");
        if attempts == 1 {
            let parts = found.shares.service + found.shares.tools + found.shares.checks;
            assert!((parts / found.time.unwrap().mean - 1.0).abs() < 1e-4, "{parts} {:?}", found.time);
        }
        assert!((found.shares.checks - tries).abs() < 1e-6);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever machines, balancers, outages, deadlines and drafts do, no request is lost, and nothing leaks.
    #[test]
    fn no_request_is_lost(
        count in 1u32..5,
        kind in prop::sample::select(vec![
            BalancerKind::LeastLoaded, BalancerKind::RoundRobin, BalancerKind::Sticky, BalancerKind::Prefix,
        ]),
        outages in prop::collection::vec((0u32..4, 0.0f64..20.0, 0.0f64..6.0), 0..6),
        deadline in prop::option::of(0.02f64..3.0),
        capacity in 12_000u64..60_000,
        grows: bool,
        drafts: bool,
        host in 0u64..64,
        profile in prop::sample::select(ClientProfile::NAMES.to_vec()),
        helped: bool,
    ) {
        let outages = outages.into_iter().filter(|(replica, _, _)| *replica < count);
        let outages = outages.map(|(replica, from, lasts)| Outage { replica, from, to: from + lasts }).collect();
        let mut service = service(behind(count, kind, outages));
        if grows {
            let growing: Box<dyn Admission> = Box::new(Growing);
            service.admission = growing;
        }
        service.speculation = drafts.then(|| Drafting { acceptance: vec![0.8, 0.5], streamed: true });
        service.prefix_cache = Some(HostMemory { blocks: host, block_time: Time(2_000_000_000) });
        let helpers = Helpers {
            side: Some(SideRequest { when: SideWhen::Session, prompt: 300, output: 10, delay: 0.1 }),
            subagents: Some(SubAgents { share: 0.2, count: 2, steps: 2.0, prompt: 900, append: 100, output: 30 }),
            summary: 50,
        };
        let load = Sessions::new(SessionSettings {
            requests: Some(150),
            ..sessions(5, if helped { helpers } else { Helpers::default() })
        }, 9);
        let settings = ClientSettings { deadline, patience: Some(100.0), ..settings(profile) };
        let mut clients = Clients::new(load, settings, Time::ZERO);
        // To the end: everybody is served, or has given up.
        let outcome = run_with(&mut clients, service, capacity, 1e6);
        let seen = clients.outcome(outcome.window_end);
        prop_assert_eq!(outcome.totals.inside, 0);
        prop_assert_eq!(outcome.kv.taken_at_end, outcome.kv.idle_at_end);
        let ended = seen.served + seen.abandoned;
        prop_assert!(ended >= 150, "{} of {:?}", ended, outcome.totals);
        prop_assert_eq!(seen.attempts, outcome.totals.arrived + seen.refused_away);
        prop_assert_eq!((seen.lost, seen.timed_out), (outcome.totals.aborted, outcome.totals.cancelled));
        prop_assert_eq!(seen.served, outcome.totals.finished);
    }
}
