//! Is every format read as it is published, found by its content, and what it is not said by name?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;

use std::io::Write;

use cases::CASES;
use wafersim_requests::reader::Start;
use wafersim_requests::{Columns, Format, History, LeftOut, Reader, RequestError, Settings, TimeUnit, TraceRequest};

const SECOND: u64 = 1_000_000_000_000;

fn read(text: &[u8], settings: &Settings) -> Result<(Vec<TraceRequest>, Reader), RequestError> {
    let mut reader = Reader::open(std::io::Cursor::new(text.to_vec()), "trace", settings)?;
    let (mut all, mut request) = (Vec::new(), TraceRequest::default());
    while reader.read(&mut request)? {
        all.push(request.clone());
    }
    Ok((all, reader))
}

fn of(format: Format) -> Settings {
    Settings { format, ..Settings::default() }
}

fn told(request: &TraceRequest) -> (i64, u32, u32, &str) {
    let ms = |time: u64| (time / (SECOND / 1000)) as i64;
    let start = match request.start {
        Start::At(at) => ms(at),
        Start::After(wait) => -ms(wait),
    };
    (start, request.prompt, request.output, &request.session)
}

#[test]
fn every_format_is_found_by_its_content_and_read() {
    for case in CASES {
        for settings in [Settings::default(), of(case.format)] {
            let (requests, reader) = read(case.text.as_bytes(), &settings).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), case.requests, "{}", case.name);
            assert_eq!((reader.seen().name.as_str(), reader.seen().format), (case.name, case.format));
            assert_eq!(reader.left_out().total(), case.left_out, "{}", case.name);
        }
    }
}

#[test]
fn packed_files_are_unpacked_and_a_mark_before_the_text_is_no_part_of_it() {
    let text = CASES[0].text.as_bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
    // Two frames, and one that is to be skipped between them.
    let half = text.len() / 2;
    let frame = |text: &[u8]| ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let frames = [frame(&text[..half]), skipped.to_vec(), frame(&text[half..])].concat();
    let marked = [b"\xef\xbb\xbf".as_slice(), text].concat();
    for (bytes, compression) in
        [(gzip.finish().unwrap(), Some("gzip")), (zstd, Some("zstd")), (frames, Some("zstd")), (marked, None)]
    {
        let (requests, reader) = read(&bytes, &Settings::default()).unwrap();
        assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), CASES[0].requests);
        assert_eq!(reader.seen().compression, compression);
    }
}

#[test]
fn packed_files_that_are_cut_off_are_refused_in_words() {
    let text = CASES[0].text.as_bytes();
    let zstd = ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
    let error = read(&zstd[..zstd.len() / 2], &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("zstd data is damaged or cut off") && !error.contains("Error"), "{error}");
}

#[test]
fn objects_may_stand_in_an_array_and_over_lines() {
    for case in CASES.iter().filter(|case| case.text.starts_with('{')) {
        let objects: Vec<serde_json::Value> =
            case.text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
        let array = serde_json::to_string(&objects).unwrap();
        let pretty: Vec<String> = objects.iter().map(|object| serde_json::to_string_pretty(object).unwrap()).collect();
        for text in [array, serde_json::to_string_pretty(&objects).unwrap(), pretty.join("\n")] {
            let (requests, _) = read(text.as_bytes(), &Settings::default()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), case.requests, "{text}");
        }
    }
}

