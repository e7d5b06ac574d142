//! Wafer maps: what is refused, what is drawn, and that nothing panics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use wafersim_picture::wafer_map::{DrawnRegion, ExpertArea, MemoryShares, Place};
use wafersim_picture::{WaferMap, wafer_map_png, wafer_map_svg};

fn place(wafer: u32, x: u32, y: u32, columns: u32, rows: u32) -> Place {
    Place { wafer, x, y, columns, rows }
}

/// Two wafers of 40 x 30: an embedding, a layer with two rectangles of experts, one of them hot, and an LM head.
fn small() -> WaferMap {
    let memory = MemoryShares { weights: 0.5, kv_cache: 0.25, working: 0.125 };
    let region = |place, name: &str, short: &str, group| DrawnRegion {
        place,
        name: name.into(),
        short_name: short.into(),
        group,
        memory: Some(memory),
    };
    WaferMap {
        title: "A <small> model & its experts".into(),
        caption: vec!["1 us per token.".into()],
        wafer_size: (40, 30),
        wafers: 2,
        groups: vec!["layers".into(), "tables".into()],
        regions: vec![
            region(place(0, 0, 0, 40, 10), "embedding", "emb", 1),
            region(place(0, 0, 10, 40, 20), "layer 0", "0", 0),
            region(place(1, 0, 0, 40, 10), "LM head", "head", 1),
        ],
        experts: vec![
            ExpertArea { place: place(0, 0, 10, 20, 20), experts: vec![3, 0], has_copies: true, load: Some(6.0) },
            ExpertArea { place: place(0, 20, 10, 20, 20), experts: vec![1, 2, 3], has_copies: true, load: Some(2.0) },
        ],
        load_name: "pairs per batch".into(),
        highest_load: None,
        detail: Some(1),
    }
}

fn size(png: &[u8]) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

#[test]
fn a_small_map_as_svg() {
    insta::assert_snapshot!(wafer_map_svg(&small()).unwrap());
}

#[test]
fn svg_and_png_have_one_size_and_the_same_bytes_each_time() {
    let (svg, png) = (wafer_map_svg(&small()).unwrap(), wafer_map_png(&small()).unwrap());
    let (width, height) = size(&png);
    assert!(svg.contains(&format!("width=\"{width}\" height=\"{height}\"")));
    assert_eq!((svg, png), (wafer_map_svg(&small()).unwrap(), wafer_map_png(&small()).unwrap()));
}

#[test]
fn many_wafers_fit_one_sheet() {
    for wafers in [1, 2, 7, 16, 24, 32, 64] {
        let map =
            WaferMap { wafers, wafer_size: (755, 1170), regions: vec![], experts: vec![], detail: None, ..small() };
        let (width, height) = size(&wafer_map_png(&map).unwrap());
        assert!(width <= 1500 && height <= 1200, "{wafers} wafers: {width} x {height}");
        let svg = wafer_map_svg(&map).unwrap();
        assert!(svg.contains(&format!(">wafer {}<", wafers - 1)), "{wafers}");
    }
}

#[test]
fn the_hot_rectangle_has_the_last_color() {
    let svg = wafer_map_svg(&small()).unwrap();
    // The end of yellow-orange-red, on the wafer and enlarged, and at the end of the scale.
    assert_eq!(svg.matches("#800026").count(), 3, "{svg}");
    let cooler = WaferMap { highest_load: Some(60.0), ..small() };
    assert_eq!(wafer_map_svg(&cooler).unwrap().matches("#800026").count(), 1);
}

#[test]
fn data_that_do_not_agree_are_refused() {
    type Spoil = fn(&mut WaferMap);
    let cases: [(Spoil, &str); 10] = [
        (|map| map.wafers = 0, "the number of wafers is 0; allowed: 1 to 64"),
        (|map| map.wafers = 1, "region 2 'LM head' is 40 x 10 at (0, 0) on wafer 1; allowed: at least one PE"),
        (|map| map.wafer_size = (0, 30), "the wafer is 0 x 30 PEs"),
        (|map| map.regions[0].place.columns = 41, "region 0 'embedding' is 41 x 10 at (0, 0) on wafer 0"),
        (|map| map.regions[0].group = 2, "the group of region 0 'embedding' is 2; allowed: below 2"),
        (|map| map.experts[1].place.x = u32::MAX, "expert rectangle 1 is 20 x 20 at (4294967295, 10)"),
        (
            |map| map.experts[1].load = Some(-1.0),
            "the load of expert rectangle 1 is -1; allowed: finite numbers from 0",
        ),
        (|map| map.detail = Some(3), "the region to enlarge is 3; allowed: below 3"),
        (|map| map.highest_load = Some(f64::NAN), "the highest load is NaN; allowed: finite numbers above 0"),
        (
            |map| map.regions[1].memory = Some(MemoryShares { weights: 0.9, kv_cache: 0.25, working: 0.0 }),
            "the memory of region 1 'layer 0' is 0.9 + 0.25 + 0; allowed: numbers from 0, together at most 1",
        ),
    ];
    for (spoil, message) in cases {
        let mut map = small();
        spoil(&mut map);
        let error = wafer_map_svg(&map).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(wafer_map_png(&map).unwrap_err(), error);
    }
}

fn any_map() -> impl Strategy<Value = WaferMap> {
    let number = || prop_oneof![80 => 0u32..12, 1 => any::<u32>()];
    let any_place = || {
        (0u32..2, number(), number(), number(), number())
            .prop_map(|(wafer, x, y, columns, rows)| place(wafer, x, y, columns, rows))
    };
    let share = || prop_oneof![20 => 0.0f64..0.33, 1 => any::<f64>()];
    let memory = (share(), share(), share()).prop_map(|(weights, kv_cache, working)| MemoryShares {
        weights,
        kv_cache,
        working,
    });
    let region = (any_place(), any::<String>(), any::<String>(), 0usize..3, prop::option::of(memory))
        .prop_map(|(place, name, short_name, group, memory)| DrawnRegion { place, name, short_name, group, memory });
    let load = prop::option::of(prop_oneof![4 => 0.0f64..9.0, 1 => any::<f64>()]);
    let area = (any_place(), prop::collection::vec(any::<u64>(), 0..5), any::<bool>(), load)
        .prop_map(|(place, experts, has_copies, load)| ExpertArea { place, experts, has_copies, load });
    let words = prop::collection::vec(any::<String>(), 0..3);
    let sizes = (1u32..64, 1u32..64, 1u32..5).prop_map(|(columns, rows, wafers)| (columns + 8, rows + 8, wafers));
    let few = 0usize..3;
    (any::<String>(), words, sizes, few.clone(), few, prop::option::of(0usize..3), any::<bool>()).prop_flat_map(
        move |(title, caption, (columns, rows, wafers), regions, areas, detail, highest)| {
            (prop::collection::vec(region.clone(), regions), prop::collection::vec(area.clone(), areas)).prop_map(
                move |(regions, experts)| WaferMap {
                    title: title.clone(),
                    caption: caption.clone(),
                    wafer_size: (columns, rows),
                    wafers,
                    groups: vec!["a".into(), "b".into()],
                    regions,
                    experts,
                    load_name: title.clone(),
                    highest_load: highest.then_some(4.0),
                    detail,
                },
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn garbage_is_refused_or_drawn(map in any_map()) {
        let (svg, png) = (wafer_map_svg(&map), wafer_map_png(&map));
        prop_assert_eq!(svg.is_ok(), png.is_ok());
    }
}
