//! A small client of Chromium: its DevTools protocol over two pipes, messages that end with a zero byte. No library, no
//! socket: file descriptors 3 and 4 are the browser's, which a shell leads to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// Longest wait for an answer of the browser: it is lost beyond, not slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub struct Chromium {
    child: Child,
    input: ChildStdin,
    output: Receiver<Value>,
    session: String,
    next: u64,
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// Whether there is a Chromium; where there must be one, that none is there fails.
pub fn is_there() -> bool {
    let found = Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    let required = std::env::var("WAFERSIM_REQUIRE").unwrap_or_default();
    let is_required = required.split([',', ' ']).any(|word| word == "chromium" || word == "all");
    assert!(is_there || !is_required, "WAFERSIM_REQUIRE names chromium, and there is none (apt-get install chromium)");
    if !is_there {
        eprintln!("skipped: there is no Chromium (apt-get install chromium)");
    }
    is_there
}

impl Chromium {
    /// Starts one with an empty page.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("the browser");
        let data = format!("--user-data-dir={}", profile.path().display());
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1", "chromium", "--headless", "--no-sandbox"])
            .args(["--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", &data])
            .args(["--disable-extensions", "--disable-background-networking", "--hide-scrollbars", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser");
        let (input, pipe) = (child.stdin.take().expect("the browser"), child.stdout.take().expect("the browser"));
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut message = Vec::new();
            while pipe.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let (session, next, events) = (String::new(), 1, Vec::new());
        let mut browser = Self { child, input, output, session, next, events, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().expect("the browser").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Asks, and keeps the events that come before the answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.input.write_all(format!("{message}\0").as_bytes()).expect("the browser");
        self.input.flush().expect("the browser");
        loop {
            let message = self.output.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Opens a page.
    pub fn open(&mut self, address: &str) {
        self.events.clear();
        let answer = self.call("Page.navigate", json!({ "url": address }));
        assert!(answer.get("errorText").is_none(), "{address}: {answer}");
    }

    /// The value of an expression on the page; promises are waited for.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        for _ in 0..2400 {
            // A page that is still being opened has no document.
            let tried = format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
            if self.value(&tried) == true {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("never true: {expression}; {:?}", self.complaints());
    }

    /// Sets the size of the page, and whether it is dark.
    pub fn show(&mut self, width: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if is_dark { "dark" } else { "light" };
        let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", feature);
    }

    /// Presses Enter.
    pub fn enter(&mut self) {
        for (kind, text) in [("keyDown", "\r"), ("keyUp", "")] {
            let key =
                json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": text });
            self.call("Input.dispatchKeyEvent", key);
        }
    }

    /// Errors and warnings of scripts, and what the console was told.
    pub fn complaints(&mut self) -> Vec<String> {
        self.value("1");
        let of = |event: &Value| {
            let about = &event["params"];
            match event["method"].as_str()? {
                "Runtime.exceptionThrown" => Some(about["exceptionDetails"].to_string()),
                "Runtime.consoleAPICalled" => Some(format!("console: {}", about["args"])),
                "Log.entryAdded" => Some(about["entry"].to_string()),
                _ => None,
            }
        };
        self.events.iter().filter_map(of).collect()
    }

    /// Addresses that the page has asked.
    pub fn requests(&mut self) -> Vec<String> {
        self.value("1");
        let asked = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        asked.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// The whole page as a picture, into the folder of `WAFERSIM_SCREENSHOTS`, where that is set.
    pub fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("WAFERSIM_SCREENSHOTS") else { return };
        let answer = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "format": "png" }));
        let file = std::path::Path::new(&folder).join(format!("{name}.png.base64"));
        std::fs::write(file, answer["data"].as_str().expect("the browser")).expect("the browser");
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}
