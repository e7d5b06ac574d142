//! The memory ledger: the processing element with the least to spare, and the sums over all wafers.

use wafersim_answer::Answer;
use wafersim_spec::Bytes;

use crate::grid::{Grid, Side};
use crate::number::{count, plural, share, whole};
use crate::paragraph::{heading, labelled};

pub(super) fn text(answer: &Answer) -> String {
    let memory = &answer.memory;
    let (bytes, totals) = (&memory.per_pe_bytes, &memory.total_bytes);
    let mut grid = Grid::new([
        ("", Side::Left),
        ("worst PE, bytes", Side::Right),
        ("of its SRAM", Side::Right),
        ("all wafers", Side::Right),
    ]);
    let mut row = |label: &str, own: Bytes, all: Option<Bytes>| {
        let part = if bytes.limit.0 > 0 { own.0 as f64 / bytes.limit.0 as f64 } else { 0.0 };
        grid.row([label.into(), whole(own.0), share(part), all.map_or_else(String::new, |all| all.to_string())]);
    };
    row("weights", bytes.weights, Some(totals.weights));
    row("copies of gains, scales", bytes.replicated, Some(totals.replicated));
    row("KV cache", bytes.kv_cache, Some(totals.kv_cache));
    row("activations", bytes.activations, Some(totals.activations));
    row("receive buffers", bytes.receive_buffers, Some(totals.receive_buffers));
    row("code and runtime", bytes.code_and_runtime, Some(totals.code_and_runtime));
    row("spare", bytes.spare, None);
    row("SRAM", bytes.limit, None);
    let worst = &memory.worst_pe;
    let place = format!(
        "wafer {}, slot {}, in the region of {}, which holds {}",
        worst.wafer, worst.slot, worst.region, worst.holds
    );
    let slots = format!(
        "{} a wafer, {}; {} in no slot on each wafer",
        plural(memory.slots_per_wafer, "slot"),
        match memory.empty_slots {
            0 => "all in use".to_owned(),
            empty => format!("{} empty over all wafers", whole(empty)),
        },
        plural(memory.spare_pes_per_wafer, "PE")
    );
    let draft = memory.draft.as_ref().map_or_else(String::new, |draft| {
        let bytes = draft.bytes;
        let words = format!(
            "{}, {} parameters, on {} from wafer {} on, in a region of {} x {}; weights {}, KV cache {}, both in the sums above",
            draft.model,
            count(draft.parameters),
            plural(draft.slots, "slot"),
            draft.first_wafer,
            draft.region.columns,
            draft.region.rows,
            bytes.weights,
            bytes.kv_cache
        );
        labelled("draft model", &words)
    });
    let text = heading("Memory") + &grid.text() + "\n" + &labelled("the worst PE", &place);
    text + &labelled("slots", &slots) + &draft
}
