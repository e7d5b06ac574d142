//! The answer: wafers, slots, regions and layouts, made from what the search found. It decides nothing but the size of
//! tight regions.

use serde::Serialize;
use wafersim_spec::Bytes;
use wafersim_spec::scenario::WaferCount;

use crate::arithmetic::{divide_up, largest_that};
use crate::arrangement::Arrangement;
use crate::choices::SlotChoice;
use crate::error::{PlaceError, Short};
use crate::evaluation::{Evaluation, ModelBlueprint};
use crate::item::Item;
use crate::kinds::Kinds;
use crate::layout::{LayerLayout, TableLayout};
use crate::ledger::{ByteCounts, Ledger, SlotLedger};
use crate::request::{Fill, Request, Settings, SlotOrder};
use crate::search::{Found, Search};
use wafersim_spec::Region;

/// A slot and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Slot {
    /// Wafer, from 0.
    pub wafer: u32,
    /// The whole slot on that wafer.
    pub slot: Region,
    /// The part of it over which the items are spread, at the slot's corner.
    pub region: Region,
    /// Consecutive items; they share all processing elements of the region and run one after the other.
    pub items: Vec<Item>,
}

/// Where every byte lives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Placement {
    /// What it was made for.
    pub settings: Settings,
    /// Wafers: the number asked for, or the fewest that suffice. The last ones may hold nothing.
    pub wafers: u32,
    /// Wafers that hold something of it.
    pub wafers_used: u32,
    /// How a wafer is divided into slots.
    pub arrangement: Arrangement,
    /// Slots of one wafer.
    pub slots_per_wafer: u64,
    /// The slots that hold something, in order of the pipeline: wafer by wafer, in a snake on each.
    pub slots: Vec<Slot>,
    /// The different layouts of layers, in order of their first layer.
    pub layouts: Vec<LayerLayout>,
    /// Embedding and LM head and their parts, in order of the pipeline.
    pub tables: Vec<TableLayout>,
    /// Processing elements of each wafer that belong to no slot.
    pub spare_pes_per_wafer: u64,
    /// Slots of all wafers that hold nothing.
    pub empty_slots: u64,
    /// Bytes of every slot and tensor.
    pub ledger: Ledger,
    /// Index into `layouts` for each layer.
    layout_of_layer: Vec<usize>,
    /// Index into `slots` for each layer.
    slot_of_layer: Vec<usize>,
}

/// Places a model. Takes well under a millisecond, so that sweeps may call it for every point.
///
/// # Errors
/// Where the model does not fit, with what would do; see [`PlaceError`].
pub fn place(request: &Request<'_>) -> Result<Placement, PlaceError> {
    let kinds = Kinds::new(request.model);
    if !request.slots.is_empty() {
        let settings = request.settings()?;
        let blueprint = ModelBlueprint::new(&kinds, &settings, request);
        return as_chosen(request, &blueprint, settings);
    }
    Ok(Divided::new(request, &kinds)?.placement())
}

/// A model divided over wafers, before anything is placed: enough to compare divisions.
#[derive(Debug)]
pub struct Divided<'m> {
    blueprint: ModelBlueprint<'m>,
    settings: Settings,
    found: Found,
}

impl<'m> Divided<'m> {
    /// Divides the model of some kinds of layers, which is that of the request; slots that the caller has chosen are
    /// left out.
    ///
    /// # Errors
    /// Where the model does not fit: with what would do, where the request wants that.
    pub fn new(request: &Request<'_>, kinds: &Kinds<'m>) -> Result<Self, PlaceError> {
        let settings = request.settings()?;
        let blueprint = ModelBlueprint::new(kinds, &settings, request);
        let search = Search::new(&blueprint, &settings);
        let wafers = match request.wafers {
            WaferCount::Exactly(wafers) => wafers,
            WaferCount::Auto | WaferCount::Fewest => search.fewest_wafers()?,
        };
        let found = if request.explained { search.on(wafers)? } else { search.plainly_on(wafers)? };
        Ok(Self { blueprint, settings, found })
    }

