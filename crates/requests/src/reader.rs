//! From rows to requests: times from the first request on, turns of sessions in their order, what has no length left out
//! and counted.

use std::collections::VecDeque;
use std::io::Read;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::csv::Csv;
use crate::detect::{Found, detect, is_enough};
use crate::error::RequestError;
use crate::format::{Format, Kind, Order, Role};
use crate::input::Input;
use crate::json::Json;
use crate::number::{decimal, plain, written};
use crate::row::{Row, Scale, span_unit};
pub use crate::servegen::Chunk;
use crate::servegen::Model;
use crate::settings::{History, Settings, TimeUnit};

/// The last moment at which a request may come: 10^7 s, 116 days, in picoseconds.
const LATEST: i128 = 10_000_000 * SECOND;
const SECOND: i128 = 1_000_000_000_000;
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
    /// Leading tokens of the prompt that are those of the session so far (of a session's first request: of all sessions);
    /// nothing is all that fits.
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
    /// Calls of no session, in a format of sessions.
    pub no_session: u64,
    /// Conversations without a question and an answer.
    pub no_turns: u64,
    /// Before `load.origin`.
    pub before_origin: u64,
}

impl LeftOut {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.empty_answer + self.empty_prompt + self.no_session + self.no_turns + self.before_origin
    }

    /// How many, and why: only what is there.
    pub fn reasons(&self) -> Vec<(u64, &'static str)> {
        let all = [
            (self.empty_answer, "answer of 0 tokens"),
            (self.empty_prompt, "prompt of 0 tokens"),
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

/// A request whose time is still the file's, and those that follow it at once.
struct Group {
    at: i128,
    requests: Vec<TraceRequest>,
}

/// A call of a format of sessions.
struct Round {
    turn: u64,
    at: Option<i128>,
    end: Option<i128>,
    wait_after: i128,
    request: TraceRequest,
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
            Kind::Json => Source::Json(Json::open(input.into_reader(), is_lines, scale, columns)),
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
        let seconds = plain(since, 12);
        let last = i128::from(self.last);
        if since < last && in_order {
            let problem = format!("time runs backwards: {seconds} s after {} s", plain(last, 12));
            return Err(self.wrong(line, problem, "requests in order of time, or load.sort = true".into()));
        }
        if !(0..=LATEST).contains(&since) {
            let problem = format!("arrives at {seconds} s");
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

    /// The first request of the row, in `request`; others of it are `ready`. Its time, or nothing in the inner option where
    /// it waits for the one before it (`start` says so). Nothing where the row gives no request.
    fn first_of_row(&mut self, request: &mut TraceRequest) -> Result<Option<Option<i128>>, RequestError> {
        if self.row.has_calls || self.row.has_talk {
            return self.expand(request);
        }
        let line = self.row.line;
        let Some((prompt, output)) = self.lengths()? else { return Ok(None) };
        self.name_session();
        let row = &mut self.row;
        request.line = line;
        std::mem::swap(&mut request.session, &mut row.session);
        std::mem::swap(&mut request.hashes, &mut row.hashes);
        request.kept = row.kept.map(|kept| u32::try_from(kept.min(prompt)).unwrap_or(u32::MAX));
        request.block = 0;
        (request.prompt, request.output) = self.fitting(line, prompt, output)?;
        if self.row.has_hashes {
            self.check_hashes(request)?;
        } else {
            request.hashes.clear();
        }
        self.when(request)
    }

    /// Tokens of prompt and answer as the row has them; nothing where it is left out.
    fn lengths(&mut self) -> Result<Option<(u64, u64)>, RequestError> {
        let row = &self.row;
        let from_parts = row.appended.map(|appended| appended.saturating_add(row.kept.unwrap_or(0)));
        let prompt = match (row.prompt.or(from_parts), row.characters) {
            (Some(prompt), _) => prompt,
            (None, Some(characters)) => self.tokens_of(characters)?,
            (None, None) => {
                let allowed = "the tokens of the prompt in every row (or load.columns.prompt)".into();
                return Err(self.wrong(row.line, "says no length of its prompt".into(), allowed));
            }
        };
        let Some(output) = row.output else {
            let allowed = "the tokens of the answer in every row (or load.columns.output)".into();
            return Err(self.wrong(row.line, "says no length of its answer".into(), allowed));
        };
        Ok(self.counted(prompt, output))
    }

    /// Lengths of a request that counts; empty ones are left out.
    fn counted(&mut self, prompt: u64, output: u64) -> Option<(u64, u64)> {
        if output == 0 {
            self.left_out.empty_answer += 1;
        } else if prompt == 0 {
            self.left_out.empty_prompt += 1;
        }
        (prompt > 0 && output > 0).then_some((prompt, output))
    }

    fn fitting(&self, line: u64, prompt: u64, output: u64) -> Result<(u32, u32), RequestError> {
        for (what, tokens) in [("a prompt", prompt), ("an answer", output)] {
            if tokens > MOST_TOKENS {
                let problem = format!("{what} of {tokens} tokens");
                return Err(self.wrong(line, problem, format!("at most {MOST_TOKENS} tokens")));
            }
        }
        Ok((prompt as u32, output as u32))
    }

    fn tokens_of(&self, characters: u64) -> Result<u64, RequestError> {
        let Some(each) = self.settings.characters_per_token else {
            return Err(RequestError::File {
                file: self.file.clone(),
                problem: format!("is {}: texts, whose tokens only a tokenizer counts", self.seen.name),
                allowed: "lengths in plain CSV (arrival_s,prompt_tokens,output_tokens), or a guess: \
                          load.characters_per_token = 4 (English about 4, code about 3)"
                    .into(),
            });
        };
        Ok((characters as f64 / each).ceil() as u64)
    }

    /// A conversation is named by its first row.
    fn name_session(&mut self) {
        let Some(chat) = self.row.chat else { return };
        let parent = self.row.parent.filter(|parent| *parent >= 0);
        // Whose parent is not in the file begins a conversation.
        let root = parent.and_then(|parent| self.roots.get(&parent).copied()).unwrap_or(chat);
        self.roots.insert(chat, root);
        self.row.session = root.to_string();
    }

    fn check_hashes(&self, request: &mut TraceRequest) -> Result<(), RequestError> {
        let block = self.row.block.map_or(self.block, |block| u32::try_from(block).unwrap_or(0));
        if self.settings.history == Some(History::Addition) || request.hashes.is_empty() {
            request.hashes.clear();
            return Ok(());
        }
        if !is_block(block) {
            let problem = format!("blocks of {block} tokens");
            return Err(self.wrong(request.line, problem, format!("{BLOCKS} (load.block)")));
        }
        let (count, ceil) = (request.hashes.len() as u64, u64::from(request.prompt.div_ceil(block)));
        let floor = u64::from(request.prompt / block);
        if count == ceil || (self.floors && count == floor) {
            request.block = block;
            return Ok(());
        }
        let problem = format!("{count} hashes for a prompt of {} tokens", request.prompt);
        let allowed = format!("a hash for each block of {block} tokens: {ceil} (other blocks: load.block)");
        Err(self.wrong(request.line, problem, allowed))
    }

    /// When the request of the row comes; its prompt grows by what was before, where later turns count additions.
    fn when(&mut self, request: &mut TraceRequest) -> Result<Option<Option<i128>>, RequestError> {
        let adds = self.settings.history == Some(History::Addition);
        let in_session = !request.session.is_empty();
        let mut is_later = false;
        if in_session && (self.has_delays || adds) {
            let known = self.sessions.get_mut(request.session.as_str());
            is_later = known.is_some();
            let session = match known {
                Some(session) => session,
                None => self.sessions.entry(request.session.as_str().into()).or_default(),
            };
            if adds {
                let prompt = session.tokens + u64::from(request.prompt);
                session.tokens = prompt + u64::from(request.output);
                (request.prompt, request.output) = self.fitting(request.line, prompt, request.output.into())?;
            }
        }
        let row = &self.row;
        match (row.arrival, row.delay) {
            (_, Some(delay)) if is_later => request.start = Start::After(self.wait(row.line, delay)?),
            (Some(at), _) => {
                if self.settings.rate.is_some() {
                    return Err(self.rate_beside_times());
                }
                return Ok(Some(Some(at)));
            }
            (None, None) if is_later => request.start = Start::After(0),
            (None, _) => return Ok(Some(Some(self.drawn_time(row.line)?))),
        }
        Ok(Some(None))
    }

    fn wait(&self, line: u64, delay: i128) -> Result<u64, RequestError> {
        let refuse = || {
            self.wrong(line, format!("waits for {} s", plain(delay, 12)), "a wait from 0 to 10000000 s".into())
        };
        if (0..=LATEST).contains(&delay) { Ok(delay as u64) } else { Err(refuse()) }
    }

    fn rate_beside_times(&self) -> RequestError {
        RequestError::Setting {
            file: self.file.clone(),
            field: "load.rate",
            problem: "is given, and the trace says its own times".into(),
            allowed: "load.speed to replay it faster or slower".into(),
        }
    }

    /// The time of a request in a file without times.
    fn drawn_time(&mut self, line: u64) -> Result<i128, RequestError> {
        let Some(rate) = self.settings.rate else {
            let allowed = "a time in every row that begins a session (load.columns.arrival), or load.rate: requests a \
                           second";
            return Err(self.wrong(line, "says no time".into(), allowed.into()));
        };
        let at = self.drawn;
        let gap: f64 = Exp1.sample(&mut self.gaps);
        self.drawn += decimal(format!("{:.12}", gap / rate).as_bytes(), 12).unwrap_or(0);
        Ok(at)
    }

    /// Calls within a row: the first in `request`, the others after it.
    fn expand(&mut self, request: &mut TraceRequest) -> Result<Option<Option<i128>>, RequestError> {
        let row = &self.row;
        let line = row.line;
        let is_text = row.has_talk;
        let calls = if row.has_calls { row.calls.clone() } else { self.pairs() };
        let session = if row.session.is_empty() { format!("line {line}") } else { row.session.clone() };
        if calls.is_empty() {
            self.left_out.no_turns += 1;
            return Ok(None);
        }
        let turns_add = is_text && self.row.has_calls;
        let (mut before, mut wait) = (0u64, 0i128);
        let mut requests = Vec::with_capacity(calls.len());
        for call in &calls {
            let (mut prompt, mut output) = (call.prompt, call.output);
            if is_text {
                prompt = self.tokens_of(prompt)?;
            }
            if turns_add {
                if output == 0 {
                    let allowed = "output_length in every turn: how long answers are";
                    return Err(self.wrong(line, "a turn says no length of its answer".into(), allowed.into()));
                }
                prompt = prompt.saturating_add(before);
                before = prompt.saturating_add(output);
            } else if is_text {
                output = self.tokens_of(output)?;
            }
            let delay = wait + call.delay;
            wait = call.wait_after;
            let Some((prompt, output)) = self.counted(prompt, output) else { continue };
            let (prompt, output) = self.fitting(line, prompt, output)?;
            let start = Start::After(self.wait(line, delay)?);
            requests.push(TraceRequest { line, start, prompt, output, session: session.clone(), ..Default::default() });
        }
        let mut requests = requests.into_iter();
        let Some(first) = requests.next() else { return Ok(None) };
        *request = first;
        let at = match (self.row.arrival, self.settings.rate) {
            (Some(_), Some(_)) => return Err(self.rate_beside_times()),
            (Some(at), None) => at,
            (None, _) => self.drawn_time(line)?,
        };
        self.ready.extend(requests);
        Ok(Some(Some(at)))
    }

    /// Questions with their answers: each with all that was said before it as its prompt.
    fn pairs(&self) -> Vec<crate::row::Call> {
        let (mut said, mut asked, mut calls) = (0, false, Vec::new());
        for message in &self.row.talk {
            if message.is_answer && asked && message.characters > 0 {
                let call = crate::row::Call { prompt: said, output: message.characters, ..Default::default() };
                calls.push(call);
                asked = false;
            } else if !message.is_answer {
                asked = true;
            }
            said += message.characters;
        }
        calls
    }

    /// Reads everything and puts it in order.
    fn collect(&mut self) -> Result<(), RequestError> {
        self.is_collected = true;
        let mut groups = if self.order == Order::Sessions { self.collect_sessions()? } else { self.collect_any()? };
        groups.sort_by_key(|group| group.at);
        for mut group in groups {
            let Some(first) = group.requests.first_mut() else { continue };
            let line = first.line;
            match self.since_origin(line, group.at, false)? {
                Some(start) => first.start = Start::At(start),
                None => continue,
            }
            self.ready.extend(group.requests);
        }
        Ok(())
    }

    fn collect_any(&mut self) -> Result<Vec<Group>, RequestError> {
        let mut groups: Vec<Group> = Vec::new();
        let mut last_of: FxHashMap<String, usize> = FxHashMap::default();
        while self.next_row()? {
            let mut request = TraceRequest::default();
            let Some(at) = self.first_of_row(&mut request)? else { continue };
            if !request.session.is_empty() && at.is_some() {
                last_of.insert(request.session.clone(), groups.len());
            }
            match at {
                Some(at) => {
                    let mut requests = vec![request];
                    requests.extend(self.ready.drain(..));
                    groups.push(Group { at, requests });
                }
                None => {
                    let group = last_of.get(&request.session).and_then(|group| groups.get_mut(*group));
                    if let Some(group) = group {
                        group.requests.push(request);
                    }
                }
            }
        }
        Ok(groups)
    }

    fn collect_sessions(&mut self) -> Result<Vec<Group>, RequestError> {
        let mut sessions: Vec<Vec<Round>> = Vec::new();
        let mut known: FxHashMap<String, usize> = FxHashMap::default();
        while self.next_row()? {
            if self.row.session.is_empty() {
                self.left_out.no_session += 1;
                continue;
            }
            let Some((prompt, output)) = self.lengths()? else { continue };
            let row = &self.row;
            let (prompt, output) = self.fitting(row.line, prompt, output)?;
            let request = TraceRequest {
                line: row.line,
                prompt,
                output,
                session: row.session.clone(),
                kept: row.kept.map(|kept| u32::try_from(kept).unwrap_or(u32::MAX).min(prompt)),
                ..TraceRequest::default()
            };
            let round = Round {
                turn: row.turn.unwrap_or(0),
                at: row.arrival,
                end: row.end,
                wait_after: row.wait_after.unwrap_or(0),
                request,
            };
            let index = *known.entry(row.session.clone()).or_insert_with(|| {
                sessions.push(Vec::new());
                sessions.len() - 1
            });
            if let Some(session) = sessions.get_mut(index) {
                session.push(round);
            }
        }
        let mut groups = Vec::with_capacity(sessions.len());
        for mut rounds in sessions {
            rounds.sort_by_key(|round| round.turn);
            let mut requests = Vec::with_capacity(rounds.len());
            let mut first = None;
            let mut before: Option<(i128, Option<i128>)> = None;
            for mut round in rounds {
                if let Some((wait, end)) = before {
                    let gap = round.at.zip(end).filter(|_| round.end.is_some()).map(|(at, end)| (at - end).max(0));
                    round.request.start = Start::After(self.wait(round.request.line, gap.unwrap_or(wait))?);
                } else {
                    first = match (round.at, self.settings.rate) {
                        (Some(_), Some(_)) => return Err(self.rate_beside_times()),
                        (Some(at), None) => Some(at),
                        // TraceLab: a session without a time begins at 0.
                        (None, None) => Some(0),
                        (None, Some(_)) => Some(self.drawn_time(round.request.line)?),
                    };
                }
                before = Some((round.wait_after, round.end));
                requests.push(round.request);
            }
            groups.extend(first.map(|at| Group { at, requests }));
        }
        Ok(groups)
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
        Err(RequestError::Setting {
            file: file.into(),
            field,
            problem: format!("is {value}"),
            allowed: allowed.into(),
        })
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
