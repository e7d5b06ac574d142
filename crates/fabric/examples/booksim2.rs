//! Runs every row of BookSim2's results and prints what comes out beside it. For people: the
//! tests check the same rows.

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use wafersim_fabric::packet::{Drain, Pattern, TrafficConfig, TrafficError};

fn main() -> Result<(), TrafficError> {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("mesh pattern   queue rate | latency BookSim2 here      % | hops BookSim2 here | accepted BookSim2 here");
    for line in include_str!("../tests/data/booksim2.csv").lines().filter(|line| !line.starts_with('#')).skip(1) {
        let field: Vec<&str> = line.split(',').collect();
        let number = |index: usize| field.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
        let side = number(0) as u32;
        let period = if field[1] == "transpose" { 2000 } else { 1000 };
        let config = TrafficConfig {
            columns: side,
            rows: side,
            pattern: field[1].parse::<Pattern>()?,
            queue: number(2) as u32,
            rate: number(3),
            seed,
            warm_up: 3 * period,
            measured: 3 * period,
            drain: Drain::Quiet,
            ..TrafficConfig::default()
        };
        let report = config.check()?.run(|_| ())?;
        println!(
            "{side:>4} {:<9} {:>5} {:<4} | {:>9.4} {:>9.4} {:>+7.3} | {:>8.5} {:>8.5} | {:>9.7} {:>9.7}{}",
            field[1],
            field[2],
            field[3],
            number(4),
            report.mean_latency,
            (report.mean_latency / number(4) - 1.0) * 100.0,
            number(5),
            report.mean_hops,
            number(6),
            report.accepted,
            if report.saturated { " saturated" } else { "" },
        );
    }
    Ok(())
}
