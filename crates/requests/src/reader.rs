//! From rows to requests: times from the first request on, turns of sessions in their order, what has no length left
//! out and counted.

mod collect;
mod rows;

use std::collections::VecDeque;
use std::io::Read;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::csv::Csv;
use crate::detect::{Found, detect, is_enough};
use crate::error::RequestError;
use crate::format::{Format, Kind, Order, Role};
use crate::input::Input;
use crate::json::Json;
use crate::number::{plain, written};
use crate::row::{Row, Scale, span_unit};
pub use crate::servegen::Chunk;
use crate::servegen::Model;
use crate::settings::{Settings, TimeUnit};

/// The last moment at which a request may come: 10^7 s, 116 days, in picoseconds.
const LATEST: i128 = 10_000_000 * SECOND;
const SECOND: i128 = 1_000_000_000_000;
/// Most requests that are put in order in memory: about 2 GB.
const MOST_COLLECTED: usize = 10_000_000;
/// Most tokens of a prompt or an answer.
const MOST_TOKENS: u64 = 1 << 30;
/// Tokens of blocks whose hashes can be used, besides their multiples: powers of two up to the cache's own block, 128.
const BLOCKS: &str = "a power of two from 1 to 128, or a multiple of 128";

/// When a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// So many picoseconds after the first request.
    At(u64),
    /// So many picoseconds after the end of the answer before it in its session.
    After(u64),
}

impl Default for Start {
    fn default() -> Self {
        Self::At(0)
    }
}

impl Start {
    /// The time, whatever it counts from.
    pub const fn picoseconds(self) -> u64 {
        match self {
            Self::At(time) | Self::After(time) => time,
        }
    }
}

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceRequest {
    /// Its line in the file, from 1; 0 where it was drawn.
    pub line: u64,
    /// When it comes.
    pub start: Start,
    /// Tokens of the prompt, at least 1.
    pub prompt: u32,
    /// Tokens of the answer, at least 1.
    pub output: u32,
    /// Name of its session; empty where it has none.
    pub session: String,
    /// Leading tokens of the prompt that are those of the session so far (of a session's first request: of all
    /// sessions); nothing is all that fits.
    pub kept: Option<u32>,
    /// Tokens of a hashed block; 0 where nothing is known of the content.
    pub block: u32,
    /// Hashes of the prompt's blocks, each for its block and all before it.
    pub hashes: Vec<u64>,
}

/// What was found out about a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Seen {
    /// The name for `load.format`.
    pub format: Format,
    /// Which of the kinds that have this name.
    pub name: String,
    /// Whether the content said it, and no setting.
    pub by_content: bool,
    /// `gzip` or `zstd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<&'static str>,
    /// Unit of times in the file.
    pub time_unit: TimeUnit,
    /// Tokens of a hashed block, once a request with hashes has been read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// The time that counts as 0, as the file has it, once a request has been read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Rows that gave no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// Answers of 0 tokens: failed.
    pub empty_answer: u64,
    /// Prompts of 0 tokens.
    pub empty_prompt: u64,
    /// Rows that say no length of their prompt or answer: nothing, null or NaN.
    #[serde(skip_serializing_if = "is_zero")]
    pub no_length: u64,
    /// Calls of no session, in a format of sessions.
    pub no_session: u64,
    /// Conversations without a question and an answer.
    pub no_turns: u64,
    /// Before `load.origin`.
    pub before_origin: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl LeftOut {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.empty_answer + self.empty_prompt + self.no_length + self.no_session + self.no_turns + self.before_origin
    }

    /// How many, and why: only what is there.
    pub fn reasons(&self) -> Vec<(u64, &'static str)> {
        let all = [
            (self.empty_answer, "answer of 0 tokens"),
            (self.empty_prompt, "prompt of 0 tokens"),
            (self.no_length, "no length of prompt or answer"),
            (self.no_session, "no session"),
            (self.no_turns, "no question with an answer"),
            (self.before_origin, "before load.origin"),
        ];
        all.into_iter().filter(|(count, _)| *count > 0).collect()
    }
}

enum Source {
    Csv(Csv),
    Json(Json),
    Model(Model),
}

/// What is known of a session so far.
#[derive(Debug, Default)]
struct Session {
    /// Tokens of all prompts and answers, where they count on top of each other.
    tokens: u64,
}

