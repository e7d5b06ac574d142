//! What a packet-switched mesh does under a traffic pattern.

use serde::Serialize;
use wafersim_fabric::packet::{LinkUses, MessageConfig, MessageReport, TrafficConfig, TrafficReport};

use crate::error::ReportError;
use crate::json::pretty;
use crate::number::{figure, share, whole};
use crate::paragraph::labelled;

/// A run with the configuration that it was made with.
#[derive(Serialize)]
struct Run<'a> {
    config: &'a TrafficConfig,
    #[serde(flatten)]
    report: &'a TrafficReport,
}

/// The run for people.
pub fn text(config: &TrafficConfig, report: &TrafficReport) -> String {
    let saturated =
        if report.saturated { "; the network is saturated: latencies grow with the length of the run" } else { "" };
    [
        labelled("traffic", &format!("{} at {} packets a node and cycle", config.pattern, config.rate)),
        labelled(
            "mesh",
            &format!(
                "{} x {} routers, queues of {}, {} cycles a hop, seed {}",
                whole(u64::from(config.columns)),
                whole(u64::from(config.rows)),
                config.queue,
                config.router_cycles,
                config.seed
            ),
        ),
        labelled(
            "latency",
            &format!(
                "mean {:.4} cycles, half within {}, 99 % within {}{saturated}",
                report.mean_latency,
                whole(report.p50_latency),
                whole(report.p99_latency)
            ),
        ),
        labelled("hops", &format!("{:.4} routers in the mean", report.mean_hops)),
        labelled("accepted", &format!("{:.6} packets a node and cycle of {} offered", report.accepted, report.offered)),
        labelled("link use", &links(&report.link_use)),
        labelled(
            "run",
            &format!(
                "{} cycles, {} router-cycles, {} flit-hops, {} packets measured",
                whole(report.cycles),
                figure(report.router_cycles as f64),
                figure(report.flit_hops as f64),
                whole(report.packets)
            ),
        ),
    ]
    .concat()
}

fn links(uses: &LinkUses) -> String {
    let links = [("east", uses.east), ("west", uses.west), ("south", uses.south), ("north", uses.north)];
    links.map(|(name, of)| format!("{name} {} (busiest {})", share(of.mean), share(of.max))).join(", ")
}

/// A trace for people; `file` is where its messages come from.
pub fn trace_text(file: &str, config: &MessageConfig, report: &MessageReport) -> String {
    let (columns, rows) = (whole(u64::from(config.columns)), whole(u64::from(config.rows)));
    [
        labelled("traffic", &format!("{} messages, {} flits, of {file}", config.messages.len(), whole(report.flits))),
        labelled(
            "mesh",
            &format!("{columns} x {rows} routers, queues of {}, {} cycles a hop", config.queue, config.router_cycles),
        ),
        labelled(
            "messages",
            &format!(
                "from their cycle to their last flit: mean {:.4} cycles, half within {}, 99 % within {}",
                report.mean_latency,
                whole(report.p50_latency),
                whole(report.p99_latency)
            ),
        ),
        labelled("hops", &format!("{:.4} routers in the mean of flits", report.mean_hops)),
        labelled("accepted", &format!("{:.6} flits a node and cycle", report.accepted)),
        labelled("link use", &links(&report.link_use)),
        labelled(
            "run",
            &format!(
                "the last flit in cycle {}, {} router-cycles, {} flit-hops",
                whole(report.finish),
                figure(report.router_cycles as f64),
                figure(report.flit_hops as f64)
            ),
        ),
    ]
    .concat()
}

/// A trace for programs: the fields of [`MessageReport`] (`completion` in the order of the file), and the mesh.
///
/// # Errors
/// None that a report can cause.
pub fn trace_json(file: &str, config: &MessageConfig, report: &MessageReport) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct Mesh<'a> {
        trace: &'a str,
        messages: usize,
        columns: u32,
        rows: u32,
        queue: u32,
        router_cycles: u32,
    }
    #[derive(Serialize)]
    struct Run<'a> {
        config: Mesh<'a>,
        #[serde(flatten)]
        report: &'a MessageReport,
    }
    let MessageConfig { columns, rows, queue, router_cycles, .. } = *config;
    let config = Mesh { trace: file, messages: config.messages.len(), columns, rows, queue, router_cycles };
    pretty(&Run { config, report })
}

/// The run for programs: the fields of [`TrafficReport`], and its `config`.
///
/// # Errors
/// None that a report can cause.
pub fn json(config: &TrafficConfig, report: &TrafficReport) -> Result<String, ReportError> {
    pretty(&Run { config, report })
}