    /// Wafers: the number asked for, or the fewest that suffice.
    pub const fn wafers(&self) -> u32 {
        self.found.wafers
    }

    /// How a wafer is divided into slots.
    pub const fn arrangement(&self) -> Arrangement {
        self.found.evaluation.arrangement
    }

    /// How many items each slot takes.
    pub fn groups(&self) -> &[usize] {
        &self.found.groups
    }

    /// Everything at its place.
    pub fn placement(self) -> Placement {
        Placement::new(&self.blueprint, self.settings, self.found, At { first: 0, slots: &[] })
    }
}

/// The placement in slots that the caller has chosen, if everything fits.
fn as_chosen(
    request: &Request<'_>,
    blueprint: &ModelBlueprint<'_>,
    settings: Settings,
) -> Result<Placement, PlaceError> {
    let refuse = |field, value: String, allowed| Err(PlaceError::Request { field, value, allowed });
    let (Some(arrangement), WaferCount::Exactly(wafers)) = (settings.arrangement, request.wafers) else {
        return refuse(
            "slots",
            format!("{} of them", request.slots.len()),
            "with an arrangement and a number of wafers",
        );
    };
    let (columns, rows) = arrangement.slot_size(&settings.machine);
    if arrangement.slots() == 0 || columns == 0 || rows == 0 {
        return refuse("arrangement", arrangement.to_string(), "slots of at least one processing element");
    }
    let evaluation = Evaluation::new(blueprint, &settings, arrangement);
    let held = request.slots.iter().fold(0_usize, |sum, slot| sum.saturating_add(slot.items));
    if held != evaluation.items.len() || request.slots.iter().any(|slot| slot.items == 0) {
        let value =
            format!("{held} items in {} slots; there are {} items", request.slots.len(), evaluation.items.len());
        return refuse("slots", value, "every item once, and at least one in each slot");
    }
    let all_slots = arrangement.slots().saturating_mul(u64::from(wafers));
    if request.slots.len() as u64 > all_slots {
        let value = format!("{} of them; {wafers} wafer(s) of {arrangement} have {all_slots}", request.slots.len());
        return refuse("slots", value, "at most those of the wafers");
    }
    if let Some(slot) = request.slots.iter().find(|slot| slot.columns > columns || slot.rows > rows) {
        let value = format!("{} x {} in a slot of {columns} x {rows}", slot.columns, slot.rows);
        return refuse("slots", value, "regions inside their slots");
    }
    let groups = request.slots.iter().map(|slot| slot.items).collect();
    let found = Found { wafers, evaluation, groups };
    let placement = Placement::new(blueprint, settings, found, At { first: 0, slots: request.slots });
    match placement.ledger.slots.iter().find(|slot| slot.worst_pe.sum() > placement.ledger.limit) {
        Some(full) => Err(placement.too_small(full)),
        None => Ok(placement),
    }
}

/// Where a placement begins, and its slots where the caller has chosen them.
#[derive(Clone, Copy)]
struct At<'a> {
    /// The slot of the first item, counted from the first slot of the first wafer.
    first: u64,
    /// What each holds.
    slots: &'a [SlotChoice],
}

/// Consecutive slots, in the order of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRange {
    /// How each wafer is divided.
    pub arrangement: Arrangement,
    /// The first of them, counted from the first slot of the first wafer.
    pub first: u64,
    /// How many they are.
    pub count: u64,
}

/// Places a model on slots that another one leaves free, such as a draft model beside the model that it drafts for;
/// nothing where it does not fit. The wafers of the request do not count.
pub fn place_within(request: &Request<'_>, slots: SlotRange) -> Option<Placement> {
    let mut settings = request.settings().ok()?;
    settings.arrangement = Some(slots.arrangement);
    let kinds = Kinds::new(request.model);
    let blueprint = ModelBlueprint::new(&kinds, &settings, request);
    let after = slots.first.saturating_add(slots.count);
    let wafers = narrow_wafers(divide_up(after, slots.arrangement.slots().max(1)));
    let found = Search::new(&blueprint, &settings).within(slots.count).found_on(wafers)?;
    Some(Placement::new(&blueprint, settings, found, At { first: slots.first, slots: &[] }))
}

