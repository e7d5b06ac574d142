//! A resolved mapping: every number, the recipe it came from, and hashes of what it was resolved for. TOML both ways,
//! the same bytes.

mod check;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wafersim_graph::layer::Rewrites;
use wafersim_place::{
    Arrangement, Choices, Division, ExpertChoice, Item, KvLayoutChoice, KvSizes, LayerChoices, LayerLayout, Request,
    Slot, SlotChoice, SlotOrder, TableLayout, TablePart, place,
};
use wafersim_program::Region;
use wafersim_spec::model::Role;
use wafersim_spec::scenario::{ExpertPlacement, Verification, WaferCount};
use wafersim_spec::{DataType, Size};

use crate::areas;
use crate::certificate::Certificate;
use crate::error::{Difference, MappingError};
use crate::inputs::Inputs;
use crate::layer::LayerMapping;
use crate::mapped::{Mapped, Mapper, table_mapping};
use crate::recipe::Recipe;
use crate::text;

/// A mapping with every number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    /// Name of the recipe.
    pub name: String,
    /// Users whose tokens go through a slot together.
    pub micro_batch: u64,
    /// How a draft is verified.
    pub draft: Verification,
    /// What it was resolved for.
    pub resolved_for: ResolvedFor,
    /// How the wafers are divided.
    pub division: ResolvedDivision,
    /// The recipe it came from.
    pub recipe: Recipe,
    /// How the matrices of tables are stored where that is not as in the checkpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stored: BTreeMap<Role, DataType>,
    /// The decisions of each kind of layer.
    pub kinds: Vec<Kind>,
    /// The slots, in the order of the pipeline.
    pub slots: Vec<ResolvedSlot>,
    /// What has been shown of it, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// The file that it was read from, for messages.
    #[serde(skip)]
    pub file: Option<String>,
}

/// The first line of a resolved mapping: a file that has it and is cut off is no recipe.
pub(crate) const HEADER: &str = "# A resolved mapping: every number.";

/// What a mapping was resolved for: in words, and as hashes of what the words stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedFor {
    /// Name of the model.
    pub model: String,
    /// Hash of the model.
    pub model_hash: String,
    /// Name of the wafer.
    pub wafer: String,
    /// Hash of the wafer.
    pub wafer_hash: String,
    /// The load.
    pub load: String,
    /// Hash of the load.
    pub load_hash: String,
}

/// How the wafers are divided into slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedDivision {
    /// Wafers: the number asked for, or the fewest that suffice.
    pub wafers: u32,
    /// Slots of a wafer side by side.
    pub across: u64,
    /// Slots of a wafer one below the other.
    pub down: u64,
    /// Columns of a slot's region, where layers fill it.
    pub columns: u64,
    /// Rows of a slot's region, where layers fill it.
    pub rows: u64,
    /// Most layers that share a slot.
    pub layers_per_slot: u64,
    /// In which order the slots of a wafer follow each other.
    #[serde(default)]
    pub order: SlotOrder,
}

/// Layers that are mapped alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// Runs of layers: the first, and how many.
    pub layers: Vec<Run>,
    /// How they are mapped.
    pub mapping: LayerMapping,
}

/// Consecutive layers. Written `"3"` or `"0-10"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first, from 0.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// Consecutive parts of a table. Written `"0 of 1"` or `"0-2 of 4"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The first, from 0.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Parts of the whole table.
    pub of: u64,
}

/// A slot and what it holds: parts of the embedding, then layers, then parts of the LM head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedSlot {
    /// Wafer, from 0.
    pub wafer: u32,
    /// The part of the wafer over which it is spread. Written `"755 x 288 at (0, 292)"`.
    #[serde(with = "words")]
    pub region: Region,
    /// Parts of the embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Parts>,
    /// Layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Run>,
    /// Parts of the LM head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lm_head: Option<Parts>,
}

/// A recipe with every number: what it leaves to the program is as placement chooses it.
///
/// # Errors
/// Where the model does not fit, or a decision cannot be kept.
pub fn resolve(recipe: &Recipe, inputs: Inputs<'_>) -> Result<Resolved, MappingError> {
    let mapped = Mapper::new(recipe, inputs).first()?;
    Ok(Resolved::new(&mapped, recipe, inputs))
}

