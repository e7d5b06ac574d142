//! Are traces replayed as they say: at their times, turns after their answers, with what prompts share?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use wafersim_requests::Settings;
use wafersim_stream::admission::Growing;
use wafersim_stream::balancer::Replicas;
use wafersim_stream::costs::GivenCosts;
use wafersim_stream::engine::{Engine, HostMemory, LONGEST_RUN, Length, Service};
use wafersim_stream::kv::Ledger;
use wafersim_stream::load::{LoadSource, Replay};
use wafersim_stream::observer::Nobody;
use wafersim_stream::policy::FirstCome;
use wafersim_stream::request::{BLOCK, Content};
use wafersim_stream::time::Time;
use wafersim_stream::trace::Trace;

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n";
const MOONCAKE: &str = "{\"timestamp\": 0, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [0, 1]}\n{\"timestamp\": 3000, \"input_length\": 1030, \"output_length\": 7, \"hash_ids\": [0, 2, 3]}\n";
const PLAIN: &str = "arrival_s,prompt_tokens,output_tokens,session,delay_s\n0,100,10,a,\n0.5,200,20,b,\n,130,5,a,1.5\n";

fn trace(text: &str) -> Arc<Trace> {
    Arc::new(Trace::of_text(text, "trace", &Settings::default()).unwrap())
}

#[test]
fn requests_come_at_their_times_and_turns_after_their_answers() {
    let azure = trace(AZURE).timed(1).unwrap();
    assert_eq!((azure.arrival, azure.prompt, azure.output), (Time::from_seconds(4.314_579), 396, 109));
    let mooncake = trace(MOONCAKE).timed(1).unwrap();
    assert_eq!((mooncake.arrival, mooncake.prompt), (Time::from_seconds(3.0), 1030));
    assert_eq!(mooncake.content, Content::Hashed { size: 512, hashes: [0, 2, 3].into() });

    let mut replay = Replay::new(trace(PLAIN), 2.0);
    let (first, second) = (replay.next().unwrap(), replay.next().unwrap());
    assert_eq!((first.arrival, second.arrival), (Time::ZERO, Time::from_seconds(0.25)));
    assert!(replay.next().is_none(), "the third waits for the first");
    assert!(replay.after(second.user, Time::from_seconds(1.0)).is_none());
    let turn = replay.after(first.user, Time::from_seconds(9.0)).unwrap();
    assert_eq!((turn.arrival, turn.prompt, turn.content), (Time::from_seconds(9.75), 130, first.content));
    assert!(replay.after(turn.user, Time::from_seconds(10.0)).is_none());
}

/// Blocks that two prompts have in common from the left.
fn common(one: &Content, other: &Content) -> usize {
    (0..64).take_while(|index| one.block(*index).is_some() && one.block(*index) == other.block(*index)).count()
}

#[test]
fn a_turn_shares_what_it_keeps_and_no_more() {
    let block = u64::from(BLOCK);
    let rows = [(0, 0, 10), (0, 10, 6), (1, 10, 5), (0, 4, 20), (0, 9, 30)];
    let mut text = "session_id,round_idx,arrival_time,prefix_len,input_len,output_len,tool_wait_after_ms\n".to_owned();
    for (index, (session, kept, new)) in rows.iter().enumerate() {
        text.push_str(&format!("{session},{index},{session},{},{},{},5\n", kept * block, new * block, block));
    }
    let trace = trace(&text);
    let first = trace.timed(0).unwrap();
    let second = trace.after(first.user as usize).unwrap();
    let third = trace.after(second.user as usize).unwrap();
    let fourth = trace.after(third.user as usize).unwrap();
    // 11 blocks were there, of which 10 are kept; then 4 (a compaction), then 9.
    assert_eq!([&second, &third, &fourth].map(|turn| common(&first.content, &turn.content)), [10, 4, 4]);
    assert_eq!([common(&second.content, &third.content), common(&third.content, &fourth.content)], [4, 9]);
    // The other session begins with tokens that were there before it: all sessions begin with them.
    assert_eq!(common(&trace.timed(1).unwrap().content, &first.content), 0);
    assert!(first.content.knows_answer() && fourth.content.knows_answer());
}

