//! From the body of a request to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use wafersim_stream::Time;
use wafersim_stream::service::Refusal;

use super::{Answered, App, Piece, json_body, no_such_model, put, stopping, unix_seconds};
use crate::answers::{Fault, Finish, Reply};
use crate::api::{self, Endpoint, Query};
use crate::chunks::{Events, Frame, TimeInfo, Usage, event};
use crate::error::ApiError;
use crate::headers::of_limits;
use crate::machine::{End, Progress, Refused, Running, Wanted};
use crate::prompt::Prompt;

/// An error, and the account's limits beside it.
pub(super) struct Refusing {
    pub(super) error: ApiError,
    pub(super) headers: Vec<(String, String)>,
}

impl From<ApiError> for Refusing {
    fn from(error: ApiError) -> Self {
        Self { error, headers: Vec::new() }
    }
}

/// Where OpenAI's SDKs say which retry a request is.
const RETRY_COUNT: &str = "x-stainless-retry-count";

/// Answers a request.
pub(super) async fn answer(
    app: &Arc<App>,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answered, Refusing> {
    app.site.metrics.received(headers.get(RETRY_COUNT).and_then(|count| count.to_str().ok()));
    let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let Some(organisation) = app.site.keys.organisation(authorization) else {
        let mut error = ApiError::wrong("", "Wrong API key.".into()).with(401, "wrong_api_key");
        error.kind = "authentication_error";
        return Err(error.into());
    };
    if *app.closing.borrow() {
        return Err(stopping().into());
    }
    let (asked, body) = read(app, endpoint, headers, body).await?;
    let site = &app.site;
    if site.strict
        && let Some(name) = asked.model.as_ref().filter(|name| **name != site.model)
    {
        return Err(no_such_model(app, name).into());
    }
    let prompt = Prompt::new(&asked.text, u64::from(organisation), site.bytes_per_token);
    let (room, most) = (site.context.saturating_sub(prompt.tokens), asked.most);
    if room == 0 {
        let message = format!(
            "Please reduce the length of the messages or completion. Current length is {} while limit is {}",
            prompt.tokens, site.context
        );
        return Err(ApiError::wrong("messages", message).with(400, "context_length_exceeded").into());
    }
    let most_here = most.unwrap_or(u32::MAX).min(site.longest_answer).min(room);
    let (answer, upstream) = match &site.upstream {
        None => (site.answers.answer(&asked, most_here, prompt.whole), None),
        Some(upstream) => {
            // Who would be refused here costs nothing there.
            let wanted = Wanted { organisation, prompt: prompt.clone(), output: 1, most };
            site.machine.would_admit(wanted).await.map_err(|refused| refusing(app, refused))?;
            let asked_at = Instant::now();
            let passed = upstream.ask(endpoint, &body).await.map_err(|error| {
                let error = ApiError::of_upstream(error, site.speed);
                site.metrics.refused(error.code);
                error
            })?;
            let seconds = asked_at.elapsed().as_secs_f64();
            (Reply::passed(&passed, site.bytes_per_token, most_here), Some(seconds))
        }
    };
    drop(body);
    let prompt_tokens = prompt.tokens;
    let wanted = Wanted { organisation, prompt, output: answer.tokens, most };
    let mut running = site.machine.submit(wanted).await.map_err(|refused| refusing(app, refused))?;
    let limits = of_limits(&running.limits, &app.clock);
    // The first answer is that there is room, or that there is none in time.
    let admitted = running.progress.wait_for(|progress| progress.admitted.is_some() || progress.end.is_some()).await;
    let progress = admitted.map(|progress| *progress).map_err(|_| stopping())?;
    match progress.end {
        Some(End::Late) => {
            let error = ApiError::refused(&Refusal::Capacity);
            site.metrics.refused(error.code);
            return Err(Refusing { error, headers: limits });
        }
        Some(End::Stopped) => return Err(stopping().into()),
        Some(End::Finished) | None => {}
    }
    let frame = Frame {
        endpoint,
        number: running.number,
        created: unix_seconds(),
        model: asked.model.unwrap_or_else(|| site.model.clone()),
        include_usage: asked.include_usage,
    };
    let mut answered = if asked.stream {
        let events = Events::new(frame);
        streamed(Streaming {
            app: Arc::clone(app),
            running,
            events,
            answer,
            prompt: prompt_tokens,
            says_due: asked.says_due,
            sent: 0,
            state: Then::More,
        })
    } else {
        whole(app, running, &frame, &answer, prompt_tokens).await?
    };
    put(answered.headers_mut(), limits);
    put(
        answered.headers_mut(),
        upstream.map(|seconds| ("x-wafersim-upstream-seconds".to_owned(), format!("{seconds:.3}"))),
    );
    Ok(answered)
}

async fn read(app: &App, endpoint: Endpoint, headers: &HeaderMap, body: Body) -> Result<(Query, Bytes), ApiError> {
    let limits = &app.site.limits;
    let large = || {
        let message = format!("The body has more than {} bytes.", limits.body);
        ApiError::wrong("", message).with(413, "request_too_large")
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.body) {
        return Err(large());
    }
    let late = || ApiError::wrong("", "The body did not come in time.".into()).with(408, "request_timeout");
    let broken = || {
        let message = "The body is broken: it is shorter than said, or its chunks are none.".to_owned();
        ApiError::wrong("", message).with(400, "invalid_body")
    };
    let whole = async {
        let (mut bytes, mut pieces) = (Vec::new(), body.into_data_stream());
        // Only what has come takes room, so that bodies that do not come keep nobody out.
        let mut room = app.room.acquire_many(0).await.map_err(|_| stopping())?;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| broken())?;
            if bytes.len() + piece.len() > limits.body {
                return Err(large());
            }
            let more = u32::try_from(piece.len()).map_err(|_| large())?;
            room.merge(app.room.acquire_many(more).await.map_err(|_| stopping())?);
            bytes.extend_from_slice(&piece);
        }
        Ok(Bytes::from(bytes))
    };
    let in_time = async { tokio::time::timeout(limits.patience, whole).await.map_err(|_| late())? };
    let mut closing = app.closing.clone();
    let bytes = tokio::select! {
        bytes = in_time => bytes?,
        // Who is still sending is not served yet.
        _ = closing.wait_for(|is_closing| *is_closing) => return Err(stopping()),
    };
    Ok((api::read(endpoint, &bytes, app.site.strict)?, bytes))
}