impl Resolved {
    /// The mapping that a recipe has led to.
    pub fn new(mapped: &Mapped, recipe: &Recipe, inputs: Inputs<'_>) -> Self {
        let placement = &mapped.placement;
        let kinds = mapped.layers.iter().enumerate().map(|(layout, mapping)| {
            let of_kind = |layer: &u64| placement.layout_index(*layer as usize) == Some(layout);
            Kind { layers: runs((0..placement.layers() as u64).filter(of_kind)), mapping: mapping.clone() }
        });
        let slots: Vec<ResolvedSlot> = placement.slots.iter().map(held).collect();
        let precision = &inputs.load.precision;
        let wide = |table: &&TableLayout| table.matrix.data_type != precision.stored(table.matrix.role);
        let tables = placement.tables.iter().filter(wide).map(|table| (table.matrix.role, table.matrix.data_type));
        let arrangement = placement.arrangement;
        let (columns, rows) = placement.region_of_slots();
        Self {
            name: recipe.name.clone(),
            micro_batch: mapped.micro_batch,
            draft: mapped.draft,
            resolved_for: ResolvedFor {
                model: inputs.model.name.clone(),
                model_hash: inputs.model_hash(),
                wafer: inputs.wafer.name.clone(),
                wafer_hash: inputs.wafer_hash(),
                load: inputs.load_words(),
                load_hash: inputs.load_hash(),
            },
            division: ResolvedDivision {
                wafers: placement.wafers,
                across: arrangement.across,
                down: arrangement.down,
                columns,
                rows,
                layers_per_slot: most_layers(&slots),
                order: placement.settings.order,
            },
            recipe: recipe.clone(),
            stored: tables.collect(),
            kinds: kinds.collect(),
            slots,
            file: None,
            certificate: None,
        }
    }

    /// A resolved mapping from TOML text. `file` is named in errors.
    ///
    /// # Errors
    /// Where the text is no TOML, a field is unknown or missing, or a value is not allowed.
    pub fn parse(text: &str, file: &str) -> Result<Self, MappingError> {
        text::read(text, file)
    }

    /// It in messages: its file, where it has one, and its name.
    pub fn called(&self) -> String {
        let file = self.file.as_ref().map_or_else(String::new, |file| format!("{file}: "));
        format!("{file}mapping '{}'", self.name)
    }

    /// The mapping as TOML.
    pub fn to_toml(&self) -> String {
        // Values of these types always serialise: numbers are those of a placement, far below 2^63.
        format!("{HEADER}\n\n{}", toml::to_string(self).unwrap_or_default())
    }

    /// What differs between the inputs that it was resolved for and others.
    pub fn differences(&self, inputs: Inputs<'_>) -> Vec<Difference> {
        let known = &self.resolved_for;
        let mut differences = Vec::new();
        let mut compare = |input, (hash, words): (&str, &str), (asked_hash, asked): (String, String)| {
            if *hash != asked_hash {
                // The same words for different things would explain nothing.
                let asked = if words == asked { format!("{asked}, with other figures") } else { asked };
                differences.push(Difference { input, resolved_for: words.into(), asked });
            }
        };
        compare("model", (&known.model_hash, &known.model), (inputs.model_hash(), inputs.model.name.clone()));
        compare("wafer", (&known.wafer_hash, &known.wafer), (inputs.wafer_hash(), inputs.wafer.name.clone()));
        compare("load", (&known.load_hash, &known.load), (inputs.load_hash(), inputs.load_words()));
        if let WaferCount::Exactly(asked) = inputs.load.wafers
            && asked != self.division.wafers
        {
            let wafers = |count: u32| format!("{count} wafer(s)");
            let resolved_for = wafers(self.division.wafers);
            differences.push(Difference { input: "load", resolved_for, asked: wafers(asked) });
        }
        differences
    }

    /// The rewrites of a layer of the model that it was resolved for; wafer and load do not matter.
    ///
    /// # Errors
    /// Where the model is another one, or the layer is in no kind.
    pub fn rewrites_of(&self, layer: u64, inputs: Inputs<'_>) -> Result<Rewrites, MappingError> {
        let mut differences = self.differences(inputs);
        differences.retain(|difference| difference.input == "model");
        if !differences.is_empty() {
            return Err(MappingError::OtherInputs { mapping: self.called(), differences });
        }
        let has = |run: &Run| layer >= run.first && layer - run.first < run.count;
        let kind = self.kinds.iter().find(|kind| kind.layers.iter().any(has));
        let missing = || self.contradiction("kinds".into(), format!("layer {layer} is in none of them"));
        kind.map(|kind| kind.mapping.rewrites).ok_or_else(missing)
    }

