//! What must hold of clients, quotas and requests that are taken back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wafersim_stream::admission::Whole;
use wafersim_stream::balancer::Replicas;
use wafersim_stream::clients::{ClientOutcome, ClientProfile, ClientSettings, Clients, Delivery};
use wafersim_stream::costs::GivenCosts;
use wafersim_stream::engine::live::FromOutside;
use wafersim_stream::engine::{Engine, HostMemory, LONGEST_RUN, Length, Service};
use wafersim_stream::kv::Ledger;
use wafersim_stream::load::{
    ClosedLoop, ClosedSettings, DayCurve, Helpers, Lengths, LoadSource, OpenLoop, OpenSettings, SessionSettings,
    Sessions,
};
use wafersim_stream::observer::{Happening, Nobody};
use wafersim_stream::policy::Chunked;
use wafersim_stream::request::{Content, Request};
use wafersim_stream::service::ServicePlan;
use wafersim_stream::{ServiceOutcome, Time};

fn service() -> Service<'static> {
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
        replicas: Replicas::default(),
    }
}

/// Eight stages of 10 us.
fn machine() -> GivenCosts {
    GivenCosts::even(8, 10_000_000, 64)
}

fn run(load: &mut dyn LoadSource, capacity: u64, seconds: f64) -> ServiceOutcome {
    let length = Length { warm_up: Time::ZERO, window: Time::from_seconds(seconds), requests: None, seed: 1 };
    Engine::new(machine(), Ledger::of_tokens(capacity), service(), load, &mut Nobody, length).run(|_| {})
}