#[test]
fn what_the_keys_do_not_tell_is_asked_for() {
    let three = "{\"timestamp\":50.0,\"input_length\":700,\"output_length\":10}\n{\"timestamp\":50.75,\"input_length\":900,\"output_length\":10}\n";
    let error = read(three.as_bytes(), &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("AIPerf and Mooncake mean milliseconds") && error.contains("load.time_unit"), "{error}");
    for (settings, picoseconds) in [
        (of(Format::Mooncake), SECOND * 75 / 100_000),
        (of(Format::AiPerf), SECOND * 75 / 100_000),
        (Settings { time_unit: Some(TimeUnit::S), ..Settings::default() }, SECOND * 75 / 100),
    ] {
        assert_eq!(read(three.as_bytes(), &settings).unwrap().0[1].start, Start::At(picoseconds));
    }
    let sixteen = "{\"timestamp\": 1, \"input_length\": 40, \"output_length\": 6, \"hash_ids\": [3, 4, 9]}\n";
    let error = read(sixteen.as_bytes(), &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("blocks of 16 tokens") && error.contains("load.block = 16"), "{error}");
    let known =
        Settings { block: Some(16), time_unit: Some(TimeUnit::S), format: Format::Mooncake, ..Settings::default() };
    assert_eq!(read(sixteen.as_bytes(), &known).unwrap().0[0].block, 16);
    let fraction = "{\"timestamp\": 1.5, \"input_length\": 40, \"output_length\": 6, \"hash_ids\": [3]}\n";
    assert!(read(fraction.as_bytes(), &Settings::default()).unwrap_err().to_string().contains("GuideLLM"));
}

#[test]
fn other_things_are_refused_by_name() {
    for (text, part) in [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        ("PK\x03\x04....", "zip archive"),
        ("PAR1....", "Parquet"),
        ("{\"id\": \"a\", \"block_size\": 64, \"requests\": []}", "Weka"),
        ("{\"trajectory\": []}", "SWE-agent"),
        ("{\"timestamp\": \"x\", \"type\": \"session_meta\", \"payload\": {}}", "Codex"),
        ("{\"request_id\": \"b\", \"wait_for\": [\"a\"], \"input_length\": 760, \"output_length\": 9}", "Dynamo"),
        ("{\"prompt\": \"two plus two\"}", "texts and no lengths"),
        ("{\"prompt_routed_experts\": [[[2]]]}", "routed experts"),
        ("{\"logical_count\": [[1]]}", "SGLang"),
        ("[[30, 10], [25, 25]]", "matrix"),
        ("layer,expert\n3,17\n", "llama.cpp"),
        ("{\"0\": {\"input_tokens\": \"{}\"}}", "ServeGen"),
        ("600,0.25,1.4,Gamma,0.5,8.0\n", "ServeGen"),
        ("{\"model_type\": \"x\", \"architectures\": []}", "config.json"),
        ("a,b\n1,2\n", "columns are 'a,b'"),
        ("{\"a\": 1}", "keys are 'a'"),
        ("", "is empty"),
        ("\n \n", "is empty"),
        (
            "[{\"id\": \"q\", \"conversations\": [{\"from\": \"human\", \"value\": \"two?\"}, {\"from\": \"gpt\", \"value\": \"two\"}]}]",
            "tokenizer",
        ),
    ] {
        let error = read(text.as_bytes(), &Settings::default()).unwrap_err().to_string();
        assert!(error.starts_with("trace: ") && error.contains(part) && error.contains("allowed: "), "{part}: {error}");
    }
    let error = read(CASES[3].text.as_bytes(), &of(Format::Azure)).unwrap_err().to_string();
    assert!(error.contains("which is BurstGPT with sessions (load.format = burstgpt)"), "{error}");
    assert!(error.contains("allowed: TIMESTAMP,ContextTokens,GeneratedTokens"), "{error}");
}

#[test]
fn texts_become_lengths_only_by_a_guess_that_is_asked_for() {
    let talk = r#"[{"id": "q_1", "conversations": [{"from": "system", "value": "12345678"}, {"from": "human", "value": "1234"}, {"from": "gpt", "value": "123"}, {"from": "human", "value": "12345"}, {"from": "gpt", "value": "12345678"}]},
        {"id": "q_2", "messages": [{"role": "user", "content": "1234"}]},
        {"id": "q_3", "messages": [{"role": "user", "content": [{"type": "text", "text": "1234"}]}, {"role": "assistant", "content": "1"}]}]"#;
    let settings = Settings {
        characters_per_token: Some(4.0),
        rate: Some(2.0),
        seed: 3,
        format: Format::ShareGpt,
        ..Settings::default()
    };
    let (requests, reader) = read(talk.as_bytes(), &settings).unwrap();
    let lengths: Vec<_> =
        requests.iter().map(|request| (request.prompt, request.output, request.session.as_str())).collect();
    assert_eq!(lengths, [(3, 1, "q_1"), (5, 2, "q_1"), (1, 1, "q_3")]);
    assert_eq!(requests[1].start, Start::After(0));
    assert_eq!(reader.left_out(), LeftOut { no_turns: 1, ..LeftOut::default() });
    let without_rate = Settings { rate: None, ..settings.clone() };
    assert!(read(talk.as_bytes(), &without_rate).unwrap_err().to_string().contains("load.rate"));
    let turns = r#"{"session_id": "c1", "turns": [{"text": "12345678", "timestamp": 400, "output_length": 3}, {"text": "1234", "delay": 800, "output_length": 2}]}"#;
    let (requests, _) =
        read(turns.as_bytes(), &Settings { rate: None, format: Format::Auto, ..settings.clone() }).unwrap();
    assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), [(0, 2, 3, "c1"), (-800, 6, 2, "c1")]);
    let single = "{\"text\": \"count to nine\", \"timestamp\": 400, \"output_length\": 16}\n";
    let (requests, _) = read(single.as_bytes(), &Settings { rate: None, format: Format::AiPerf, ..settings }).unwrap();
    assert_eq!((requests[0].prompt, requests[0].output), (4, 16));
}

