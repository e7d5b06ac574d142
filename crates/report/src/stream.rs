//! A run under load: for people, for programs, as a table.

use serde::Serialize;
use wafersim_answer::Verified;
use wafersim_stream::ServiceOutcome;
use wafersim_stream::costs::StationKind;
use wafersim_stream::load::{Guess, guesses, task_guesses};
use wafersim_stream::result::{Ended, State, StationUse};
use wafersim_stream::run::{MachineSummary, Point, knee};
use wafersim_stream::scenario::LoadScenario;
use wafersim_stream::statistics::{Average, Estimate, Summary};
use wafersim_stream::trace::TraceSummary;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, duration, figure, plural, share, whole};
use crate::paragraph::{heading, labelled};
use crate::prefill;
use crate::records::csv_text;
use crate::requests::{left_out, seen};
use crate::stream_clients;
use crate::stream_tasks;

/// A run for people.
pub fn text(point: &Point) -> String {
    let (machine, outcome) = (&point.machine, &point.outcome);
    let mut page = String::new();
    page.push_str(&labelled("machine", &machine_line(machine)));
    page.push_str(&labelled("closed form", &closed_form_line(machine)));
    if let Some(elsewhere) = &machine.prefill {
        page.push_str(&labelled("prompts", &prefill::of_machine(elsewhere, machine.wafers_in_all())));
    }
    if let Some(trace) = &point.trace {
        page.push_str(&labelled("trace", &trace_line(trace)));
    }
    page.push_str(&labelled("run", &run_line(outcome)));
    if let Some(words) = not_steady(outcome) {
        page.push_str(&labelled("not steady", &words));
    }
    page.push_str(&heading("Users"));
    page.push_str(&labelled("all users", &all_users(outcome)));
    page.push_str(&distributions(outcome));
    page.push_str(&heading("Where the time goes, in the mean"));
    page.push_str(&parts(outcome));
    if let Some(clients) = &outcome.clients {
        page.push_str(&heading("Clients, as they see the service from outside"));
        page.push_str(&stream_clients::text(clients));
    }
    if let Some(tasks) = &outcome.tasks {
        page.push_str(&heading("Tasks"));
        page.push_str(&stream_tasks::text(tasks, point));
    }
    page.push_str(&heading("How many"));
    page.push_str(&queues(outcome));
    page.push_str(&heading("Use"));
    page.push_str(&uses(machine, outcome));
    page.push_str(&labelled("checks", &checks(outcome)));
    page.push_str(&guessed(point));
    page.push_str(&made_by(point));
    page
}

fn machine_line(machine: &MachineSummary) -> String {
    let of =
        if machine.wafers == machine.wafers_asked { String::new() } else { format!(" of {}", machine.wafers_asked) };
    let drafts = match machine.verification {
        Some(Verified::Stream) => ", drafts verified as a stream",
        Some(Verified::MicroBatch) => ", drafts verified as a micro-batch",
        None => "",
    };
    let own = match machine.extensions.as_slice() {
        [] => String::new(),
        own => format!("; from outside: {}", own.join(", ")),
    };
    format!(
        "{} on {}{of} x {}, profile {}, {} slots; micro-batches of up to {}{drafts}, chunks of up to {}, requests of up to {} \
         tokens; room for keys and values of {} tokens{own}",
        machine.model,
        machine.wafers,
        machine.wafer,
        machine.profile,
        machine.slots,
        plural(machine.micro_batch, "user"),
        plural(u64::from(machine.chunk), "token"),
        whole(machine.longest),
        whole(machine.kv_tokens)
    )
}

fn closed_form_line(machine: &MachineSummary) -> String {
    format!(
        "one user at {} tokens: {} tok/s, first token after {}; full of micro-batches: {} tok/s",
        whole(machine.longest),
        figure(1.0 / machine.closed_form_per_token),
        duration(machine.closed_form_first_token),
        figure(machine.closed_form_full)
    )
}

