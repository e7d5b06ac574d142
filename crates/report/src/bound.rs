//! What no mapping beats: the two figures in one sentence, how each comes about, every stage, and what it rests on.

use wafersim_bound::{Bound, Limit};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, duration, figure, plural, share, whole};
use crate::paragraph::{heading, wrapped};

/// The bound for people.
pub fn text(bound: &Bound) -> String {
    let load = &bound.load;
    let mut text = wrapped(
        "",
        &format!(
            "No mapping of {model} on {wafer} beats {peak} tok/s for {users} with {context} in the cache; at the multiply \
             rate that was measured, none beats {measured}. The weights and a user's cache are {held}, on {wafers} at the \
             least; the clock is {clock} GHz.",
            model = bound.model,
            wafer = bound.wafer,
            peak = figure(bound.no_mapping_beats.tokens_per_second_per_user),
            users =
                if load.users == 1 { "one user".to_owned() } else { format!("each of {} users", whole(load.users)) },
            context = plural(load.context, "token"),
            measured = figure(bound.no_mapping_beats_at_measured_rate.tokens_per_second_per_user),
            held = bound.held,
            wafers = plural(u64::from(bound.fewest_wafers), "wafer"),
            clock = load.clock.gigahertz(),
        ),
    );
    let limits = [("at peak rate", &bound.no_mapping_beats), ("as measured", &bound.no_mapping_beats_at_measured_rate)];
    text.push_str(&heading("How it comes about"));
    text.push_str(&sums(bound, limits).text());
    for (name, limit) in limits {
        text.push_str(&heading(&format!("Stages {name}")));
        text.push_str(&stages(limit).text());
    }
    text.push_str(&heading("What it rests on"));
    for assumption in bound.assumptions {
        text.push_str(&wrapped("  * ", assumption));
    }
    text
}

/// The bound for programs: one JSON object with the fields of [`Bound`].
///
/// # Errors
/// None that a bound can cause.
pub fn json(bound: &Bound) -> Result<String, ReportError> {
    pretty(bound)
}

fn sums(bound: &Bound, limits: [(&str, &Limit); 2]) -> Grid {
    let names = limits.map(|(name, _)| (name.to_owned(), Side::Right));
    let mut grid = Grid::new(std::iter::once((String::new(), Side::Left)).chain(names));
    let mut row = |label: String, cell: &dyn Fn(&Limit) -> String| {
        grid.row(std::iter::once(label).chain(limits.iter().map(|(_, limit)| cell(limit))));
    };
    let time = |microseconds: f64| duration(microseconds * 1e-6);
    row("MACs a cycle of a PE".into(), &|limit| figure(limit.mesh.macs_per_cycle));
    row("stages".into(), &|limit| time(limit.stages_us));
    row("links between wafers".into(), &|limit| match limit.links {
        0 => NOTHING.into(),
        links => format!("{} x {}", whole(u64::from(links)), time(limit.links_us / f64::from(links))),
    });
    row("given away at links".into(), &|limit| match limit.given_away_us {
        given if given > 0.0 => format!("-{}", time(given)),
        _ => NOTHING.into(),
    });
    row("one token's pass".into(), &|limit| time(limit.pass_us));
    if bound.load.wafers.is_some() {
        row("all products of a step on all PEs".into(), &|limit| time(limit.work_us));
    }
    if bound.load.tokens > 1 {
        row(format!("tokens of a step, {} at most", bound.load.tokens), &|_| figure(bound.load.accepted));
    }
    row("per output token".into(), &|limit| time(limit.time_per_output_token_us));
    row("tok/s each user".into(), &|limit| figure(limit.tokens_per_second_per_user));
    grid
}

fn stages(limit: &Limit) -> Grid {
    let columns = ["times", "MACs", "PEs", "cycles: work", "cycles: way", "share"];
    let columns = columns.map(|title| (title, Side::Right));
    let mut grid = Grid::new(std::iter::once(("products", Side::Left)).chain(columns));
    let all: f64 = limit.terms.iter().map(|term| term.times as f64 * term.shortest.cycles).sum();
    for term in &limit.terms {
        grid.row([
            term.stage.products.name().to_owned(),
            whole(term.times),
            figure(term.stage.macs as f64),
            whole(term.pes),
            figure(term.shortest.work_cycles),
            figure(term.shortest.distance_cycles),
            share(term.times as f64 * term.shortest.cycles / all),
        ]);
    }
    grid
}
