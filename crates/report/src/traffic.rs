//! What a packet-switched mesh does under a traffic pattern.

use serde::Serialize;
use wafersim_fabric::packet::{TrafficConfig, TrafficReport};

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
    let uses = &report.link_use;
    let links = [("east", uses.east), ("west", uses.west), ("south", uses.south), ("north", uses.north)];
    let links = links.map(|(name, of)| format!("{name} {} (busiest {})", share(of.mean), share(of.max)));
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
        labelled("link use", &links.join(", ")),
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

/// The run for programs: the fields of [`TrafficReport`], and its `config`.
///
/// # Errors
/// None that a report can cause.
pub fn json(config: &TrafficConfig, report: &TrafficReport) -> Result<String, ReportError> {
    pretty(&Run { config, report })
}
