//! What an answer costs, for people and for programs.

use serde::Serialize;
use wafersim_answer::{Answer, Provenance};
use wafersim_decide::cost::{Charged, Cost};
use wafersim_decide::gpus::{GpuComparison, GpuOffer};
use wafersim_decide::money::Ranged;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, count, figure, plural, share, significant, whole};
use crate::paragraph::{heading, labelled, wrapped};

/// Fields of the JSON.
#[derive(Serialize)]
struct Written<'a> {
    model: &'a str,
    wafer: &'a str,
    wafers: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefill_wafers: Option<u32>,
    users: u64,
    context: u64,
    #[serde(flatten)]
    cost: &'a Cost,
    provenance: &'a Provenance,
}

/// For programs: one JSON object with the fields of [`Cost`].
///
/// # Errors
/// None that a cost can cause.
pub fn json(answer: &Answer, cost: &Cost) -> Result<String, ReportError> {
    pretty(&Written {
        model: &answer.model,
        wafer: &answer.wafer,
        wafers: answer.wafers,
        prefill_wafers: answer.prefill.as_ref().map(|prefill| prefill.wafers),
        users: answer.users,
        context: answer.context,
        cost,
        provenance: &answer.provenance,
    })
}

/// For people.
pub fn text(answer: &Answer, cost: &Cost) -> String {
    let load = &cost.load;
    let mut page = wrapped(
        "",
        &format!(
            "{} on {} x {}, {} with {} tokens each, profile {}: {} tok/s each, {} in all, cost {} USD an hour and {} \
             USD for a million output tokens.",
            answer.model,
            whole(load.systems),
            answer.wafer,
            plural(answer.users, "user"),
            whole(answer.context),
            answer.profile,
            figure(load.tokens_per_second_per_user),
            figure(load.tokens_per_second_total),
            usd(cost.usd_per_hour.value),
            usd(cost.usd_per_million.value),
        ),
    );
    page.push_str(&section(cost));
    let elsewhere = match &answer.prefill {
        Some(elsewhere) if elsewhere.wafers > 0 => {
            format!("; other wafers that compute prompts ({}) are paid for", whole(u64::from(elsewhere.wafers)))
        }
        Some(_) => "; what computes prompts outside is neither counted nor priced".to_owned(),
        None => String::new(),
    };
    page.push_str(&labelled(
        "prompts",
        &format!(
            "are not run here: the machines are priced by decoding alone, services charge for both; simctl size runs \
             both{elsewhere}"
        ),
    ));
    page.push_str(&labelled(
        "made by",
        &format!("wafersim {}, closed form, input {}", answer.provenance.version, answer.provenance.input_hash),
    ));
    page
}

/// All figures of a cost, in sections.
pub(crate) fn section(cost: &Cost) -> String {
    let mut page = heading("Money and power");
    page.push_str(&figures(cost));
    page.push_str(&heading("Work of a token"));
    page.push_str(&work(cost));
    page.push_str(&heading("What services charge for the same tokens"));
    page.push_str(&services(cost));
    page.push_str(&heading("GPUs"));
    match &cost.gpus {
        Some(gpus) => page.push_str(&comparison(gpus, cost)),
        None => page.push_str("  no row of this model at such a context is known\n"),
    }
    page.push_str(&heading("What this rests on"));
    page.push_str(&labelled(
        "ranges",
        "all inputs at their low or high ends together: prices, lives, powers of the wafer file (system.*), USD/kWh, \
         occupancy; no meter reading and no price list of these machines is published",
    ));
    page
}

/// Dollars: cents where they count.
fn usd(value: f64) -> String {
    if value >= 1000.0 { whole(value.round() as u64) } else { significant(value, 3) }
}

fn figures(cost: &Cost) -> String {
    let mut grid = Grid::new([("", Side::Left), ("assumed", Side::Right), ("low", Side::Right), ("high", Side::Right)]);
    let mut row = |name: &str, of: Ranged, shown: fn(f64) -> String| {
        grid.row([name.to_owned(), shown(of.value), shown(of.low), shown(of.high)]);
    };
    row("a system: its price, USD/h", cost.system.capital, usd);
    row("a system: electricity, USD/h", cost.system.electricity, usd);
    row("a system: all else, USD/h", cost.system.other, usd);
    row("all systems, USD/h", cost.usd_per_hour, usd);
    row("USD per million output tokens", cost.usd_per_million, usd);
    row("facility, kW as rated", cost.facility_kw, figure);
    row("facility, kW by floor and work", cost.facility_kw_by_activity, figure);
    row("output tokens of a kWh, as rated", cost.tokens_per_kwh, figure);
    row("output tokens of a kWh, by floor and work", cost.tokens_per_kwh_by_activity, figure);
    row("part of the time with this load", cost.economics.occupancy, share);
    row("USD/kWh", cost.economics.price_kwh, |value| significant(value, 3));
    let mut text = grid.text();
    text.push('\n');
    text.push_str(&labelled(
        "day and night",
        &format!("{} USD for a million output tokens", usd(cost.usd_per_million_when_full)),
    ));
    text
}