/// Layers and parts of tables of a model on slots of such a division: more slots than that are of no use to it. Nothing
/// where the request is none.
pub fn parts_in(request: &Request<'_>, arrangement: Arrangement) -> Option<u64> {
    let mut settings = request.settings().ok()?;
    settings.arrangement = Some(arrangement);
    let kinds = Kinds::new(request.model);
    let blueprint = ModelBlueprint::new(&kinds, &settings, request);
    Some(Evaluation::new(&blueprint, &settings, arrangement).items.len() as u64)
}

/// Whether a model fits the wafers of a request: as [`place`], without looking for what would do where it does not.
pub fn fits(request: &Request<'_>) -> bool {
    let Ok(settings) = request.settings() else { return false };
    let kinds = Kinds::new(request.model);
    let blueprint = ModelBlueprint::new(&kinds, &settings, request);
    let search = Search::new(&blueprint, &settings);
    match request.wafers {
        WaferCount::Exactly(wafers) => search.found_on(wafers).is_some(),
        WaferCount::Auto | WaferCount::Fewest => search.fewest_wafers().is_ok(),
    }
}

impl Placement {
    fn new(blueprint: &ModelBlueprint<'_>, settings: Settings, found: Found, at: At<'_>) -> Self {
        let Found { wafers, evaluation, groups } = found;
        let (arrangement, machine) = (evaluation.arrangement, &settings.machine);
        let slots_per_wafer = arrangement.slots().max(1);
        let wafer_of = |slot: u64| narrow_wafers(slot / slots_per_wafer);
        let after = at.first.saturating_add(groups.len() as u64);
        let mut placement = Self {
            settings,
            wafers,
            wafers_used: (wafer_of(after.saturating_sub(1)) + 1).saturating_sub(wafer_of(at.first)),
            arrangement,
            slots_per_wafer,
            slots: Vec::with_capacity(groups.len()),
            layouts: Vec::new(),
            tables: Vec::new(),
            spare_pes_per_wafer: machine.pes() - slots_per_wafer * evaluation.region.0 * evaluation.region.1,
            empty_slots: slots_per_wafer.saturating_mul(u64::from(wafers)).saturating_sub(after),
            ledger: Ledger::empty(machine.memory),
            layout_of_layer: Vec::new(),
            slot_of_layer: Vec::new(),
        };
        // Layers of the same kind in regions of the same size share a layout: (kind, region) of each layout.
        let mut known: Vec<(usize, (u64, u64))> = Vec::new();
        let mut tight = TightRegions::default();
        let mut rest = evaluation.items.as_slice();
        for (index, size) in groups.into_iter().enumerate() {
            let (items, after) = rest.split_at(size);
            rest = after;
            let number = at.first + index as u64;
            let place = number % slots_per_wafer;
            let turned = settings.order == SlotOrder::Turning && !(number / slots_per_wafer).is_multiple_of(2);
            let place = if turned { slots_per_wafer - 1 - place } else { place };
            let slot = arrangement.slot(place, machine);
            let region = match (at.slots.get(index), settings.fill) {
                (Some(chosen), _) => (chosen.columns.max(1), chosen.rows.max(1)),
                (None, Fill::Slot) => evaluation.region,
                (None, Fill::Tight) => tight.region(blueprint, &settings, evaluation.region, items),
            };
            for item in items {
                placement.push(blueprint, &mut known, *item, index, region);
            }
            placement.slots.push(Slot {
                wafer: wafer_of(number),
                slot,
                region: Region { columns: region.0, rows: region.1, ..slot },
                items: items.to_vec(),
            });
        }
        placement.ledger = placement.make_ledger();
        placement
    }

