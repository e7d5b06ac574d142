//! The page of one answer: verdict, the four columns, the way between them, where the time goes, how sure it is, what
//! lives where, speed against users, and where all of that comes from.

use crate::chart::{Bars, ChartPoint, Points, Spans, Stacked, Steps};
use crate::document::{Cell, Column, Data, Document, Machine, Part, Picture, Section, Table, Tone};
use crate::generic;
use crate::unit::Unit;

/// Columns of the profiles, in the order of what they promise.
const COLUMNS: [(&str, &str); 5] = [
    ("published", "published"),
    ("best", "best"),
    ("ideal", "ideal hardware"),
    ("no_mapping_beats_at_measured_rate", "no mapping beats, measured rate"),
    ("no_mapping_beats", "no mapping beats"),
];

/// Name of the JSON that has the frontier: a plan over users.
pub const FRONTIER: &str = "frontier";
/// Name of the JSON that has the scenario as it was asked.
pub const ASKED: &str = "asked";

/// What is shown beside the JSON of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras {
    /// The verdict in words.
    pub verdict: String,
    /// The wafers.
    pub wafer_map: Option<Picture>,
    /// The answer as it is printed.
    pub text: Option<String>,
}

/// The document of an answer: `data.main` is the JSON of `simctl run`, beside it a plan over users ([`FRONTIER`]) and
/// the scenario ([`ASKED`]), where they are there.
pub fn document(data: Data, extras: Extras) -> Document {
    let words = |place: &str| data.words(place).unwrap_or_default().to_owned();
    let tone = match data.words("/verdict/state") {
        Some("reached") => Tone::Good,
        Some(_) => Tone::Bad,
        None => Tone::Neutral,
    };
    let wafers = Cell::at(&data, "/wafers", Unit::Plain).text();
    let title = format!("{} on {wafers} x {}", words("/model"), words("/wafer"));
    let sections = [
        key_figures(&data),
        columns(&data),
        breakdown(&data),
        ranges(&data),
        frontier(&data),
        wafers_compared(&data),
        memory(&data),
        extras.wafer_map.map(|map| Section::new("wafer-map", "What lives where").show(Some(Part::Picture(map)))),
        reading(&data, "stream", "Users event by event"),
        reading(&data, "fabric", "Layers on the fabric"),
        load(&data),
        certificate(&data),
        provenance(&data),
        extras.text.map(|text| Section::new("as-text", "As text").show(Some(Part::Lines(text)))),
    ];
    let sections = sections.into_iter().flatten().filter(|section| !section.parts.is_empty()).collect();
    let machines = machines(&data);
    Document {
        title,
        verdict: extras.verdict,
        tone,
        sections,
        data,
        machines,
        planned: crate::document::Planned::default(),
    }
}

/// Labels with the values at their places; those that are there.
fn figures(data: &Data, labels: &[(&str, &str)]) -> Option<Part> {
    let cells = labels.iter().map(|(label, place)| {
        let field = place.rsplit('/').next().unwrap_or(place);
        ((*label).to_owned(), Cell::at(data, *place, Unit::of_field(field)))
    });
    let cells: Vec<(String, Cell)> = cells.filter(|(_, cell)| !cell.is_empty()).collect();
    (!cells.is_empty()).then_some(Part::Figures(cells))
}

fn key_figures(data: &Data) -> Option<Section> {
    let part = figures(
        data,
        &[
            ("each user, tok/s", "/tokens_per_second_per_user"),
            ("target, tok/s", "/verdict/target"),
            ("per output token", "/time_per_output_token_us"),
            ("first token", "/time_to_first_token_ms"),
            ("all users, tok/s", "/tokens_per_second_total"),
            ("wafers", "/wafers"),
            ("prompts computed", "/prefill/where"),
            ("prompt there", "/prefill/prompt_time_ms"),
            ("its keys and values", "/prefill/transfer_time_ms"),
            ("wafers in all", "/wafers_in_all"),
            ("users", "/users"),
            ("context, tokens", "/context"),
            ("users at full speed", "/users_at_full_speed"),
            ("users that fit", "/max_users"),
            ("profile", "/profile"),
            ("clock", "/verdict/clock_ghz"),
        ],
    )?;
    Some(Section::new("answer", "Answer").show(Some(part)))
}

