//! All decisions of one kind of layer with every number: what the kernel writer takes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use wafersim_program::Region;
use wafersim_spec::model::Role;
use wafersim_spec::{DataType, Precision};

use crate::experts::ExpertMapping;
use crate::kv::KvMapping;
use crate::operator::LineKind;
use crate::recipe::ReductionRecipes;
use crate::reduction::{Reduction, Reductions};
use wafersim_graph::layer::{Rewrite, Rewrites};

/// Whether routers get new routes while a layer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routes {
    /// Routes are changed where the axis of reductions changes (published on WSE-3).
    #[default]
    Changed,
    /// All routes are set before the first layer and stay.
    Static,
}

/// What runs at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overlap {
    /// Conversion of stored weights beside the transfers before their product.
    pub conversion: bool,
    /// Independent operators on disjoint processing elements and links.
    pub independent: bool,
}

/// Size of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSize {
    /// Columns.
    pub columns: u64,
    /// Rows.
    pub rows: u64,
}

impl fmt::Display for RegionSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} x {}", self.columns, self.rows)
    }
}

/// Every decision of one kind of layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerMapping {
    /// The region that the layer works on.
    pub region: RegionSize,
    /// Fusions.
    pub rewrites: Rewrites,
    /// Whether routes change.
    pub routes: Routes,
    /// What runs at the same time.
    pub overlap: Overlap,
    /// Where keys and values lie.
    pub kv: KvMapping,
    /// Where the routed experts live; absent in a dense layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertMapping>,
    /// How sums travel.
    pub reductions: Reductions,
    /// Rectangles of parts of the layer, seen from the corner of the region; absent: the whole region.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rectangles: BTreeMap<String, Region>,
    /// How the matrices of each role are stored where that is not as in the checkpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stored: BTreeMap<Role, DataType>,
}

impl LayerMapping {
    /// The layer as published by WaferLLM: no rewrite, routes changed, nothing overlaps, one head over all columns,
    /// experts over the whole region.
    pub fn published(columns: u64, rows: u64) -> Self {
        let (region, kv) = (RegionSize { columns, rows }, KvMapping::published(columns));
        let reductions = Reductions::resolved(&ReductionRecipes::default(), region, &kv, &BTreeMap::new());
        Self {
            region,
            rewrites: Rewrites::NONE,
            routes: Routes::Changed,
            overlap: Overlap::default(),
            kv,
            experts: None,
            reductions,
            rectangles: BTreeMap::new(),
            stored: BTreeMap::new(),
        }
    }

    /// Whether a rewrite is made.
    pub const fn has(&self, rewrite: Rewrite) -> bool {
        self.rewrites.has(rewrite)
    }

    /// The region of the layer, at its own corner.
    pub const fn whole(&self) -> Region {
        Region::new(0, 0, self.region.columns, self.region.rows)
    }

    /// The rectangle of a part of the layer (see [`crate::PARTS`]), seen from the corner of the region, where it is not
    /// all of it.
    pub fn rectangle(&self, part: &str) -> Option<Region> {
        self.rectangles.get(part).copied().filter(|rectangle| *rectangle != self.whole())
    }

    /// The reduction of an operator along a line.
    pub fn reduction(&self, operator: &str, line: LineKind) -> &Reduction {
        self.reductions.of(operator, line)
    }

    /// How the matrices of a role are stored, where a mapping does not store them as the checkpoint does.
    pub fn stored(&self, role: Role, precision: &Precision) -> DataType {
        self.stored.get(&role).copied().unwrap_or_else(|| precision.stored(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_and_read_again_it_is_the_same() {
        let mut mapping = LayerMapping::published(755, 288);
        let read = |mapping: &LayerMapping| {
            let text = toml::to_string(mapping).unwrap();
            let read: LayerMapping = toml::from_str(&text).unwrap();
            assert_eq!((&read, toml::to_string(&read).unwrap()), (mapping, text));
        };
        read(&mapping);
        mapping.rewrites = Rewrites::ALL;
        mapping.experts = Some(ExpertMapping { homes: vec![vec![0, 3], vec![1]], ..ExpertMapping::spread(2) });
        mapping.rectangles.insert("router".into(), Region::new(3, 4, 5, 6));
        mapping.reductions.operators.insert("router".into(), Reduction::ReduceScatter);
        mapping.stored.insert(Role::ExpertDown, DataType::Fp16);
        read(&mapping);
    }

    #[test]
    fn an_override_holds_for_the_operators_own_line_only() {
        let mut mapping = LayerMapping::published(9, 9);
        mapping.reductions.operators.insert("attention.output".into(), Reduction::ReduceScatter);
        mapping.reductions.operators.insert("attention.scores".into(), Reduction::ReduceScatter);
        assert_eq!(mapping.reduction("attention.output", LineKind::X), &Reduction::ReduceScatter);
        assert_eq!(mapping.reduction("attention.output", LineKind::Head), &Reduction::PUBLISHED);
        mapping.reductions.operators.insert("experts.down".into(), Reduction::ReduceScatter);
        assert_eq!(mapping.reduction("experts.down", LineKind::CellX), &Reduction::ReduceScatter);
        assert_eq!(mapping.reduction("attention.scores", LineKind::Width), &Reduction::ReduceScatter);
        assert_eq!(mapping.reduction("attention.scores", LineKind::Y), &Reduction::PUBLISHED.on(9));
        assert_eq!(mapping.reduction("feed_forward.down", LineKind::X), &Reduction::PUBLISHED.on(9));
    }
}
