//! Pictures read back: sizes, colors at known places, what is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;

use proptest::prelude::*;
use wafersim_picture::{Colors, HeatMap, HeatMapLayout, PictureError, Reduction, heat_map};

fn map(columns: u32, rows: u32, values: &[f64]) -> HeatMap<'_> {
    HeatMap {
        title: "Busy PEs".into(),
        caption: vec!["A caption.".into()],
        origin: (30, 7),
        columns,
        rows,
        values,
        unit: "cycles".into(),
        highest: None,
        colors: Colors::Viridis,
        reduction: Reduction::Largest,
    }
}

struct Pixels {
    width: u32,
    height: u32,
    bytes: Vec<u8>,
}

impl Pixels {
    fn of(png: &[u8]) -> Self {
        let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        Self { width: info.width, height: info.height, bytes }
    }

    fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y * self.width + x) as usize * 3;
        self.bytes[at..at + 3].try_into().unwrap()
    }
}

/// The color in the middle of a place.
fn place(map: &HeatMap<'_>, pixels: &Pixels, column: u32, row: u32) -> [u8; 3] {
    let layout = HeatMapLayout::of(map);
    let middle = |corner: u32, place: u32| corner + place / layout.places * layout.pixels + layout.pixels / 2;
    pixels.at(middle(layout.map.0, column), middle(layout.map.1, row))
}

#[test]
fn colors_stand_at_their_places() {
    // Three columns, two rows: nothing, half and all of the scale; not used.
    let values = [0.0, 5.0, 10.0, f64::NAN, 0.0, 10.0];
    let map = map(3, 2, &values);
    let (pixels, layout) = (Pixels::of(&heat_map(&map).unwrap()), HeatMapLayout::of(&map));
    assert_eq!((pixels.width, pixels.height), (layout.width, layout.height));
    let (low, middle, high) = (Colors::Viridis.at(0.0), Colors::Viridis.at(0.5), Colors::Viridis.at(1.0));
    let found: Vec<[u8; 3]> = (0..2)
        .flat_map(|row| (0..3).map(move |column| (column, row)))
        .map(|(x, y)| place(&map, &pixels, x, y))
        .collect();
    assert_eq!(found, [low, middle, high, [0xd4; 3], low, high]);
    let (x, top, bottom) = (layout.bar.0 + 3, layout.bar.1, layout.bar.1 + layout.bar_height - 1);
    assert_eq!((pixels.at(x, top), pixels.at(x, bottom)), (high, low), "the ends of the color bar");
}

#[test]
fn a_given_end_of_the_scale_holds_and_larger_values_have_the_last_color() {
    let values = [50.0, 200.0];
    let map = HeatMap { highest: Some(100.0), colors: Colors::Inferno, ..map(2, 1, &values) };
    let pixels = Pixels::of(&heat_map(&map).unwrap());
    assert_eq!(place(&map, &pixels, 0, 0), Colors::Inferno.at(0.5));
    assert_eq!(place(&map, &pixels, 1, 0), Colors::Inferno.at(1.0));
}

#[test]
fn large_maps_show_the_largest_or_the_mean_of_blocks() {
    // 2400 places on a side of at most 1200 pixels: blocks of two by two.
    let mut values = vec![0.0; 2400 * 4];
    values[0] = 8.0;
    let largest = map(2400, 4, &values);
    let mean = HeatMap { reduction: Reduction::Mean, ..largest.clone() };
    let layout = HeatMapLayout::of(&largest);
    assert_eq!((layout.places, layout.pixels, layout.map_size), (2, 1, (1200, 2)));
    for (map, color) in [(&largest, Colors::Viridis.at(1.0)), (&mean, Colors::Viridis.at(0.25))] {
        let pixels = Pixels::of(&heat_map(map).unwrap());
        assert_eq!(place(map, &pixels, 0, 0), color);
        assert_eq!(place(map, &pixels, 2, 0), Colors::Viridis.at(0.0));
    }
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let nothing: [f64; 0] = [];
    assert!(matches!(heat_map(&map(0, 3, &nothing)), Err(PictureError::Places { .. })));
    assert!(matches!(heat_map(&map(5000, 1, &vec![0.0; 5000])), Err(PictureError::Places { largest: 4096, .. })));
    assert!(matches!(heat_map(&map(2, 2, &[1.0; 3])), Err(PictureError::Size { values: 3, .. })));
    let wrong = heat_map(&map(2, 2, &[0.0, 1.0, f64::INFINITY, 0.0]));
    assert!(matches!(wrong, Err(PictureError::Value { column: 0, row: 1, .. })), "{wrong:?}");
    assert!(matches!(heat_map(&map(1, 1, &[-1.0])), Err(PictureError::Value { .. })));
    let scale = HeatMap { highest: Some(0.0), ..map(1, 1, &[1.0]) };
    assert!(matches!(heat_map(&scale), Err(PictureError::Scale { .. })));
}

#[test]
fn nothing_but_places_that_are_not_used_is_a_picture_too() {
    let values = [f64::NAN; 12];
    let map = map(4, 3, &values);
    assert_eq!(place(&map, &Pixels::of(&heat_map(&map).unwrap()), 3, 2), [0xd4; 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the names, sizes and values: a picture of the layout's size, the same each time.
    #[test]
    fn every_map_is_a_picture(
        columns in 1u32..70,
        rows in 1u32..70,
        seed in any::<u64>(),
        title in ".{0,120}",
        unit in ".{0,30}",
        origin in (0u64..5000, 0u64..5000),
        scale in -6i32..9,
    ) {
        let values: Vec<f64> = (0..u64::from(columns * rows))
            .map(|place| (place.wrapping_mul(seed | 1) >> 40) as f64 * 10f64.powi(scale))
            .collect();
        let map = HeatMap { title, unit, origin, ..map(columns, rows, &values) };
        let png = heat_map(&map).unwrap();
        let (pixels, layout) = (Pixels::of(&png), HeatMapLayout::of(&map));
        prop_assert_eq!((pixels.width, pixels.height), (layout.width, layout.height));
        prop_assert_eq!(png, heat_map(&map).unwrap());
    }
}
