//! What documents are written as says what their JSON says: every number has its place there, nothing of it ends an
//! element or a cell, the same document gives the same bytes.

use std::io::{Cursor, Read as _};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wafersim_page::answer::{self, Extras};
use wafersim_page::document::{Cell, Data, Document, Part, Picture, Tone};
use wafersim_page::generic::{self, Heading};
use wafersim_page::html::{self, Made};
use wafersim_page::{explain, plan, stream, text, workbook};
use zip::ZipArchive;

fn heading() -> Heading {
    Heading { title: "t".into(), verdict: "v".into(), tone: Tone::Neutral }
}

fn generic(main: Value) -> Document {
    generic::document(heading(), Data { main, beside: Vec::new() })
}

/// What `simctl run --model llama-3.1-8b --context 4k --users 4 --format json` says.
fn an_answer() -> Document {
    let main = serde_json::from_str(include_str!("data/answer.json")).expect("JSON");
    let extras = Extras { verdict: "REACHED".into(), wafer_map: None, text: None };
    answer::document(Data { main, beside: vec![(answer::FRONTIER, a_plan())] }, extras)
}

fn a_plan() -> Value {
    let row = |users: u64, speed: f64| {
        json!({
            "users": users, "context": 4096, "profile": "best", "wafers": 2, "fits": speed > 0.0,
            "tokens_per_second_per_user": if speed > 0.0 { json!(speed) } else { Value::Null },
            "tokens_per_second_total": speed * users as f64, "reaches_target": speed > 2000.0, "limit": "hops",
        })
    };
    json!({ "model": "m", "wafer": "w", "target": 2000.0, "clock_ghz": 1.1,
            "rows": [row(1, 3000.5), row(8, 2500.25), row(64, 0.0)] })
}

fn page(document: &Document) -> String {
    html::page(document, &Made { generator: "wafersim".into(), command: "simctl run".into() }).expect("a page")
}

/// All cells of a document.
fn cells(document: &Document) -> Vec<&Cell> {
    let parts = document.sections.iter().flat_map(|section| &section.parts);
    parts.flat_map(cells_of).collect()
}

fn cells_of(part: &Part) -> Vec<&Cell> {
    match part {
        Part::Figures(figures) => figures.iter().map(|(_, cell)| cell).collect(),
        Part::Table(table) => table.rows.iter().flatten().collect(),
        _ => Vec::new(),
    }
}

/// Every cell and every number of a chart is what stands at its place.
fn check_places(document: &Document) {
    for cell in cells(document) {
        if let Cell::Value { at, value, .. } = cell {
            assert_eq!(document.data.at(at), Some(value), "{at}");
        }
    }
    for part in document.sections.iter().flat_map(|section| &section.parts) {
        let Part::Chart(chart) = part else { continue };
        for record in &chart.records {
            for (name, place) in record.0.iter().filter_map(|(name, place)| Some((name.strip_suffix(" at")?, place))) {
                let place = place.as_str().expect("a place");
                assert_eq!(document.data.at(place), record.0.get(name), "{}: {place}", chart.title);
            }
        }
    }
}

/// The JSON in a page.
fn island<'a>(page: &'a str, id: &str) -> &'a str {
    let start = format!("<script type=\"application/json\" id=\"{id}\">");
    let (_, after) = page.split_once(&start).expect("an island");
    after.split_once("</script>").expect("its end").0
}

#[test]
fn the_page_of_an_answer_is_its_json() {
    let document = an_answer();
    check_places(&document);
    let page = page(&document);
    let said: Value = serde_json::from_str(island(&page, "data")).unwrap();
    assert_eq!(said, document.data.main);
    let frontier: Value = serde_json::from_str(island(&page, "data-frontier")).unwrap();
    assert_eq!(frontier, a_plan());
    assert!(page.len() < 2_000_000, "{}", page.len());
    for heading in ["Four columns", "Where the time goes", "How sure it is", "Speed against users", "Memory", "Inputs"]
    {
        assert!(page.contains(heading), "{heading}");
    }
    let charts = page.matches("class=\"chart-spec\"").count();
    assert!(charts >= 6, "{charts}");
    // Nothing is fetched: what looks like an address is a name of a schema, or in words.
    for fetched in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    assert_eq!(page, self::page(&an_answer()));
    assert!(text::markdown(&document).contains("| each user, tok/s | 3,704 |"));
}