fn settings(plan: &str, profile: &str) -> ClientSettings {
    ClientSettings {
        plan: ServicePlan::parse(plan, "test").unwrap(),
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

fn closed(users: u32, prompt: u32, output: u32, think: f64) -> ClosedLoop {
    let (prompt, output) = (Lengths::fixed(prompt), Lengths::fixed(output));
    ClosedLoop::new(ClosedSettings { users, think, prompt, output, requests: None, day: DayCurve::default() }, 7)
}

fn served(load: impl LoadSource, settings: ClientSettings, seconds: f64) -> (ServiceOutcome, ClientOutcome) {
    let mut clients = Clients::new(load, settings, Time::ZERO);
    let outcome = run(&mut clients, 1 << 30, seconds);
    let seen = clients.outcome(outcome.window_end);
    let totals = &outcome.totals;
    assert_eq!(totals.arrived, totals.refused + totals.finished + totals.cancelled + totals.inside);
    assert!(outcome.little.requests.abs() < 1e-9 && outcome.little.passes.abs() < 1e-9);
    assert_eq!(seen.attempts, totals.arrived + seen.refused_quota + seen.refused_capacity);
    if let Some(whole) = &seen.whole {
        let sum = seen.shares.sum();
        assert!((sum / whole.mean - 1.0).abs() < 1e-8, "{sum} of {}", whole.mean);
    }
    (outcome, seen)
}

/// What travels in large chunks, or in one piece, comes no later to its end; what needs a connection of its own does,
/// by its round trips.
#[test]
fn delivery_changes_the_first_token_and_connections_everything() {
    // One user, so that nothing on the machine depends on when it asks.
    let seen = |delivery| {
        let settings = ClientSettings { delivery, ..settings("", "none") };
        let (_, seen) = served(closed(1, 64, 33, 0.0), settings, 20.0);
        (seen.first_token.unwrap().mean, seen.whole.unwrap().mean, seen.shares)
    };
    let usual = Delivery::default();
    let (first, whole, shares) = seen(usual);
    let close = |one: f64, other: f64| (one - other).abs() < 2e-6;
    for (chunk, part) in [(2, 1.0 / 32.0), (17, 0.5), (33, 1.0), (1000, 1.0)] {
        let (late, same, _) = seen(Delivery { chunk, ..usual });
        assert!(close(late - first, part * shares.decode), "{chunk}: {late} after {first}");
        assert!(close(same, whole), "{chunk}: {same}, {whole}");
    }
    let (last, same, _) = seen(Delivery { streams: false, ..usual });
    assert!(close(last, whole) && close(same, whole), "{last}, {same}, {whole}");
    let (_, far, more) = seen(Delivery { handshakes: 2.0, ..usual });
    assert!(close(far - whole, 0.1) && close(more.network - shares.network, 0.1), "{far}, {whole}");
}

/// Clients that nobody refuses, and that are next door, change nothing for the machine.
#[test]
fn a_service_without_limits_is_the_machine() {
    let next_door = ClientSettings { network: 0.0, host: 0.0, ..settings("", "openai-sdk") };
    let (with, seen) = served(closed(5, 2000, 60, 0.3), next_door, 60.0);
    let without = run(&mut closed(5, 2000, 60, 0.3), 1 << 30, 60.0);
    assert_eq!((seen.served, seen.refused_per_hour), (without.totals.finished, 0.0));
    assert_eq!(with, without);
    assert_eq!(seen.whole.unwrap().p50.to_bits(), without.whole_request.unwrap().p50.to_bits());
}

/// Prompts of 96k tokens under the coding plan: 1.7 requests a minute, however fast the machine is.
#[test]
fn the_coding_plan_is_bound_by_its_quota() {
    let coding = ClientSettings { plan: ServicePlan::built_in("coding").unwrap(), ..settings("", "continue") };
    let (_, seen) = served(closed(1, 96_300, 213, 0.0), coding, 3600.0);
    // A full bucket at first, 165,000 tokens a minute, 96,513 for each; the last reserve of 4,096 is not refilled.
    let most = 165_000.0 * 61.0 / 96_513.0;
    assert!(seen.served as f64 <= most && seen.served as f64 > 0.95 * most, "{} of {most}", seen.served);
    assert!(seen.shares.quota > 0.95 * seen.shares.sum(), "{:?}", seen.shares);
    assert!(seen.seen_speed.unwrap().p50 < 10.0);
}

/// Where reservations do not come back, who asks for 64k tokens and gets 200 has a bucket for one or two answers a
/// minute; who asks for 200 is never refused.
#[test]
fn what_is_asked_for_is_reserved() {
    let asks = |most: u32, refund: bool| {
        let plan = format!("tokens = {{ minute = 100000 }}\nlargest_reserve = 65536\nrefund = {refund}");
        let profile = ClientProfile { max_tokens: Some(most), ..ClientProfile::preset("continue").unwrap() };
        served(closed(4, 500, 200, 3.0), ClientSettings { profile, ..settings(&plan, "continue") }, 600.0).1
    };
    let (modest, greedy, returned) = (asks(200, false), asks(64_000, false), asks(64_000, true));
    assert_eq!(modest.refused_quota, 0);
    let most = 100_000 * 11 / 64_500;
    assert!(greedy.served <= most && greedy.served + 2 >= most, "{} of {most}", greedy.served);
    assert!(greedy.reserved_tokens >= 64_500 * greedy.served);
    // What comes back at once costs only those who come while another's is held: some, with four users.
    let share = returned.served as f64 / modest.served as f64;
    assert!(share > 0.8 && share < 1.0 && returned.refused_quota > 0, "{share}");
}

/// opencode takes a refused quota of tokens for a context that is too long: it asks for a summary at once, stops where
/// that is refused too, and comes again when a person asks; a refused quota of requests it waits for.
#[test]
fn a_refused_quota_of_tokens_is_taken_for_a_context_that_is_too_long() {
    let plan = "tokens = { minute = 20000 }\nrefund = true";
    let by = |profile: ClientProfile, plan: &str| {
        served(closed(3, 3000, 200, 0.5), ClientSettings { profile, ..settings(plan, "opencode") }, 3600.0)
    };
    let opencode = ClientProfile { max_tokens: Some(2000), ..ClientProfile::preset("opencode").unwrap() };
    let (outcome, seen) = by(opencode.clone(), plan);
    assert!(seen.stopped > 20 && seen.served > 100, "{} {}", seen.stopped, seen.served);
    // Two refusals each time that it stops, one for each summary that was let in; three users may be between the two.
    let told = 2 * seen.stopped + seen.summaries;
    assert!(seen.refused_quota >= told && seen.refused_quota <= told + 3, "{} of {told}", seen.refused_quota);
    assert_eq!(seen.attempts, outcome.totals.arrived + seen.refused_quota);
    assert_eq!(seen.served + seen.summaries, outcome.totals.finished);
    assert!((seen.shares.sum() / seen.whole.unwrap().mean - 1.0).abs() < 1e-6, "the parts add up");
    // Who waits as long as it is told is refused once for a request, more or less, and gets more done.
    let (_, waits) = by(ClientProfile { overflow: None, ..opencode.clone() }, plan);
    assert_eq!((waits.stopped, waits.summaries), (0, 0));
    assert!(waits.served >= seen.served, "{} {}", waits.served, seen.served);
    let (_, requests) = by(opencode, "requests = { minute = 10 }");
    assert_eq!((requests.stopped, requests.summaries), (0, 0));
    assert!(requests.refused_quota > 0);
}

/// A summary that is let in makes the session shorter: it begins anew, as one that has become too long.
#[test]
fn a_summary_that_is_let_in_makes_the_session_shorter() {
    let sessions = || {
        let lengths = Lengths::fixed;
        let agents = SessionSettings {
            agents: 4,
            prefix: lengths(2000),
            common: 256,
            append: lengths(800),
            output: lengths(100),
            steps: 8.8,
            tool: 1.0,
            tool_shortest: 0.005,
            tool_longest: 600.0,
            think: 2.0,
            longest: 60_000,
            requests: None,
            day: DayCurve::default(),
            helpers: Helpers::default(),
        };
        Sessions::new(agents, 5)
    };
    // One reservation at a time: it is back when the summary comes, a round trip later.
    let plan = "tokens = { minute = 1000000 }\nlargest_reserve = 800000\nrefund = true";
    let opencode = ClientProfile { max_tokens: Some(800_000), ..ClientProfile::preset("opencode").unwrap() };
    let by = |profile: ClientProfile| {
        let settings = ClientSettings { profile, ..settings(plan, "none") };
        served(sessions(), settings, 1800.0).1
    };
    let (turns, waits) = (by(opencode.clone()), by(ClientProfile { overflow: None, ..opencode }));
    let mean = |seen: &ClientOutcome| seen.prompt_tokens as f64 / seen.served as f64;
    assert!(turns.summaries > 0, "{} stopped, none summarised", turns.stopped);
    assert!(mean(&turns) < mean(&waits), "{} {}", mean(&turns), mean(&waits));
    assert_eq!((waits.summaries, waits.stopped), (0, 0));
}

#[test]
fn a_queue_that_is_full_refuses() {
    let open = || {
        OpenLoop::new(
            OpenSettings {
                rate: 800.0,
                variation: 1.0,
                prompt: Lengths::fixed(3000),
                output: Lengths::fixed(100),
                requests: None,
                day: DayCurve::default(),
            },
            3,
        )
    };
    let mut clients = Clients::new(open(), settings("queue = 2", "none"), Time::ZERO);
    // Room for two at a time.
    let outcome = run(&mut clients, 6500, 30.0);
    let seen = clients.outcome(outcome.window_end);
    assert!(outcome.queues.room.largest <= 2);
    assert!(seen.refused_capacity > 100 && seen.abandoned == seen.refused_capacity);
    assert_eq!(seen.attempts, outcome.totals.arrived + seen.refused_capacity);
    assert!(seen.shares.quota.to_bits() == 0 && seen.shares.capacity.to_bits() == 0, "they do not try again");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever clients do, no more tokens are let in than a full bucket and its refill.
    #[test]
    fn never_more_than_the_quota(
        users in 1u32..12,
        prompt in 10u32..3000,
        output in 1u32..300,
        quota in 2000u64..60_000,
        profile in prop::sample::select(ClientProfile::NAMES.to_vec()),
        organisations in 1u32..4,
    ) {
        let plan = format!("tokens = {{ minute = {quota} }}\nrequests = {{ minute = 30 }}");
        let settings = ClientSettings { organisations, ..settings(&plan, profile) };
        let (outcome, seen) = served(closed(users, prompt, output, 0.1), settings, 300.0);
        let organisations = u64::from(organisations);
        // What comes back when an answer ends may be used again, so used tokens count, and those that are reserved now.
        let used = seen.prompt_tokens + seen.output_tokens + seen.summary_tokens;
        prop_assert!(used <= organisations * quota * 6, "{used}");
        prop_assert!(outcome.totals.arrived <= organisations * 30 * 6);
        prop_assert!(seen.fairness.is_none_or(|index| index > 0.0 && index <= 1.0 + 1e-12));
    }

    /// Requests that are taken back at any moment leave nothing behind, and others are served as ever.
    #[test]
    fn what_is_taken_back_leaves_no_trace(
        requests in prop::collection::vec((0u64..3000, 1u32..2000, 1u32..80, prop::option::of(0u64..4000)), 1..40),
        capacity in 2200u64..9000,
    ) {
        let length = Length { warm_up: Time::ZERO, window: LONGEST_RUN, requests: None, seed: 1 };
        let (mut load, mut events) = (FromOutside, Vec::new());
        let mut watch = |at: Time, request: u64, happening| events.push((at, request, happening));
        let ledger = Ledger::of_tokens(capacity);
        let mut engine = Engine::new(machine(), ledger, service(), &mut load, &mut watch, length);
        let mut planned: Vec<(Time, u32, u32, Option<Time>)> = Vec::new();
        for (gap, prompt, output, cancel) in requests {
            let at = planned.last().map_or(Time::ZERO, |last| last.0) + Time(gap * 1_000_000);
            planned.push((at, prompt, output, cancel.map(|after| at + Time(after * 1_000_000))));
        }
        let mut cancels: Vec<(Time, u64)> = Vec::new();
        let mut number = 0;
        for (at, prompt, output, cancel) in planned {
            cancels.sort_unstable();
            while cancels.first().is_some_and(|cancel| cancel.0 <= at) {
                let (when, which) = cancels.remove(0);
                engine.advance(when);
                engine.cancel(which);
            }
            engine.advance(at);
            let content = Content::Session { session: u64::from(prompt % 3), common: 256 };
            prop_assert_eq!(engine.submit(Request { arrival: at, user: 0, prompt, output, content }), number);
            cancels.extend(cancel.map(|when| (when, number)));
            number += 1;
        }
        cancels.sort_unstable();
        for (when, which) in cancels {
            engine.advance(when);
            engine.cancel(which);
        }
        while let Some(next) = engine.next_at().filter(|next| *next < LONGEST_RUN) {
            engine.advance(next);
        }
        let levels = engine.levels();
        prop_assert_eq!((levels.in_service, levels.room, levels.prefill, levels.entry, levels.passes), (0, 0, 0, 0, 0));
        prop_assert_eq!(engine.used(), 0);
        drop(engine);
        let ends = |wanted: Happening| events.iter().filter(|(_, _, happening)| *happening == wanted).count() as u64;
        prop_assert_eq!(ends(Happening::Finished) + ends(Happening::Cancelled), number);
    }
}
