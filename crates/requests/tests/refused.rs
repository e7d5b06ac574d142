//! Is what is wrong with a trace refused, with its line or setting and what is allowed?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wafersim_requests::cut::{Cut, Cutter};
use wafersim_requests::reader::Start;
use wafersim_requests::{Columns, Reader, RequestError, Settings, TraceRequest, summarise};

fn read(text: &str, settings: &Settings) -> Result<Vec<TraceRequest>, RequestError> {
    let mut reader = Reader::open(std::io::Cursor::new(text.to_owned()), "trace", settings)?;
    let (mut all, mut request) = (Vec::new(), TraceRequest::default());
    while reader.read(&mut request)? {
        all.push(request.clone());
    }
    Ok(all)
}

fn check(text: &str, settings: &Settings, parts: &[&str]) {
    let error = read(text, settings).unwrap_err().to_string();
    for part in parts.iter().chain(&["trace: ", "allowed: "]) {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}

const CSV: &str = "arrival_s,prompt_tokens,output_tokens,who\n0,10,5,a\n1,20,5,a\n";
const JSON: &str = "{\"timestamp\": 1, \"input_length\": 9, \"output_length\": 2, \"delay\": 0}\n";

#[test]
fn columns_that_are_not_there_or_mean_another_thing() {
    let name = |text: &str| Some(text.to_owned());
    let of = |columns: Columns| Settings { columns, ..Settings::default() };
    let session = of(Columns { session: name("nope"), ..Columns::default() });
    let parts = ["load.columns.session", "'nope'", "arrival_s, prompt_tokens, output_tokens, who"];
    check(CSV, &session, &parts);
    check(JSON, &session, &["load.columns.session", "'nope'", "timestamp, input_length, output_length, delay"]);
    let delay = of(Columns { delay: name("nope"), ..Columns::default() });
    check(JSON, &delay, &["load.columns.delay", "'nope'", "no object"]);
    check(CSV, &of(Columns { hashes: name("hash"), ..Columns::default() }), &["load.columns.hashes", "'hash'"]);
    check(
        CSV,
        &of(Columns { prompt: name("tokens"), ..Columns::default() }),
        &["load.columns.prompt", "prompt_tokens"],
    );
    check(JSON, &of(Columns { prompt: name("tokens"), ..Columns::default() }), &["'tokens'", "input_length"]);
    let twice = of(Columns { session: name("prompt_tokens"), ..Columns::default() });
    check(CSV, &twice, &["load.columns.session", "the column of the tokens of prompts"]);
    let twice = of(Columns { prompt: name("who"), output: name("who"), ..Columns::default() });
    check(CSV, &twice, &["load.columns.output", "the column of the tokens of prompts"]);
    let right = of(Columns { session: name("who"), ..Columns::default() });
    assert_eq!(read(CSV, &right).unwrap()[1].session, "a");
}

#[test]
fn arrays_that_are_cut_off_or_have_gaps() {
    let of = |text: &str| text.replace('O', JSON.trim_end());
    let usual = Settings { time_unit: Some(wafersim_requests::TimeUnit::S), ..Settings::default() };
    for (text, line, part) in [
        ("[O,\n", 2, "no ']'"),
        ("[O,\nO", 2, "no ']'"),
        ("[O,,O]", 1, "no object before it"),
        ("[O,\n]", 2, "no object after it"),
        ("[O\nO]", 2, "no comma"),
        ("[O,[O]]", 1, "'['"),
        ("\nO\n,\nO", 3, "','"),
        ("[O]\n]", 2, "outside of an array"),
        ("[O, {\"timestamp\": 3", 1, "truncated"),
    ] {
        check(&of(text), &usual, &[&format!("line {line}: "), part]);
    }
    for text in ["[O]", "[O,O]\n", "O\n\nO", " [ O ,\nO ] [O]"] {
        read(&of(text), &usual).unwrap();
    }
}

#[test]
fn what_stands_twice_and_what_cannot_be_kept() {
    let usual = Settings::default();
    let csv = "arrival_s,prompt_tokens,output_tokens,prompt_tokens\n0,10,5,20\n";
    check(csv, &usual, &["line 1: ", "two columns 'prompt_tokens'"]);
    let json = "{\"timestamp\": 1, \"input_length\": 9, \"input_length\": 8, \"output_length\": 2, \"delay\": 0}\n";
    check(json, &usual, &["line 1: ", "two keys 'input_length'"]);
    let quote = "arrival_s,prompt_tokens,output_tokens,session\n0,10,5,\"a\n1,20,5,b\n";
    check(quote, &usual, &["line 2: ", "a quote is opened and never closed"]);
    let kept = "arrival_s,prompt_tokens,output_tokens,session,kept_tokens\n0,10,5,a,0\n1,20,5,a,21\n";
    check(kept, &usual, &["line 3: ", "21 tokens", "at most the 20", "kept_tokens"]);
}

#[test]
fn messages_are_the_prompt_and_the_answer_has_its_length() {
    let rows = "{\"timestamp\": 0, \"messages\": [{\"role\": \"system\", \"content\": \"12345678\"}, \
                {\"role\": \"user\", \"content\": \"1234\"}, {\"role\": \"assistant\", \"content\": \"12\"}, \
                {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"12\"}]}], \"output_length\": 7}\n\
                {\"timestamp\": 500, \"messages\": [{\"role\": \"user\", \"content\": \"12345678\"}], \
                \"output_length\": 3}\n";
    let settings = Settings { characters_per_token: Some(4.0), ..Settings::default() };
    let requests = read(rows, &settings).unwrap();
    let lengths: Vec<_> = requests.iter().map(|request| (request.prompt, request.output)).collect();
    assert_eq!(lengths, [(4, 7), (2, 3)]);
    assert_eq!(requests[1].start, Start::At(500_000_000_000));
    check(rows, &Settings::default(), &["tokenizer", "load.characters_per_token"]);
}

#[test]
fn the_busiest_bin_is_never_below_the_mean() {
    for times in ["0 1.5", "0 0.2 0.4 1.01", "0 0.5 1 2.9", "5 9", "0 300 300.5 301"] {
        let rows: String = times.split(' ').map(|time| format!("{time},10,5\n")).collect();
        let text = format!("arrival_s,prompt_tokens,output_tokens\n{rows}");
        let reader = Reader::open(std::io::Cursor::new(text), "trace", &Settings::default()).unwrap();
        let rates = summarise(reader, |_| {}).unwrap().rates.unwrap();
        assert!(rates.busiest >= rates.requests_per_second * (1.0 - 1e-12), "{times}: {rates:?}");
    }
}

#[test]
fn what_is_cut_of_a_session() {
    let text = "arrival_s,prompt_tokens,output_tokens,session,delay_s\n0,1,5,a,\n,2,5,a,1\n2,3,5,b,\n5,4,5,b,\n";
    let cut = |cut: Cut| {
        let reader = Reader::open(text.as_bytes(), "trace", &Settings::default()).unwrap();
        let (mut cutter, mut request, mut prompts) = (Cutter::new(reader, cut), TraceRequest::default(), Vec::new());
        while cutter.read(&mut request).unwrap() {
            prompts.push(request.prompt);
        }
        prompts
    };
    let second = 1_000_000_000_000;
    // A turn that waits goes with its session's first, one with a time of its own by that time.
    assert_eq!(cut(Cut { to: Some(second), ..Cut::default() }), [1, 2]);
    assert_eq!(cut(Cut { to: Some(3 * second), ..Cut::default() }), [1, 2, 3]);
    assert_eq!(cut(Cut { from: 4 * second, ..Cut::default() }), [4]);
    assert_eq!(cut(Cut { requests: Some(1), ..Cut::default() }), [1]);
}

/// What programs of other countries and spreadsheets make of a trace.
#[test]
fn other_separators_capitals_remarks_and_rows_without_a_length() {
    let lengths = |text: &str| {
        let read = read(text, &Settings::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
        read.iter().map(|request| (request.start.picoseconds(), request.prompt, request.output)).collect::<Vec<_>>()
    };
    let both = vec![(0, 480, 10), (1_500_000_000_000, 318, 8)];
    for text in [
        "arrival_s;prompt_tokens;output_tokens\n0,25;480;10\n1,75;318;8\n",
        "arrival_s\tprompt_tokens\toutput_tokens\n0.25\t480\t10\n1.75\t318\t8\n",
        "arrival_s|prompt_tokens|output_tokens\n0.25|480|10\n1.75|318|8\n",
        "# made by hand\n\nTIMESTAMP;ContextTokens;GeneratedTokens\n2023-11-16 18:17:03;480;10\n2023-11-16 18:17:04.5;318;8\n",
        "timestamp,contexttokens,generatedtokens\n2023-11-16 18:17:03 UTC,480,10\n2023-11-16 18:17:04.5 UTC,318,8\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,480,10\n2023-11-16 18:17:04,NaN,8\n\
         2023-11-16 18:17:04,7,\n2023-11-16 18:17:04.5,318,8\n",
        "{\"timestamp\": 0, \"input_length\": 480, \"output_length\": 10, \"hash_ids\": [1]}\n\
         {\"timestamp\": 9, \"input_length\": 480, \"output_length\": null, \"hash_ids\": [1]}\n\
         {\"timestamp\": 1500, \"input_length\": 318, \"output_length\": 8, \"hash_ids\": [1]}\n",
    ] {
        assert_eq!(lengths(text), both, "{text}");
    }
    // A number with a comma between commas may mean two things.
    check("arrival_s,prompt_tokens,output_tokens\n\"0,5\",480,10\n", &Settings::default(), &["arrival_s", "0,5"]);
    check(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,,10\n",
        &Settings::default(),
        &["no requests", "1 no length of prompt or answer"],
    );
}

#[test]
fn other_files_are_named() {
    for (text, what) in [
        ("<!DOCTYPE html><html></html>", "a web page"),
        ("BZh91AY", "a bzip2 archive"),
        ("SQLite format 3\0", "an SQLite database"),
        ("a,b\0c\n1,2,3\n", "no text"),
    ] {
        check(text, &Settings::default(), &[what]);
    }
}
