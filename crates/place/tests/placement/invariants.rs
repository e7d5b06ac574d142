//! What the tests of placement share: the two machines, and the invariants that every placement keeps.

use wafersim_place::{Item, LayerLayout, Machine, Placement, place};
use wafersim_spec::{Bytes, Model};

/// Usable fabric and free memory of the machines (sources.md#cerebras-documentation).
pub const WSE3: Machine = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
pub const WSE2: Machine = Machine { columns: 750, rows: 994, memory: Bytes(49_152), free_memory: Bytes(44_900) };

/// Bytes of the weights, from the list of tensors alone.
pub fn weight_bytes(model: &Model, placement: &Placement) -> u64 {
    let precision = placement.settings.precision;
    let layers = model.layers.iter().flat_map(|layer| layer.tensors(model.hidden));
    layers.chain(model.outer_tensors()).map(|tensor| tensor.bytes(&precision).0).sum()
}

/// Everything that holds for every placement, whatever was asked.
pub fn check(model: &Model, placement: &Placement) {
    let machine = placement.settings.machine;
    for (index, slot) in placement.slots.iter().enumerate() {
        assert!(slot.wafer < placement.wafers);
        assert!(slot.slot.x + slot.slot.columns <= machine.columns && slot.slot.y + slot.slot.rows <= machine.rows);
        assert!(slot.region.columns <= slot.slot.columns && slot.region.rows <= slot.slot.rows);
        assert!((slot.region.x, slot.region.y) == (slot.slot.x, slot.slot.y) && slot.region.elements() > 0);
        let earlier = placement.slots[..index].iter().filter(|earlier| earlier.wafer == slot.wafer);
        assert!(earlier.into_iter().all(|earlier| !earlier.slot.overlaps(&slot.slot)));
    }
    assert_eq!(
        placement.empty_slots + placement.slots.len() as u64,
        placement.slots_per_wafer * u64::from(placement.wafers)
    );

    let items: Vec<Item> = placement.slots.iter().flat_map(|slot| slot.items.clone()).collect();
    let layers = items.iter().filter_map(|item| if let Item::Layer(layer) = item { Some(*layer) } else { None });
    assert_eq!(layers.collect::<Vec<_>>(), (0..model.layers.len() as u64).collect::<Vec<_>>());
    let entries = |is_head| placement.tables.iter().filter(move |table| table.is_head == is_head);
    assert_eq!(entries(true).map(|table| table.part.entries).sum::<u64>(), model.vocabulary);
    let embedded: u64 = placement.embedding().map(|table| table.part.entries).sum();
    assert_eq!(embedded, model.vocabulary);
    assert_eq!(entries(false).count() == 0, model.tied_embeddings);

    let ledger = &placement.ledger;
    assert_eq!(ledger.slots.len(), placement.slots.len());
    for slot in &ledger.slots {
        assert!(slot.worst_pe.sum() <= ledger.limit, "{:?}", slot);
        assert_eq!(slot.worst_pe.sum() + slot.spare, ledger.limit);
        assert!(slot.spare >= ledger.worst.spare);
    }
    assert_eq!(ledger.totals.weights.0, weight_bytes(model, placement));
    for layout in &placement.layouts {
        check_layout(layout);
    }
    assert!(placement.max_users(placement.settings.context) >= placement.settings.users);
    assert!(placement.max_context(placement.settings.users) >= placement.settings.context);
    assert!(placement.prefill_chunk_tokens().is_power_of_two());
}

fn check_layout(layout: &LayerLayout) {
    let kv = &layout.kv;
    assert!(kv.blocks * kv.heads_per_block >= kv.shape.kv_heads && kv.blocks * kv.columns_per_head <= layout.columns);
    assert!(kv.dimension_split * kv.sequence_split <= kv.columns_per_head);
    assert!(kv.dimension_split * kv.dimensions_per_pe() >= kv.shape.head_dim);
    if let Some(experts) = &layout.experts {
        for expert in 0..experts.experts {
            let cell = experts.rectangle(expert);
            assert!(
                cell.x + cell.columns <= layout.columns && cell.y + cell.rows <= layout.rows && cell.elements() > 0
            );
        }
    }
}

/// Goes through every processing element of every region: the ledger's sums are exact and its worst is a bound.
pub fn check_by_enumeration(placement: &Placement) {
    let mut matrices = 0;
    let mut vectors = 0;
    for (index, slot) in placement.slots.iter().enumerate() {
        let worst = placement.ledger.slots[index].worst_pe;
        let tables: Vec<_> = placement.tables.iter().filter(|table| table.slot == index).collect();
        for row in 0..slot.region.rows {
            for column in 0..slot.region.columns {
                let layers = slot.items.iter().filter_map(|item| match item {
                    Item::Layer(layer) => placement.layer(*layer as usize),
                    _ => None,
                });
                let layers = layers.map(|layout| layout.weights_at(column, row));
                let here: Vec<_> = layers.chain(tables.iter().map(|table| table.weights_at(column, row))).collect();
                let weights: u64 = here.iter().map(|bytes| bytes.weights.0).sum();
                let replicated: u64 = here.iter().map(|bytes| bytes.replicated.0).sum();
                assert!(weights <= worst.weights.0 && replicated <= worst.replicated.0);
                matrices += weights;
                vectors += replicated;
            }
        }
    }
    let totals = placement.ledger.totals;
    assert_eq!(matrices + vectors, totals.weights.0 + totals.replicated.0);
}

/// The placement of a request, with the invariants checked.
pub fn placed(request: &wafersim_place::Request<'_>) -> Option<Placement> {
    let placement = place(request).ok()?;
    check(request.model, &placement);
    Some(placement)
}
