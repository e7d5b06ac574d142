//! What the runs of neighbouring layers found, merged at their places on the wafer: the figures behind pictures.
//!
//! Layers that share processing elements run one after the other, so their times add up. A place is compared with the
//! cycles of the layers that ran there. Regions of different slots share no link.

use wafersim_fabric::circuit::timing;
use wafersim_spec::Region;

use super::layer::LayerRun;

/// Figures by processing element, row after row; NaN where no layer ran.
#[derive(Debug, Clone, PartialEq)]
pub struct WaferMaps {
    /// The part of the wafer that the maps show.
    pub area: Region,
    /// Share of the cycles for which the busiest of the four links that leave the place carried wavelets; 0 to 1.
    pub link_use: Vec<f64>,
    /// Share of the cycles for which the core ran vector work; 0 to 1.
    pub busy: Vec<f64>,
    /// Cycles for which first wavelets of streams waited in the router, added up over colors: may pass the cycles of
    /// the run.
    pub stalled: Vec<f64>,
    /// Most wavelets in one input queue of the router at any time.
    pub queue: Vec<f64>,
}

impl WaferMaps {
    /// The smallest rectangle around the layers that are shown.
    pub fn around(runs: &[LayerRun]) -> Region {
        let shown = || runs.iter().filter(|run| run.layer.is_shown).map(|run| run.layer.region);
        let (left, top) = (shown().map(|at| at.x).min().unwrap_or(0), shown().map(|at| at.y).min().unwrap_or(0));
        let right = shown().map(|at| at.x.saturating_add(at.columns)).max().unwrap_or(left);
        let bottom = shown().map(|at| at.y.saturating_add(at.rows)).max().unwrap_or(top);
        Region { x: left, y: top, columns: right - left, rows: bottom - top }
    }

    /// Merges the layers that are shown; what lies outside of `area` is left out.
    pub fn merge(runs: &[LayerRun], area: Region) -> Self {
        let places = usize::try_from(area.elements()).unwrap_or(0);
        let mut cycles = vec![0.0; places];
        let nothing = || vec![0.0; places];
        let mut maps = Self { area, link_use: nothing(), busy: nothing(), stalled: nothing(), queue: nothing() };
        // By direction, so that layers which follow each other add up link by link.
        let mut links = vec![[0.0f64; 4]; places];
        for run in runs.iter().filter(|run| run.layer.is_shown) {
            let outcome = &run.outcome;
            let columns = u64::from(outcome.columns).max(1);
            for (index, (&busy, &stalled)) in outcome.maps.busy.iter().zip(&outcome.maps.stalled).enumerate() {
                let (x, y) = (index as u64 % columns + outcome.origin.0, index as u64 / columns + outcome.origin.1);
                if !area.contains(x, y) {
                    continue;
                }
                let Ok(place) = usize::try_from((y - area.y) * area.columns + (x - area.x)) else { continue };
                cycles[place] += outcome.cycles.0;
                maps.busy[place] += timing::cycles(busy).0;
                maps.stalled[place] += timing::cycles(stalled).0;
                let depth = outcome.maps.queue.get(index).map_or(0.0, |depth| f64::from(*depth));
                maps.queue[place] = maps.queue[place].max(depth);
                for (sum, direction) in links[place].iter_mut().zip(&outcome.maps.links) {
                    *sum += direction.get(index).map_or(0.0, |count| f64::from(*count)) * run.cycles_per_wavelet;
                }
            }
        }
        for (place, &cycles) in cycles.iter().enumerate() {
            let busiest = links[place].iter().copied().fold(0.0, f64::max);
            if cycles > 0.0 {
                maps.link_use[place] = busiest / cycles;
                maps.busy[place] /= cycles;
            } else {
                for map in [&mut maps.link_use, &mut maps.busy, &mut maps.stalled, &mut maps.queue] {
                    map[place] = f64::NAN;
                }
            }
        }
        maps
    }
}