fn trace_line(trace: &TraceSummary) -> String {
    let left_out = left_out(&trace.left_out).map_or_else(String::new, |words| format!("; left out: {words}"));
    let span = if trace.span_s > 0.0 { format!(" over {}", duration(trace.span_s)) } else { String::new() };
    format!("{}; {}{span}{left_out}", seen(&trace.seen), plural(trace.requests, "request"))
}

fn run_line(outcome: &ServiceOutcome) -> String {
    let why = match outcome.ended {
        Ended::Time => "the time is over",
        Ended::Requests => "enough requests are finished",
        Ended::Served => "everybody is served",
    };
    let totals = &outcome.totals;
    let gone = |count: u64, what: &str| if count > 0 { format!(", {} {what}", whole(count)) } else { String::new() };
    let lost = [gone(totals.cancelled, "taken back"), gone(totals.aborted, "lost with their machine")].concat();
    format!(
        "window from {} to {} ({why}); {} came, {} finished, {} inside at the end, {} refused{lost}",
        duration(outcome.window_start.seconds()),
        duration(outcome.window_end.seconds()),
        plural(totals.arrived, "request"),
        whole(totals.finished),
        whole(totals.inside),
        whole(totals.refused)
    )
}

/// Why a run's figures are not those of a longer run; nothing where they are.
fn not_steady(outcome: &ServiceOutcome) -> Option<String> {
    let reason = &outcome.steady.reason;
    match outcome.steady.state {
        State::Growing => Some(format!("{reason}; how long users wait is how long the run was")),
        State::NoWindow => Some(format!("{reason}; it says nothing of users")),
        State::Steady | State::Short | State::Served => None,
    }
}

fn all_users(outcome: &ServiceOutcome) -> String {
    format!(
        "{} output tok/s, {} prompt tok/s computed, {} requests/s",
        estimate(Some(outcome.tokens_per_second), figure),
        estimate(Some(outcome.prompt_tokens_per_second), figure),
        estimate(Some(outcome.requests_per_second), figure)
    )
}

/// A mean with its 95 % interval.
fn estimate(estimate: Option<Estimate>, form: fn(f64) -> String) -> String {
    match estimate {
        None => NOTHING.into(),
        Some(Estimate { mean, half_width: Some(half) }) => format!("{} +- {}", form(mean), form(half)),
        Some(Estimate { mean, half_width: None }) => form(mean),
    }
}

fn distributions(outcome: &ServiceOutcome) -> String {
    let titles = [("per request", Side::Left), ("mean", Side::Right), ("p5", Side::Right), ("p50", Side::Right)];
    let more = [("p95", Side::Right), ("p99", Side::Right), ("of", Side::Right)];
    let mut grid = Grid::new(titles.into_iter().chain(more));
    let mut row = |name: &str, summary: Option<Summary>, mean: String, form: fn(f64) -> String| {
        let value = |of: fn(&Summary) -> f64| summary.as_ref().map_or_else(|| NOTHING.to_owned(), |all| form(of(all)));
        let count = whole(summary.as_ref().map_or(0, |all| all.count));
        let quantiles = [value(|all| all.p5), value(|all| all.p50), value(|all| all.p95), value(|all| all.p99)];
        grid.row([name.to_owned(), mean].into_iter().chain(quantiles).chain([count]));
    };
    row("output speed, tok/s", outcome.user_speed, estimate(outcome.user_speed_mean, figure), figure);
    row("per output token", outcome.per_output_token, estimate(outcome.per_output_token_mean, duration), duration);
    row("first token after", outcome.first_token, estimate(outcome.first_token_mean, duration), duration);
    let mean = |summary: Option<Summary>| summary.map_or_else(|| NOTHING.to_owned(), |all| duration(all.mean));
    row("between two steps", outcome.between_steps, mean(outcome.between_steps), duration);
    row("whole answer after", outcome.whole_request, mean(outcome.whole_request), duration);
    grid.text()
}

