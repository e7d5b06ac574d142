//! Whether a wafer map agrees with itself.

use super::{MOST_AREAS, MOST_GROUPS, MOST_WAFERS, MemoryShares, Place, WaferMap};
use crate::error::PictureError;
use crate::heat_map::MOST_PLACES;

pub fn check(map: &WaferMap) -> Result<(), PictureError> {
    let refuse = |what: String, value: String, allowed: String| {
        Err(PictureError::WaferMap { title: map.title.clone(), what, value, allowed })
    };
    let (columns, rows) = map.wafer_size;
    if !(1..=MOST_PLACES).contains(&columns) || !(1..=MOST_PLACES).contains(&rows) {
        return refuse(
            "the wafer".into(),
            format!("{columns} x {rows} PEs"),
            format!("1 to {MOST_PLACES} along each axis"),
        );
    }
    if !(1..=MOST_WAFERS).contains(&map.wafers) {
        return refuse("the number of wafers".into(), map.wafers.to_string(), format!("1 to {MOST_WAFERS}"));
    }
    if map.groups.len() > MOST_GROUPS {
        return refuse("the number of groups".into(), map.groups.len().to_string(), format!("at most {MOST_GROUPS}"));
    }
    let areas = map.regions.len().saturating_add(map.experts.len());
    if areas > MOST_AREAS {
        return refuse("the number of rectangles".into(), areas.to_string(), format!("at most {MOST_AREAS}"));
    }
    if let Some(detail) = map.detail.filter(|detail| *detail >= map.regions.len()) {
        return refuse("the region to enlarge".into(), detail.to_string(), format!("below {}", map.regions.len()));
    }
    if let Some(highest) = map.highest_load.filter(|highest| !(highest.is_finite() && *highest > 0.0)) {
        return refuse("the highest load".into(), highest.to_string(), "finite numbers above 0".into());
    }
    for (index, region) in map.regions.iter().enumerate() {
        let what = || format!("region {index} '{}'", region.name);
        if !is_inside(map, &region.place) {
            return refuse(what(), described(&region.place), inside(map));
        }
        if region.group >= map.groups.len() {
            let allowed = format!("below {}, the number of groups", map.groups.len());
            return refuse(format!("the group of {}", what()), region.group.to_string(), allowed);
        }
        if let Some(shares) = region.memory.filter(|shares| !add_up(shares)) {
            let MemoryShares { weights, kv_cache, working } = shares;
            let allowed = "numbers from 0, together at most 1".into();
            return refuse(format!("the memory of {}", what()), format!("{weights} + {kv_cache} + {working}"), allowed);
        }
    }
    for (index, area) in map.experts.iter().enumerate() {
        let what = || format!("expert rectangle {index}");
        if !is_inside(map, &area.place) {
            return refuse(what(), described(&area.place), inside(map));
        }
        if let Some(load) = area.load.filter(|load| !(load.is_finite() && *load >= 0.0)) {
            return refuse(format!("the load of {}", what()), load.to_string(), "finite numbers from 0".into());
        }
    }
    Ok(())
}

fn is_inside(map: &WaferMap, place: &Place) -> bool {
    let within =
        |start: u32, length: u32, end: u32| length >= 1 && start.checked_add(length).is_some_and(|to| to <= end);
    place.wafer < map.wafers
        && within(place.x, place.columns, map.wafer_size.0)
        && within(place.y, place.rows, map.wafer_size.1)
}

fn inside(map: &WaferMap) -> String {
    let (columns, rows) = map.wafer_size;
    format!("at least one PE, inside {columns} x {rows} PEs on wafers 0 to {}", map.wafers - 1)
}

fn described(place: &Place) -> String {
    format!("{} x {} at ({}, {}) on wafer {}", place.columns, place.rows, place.x, place.y, place.wafer)
}

fn add_up(shares: &MemoryShares) -> bool {
    let parts = [shares.weights, shares.kv_cache, shares.working];
    // Rounding of three shares.
    parts.iter().all(|part| *part >= 0.0) && parts.iter().sum::<f64>() <= 1.0 + 1e-9
}
