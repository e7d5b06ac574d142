//! What the answer says of memory: bytes of the fullest processing element by what they are for, sums over all wafers,
//! the draft model's part. The figures are those of placement's ledger.

use serde::Serialize;
use wafersim_place::{ByteCounts, Item, Placement};
use wafersim_spec::{Bytes, Model, Region};

use crate::candidates::Way;
use crate::question::Question;

/// Memory of the processing elements.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// Bytes in the worst processing element.
    pub per_pe_bytes: MemoryBytes,
    /// Which one that is.
    pub worst_pe: WorstPe,
    /// Sums over all wafers.
    pub total_bytes: ByteCounts,
    /// Slots on one wafer: columns x rows.
    pub slots_per_wafer: u64,
    /// Size of a slot's region in processing elements.
    pub region: Region,
    /// Processing elements of each wafer that belong to no slot.
    pub spare_pes_per_wafer: u64,
    /// Slots that hold nothing, over all wafers.
    pub empty_slots: u64,
    /// The draft model, where one is named. The sums over all wafers contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<DraftMemory>,
}

/// Where a draft model lies, and what it takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DraftMemory {
    /// Its name.
    pub model: String,
    /// Its parameters.
    pub parameters: u64,
    /// Slots that it takes.
    pub slots: u64,
    /// The first of its wafers, from 0.
    pub first_wafer: u32,
    /// How many wafers hold a part of it.
    pub wafers: u32,
    /// Size of the region in its first slot.
    pub region: Region,
    /// Its bytes, summed over all processing elements.
    pub bytes: ByteCounts,
}

/// Bytes of one processing element. All but `limit` add up to `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryBytes {
    /// Matrices and biases.
    pub weights: Bytes,
    /// Gains and sinks, of which every row or column holds a copy.
    pub replicated: Bytes,
    /// Keys and values.
    pub kv_cache: Bytes,
    /// Activations.
    pub activations: Bytes,
    /// Buffers for arriving payloads.
    pub receive_buffers: Bytes,
    /// Code and runtime.
    pub code_and_runtime: Bytes,
    /// Free.
    pub spare: Bytes,
    /// All of its SRAM.
    pub limit: Bytes,
}

/// The processing element with the least to spare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstPe {
    /// Wafer, from 0.
    pub wafer: u32,
    /// Slot in the order of the pipeline, from 0.
    pub slot: usize,
    /// Its region on the wafer.
    pub region: Region,
    /// What the slot holds.
    pub holds: String,
}

pub(super) fn memory(question: &Question, way: &Way) -> Memory {
    let placement = &way.mapped.placement;
    let draft = question.draft.as_ref().zip(way.draft.as_ref().map(|draft| &*draft.placement));
    let worst = &placement.ledger.worst;
    let bytes = worst.worst_pe;
    let slot = placement.slots.get(worst.slot);
    let region = slot.map_or(Region { x: 0, y: 0, columns: 0, rows: 0 }, |slot| slot.region);
    Memory {
        per_pe_bytes: MemoryBytes {
            weights: bytes.weights,
            replicated: bytes.replicated,
            kv_cache: bytes.kv_cache,
            activations: bytes.activations,
            receive_buffers: bytes.receive_buffers,
            code_and_runtime: bytes.code_and_runtime,
            spare: worst.spare,
            limit: placement.ledger.limit,
        },
        worst_pe: WorstPe {
            wafer: worst.wafer,
            slot: worst.slot,
            region,
            holds: slot.map_or_else(String::new, |slot| holds(&slot.items)),
        },
        total_bytes: draft.map_or(placement.ledger.totals, |(_, placed)| both(placement, placed)),
        slots_per_wafer: placement.slots_per_wafer,
        region,
        spare_pes_per_wafer: placement.spare_pes_per_wafer,
        empty_slots: draft.map_or(placement.empty_slots, |(_, placed)| placed.empty_slots),
        draft: draft.map(|(model, placed)| draft_memory(model, placed)),
    }
}

fn both(model: &Placement, draft: &Placement) -> ByteCounts {
    let (one, other) = (model.ledger.totals, draft.ledger.totals);
    ByteCounts {
        weights: one.weights + other.weights,
        replicated: one.replicated + other.replicated,
        kv_cache: one.kv_cache + other.kv_cache,
        activations: one.activations + other.activations,
        receive_buffers: one.receive_buffers + other.receive_buffers,
        code_and_runtime: one.code_and_runtime + other.code_and_runtime,
    }
}

fn draft_memory(model: &Model, placed: &Placement) -> DraftMemory {
    let first = placed.slots.first();
    DraftMemory {
        model: model.name.clone(),
        parameters: model.parameters().total,
        slots: placed.slots.len() as u64,
        first_wafer: first.map_or(0, |slot| slot.wafer),
        wafers: placed.wafers_used,
        region: first.map_or(Region { x: 0, y: 0, columns: 0, rows: 0 }, |slot| slot.region),
        bytes: placed.ledger.totals,
    }
}

fn holds(items: &[Item]) -> String {
    match items {
        [] => "nothing".into(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first} to {last}"),
    }
}
