//! Whether a resolved mapping that was read agrees with itself, with its model and with the placement that follows from
//! it.

use wafersim_place::experts::assignment::Assignment;
use wafersim_place::{LayerLayout, Placement};
use wafersim_spec::model::{FeedForward, Layer};

use super::{Resolved, ResolvedSlot, held, most_layers};
use crate::areas;
use crate::error::MappingError;
use crate::experts::{ExpertMapping, fullest};
use crate::inputs::Inputs;
use crate::kv::KvMapping;
use crate::layer::{LayerMapping, RegionSize};
use crate::operator::{LineKind, operator_named};

impl LayerMapping {
    /// A reduction that says more than its line has: where, and what. Lines of several lengths have rules, which hold
    /// for any.
    fn beyond_lines(&self) -> Option<(String, String)> {
        let (region, reductions) = (self.region, &self.reductions);
        let usual = [
            ("x", &reductions.x, region.columns),
            ("y", &reductions.y, region.rows),
            ("width", &reductions.width, self.kv.dimension_split),
            ("sequence", &reductions.sequence, self.kv.sequence_split),
        ];
        let usual = usual.map(|(name, reduction, length)| (format!("reductions.{name}"), reduction, length));
        let own = reductions.operators.iter().filter(|(operator, _)| !areas::is_of_experts(operator));
        let own = own.filter_map(|(operator, reduction)| {
            let rectangle = areas::rectangle_of(&self.rectangles, operator);
            let (columns, rows) = rectangle.map_or((region.columns, region.rows), |one| (one.columns, one.rows));
            let length = match operator_named(operator)?.line? {
                LineKind::X => columns,
                LineKind::Y => rows,
                LineKind::Width => self.kv.dimension_split,
                LineKind::Sequence => self.kv.sequence_split,
                LineKind::Head | LineKind::CellX | LineKind::CellY => return None,
            };
            Some((format!("reductions.operators.\"{operator}\""), reduction, length))
        });
        usual.into_iter().chain(own).find_map(|(field, reduction, length)| Some((field, reduction.beyond(length)?)))
    }
}

impl Resolved {
    /// The kind of each layer of the model.
    pub(super) fn kind_of_layer(&self, inputs: Inputs<'_>) -> Result<Vec<usize>, MappingError> {
        let layers = inputs.model.layers.len() as u64;
        let mut kinds = vec![None; inputs.model.layers.len()];
        for (index, kind) in self.kinds.iter().enumerate() {
            for run in &kind.layers {
                let end = run.first.saturating_add(run.count);
                if run.count == 0 || end > layers {
                    let problem = format!("layers {} to {end} of a model with {layers}", run.first);
                    return Err(self.contradiction(format!("kinds[{index}].layers"), problem));
                }
                for layer in run.first..end {
                    if let Some(known) = kinds[layer as usize].replace(index) {
                        let problem = format!("layer {layer} is in kinds {known} and {index}");
                        return Err(self.contradiction(format!("kinds[{index}].layers"), problem));
                    }
                    self.check_kind(index, &kind.mapping, &inputs.model.layers[layer as usize])?;
                }
            }
        }
        let missing = kinds.iter().position(Option::is_none);
        if let Some(layer) = missing {
            return Err(self.contradiction("kinds".into(), format!("layer {layer} is in none of them")));
        }
        Ok(kinds.into_iter().flatten().collect())
    }

