//! Pages that stand for themselves.

use serde_json::Value;

use crate::chromium::{self, Chromium};
use crate::simctl;

/// Reads every number back that stands on the page, by itself, and says where it is not the one of the JSON.
const NUMBERS: &str = r#"(() => {
  const islands = {};
  for (const island of document.querySelectorAll('script[type="application/json"][id]'))
    islands[island.id.replace(/^data-?/, '')] = JSON.parse(island.textContent);
  const at = (place) => {
    const [, name, pointer] = /^([a-z]*):?(.*)$/s.exec(place);
    let value = islands[name];
    for (const part of pointer.split('/').slice(1)) value = value[part.replaceAll('~1', '/').replaceAll('~0', '~')];
    return value;
  };
  const sizes = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, days: 86400,
    B: 1, KiB: 1024, MiB: 1048576, GiB: 1073741824, TiB: 1099511627776, '%': 0.01 };
  const scales = { s: 1, ms: 1e-3, us: 1e-6, percent: 0.01, millispeed: 1e-3 };
  const wrong = [];
  let read = 0;
  for (const element of document.querySelectorAll('[data-at]')) {
    const [value, unit, text] = [at(element.dataset.at), element.dataset.unit, element.textContent];
    if (typeof value !== 'number') continue;
    read += 1;
    if (text === 'unlimited') { if (value < 1e12) wrong.push(element.dataset.at); continue; }
    const [, digits, symbol] = /^(-?[0-9.,e-]+) ?(.*)$/.exec(text) ?? [];
    const said = Number((digits ?? 'none').replaceAll(',', '')) * (sizes[symbol] ?? 1);
    const meant = value * (scales[unit] ?? 1);
    const slack = symbol === '%' ? 0.0051 : unit === 'bytes' ? Math.abs(meant) * 0.0051 : Math.abs(meant) * 5.1e-4;
    if (!(Math.abs(said - meant) <= slack)) wrong.push(`${element.dataset.at}: ${text} for ${value}`);
  }
  for (const script of document.querySelectorAll('.chart-spec'))
    for (const record of JSON.parse(script.textContent).data.values)
      for (const name of Object.keys(record).filter((name) => name.endsWith(' at'))) {
        read += 1;
        if (at(record[name]) !== record[name.slice(0, -3)]) wrong.push(record[name]);
      }
  return { read, wrong };
})()"#;

/// Marks of each chart.
pub const MARKS: &str = "[...document.querySelectorAll('.chart')].map((chart) => \
    chart.querySelectorAll('svg .role-mark > path, svg .role-mark > text, svg .role-mark > line').length)";

/// What stands in a column of the first table of a section.
fn column(section: &str, index: usize) -> String {
    format!(
        "[...document.querySelectorAll('#{section} table tbody tr')].map((row) => \
         Number(row.cells[{index}].textContent.replace(/[,%]/g, '')))"
    )
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|value| value.as_f64().expect("numbers")).collect()
}

/// What every page has to keep: no complaints, nothing asked, marks in each chart, numbers of the JSON, room.
fn check(browser: &mut Chromium, name: &str) {
    browser.until("document.documentElement.dataset.drawn");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "{name}");
    let paint = browser.value("performance.getEntriesByName('first-contentful-paint')[0]?.startTime");
    eprintln!("{name}: first paint after {paint} ms");
    let asked = browser.requests();
    let elsewhere = asked.iter().filter(|address| !address.starts_with("file:") && !address.starts_with("data:"));
    assert_eq!(elsewhere.count(), 0, "{name}: {asked:?}");
    let marks = numbers(&browser.value(MARKS));
    assert!(marks.iter().all(|marks| *marks > 0.0), "{name}: marks of charts {marks:?}");
    let read = browser.value(NUMBERS);
    assert_eq!(read["wrong"], serde_json::json!([]), "{name}");
    assert!(read["read"].as_u64() > Some(10), "{name}: {read}");
    for (what, expression) in [
        ("one heading", "document.querySelectorAll('h1').length === 1"),
        ("a language and a title", "document.documentElement.lang === 'en' && document.title.length > 0"),
        ("captions", "[...document.querySelectorAll('table')].every((table) => table.caption?.textContent)"),
        ("titles of columns", "[...document.querySelectorAll('th')].every((th) => th.scope === 'col')"),
        ("words for charts", "[...document.querySelectorAll('.chart')].every((chart) => chart.ariaLabel)"),
        (
            "anchors",
            "new Set([...document.querySelectorAll('[id]')].map((one) => one.id)).size \
                     === document.querySelectorAll('[id]').length",
        ),
    ] {
        assert_eq!(browser.value(expression), true, "{name}: {what}");
    }
    for (width, is_dark) in [(1280, false), (1280, true), (400, false), (400, true)] {
        browser.show(width, is_dark);
        browser.value("new Promise((done) => setTimeout(done, 300))");
        let wide = browser.value("document.documentElement.scrollWidth");
        assert!(wide.as_u64() <= Some(u64::from(width)), "{name}: {wide} pixels wide on {width}");
        browser.screenshot(&format!("{name}-{width}-{}", if is_dark { "dark" } else { "light" }));
    }
    browser.show(1280, false);
}