fn parts(outcome: &ServiceOutcome) -> String {
    let (step, first) = (outcome.step_parts, outcome.first_token_parts);
    let mut grid = Grid::new([("of", Side::Left), ("part", Side::Left), ("time", Side::Right), ("share", Side::Right)]);
    let mut rows = |of: &str, parts: &[(&str, f64)]| {
        let all: f64 = parts.iter().map(|(_, time)| time).sum();
        for (name, time) in parts.iter().filter(|(_, time)| *time > 0.0) {
            grid.row([of.to_owned(), (*name).to_owned(), duration(*time), share(time / all)]);
        }
    };
    rows(
        "a step",
        &[
            ("work for it", step.service),
            ("its draft", step.draft),
            ("other users' tokens in a stage", step.stage),
            ("experts that others want", step.expert),
            ("prompts", step.prefill),
            ("other users' tokens on a link", step.links),
            ("room for keys and values", step.room),
        ],
    );
    rows(
        "the first token",
        &[
            ("room for keys and values", first.room),
            ("blocks from the host", first.host),
            ("its turn", first.turn),
            ("its prompt", first.work),
            ("keys and values from there", first.transfer),
            ("its step of decode", first.decode),
        ],
    );
    if grid.is_empty() { "  nothing came out in the window\n".into() } else { grid.text() }
}

fn queues(outcome: &ServiceOutcome) -> String {
    let queues = &outcome.queues;
    let mut grid = Grid::new([("", Side::Left), ("mean", Side::Right), ("most", Side::Right)]);
    let mut row = |name: &str, average: Average| {
        grid.row([name.to_owned(), figure(average.mean), whole(average.largest)]);
    };
    row("users in service", queues.in_service);
    row("waiting for room", queues.room);
    row("prompts not all in", queues.prefill);
    row("tokens waiting to enter", queues.entry);
    row("passes in the line", queues.passes);
    if let Some(prefill) = &outcome.prefill {
        row("keys and values from elsewhere", prefill.crossing);
    }
    row("tokens of keys and values", outcome.kv.taken);
    grid.text()
}

fn uses(machine: &MachineSummary, outcome: &ServiceOutcome) -> String {
    let busiest = |link: bool| {
        let of = outcome.stations.iter().filter(|station| station.station.is_link() == link);
        of.fold(None::<&StationUse>, |best, here| match best {
            Some(most) if most.busy >= here.busy => best,
            _ => Some(here),
        })
    };
    let named = |found: Option<&StationUse>| {
        found.map_or_else(
            || NOTHING.to_owned(),
            |found| format!("{} {}", station(machine, found.station), share(found.busy)),
        )
    };
    let wafers: Vec<String> = outcome.wafers.iter().map(|busy| share(*busy)).collect();
    let (kv, totals) = (&outcome.kv, &outcome.totals);
    let mut text = labelled("busiest slot", &named(busiest(false)));
    text.push_str(&labelled("busiest link", &named(busiest(true))));
    text.push_str(&labelled("wafers", &wafers.join(", ")));
    if let Some(prefill) = &outcome.prefill {
        let words = format!(
            "{} of what computes them, {} of the way of keys and values",
            share(prefill.busy),
            share(prefill.transfer_busy)
        );
        text.push_str(&labelled("prompts", &words));
    }
    for (at, replica) in outcome.replicas.iter().enumerate() {
        let away = if replica.away > 0.0 { format!(", {} away", duration(replica.away)) } else { String::new() };
        let lost = if replica.aborted > 0 { format!(", {} lost", whole(replica.aborted)) } else { String::new() };
        let (answers, tokens) = (plural(replica.finished, "answer"), whole(replica.tokens));
        let words = format!("{answers}, {tokens} tokens, slots {} busy{away}{lost}", share(replica.busy));
        text.push_str(&labelled(&format!("machine {at}"), &words));
    }
    let room = if kv.capacity == 0 { 0.0 } else { kv.taken.mean / kv.capacity as f64 };
    text.push_str(&labelled("room", &format!("{} of {} tokens", share(room), whole(kv.capacity))));
    let part = |tokens: u64| share(tokens as f64 / totals.prompt_tokens.max(1) as f64);
    if totals.cached_tokens + totals.loaded_tokens > 0 {
        let cache = format!(
            "{} of prompt tokens on the wafers, {} from the host",
            part(totals.cached_tokens),
            part(totals.loaded_tokens)
        );
        text.push_str(&labelled("prefix cache", &cache));
    }
    if totals.gave_way > 0 {
        text.push_str(&labelled("gave way", &format!("{} for want of room", plural(totals.gave_way, "time"))));
    }
    text.push_str(&labelled("micro-batch", &format!("{} users in the mean", figure(outcome.queues.micro_batch))));
    text
}