#[test]
fn columns_units_origin_order_and_history_are_settings() {
    let name = |text: &str| Some(text.to_owned());
    let columns = Columns { arrival: name("when"), prompt: name("in"), output: name("out"), ..Columns::default() };
    let csv = "who,when,in,out\na,7000,10,1\nb,9500,20,2\n";
    let settings = Settings { columns: columns.clone(), time_unit: Some(TimeUnit::Us), ..Settings::default() };
    let (requests, _) = read(csv.as_bytes(), &settings).unwrap();
    assert_eq!(requests[1].start, Start::At(2_500_000_000));
    let json = "{\"when\": 7, \"in\": 10, \"out\": 1}\n{\"when\": 9, \"in\": 20, \"out\": 2}\n";
    let (requests, _) = read(json.as_bytes(), &Settings { columns, ..Settings::default() }).unwrap();
    assert_eq!(requests[1].start, Start::At(2 * SECOND));

    let origin = Settings { origin: name("2023-11-17 00:00:01"), ..Settings::default() };
    let (requests, reader) = read(CASES[0].text.as_bytes(), &origin).unwrap();
    assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), [(1000, 77, 140, "")]);
    assert_eq!((reader.left_out().before_origin, reader.seen().origin.as_deref()), (1, Some("2023-11-17T00:00:01Z")));

    let backwards = "arrival_s,prompt_tokens,output_tokens\n5,10,1\n3,20,2\n";
    assert!(read(backwards.as_bytes(), &Settings::default()).unwrap_err().to_string().contains("load.sort"));
    let (requests, _) = read(backwards.as_bytes(), &Settings { sort: true, ..Settings::default() }).unwrap();
    assert_eq!(requests.iter().map(told).collect::<Vec<_>>(), [(0, 20, 2, ""), (2000, 10, 1, "")]);

    let turns = "arrival_s,prompt_tokens,output_tokens,session\n5,10,1,a\n6,20,2,a\n7,5,5,b\n";
    let added = Settings { history: Some(History::Addition), ..Settings::default() };
    let (requests, _) = read(turns.as_bytes(), &added).unwrap();
    assert_eq!(requests.iter().map(|request| request.prompt).collect::<Vec<_>>(), [10, 31, 5]);
}

#[test]
fn lengths_without_times_come_at_a_rate() {
    let text = format!("num_prefill_tokens,num_decode_tokens,num_total_tokens\n{}", "10,5,15\n".repeat(4000));
    assert!(read(text.as_bytes(), &Settings::default()).unwrap_err().to_string().contains("load.rate"));
    let settings = Settings { rate: Some(8.0), seed: 1, ..Settings::default() };
    let (requests, _) = read(text.as_bytes(), &settings).unwrap();
    let span = requests.last().unwrap().start.picoseconds() as f64 / SECOND as f64;
    assert!((span / 500.0 - 1.0).abs() < 0.05, "{span}");
    let timed = read(CASES[0].text.as_bytes(), &settings).unwrap_err().to_string();
    assert!(timed.contains("its own times"), "{timed}");
}
