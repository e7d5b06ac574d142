//! `simctl traffic`: packets on a mesh with dimension-ordered routing.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use wafersim::fabric::packet::{
    self, Coordinate, Drain, Hotspot, MeshSize, MessageConfig, Pattern, TrafficConfig, pattern,
};
use wafersim::report;

use crate::asked::Asked;
use crate::choice::ObjectFormat;
use crate::failure::Failure;
use crate::input::read_table_text;
use crate::output::Destination;
use crate::progress::Cycles;

/// What sources do after the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AfterWindow {
    /// Create nothing more (BookSim2's `sim_type = throughput`).
    Quiet,
    /// Go on, so that the last measured packets meet as much traffic as the first (`sim_type = latency`).
    Loaded,
}

/// Flags of `traffic`.
#[derive(Debug, Args)]
pub struct TrafficFlags {
    /// Side of the mesh, or columns x rows (`16` or `16x8`).
    #[arg(long, value_name = "K|CxR", default_value = "8", allow_negative_numbers = true)]
    mesh: String,
    /// Where packets go, as BookSim2 defines it.
    #[arg(long, value_name = "NAME", default_value = "uniform", value_parser = patterns())]
    pattern: String,
    /// For `trace`: a CSV file of messages with the columns cycle, source_x, source_y, target_x, target_y, flits. Rate,
    /// window and seed say nothing then.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Packets that a node creates per cycle, above 0 and up to 1.
    #[arg(long, value_name = "RATE", default_value = "0.1", allow_negative_numbers = true)]
    rate: String,
    /// Flits that each input queue holds, 1 to 255.
    #[arg(long, value_name = "FLITS", default_value = "8", allow_negative_numbers = true)]
    queue: String,
    /// Cycles of a hop, router and link; BookSim2's speculative router has 3 (zero-load latency 3 H + 2).
    #[arg(long, value_name = "CYCLES", default_value = "3", allow_negative_numbers = true)]
    router_cycles: String,
    /// Seed of the random streams.
    #[arg(long, value_name = "SEED", default_value = "1", allow_negative_numbers = true)]
    seed: String,
    /// Cycles before the measured window.
    #[arg(long, value_name = "CYCLES", default_value = "3000", allow_negative_numbers = true)]
    warm_up: String,
    /// Cycles of the measured window.
    #[arg(long, value_name = "CYCLES", default_value = "3000", allow_negative_numbers = true)]
    measured: String,
    /// What sources do after the window, until its packets have arrived: fall silent, or go on.
    #[arg(long, value_enum, default_value_t = AfterWindow::Quiet)]
    drain: AfterWindow,
    /// For `hotspot`: part of the packets that goes to the hot node, 0 to 1.
    #[arg(long, value_name = "PART", default_value = "0.1", allow_negative_numbers = true)]
    hotspot_share: String,
    /// For `hotspot`: the hot node, column and row from 0 [default: the middle].
    #[arg(long, value_name = "COLUMN,ROW", allow_negative_numbers = true)]
    hotspot: Option<String>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t = ObjectFormat::Text)]
    format: ObjectFormat,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What `--pattern` calls messages from a file.
const TRACE: &str = "trace";

fn patterns() -> PossibleValuesParser {
    PossibleValuesParser::new(pattern::NAMES.into_iter().chain([TRACE]))
}

/// Runs the traffic.
pub fn execute(flags: &TrafficFlags, asked: &Asked) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    match &flags.trace {
        Some(file) if flags.pattern == TRACE => return trace(flags, file, destination, asked),
        None if flags.pattern != TRACE => {}
        Some(_) => return Err(wrong("--trace", &flags.pattern, "a file, together with --pattern trace")),
        None => {
            return Err(wrong(
                "--pattern",
                &flags.pattern,
                "trace only together with --trace FILE, a CSV file of messages",
            ));
        }
    }
    let config = config(flags)?;
    let mut cycles = Cycles::start();
    let result = config.check()?.run(|progress| cycles.at(progress.cycle, progress.expected))?;
    let text = match flags.format {
        ObjectFormat::Text => asked.head().text(report::traffic::text(&config, &result)),
        ObjectFormat::Json => asked.head().json(&report::traffic::json(&config, &result)?)?,
    };
    destination.write(&text)
}

