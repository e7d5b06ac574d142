//! Placements as wafer maps: whether every rectangle is where the placement says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use wafersim_picture::wafer_map::{Place, WaferMap};
use wafersim_picture::wafer_map_svg;
use wafersim_place::{Machine, Placement, Request, place};
use wafersim_report::wafer_map::of_placement;
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{Bytes, Model};

fn placed(model: &str, experts: ExpertPlacement, wafers: WaferCount) -> (Placement, WaferMap) {
    let model = Model::builtin(model).unwrap();
    let machine = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
    let placement = place(&Request { context: 8192, experts, wafers, ..Request::new(&model, machine) }).unwrap();
    let map = of_placement(&placement, "a map".into(), Vec::new());
    (placement, map)
}

fn pes(place: &Place) -> u64 {
    u64::from(place.columns) * u64::from(place.rows)
}

#[test]
fn rectangles_of_experts_tile_their_regions() {
    let (placement, map) = placed("qwen3-coder-480b-a35b", ExpertPlacement::Clustered, WaferCount::Exactly(16));
    assert_eq!((map.wafers, map.wafer_size), (16, (755, 1170)));
    assert_eq!(map.regions.len(), placement.slots.len());
    assert_eq!(map.experts.iter().map(|area| area.experts.len()).sum::<usize>(), 62 * 160);
    let in_layers: u64 = map.regions.iter().filter(|region| region.group == 0).map(|region| pes(&region.place)).sum();
    assert_eq!(map.experts.iter().map(|area| pes(&area.place)).sum::<u64>(), in_layers);
    for (slot, region) in placement.slots.iter().zip(&map.regions) {
        assert_eq!((slot.wafer, slot.region.elements()), (region.place.wafer, pes(&region.place)));
    }
    assert!(wafer_map_svg(&map).is_ok());
}

#[test]
fn memory_is_that_of_the_ledger() {
    let (placement, map) = placed("llama-3.1-8b", ExpertPlacement::Spread, WaferCount::Exactly(1));
    assert!(map.experts.is_empty() && map.detail.is_none());
    for (ledger, region) in placement.ledger.slots.iter().zip(&map.regions) {
        let shares = region.memory.unwrap();
        let free = 1.0 - shares.weights - shares.kv_cache - shares.working;
        assert!((free - ledger.spare.0 as f64 / 49_152.0).abs() < 1e-9, "{}", region.name);
        assert!((shares.kv_cache - ledger.worst_pe.kv_cache.0 as f64 / 49_152.0).abs() < 1e-9);
    }
    // More wafers than fit one sheet: the first are shown, and the caption says so.
    let (placement, map) = placed("llama-3.1-8b", ExpertPlacement::Spread, WaferCount::Exactly(80));
    assert_eq!((placement.wafers, map.wafers), (80, 64));
    assert!(map.caption.iter().any(|line| line.contains("16 more are not")), "{:?}", map.caption);
    assert!(wafer_map_svg(&map).is_ok());
}