fn work(cost: &Cost) -> String {
    let energy = &cost.energy;
    let joules = |of: Ranged| format!("{} J ({} to {})", short(of.value), short(of.low), short(of.high));
    let mut text =
        labelled("arithmetic", &format!("{} multiply-accumulates: {}", count(energy.macs), joules(energy.mac_joules)));
    text.push_str(&labelled("SRAM", &format!("{} bytes read: {}", count(energy.bytes), joules(energy.sram_joules))));
    let hops = format!("{} hops of wavelets: {}", count(energy.wavelet_hops), joules(energy.hop_joules));
    text.push_str(&labelled("fabric", &hops));
    text.push_str(&labelled("links", &format!("{} bytes: {}", count(energy.link_bytes), joules(energy.link_joules))));
    let floor = cost.system.floor_kw.value * cost.load.systems as f64 * 1e3
        / (cost.load.tokens_per_second_total * cost.economics.occupancy.value);
    text.push_str(&labelled(
        "in all",
        &format!("{}; the floor of the machines is {} J a token", joules(energy.joules), figure(floor)),
    ));
    text
}

fn short(value: f64) -> String {
    significant(value, 2)
}

fn services(cost: &Cost) -> String {
    let mix = cost.load.mix;
    let mut text = labelled(
        "requests",
        &format!(
            "{} tokens of prompts for each token of an answer, {} of them in a prefix cache",
            figure(mix.input_per_output),
            share(mix.cached)
        ),
    );
    text.push('\n');
    let mut grid = Grid::new([
        ("service", Side::Left),
        ("in", Side::Right),
        ("cached", Side::Right),
        ("out", Side::Right),
        ("tok/s", Side::Right),
        ("USD/M out", Side::Right),
        ("machines cost", Side::Right),
    ]);
    let (same, other): (Vec<&Charged>, Vec<&Charged>) = cost.services.iter().partition(|charged| charged.same_model);
    for Charged { price, usd_per_million, machines_over_service, same_model } in same.into_iter().chain(other) {
        let service = if *same_model { price.service.clone() } else { format!("{}: {}", price.service, price.model) };
        grid.row([
            service,
            usd(price.input),
            price.cached.map_or_else(|| "as in".to_owned(), usd),
            usd(price.output),
            price.tok_s.map_or_else(|| NOTHING.to_owned(), figure),
            usd(*usd_per_million),
            format!("{} x", significant(*machines_over_service, 2)),
        ]);
    }
    text.push_str(&grid.text());
    text
}

fn comparison(gpus: &GpuComparison, cost: &Cost) -> String {
    let mut grid = Grid::new([
        ("", Side::Left),
        ("server", Side::Left),
        ("users", Side::Right),
        ("tok/s each", Side::Right),
        ("USD/h", Side::Right),
        ("USD/M", Side::Right),
        ("tok/kWh", Side::Right),
        ("evidence", Side::Left),
    ]);
    let mut row = |name: &str, offer: &GpuOffer| {
        let row = &offer.row;
        grid.row([
            name.to_owned(),
            format!("{} x {}, {}", row.gpus, row.system, row.precision),
            whole(row.users),
            band(offer.speed),
            band(offer.usd_per_hour),
            band(offer.usd_per_million),
            figure(offer.tokens_per_kwh.value),
            (if row.measured { "measured" } else { "simulated" }).to_owned(),
        ]);
    };
    row("fastest", &gpus.fastest);
    row("cheapest", &gpus.cheapest);
    if let Some(offer) = &gpus.at_equal_speed {
        row("as fast", offer);
    }
    if let Some(equal) = &gpus.at_equal_cost {
        row("for as much", &equal.each);
    }
    let mut text = grid.text();
    text.push('\n');
    let speed = figure(cost.load.tokens_per_second_per_user);
    let words = match &gpus.at_equal_speed {
        Some(_) => format!("some rows reach {speed} tok/s for each user"),
        None => format!(
            "no row reaches {speed} tok/s for each user: the fastest is {}; that speed is not to be had from GPUs here",
            figure(gpus.fastest.speed.value)
        ),
    };
    text.push_str(&labelled("equal speed", &words));
    let words = match &gpus.at_equal_cost {
        Some(equal) => format!(
            "{} USD/h rent {}, which give {} tok/s in all at {} each",
            usd(cost.usd_per_hour.value),
            plural(equal.servers, "such server"),
            figure(equal.tokens_per_second_total),
            figure(equal.each.speed.value)
        ),
        None => "no servers give as many tokens for as much money".to_owned(),
    };
    text.push_str(&labelled("equal cost", &words));
    text.push_str(&labelled(
        "context",
        &format!(
            "rows of prompts of {} tokens; simulated rows down to half their speed, prices from a large owner's to \
             those by the hour",
            whole(gpus.context)
        ),
    ));
    text
}

fn band(of: Ranged) -> String {
    if of.low == of.high {
        significant(of.value, 3)
    } else {
        format!("{} to {}", significant(of.low, 3), significant(of.high, 3))
    }
}
