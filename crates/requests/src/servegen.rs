//! ServeGen's chunks: for each client a rate in windows of time, a law of gaps, and distributions of lengths. Requests
//! are drawn from them, as ServeGen itself does: gaps by the law, stretched so that their number is the rate times the
//! window (Xiang et al., "ServeGen", 2025; `servegen/construct.py`). That a window's number is rounded up with the
//! chance of its fraction is our choice.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma, Weibull};
use serde_json::Value;

use crate::error::{RequestError, shown};
use crate::number::from_float;
use crate::row::Row;

/// Texts of a client's two files, and the name of the first in messages.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Name of its `chunk-i-trace.csv`.
    pub file: &'a str,
    /// That file.
    pub trace: &'a str,
    /// Its `chunk-i-dataset.json`.
    pub dataset: &'a str,
}

/// Seconds of a window whose end is not told by another.
const WINDOW: f64 = 600.0;
/// Most requests of a window: beyond it a chunk is a mistake.
const MOST: f64 = 1e7;

#[derive(Debug, Clone, Copy)]
enum Law {
    Gamma(Gamma<f64>),
    Weibull(Weibull<f64>),
}

#[derive(Debug, Clone, Copy)]
struct Window {
    start: f64,
    seconds: f64,
    rate: f64,
    law: Law,
}

/// Tokens, with the chance of at most so many.
type Lengths = Vec<(u64, f64)>;

#[derive(Debug)]
struct Client {
    windows: std::vec::IntoIter<Window>,
    /// By the second from which they count: prompts and answers.
    lengths: BTreeMap<u64, [Lengths; 2]>,
    /// Times of the present window, the last first.
    times: Vec<f64>,
    random: ChaCha8Rng,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Model {
    clients: Vec<Client>,
}

impl Model {
    pub(crate) fn new(chunks: &[Chunk<'_>], file: &str, seed: u64) -> Result<Self, RequestError> {
        if chunks.is_empty() {
            return Err(RequestError::File {
                file: file.into(),
                problem: "has no chunk of ServeGen".into(),
                allowed: "a folder with chunk-i-trace.csv and chunk-i-dataset.json, or one such pair".into(),
            });
        }
        let clients = chunks.iter().enumerate().map(|(index, chunk)| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(index as u64 + 1);
            let lengths = lengths(chunk)?;
            let mut client = Client { windows: windows(chunk)?.into_iter(), lengths, times: Vec::new(), random };
            client.fill();
            Ok(client)
        });
        Ok(Self { clients: clients.collect::<Result<_, RequestError>>()? })
    }

