//! Memory, colors and the fabric: the mapping itself at full size.

use wafersim_answer::Opened;
use wafersim_answer::fabric::LayerOnFabric;
use wafersim_mapping::{CertificatePart, PartName, PartState};

use crate::limits::Limits;
use crate::{Progress, Step, failed, grouped};

/// A figure against what it may be at most.
fn measured(name: PartName, subject: String, figure: Figure<'_>, says: String) -> CertificatePart {
    let Figure { value, limit, unit } = figure;
    let state = if value.abs() <= limit { PartState::Passed } else { PartState::Failed };
    CertificatePart { name, state, subject, value: Some(value), limit: Some(limit), unit: unit.to_owned(), says }
}

struct Figure<'a> {
    value: f64,
    limit: f64,
    unit: &'a str,
}

/// Bytes of the fullest processing element.
pub fn memory(opened: &Opened<'_>, limits: &Limits) -> CertificatePart {
    let Some(fullest) = opened.fullest() else {
        return failed(PartName::Memory, "the mapping", &"holds nothing");
    };
    let limit = limits.memory.unwrap_or_else(|| opened.memory_limit());
    let (program, operator) = opened.at_fullest(fullest.slot).unwrap_or_default();
    let wafer = opened.mapped().placement.slots.get(fullest.slot).map_or(0, |slot| slot.wafer);
    let (held, working) = (grouped(fullest.held.0), grouped(fullest.working.0));
    let says = format!(
        "{held} bytes of weights, cache and code, and {working} that the program of {program} keeps at once, in {operator}"
    );
    let figure = Figure { value: fullest.sum().0 as f64, limit: limit.0 as f64, unit: "bytes" };
    measured(PartName::Memory, format!("the fullest slot, {} of wafer {wafer}", fullest.slot), figure, says)
}

/// Colors of the busiest router of any slot.
pub fn colors(opened: &Opened<'_>, limits: &Limits) -> CertificatePart {
    let all = match opened.colors() {
        Ok(all) => all,
        Err(error) => return failed(PartName::Colors, "the routers", &error),
    };
    let Some(most) =
        all.into_iter().reduce(|most, one| if one.used.given.physical > most.used.given.physical { one } else { most })
    else {
        return failed(PartName::Colors, "the routers", &"there are none");
    };
    let used = &most.used;
    let says = format!(
        "{} names of colors share them; the router of column {}, row {} has {} pairs of color and route; {}",
        used.given.names,
        used.busiest.column,
        used.busiest.row,
        used.busiest.pairs,
        most.programs.join(", ")
    );
    let alike = if most.slots > 1 { format!(" and {} alike", most.slots - 1) } else { String::new() };
    let subject = format!("slot {}{alike}", most.slot);
    let figure = Figure { value: f64::from(used.given.physical), limit: f64::from(limits.colors), unit: "colors" };
    measured(PartName::Colors, subject, figure, says)
}

/// Each kind of layer on the fabric.
pub fn fabric(opened: &Opened<'_>, limits: &Limits, progress: Progress<'_>) -> Vec<CertificatePart> {
    let runs = opened.on_fabric(&|run| progress(Step::Fabric(run)));
    let part = |(kind, run)| {
        let subject = opened.kind(kind);
        match run {
            Ok(layer) => of_layer(subject, &layer, limits),
            Err(error) => failed(PartName::Fabric, &subject, &error),
        }
    };
    runs.into_iter().map(part).collect()
}

fn of_layer(subject: String, layer: &LayerOnFabric, limits: &Limits) -> CertificatePart {
    let region = layer.region;
    let says = format!(
        "{} cycles on {} x {} processing elements, {} in closed form; {} wavelet-hops",
        grouped(layer.cycles.round() as u64),
        region.columns,
        region.rows,
        grouped(layer.closed_form_cycles.round() as u64),
        grouped(layer.wavelet_hops)
    );
    // Four digits behind the point, so that files stay readable.
    let value = (layer.deviation_percent * 1e4).round() / 1e4;
    measured(PartName::Fabric, subject, Figure { value, limit: limits.deviation_percent, unit: "%" }, says)
}
