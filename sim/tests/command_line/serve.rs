//! `simctl serve`: what clients see, refusals, faults, hanging up, the end; and the `openai` package.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::surface::{command, simctl};

/// A small machine: it is placed in a moment.
const MACHINE: &str = "
[machine]
model = 'llama-3.1-8b'
wafers = 1
users = 4
context = 8192
[service]
prefix_cache = true
";
const HELLO: &str = r#""messages":[{"role":"user","content":"hello"}]"#;

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("a file of the test");
    path
}

/// A server of a test; it goes with the value.
struct Served {
    child: Child,
    address: String,
    said: BufReader<std::process::ChildStderr>,
}

impl Served {
    fn start(name: &str, arguments: &str) -> Self {
        Self::on("127.0.0.1:0", name, arguments)
    }

    fn on(address: &str, name: &str, arguments: &str) -> Self {
        Self::with(address, name, arguments, &[])
    }

    fn with(address: &str, name: &str, arguments: &str, environment: &[(&str, &str)]) -> Self {
        let machine = file(&format!("{name}-machine.toml"), MACHINE);
        let mut child = Command::new(env!("CARGO_BIN_EXE_simctl"))
            .args(["serve", "--listen", address])
            .arg(machine)
            .args(arguments.split_whitespace())
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = BufReader::new(child.stderr.take().expect("stderr"));
        let mut served = Self { child, address: String::new(), said };
        let mut all = String::new();
        loop {
            let before = all.len();
            assert!(served.said.read_line(&mut all).expect("words") > 0, "it ended: {all}");
            if let Some((_, rest)) = all[before..].split_once("listening on http://") {
                rest.split('/').next().expect("an address").clone_into(&mut served.address);
                return served;
            }
        }
    }

    fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    fn connect(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
        stream
    }

    /// Status, headers and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> Answered {
        let mut text = String::new();
        self.connect(method, path, body).read_to_string(&mut text).expect("an answer");
        Answered::of(&text)
    }

    fn chat(&self, fields: &str) -> Answered {
        self.ask("POST", "/v1/chat/completions", &format!("{{{HELLO},{fields}}}"))
    }

    fn live(&self) -> Value {
        self.ask("GET", "/live", "").json()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill");
        assert!(sent.success());
    }

    /// What it says to its end, and how it ends.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("words");
        (self.child.wait().expect("an end").code(), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Answered {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("headers");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
        Self { status, head: head.to_owned(), body }
    }

    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}: {}", self.head)).1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn events(&self) -> Vec<&str> {
        self.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut all = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        all.push_str(rest.get(..size).unwrap_or(rest));
        body = rest.get(size + 2..).unwrap_or("");
    }
    all
}

#[test]
fn clients_get_streams_models_metrics_and_errors_of_the_form() {
    let served = Served::start("form", "--speed 50");
    let stream = served.chat(r#""stream":true,"max_tokens":5,"stream_options":{"include_usage":true}"#);
    assert_eq!((stream.status, stream.header("content-type")), (200, "text/event-stream; charset=utf-8"));
    let events = stream.events();
    assert_eq!((events.len(), events.last()), (9, Some(&"[DONE]")));
    let event = |at: usize| serde_json::from_str::<Value>(events[at]).expect("JSON");
    assert_eq!(event(6)["choices"][0]["finish_reason"], "length");
    assert_eq!(event(7)["usage"]["completion_tokens"], 5);
    assert!(event(7)["time_info"]["completion_time"].as_f64().expect("a number") > 0.0);
    assert_eq!(served.ask("GET", "/health", "").status, 200);
    assert_eq!(served.ask("GET", "/v1/models", "").json()["data"][0]["max_model_len"], 8192);
    assert_eq!(served.ask("GET", "/v1/models/llama-3.1-8b", "").json()["id"], "llama-3.1-8b");
    assert!(
        served.ask("GET", "/metrics", "").body.contains("vllm:generation_tokens_total{model_name=\"llama-3.1-8b\"} 5")
    );
    assert!(served.ask("GET", "/", "").body.contains("<title>simctl serve</title>"));
    let refused =
        |answered: Answered| (answered.status, answered.json()["error"]["code"].as_str().unwrap_or("").to_owned());
    let chat = "/v1/chat/completions";
    assert_eq!(refused(served.ask("POST", chat, "{")), (400, "invalid_json".into()));
    assert_eq!(refused(served.ask("GET", chat, "")), (405, "method_not_allowed".into()));
    assert_eq!(refused(served.ask("POST", "/v1/chat", "{}")), (404, "not_found".into()));
    assert_eq!(refused(served.ask("GET", "/v1/models/gpt-9", "")), (404, "model_not_found".into()));
    let long = "x".repeat(4 * 8192);
    let long = format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}]}}"#);
    assert_eq!(refused(served.ask("POST", chat, &long)), (400, "context_length_exceeded".into()));
    // A body that is too large is refused before it is read to its end.
    let mut stream = TcpStream::connect(&served.address).expect("a connection");
    write!(stream, "POST {chat} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999999\r\n\r\n{{")
        .expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert_eq!(refused(Answered::of(&text)), (413, "request_too_large".into()));
}

