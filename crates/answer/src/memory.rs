//! Bytes of the fullest processing element of each slot as the programs need them: weights and cache of everything that
//! the slot holds, code, and the most that one of its programs keeps at once, buffer by buffer. Placement reserves for
//! buffers by a rule, before there is a program.

use std::sync::Arc;

use wafersim_mapping::Mapped;
use wafersim_place::{Item, Placement};
use wafersim_program::{Factor, Peak, Program, Weight};
use wafersim_spec::{Bytes, DataType};

use crate::known::Lowered;
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

/// Bytes of the matrices that a program's rewrites have formed of others (the router behind the output projection), in
/// the fullest place: placement knows those of the model alone.
pub(crate) fn formed_bytes(program: &Program) -> Bytes {
    let is_formed = |weight: &&Weight| weight.behind.iter().any(|factor| matches!(factor, Factor::Matrix(_)));
    let bytes = |weight: &Weight| {
        let kind = weight.stored.map_or(DataType::Fp16, |stored| stored.data_type);
        kind.storage(weight.inputs.most_inner().saturating_mul(weight.outputs.most_inner()))
    };
    program.weights.iter().filter(is_formed).map(bytes).sum()
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
pub(crate) fn fullest(mapped: &Mapped, layouts: &[Arc<Lowered>], tables: &[Arc<Lowered>]) -> Vec<Fullest> {
    let placement = &mapped.placement;
    let formed: Vec<Bytes> = layouts.iter().map(|program| program.formed()).collect();
    let layouts: Vec<Bytes> = layouts.iter().map(|program| program.peak().bytes).collect();
    let tables: Vec<Bytes> = tables.iter().map(|program| program.peak().bytes).collect();
    let more = mapped.rectangle_bytes();
    let slots = placement.ledger.slots.iter().enumerate();
    slots
        .map(|(index, ledger)| {
            let (of_layers, of_tables) = programs_of(placement, index);
            let kept = of_layers.iter().filter_map(|at| layouts.get(*at));
            let working = kept.chain(of_tables.iter().filter_map(|at| tables.get(*at))).max().copied();
            let rectangles = more.as_ref().and_then(|more| more.get(index)).copied().unwrap_or(Bytes::ZERO);
            let of_layer = |item: &Item| match item {
                Item::Layer(layer) => placement.layout_index(*layer as usize).and_then(|at| formed.get(at)).copied(),
                Item::Embedding(_) | Item::LmHead(_) => None,
            };
            let items = placement.slots.get(index).into_iter().flat_map(|slot| &slot.items);
            let formed: Bytes = items.filter_map(of_layer).sum();
            let held = ledger.worst_pe.lasting() + ledger.worst_pe.code_and_runtime + rectangles + formed;
            Fullest { slot: index, held, working: working.unwrap_or(Bytes::ZERO) }
        })
        .collect()
}