fn columns(data: &Data) -> Option<Section> {
    let known: Vec<(&str, &str)> =
        COLUMNS.into_iter().filter(|(key, _)| data.at(&format!("/profiles/{key}")).is_some()).collect();
    let row = |(title, field): &(&str, &str)| -> Vec<Cell> {
        let unit = Unit::of_field(field.rsplit('/').next().unwrap_or(field));
        let cells = known.iter().map(|(key, _)| Cell::at(data, format!("/profiles/{key}/{field}"), unit));
        std::iter::once(Cell::Words((*title).to_owned())).chain(cells).collect()
    };
    let rows = [
        ("each user, tok/s", "tokens_per_second_per_user"),
        ("all users, tok/s", "tokens_per_second_total"),
        ("reaches the target", "reaches_target"),
        ("per output token", "time_per_output_token_us"),
        ("first token", "time_to_first_token_ms"),
        ("one pass", "latency_us"),
        ("slowest stage", "slowest_stage_us"),
        ("users at full speed", "users_at_full_speed"),
        ("users that fill the pipeline", "full_pipeline_users"),
        ("full pipeline, tok/s", "full_pipeline_tokens_per_second"),
        ("what binds", "limit/cause"),
        ("most of it in", "limit/operator"),
    ];
    let rows = rows.iter().map(row).filter(|row| row.iter().skip(1).any(|cell| !cell.is_empty())).collect();
    let title = |title: &str| Column { title: title.into(), field: String::new(), unit: Unit::Plain };
    let columns = std::iter::once(title("")).chain(known.iter().map(|(_, name)| title(name))).collect();
    let table = Table {
        name: "Profiles".into(),
        caption:
            "What programs give that were published, the best known ones, the same on ideal hardware, and what no \
                  mapping beats"
                .into(),
        columns,
        rows,
    };
    let each = |field: &str| {
        known.iter().map(|(key, name)| ((*name).to_owned(), format!("/profiles/{key}/{field}"))).collect::<Vec<_>>()
    };
    let speeds = Bars {
        title: "Tokens per second of each user",
        description: "A bar for each profile and for what no mapping beats; the dashed line is the target.",
        axis: "tok/s of each user",
        bars: each("tokens_per_second_per_user"),
        target: Some("/verdict/target"),
    };
    let steps = Steps {
        title: "Time of an output token, from published programs to what no mapping beats",
        description: "A waterfall: times of the profiles, and what lies between each and the next.",
        axis: "us per output token",
        totals: each("time_per_output_token_us"),
    };
    let section = Section::new("profiles", "Four columns: published, best, ideal, no mapping beats");
    let section = section.show(speeds.chart(data).map(Part::Chart)).show(steps.chart(data).map(Part::Chart));
    Some(section.show(table.without_empty_columns().map(Part::Table)))
}

