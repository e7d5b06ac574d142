//! Bytes of the fullest processing element of each slot as the programs need them: weights and cache of everything that
//! the slot holds, code, and the most that one of its programs keeps at once, buffer by buffer. Placement reserves for
//! buffers by a rule, before there is a program.

use std::sync::Arc;

use wafersim_mapping::Mapped;
use wafersim_place::{Item, Placement};
use wafersim_program::{Peak, Program};
use wafersim_spec::Bytes;

use crate::written::Written;

/// The fullest processing element of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullest {
    /// The slot, in the order of the pipeline.
    pub slot: usize,
    /// What stays: weights, copies of gains, cache, code.
    pub held: Bytes,
    /// The most that a program keeps beside it.
    pub working: Bytes,
}

impl Fullest {
    /// All of it.
    pub fn sum(&self) -> Bytes {
        self.held + self.working
    }
}

/// What a program keeps at its fullest moment, beside the cache.
pub(crate) fn peak(program: &Program) -> Peak {
    program.peak(|name| name.starts_with("kv."), |name| name == "residual")
}

/// The programs of a slot: of its kinds of layers, by layout; of its parts of tables, by table.
pub(crate) fn programs_of(placement: &Placement, slot: usize) -> (Vec<usize>, Vec<usize>) {
    let of_layer = |item: &Item| match item {
        Item::Layer(layer) => placement.layout_index(*layer as usize),
        Item::Embedding(_) | Item::LmHead(_) => None,
    };
    let items = placement.slots.get(slot).into_iter().flat_map(|slot| &slot.items);
    let mut layouts: Vec<usize> = items.filter_map(of_layer).collect();
    layouts.sort_unstable();
    layouts.dedup();
    let tables = placement.tables.iter().enumerate().filter(|(_, table)| table.slot == slot);
    (layouts, tables.map(|(table, _)| table).collect())
}

/// Whether what the programs of layers and of tables keep fits beside weights and cache in every slot.
///
/// # Errors
/// Where it does not: the fullest place.
pub(crate) fn fits(mapped: &Mapped, written: &Written) -> Result<(), Fullest> {
    let all = fullest(mapped, &written.layouts, &written.tables).into_iter();
    match all.reduce(|most, one| if one.sum() > most.sum() { one } else { most }) {
        Some(fullest) if fullest.sum() > mapped.placement.ledger.limit => Err(fullest),
        _ => Ok(()),
    }
}

/// The fullest processing element of each slot, in the order of the pipeline, under programs of layers and of tables.
pub(crate) fn fullest(mapped: &Mapped, layouts: &[Program], tables: &[Arc<Program>]) -> Vec<Fullest> {
    let placement = &mapped.placement;
    let layouts: Vec<Bytes> = layouts.iter().map(|program| peak(program).bytes).collect();
    let tables: Vec<Bytes> = tables.iter().map(|program| peak(program).bytes).collect();
    let more = mapped.rectangle_bytes();
    let slots = placement.ledger.slots.iter().enumerate();
    slots
        .map(|(index, ledger)| {
            let (of_layers, of_tables) = programs_of(placement, index);
            let kept = of_layers.iter().filter_map(|at| layouts.get(*at));
            let working = kept.chain(of_tables.iter().filter_map(|at| tables.get(*at))).max().copied();
            let rectangles = more.as_ref().and_then(|more| more.get(index)).copied().unwrap_or(Bytes::ZERO);
            let held = ledger.worst_pe.lasting() + ledger.worst_pe.code_and_runtime + rectangles;
            Fullest { slot: index, held, working: working.unwrap_or(Bytes::ZERO) }
        })
        .collect()
}