/// Reads the requests of a trace, one by one.
pub struct Reader {
    file: String,
    source: Source,
    settings: Settings,
    seen: Seen,
    left_out: LeftOut,
    order: Order,
    block: u32,
    floors: bool,
    has_delays: bool,
    row: Row,
    /// Requests that come before the next row.
    ready: VecDeque<TraceRequest>,
    is_collected: bool,
    origin: Option<i128>,
    last: u64,
    sessions: FxHashMap<Box<str>, Session>,
    /// Bailian: the root of each row's conversation.
    roots: FxHashMap<i64, i64>,
    gaps: ChaCha8Rng,
    drawn: i128,
    count: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("file", &self.file).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Reader {
    /// Finds out what a file is, and begins to read it. `file` is its name in messages.
    ///
    /// # Errors
    /// Where it is no trace, or one of another format than was asked for.
    pub fn open(input: impl Read + Send + 'static, file: &str, settings: &Settings) -> Result<Self, RequestError> {
        check(file, settings)?;
        let input = Input::open(input, file, is_enough)?;
        let compression = input.compression;
        let found = detect(&input.head, file, settings)?;
        let Found { preset, columns, unit, block, is_lines } = found;
        let scale = Scale::new(&preset, unit);
        let mut has_delays = columns.iter().any(|(role, _)| *role == Role::Delay);
        let source = match preset.kind {
            Kind::Csv => {
                let meaning = |name: &str| columns.iter().find(|(_, known)| known == name).map(|(role, _)| *role);
                let csv = Csv::open(input.into_reader(), file, scale, meaning)?;
                for (role, other, name) in
                    [(Role::Prompt, Role::Appended, "prompt"), (Role::Output, Role::Output, "output")]
                {
                    if !csv.has(role) && !csv.has(other) {
                        return Err(RequestError::File {
                            file: file.into(),
                            problem: format!("has no column for the tokens of the {name}"),
                            allowed: format!("load.columns.{name} = NAME"),
                        });
                    }
                }
                has_delays = csv.has(Role::Delay);
                Source::Csv(csv)
            }
            Kind::Json => {
                let mut json = Json::open(input.into_reader(), is_lines, scale, columns);
                json.expect(settings);
                Source::Json(json)
            }
            Kind::ServeGen => {
                return Err(RequestError::File {
                    file: file.into(),
                    problem: "is a chunk of ServeGen: times of a client without lengths".into(),
                    allowed: "chunk-i-trace.csv with its chunk-i-dataset.json beside it, or the folder of both".into(),
                });
            }
        };
        let seen = Seen {
            format: preset.formats.first().copied().unwrap_or_default(),
            name: preset.name.into(),
            by_content: settings.format == Format::Auto,
            compression,
            time_unit: unit,
            block: None,
            origin: None,
        };
        Ok(Self {
            order: preset.order,
            block,
            floors: preset.floors,
            has_delays,
            ..Self::new(file, source, settings, seen)
        })
    }

    /// Draws the requests of a ServeGen model: the sum of its clients.
    ///
    /// # Errors
    /// Where a chunk is wrong.
    pub fn servegen(chunks: &[Chunk<'_>], file: &str, settings: &Settings) -> Result<Self, RequestError> {
        check(file, settings)?;
        let refused = [
            ("load.columns", !settings.columns.is_empty()),
            ("load.time_unit", settings.time_unit.is_some()),
            ("load.block", settings.block.is_some()),
            ("load.characters_per_token", settings.characters_per_token.is_some()),
        ];
        if let Some((field, _)) = refused.into_iter().find(|(_, is_given)| *is_given) {
            return Err(RequestError::Setting {
                file: file.into(),
                field,
                problem: "says nothing of ServeGen's chunks".into(),
                allowed: "to leave it out".into(),
            });
        }
        let model = Model::new(chunks, file, settings.seed)?;
        let seen = Seen {
            format: Format::ServeGen,
            name: format!("ServeGen, {} clients, drawn with seed {}", chunks.len(), settings.seed),
            by_content: settings.format == Format::Auto,
            compression: None,
            time_unit: TimeUnit::S,
            block: None,
            origin: None,
        };
        Ok(Self::new(file, Source::Model(model), settings, seen))
    }

    fn new(file: &str, source: Source, settings: &Settings, seen: Seen) -> Self {
        Self {
            file: file.into(),
            source,
            settings: settings.clone(),
            seen,
            left_out: LeftOut::default(),
            order: Order::Time,
            block: 0,
            floors: false,
            has_delays: false,
            row: Row::default(),
            ready: VecDeque::new(),
            is_collected: false,
            origin: None,
            last: 0,
            sessions: FxHashMap::default(),
            roots: FxHashMap::default(),
            gaps: ChaCha8Rng::seed_from_u64(settings.seed),
            drawn: 0,
            count: 0,
        }
    }

    /// What the file is.
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Rows that gave no request so far.
    pub const fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// The next request; false where there is none. Those that come at a time of their own are in order of time; a turn
    /// that waits for an answer comes after the turn that gives it.
    ///
    /// # Errors
    /// With the line that is wrong; and at the end of a trace without requests.
    pub fn read(&mut self, request: &mut TraceRequest) -> Result<bool, RequestError> {
        let is_there = match self.order {
            Order::Time => self.read_in_order(request)?,
            Order::Any | Order::Sessions => {
                if !self.is_collected {
                    self.collect()?;
                }
                self.next_ready(request)
            }
        };
        if is_there {
            self.count += 1;
            if request.block > 0 {
                self.seen.block = Some(request.block);
            }
        } else if self.count == 0 {
            let left_out = match self.left_out.total() {
                0 => String::new(),
                1 => format!(" (1 row is left out: {})", reasons(&self.left_out)),
                count => format!(" ({count} rows are left out: {})", reasons(&self.left_out)),
            };
            return Err(self.wrong(1, format!("no requests{left_out}"), "a trace with at least one request".into()));
        }
        Ok(is_there)
    }

    /// What is said where a trace has more requests than are held in memory, and what may be done.
    pub fn too_many(&self, most: u64, allowed: &str) -> RequestError {
        RequestError::File {
            file: self.file.clone(),
            problem: format!("has more than {most} requests, which are held in memory"),
            allowed: allowed.into(),
        }
    }

    fn next_ready(&mut self, request: &mut TraceRequest) -> bool {
        let next = self.ready.pop_front();
        next.is_some_and(|next| {
            *request = next;
            true
        })
    }

    fn wrong(&self, line: u64, problem: String, allowed: String) -> RequestError {
        RequestError::Line { file: self.file.clone(), line, problem, allowed }
    }

    /// The next row that counts, in `self.row`.
    fn next_row(&mut self) -> Result<bool, RequestError> {
        match &mut self.source {
            Source::Csv(csv) => csv.next(&self.file, &mut self.row),
            Source::Json(json) => json.next(&self.file, &mut self.row),
            Source::Model(model) => Ok(model.next(&mut self.row)),
        }
    }

    fn read_in_order(&mut self, request: &mut TraceRequest) -> Result<bool, RequestError> {
        loop {
            if self.next_ready(request) {
                return Ok(true);
            }
            if !self.next_row()? {
                return Ok(false);
            }
            let Some(at) = self.first_of_row(request)? else { continue };
            if let Some(at) = at {
                let Some(start) = self.since_origin(request.line, at, true)? else {
                    self.ready.clear();
                    continue;
                };
                request.start = Start::At(start);
            }
            return Ok(true);
        }
    }

    /// A time of the file as one since the origin; nothing where it is before it.
    fn since_origin(&mut self, line: u64, at: i128, in_order: bool) -> Result<Option<u64>, RequestError> {
        let origin = match self.origin {
            Some(origin) => origin,
            None => self.first_origin(at)?,
        };
        let since = at - origin;
        if since < 0 && self.settings.origin.is_some() && self.last == 0 {
            self.left_out.before_origin += 1;
            return Ok(None);
        }
        let last = i128::from(self.last);
        if since < last && in_order {
            let problem = format!("time runs backwards: {} s after {} s", plain(since, 12), plain(last, 12));
            return Err(self.wrong(line, problem, "requests in order of time, or load.sort = true".into()));
        }
        if !(0..=LATEST).contains(&since) {
            let problem = format!("arrives at {} s", plain(since, 12));
            return Err(self.wrong(line, problem, "times from 0 to 10000000 s after the first request".into()));
        }
        // Below LATEST, which fits.
        self.last = since as u64;
        Ok(Some(since as u64))
    }

    fn first_origin(&mut self, first: i128) -> Result<i128, RequestError> {
        let unit = self.seen.time_unit;
        let origin = match self.settings.origin.as_deref() {
            None | Some("first") => first,
            Some(text) => {
                let mut clock = crate::number::Clock::default();
                clock.time(text.as_bytes(), unit).ok_or_else(|| RequestError::Setting {
                    file: self.file.clone(),
                    field: "load.origin",
                    problem: format!("is '{text}'"),
                    allowed: format!("first, or {}", crate::row::allowed(Role::Arrival, unit)),
                })?
            }
        };
        self.origin = Some(origin);
        self.seen.origin = Some(written(origin, unit));
        Ok(origin)
    }
}

fn reasons(left_out: &LeftOut) -> String {
    left_out.reasons().iter().map(|(count, why)| format!("{count} {why}")).collect::<Vec<_>>().join(", ")
}

const fn is_block(block: u32) -> bool {
    (block > 0 && block < 128 && block.is_power_of_two()) || (block >= 128 && block.is_multiple_of(128))
}

/// Settings that no file could make right.
fn check(file: &str, settings: &Settings) -> Result<(), RequestError> {
    let refuse = |field: &'static str, value: String, allowed: &str| {
        Err(RequestError::Setting { file: file.into(), field, problem: format!("is {value}"), allowed: allowed.into() })
    };
    if let Some(block) = settings.block.filter(|block| !is_block(*block)) {
        return refuse("load.block", block.to_string(), BLOCKS);
    }
    if let Some(rate) = settings.rate.filter(|rate| !(1e-6..=1e6).contains(rate)) {
        return refuse("load.rate", rate.to_string(), "a number from 0.000001 to 1000000");
    }
    if let Some(each) = settings.characters_per_token.filter(|each| !(0.1..=100.0).contains(each)) {
        return refuse("load.characters_per_token", each.to_string(), "a number from 0.1 to 100");
    }
    Ok(())
}

/// Seconds of a wait, as the plain form writes it.
pub(crate) fn seconds(picoseconds: u64) -> String {
    plain(i128::from(picoseconds), span_unit(TimeUnit::S).places())
}
