//! Mappings of a model's layers on a small grid, by a few choices: what runs without a mapping file are placed by.

use wafersim_mapping::{ExpertMapping, KvMapping, LayerMapping, Rewrites};
use wafersim_place::{CellGrid, KvContents, KvLayout, KvLayoutChoice};
use wafersim_spec::model::{FeedForward, Layer};
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_spec::{Bytes, Model};

/// A grid that every layer has for itself, and the choices that are the same for all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Columns of the region of a layer.
    pub columns: u64,
    /// Rows of it.
    pub rows: u64,
    /// Where experts lie.
    pub experts: ExpertPlacement,
    /// Columns of a head's block that share its width; the others share the sequence. At most the block: the published
    /// layout.
    pub kv: KvLayoutChoice,
    /// Fusions of decode layers.
    pub rewrites: Rewrites,
}

impl Grid {
    /// Published programs, every expert over the whole grid.
    pub const fn published(columns: u64, rows: u64) -> Self {
        let (experts, kv, rewrites) = (ExpertPlacement::Spread, KvLayoutChoice::WholeBlock, Rewrites::NONE);
        Self { columns, rows, experts, kv, rewrites }
    }

    /// The mapping of each layer.
    pub fn mappings(&self, model: &Model) -> Vec<LayerMapping> {
        model.layers.iter().map(|layer| self.mapping(layer)).collect()
    }

    fn mapping(&self, layer: &Layer) -> LayerMapping {
        let shape = KvContents::new(&layer.attention);
        let layout = KvLayout::choose(shape, (self.columns, self.rows), self.kv, |_| Bytes(0));
        let kv = KvMapping {
            heads_per_block: layout.heads_per_block,
            columns_per_head: layout.columns_per_head,
            dimension_split: layout.dimension_split,
            sequence_split: layout.sequence_split,
            ..KvMapping::published(self.columns)
        };
        let experts = match &layer.feed_forward {
            FeedForward::Dense { .. } => None,
            FeedForward::Moe(moe) if self.experts == ExpertPlacement::Clustered => Some(self.rectangles(moe.experts)),
            FeedForward::Moe(moe) => Some(ExpertMapping::spread(moe.experts)),
        };
        LayerMapping { kv, experts, rewrites: self.rewrites, ..LayerMapping::published(self.columns, self.rows) }
    }

    /// As many rectangles as there are experts, or as the grid has room for; of those divisions the squarest.
    fn rectangles(&self, experts: u64) -> ExpertMapping {
        let (columns, rows) = (self.columns, self.rows);
        let divisions = (1..=experts.min(columns)).map(|across| {
            let grid = CellGrid::new(columns, rows, across, experts.div_ceil(across));
            let (width, height) = grid.smallest_cell();
            let missing = experts.min(columns.saturating_mul(rows)).saturating_sub(grid.cells());
            ((missing, width.abs_diff(height), grid.cells()), grid)
        });
        let best = divisions.min_by_key(|(score, _)| *score).map(|(_, grid)| grid);
        let grid = best.unwrap_or_else(|| CellGrid::whole(columns, rows));
        ExpertMapping {
            strategy: Some(ExpertPlacement::Clustered),
            across: grid.across,
            down: grid.down,
            room: experts.div_ceil(grid.cells().max(1)),
            homes: Vec::new(),
        }
    }
}