/// A way down of one agent, as `simctl explain --format json` has it.
fn a_way() -> Value {
    let side = |quota: i64| {
        json!({
            "advertised": 2_000_000, "observed": 616_917 + quota,
            "steps": [
                { "name": "mapping", "change": -1_383_083, "speed": 616_917 },
                { "name": "quota", "change": quota, "speed": 616_917 + quota },
            ],
            "clients": { "shares": { "quota": 1.36, "decode": 1.13 } },
        })
    };
    let agent = json!({ "name": "light", "what": "short sessions" });
    let agents = json!([{ "agent": agent, "low": side(-600_000), "expected": side(-320_533), "high": side(25) }]);
    json!({ "command": "explain", "agents": agents, "provenance": { "version": "0.1.0" } })
}

#[test]
fn the_page_of_an_explanation_shows_every_digit() {
    let drawn = Picture { description: "a way".into(), svg: "<svg/>".into() };
    let document = explain::gap(Data { main: a_way(), beside: Vec::new() }, drawn, "What is not known.");
    check_places(&document);
    assert!(document.verdict.contains("the light agent 296.384 (16.917 to 616.942)"), "{}", document.verdict);
    let (page, markdown) = (page(&document), text::markdown(&document));
    for said in ["-1,383.083", "-320.533", "2,000.000", "0.025", "What each agent observes"] {
        assert!(page.contains(said), "{said}");
    }
    assert!(markdown.contains("| quota | -600.000 | -320.533 | 0.025 | 296.384 |"), "{markdown}");
}

#[test]
fn the_page_of_tasks_has_every_service_at_every_side() {
    let side = |time: f64| {
        json!({
            "tasks": { "finished": 9, "unfinished": 3, "time": { "count": 9, "mean": time, "p50": time },
                       "shares": { "service": time / 2.0, "tools": time / 4.0, "checks": time / 4.0 } },
            "usd_per_finished": time / 100.0, "clients": { "seen_speed_overall": 25.5 },
        })
    };
    let service = |name: &str, time: f64| json!({ "service": name, "low": side(time * 2.0), "expected": side(time), "high": side(time / 2.0) });
    let services = json!([service("wafers", 120.0), service("claude-like", 600.0)]);
    let main = json!({ "command": "explain", "tasks": { "agents": 12 }, "services": services });
    let document = explain::tasks(Data { main, beside: Vec::new() });
    check_places(&document);
    assert!(document.verdict.contains("wafers: 2.000 min (60.00 s to 4.000 min)"), "{}", document.verdict);
    let charts = page(&document).matches("class=\"chart-spec\"").count();
    assert_eq!(charts, 3);
}

#[test]
fn the_page_of_a_run_shows_clients_tasks_and_machines_where_there_are_any() {
    let mut main = json!({
        "machine": { "model": "m", "wafers": 2, "wafer": "w", "profile": "best" },
        "outcome": { "totals": { "finished": 9, "arrived": 9 }, "user_speed": { "count": 9, "mean": 400.0, "p50": 400.0 } },
    });
    let headings = |main: &Value| -> Vec<String> {
        let document = stream::run(Data { main: main.clone(), beside: Vec::new() }, Vec::new());
        check_places(&document);
        document.sections.into_iter().map(|section| section.heading).collect()
    };
    let special = ["What clients see", "Tasks", "Machines behind the balancer"];
    assert!(special.iter().all(|heading| !headings(&main).contains(&(*heading).to_owned())));
    main["outcome"]["clients"] = json!({ "plan": "coding", "seen_speed": { "p50": 13.0 }, "shares": { "quota": 1.0 } });
    main["outcome"]["tasks"] = json!({ "finished": 3, "time": { "mean": 99.0 }, "shares": { "service": 1.0 } });
    main["outcome"]["replicas"] = json!([{ "finished": 4, "tokens": 10 }, { "finished": 5, "tokens": 11 }]);
    assert!(special.iter().all(|heading| headings(&main).contains(&(*heading).to_owned())));
}

