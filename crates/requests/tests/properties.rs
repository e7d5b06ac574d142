//! Do requests survive being written and read? Does no file, however broken, end in a panic?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;

use cases::CASES;
use proptest::prelude::*;
use wafersim_requests::cut::{Cut, Cutter};
use wafersim_requests::write::{Has, Writer};
use wafersim_requests::{Format, Reader, Settings, Start, TraceRequest, summarise};

fn read(text: Vec<u8>, settings: &Settings) -> Vec<TraceRequest> {
    let mut reader =
        Reader::open(std::io::Cursor::new(text), "trace", settings).unwrap_or_else(|error| panic!("{error}"));
    let (mut all, mut request) = (Vec::new(), TraceRequest::default());
    while reader.read(&mut request).unwrap_or_else(|error| panic!("{error}")) {
        all.push(TraceRequest { line: 0, ..request.clone() });
    }
    all
}

fn written(requests: &[TraceRequest], format: Format) -> Vec<u8> {
    let mut has = Has::default();
    requests.iter().for_each(|request| has.add(request));
    let mut text = Vec::new();
    let mut writer = Writer::new(&mut text, format, has).unwrap();
    requests.iter().for_each(|request| writer.write(request).unwrap());
    writer.finish().unwrap();
    text
}

#[test]
fn every_format_becomes_plain_and_stays_the_same() {
    for case in CASES {
        let requests = read(case.text.as_bytes().to_vec(), &Settings::default());
        let plain = written(&requests, Format::Plain);
        assert_eq!(read(plain, &Settings::default()), requests, "{}", case.name);
    }
}

#[test]
fn a_cut_takes_sessions_as_a_whole() {
    let mut text = "arrival_s,prompt_tokens,output_tokens,session,delay_s\n".to_owned();
    for session in 0..500 {
        text.push_str(&format!("{session},100,10,s{session},\n,120,10,s{session},0.5\n"));
    }
    let cut = |cut: Cut| {
        let reader = Reader::open(std::io::Cursor::new(text.clone()), "trace", &Settings::default()).unwrap();
        let (mut cutter, mut all, mut request) = (Cutter::new(reader, cut), Vec::new(), TraceRequest::default());
        while cutter.read(&mut request).unwrap() {
            all.push(request.clone());
        }
        all
    };
    let second = 1_000_000_000_000;
    let part = cut(Cut { from: 100 * second, to: Some(110 * second), ..Cut::default() });
    assert_eq!((part.len(), part[0].start, &*part[0].session), (20, Start::At(0), "s100"));
    assert_eq!(cut(Cut { requests: Some(7), ..Cut::default() }).len(), 7);
    let sample = cut(Cut { sample: 0.2, ..Cut::default() });
    assert!((140..260).contains(&sample.len()) && sample.len() % 2 == 0, "{}", sample.len());
    assert!(sample.chunks(2).all(|turns| turns[0].session == turns[1].session));
    assert_eq!(sample, cut(Cut { sample: 0.2, ..Cut::default() }));
    assert_ne!(sample, cut(Cut { sample: 0.2, seed: 2, ..Cut::default() }));
    assert_eq!(cut(Cut { sample: 0.0, ..Cut::default() }), []);
}

#[test]
fn a_summary_says_what_is_there() {
    let bailian = CASES.iter().find(|case| case.format == Format::Bailian).unwrap();
    let open = |text: &'static str| Reader::open(text.as_bytes(), "trace", &Settings::default()).unwrap();
    let said = summarise(open(bailian.text), |_| {}).unwrap();
    // The second prompt begins with three blocks of 16 of the first; the third with five of the second.
    assert_eq!(said.shared.unwrap().tokens, 3 * 16 + 5 * 16);
    assert_eq!((said.requests, said.prompt_tokens, said.span_s), (3, 230, 17.25));
    let sessions = said.sessions.unwrap();
    assert_eq!((sessions.sessions, sessions.requests, sessions.most, sessions.waiting), (2, 3, 2, 0));
    let burst = CASES.iter().find(|case| case.name == "BurstGPT with sessions").unwrap();
    let said = summarise(open(burst.text), |_| {}).unwrap();
    assert_eq!((said.left_out.empty_answer, said.rates.unwrap().requests_per_second), (1, 2.0 / 9.5));
    // The session has brought 310 + 95 tokens.
    assert_eq!((said.shared.unwrap().tokens, said.prompt.max, said.output.min), (405, 600.0, 5.0));
}

