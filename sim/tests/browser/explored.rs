//! `simctl explore`: controls change numbers to those that `simctl run` gives.

use std::io::{BufRead as _, BufReader};

use serde_json::Value;

use crate::chromium::{self, Chromium};
use crate::pages::MARKS;
use crate::{Running, simctl};

const DATA: &str = "document.getElementById('data').textContent";

#[test]
fn controls_ask_again() {
    if !chromium::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let question = "--model llama-3.1-8b --context 4k --search none";
    let mut explorer = Running::start(folder.path(), &format!("explore {question}"));
    let mut address = String::new();
    BufReader::new(explorer.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let mut browser = Chromium::start();
    browser.show(1280, false);
    browser.open(address.trim());
    browser.until("document.documentElement.dataset.drawn");
    let set = |name: &str, value: &str| {
        format!(
            "(() => {{ const control = document.getElementById('control-{name}'); control.value = '{value}'; \
             control.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
        )
    };
    for (count, (name, value, flags)) in [
        ("users", "4", "--users 4"),
        ("wafers", "3", "--users 4 --wafers 3"),
        ("target", "9000", "--users 4 --wafers 3 --target 9000"),
        ("draft", "3", "--users 4 --wafers 3 --target 9000 --draft-length 3"),
        ("mapping", "published", "--users 4 --wafers 3 --target 9000 --draft-length 3 --mapping published"),
    ]
    .into_iter()
    .enumerate()
    {
        browser.value(&set(name, value));
        browser.until(&format!("document.documentElement.dataset.answered === '{}'", count + 1));
        let said = browser.value(DATA);
        let said: Value = serde_json::from_str(said.as_str().unwrap()).unwrap();
        let run = simctl(folder.path(), &format!("run {question} {flags} --format json"));
        let expected: Value = serde_json::from_slice(&run.stdout).unwrap();
        // The page has controls where the command has flags.
        let without_flags = |mut said: Value| said.as_object_mut().unwrap().remove("overrides").map(|_| said);
        assert_eq!(without_flags(said), without_flags(expected), "{flags}");
        println!("{}", browser.value("document.getElementById('status').textContent"));
    }
    browser.until("document.documentElement.dataset.whole === '5'");
    assert_eq!(browser.value("document.querySelectorAll('#frontier .chart').length"), 1);
    let marks = browser.value(MARKS);
    assert!(marks.as_array().unwrap().iter().all(|marks| marks.as_u64() > Some(0)), "{marks}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let own = address.trim();
    assert!(browser.requests().iter().all(|asked| asked.starts_with(own) || asked.starts_with("data:")));
    // What is asked again is there at once; what is wrong is said, and the page stays.
    let before = browser.value(DATA);
    browser.value(&set("users", "0"));
    browser.until("document.getElementById('status').classList.contains('wrong')");
    browser.value(&set("users", "4"));
    browser.until("document.documentElement.dataset.answered === '6'");
    println!("{}", browser.value("document.getElementById('status').textContent"));
    assert_eq!(browser.value(DATA), before);
    for (width, is_dark) in [(1280, false), (400, true)] {
        browser.show(width, is_dark);
        browser.value("new Promise((done) => setTimeout(done, 300))");
        assert!(browser.value("document.documentElement.scrollWidth").as_u64().unwrap() <= u64::from(width));
        browser.screenshot(&format!("explore-{width}"));
    }
}