#[test]
fn nothing_that_is_said_becomes_a_script() {
    let bad = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&|\n=cmd()";
    let mut fields = Map::new();
    fields.insert(bad.into(), json!(bad));
    fields.insert("rows".into(), json!([{ bad: bad, "users": 1 }, { "users": 2 }]));
    let mut document = generic(Value::Object(fields.clone()));
    (document.title, document.verdict) = (bad.into(), bad.into());
    check_places(&document);
    let page = html::main(&document).unwrap();
    assert!(!page.contains("<script>alert") && !page.contains("<img"), "{bad}");
    assert_eq!(serde_json::from_str::<Value>(island(&page, "data")).unwrap(), Value::Object(fields));
    let markdown = text::markdown(&document);
    let rows = markdown.lines().filter(|line| line.starts_with("| ")).count();
    assert!(rows > 0 && !markdown.contains("| <img"), "{markdown}");
    // A text of a spreadsheet stays text.
    let sheets = sheets(&workbook::xlsx(&document).unwrap());
    assert!(!sheets.contains("<f>cmd()"), "{sheets}");
}

/// All sheets of a spreadsheet, with its strings.
fn sheets(bytes: &[u8]) -> String {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).expect("a zip archive");
    let mut all = String::new();
    for index in 0..archive.len() {
        archive.by_index(index).expect("a file").read_to_string(&mut all).expect("text");
    }
    all
}

#[test]
fn a_spreadsheet_reckons_with_live_formulas() {
    let bytes = workbook::xlsx(&an_answer()).unwrap();
    assert_eq!(bytes, workbook::xlsx(&an_answer()).unwrap(), "the same bytes");
    let sheets = sheets(&bytes);
    // 8 users are the most of those that fit: 8 machines of 1 user, 1 of 8.
    for formula in [
        "<f>IF(B8&gt;0,ROUNDUP($B$2/B8,0)+$B$3,0)</f><v>8</v>",
        "<f>IF(B9&gt;0,ROUNDUP($B$2/B9,0)+$B$3,0)</f><v>1</v>",
        "<f>E8*F8</f><v>16</v>",
        "<f>$B$2*C9</f><v>20002</v>",
        "<f>G9*$B$4</f><v>0</v>",
    ] {
        assert!(sheets.contains(formula), "{formula}");
    }
    assert!(!sheets.contains("B10&gt;0"), "what does not fit is no machine");
    assert!(sheets.contains("<v>2500.25</v>"), "numbers in full");
    for name in ["Figures", "Profiles", "Breakdown", "Ranges", "Frontier", "Machines"] {
        assert!(sheets.contains(&format!("name=\"{name}\"")), "{name}");
    }
}

#[test]
fn the_largest_table_is_the_csv_of_a_document() {
    let document = plan::document(heading(), Data { main: a_plan(), beside: Vec::new() });
    check_places(&document);
    let csv = text::csv(&document).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("users,wafers,fits,tok/s,\"in all, tok/s\",target,limit"));
    assert_eq!(lines.nth(1), Some("8,2,true,2500.25,20002.0,true,hops"));
    let figures = text::csv(&generic(json!({ "time_us": 1.5, "name": "a,b" }))).unwrap();
    assert_eq!(figures, "figure,value,unit\nTime,1.5,us\nName,\"a,b\",\n");
}

#[test]
fn long_tables_say_what_a_page_leaves_out() {
    let rows: Vec<Value> = (0..html::MOST_ROWS as u64 + 7).map(|users| json!({ "users": users })).collect();
    let page = html::main(&generic(json!({ "rows": rows }))).unwrap();
    assert_eq!(page.matches("<tr><td").count(), html::MOST_ROWS);
    assert!(page.contains("500 of 507 rows"));
}

/// JSON as commands write it: objects of single values, objects and lists.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e12..1e12).prop_map(Value::from),
        "[ -~<>&\"]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map("[a-z_/~<]{1,8}", inner, 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_json_has_a_page_a_spreadsheet_and_a_table(main in any_json()) {
        let document = generic(main.clone());
        check_places(&document);
        let page = page(&document);
        prop_assert_eq!(serde_json::from_str::<Value>(island(&page, "data")).unwrap(), main);
        prop_assert_eq!(&workbook::xlsx(&document).unwrap(), &workbook::xlsx(&document).unwrap());
        text::csv(&document).unwrap();
        text::markdown(&document);
    }
}

