//! A frontier chart of several machines: speed per user against throughput, from the CSV files of `simctl stream
//! --sweep load.users=... --format csv`. It owns nothing but the way from files to
//! [`wafersim::picture::chart::frontier`].
//!
//! `cargo run -p wafersim --example frontier -- OUT.svg|OUT.png "16 wafers=16.csv" "24 wafers=24.csv"`
//!
//! A point is the median request's speed and the output tokens of all users in a second; the knee is where their
//! product is largest, as in the table that `simctl stream` prints.

use std::error::Error;
use std::fs;

use wafersim::picture::chart::{Frontier, Scale, Sweep, SweepPoint, frontier};
use wafersim::picture::{chart_png, chart_svg};

fn main() -> Result<(), Box<dyn Error>> {
    draw(std::env::args().skip(1))
}

/// Draws the chart that the arguments ask for: the file to write, then `NAME=FILE.csv` for each line.
pub fn draw(mut arguments: impl Iterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let out = arguments.next().ok_or("what file is to be written?")?;
    let mut sweeps = Vec::new();
    for argument in arguments {
        let (name, file) = argument.split_once('=').ok_or("name the lines as NAME=FILE.csv")?;
        sweeps.push(sweep(name, &fs::read_to_string(file)?).map_err(|error| format!("{file}: {error}"))?);
    }
    let chart = frontier(&Frontier {
        title: "What each agent gets against what all get".into(),
        caption: vec!["Labels are agents; a ring is the knee: the largest product of both axes.".into()],
        sweeps,
        target: Some(2000.0),
        throughput: Scale::Logarithmic,
        speed: Scale::Logarithmic,
    });
    let drawn = if out.ends_with(".png") { chart_png(&chart)? } else { chart_svg(&chart)?.into_bytes() };
    fs::write(out, drawn)?;
    Ok(())
}

/// The points of one file, which has a line for each value of the sweep under a line of names.
fn sweep(name: &str, csv: &str) -> Result<Sweep, Box<dyn Error>> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().ok_or("the file is empty")?.split(',').collect();
    let column = |wanted: &str| {
        names.iter().position(|name| *name == wanted).ok_or_else(|| format!("there is no column '{wanted}'"))
    };
    let (load, total, speed) = (column("value")?, column("tokens_per_second")?, column("user_speed_p50")?);
    let mut points = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |at: usize| cells.get(at).copied().ok_or_else(|| format!("a line is short: {line}"));
        let load = cell(load)?.to_owned();
        points.push(SweepPoint { load, total: cell(total)?.parse()?, per_user: cell(speed)?.parse()? });
    }
    let power = |point: &SweepPoint| point.total * point.per_user;
    let knee = (0..points.len()).max_by(|&one, &other| power(&points[one]).total_cmp(&power(&points[other])));
    Ok(Sweep { name: name.to_owned(), points, knee })
}
