//! What a row of a file makes: one request, or the turns within it.

use rand_distr::{Distribution, Exp1};

use super::{BLOCKS, LATEST, MOST_TOKENS, Reader, Start, TraceRequest, is_block};
use crate::error::RequestError;
use crate::number::{decimal, plain};
use crate::row::Call;
use crate::settings::History;

impl Reader {
    /// The first request of the row, in `request`; others of it are `ready`. Its time, or nothing in the inner option
    /// where it waits for the one before it (`start` says so). Nothing where the row gives no request.
    pub(super) fn first_of_row(&mut self, request: &mut TraceRequest) -> Result<Option<Option<i128>>, RequestError> {
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
        request.kept = row.kept.map(|kept| u32::try_from(kept).unwrap_or(u32::MAX));
        request.block = 0;
        (request.prompt, request.output) = self.fitting(line, prompt, output)?;
        if self.row.has_hashes {
            self.check_hashes(request)?;
        } else {
            request.hashes.clear();
        }
        let when = self.when(request)?;
        self.check_kept(request)?;
        Ok(when)
    }

    /// No more is kept than the prompt has.
    pub(super) fn check_kept(&self, request: &TraceRequest) -> Result<(), RequestError> {
        let prompt = request.prompt;
        match request.kept.filter(|kept| *kept > prompt) {
            Some(kept) => {
                let problem = format!("{kept} tokens are kept of a prompt of {prompt}");
                Err(self.wrong(
                    request.line,
                    problem,
                    format!("at most the {prompt} tokens of the prompt (kept_tokens)"),
                ))
            }
            None => Ok(()),
        }
    }

    /// Tokens of prompt and answer as the row has them; nothing where it is left out.
    pub(super) fn lengths(&mut self) -> Result<Option<(u64, u64)>, RequestError> {
        let row = &self.row;
        let from_parts = row.appended.map(|appended| appended.saturating_add(row.kept.unwrap_or(0)));
        let prompt = match (row.prompt.or(from_parts), row.characters) {
            (Some(prompt), _) => prompt,
            (None, Some(characters)) => self.tokens_of(characters)?,
            (None, None) => {
                self.left_out.no_length += 1;
                return Ok(None);
            }
        };
        let Some(output) = row.output else {
            self.left_out.no_length += 1;
            return Ok(None);
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

    pub(super) fn fitting(&self, line: u64, prompt: u64, output: u64) -> Result<(u32, u32), RequestError> {
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

    pub(super) fn wait(&self, line: u64, delay: i128) -> Result<u64, RequestError> {
        let refuse =
            || self.wrong(line, format!("waits for {} s", plain(delay, 12)), "a wait from 0 to 10000000 s".into());
        if (0..=LATEST).contains(&delay) { Ok(delay as u64) } else { Err(refuse()) }
    }

    pub(super) fn rate_beside_times(&self) -> RequestError {
        RequestError::Setting {
            file: self.file.clone(),
            field: "load.rate",
            problem: "is given, and the trace says its own times".into(),
            allowed: "load.speed to replay it faster or slower".into(),
        }
    }

    /// The time of a request in a file without times.
    pub(super) fn drawn_time(&mut self, line: u64) -> Result<i128, RequestError> {
        let Some(rate) = self.settings.rate else {
            let allowed = "a time in every row that begins a session (load.columns.arrival), a wait in its later ones \
                           (load.columns.delay), or load.rate: requests a second";
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
    fn pairs(&self) -> Vec<Call> {
        let (mut said, mut asked, mut calls) = (0, false, Vec::new());
        for message in &self.row.talk {
            if message.is_answer && asked && message.characters > 0 {
                let call = Call { prompt: said, output: message.characters, ..Default::default() };
                calls.push(call);
                asked = false;
            } else if !message.is_answer {
                asked = true;
            }
            said += message.characters;
        }
        calls
    }
}