fn refusing(app: &App, refused: Refused) -> Refusing {
    match refused {
        Refused::Service(refusal, limits) => {
            let error = ApiError::refused(&refusal);
            app.site.metrics.refused(error.code);
            Refusing { error, headers: of_limits(&limits, &app.clock) }
        }
        Refused::TooLong => {
            let message = "The request is longer than the machine has room for.".to_owned();
            ApiError::wrong("messages", message).with(400, "context_length_exceeded").into()
        }
        Refused::Stopped => stopping().into(),
    }
}

async fn whole(
    app: &App,
    mut running: Running,
    frame: &Frame,
    answer: &Reply,
    prompt: u32,
) -> Result<Answered, ApiError> {
    let ended = running.progress.wait_for(|progress| progress.end.is_some()).await;
    let progress = ended.map(|progress| *progress).map_err(|_| stopping())?;
    if progress.end != Some(End::Finished) {
        return Err(stopping());
    }
    app.site.metrics.finished(answer.finish.name());
    let usage = Usage { prompt, cached: progress.cached, output: answer.tokens };
    Ok(json_body(StatusCode::OK, &frame.answer(answer, &usage, &time_info(app, &progress), answer.finish)))
}

fn time_info(app: &App, progress: &Progress) -> TimeInfo {
    let seconds = |from: Time, until: Time| app.clock.seconds(until - from);
    let started = progress.started.or(progress.admitted).unwrap_or(progress.came);
    let first = progress.first.unwrap_or(started);
    TimeInfo {
        queue: seconds(progress.came, started),
        prompt: seconds(started, first),
        completion: seconds(first, progress.last),
        total: seconds(progress.came, progress.last),
    }
}

/// An answer on its way.
struct Streaming {
    app: Arc<App>,
    running: Running,
    events: Events,
    answer: Reply,
    prompt: u32,
    says_due: bool,
    sent: u32,
    state: Then,
}

/// What comes after a piece.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    More,
    Stall(Duration),
    End,
}

fn streamed(state: Streaming) -> Answered {
    let pieces = stream::unfold(state, |mut state| async move {
        let piece = state.next().await?;
        Some((Piece::Ok(piece), state))
    });
    let mut answered = Response::new(Body::from_stream(pieces));
    let headers = answered.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answered
}

impl Streaming {
    /// All events that are due, as soon as there are any; nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.state {
                Then::End => return None,
                Then::Stall(time) => {
                    tokio::time::sleep(time).await;
                    self.state = Then::More;
                    self.answer.fault = None;
                }
                Then::More => {}
            }
            let progress = *self.running.progress.borrow_and_update();
            let mut out = Vec::new();
            self.state = self.due(&progress, &mut out);
            if !out.is_empty() {
                return Some(out.into());
            }
            if self.state == Then::More && self.running.progress.changed().await.is_err() {
                // The machine is gone, and its thread with it.
                self.end(&progress, Finish::Length, &mut out);
                self.state = Then::End;
                return Some(out.into());
            }
        }
    }

    fn due(&mut self, progress: &Progress, out: &mut Vec<u8>) -> Then {
        let produced = progress.produced.min(self.answer.tokens);
        if self.sent == 0 && produced > 0 {
            self.events.role(out, self.answer.token(0));
        }
        while self.sent < produced {
            if let Some(then) = self.fault(out) {
                return then;
            }
            let due = self.says_due.then(|| self.app.clock.seconds(progress.last));
            self.events.token(out, self.answer.token(self.sent), due);
            self.sent += 1;
        }
        match progress.end {
            Some(End::Finished) if self.sent >= self.answer.tokens => {
                if let Some(then) = self.fault(out) {
                    return then;
                }
                self.end(progress, self.answer.finish, out);
                Then::End
            }
            Some(End::Late | End::Stopped) => {
                self.end(progress, Finish::Length, out);
                Then::End
            }
            Some(End::Finished) | None => Then::More,
        }
    }

    /// What a script lets go wrong at this token.
    fn fault(&self, out: &mut Vec<u8>) -> Option<Then> {
        match self.answer.fault? {
            Fault::Cut { after } if self.sent >= after => Some(Then::End),
            Fault::Error { after } if self.sent >= after => {
                let error = json!({ "message": "Scripted error.", "type": "server_error", "param": null, "code": "server_error" });
                event(out, &json!({ "error": error, "status_code": 500 }));
                Some(Then::End)
            }
            Fault::Stall { after, seconds } if self.sent >= after => {
                Some(Then::Stall(Duration::try_from_secs_f64(seconds).unwrap_or_default()))
            }
            Fault::Cut { .. } | Fault::Error { .. } | Fault::Stall { .. } => None,
        }
    }

    fn end(&self, progress: &Progress, finish: Finish, out: &mut Vec<u8>) {
        self.app.site.metrics.finished(finish.name());
        let usage = Usage { prompt: self.prompt, cached: progress.cached, output: self.sent };
        self.events.end(out, finish, &usage, &time_info(&self.app, progress));
    }
}