#[test]
fn the_page_of_an_answer() {
    if !chromium::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let question = "run --model llama-3.1-8b --context 4k --users 4 --search none";
    simctl(folder.path(), &format!("{question} --out answer.html"));
    let file = folder.path().join("answer.html");
    assert!(file.metadata().unwrap().len() < 2_000_000);
    let mut browser = Chromium::start();
    browser.show(1280, false);
    browser.open(&format!("file://{}", file.display()));
    check(&mut browser, "answer");
    let json: Value =
        serde_json::from_slice(&simctl(folder.path(), &format!("{question} --format json")).stdout).unwrap();
    let data = browser.value("document.getElementById('data').textContent");
    assert_eq!(serde_json::from_str::<Value>(data.as_str().unwrap()).unwrap(), json);
    assert!(numbers(&browser.value(MARKS)).len() >= 6);
    // A click sorts upwards, another downwards; so does a key.
    let header = |index: usize| format!("document.querySelectorAll('#breakdown table th button')[{index}]");
    let unsorted = numbers(&browser.value(&column("breakdown", 2)));
    browser.value(&format!("{}.click()", header(2)));
    let rising = numbers(&browser.value(&column("breakdown", 2)));
    assert!(rising.is_sorted() && rising != unsorted, "{rising:?}");
    browser.value(&format!("{}.focus()", header(2)));
    browser.enter();
    let falling = numbers(&browser.value(&column("breakdown", 2)));
    assert!(falling.iter().rev().is_sorted(), "{falling:?}");
    let direction = "document.querySelector('#breakdown th[aria-sort]').ariaSort";
    assert_eq!(browser.value(direction), "descending");
}

/// Agents with tasks behind a service of two machines.
const TASKS: &str = "
[machine]
model = 'llama-3.1-8b'
wafers = 2
users = 4
context = 65536
[service]
prefix_cache = true
plan = 'coding'
replicas = 2
[clients]
organisations = 4
[load]
kind = 'tasks'
users = 4
tasks = 4
[run]
window = 100000
";

#[test]
fn pages_of_other_commands() {
    if std::env::var("WAFERSIM_PAGES").as_deref() != Ok("all") {
        eprintln!("skipped: pages of other commands are opened with WAFERSIM_PAGES=all");
        return;
    }
    if !chromium::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tasks = folder.path().join("tasks.toml");
    std::fs::write(&tasks, TASKS).unwrap();
    let load = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/stream/agents-at-100k.toml");
    let mut browser = Chromium::start();
    browser.show(1280, false);
    for (name, command) in [
        (
            "plan",
            "plan --model llama-3.1-8b --context 4k --users 1,4,16 --profile published,best --search none".to_owned(),
        ),
        ("bound", "bound".to_owned()),
        ("validate", "validate".to_owned()),
        ("stream", format!("stream {load}")),
        ("explain", "explain --agent light --set run.window=60".to_owned()),
        ("tasks", format!("stream {}", tasks.display())),
        ("wafers", "wafers wse3".to_owned()),
    ] {
        simctl(folder.path(), &format!("{command} --out {name}.html"));
        browser.open(&format!("file://{}", folder.path().join(format!("{name}.html")).display()));
        check(&mut browser, name);
    }
}