    /// Whether a mapping suits a layer.
    fn check_kind(&self, index: usize, mapping: &LayerMapping, layer: &Layer) -> Result<(), MappingError> {
        let refuse =
            |field: &str, problem: String| Err(self.contradiction(format!("kinds[{index}].mapping.{field}"), problem));
        let region = mapping.region;
        for (part, rectangle) in &mapping.rectangles {
            let fits = |from: u64, size: u64, whole: u64| size > 0 && from.saturating_add(size) <= whole;
            if !fits(rectangle.x, rectangle.columns, region.columns) || !fits(rectangle.y, rectangle.rows, region.rows)
            {
                let problem = format!("leaves the region of {} x {}", region.columns, region.rows);
                return refuse(&format!("rectangles.\"{part}\""), problem);
            }
            let of_layer = areas::operators_of(layer);
            if areas::part_named(part).is_none_or(|part| !of_layer.contains(&part.operators[0])) {
                return refuse(&format!("rectangles.\"{part}\""), "is no part of these layers".into());
            }
            let is_spread = mapping.experts.as_ref().is_none_or(ExpertMapping::is_spread);
            if let Some(allowed) = areas::refused(part, layer, mapping.rewrites, is_spread) {
                return refuse(&format!("rectangles.\"{part}\""), format!("is given; allowed: {allowed}"));
            }
        }
        if let Some(unknown) = mapping.reductions.operators.keys().find(|operator| operator_named(operator).is_none()) {
            return refuse(&format!("reductions.operators.\"{unknown}\""), "is no operator".into());
        }
        if let Some((field, problem)) = mapping.beyond_lines() {
            return refuse(&field, problem);
        }
        match (&layer.feed_forward, &mapping.experts) {
            (FeedForward::Dense { .. }, Some(_)) => refuse("experts", "these layers have none".into()),
            (FeedForward::Moe(moe), None) => {
                refuse("experts", format!("are missing; these layers have {}", moe.experts))
            }
            (FeedForward::Moe(moe), Some(experts)) => {
                let cells = experts.cells();
                if cells == 0 || cells > 1 << 16 || experts.across > region.columns || experts.down > region.rows {
                    let problem = format!("{} x {} rectangles", experts.across, experts.down);
                    return refuse("experts", format!("{problem} in a region of {} x {}", region.columns, region.rows));
                }
                let assignment = Assignment { cells: cells as usize, homes: experts.homes.clone() };
                if !experts.homes.is_empty() && !assignment.is_valid(moe.experts as usize, usize::MAX) {
                    let allowed =
                        format!("each of {} experts in one or more different rectangles of {cells}", moe.experts);
                    return refuse("experts.homes", format!("are not allowed; allowed: {allowed}"));
                }
                let held = match experts.homes.as_slice() {
                    [] => moe.experts.div_ceil(cells),
                    homes => fullest(homes, cells),
                };
                if held > experts.room {
                    let problem = format!("is {}, but the fullest rectangle holds {held} experts", experts.room);
                    return refuse("experts.room", problem);
                }
                Ok(())
            }
            (FeedForward::Dense { .. }, None) => Ok(()),
        }
    }

    /// Whether slots hold what follows from the division.
    pub(super) fn check_slots(&self, placement: &Placement) -> Result<(), MappingError> {
        let follow: Vec<ResolvedSlot> = placement.slots.iter().map(held).collect();
        if follow.len() != self.slots.len() {
            let problem = format!("{} of them, but {} follow from the division", self.slots.len(), follow.len());
            return Err(self.contradiction("slots".into(), problem));
        }
        let most = most_layers(&follow);
        if self.division.layers_per_slot != most {
            let problem = format!("is {}, but the fullest slot holds {most}", self.division.layers_per_slot);
            return Err(self.contradiction("division.layers_per_slot".into(), problem));
        }
        for (index, (is, follows)) in self.slots.iter().zip(&follow).enumerate() {
            if is != follows {
                let problem = format!("{is}, but {follows} follows from the division");
                return Err(self.contradiction(format!("slots[{index}]"), problem));
            }
        }
        Ok(())
    }

    /// The mapping of the layers of a layout, which has to be as the mapping says.
    pub(super) fn mapping_of(
        &self,
        layout: &LayerLayout,
        kind_of_layer: &[usize],
    ) -> Result<LayerMapping, MappingError> {
        let index = kind_of_layer.get(layout.first_layer as usize).copied().unwrap_or(0);
        let Some(kind) = self.kinds.get(index) else {
            return Err(self.contradiction("kinds".into(), format!("kind {index} is missing")));
        };
        let mapping = &kind.mapping;
        let held = &layout.kv;
        let follows = KvMapping {
            heads_per_block: held.heads_per_block,
            columns_per_head: held.columns_per_head,
            dimension_split: held.dimension_split,
            sequence_split: held.sequence_split,
            head_copies: held.head_copies,
            append: mapping.kv.append,
        };
        let region = RegionSize { columns: layout.columns, rows: layout.rows };
        let field = |name: &str| format!("kinds[{index}].mapping.{name}");
        if mapping.region != region {
            let problem = format!("{}, but {region} follows from the division", mapping.region);
            return Err(self.contradiction(field("region"), problem));
        }
        if mapping.kv != follows {
            let problem = format!("{:?} is not possible; the nearest that is: {follows:?}", mapping.kv);
            return Err(self.contradiction(field("kv"), problem));
        }
        Ok(mapping.clone())
    }

    pub(super) fn contradiction(&self, field: String, problem: String) -> MappingError {
        MappingError::Contradiction { mapping: self.called(), field, problem }
    }
}
