//! How many machines a load needs, for people and for programs.

use wafersim_decide::size::{Change, Considered, Kept, Move, Nearest, PlanSeen, Size};
use wafersim_stream::scenario::LoadScenario;

use crate::cost;
use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, duration, figure, plural, share, significant, whole};
use crate::paragraph::{heading, labelled, wrapped};
use crate::prefill;

/// For programs: one JSON object with the fields of [`Size`].
///
/// # Errors
/// None that a size can cause.
pub fn json(size: &Size) -> Result<String, ReportError> {
    pretty(size)
}

/// For people.
pub fn text(size: &Size) -> String {
    let mut page = wrapped("", &sentence(size));
    if let Some(nearest) = &size.nearest {
        page.push_str(&heading("Why not, and what would do"));
        page.push_str(&why(nearest, &size.prompts));
    }
    page.push_str(&heading(if size.feasible { "What users see" } else { "What one user of the nearest machine sees" }));
    page.push_str(&levels(&size.levels));
    if let Some(plan) = &size.plan {
        page.push_str(&heading("Through the plan, as users see it from outside"));
        page.push_str(&through(plan, size));
    }
    if size.feasible {
        page.push('\n');
        size.prompts.iter().for_each(|sentence| page.push_str(&wrapped("  ", sentence)));
        page.push_str(&heading("Machines"));
        page.push_str(&machines(size));
    }
    page.push_str(&heading("Designs that were looked at"));
    page.push_str(&designs(size));
    if !size.moves.is_empty() {
        page.push_str(&heading("What other assumptions make of it"));
        page.push_str(&moves(&size.moves));
    }
    if let Some(cost) = &size.cost {
        page.push_str(&cost::section(cost));
    }
    page.push_str(&heading("How this was found"));
    page.push_str(&labelled("load", &load(size)));
    if let Some(elsewhere) = size.machine.as_ref().and_then(|machine| machine.prefill.as_ref()) {
        let words = match elsewhere.wafers {
            0 => format!("{}; what computes them is neither counted nor priced", prefill::parts(elsewhere)),
            _ => prefill::parts(elsewhere),
        };
        page.push_str(&labelled("prompts", &words));
    }
    page.push_str(&labelled("seeds", &format!("one for all designs; the answer is the mean of {}", size.seeds)));
    let from = &size.provenance;
    page.push_str(&labelled(
        "made by",
        &format!("wafersim {}, event by event, input {}", from.version, from.input_hash),
    ));
    page
}

/// What users see through a plan, and what it brings in.
fn through(plan: &PlanSeen, size: &Size) -> String {
    let shown = |value: Option<f64>, form: fn(f64) -> String| value.map_or_else(|| NOTHING.to_owned(), form);
    let (names, organisations) = ((&plan.plan, &plan.profile), plural(plan.organisations.into(), "organisation"));
    let mut text = labelled("plan", &format!("{}, clients {}; {organisations}", names.0, names.1));
    let seen = format!(
        "{} tok/s in the median over all the time, first token after {} (p95); {} of the time goes in waiting for the \
         quota; {} refusals an hour on a machine, {} of requests given up",
        shown(plan.seen_speed_p50, figure),
        shown(plan.first_token_p95_s, duration),
        shown(plan.waiting_for_quota, share),
        shown(plan.refused_per_hour_and_machine, figure),
        shown(plan.given_up, share),
    );
    text.push_str(&labelled("users see", &seen));
    if let (Some(pays), Some(cost)) = (plan.usd_per_month, &size.cost) {
        let costs = cost.usd_per_hour.value * HOURS_OF_A_MONTH;
        let words =
            format!("{} a month for all organisations, and the machines cost {}", dollars(pays), dollars(costs));
        text.push_str(&labelled("it brings in", &words));
    }
    text
}

/// 8,760 / 12.
const HOURS_OF_A_MONTH: f64 = 730.0;

fn dollars(amount: f64) -> String {
    format!("${}", whole(amount.round().max(0.0) as u64))
}