/// What is no request gets the API's error where there is a path to answer on, else a status and a closed connection;
/// the server goes on.
#[test]
fn what_is_broken_gets_an_error_or_an_end() {
    let mut served = Served::start("broken", "--speed 50 --grace 1");
    let address = served.address.clone();
    let half = |bytes: &str| {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        stream.write_all(bytes.as_bytes()).expect("sent");
        stream
    };
    let rest = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        Answered::of(&text)
    };
    let post = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let deep = format!("{post}content-length: 20013\r\n\r\n{{\"messages\":{}", "[".repeat(20_001));
    for (sent, status, code) in [
        (format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n"), 400, "invalid_body"),
        (deep, 400, "invalid_json"),
        (format!("{post}content-length: 1\r\n\r\n\u{7}"), 400, "invalid_json"),
        ("GET /v1/models/%ff HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), 400, "invalid_value"),
    ] {
        let answered = rest(half(&sent));
        assert_eq!((answered.status, &answered.json()["error"]["code"]), (status, &code.into()), "{}", answered.body);
    }
    let short = half(&format!("{post}content-length: 500\r\n\r\n{{{HELLO}}}"));
    short.shutdown(std::net::Shutdown::Write).expect("its end");
    let answered = rest(short);
    assert_eq!((answered.status, &answered.json()["error"]["code"]), (400, &"invalid_body".into()));
    let many = (0..300).map(|number| format!("h{number}: x\r\n")).collect::<String>();
    for (sent, status) in [
        ("not HTTP at all\r\n\r\n".to_owned(), 400),
        (format!("GET /health HTTP/1.1\r\n{many}\r\n"), 431),
        (format!("{post}content-length: -1\r\n\r\n"), 400),
    ] {
        assert_eq!(rest(half(&sent)).status, status);
    }
    // Bodies that do not come keep nobody out, many as they may be: they wait still when another one has its answer.
    let length = "content-length: 50\r\n\r\n{";
    let stalled: Vec<TcpStream> = (0..300).map(|_| half(&format!("{post}expect: 100-continue\r\n{length}"))).collect();
    let mut reads = [0; 25];
    for mut stream in &stalled {
        stream.read_exact(&mut reads).expect("it waits for the body");
    }
    assert_eq!(served.chat(r#""max_tokens":2"#).status, 200);
    for mut stream in &stalled {
        stream.set_nonblocking(true).expect("a setting");
        let nothing = stream.read(&mut reads).expect_err("no answer yet");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(stalled);
    // At the end who has sent half a body is told so; half a head holds the end up for the grace at most.
    let idle = [half(""), half("POST /v1/chat")];
    let mut sending = half(&format!("{post}expect: 100-continue\r\n{length}"));
    sending.read_exact(&mut reads).expect("it waits for the body");
    assert_eq!(&reads, b"HTTP/1.1 100 Continue\r\n\r\n");
    served.signal("INT");
    let answered = rest(sending);
    assert_eq!((answered.status, &answered.json()["error"]["code"]), (503, &"server_stopping".into()));
    let (code, said) = served.end();
    assert_eq!((code, said.trim()), (Some(0), "stopped"));
    drop(idle);
}

#[test]
fn quotas_refuse_with_when_to_come_again_and_let_in_then() {
    let plan = file("serve-plan.toml", "tokens = { minute = 20000 }\nusual_reserve = 16384\n");
    let keys = file("serve-keys.txt", "sk-a alpha\nsk-b beta\n");
    let flags = format!("--speed 100 --plan {} --error-shape cerebras", plan.display());
    let served = Served::start("quota", &flags);
    // The client names no largest answer: 16,384 tokens are reserved, and given back when it is shorter.
    for _ in 0..3 {
        assert_eq!(served.chat(r#""stream":false"#).status, 200);
    }
    let refused = served.chat(r#""max_tokens":16000,"ignore_eos":true"#);
    assert_eq!(refused.status, 200, "as long as what was reserved has come back: {}", refused.body);
    let refused = served.chat(r#""max_tokens":16000"#);
    let error = refused.json();
    assert_eq!((refused.status, &error["code"]), (429, &"token_quota_exceeded".into()), "{}", refused.body);
    assert_eq!(error["message"], "Tokens per minute limit exceeded - too many tokens processed.");
    assert_eq!(refused.header("x-ratelimit-limit-tokens-minute"), "20000");
    let wait: u64 = refused.header("retry-after-ms").parse().expect("a number");
    assert!(wait <= 600, "a minute of the service is 0.6 s at this speed: {wait} ms");
    std::thread::sleep(std::time::Duration::from_millis(wait));
    assert_eq!(served.chat(r#""max_tokens":16000"#).status, 200, "whoever waits as long as told is let in");
    let served = Served::start("keys", &format!("--keys {}", keys.display()));
    assert_eq!(served.chat(r#""stream":false"#).status, 401);
}

#[test]
fn whoever_hangs_up_frees_the_slot() {
    let served = Served::start("hang-up", "--speed 0.01");
    let body = format!(r#"{{{HELLO},"stream":true,"ignore_eos":true,"max_tokens":8000}}"#);
    let open: Vec<TcpStream> = (0..4).map(|_| served.connect("POST", "/v1/chat/completions", &body)).collect();
    let inside = |wanted: u64| {
        while served.live()["in_service"] != wanted {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    inside(4);
    drop(open);
    inside(0);
    let text = served.ask("GET", "/metrics", "").body;
    assert!(text.contains("wafersim:requests_cancelled_total{model_name=\"llama-3.1-8b\"} 4"), "{text}");
}

#[test]
fn the_end_is_clean_and_streams_are_told_why() {
    let mut served = Served::start("end", "--speed 0.05 --grace 0");
    let body = format!(r#"{{{HELLO},"stream":true,"ignore_eos":true,"max_tokens":8000}}"#);
    let mut stream = served.connect("POST", "/v1/chat/completions", &body);
    let mut first = [0; 64];
    stream.read_exact(&mut first).expect("it has begun");
    served.signal("TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the stream ends");
    assert!(rest.contains(r#""finish_reason":"length""#) && rest.contains("data: [DONE]"), "{rest}");
    let (code, said) = served.end();
    assert_eq!((code, said.trim()), (Some(0), "stopped"));
    // Who asks for the end twice does not wait for those who are served.
    let mut served = Served::start("end-twice", "--speed 0.001 --grace 3600");
    let mut stream = served.connect("POST", "/v1/chat/completions", &body);
    stream.read_exact(&mut first).expect("it has begun");
    served.signal("INT");
    // Signals that come together are one: the first has arrived when nobody listens any more.
    while TcpStream::connect(&served.address).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    served.signal("INT");
    let (code, said) = served.end();
    assert_eq!((code, said.trim()), (Some(0), "stopped"));
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(!rest.contains("[DONE]"), "its time was not over: {rest}");
    // Killed and started again on the same port, it serves again.
    let mut served = Served::start("killed", "");
    let address = served.address.clone();
    served.child.kill().and_then(|()| served.child.wait()).expect("killed");
    let served = Served::on(&address, "again", "--speed 50");
    assert_eq!(served.chat(r#""max_tokens":3"#).status, 200);
}

#[test]
fn a_session_is_a_trace_that_streams_read() {
    let record = file("serve-record.jsonl", "");
    let served = Served::start("record", &format!("--speed 50 --record {}", record.display()));
    let long = "words ".repeat(1000);
    for _ in 0..3 {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}],"max_tokens":9}}"#);
        assert_eq!(served.ask("POST", "/v1/chat/completions", &body).status, 200);
    }
    drop(served);
    let replay = format!("{MACHINE}\n[load]\nkind = 'trace'\nfile = '{}'\n", record.display());
    let replay = file("serve-replay.toml", &replay);
    let outcome = simctl(&format!("stream {} --format json", replay.display())).json();
    let totals = &outcome["outcome"]["totals"];
    assert_eq!((&totals["finished"], &totals["produced"]), (&3.into(), &27.into()), "{totals}");
    assert!(totals["cached_tokens"].as_u64().expect("a number") >= 2 * 1024, "{totals}");
}

#[test]
fn wrong_flags_are_refused_before_anything_is_served() {
    for (arguments, says) in [
        ("--speed 0", "--speed: is 0; allowed: a number from 0.001 to 10000"),
        ("--listen nowhere", "--listen: 'nowhere'"),
        ("--plan goldd", "there is no plan 'goldd'"),
        ("--plan ./no-such.toml", "no-such.toml"),
        ("--script no-such.toml", "no-such.toml"),
        ("--context 1000000", "--context: is 1000000"),
        ("--keys no-such.txt", "no-such.txt"),
        ("--upstream nowhere", "--upstream: nowhere: begins neither with http:// nor with https://"),
        ("--upstream http://me:secret@x/v1", "--upstream: ...@x/v1: holds a name or a password"),
        ("--upstream http://x/v1 --upstream-ca no-such.pem", "no-such.pem"),
        (
            "--upstream http://x/v1 --upstream-ca Cargo.toml",
            "--upstream-ca: Cargo.toml: is of no use: 'x' is asked without TLS",
        ),
        ("--upstream http://x/v1 --upstream-key-env NO_SUCH_KEY", "--upstream-key-env: 'NO_SUCH_KEY' is not set"),
    ] {
        let machine = file("serve-wrong.toml", MACHINE);
        let said = crate::surface::said(command(&format!("serve {} {arguments}", machine.display())));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
        assert!(said.stderr.contains(says), "{arguments}: {}", said.stderr);
    }
}

/// Whether a test of this kind must not be skipped.
fn is_required(kind: &str) -> bool {
    std::env::var("WAFERSIM_REQUIRE")
        .is_ok_and(|kinds| kinds.split([',', ' ']).any(|wanted| wanted == kind || wanted == "all"))
}

/// A Python with a package: the one that `WAFERSIM_PYTHON` names, or an own one, where it can be had.
fn python_with(package: &str) -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("WAFERSIM_PYTHON") {
        return Ok(named.into());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{package}"));
    let python = folder.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| -> Result<(), String> {
        let done = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.success() { Ok(()) } else { Err(said.lines().last().unwrap_or("it failed").to_owned()) }
    };
    if run(&python, &["-c", &format!("import {package}")]).is_err() {
        run(Path::new("python3"), &["-m", "venv", "--clear", &folder.display().to_string()])?;
        let install = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", package];
        run(&python, &install)?;
    }
    Ok(python)
}

#[test]
fn the_openai_package_sees_what_is_true() {
    let python = match python_with("openai") {
        Ok(python) => python,
        Err(why) if is_required("python") => panic!("no Python with openai: {why}"),
        Err(why) => {
            eprintln!("skipped: no Python with the package openai: {why}");
            return;
        }
    };
    let plan = file("serve-one-a-minute.toml", "requests = { minute = 1 }\n");
    let script = file(
        "serve-script.toml",
        "
        [[answer]]
        contains = 'list the files'
        has_tool = 'list_files'
        tool = 'list_files'
        arguments = { directory = '.' }
        [[answer]]
        after_tool = true
        text = 'There are two files.'
        [[answer]]
        contains = 'break the stream'
        tokens = 9
        fault = { kind = 'error', after = 3 }
        [[answer]]
        contains = 'cut the stream'
        tokens = 9
        fault = { kind = 'cut', after = 3 }
        ",
    );
    let limited = Served::start("openai-limited", &format!("--speed 60 --plan {}", plan.display()));
    // One user of this machine has 3,743 tok/s at first.
    let free = Served::start("openai-free", &format!("--speed 0.535 --script {}", script.display()));
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openai_client.py");
    let done = Command::new(python).arg(client).args([limited.url(), free.url()]).output().expect("it runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{}{}", said(&done.stdout), said(&done.stderr));
    assert!(said(&done.stdout).ends_with("openai: all passed\n"));
    // It asked three times and once again, which it says.
    let counts = limited.ask("GET", "/metrics", "").body;
    for count in ["retry=\"0\"} 3", "retry=\"1\"} 1"] {
        assert!(
            counts.contains(&format!("wafersim:requests_received_total{{model_name=\"llama-3.1-8b\",{count}")),
            "{counts}"
        );
    }
}

/// An endpoint behind another: what it says is passed on, in whole answers, streams and tool calls, with what it
/// refuses in the API's words; its key is in no message.
#[test]
fn an_upstream_is_passed_through_with_the_machines_timing() {
    let script = file(
        "serve-upstream.toml",
        "
        [[answer]]
        contains = 'call it'
        tool = 'ls'
        arguments = { path = 'src/main.rs' }
        [[answer]]
        contains = 'hello'
        text = 'The quick brown fox says: \"hello\" to a lazy dog.'
        ",
    );
    let keys = file("serve-upstream-keys.txt", "sk-upstream\n");
    let real = Served::start(
        "real",
        &format!("--speed 1000 --strict cerebras --script {} --keys {}", script.display(), keys.display()),
    );
    let flags = format!("--upstream {} --upstream-key-env SERVE_TEST_KEY --upstream-model llama-3.1-8b", real.url());
    let keyed =
        |name: &str, key: &str, flags: &str| Served::with("127.0.0.1:0", name, flags, &[("SERVE_TEST_KEY", key)]);
    let served = keyed("through", "sk-upstream", &format!("--speed 0.2 {flags}"));
    let words = "The quick brown fox says: \"hello\" to a lazy dog.";
    // The model's name and `wafersim_due` would be refused there: it is asked in its own name, for what it knows.
    let whole = served.chat(r#""model":"mine","wafersim_due":true"#);
    assert_eq!((whole.status, whole.json()["choices"][0]["message"]["content"].as_str()), (200, Some(words)));
    assert_eq!(whole.json()["usage"]["completion_tokens"], 10, "as many as the upstream counts");
    assert!(whole.header("x-wafersim-upstream-seconds").parse::<f64>().expect("a number") < 60.0);
    // Some 10 tokens of some 3,700 a second, five times as slow.
    let seconds = whole.json()["time_info"]["completion_time"].as_f64().expect("a number");
    assert!(seconds > 0.009 && seconds < 0.03, "{seconds}");
    let stream = served.chat(r#""stream":true,"stream_options":{"include_usage":true}"#);
    let pieces = stream.events().into_iter().filter_map(|event| {
        let event: Value = serde_json::from_str(event).ok()?;
        event["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    });
    assert_eq!(pieces.collect::<String>(), words);
    let call = r#"{"messages":[{"role":"user","content":"call it"}]}"#;
    let call = served.ask("POST", "/v1/chat/completions", call).json();
    let function = &call["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!((&function["name"], &function["arguments"]), (&"ls".into(), &r#"{"path":"src/main.rs"}"#.into()));
    assert_eq!(call["choices"][0]["finish_reason"], "tool_calls");
    // What it refuses, in its words; a key that it does not take is no fault of the client.
    let code = |answered: &Answered| answered.json()["error"]["code"].as_str().unwrap_or("").to_owned();
    let refused = served.chat(r#""store":true"#);
    assert_eq!((refused.status, code(&refused).as_str()), (400, "upstream_refused"), "{}", refused.body);
    assert!(refused.body.contains("property 'store' is unsupported"), "{}", refused.body);
    let mut wrong = keyed("wrong-key", "sk-a-secret", &flags);
    let refused = wrong.chat(r#""stream":false"#);
    assert_eq!((refused.status, code(&refused).as_str()), (502, "upstream_authentication"));
    wrong.signal("TERM");
    let (_, said) = wrong.end();
    assert!(!refused.body.contains("a-secret") && !said.contains("a-secret"), "{said}");
    // Who has no quota here costs nothing there.
    let plan = file("serve-upstream-plan.toml", "requests = { minute = 1 }\n");
    let limited = keyed("limited", "sk-upstream", &format!("{flags} --plan {}", plan.display()));
    assert_eq!(limited.chat(r#""stream":false"#).status, 200);
    let asked = |served: &Served| {
        let text = served.ask("GET", "/metrics", "").body;
        let line =
            text.lines().find(|line| line.starts_with("vllm:time_to_first_token_seconds_count")).map(str::to_owned);
        line.expect("a count")
    };
    let before = asked(&real);
    assert_eq!(code(&limited.chat(r#""stream":false"#)), "request_quota_exceeded");
    assert_eq!(asked(&real), before);
    drop(real);
    let gone = served.chat(r#""stream":false"#);
    assert_eq!((gone.status, code(&gone).as_str()), (502, "upstream_unreachable"), "{}", gone.body);
}

#[test]
fn the_live_page_shows_wafers_at_work() {
    let served = Served::start("wafers", "--speed 1");
    let before = served.live()["wafers_busy_seconds"].clone();
    assert_eq!(before.as_array().map(Vec::len), Some(1));
    assert_eq!(served.chat(r#""ignore_eos":true,"max_tokens":400"#).status, 200);
    let after = served.live()["wafers_busy_seconds"][0].as_f64().expect("seconds");
    assert!(after > before[0].as_f64().expect("seconds"), "{before} {after}");
}