    /// Why a region that was chosen does not do.
    fn too_small(&self, full: &SlotLedger) -> PlaceError {
        let machine = &self.settings.machine;
        let region = self.slots.get(full.slot).map_or((0, 0), |slot| (slot.region.columns, slot.region.rows));
        PlaceError::Division {
            chosen: format!("slot {} on {} x {}", full.slot, region.0, region.1),
            columns: machine.columns,
            rows: machine.rows,
            short: Some(Short {
                needed: full.worst_pe.sum().saturating_sub(machine.code_and_runtime()),
                free: machine.free_memory,
                columns: region.0,
                rows: region.1,
            }),
        }
    }

    fn push(
        &mut self,
        blueprint: &ModelBlueprint<'_>,
        known: &mut Vec<(usize, (u64, u64))>,
        item: Item,
        slot: usize,
        region: (u64, u64),
    ) {
        let settings = self.settings;
        let table = match item {
            Item::Layer(layer) => {
                let Some(kind) = blueprint.kind_of_layer.get(layer as usize).copied() else { return };
                let found = known.iter().position(|layout| *layout == (kind, region));
                let layout = found.unwrap_or(known.len());
                if found.is_none() {
                    known.push((kind, region));
                    self.layouts.push(LayerLayout::new(&blueprint.kinds[kind], &settings, region, layer));
                }
                self.layouts[layout].layers += 1;
                self.layout_of_layer.push(layout);
                self.slot_of_layer.push(slot);
                return;
            }
            Item::Embedding(part) => blueprint.embedding.as_ref().map(|table| (table, part)),
            Item::LmHead(part) => Some((&blueprint.head, part)),
        };
        self.tables.extend(table.and_then(|(table, part)| TableLayout::new(table, &settings, region, part, slot)));
    }

    /// Columns and rows over which a slot's items are spread where they fill it.
    pub fn region_of_slots(&self) -> (u64, u64) {
        self.settings.division.region(self.arrangement, &self.settings.machine)
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.layout_of_layer.len()
    }

    /// Index into [`Self::layouts`] of a layer: equal for layers that cost the same.
    pub fn layout_index(&self, layer: usize) -> Option<usize> {
        self.layout_of_layer.get(layer).copied()
    }

    /// The layout of a layer.
    pub fn layer(&self, layer: usize) -> Option<&LayerLayout> {
        self.layouts.get(self.layout_index(layer)?)
    }

    /// The slot of a layer.
    pub fn slot_of_layer(&self, layer: usize) -> Option<&Slot> {
        self.slots.get(*self.slot_of_layer.get(layer)?)
    }

    /// Whether two layers are of the same kind in regions of the same size.
    pub fn is_same_layout(&self, layer: usize, other: usize) -> bool {
        self.layout_index(layer).is_some() && self.layout_index(layer) == self.layout_index(other)
    }

    /// The parts of the table that tokens are looked up in: the embedding, or the LM head where it is the same table.
    pub fn embedding(&self) -> impl Iterator<Item = &TableLayout> {
        let tied = self.tables.iter().all(|table| table.is_head);
        self.tables.iter().filter(move |table| tied || !table.is_head)
    }

    /// The parts of the LM head.
    pub fn lm_head(&self) -> impl Iterator<Item = &TableLayout> {
        self.tables.iter().filter(|table| table.is_head)
    }

    /// The worst bytes of an item, code and runtime aside.
    pub(crate) fn item_bytes(&self, item: &Item) -> ByteCounts {
        let table = |is_head: bool, part| {
            self.tables.iter().find(|table| table.is_head == is_head && table.part == part).map(|table| table.worst_pe)
        };
        match *item {
            Item::Layer(layer) => self.layer(layer as usize).map(|layout| layout.worst_pe),
            Item::Embedding(part) => table(false, part),
            Item::LmHead(part) => table(true, part),
        }
        .unwrap_or_default()
    }