    /// The next request of any client; of several at one time, the first client's.
    pub(crate) fn next(&mut self, row: &mut Row) -> bool {
        let coming = |client: &Client| client.times.last().copied().unwrap_or(f64::INFINITY);
        let Some(first) =
            self.clients.iter_mut().reduce(|best, client| if coming(client) < coming(best) { client } else { best })
        else {
            return false;
        };
        let Some(at) = first.times.pop() else { return false };
        row.clear(0);
        row.arrival = from_float(at, 12);
        let chances = [first.random.random::<f64>(), first.random.random::<f64>()];
        let lengths = first.lengths.range(..=at as u64).next_back().or_else(|| first.lengths.iter().next());
        if let Some((_, lengths)) = lengths {
            let [prompt, output] = [0, 1].map(|which| draw(&lengths[which], chances[which]));
            (row.prompt, row.output) = (Some(prompt), Some(output));
        }
        if first.times.is_empty() {
            first.fill();
        }
        true
    }
}

fn draw(lengths: &Lengths, chance: f64) -> u64 {
    let most = lengths.last().map_or(1.0, |(_, sum)| *sum);
    let found = lengths.iter().find(|(_, sum)| chance * most < *sum);
    found.or(lengths.last()).map_or(0, |(tokens, _)| *tokens)
}

impl Client {
    /// Draws the times of the next window that has any.
    fn fill(&mut self) {
        while self.times.is_empty() {
            let Some(window) = self.windows.next() else { return };
            let expected = window.rate * window.seconds;
            let count = (expected + self.random.random::<f64>()).floor() as usize;
            let mut sum = 0.0;
            let mut times: Vec<f64> = (0..=count)
                .map(|_| {
                    sum += match window.law {
                        Law::Gamma(law) => law.sample(&mut self.random),
                        Law::Weibull(law) => law.sample(&mut self.random),
                    };
                    sum
                })
                .collect();
            // The last gap reaches to the end of the window.
            times.truncate(count);
            let stretch = if sum > 0.0 { window.seconds / sum } else { 0.0 };
            self.times = times.into_iter().rev().map(|time| window.start + time * stretch).collect();
        }
    }
}

fn windows(chunk: &Chunk<'_>) -> Result<Vec<Window>, RequestError> {
    let wrong = |line: usize, problem: String, allowed: &str| RequestError::Line {
        file: chunk.file.into(),
        line: line as u64 + 1,
        problem,
        allowed: allowed.into(),
    };
    let lines = chunk.trace.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut rows: Vec<(usize, [f64; 5], &str)> = Vec::new();
    for (index, line) in lines {
        let fields: Vec<&str> = line.trim_end().split(',').map(str::trim).collect();
        let [start, rate, variation, law, shape, scale] = fields[..] else {
            return Err(wrong(index, format!("{} fields: '{}'", fields.len(), shown(line.as_bytes())), FIELDS));
        };
        let mut numbers = [0.0; 5];
        for (number, text) in numbers.iter_mut().zip([start, rate, variation, shape, scale]) {
            let read = if text.is_empty() { Some(0.0) } else { text.parse().ok() };
            *number = read
                .filter(|value: &f64| (0.0..=1e9).contains(value))
                .ok_or_else(|| wrong(index, format!("'{}' among its fields", shown(text.as_bytes())), FIELDS))?;
        }
        if rows.last().is_some_and(|(_, last, _)| last[0] >= numbers[0]) {
            return Err(wrong(index, format!("window at {start} s after a later one"), "windows in order of time"));
        }
        rows.push((index, numbers, law));
    }
    let starts: Vec<f64> = rows.iter().map(|(_, numbers, _)| numbers[0]).collect();
    let mut windows = Vec::new();
    for (at, (index, [start, rate, _, shape, scale], law)) in rows.into_iter().enumerate() {
        if law.is_empty() || rate <= 0.0 {
            continue;
        }
        let gap = |from: usize| Some(starts.get(from + 1)? - starts.get(from)?);
        let seconds = gap(at).or_else(|| gap(at.checked_sub(1)?)).unwrap_or(WINDOW).min(WINDOW);
        let law = match law {
            "Gamma" => Gamma::new(shape, scale).ok().map(Law::Gamma),
            "Weibull" => Weibull::new(scale, shape).ok().map(Law::Weibull),
            _ => None,
        };
        let law =
            law.ok_or_else(|| wrong(index, "its law of gaps".into(), "Gamma or Weibull, shape and scale above 0"))?;
        if rate * seconds > MOST {
            return Err(wrong(index, format!("{rate} requests/s"), "at most 10000000 requests in a window"));
        }
        windows.push(Window { start, seconds, rate, law });
    }
    Ok(windows)
}

const FIELDS: &str = "6 fields: start of a window in s, requests/s, coefficient of variation, Gamma or Weibull or \
                      nothing, shape, scale";
/// Parts of a prompt; a data set has the first, or those of the others that it has.
const PROMPTS: [&str; 5] = ["input_tokens", "text_tokens", "image_tokens", "audio_tokens", "video_tokens"];

/// Lengths by window. Idle windows have none.
fn lengths(chunk: &Chunk<'_>) -> Result<BTreeMap<u64, [Lengths; 2]>, RequestError> {
    let refuse = |problem: String| RequestError::File {
        file: chunk.file.into(),
        problem: format!("the dataset beside it: {problem}"),
        allowed: "{\"0\": {\"input_tokens\": \"{100: 0.75, 900: 0.25}\", \"output_tokens\": \"{20: 1.0}\"}}".into(),
    };
    let all: Value = serde_json::from_str(chunk.dataset).map_err(|error| refuse(error.to_string()))?;
    let all = all.as_object().ok_or_else(|| refuse("is no object".into()))?;
    let mut lengths = BTreeMap::new();
    for (start, fields) in all {
        let key = start.parse::<f64>().ok().filter(|start| *start >= 0.0);
        let key = key.ok_or_else(|| refuse(format!("'{}' is no second", shown(start.as_bytes()))))?;
        let of = |name: &str| -> Result<Option<Lengths>, RequestError> {
            let Some(text) = fields.get(name).and_then(Value::as_str) else { return Ok(None) };
            bins(text).map(Some).ok_or_else(|| refuse(format!("{name} is '{}'", shown(text.as_bytes()))))
        };
        let output = of("output_tokens")?.ok_or_else(|| refuse("has no output_tokens".into()))?;
        let mut prompt: Option<Lengths> = None;
        for name in PROMPTS {
            // Parts are independent in the file; the sum of their laws would need a product, so means are added.
            prompt = match (prompt, of(name)?) {
                (Some(sum), Some(part)) => Some(shifted(sum, mean(&part))),
                (sum, part) => sum.or(part),
            };
        }
        let prompt = prompt.ok_or_else(|| refuse("has no input_tokens".into()))?;
        if !prompt.is_empty() && !output.is_empty() {
            lengths.insert(key as u64, [prompt, output]);
        }
    }
    if lengths.is_empty() {
        return Err(refuse("has no lengths in any window".into()));
    }
    Ok(lengths)
}

/// `{100: 0.75, 900: 0.25}`.
fn bins(text: &str) -> Option<Lengths> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut bins, mut sum) = (Lengths::new(), 0.0);
    for bin in inner.split(',').map(str::trim).filter(|bin| !bin.is_empty()) {
        let (tokens, chance) = bin.split_once(':')?;
        let tokens: f64 = tokens.trim().parse().ok()?;
        let chance: f64 = chance.trim().parse().ok()?;
        if !((0.0..1e9).contains(&tokens) && (0.0..=1e9).contains(&chance)) {
            return None;
        }
        sum += chance;
        bins.push((tokens as u64, sum));
    }
    Some(bins)
}

fn mean(bins: &Lengths) -> f64 {
    let mut before = 0.0;
    let sum: f64 = bins
        .iter()
        .map(|(tokens, sum)| {
            let chance = sum - before;
            before = *sum;
            *tokens as f64 * chance
        })
        .sum();
    if before > 0.0 { sum / before } else { 0.0 }
}

fn shifted(bins: Lengths, by: f64) -> Lengths {
    bins.into_iter().map(|(tokens, sum)| (tokens + by.round() as u64, sum)).collect()
}