    /// The placement that follows from it, with the decisions of each layout. It takes the inputs that it was resolved
    /// for, and is checked like any recipe.
    ///
    /// # Errors
    /// Where the inputs are others, the mapping contradicts itself, or it does not fit.
    pub fn mapped(&self, inputs: Inputs<'_>) -> Result<Mapped, MappingError> {
        let differences = self.differences(inputs);
        if !differences.is_empty() {
            return Err(MappingError::OtherInputs { mapping: self.called(), differences });
        }
        let users = inputs.load.users;
        if self.micro_batch == 0 || self.micro_batch > users {
            let problem = format!("is {} of {users} users; allowed: 1 to all of them", self.micro_batch);
            return Err(self.contradiction("micro_batch".into(), problem));
        }
        let wafers = self.division.wafers;
        if wafers == 0 || wafers > WaferCount::MOST {
            let problem = format!("is {wafers}; allowed: 1 to {}", WaferCount::MOST);
            return Err(self.contradiction("division.wafers".into(), problem));
        }
        let kind_of_layer = self.kind_of_layer(inputs)?;
        let kinds: Vec<LayerChoices> =
            (0..).zip(&self.kinds).map(|(index, kind)| choices(index, &kind.mapping)).collect();
        let layers: Vec<LayerChoices> = kind_of_layer.iter().map(|kind| kinds[*kind]).collect();
        let slots: Vec<SlotChoice> = self.slots.iter().map(ResolvedSlot::choice).collect();
        let placement = place(&Request { slots: &slots, ..self.request(inputs, Choices::OfLayers(&layers)) })?;
        self.check_slots(&placement)?;
        let mapping_of = |layout: &LayerLayout| self.mapping_of(layout, &kind_of_layer);
        let layers = placement.layouts.iter().map(mapping_of).collect::<Result<Vec<_>, _>>()?;
        let tables = placement.tables.iter().map(|table| table_mapping(&self.recipe, table)).collect();
        let mapped = Mapped {
            placement: Arc::new(placement),
            layers,
            tables,
            micro_batch: self.micro_batch,
            draft: self.draft,
            all_wide: false,
        };
        areas::check(&mapped, &self.recipe)?;
        Ok(mapped)
    }

    fn request<'r>(&self, inputs: Inputs<'r>, layers: Choices<'r>) -> Request<'r> {
        let (load, machine, division) = (inputs.load, inputs.machine(), self.division);
        let arrangement = Arrangement { across: division.across, down: division.down };
        let slot = arrangement.slot_size(&machine);
        let smaller = |size: u64, slot: u64| if size == slot { Size::Auto } else { Size::Exactly(size) };
        let together = if self.draft == Verification::Stream { 1 } else { load.tokens_per_step };
        Request {
            precision: load.precision,
            users: load.users,
            context: load.context,
            micro_batch: self.micro_batch.saturating_mul(together),
            wafers: WaferCount::Exactly(division.wafers),
            arrangement: Some(arrangement),
            order: division.order,
            division: Division {
                slots: Size::Auto,
                columns: smaller(division.columns, slot.0),
                rows: smaller(division.rows, slot.1),
                layers_per_slot: Size::Auto,
            },
            wide: self.stored.keys().copied().collect(),
            layers,
            ..Request::new(inputs.model, machine)
        }
    }
}

impl ResolvedSlot {
    /// What placement has to keep of it.
    fn choice(&self) -> SlotChoice {
        let parts = [self.embedding, self.lm_head].into_iter().flatten().map(|parts| parts.count);
        let items = parts.chain(self.layers.map(|run| run.count)).fold(0, u64::saturating_add);
        let items = usize::try_from(items).unwrap_or(usize::MAX);
        SlotChoice { items, columns: self.region.columns, rows: self.region.rows }
    }
}

/// What placement has to keep of a kind of layer.
fn choices(index: u32, mapping: &LayerMapping) -> LayerChoices {
    let kv = &mapping.kv;
    let experts =
        mapping.experts.as_ref().map_or(ExpertChoice::from(ExpertPlacement::Spread), |experts| ExpertChoice {
            grid: Some((experts.across, experts.down)),
            fullest: Some(experts.room),
            ..experts.strategy.unwrap_or(ExpertPlacement::Clustered).into()
        });
    LayerChoices {
        kv: KvLayoutChoice::Given(KvSizes {
            heads_per_block: Size::Exactly(kv.heads_per_block),
            head_copies: Size::Exactly(kv.head_copies),
            dimension_split: Size::Exactly(kv.dimension_split),
            sequence_split: Size::Exactly(kv.sequence_split),
        }),
        experts: ExpertChoice { assignment: index, ..experts },
        wide: mapping.stored.keys().copied().collect(),
    }
}

/// Runs of consecutive numbers.
fn runs(numbers: impl Iterator<Item = u64>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(run) if run.first + run.count == number => run.count += 1,
            _ => runs.push(Run { first: number, count: 1 }),
        }
    }
    runs
}

/// Layers of the slot that holds most.
fn most_layers(slots: &[ResolvedSlot]) -> u64 {
    slots.iter().filter_map(|slot| slot.layers).map(|run| run.count).max().unwrap_or(0)
}

/// What a slot of a placement holds.
fn held(slot: &Slot) -> ResolvedSlot {
    let region = slot.region;
    let mut held = ResolvedSlot {
        wafer: slot.wafer,
        region: Region { x: region.x, y: region.y, columns: region.columns, rows: region.rows },
        embedding: None,
        layers: None,
        lm_head: None,
    };
    for item in &slot.items {
        match item {
            Item::Embedding(part) => grow(&mut held.embedding, part),
            Item::LmHead(part) => grow(&mut held.lm_head, part),
            Item::Layer(layer) => held.layers.get_or_insert(Run { first: *layer, count: 0 }).count += 1,
        }
    }
    held
}

fn grow(parts: &mut Option<Parts>, part: &TablePart) {
    parts.get_or_insert(Parts { first: part.part, count: 0, of: part.parts }).count += 1;
}
