//! The arithmetic of money and power, held to published cases worked out by hand (docs/src/cost.md).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use wafersim_decide::energy::{Placed, TokenEnergy};
use wafersim_decide::gpus::{Beside, compare, prices, rows_of};
use wafersim_decide::money::{Economics, Hourly, per_kwh, per_million};
use wafersim_decide::services::{TokenMix, services};
use wafersim_spec::{Model, Precision, Scenario, Wafer};

fn close(found: f64, expected: f64, part: f64) {
    assert!((found / expected - 1.0).abs() <= part, "{found}, expected {expected}");
}

/// A system of the wafer with other figures of money, a flat year of electricity, and no servers beside it.
fn system(price: f64, years: f64, other: f64) -> Hourly {
    let mut wafer = Wafer::builtin("wse3").unwrap();
    for (path, value) in [("system.price", price), ("system.other", other), ("system.support", 0.0)] {
        wafer.set(path, value).unwrap();
    }
    Hourly::of(&wafer, &Economics::with(Some(0.08), Some(1.0), Some(years)).unwrap())
}

#[test]
fn an_hour_of_a_system() {
    let usual = Hourly::of(&Wafer::builtin("wse3").unwrap(), &Economics::default());
    close(usual.total.value, 41.96, 1e-3);
    assert!(usual.total.low < 21.0 && usual.total.high > 88.0, "contract price and short-lived list price lie inside");
    // Parts only, list, list with a short life: capital, electricity, both.
    for (price, years, capital, all) in [(0.45e6, 5.0, 10.3, 12.5), (2.5e6, 5.0, 57.1, 59.3), (3.0e6, 4.0, 85.6, 87.8)]
    {
        let hourly = system(price, years, 0.0);
        close(hourly.capital.value, capital, 5e-3);
        close(hourly.electricity.value, 2.2, 5e-3);
        close(hourly.total.value, all, 5e-3);
    }
}

#[test]
fn tokens_of_sixteen_systems() {
    let usd = 16.0 * 41.96;
    let kw = 16.0 * system(1e6, 5.0, 0.0).facility_kw.value;
    close(kw, 442.0, 2e-3);
    // Users, tokens a second of each, USD for a million tokens, thousands of tokens of a kWh.
    for (users, speed, million, kwh) in [
        (1.0, 400.0, 466.0, 3.3),
        (1.0, 1000.0, 186.0, 8.2),
        (13.0, 400.0, 35.9, 42.0),
        (13.0, 2000.0, 7.2, 212.0),
        (64.0, 400.0, 7.3, 209.0),
        (64.0, 2000.0, 1.46, 1040.0),
    ] {
        let total = users * speed;
        close(per_million(usd, total, 1.0), million, 0.01);
        close(per_kwh(total, kw, 1.0) / 1e3, kwh, 0.02);
        // Half the time, twice the price.
        close(per_million(usd, total, 0.5), 2.0 * million, 0.01);
    }
}

#[test]
fn the_work_of_a_token_is_a_rounding_error() {
    let (model, wafer) = (Model::builtin("qwen3-coder-480b-a35b").unwrap(), Wafer::builtin("wse3").unwrap());
    let scenario = Scenario { context: 32_768, precision: Precision::default(), ..Scenario::default() };
    let energy = TokenEnergy::of(&scenario, &model, &wafer, Placed { wafers: 16, wavelet_hops: 0.0 }).unwrap();
    close(energy.joules.value, 0.055, 0.03);
    assert!((0.025..0.035).contains(&energy.joules.low) && (0.12..0.15).contains(&energy.joules.high));
    // 27,380 tokens a second: 1.5 kW, where the floor of sixteen systems is 192 kW.
    close(energy.joules.value * 27_380.0, 1500.0, 0.03);
}

#[test]
fn what_services_charge_for_an_agent() {
    let all = services().unwrap();
    let of = |service: &str, model: &str| {
        all.iter().find(|price| price.service == service && price.model == model).unwrap().clone()
    };
    let request = |cached: f64| TokenMix { input_per_output: 96_300.0 / 213.0, cached };
    let charged = |service: &str, model: &str, cached: f64| {
        of(service, model).per_million_outputs(request(cached)) * 213.0 * 1e-6
    };
    close(charged("Cerebras", "qwen3-coder-480b-a35b", 0.9), 0.193, 2e-3);
    close(charged("Anthropic", "claude-sonnet-4.5", 0.0), 0.292, 2e-3);
    close(charged("Anthropic", "claude-sonnet-4.5", 0.9), 0.058, 5e-3);
    assert!(all.iter().all(|price| price.input > 0.0 && price.output > 0.0 && !price.source.is_empty()));
}

#[test]
fn gpus_are_cheaper_and_slower() {
    let prices = prices().unwrap();
    let h200 = prices.iter().find(|price| price.gpu == "H200").unwrap();
    close(8.0 * h200.hyperscaler, 11.28, 1e-9);
    close(8.0 * h200.kw, 13.8, 5e-3);
    let rows = rows_of("qwen3-coder-480b-a35b").unwrap();
    let row = rows.iter().find(|row| row.id == "A007").unwrap();
    close(per_million(8.0 * h200.hyperscaler, row.tokens_per_second_total, 1.0), 1.03, 5e-3);
    close(per_kwh(row.tokens_per_second_total, 8.0 * h200.kw, 1.0), 789_000.0, 5e-3);
    assert!(rows.iter().all(|row| row.tokens_per_second_per_user < 251.0), "no row is faster");
    assert!(rows.iter().any(|row| row.measured) && rows.iter().any(|row| !row.measured));
    let beside = Beside {
        model: "qwen3-coder-480b-a35b",
        context: 32_768,
        speed: 414.0,
        total: 5387.0,
        usd_per_hour: 671.0,
        occupancy: 1.0,
    };
    let found = compare(beside).unwrap().unwrap();
    assert_eq!(found.context, 32_768);
    assert!(found.at_equal_speed.is_none(), "414 tok/s are not to be had from GPUs");
    let equal = found.at_equal_cost.unwrap();
    assert!(equal.tokens_per_second_total >= 5387.0 && equal.each.speed.value < 414.0);
    assert!(found.cheapest.usd_per_million.value < found.fastest.usd_per_million.value);
    let slow = compare(Beside { speed: 50.0, ..beside }).unwrap().unwrap();
    assert!(slow.at_equal_speed.unwrap().speed.high >= 50.0);
    assert_eq!(compare(Beside { model: "nobody", ..beside }).unwrap(), None);
    assert_eq!(compare(Beside { context: 10_000_000, ..beside }).unwrap(), None, "too far from every row");
}

#[test]
fn what_is_said_of_money_is_checked() {
    for (price, occupancy, years) in [(Some(-1.0), None, None), (None, Some(0.0), None), (None, None, Some(f64::NAN))] {
        assert!(Economics::with(price, occupancy, years).is_err());
    }
}