fn breakdown(data: &Data) -> Option<Section> {
    let rows = data.items("/breakdown");
    let mut causes: Vec<String> = Vec::new();
    let mut parts = Vec::new();
    for index in 0..rows {
        let operator = data.words(&format!("/breakdown/{index}/operator")).unwrap_or_default().to_owned();
        for cause in data.fields(&format!("/breakdown/{index}/causes")) {
            let place = format!("/breakdown/{index}/causes/{cause}");
            if data.number(&place).is_none_or(|cycles| cycles == 0.0) {
                continue;
            }
            parts.push((operator.clone(), generic::words(&cause).to_lowercase(), place));
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        }
    }
    let chart = Stacked {
        title: "One token's way through the machine, in cycles",
        description: "A bar for each operator, in parts by cause.",
        axis: "cycles",
        parts,
    };
    let mut columns =
        vec![Column::of("operator", "operator"), Column::of("share", "share"), Column::of("cycles", "cycles")];
    columns.extend(causes.iter().map(|cause| {
        Column::of(&generic::words(cause).to_lowercase(), &format!("causes/{cause}")).counting(Unit::Plain)
    }));
    let caption = "Cycles of one pass by operator and cause, in the order of the pipeline";
    let table = Table::of_list(data, "/breakdown", "Breakdown", caption, columns)?;
    let section = Section::new("breakdown", "Where the time goes");
    let section = section.show(figures(
        data,
        &[
            ("what binds", "/verdict/limit/cause"),
            ("most of it in", "/verdict/limit/operator"),
            ("its part of a token's way", "/verdict/limit/share"),
        ],
    ));
    Some(section.show(chart.chart(data).map(Part::Chart)).show(Some(Part::Table(table))))
}

fn ranges(data: &Data) -> Option<Section> {
    data.at("/uncertainty")?;
    let name = |index: usize, field: &str| {
        data.words(&format!("/uncertainty/parameters/{index}/{field}")).unwrap_or_default().to_owned()
    };
    let all = ("all at once".to_owned(), "/uncertainty/tokens_per_second_per_user".to_owned());
    let each = (0..data.items("/uncertainty/parameters")).map(|index| {
        let place = format!("/uncertainty/parameters/{index}/tokens_per_second_per_user");
        (name(index, "parameter"), place)
    });
    let spans = Spans {
        title: "How the speed moves with what is not known",
        description: "A bar for each parameter from its slow to its fast end; the mark is the answer, the dashed \
                      line the target.",
        axis: "tok/s of each user",
        spans: std::iter::once(all).chain(each).collect(),
        now: "/tokens_per_second_per_user",
        target: Some("/verdict/target"),
    };
    let parameters = Table::of_list(
        data,
        "/uncertainty/parameters",
        "Ranges",
        "Parameters that move the answer, the strongest first",
        vec![
            Column::of("parameter", "parameter"),
            Column::of("known from", "evidence"),
            Column::of("low", "low").counting(Unit::Plain),
            Column::of("high", "high").counting(Unit::Plain),
            Column::of("tok/s, low", "tokens_per_second_per_user/low").counting(Unit::Speed),
            Column::of("tok/s, high", "tokens_per_second_per_user/high").counting(Unit::Speed),
        ],
    );
    let clock = Table::of_list(
        data,
        "/uncertainty/clock",
        "Clock",
        "At other clocks",
        vec![
            Column::of("clock", "ghz"),
            Column::of("tok/s", "tokens_per_second_per_user"),
            Column::of("reaches the target", "reaches_target"),
        ],
    );
    let toggles = Table::of_list(
        data,
        "/uncertainty/toggles",
        "Guesses",
        "Guesses of another kind, each switched by itself",
        vec![
            Column::of("guess", "toggle"),
            Column::of("assumed", "assumed"),
            Column::of("other", "other"),
            Column::of("known from", "evidence"),
            Column::of("tok/s, low", "tokens_per_second_per_user/low").counting(Unit::Speed),
            Column::of("tok/s, high", "tokens_per_second_per_user/high").counting(Unit::Speed),
        ],
    );
    let low_high = |label: &str, place: &str, unit: Unit| {
        let cell = |end: &str| (format!("{label}, {end}"), Cell::at(data, format!("/uncertainty/{place}/{end}"), unit));
        [cell("low"), cell("high")]
    };
    let sampled = generic::object(data, "/uncertainty/sampled").filter(|_| data.at("/uncertainty/sampled").is_some());
    let mut ends: Vec<(String, Cell)> = Vec::new();
    for (label, place, unit) in [
        ("each user, tok/s", "tokens_per_second_per_user", Unit::Speed),
        ("first token", "time_to_first_token_ms", Unit::Milliseconds),
        ("fewest wafers", "wafers", Unit::Plain),
        ("users that fit", "max_users", Unit::Users),
        ("free memory of a PE", "free_memory", Unit::Bytes),
    ] {
        ends.extend(low_high(label, place, unit).into_iter().filter(|(_, cell)| !cell.is_empty()));
    }
    let section = Section::new("ranges", "How sure it is")
        .say("Everything that is not known at its slow end and at its fast end, then each parameter alone.")
        .show((!ends.is_empty()).then_some(Part::Figures(ends)))
        .show(spans.chart(data).map(Part::Chart))
        .show(parameters.map(Part::Table))
        .show(toggles.map(Part::Table))
        .show(clock.map(Part::Table));
    Some(section.show(sampled))
}