#[test]
fn small_blocks_are_shared_where_they_fill_one_of_the_caches() {
    let hashed = |hashes: std::ops::Range<u64>| Content::Hashed { size: 16, hashes: hashes.collect() };
    assert_eq!(common(&hashed(0..32), &hashed(0..40)), 4);
    let other: Vec<u64> = (0..23).chain([99]).chain(24..32).collect();
    assert_eq!(common(&hashed(0..32), &Content::Hashed { size: 16, hashes: other.into() }), 2);
    assert_eq!(hashed(0..7).block(0), None);
}

fn serve(requests: Arc<Trace>) -> wafersim_stream::ServiceOutcome {
    let service = Service {
        policy: Box::new(FirstCome),
        admission: Box::new(Growing),
        micro_batch: 4,
        chunk: 512,
        prefill: true,
        prefix_cache: Some(HostMemory { blocks: 100, block_time: Time(1_000_000) }),
        cache_life: None,
        elsewhere: None,
        speculation: None,
        longest: 1 << 18,
        experts: None,
        replicas: Replicas::default(),
    };
    let length = Length { warm_up: Time::ZERO, window: LONGEST_RUN, requests: None, seed: 1 };
    let mut load = Replay::new(requests, 1.0);
    let costs = GivenCosts::even(10, 20_000_000, 8);
    Engine::new(costs, Ledger::of_tokens(1 << 20), service, &mut load, &mut Nobody, length).run(|_| {})
}

/// A published trace (sources.md#azure-and-mooncake-traces), which is not part of the repository.
fn published(name: &str) -> Option<String> {
    let given = std::env::var_os("WAFERSIM_TRACES").map(PathBuf::from);
    let text = given.and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
    if text.is_none() {
        eprintln!("skipped: no {name} (set WAFERSIM_TRACES to the folder of traces)");
    }
    text
}

#[test]
fn the_published_traces_are_read_whole_and_served() {
    for (name, format, count, output) in [
        ("mooncake/conversation_trace.jsonl", "mooncake", 12_031, Some(4_122_048)),
        ("mooncake/synthetic_trace.jsonl", "mooncake", 3993, None),
        ("azure_llm_2023/AzureLLMInferenceTrace_code.csv", "azure", 8819, None),
        ("azure_llm_2023/AzureLLMInferenceTrace_conv.csv", "azure", 19_366, None),
        ("tracelab_examples/multi_session_large.csv", "tracelab", 303, None),
    ] {
        let Some(text) = published(name) else { continue };
        let trace = Trace::of_text(&text, name, &Settings::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((trace.len(), trace.about().seen.format.name()), (count, format), "{name}");
        let asked: u64 = trace.requests().map(|request| u64::from(request.output)).sum();
        assert!(output.is_none_or(|output| output == asked), "{name}");
        let outcome = serve(Arc::new(trace));
        assert_eq!(outcome.totals.finished + outcome.totals.refused, count as u64, "{name}");
    }
}

proptest! {
    /// Whatever happens to a trace's bytes: it is refused, or served to the end. No panic, no endless run.
    #[test]
    fn mutated_traces_are_refused_or_served(
        which in 0usize..3,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), ".{0,6}"), 0..5),
        digits in prop::collection::vec((any::<prop::sample::Index>(), prop::char::range('0', '9')), 0..8),
    ) {
        let mut letters: Vec<char> = [AZURE, MOONCAKE, PLAIN][which].chars().collect();
        for (at, digit) in digits {
            let at = at.index(letters.len());
            letters[at] = digit;
        }
        for (from, length, with) in cuts {
            if letters.is_empty() {
                break;
            }
            let from = from.index(letters.len());
            let to = (from + length.index(9)).min(letters.len());
            letters.splice(from..to, with.chars());
        }
        let text: String = letters.into_iter().collect();
        match Trace::of_text(&text, "trace", &Settings::default()) {
            Err(error) => prop_assert!(error.to_string().contains("allowed: "), "{}", error),
            Ok(trace) => {
                let count = trace.len() as u64;
                // Refused turns are followed by nothing where the run's longest request is exceeded.
                let totals = serve(Arc::new(trace)).totals;
                prop_assert_eq!(totals.finished + totals.refused, count);
            }
        }
    }
}