fn station(machine: &MachineSummary, station: StationKind) -> String {
    match station {
        StationKind::Slot { slot, wafer } => {
            let holds = machine.slots_hold.get(slot as usize).map_or("", String::as_str);
            format!("slot {slot} ({holds}) on wafer {wafer}")
        }
        StationKind::Link { wafer } => format!("wafer {wafer} to {}", wafer + 1),
        StationKind::Return => "the way back".into(),
    }
}

fn made_by(point: &Point) -> String {
    let from = &point.provenance;
    let seed = from.seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
    labelled(
        "made by",
        &format!("wafersim {}, fidelity {}, input {}{seed}", from.version, from.fidelity, from.input_hash),
    )
}

/// Settings of coding agents that stand at a guess, with its low and high; nothing for other loads.
fn guessed(point: &Point) -> String {
    let words = match &point.scenario.load {
        LoadScenario::Sessions(settings) => standing(&guesses(), |guess| settings.value(guess)),
        LoadScenario::Tasks(settings) => standing(&task_guesses(), |guess| settings.value(guess)),
        LoadScenario::Closed(_) | LoadScenario::Open(_) | LoadScenario::Trace(_) => Vec::new(),
    };
    if words.is_empty() { String::new() } else { labelled("guessed", &words.join(", ")) }
}

/// Guesses that stand, since nobody said otherwise.
fn standing(guesses: &[Guess], value: impl Fn(&Guess) -> Option<f64>) -> Vec<String> {
    let stands = |guess: &&Guess| value(guess).is_some_and(|value| value.to_bits() == guess.value.to_bits());
    let word = |guess: &Guess| format!("{} {} ({} to {})", guess.setting, guess.value, guess.low, guess.high);
    guesses.iter().filter(stands).map(word).collect()
}

fn checks(outcome: &ServiceOutcome) -> String {
    format!(
        "Little's law within {}; {} tokens asked, {} produced, {} still owed",
        share(outcome.little.passes.abs().max(outcome.little.requests.abs())),
        whole(outcome.totals.asked),
        whole(outcome.totals.produced),
        whole(outcome.totals.owed)
    )
}

/// A sweep for people: a line for each point, and the knee.
pub fn sweep_text(setting: &str, points: &[Point]) -> String {
    let numbers =
        ["tok/s", "in all", "first", "p95", "between p99", "service", "wait", "busiest", "room", "lost most to"];
    let side = |title: &'static str| (title, if title == "lost most to" { Side::Left } else { Side::Right });
    let axes: Vec<String> = match axes(setting, points).as_slice() {
        [one] => vec![(*one).to_owned()],
        several => short_names(several),
    };
    let axes = axes.into_iter().map(|axis| (axis, Side::Right));
    let mut grid = Grid::new(axes.chain(numbers.map(side).map(|(title, side)| (title.to_owned(), side))));
    for point in points {
        let outcome = &point.outcome;
        let of = |summary: Option<Summary>, value: fn(&Summary) -> f64, form: fn(f64) -> String| {
            summary.as_ref().map_or_else(|| NOTHING.to_owned(), |all| form(value(all)))
        };
        let busiest = outcome.stations.iter().map(|station| station.busy).fold(0.0, f64::max);
        let figures = [
            of(outcome.user_speed, |all| all.p50, figure),
            figure(outcome.tokens_per_second.mean),
            of(outcome.first_token, |all| all.p50, duration),
            of(outcome.first_token, |all| all.p95, duration),
            of(outcome.between_steps, |all| all.p99, duration),
            figure(outcome.queues.in_service.mean),
            figure(outcome.queues.room.mean),
            share(busiest),
            share(outcome.kv.taken.mean / point.machine.kv_tokens.max(1) as f64),
            largest_loss(outcome).to_owned(),
        ];
        grid.row(values(point).into_iter().chain(figures));
    }
    let mut page = points.first().map_or_else(String::new, |first| labelled("machine", &machine_line(&first.machine)));
    if let Some((elsewhere, all)) = points
        .iter()
        .find_map(|point| point.machine.prefill.as_ref().map(|elsewhere| (elsewhere, point.machine.wafers_in_all())))
    {
        page.push_str(&labelled("prompts", &prefill::place_of_machine(elsewhere, all)));
    }
    page.push('\n');
    page.push_str(&grid.text());
    if let Some(clients) = stream_clients::sweep_text(setting, points) {
        page.push('\n');
        page.push_str(&clients);
    }
    if let Some(at) = knee(points).and_then(|index| points.get(index)) {
        let text = format!("at {setting} = {}: there tok/s of a user times tok/s in all is largest", at.value);
        page.push('\n');
        page.push_str(&labelled("knee", &text));
    }
    for point in points {
        if let Some(words) = not_steady(&point.outcome) {
            page.push_str(&labelled("not steady", &format!("at {setting} = {}: {words}", point.value)));
        }
    }
    page.push_str(&labelled(
        "columns",
        "tok/s: median request; first, p95: time to first token; between p99: between two steps of a user; service, wait: \
         users in service and waiting for room; busiest: station; room: taken; lost most to: where a step waits longest",
    ));
    page
}