/// Users, or requests a second, in words.
fn users(size: &Size, count: f64) -> String {
    match size.scenario.load {
        LoadScenario::Open(_) | LoadScenario::Trace(_) => format!("{} requests/s", figure(count)),
        LoadScenario::Sessions(_) | LoadScenario::Tasks(_) => plural(count.round() as u64, "agent"),
        _ => plural(count.round() as u64, "user"),
    }
}

fn sentence(size: &Size) -> String {
    let machine = &size.scenario.machine;
    let who =
        format!("{} of {} on {}, profile {}", users(size, size.users), machine.model, machine.wafer, machine.profile);
    match (size.machines, size.wafers_per_machine, size.users_per_machine) {
        (Some(machines), Some(wafers), Some(each)) => {
            let binds = match &size.binds {
                Some(level) => format!("; {level} binds"),
                None => "; one machine has room for all".to_owned(),
            };
            let prompts =
                size.prefill_wafers_per_machine.map(|some| format!(" ({} of them for prompts)", whole(some.into())));
            let prompts = prompts.unwrap_or_default();
            format!(
                "{who}: {} of {} each{prompts}, {} in all, with {} on each{binds}.",
                plural(machines, "machine"),
                plural(u64::from(wafers), "wafer"),
                plural(machines * u64::from(wafers), "wafer"),
                users(size, each)
            )
        }
        _ => format!(
            "INFEASIBLE: {who}: on none of {} one user sees what was promised{}.",
            plural(size.designs.len() as u64, "design"),
            size.binds.as_ref().map_or_else(String::new, |level| format!("; {level} is farthest from it"))
        ),
    }
}

fn why(nearest: &Nearest, prompts: &[String]) -> String {
    let mut text = String::new();
    for sentence in nearest.why.iter().chain(prompts) {
        text.push_str(&wrapped("  ", sentence));
    }
    text.push('\n');
    let mut grid = Grid::new([("one of these by itself", Side::Left), ("is", Side::Right), ("would do", Side::Right)]);
    for Change { path, is, value } in &nearest.changes {
        grid.row([
            path.clone(),
            of_level(path, *is),
            value.map_or_else(|| "nothing".to_owned(), |value| of_level(path, value)),
        ]);
    }
    text.push_str(&grid.text());
    text.push('\n');
    text.push_str(&labelled(
        "nearest design",
        &format!("{} wafers, placed for {}", nearest.wafers, plural(nearest.placed_for, "user")),
    ));
    text
}

/// A value of a service level, or of a setting.
fn of_level(name: &str, value: f64) -> String {
    match name.split_once('_').map(|(metric, _)| metric) {
        Some("speed") => format!("{} tok/s", figure(value)),
        Some("ttft" | "itl" | "e2e") => duration(value),
        _ => whole(value.round() as u64),
    }
}

fn levels(levels: &[Kept]) -> String {
    let mut grid = Grid::new([
        ("level", Side::Left),
        ("promised", Side::Right),
        ("is", Side::Right),
        ("+-", Side::Right),
        ("headroom", Side::Right),
        ("holds", Side::Left),
    ]);
    for kept in levels {
        let name = kept.level.to_string();
        let shown = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), |value| of_level(&name, value));
        let holds = match (kept.holds, kept.surely) {
            (true, true) => "yes",
            (true, false) => "in the mean",
            (false, _) => "no",
        };
        grid.row([
            name.clone(),
            of_level(&name, kept.promised),
            shown(kept.value),
            shown(kept.half_width),
            kept.value.map_or_else(|| NOTHING.to_owned(), |value| share(kept.level.headroom(value))),
            holds.to_owned(),
        ]);
    }
    grid.text()
}