/// Runs messages from a file.
fn trace(flags: &TrafficFlags, file: &Path, destination: Destination, asked: &Asked) -> Result<(), Failure> {
    let (columns, rows) = mesh(flags)?;
    let (queue, router_cycles) = machine(flags)?;
    let name = file.display().to_string();
    let messages = packet::read_trace(&read_table_text("--trace", file)?, &name, MeshSize::new(columns, rows)?)?;
    let config = MessageConfig { columns, rows, queue, router_cycles, messages, ..MessageConfig::default() };
    let mut cycles = Cycles::start();
    let report = config.check()?.run(|progress| cycles.at(progress.cycle, progress.expected))?;
    let text = match flags.format {
        ObjectFormat::Text => asked.head().text(report::traffic::trace_text(&name, &config, &report)),
        ObjectFormat::Json => asked.head().json(&report::traffic::trace_json(&name, &config, &report)?)?,
    };
    destination.write(&text)
}

/// Columns and rows.
fn mesh(flags: &TrafficFlags) -> Result<(u32, u32), Failure> {
    let (columns, rows) = flags.mesh.split_once('x').unwrap_or((&flags.mesh, &flags.mesh));
    let side = |text: &str| {
        number(&flags.mesh, text, "--mesh", "a side, or columns x rows, each a whole number from 1 to 4096")
    };
    Ok((side(columns)?, side(rows)?))
}

/// Depth of queues and cycles of a hop.
fn machine(flags: &TrafficFlags) -> Result<(u32, u32), Failure> {
    let queue = number(&flags.queue, &flags.queue, "--queue", "a whole number from 1 to 255")?;
    let allowed = "a whole number from 1 to 64";
    Ok((queue, number(&flags.router_cycles, &flags.router_cycles, "--router-cycles", allowed)?))
}

/// The flags as a configuration.
fn config(flags: &TrafficFlags) -> Result<TrafficConfig, Failure> {
    let ((columns, rows), (queue, router_cycles)) = (mesh(flags)?, machine(flags)?);
    let pattern = match flags.pattern.parse()? {
        Pattern::Hotspot(_) => Pattern::Hotspot(hotspot(flags)?),
        other => other,
    };
    Ok(TrafficConfig {
        columns,
        rows,
        pattern,
        rate: number(&flags.rate, &flags.rate, "--rate", "a number above 0 and up to 1")?,
        queue,
        router_cycles,
        seed: number(&flags.seed, &flags.seed, "--seed", "a whole number from 0 to 1073741823")?,
        warm_up: number(&flags.warm_up, &flags.warm_up, "--warm-up", "a whole number from 0 to 100000000")?,
        measured: number(&flags.measured, &flags.measured, "--measured", "a whole number from 1 to 100000000")?,
        drain: match flags.drain {
            AfterWindow::Quiet => Drain::Quiet,
            AfterWindow::Loaded => Drain::Loaded,
        },
    })
}

fn hotspot(flags: &TrafficFlags) -> Result<Hotspot, Failure> {
    let share = number(&flags.hotspot_share, &flags.hotspot_share, "--hotspot-share", "a number from 0 to 1")?;
    let Some(text) = &flags.hotspot else { return Ok(Hotspot { share, ..Hotspot::default() }) };
    const ALLOWED: &str = "column and row, for example 3,4";
    let (column, row) = text.split_once(',').ok_or_else(|| wrong("--hotspot", text, ALLOWED))?;
    let place = Coordinate::new(number(text, column, "--hotspot", ALLOWED)?, number(text, row, "--hotspot", ALLOWED)?);
    Ok(Hotspot { places: vec![place], share })
}

/// A number from `part` of what was written.
fn number<T: std::str::FromStr>(written: &str, part: &str, flag: &str, allowed: &str) -> Result<T, Failure> {
    part.trim().parse().map_err(|_| wrong(flag, written, allowed))
}

fn wrong(flag: &str, written: &str, allowed: &str) -> Failure {
    Failure::Flag { flag: flag.to_owned(), problem: format!("is '{written}'"), allowed: allowed.to_owned() }
}
