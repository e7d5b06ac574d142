//! A page that asks again, served to the browser on this machine.
//!
//! It owns the server: which addresses there are, who may ask, which thread answers. What the page says comes from an
//! [`Answerer`]; nothing here knows models, wafers or HTML. Only programs on this machine are answered: the server
//! listens on the loopback address that it is given, and a request must name it, so that no page from elsewhere reads
//! along under a name of its own ([`is_local`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::task::spawn_blocking;

/// What a page asks: names of controls with their values.
pub type Asked = BTreeMap<String, String>;

/// Header of an answer that has all of its parts.
pub const WHOLE: &str = "x-whole";
/// Name in a query that asks for all parts, however long they take.
const ALL: &str = "all";

/// Which parts are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Those that are there at once, and all others that are known already.
    Quick,
    /// All.
    All,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// HTML.
    pub html: Arc<str>,
    /// Whether it has all parts.
    pub is_whole: bool,
}

/// Who answers. It may be asked from several threads at once.
pub trait Answerer: Send + Sync + 'static {
    /// The whole page, as it is opened.
    ///
    /// # Errors
    /// Words for people, where there is no answer.
    fn page(&self) -> Result<Said, String>;

    /// What stands on it for other values of its controls.
    ///
    /// # Errors
    /// Words for people, where a value is wrong or there is no answer.
    fn answer(&self, asked: &Asked, parts: Parts) -> Result<Said, String>;
}

/// Whether a request's `Host` names this server by a loopback name.
pub fn is_local(host: &str, port: u16) -> bool {
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host == format!("{name}:{port}"))
}

/// The addresses of the server.
pub fn router(answerer: Arc<dyn Answerer>, port: u16) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/answer", get(answer))
        .with_state(answerer)
        .layer(middleware::from_fn(move |request, next| only_local(port, request, next)))
}

/// Serves until the process ends.
///
/// # Errors
/// Where the listener cannot be used.
pub fn serve(listener: TcpListener, answerer: Arc<dyn Answerer>) -> std::io::Result<()> {
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router(answerer, port)).await
    })
}

async fn only_local(port: u16, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_local(host, port) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this server answers its own machine only").into_response()
    }
}

async fn page(State(answerer): State<Arc<dyn Answerer>>) -> Response {
    reply(spawn_blocking(move || answerer.page())).await
}

async fn answer(State(answerer): State<Arc<dyn Answerer>>, Query(mut asked): Query<Asked>) -> Response {
    let parts = if asked.remove(ALL).is_some() { Parts::All } else { Parts::Quick };
    reply(spawn_blocking(move || answerer.answer(&asked, parts))).await
}

/// What was said, or why not: a wrong value is the asker's, a thread that ended is a bug.
async fn reply<Error>(said: impl Future<Output = Result<Result<Said, String>, Error>>) -> Response {
    match said.await {
        Ok(Ok(said)) => {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            if said.is_whole {
                headers.insert(WHOLE, HeaderValue::from_static("1"));
            }
            (headers, Body::from(said.html.to_string())).into_response()
        }
        Ok(Err(words)) => (StatusCode::BAD_REQUEST, words).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "a bug: the thread that answered has ended").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    struct Echo;

    impl Answerer for Echo {
        fn page(&self) -> Result<Said, String> {
            Ok(Said { html: "page".into(), is_whole: true })
        }

        fn answer(&self, asked: &Asked, parts: Parts) -> Result<Said, String> {
            match asked.get("users").map(String::as_str) {
                Some("0") => Err("users: is '0'; allowed: 1 or more".into()),
                users => Ok(Said { html: format!("{users:?} {parts:?}").into(), is_whole: parts == Parts::All }),
            }
        }
    }

    fn ask(port: u16, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    #[test]
    fn it_answers_this_machine_and_says_what_is_wrong() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || serve(listener, Arc::new(Echo)));
        let own = format!("127.0.0.1:{port}");
        for (path, host, code, body) in [
            ("/", own.as_str(), "200", "page"),
            ("/answer?users=8", &own, "200", "Some(\"8\") Quick"),
            ("/answer?users=8&all=1", &own, "200", "Some(\"8\") All"),
            ("/answer?users=0", &format!("localhost:{port}"), "400", "allowed: 1 or more"),
            ("/other", &own, "404", ""),
            ("/", "wafers.example", "403", "its own machine only"),
            ("/", "127.0.0.1", "403", ""),
        ] {
            let said = ask(port, path, host);
            assert!(said.starts_with(&format!("HTTP/1.1 {code}")) && said.contains(body), "{path} {host}: {said}");
            assert_eq!(said.contains("x-whole: 1"), body == "page" || body.ends_with("All"), "{path}: {said}");
        }
    }
}