fn machines(size: &Size) -> String {
    let mut text = String::new();
    if let (Some(most), Some(headroom)) = (size.most_users_per_machine, size.headroom) {
        text.push_str(&labelled(
            "a machine serves",
            &format!("{} at most; all machines {} more", users(size, most), share(headroom)),
        ));
    }
    if let Some(machine) = &size.machine {
        text.push_str(&labelled(
            "a machine",
            &format!(
                "{} slots, micro-batches of up to {}, room for keys and values of {} tokens",
                machine.slots,
                plural(machine.micro_batch, "user"),
                whole(machine.kv_tokens)
            ),
        ));
    }
    if let Some(spares) = size.spares {
        text.push_str(&labelled(
            "in reserve",
            &format!(
                "{}: enough are up for {} % of the time ({} % with none, {} % with one); a machine is up for {} %",
                plural(spares.machines, "machine"),
                significant(100.0 * spares.reached, 5),
                significant(100.0 * spares.with_none, 4),
                significant(100.0 * spares.with_one, 4),
                significant(100.0 * spares.machine_is_up, 4)
            ),
        ));
    }
    if let Some(usd) = size.usd_per_user_and_month {
        text.push_str(&labelled("money", &format!("{} USD a month for each", whole(usd.round() as u64))));
    }
    for month in &size.growth {
        text.push_str(&labelled(
            &format!("month {}", month.month),
            &format!("{}: {}", users(size, month.users), plural(month.machines, "machine")),
        ));
    }
    text
}

fn designs(size: &Size) -> String {
    let mut grid = Grid::new([
        ("wafers", Side::Right),
        ("placed for", Side::Right),
        ("serves", Side::Right),
        ("wafers in all", Side::Right),
        ("why not", Side::Left),
    ]);
    for Considered { wafers, prefill_wafers, placed_for, most_users, wafers_in_all, why_not } in &size.designs {
        grid.row([
            prefill_wafers.map_or_else(|| wafers.to_string(), |prompts| format!("{wafers} + {prompts}")),
            whole(*placed_for),
            most_users.map_or_else(|| NOTHING.to_owned(), |most| figure_of_users(size, most)),
            wafers_in_all.map_or_else(|| NOTHING.to_owned(), whole),
            why_not.clone().unwrap_or_default(),
        ]);
    }
    grid.text()
}

fn figure_of_users(size: &Size, count: f64) -> String {
    match size.scenario.load {
        LoadScenario::Open(_) | LoadScenario::Trace(_) => figure(count),
        _ => whole(count.round() as u64),
    }
}

fn moves(moves: &[Move]) -> String {
    let mut grid = Grid::new([
        ("assumed", Side::Left),
        ("otherwise", Side::Left),
        ("a machine serves", Side::Right),
        ("machines", Side::Right),
    ]);
    for Move { path, value, most_users_per_machine, machines } in moves {
        grid.row([
            path.clone(),
            value.clone(),
            most_users_per_machine.map_or_else(|| "nobody".to_owned(), figure),
            machines.map_or_else(|| NOTHING.to_owned(), whole),
        ]);
    }
    grid.text()
}

fn load(size: &Size) -> String {
    match &size.scenario.load {
        LoadScenario::Sessions(load) => format!(
            "coding agents: sessions of {} tokens that grow to {}, {} of them shared by all; {} new tokens a step and \
             {} of an answer in the median, {} steps a request, {} to think",
            whole(load.prefix.median.into()),
            whole(load.longest.into()),
            whole(load.common.into()),
            whole(load.append.median.into()),
            whole(load.output.median.into()),
            figure(load.steps),
            duration(load.think)
        ),
        LoadScenario::Tasks(load) => format!(
            "coding agents with tasks: a first context of {} tokens; {} new tokens a call and {} of an answer in the \
             median, {} steps an attempt, {} to think",
            whole(load.prefix.median.into()),
            whole(load.append.median.into()),
            whole(load.output.median.into()),
            figure(load.steps),
            duration(load.think)
        ),
        LoadScenario::Closed(load) => format!(
            "users who wait for their answers: prompts of {} tokens, answers of {}, {} to think",
            whole(load.prompt.median.into()),
            whole(load.output.median.into()),
            duration(load.think)
        ),
        LoadScenario::Open(load) => format!(
            "requests that come whatever happens to others: prompts of {} tokens, answers of {}",
            whole(load.prompt.median.into()),
            whole(load.output.median.into())
        ),
        LoadScenario::Trace(load) => format!(
            "the trace {}, {} times as fast as it was recorded; each machine gets whole sessions of it, at their times",
            load.file,
            figure(load.speed)
        ),
    }
}