fn frontier(data: &Data) -> Option<Section> {
    let rows = format!("{FRONTIER}:/rows");
    let points = (0..data.items(&rows)).map(|index| ChartPoint {
        series: data.words(&format!("{rows}/{index}/profile")).unwrap_or_default().to_owned(),
        label: Cell::at(data, format!("{rows}/{index}/users"), Unit::Plain).text(),
        x: format!("{rows}/{index}/tokens_per_second_total"),
        y: format!("{rows}/{index}/tokens_per_second_per_user"),
    });
    let points = Points {
        title: "Speed of each user against tokens of all users",
        description: "A point for each number of users; the dashed line is the target.",
        x: "tok/s of all users",
        y: "tok/s of each user",
        points: points.collect(),
        target: data.number("/verdict/target"),
        logarithmic: true,
    };
    let table = crate::plan::table(data, FRONTIER, "Frontier", "The same wafers with other numbers of users");
    let section = Section::new("frontier", "Speed against users").say(
        "As many wafers as the answer has, with the best mapping that is found for each number of users. Labels are \
         users; the dashed line is the target.",
    );
    Some(section.show(points.chart(data).map(Part::Chart)).show(table.map(Part::Table)))
}

fn wafers_compared(data: &Data) -> Option<Section> {
    let point = |index: usize| ChartPoint {
        series: "each user".into(),
        label: String::new(),
        x: format!("/considered/{index}/wafers"),
        y: format!("/considered/{index}/tokens_per_second_per_user"),
    };
    let points = Points {
        title: "Speed on other numbers of wafers",
        description: "A point for each number of wafers that was compared; the dashed line is the target.",
        x: "wafers",
        y: "tok/s of each user",
        points: (0..data.items("/considered")).map(point).collect(),
        target: data.number("/verdict/target"),
        logarithmic: false,
    };
    let columns = vec![Column::of("wafers", "wafers"), Column::of("tok/s", "tokens_per_second_per_user")];
    let table = Table::of_list(data, "/considered", "Wafers", "Numbers of wafers that were compared", columns)?;
    let section = Section::new("wafers", "Other numbers of wafers").show(points.chart(data).map(Part::Chart));
    Some(section.show(Some(Part::Table(table))))
}

