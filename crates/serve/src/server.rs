//! The socket and the paths: what is let in, for how long, and how it ends.
//!
//! Limits: bytes of a body, bytes of bodies that are read at once, connections, time to send headers and a body. At the
//! end no new connection is taken; who is served has some time to be done, and what is cut then is told so.

mod answering;
mod live_page;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::answers::Answers;
use crate::api::Endpoint;
use crate::clock::Clock;
use crate::error::{ApiError, ErrorShape, ServeError};
use crate::headers::retry_after;
use crate::keys::Keys;
use crate::machine::MachineThread;
use crate::metrics::Metrics;
use crate::upstream::Upstream;

/// What a server is.
#[derive(Debug)]
pub struct Site {
    /// Name of the model.
    pub model: String,
    /// The machine.
    pub machine: MachineThread,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What is said.
    pub answers: Answers,
    /// Whose answers are passed through in place of these.
    pub upstream: Option<Upstream>,
    /// Who may ask.
    pub keys: Keys,
    /// How errors look.
    pub errors: ErrorShape,
    /// Whether unknown fields and other models are refused, as the service on wafers does.
    pub strict: bool,
    /// Most tokens of a request, prompt and answer.
    pub context: u32,
    /// Most tokens of an answer.
    pub longest_answer: u32,
    /// Bytes of a token.
    pub bytes_per_token: u32,
    /// Seconds of the client and of the machine.
    pub speed: f64,
    /// Limits of the socket.
    pub limits: Limits,
}

/// Limits of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body.
    pub body: usize,
    /// Bodies of full length for whose bytes there is room at once, while they are read.
    pub bodies: usize,
    /// Open connections.
    pub connections: usize,
    /// Time to send headers, and a body.
    pub patience: Duration,
    /// Time that those who are served have when the server ends.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            bodies: 256,
            connections: 12_000,
            patience: Duration::from_secs(30),
            grace: Duration::from_secs(5),
        }
    }
}

/// What every path sees.
#[derive(Debug)]
struct App {
    site: Site,
    clock: Clock,
    /// Bytes of bodies that may still come.
    room: Semaphore,
    started: u64,
    closing: watch::Receiver<bool>,
}

/// Listens and serves until SIGINT or SIGTERM; a second one ends it at once. `ready` hears of the address that is
/// listened on.
///
/// # Errors
/// Where the address cannot be listened on, or the system gives no threads.
pub fn serve(site: Site, address: &str, ready: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    let threads = |error: std::io::Error| ServeError::Threads(error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(threads)?;
    let served = runtime.block_on(async {
        let wrong = |error: std::io::Error| ServeError::Listen { address: address.into(), reason: error.to_string() };
        let listener = listen(address, site.limits.connections).await.map_err(wrong)?;
        let ends = ends().map_err(threads)?;
        ready(listener.local_addr().map_err(wrong)?);
        tokio::select! {
            () = run(site, listener, asked(ends.clone(), 1)) => {}
            // Who asks for it again does not wait for those who are served.
            () = asked(ends, 2) => {}
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    served
}

/// Listens, with room for `waiting` connections that are not taken yet, as far as the system gives it. Where there is
/// none, the system drops what comes, and clients try again after a second: the usual room of 1,024 is full as soon as
/// some thousands come while others work.
async fn listen(address: &str, waiting: usize) -> std::io::Result<TcpListener> {
    let mut failed = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A server that was killed has connections that linger: the port is free for the next one all the same.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs());
        match socket.bind(address).and_then(|()| socket.listen(waiting)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// How often the end was asked for: SIGINT or SIGTERM.
#[cfg(unix)]
fn ends() -> std::io::Result<watch::Receiver<u32>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (asked, ends) = watch::channel(0u32);
    tokio::spawn(async move {
        while tokio::select! { one = interrupt.recv() => one, one = terminate.recv() => one }.is_some() {
            asked.send_modify(|times| *times = times.saturating_add(1));
        }
    });
    Ok(ends)
}

/// The same: Ctrl-C.
#[cfg(not(unix))]
fn ends() -> std::io::Result<watch::Receiver<u32>> {
    let (asked, ends) = watch::channel(0u32);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            asked.send_modify(|times| *times = times.saturating_add(1));
        }
    });
    Ok(ends)
}

/// Waits until the end was asked for so often.
async fn asked(mut ends: watch::Receiver<u32>, times: u32) {
    if ends.wait_for(|asked| *asked >= times).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Serves on a socket until `end`.
pub async fn run(site: Site, listener: TcpListener, end: impl Future<Output = ()>) {
    let limits = site.limits;
    let (close, closing) = watch::channel(false);
    let app = Arc::new(App {
        clock: Clock::start(site.speed),
        room: Semaphore::new(limits.body.saturating_mul(limits.bodies).min(Semaphore::MAX_PERMITS)),
        started: unix_seconds(),
        closing: closing.clone(),
        site,
    });
    let router = router(Arc::clone(&app));
    let connections = Arc::new(Semaphore::new(limits.connections));
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => break,
            accepted = async {
                // As many as allowed are open: the next one waits in the system's queue.
                let place = Arc::clone(&connections).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let (place, stream) = match accepted {
            (Ok(place), Ok((stream, _))) => (place, stream),
            // No more file descriptors, or the client is gone already.
            _ => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (router, closing) = (router.clone(), closing.clone());
        tokio::spawn(async move {
            connection(stream, router, closing, limits).await;
            drop(place);
        });
    }
    drop(listener);
    close.send_replace(true);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let everybody = connections.acquire_many(all);
    tokio::pin!(everybody);
    if tokio::time::timeout(limits.grace, &mut everybody).await.is_err() {
        let stopping = Arc::clone(&app);
        // The machine's thread ends at once; nothing else waits for it.
        let _ = tokio::task::spawn_blocking(move || stopping.site.machine.stop()).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), everybody).await;
    } else {
        app.site.machine.stop();
    }
}

/// One connection, from its first byte to its last.
async fn connection(stream: TcpStream, router: Router, mut closing: watch::Receiver<bool>, limits: Limits) {
    // Chunks go out as they are written; where that cannot be had they go out later.
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.patience).max_buf_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        // What goes wrong on a connection is between it and its client.
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|is_closing| *is_closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(text))
        .route("/v1/models", get(models))
        .route("/v1/models/{*model}", get(model))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/", get(live_page::page))
        .route("/live", get(live_page::state))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

