//! Do traces read as they are published, and is what is wrong said with its line?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use proptest::prelude::*;
use wafersim_stream::StreamError;
use wafersim_stream::admission::Growing;
use wafersim_stream::costs::GivenCosts;
use wafersim_stream::engine::{Engine, HostMemory, LONGEST_RUN, Length, Service};
use wafersim_stream::kv::Ledger;
use wafersim_stream::load::Replay;
use wafersim_stream::observer::Nobody;
use wafersim_stream::policy::FirstCome;
use wafersim_stream::request::{Content, Request};
use wafersim_stream::time::Time;
use wafersim_stream::trace::{Format, read};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109\r\n";
const MOONCAKE: &str = "{\"timestamp\": 0, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [0, 1]}\n{\"timestamp\": 3000, \"input_length\": 1030, \"output_length\": 7, \"hash_ids\": [0, 2, 3]}\n";
const PLAIN: &str = "arrival_s,prompt_tokens,output_tokens,session\n0,100,10,1\n0.5,200,20,2\n1.5,130,5,1\n";

fn requests(text: &str, format: Format) -> Result<Vec<Request>, StreamError> {
    read(text, "trace", format, 1 << 18, None)
}

#[test]
fn published_forms_are_read() {
    let azure = requests(AZURE, Format::Azure).unwrap();
    assert_eq!((azure[1].arrival, azure[1].prompt, azure[1].output), (Time::from_seconds(4.314_579), 396, 109));
    let mooncake = requests(MOONCAKE, Format::Mooncake).unwrap();
    assert_eq!((mooncake[1].arrival, mooncake[1].prompt), (Time::from_seconds(3.0), 1030));
    assert_eq!(mooncake[1].content, Content::Hashed { size: 512, hashes: [0, 2, 3].into() });
    let plain = requests(PLAIN, Format::Plain).unwrap();
    assert_eq!(plain[2].content, Content::Session { session: 1, common: 0 });
    assert_eq!(read(PLAIN, "trace", Format::Plain, 1000, Some(2)).unwrap().len(), 2);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let changed = |text: &str, from: &str, to: &str| text.replacen(from, to, 1);
    let cases = [
        (Format::Azure, String::new(), 1, "columns are ''"),
        (Format::Azure, "TIMESTAMP,ContextTokens,GeneratedTokens\n".into(), 1, "no requests"),
        (Format::Azure, changed(AZURE, ",396,", ",0,"), 3, "prompt of 0 tokens"),
        (Format::Azure, changed(AZURE, ",109", ",0"), 3, "answer of 0 tokens"),
        (Format::Azure, changed(AZURE, "18:15:50", "18:15:40"), 3, "time runs backwards"),
        (Format::Azure, changed(AZURE, ",396,109", ",396"), 3, "truncated"),
        (Format::Azure, changed(AZURE, "2023-11-16 18:15:50", "yesterday"), 3, "'TIMESTAMP' is 'yesterday"),
        (Format::Azure, changed(AZURE, "396", "-396"), 3, "'ContextTokens' is '-396'"),
        (Format::Azure, changed(AZURE, "396", "396000"), 3, "396000 tokens of prompt"),
        (Format::Mooncake, MOONCAKE[..MOONCAKE.len() - 12].into(), 2, "truncated"),
        (Format::Mooncake, changed(MOONCAKE, "[0, 2, 3]", "[0, 2]"), 2, "2 hashes for a prompt of 1030 tokens"),
        (Format::Mooncake, changed(MOONCAKE, "3000", "-1"), 2, "backwards"),
        (Format::Mooncake, changed(MOONCAKE, "\"timestamp\": 0", "\"timestamp\": -1"), 1, "arrives at -0.001"),
        (Format::Mooncake, changed(MOONCAKE, "3000", "1e300"), 2, "arrives at"),
        (Format::Mooncake, changed(MOONCAKE, "\"output_length\": 7", "\"output\": 7"), 2, "output"),
        (Format::Mooncake, changed(MOONCAKE, "\"output_length\": 7", "\"output_length\": 7.5"), 2, "7.5"),
        (Format::Plain, changed(PLAIN, "0.5", "NaN"), 3, "arrives at NaN"),
        (Format::Plain, changed(PLAIN, "0.5", "2"), 4, "backwards"),
        (Format::Plain, changed(PLAIN, "200,20", "200,99999999999999999999"), 3, "output_tokens"),
        (Format::Plain, changed(PLAIN, "arrival_s", "arrival"), 1, "columns"),
        (Format::Plain, changed(PLAIN, ",20,2", ",20,x"), 3, "'session' is 'x'"),
    ];
    for (format, text, line, part) in cases {
        let error = requests(&text, format).unwrap_err().to_string();
        assert!(error.starts_with(&format!("trace: line {line}: ")) && error.contains(part), "{part}: {error}");
        assert!(error.contains("allowed: "), "{error}");
    }
}

fn serve(requests: Vec<Request>) -> wafersim_stream::ServiceOutcome {
    let service = Service {
        policy: Box::new(FirstCome),
        admission: Box::new(Growing),
        micro_batch: 4,
        chunk: 512,
        prefill: true,
        prefix_cache: Some(HostMemory { blocks: 100, block_time: Time(1_000_000) }),
        speculation: None,
        longest: 1 << 18,
        experts: None,
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
        ("mooncake/conversation_trace.jsonl", Format::Mooncake, 12_031, Some(4_122_048)),
        ("mooncake/synthetic_trace.jsonl", Format::Mooncake, 3993, None),
        ("azure_llm_2023/AzureLLMInferenceTrace_code.csv", Format::Azure, 8819, None),
        ("azure_llm_2023/AzureLLMInferenceTrace_conv.csv", Format::Azure, 19_366, None),
    ] {
        let Some(text) = published(name) else { continue };
        let requests = read(&text, name, format, 1 << 18, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(requests.len(), count, "{name}");
        let asked: u64 = requests.iter().map(|request| u64::from(request.output)).sum();
        assert!(output.is_none_or(|output| output == asked), "{name}");
        let outcome = serve(requests.into_iter().take(1000).collect());
        assert_eq!(outcome.totals.finished + outcome.totals.refused, 1000, "{name}");
    }
}

proptest! {
    /// Whatever happens to a trace's bytes: it is refused with a line, or served to the end. No panic, no endless run.
    #[test]
    fn mutated_traces_are_refused_or_served(
        which in 0usize..3,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), ".{0,6}"), 0..5),
        digits in prop::collection::vec((any::<prop::sample::Index>(), prop::char::range('0', '9')), 0..8),
    ) {
        let (text, format) =
            [(AZURE, Format::Azure), (MOONCAKE, Format::Mooncake), (PLAIN, Format::Plain)][which];
        let mut letters: Vec<char> = text.chars().collect();
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
        match requests(&text, format) {
            Err(StreamError::Trace { line, problem, .. }) => prop_assert!(line >= 1 && !problem.is_empty()),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(requests) => {
                let count = requests.len() as u64;
                let totals = serve(requests).totals;
                prop_assert_eq!(totals.finished + totals.refused, count);
            }
        }
    }
}