/// What is drawn for a request: step of time in ps, wait, prompt, output, session, kept, block.
type Drawn = (u64, Option<u64>, u32, u32, Option<u8>, Option<u32>, Option<usize>);

fn requests_of(drawn: Vec<Drawn>) -> Vec<TraceRequest> {
    let names = ["0", "a b", "c,d", "e\"f\"", "5f0c2d1e-0000-4000-8000-00000000000a", "ü"];
    let (mut at, mut seen) = (0, [false; 6]);
    let request = |(index, drawn): (usize, Drawn)| {
        let (step, wait, prompt, output, session, kept, block) = drawn;
        let number = session.map(|session| usize::from(session) % names.len());
        let known = number.is_some_and(|number| std::mem::replace(&mut seen[number], true));
        at += if index == 0 { 0 } else { step };
        let start = match wait.filter(|_| known) {
            Some(wait) => Start::After(wait),
            None => Start::At(at),
        };
        let block = block.map_or(0, |block| [16, 128, 384, 512][block % 4]);
        let hashes =
            (0..if block > 0 { prompt.div_ceil(block) } else { 0 }).map(|part| u64::from(part) << (index % 40));
        TraceRequest {
            line: 0,
            start,
            prompt,
            output,
            session: number.map_or_else(String::new, |number| names[number].into()),
            kept: kept.map(|kept| kept.min(prompt)),
            block,
            hashes: hashes.collect(),
        }
    };
    drawn.into_iter().enumerate().map(request).collect()
}

proptest! {
    #[test]
    fn what_is_written_plain_is_read_the_same(
        drawn in prop::collection::vec(
            (
                0u64..1 << 52,
                prop::option::of(0u64..1 << 50),
                1u32..5000,
                1u32..5000,
                prop::option::of(any::<u8>()),
                prop::option::of(0u32..5000),
                prop::option::of(any::<usize>()),
            ),
            1..40,
        ),
    ) {
        let requests = requests_of(drawn);
        prop_assert_eq!(&read(written(&requests, Format::Plain), &Settings::default()), &requests);
        let has_all = requests.iter().all(|request| request.kept.is_none() && (request.block == 0 || request.block == 512));
        if has_all {
            let settings = Settings { format: Format::Mooncake, ..Settings::default() };
            prop_assert_eq!(&read(written(&requests, Format::Mooncake), &settings), &requests);
        }
    }

    /// Whatever happens to a file's bytes, by whatever settings it is read: refused with what is allowed, or read.
    #[test]
    fn mutated_files_are_refused_or_read(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), ".{0,6}"), 0..5),
        letters in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        digits in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 0..8),
        (sort, asked, rate) in (any::<bool>(), any::<bool>(), prop::option::of(0.1f64..10.0)),
    ) {
        let case = &CASES[which.index(CASES.len())];
        let mut bytes = case.text.as_bytes().to_vec();
        for (at, byte) in digits.into_iter().chain(letters) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (from, length, with) in cuts {
            let from = from.index(bytes.len().max(1)).min(bytes.len());
            let to = (from + length.index(19)).min(bytes.len());
            bytes.splice(from..to, with.bytes());
        }
        let settings = Settings {
            format: if asked { case.format } else { Format::Auto },
            sort,
            rate,
            characters_per_token: rate,
            ..Settings::default()
        };
        let reader = Reader::open(std::io::Cursor::new(bytes), "trace", &settings);
        if let Err(error) = reader.and_then(|reader| summarise(reader, |_| {})) {
            let text = error.to_string();
            prop_assert!(text.starts_with("trace: ") && text.contains("allowed: "), "{}", text);
            prop_assert!(text.len() < 1200 && !text.contains(|letter: char| letter.is_control()), "{:?}", text);
        }
    }
}
