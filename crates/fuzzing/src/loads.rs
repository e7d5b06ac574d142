//! Loads and clients: stream scenarios, plans of services, traces of requests, what comes over HTTP.

use std::io::Cursor;

use wafersim_requests::reader::Chunk;
use wafersim_requests::{Format, Reader, Settings, summarise};
use wafersim_serve::answers::Answers;
use wafersim_serve::api::{self, Endpoint};
use wafersim_serve::keys::Keys;
use wafersim_stream::scenario::StreamFile;
use wafersim_stream::service::ServicePlan;

use crate::inputs::{FILE, naming_file, text, two};
use crate::target::Outcome;

/// Formats that one file can have.
const FORMATS: [Format; 12] = [
    Format::Auto,
    Format::Plain,
    Format::Azure,
    Format::Mooncake,
    Format::BurstGpt,
    Format::Bailian,
    Format::TraceLab,
    Format::LlmServingSim,
    Format::Vidur,
    Format::Splitwise,
    Format::AiPerf,
    Format::ShareGpt,
];

pub fn stream_scenario(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let file = match StreamFile::parse(text, FILE) {
        Ok(file) => file,
        Err(error) => return naming_file(Outcome::Refused(error.to_string())),
    };
    // The same settings are those of `simctl trace`.
    let _reading = file.load.reading(FILE, 1);
    naming_file(Outcome::of(file.check(FILE)))
}

pub fn service_plan(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(ServicePlan::parse(text, FILE)))
}

/// By content, and under the name of every format, sorted and as it stands.
pub fn request_trace(bytes: &[u8]) -> Outcome {
    let read = |format: Format, sort: bool| {
        let settings = Settings {
            format,
            sort,
            rate: sort.then_some(2.0),
            characters_per_token: sort.then_some(4.0),
            ..Settings::default()
        };
        let reader = Reader::open(Cursor::new(bytes.to_vec()), FILE, &settings);
        naming_file(Outcome::of(reader.and_then(|reader| summarise(reader, |_| {}))))
    };
    let by_content = read(Format::Auto, false);
    for format in FORMATS {
        let _refused_or_read = read(format, true);
    }
    by_content
}

/// The two files of a client, whose requests are drawn.
pub fn servegen(bytes: &[u8]) -> Outcome {
    /// Requests that are drawn: a model may have any number.
    const DRAWN: usize = 1000;
    let (trace, dataset) = two(bytes);
    let (trace, dataset) = match (text(trace), text(dataset)) {
        (Ok(trace), Ok(dataset)) => (trace, dataset),
        (Err(refused), _) | (_, Err(refused)) => return refused,
    };
    let chunks = [Chunk { file: FILE, trace, dataset }];
    let drawn = Reader::servegen(&chunks, FILE, &Settings::default()).and_then(|mut reader| {
        let mut request = wafersim_requests::TraceRequest::default();
        for _ in 0..DRAWN {
            if !reader.read(&mut request)? {
                break;
            }
        }
        Ok(())
    });
    naming_file(Outcome::of(drawn))
}

/// The body of a request, and the answer to it.
pub fn chat_request(bytes: &[u8]) -> Outcome {
    let answers = Answers::canned(16);
    let mut outcome = Outcome::Read;
    for (endpoint, strict) in [(Endpoint::Text, false), (Endpoint::Chat, true), (Endpoint::Chat, false)] {
        outcome = match api::read(endpoint, bytes, strict) {
            Ok(asked) => {
                let reply = answers.answer(&asked, 64, 7);
                let _token = reply.token(0);
                Outcome::Read
            }
            Err(error) => Outcome::Refused(format!("{error:?}")),
        };
    }
    outcome
}

pub fn answer_script(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(Answers::scripted(16, text, FILE)))
}

pub fn keys(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    match Keys::parse(text) {
        Ok(keys) => {
            assert!(keys.organisation(Some(b"Bearer nobody-has-this-key")).is_none());
            Outcome::Read
        }
        Err((line, problem, allowed)) => Outcome::Refused(format!("{FILE}:{line}: {problem}; allowed: {allowed}")),
    }
}