fn memory(data: &Data) -> Option<Section> {
    const PARTS: [(&str, &str); 7] = [
        ("weights", "weights"),
        ("copies of gains, scales", "replicated"),
        ("KV cache", "kv_cache"),
        ("activations", "activations"),
        ("receive buffers", "receive_buffers"),
        ("code and runtime", "code_and_runtime"),
        ("spare", "spare"),
    ];
    let place = |field: &str| format!("/memory/per_pe_bytes/{field}");
    let chart = Stacked {
        title: "Memory of the fullest processing element, in bytes",
        description: "One bar, in parts by what lies there.",
        axis: "bytes",
        parts: PARTS.iter().map(|(name, field)| ("fullest PE".into(), (*name).into(), place(field))).collect(),
    };
    let row = |(name, field): &(&str, &str)| {
        let total = Cell::at(data, format!("/memory/total_bytes/{field}"), Unit::Bytes);
        vec![Cell::Words((*name).into()), Cell::at(data, place(field), Unit::Plain), total]
    };
    let column = |title: &str, unit| Column { title: title.into(), field: String::new(), unit };
    let table = Table {
        name: "Memory".into(),
        caption: "What lives in memory".into(),
        columns: vec![
            column("", Unit::Plain),
            column("fullest PE, bytes", Unit::Plain),
            column("all wafers", Unit::Bytes),
        ],
        rows: PARTS.iter().chain(&[("SRAM", "limit")]).map(row).filter(|row| !row[1].is_empty()).collect(),
    };
    let section = Section::new("memory", "Memory").show(chart.chart(data).map(Part::Chart));
    let section = section.show(table.without_empty_columns().map(Part::Table));
    Some(section.show(figures(
        data,
        &[
            ("KV cache of a token", "/kv_bytes_per_token"),
            ("slots of a wafer", "/memory/slots_per_wafer"),
            ("empty slots", "/memory/empty_slots"),
            ("PEs of a wafer in no slot", "/memory/spare_pes_per_wafer"),
            ("region of the fullest PE, columns", "/memory/worst_pe/region/columns"),
            ("and its rows", "/memory/worst_pe/region/rows"),
            ("which holds", "/memory/worst_pe/holds"),
        ],
    )))
}

fn load(data: &Data) -> Option<Section> {
    let section = Section::new("inputs", "Inputs");
    let section = section.show(generic::object(data, "/load"));
    let section = section
        .show(figures(data, &[("parameters", "/parameters/total"), ("active parameters", "/parameters/active")]));
    let as_asked = generic::object(data, &format!("{ASKED}:"));
    Some(if as_asked.is_some() {
        section.say("As it was run, then the scenario as it was asked.").show(as_asked)
    } else {
        section
    })
}

/// What another reading says of the same question.
fn reading(data: &Data, field: &str, heading: &str) -> Option<Section> {
    let place = format!("/{field}");
    data.at(&place)?;
    let mut section = Section::new(field, heading);
    section.parts = generic::sections(data, &place, heading).into_iter().flat_map(|inner| inner.parts).collect();
    Some(section)
}

fn certificate(data: &Data) -> Option<Section> {
    data.at("/certificate")?;
    let all = generic::sections(data, "/certificate", "Certificate").into_iter().flat_map(|section| section.parts);
    let mut section = Section::new("certificate", "What has been shown of the mapping");
    section.parts = all.collect();
    Some(section)
}

fn provenance(data: &Data) -> Option<Section> {
    data.at("/provenance")?;
    let errors = Table::of_list(
        data,
        "/provenance/known_errors",
        "Known errors",
        "Error of the model against what was measured on this wafer; it holds for the measured kernels",
        vec![
            Column::of("kernel", "kernel"),
            Column::of("rows", "rows"),
            Column::of("mean error", "mape_percent"),
            Column::of("worst error", "worst_percent"),
        ],
    );
    let section = Section::new("provenance", "Where this comes from").show(generic::object(data, "/provenance"));
    Some(section.show(errors.map(Part::Table)))
}

/// The machine of the answer, and with the numbers of users of the frontier.
fn machines(data: &Data) -> Vec<Machine> {
    let rows = format!("{FRONTIER}:/rows");
    let of_frontier = crate::plan::machines(data, &rows);
    if !of_frontier.is_empty() {
        return of_frontier;
    }
    let cell = |place: &str| Cell::at(data, place, Unit::Plain);
    vec![Machine {
        name: "answer".into(),
        wafers: cell("/wafers"),
        users: cell("/users"),
        speed: cell("/tokens_per_second_per_user"),
        total: cell("/tokens_per_second_total"),
    }]
}