/// Settings by the last part of their paths; whole where two of them end alike.
pub(crate) fn short_names(paths: &[&str]) -> Vec<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let ends: Vec<String> = paths.iter().map(|path| last(path)).collect();
    let name = |path: &&str| match ends.iter().filter(|end| **end == last(path)).count() {
        1 => last(path),
        _ => (*path).to_owned(),
    };
    paths.iter().map(name).collect()
}

/// The columns of what was swept.
fn axes<'a>(setting: &'a str, points: &'a [Point]) -> Vec<&'a str> {
    match points.first().map(|point| point.swept.as_slice()) {
        Some(several @ [_, _, ..]) => several.iter().map(|one| one.path.as_str()).collect(),
        _ => vec![setting],
    }
}

/// Their cells.
fn values(point: &Point) -> Vec<String> {
    match point.swept.as_slice() {
        several @ [_, _, ..] => several.iter().map(|one| one.value.clone()).collect(),
        _ => vec![point.value.clone()],
    }
}

fn largest_loss(outcome: &ServiceOutcome) -> &'static str {
    let parts = outcome.step_parts;
    let losses = [
        ("stages", parts.stage),
        ("experts", parts.expert),
        ("prompts", parts.prefill),
        ("links", parts.links),
        ("room", parts.room),
    ];
    let largest = losses.into_iter().fold((NOTHING, 0.0), |best, loss| if loss.1 > best.1 { loss } else { best });
    largest.0
}

#[derive(Serialize)]
struct Sweep<'a> {
    setting: &'a str,
    knee: Option<usize>,
    points: &'a [Point],
}

/// A run for programs.
///
/// # Errors
/// None that a run can cause.
pub fn json(point: &Point) -> Result<String, ReportError> {
    pretty(point)
}

/// A sweep for programs.
///
/// # Errors
/// None that a run can cause.
pub fn sweep_json(setting: &str, points: &[Point]) -> Result<String, ReportError> {
    pretty(&Sweep { setting, knee: knee(points), points })
}