type Answered = Response<Body>;

async fn chat(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Answered {
    answered(&app, Endpoint::Chat, &headers, body).await
}

async fn text(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Answered {
    answered(&app, Endpoint::Text, &headers, body).await
}

async fn answered(app: &Arc<App>, endpoint: Endpoint, headers: &HeaderMap, body: Body) -> Answered {
    match answering::answer(app, endpoint, headers, body).await {
        Ok(answered) => answered,
        Err(refused) => {
            let mut answered = failed(app, &refused.error);
            put(answered.headers_mut(), refused.headers);
            answered
        }
    }
}

async fn models(State(app): State<Arc<App>>) -> Answered {
    json_body(StatusCode::OK, &json!({ "object": "list", "data": [described(&app)] }))
}

async fn model(State(app): State<Arc<App>>, name: Result<Path<String>, PathRejection>) -> Answered {
    match name {
        Ok(Path(name)) if name == app.site.model => json_body(StatusCode::OK, &described(&app)),
        Ok(Path(name)) => failed(&app, &no_such_model(&app, &name)),
        Err(_) => failed(&app, &ApiError::wrong("model", "The path's name of a model is no UTF-8.".into())),
    }
}

fn described(app: &App) -> Value {
    json!({
        "id": app.site.model,
        "object": "model",
        "created": app.started,
        "owned_by": "wafersim",
        "max_model_len": app.site.context,
    })
}

fn no_such_model(app: &App, name: &str) -> ApiError {
    let message = format!("Model '{name}' does not exist; there is '{}'.", app.site.model);
    ApiError::wrong("model", message).with(404, "model_not_found")
}

async fn health() -> Answered {
    json_body(StatusCode::OK, &json!({ "status": "ok" }))
}

async fn metrics(State(app): State<Arc<App>>) -> Answered {
    let Some(state) = app.site.machine.state().await else { return failed(&app, &stopping()) };
    let mut answered = Response::new(Body::from(app.site.metrics.text(&state)));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    answered.headers_mut().insert(header::CONTENT_TYPE, kind);
    answered
}

async fn unknown(State(app): State<Arc<App>>, uri: axum::http::Uri) -> Answered {
    let message = format!("There is no path '{}'.", uri.path());
    failed(&app, &ApiError::wrong("", message).with(404, "not_found"))
}

async fn wrong_method(State(app): State<Arc<App>>, method: axum::http::Method) -> Answered {
    let message = format!("The path does not know the method {method}.");
    failed(&app, &ApiError::wrong("", message).with(405, "method_not_allowed"))
}

/// The server ends.
fn stopping() -> ApiError {
    let mut error = ApiError::wrong("", "The server is shutting down.".into()).with(503, "server_stopping");
    error.kind = "server_error";
    error
}

fn failed(app: &App, error: &ApiError) -> Answered {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answered = json_body(status, &error.body(app.site.errors));
    if let Some(wait) = error.retry_after {
        let headers = retry_after(wait, &app.clock).map(|(name, value)| (name.to_owned(), value));
        put(answered.headers_mut(), headers);
    }
    answered
}

fn json_body(status: StatusCode, value: &Value) -> Answered {
    let mut answered = Response::new(Body::from(value.to_string()));
    *answered.status_mut() = status;
    answered.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answered
}

fn put(headers: &mut HeaderMap, more: impl IntoIterator<Item = (String, String)>) {
    for (name, value) in more {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A piece of a stream.
type Piece = Result<Bytes, Infallible>;