/// What a Parquet file says is what the table says, empty cells included.
#[cfg(feature = "parquet")]
#[test]
fn parquet_reads_back_to_the_same_numbers() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;
    use wafersim_page::parquet::bytes;

    let document = plan::document(heading(), Data { main: a_plan(), beside: Vec::new() });
    let written = bytes(&document).unwrap();
    assert_eq!(written, bytes(&document).unwrap());
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &written).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows: Vec<Vec<(String, Field)>> =
        reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns()).collect();
    let named = |row: usize, name: &str| rows[row].iter().find(|(title, _)| title == name).unwrap().1.clone();
    assert_eq!(rows.len(), 3);
    assert_eq!(named(1, "users"), Field::Long(8));
    assert_eq!(named(1, "tok/s"), Field::Double(2500.25));
    assert_eq!(named(2, "tok/s"), Field::Null);
    assert_eq!(named(1, "target"), Field::Bool(true));
    assert_eq!(named(0, "limit"), Field::Str("hops".into()));
    let figures = bytes(&generic(json!({ "time_us": 1.5, "name": "a" }))).unwrap();
    assert!(figures.starts_with(b"PAR1"), "without a table the figures are one");
}

#[test]
fn a_size_has_a_sheet_with_its_price_filled_in() {
    let main = json!({
        "feasible": true, "users": 300.0, "wafers_per_machine": 32, "users_per_machine": 24.0,
        "mean_tokens_per_second_per_user": 20.0, "tokens_per_second_per_machine": 480.0,
        "spares": { "machines": 6 },
        "cost": { "system": { "total": { "value": 42.0 } }, "economics": { "occupancy": { "value": 0.5 } } }
    });
    let heading = Heading { title: "size".into(), verdict: String::new(), tone: Tone::Neutral };
    let document = wafersim_page::size::document(heading, Data { main, beside: Vec::new() });
    assert_eq!((document.tone, document.machines.len()), (Tone::Good, 1));
    let bytes = workbook::xlsx(&document).unwrap();
    let sheets = sheets(&bytes);
    // 300 users in machines of 24, and 6 in reserve: 19 machines of 32 wafers at 42 dollars an hour.
    for part in ["ROUNDUP($B$2/B8,0)+$B$3", "<v>19</v>", "<v>25536</v>", "$B$4"] {
        assert!(sheets.contains(part), "{part}: {sheets}");
    }
}

/// The sheet's formulas give what the cost itself says: 16 wafers at 42 dollars an hour, 730 tok/s for half of the
/// time.
#[test]
fn a_cost_has_a_sheet_that_says_what_it_says() {
    let main = json!({
        "wafers": 16, "users": 1, "load": { "systems": 32, "tokens_per_second_per_user": 730.0 },
        "system": { "total": { "value": 42.0 } }, "economics": { "occupancy": { "value": 0.5 } }
    });
    let heading = Heading { title: "cost".into(), verdict: String::new(), tone: Tone::Neutral };
    let document = wafersim_page::cost::document(heading, Data { main, beside: Vec::new() });
    let sheets = sheets(&workbook::xlsx(&document).unwrap());
    let a_million = 32.0 * 42.0 / (2.0 * 730.0 * 0.5 * 3600.0) * 1e6;
    for part in ["<v>32</v>", "<v>1344</v>", &format!("<v>{a_million}</v>"), "I8/(H8*$B$5*3600)*1000000"] {
        assert!(sheets.contains(part), "{part}: {sheets}");
    }
}

#[test]
fn a_run_with_a_price_has_it_in_its_cells() {
    use wafersim_page::document::Planned;
    let mut document = an_answer();
    document.planned = Planned::priced(41.5, 0.25);
    let sheets = sheets(&workbook::xlsx(&document).unwrap());
    assert!(sheets.contains("<v>41.5</v>") && sheets.contains("<v>0.25</v>"), "{sheets}");
}