type Field = (&'static str, fn(&Point) -> String);

/// Columns for prompts that are computed elsewhere, where those of any point are.
const PREFILL_FIELDS: &[Field] = &[
    ("prefill_where", |point| point.machine.prefill.as_ref().map_or_else(String::new, |of| of.place.to_string())),
    ("prefill_wafers", |point| point.machine.prefill.as_ref().map_or_else(String::new, |of| of.wafers.to_string())),
    ("prefill_busy", |point| optional(point.outcome.prefill.map(|prefill| prefill.busy))),
    ("prefill_transfer_busy", |point| optional(point.outcome.prefill.map(|prefill| prefill.transfer_busy))),
    ("first_token_transfer_s", |point| point.outcome.first_token_parts.transfer.to_string()),
    ("first_token_decode_s", |point| point.outcome.first_token_parts.decode.to_string()),
];

const FIELDS: &[Field] = &[
    ("input_hash", |point| point.provenance.input_hash.clone()),
    ("seed", |point| point.scenario.seed.to_string()),
    ("model", |point| point.machine.model.clone()),
    ("wafer", |point| point.machine.wafer.clone()),
    ("wafers", |point| point.machine.wafers.to_string()),
    ("profile", |point| point.machine.profile.clone()),
    ("window_s", |point| (point.outcome.window_end - point.outcome.window_start).seconds().to_string()),
    ("steady", |point| word(point.outcome.steady.state).to_owned()),
    ("arrived", |point| point.outcome.totals.arrived.to_string()),
    ("refused", |point| point.outcome.totals.refused.to_string()),
    ("finished", |point| point.outcome.totals.finished.to_string()),
    ("tokens_per_second", |point| point.outcome.tokens_per_second.mean.to_string()),
    ("tokens_per_second_half_width", |point| optional(point.outcome.tokens_per_second.half_width)),
    ("user_speed_p5", |point| of(point.outcome.user_speed, |all| all.p5)),
    ("user_speed_p50", |point| of(point.outcome.user_speed, |all| all.p50)),
    ("user_speed_p95", |point| of(point.outcome.user_speed, |all| all.p95)),
    ("first_token_s_p50", |point| of(point.outcome.first_token, |all| all.p50)),
    ("first_token_s_p95", |point| of(point.outcome.first_token, |all| all.p95)),
    ("per_output_token_s_mean", |point| optional(point.outcome.per_output_token_mean.map(|mean| mean.mean))),
    ("between_steps_s_p50", |point| of(point.outcome.between_steps, |all| all.p50)),
    ("between_steps_s_p99", |point| of(point.outcome.between_steps, |all| all.p99)),
    ("users_in_service", |point| point.outcome.queues.in_service.mean.to_string()),
    ("waiting_for_room", |point| point.outcome.queues.room.mean.to_string()),
    ("micro_batch", |point| point.outcome.queues.micro_batch.to_string()),
    ("step_service_s", |point| point.outcome.step_parts.service.to_string()),
    ("step_stage_s", |point| point.outcome.step_parts.stage.to_string()),
    ("step_expert_s", |point| point.outcome.step_parts.expert.to_string()),
    ("step_prefill_s", |point| point.outcome.step_parts.prefill.to_string()),
    ("step_links_s", |point| point.outcome.step_parts.links.to_string()),
    ("step_room_s", |point| point.outcome.step_parts.room.to_string()),
    ("kv_taken_tokens", |point| point.outcome.kv.taken.mean.to_string()),
    ("kv_capacity_tokens", |point| point.outcome.kv.capacity.to_string()),
    ("little_passes", |point| point.outcome.little.passes.to_string()),
    ("little_requests", |point| point.outcome.little.requests.to_string()),
];

/// As in JSON.
const fn word(state: State) -> &'static str {
    match state {
        State::Steady => "steady",
        State::Growing => "growing",
        State::Short => "short",
        State::NoWindow => "no_window",
        State::Served => "served",
    }
}

fn of(summary: Option<Summary>, value: fn(&Summary) -> f64) -> String {
    optional(summary.as_ref().map(value))
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A run or a sweep for spreadsheets, a line for each point.
///
/// # Errors
/// None that a run can cause.
pub fn csv(points: &[Point]) -> Result<String, ReportError> {
    let is_elsewhere = points.iter().any(|point| point.machine.prefill.is_some());
    let fields = || FIELDS.iter().chain(if is_elsewhere { PREFILL_FIELDS } else { &[] });
    let names = axes("value", points).into_iter().chain(fields().map(|(name, _)| *name));
    let names = names.map(str::to_owned).collect();
    let line = |point: &Point| values(point).into_iter().chain(fields().map(|(_, value)| value(point))).collect();
    let lines = points.iter().map(line);
    csv_text(std::iter::once(names).chain(lines))
}