    fn make_ledger(&self) -> Ledger {
        let code_and_runtime = self.settings.machine.code_and_runtime();
        let empty = Ledger::empty(self.settings.machine.memory);
        let slots: Vec<SlotLedger> = self
            .slots
            .iter()
            .enumerate()
            .map(|(slot, held)| {
                let items = held.items.iter().map(|item| self.item_bytes(item));
                let items = items.reduce(|sum, item| sum.with(&item)).unwrap_or_default();
                let worst_pe = ByteCounts { code_and_runtime, ..items };
                SlotLedger { slot, wafer: held.wafer, worst_pe, spare: empty.limit.saturating_sub(worst_pe.sum()) }
            })
            .collect();
        let worst = slots.iter().copied().min_by_key(|slot| slot.spare).unwrap_or(empty.worst);
        let layers = self.layouts.iter().enumerate().flat_map(|(index, layout)| layout.entries(index));
        let tensors: Vec<_> = layers.chain(self.tables.iter().flat_map(TableLayout::entries)).collect();
        let mut totals = ByteCounts::default();
        for entry in &tensors {
            totals.weights += entry.bytes * entry.layers;
            totals.replicated += entry.replicated * entry.layers;
        }
        totals.kv_cache =
            self.layouts.iter().map(|layout| layout.kv.held_bytes(&self.settings.kv_load()) * layout.layers).sum();
        for (slot, ledger) in self.slots.iter().zip(&slots) {
            totals.activations += ledger.worst_pe.activations * slot.region.elements();
            totals.receive_buffers += ledger.worst_pe.receive_buffers * slot.region.elements();
            totals.code_and_runtime += code_and_runtime * slot.region.elements();
        }
        Ledger { slots, worst, totals, tensors, ..empty }
    }
}

/// The smallest regions with the slot's aspect, remembered by what they hold.
#[derive(Default)]
struct TightRegions {
    known: Vec<(Vec<Content>, (u64, u64))>,
}

/// What decides the needs of an item.
#[derive(PartialEq, Eq)]
enum Content {
    Layer { kind: Option<usize> },
    Table { is_head: bool, entries: u64 },
}

impl TightRegions {
    fn region(
        &mut self,
        blueprint: &ModelBlueprint<'_>,
        settings: &Settings,
        slot: (u64, u64),
        items: &[Item],
    ) -> (u64, u64) {
        let content = |item: &Item| match item {
            Item::Layer(layer) => Content::Layer { kind: blueprint.kind_of_layer.get(*layer as usize).copied() },
            Item::Embedding(part) => Content::Table { is_head: false, entries: part.entries },
            Item::LmHead(part) => Content::Table { is_head: true, entries: part.entries },
        };
        let key: Vec<Content> = items.iter().map(content).collect();
        if let Some((_, region)) = self.known.iter().find(|(known, _)| *known == key) {
            return *region;
        }
        let longer = slot.0.max(slot.1);
        let scaled = |side: u64| (divide_up(slot.0 * side, longer), divide_up(slot.1 * side, longer));
        let fits = |region| {
            let needs = items.iter().map(|item| blueprint.load(item, settings, region));
            needs.reduce(|sum, need| sum.with(&need)).is_none_or(|need| need.sum() <= settings.machine.free_memory)
        };
        let given_up = largest_that(longer.saturating_sub(1), |less| fits(scaled(longer - less))).unwrap_or(0);
        let region = scaled(longer - given_up);
        self.known.push((key, region));
        region
    }
}

fn narrow_wafers(wafers: u64) -> u32 {
    u32::try_from(wafers).unwrap_or(u32::MAX)
}

impl Ledger {
    fn empty(limit: Bytes) -> Self {
        let worst = SlotLedger { slot: 0, wafer: 0, worst_pe: ByteCounts::default(), spare: limit };
        Self { limit, slots: Vec::new(), worst, totals: ByteCounts::default(), tensors: Vec::new() }
    }
}
