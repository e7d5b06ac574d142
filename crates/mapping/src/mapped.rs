//! A recipe on a model, a machine and a load: the placement that it leads to, and every number of every kind of layer.
//!
//! What a recipe leaves to the program is chosen as placement chooses it, by bytes and ways ([`wafersim_place`]); what
//! it says is kept, or refused with numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use wafersim_place::experts::assignment::Assignment;
use wafersim_place::{
    Arrangement, Choices, Divided, Division, ExpertChoice, KvLayoutChoice, KvSizes, LayerChoices, LayerLayout, Machine,
    PlaceError, Placement, Request, Roles, TableLayout, wide_type,
};
use wafersim_spec::model::{FeedForward, Layer, Role};
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{Bytes, DataType, Precision, Size};

use crate::areas;
use crate::common::{Common, Decided, DecidedExperts};
use crate::dealing::{deal, deal_own, demand};
use crate::error::MappingError;
use crate::experts::{Dealt, ExpertMapping, Experts, fullest, makes_copies};
use crate::inputs::Inputs;
use crate::kv::KvMapping;
use crate::layer::{LayerMapping, RegionSize};
use crate::recipe::{DivisionRecipe, Recipe, Stored, Width};
use crate::reduction::Reductions;
use wafersim_spec::scenario::Verification;

/// A mapping with the placement that follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// Where every byte lives.
    pub placement: Arc<Placement>,
    /// Every decision of the layers of each layout of the placement, in its order.
    pub layers: Vec<LayerMapping>,
    /// What of the recipe concerns tables, for each table of the placement, in its order.
    pub tables: Vec<LayerMapping>,
    /// Users whose tokens go through a slot together.
    pub micro_batch: u64,
    /// How a draft is verified.
    pub draft: Verification,
    /// Whether all that may be stored wide is, whatever division that takes.
    pub(crate) all_wide: bool,
}

/// One way to lay a cache on its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheWay {
    /// Columns that share the width of a head.
    pub dimension_split: Size,
    /// Copies, where the recipe leaves them.
    pub head_copies: Option<Size>,
}

/// What is chosen beyond a recipe: one way among several that it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Wafers.
    pub wafers: WaferCount,
    /// How a draft is verified.
    pub draft: Verification,
    /// The division, where it is known.
    pub arrangement: Option<Arrangement>,
    /// Users whose tokens go through together.
    pub micro_batch: Option<u64>,
    /// Where the cache lies.
    pub cache: Option<CacheWay>,
    /// Whether all that may be stored wide is.
    pub all_wide: bool,
}

impl Way {
    /// On so many wafers, with a draft verified so; everything else as it comes.
    pub const fn on(wafers: WaferCount, draft: Verification) -> Self {
        Self { wafers, draft, arrangement: None, micro_batch: None, cache: None, all_wide: false }
    }
}

/// What placement is to keep of each layer.
#[derive(Debug, Clone)]
pub(crate) enum Chosen {
    OfKinds(Vec<LayerChoices>),
    OfLayers(Vec<LayerChoices>),
}

impl Chosen {
    pub fn as_choices(&self) -> Choices<'_> {
        match self {
            Self::OfKinds(choices) => Choices::OfKinds(choices),
            Self::OfLayers(choices) => Choices::OfLayers(choices),
        }
    }
}

/// A recipe with its inputs: makes every way that the recipe leaves.
#[derive(Debug, Clone)]
pub struct Mapper<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) inputs: Inputs<'a>,
    pub(crate) machine: Machine,
    /// Roles of the model's tensors.
    roles: Roles,
    common: Arc<Common<'a>>,
    /// Whether a refusal says what would do.
    explained: bool,
}

/// Every decision of each layer of a model on a given region, whatever it takes of the memory: for who has no wafers to
/// divide.
///
/// # Errors
/// Where a decision cannot be kept.
pub fn on_region(recipe: &Recipe, inputs: Inputs<'_>, region: RegionSize) -> Result<Vec<LayerMapping>, MappingError> {
    let memory = Bytes(u64::from(u32::MAX));
    let machine = Machine { columns: region.columns, rows: region.rows, memory, free_memory: memory };
    let recipe = Recipe { division: DivisionRecipe::default(), ..recipe.clone() };
    let resolver = Mapper { machine, ..Mapper::new(&recipe, inputs) };
    // A wafer for each layer and table, and one slot on each.
    let items = u32::try_from(inputs.model.layers.len()).unwrap_or(u32::MAX).saturating_add(2);
    let mapped = resolver.mapped(Way {
        arrangement: Some(Arrangement { across: 1, down: 1 }),
        micro_batch: Some(1),
        ..Way::on(WaferCount::Exactly(items), recipe.draft)
    })?;
    let placement = &mapped.placement;
    let of_layer = |layer| placement.layout_index(layer).and_then(|layout| mapped.layers.get(layout)).cloned();
    Ok((0..placement.layers()).filter_map(of_layer).collect())
}

/// Where a layer lies, as placement says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPlace {
    /// Its region.
    pub region: RegionSize,
    /// Where keys and values lie.
    pub kv: KvMapping,
    /// Where the routed experts live; absent in a dense layer.
    pub experts: Option<ExpertMapping>,
    /// How the matrices of each role are stored where that is not as in the checkpoint.
    pub stored: BTreeMap<Role, DataType>,
}

impl LayerMapping {
    /// Every decision of a recipe for a layer that lies so: all that a recipe says beside what placement has done with
    /// it.
    ///
    /// # Errors
    /// Where a rectangle of the recipe cannot be kept.
    pub fn resolved(recipe: &Recipe, layer: &Layer, placed: LayerPlace) -> Result<Self, MappingError> {
        let LayerPlace { region, kv, experts, stored } = placed;
        let is_spread = experts.as_ref().is_none_or(ExpertMapping::is_spread);
        let rectangles = areas::resolved(recipe, layer, region, is_spread)?;
        let reductions = Reductions::resolved(&recipe.reductions, region, &kv, &rectangles);
        let Recipe { rewrites, routes, overlap, .. } = *recipe;
        Ok(Self { region, rewrites, routes, overlap, kv, experts, reductions, rectangles, stored })
    }
}

impl<'a> Mapper<'a> {
    /// Takes a recipe and what it is for.
    pub fn new(recipe: &'a Recipe, inputs: Inputs<'a>) -> Self {
        Self { explained: true, ..Self::one_of_many(recipe, inputs, &Arc::new(Common::new(inputs.model))) }
    }

    /// The same where many recipes are tried for one model; refusals do not say what would do.
    pub fn one_of_many(recipe: &'a Recipe, inputs: Inputs<'a>, common: &Arc<Common<'a>>) -> Self {
        let stored = &recipe.stored;
        let all_as_they_are = stored.default == Width::Checkpoint && stored.roles.is_empty();
        let roles = if all_as_they_are { Roles::NONE } else { common.roles() };
        Self { recipe, inputs, machine: inputs.machine(), roles, common: Arc::clone(common), explained: false }
    }

    /// The same recipe with so many users.
    #[must_use]
    pub fn with_users(mut self, users: u64) -> Self {
        self.inputs.load.users = users;
        self
    }

    /// A placement that was made elsewhere, such as that of a draft model, with every decision of its layers: single
    /// tokens go through.
    ///
    /// # Errors
    /// Where a decision cannot be kept.
    pub fn on(&self, placement: Placement) -> Result<Mapped, MappingError> {
        let (layers, tables) = self.decisions(&placement)?;
        let placement = Arc::new(placement);
        Ok(Mapped { placement, layers, tables, micro_batch: 1, draft: self.recipe.draft, all_wide: false })
    }

    /// Every decision of the layers of each layout of a placement, and what concerns its tables.
    fn decisions(&self, placement: &Placement) -> Result<(Vec<LayerMapping>, Vec<LayerMapping>), MappingError> {
        let layers = placement.layouts.iter().map(|layout| self.layer(layout, placement));
        let tables = placement.tables.iter().map(|table| table_mapping(self.recipe, table));
        Ok((layers.collect::<Result<_, _>>()?, tables.collect()))
    }

    /// The first way: what placement chooses.
    pub(crate) fn first(&self) -> Result<Mapped, MappingError> {
        let (wafers, draft) = (self.inputs.load.wafers, self.recipe.draft);
        let mut mapped = self.smallest(wafers, draft, 1)?;
        let slots = mapped.placement.slots.len() as u64;
        let usual = self.micro_batches(slots, draft).first().copied().unwrap_or(1);
        if usual != mapped.micro_batch {
            let placement = &mapped.placement;
            let way = Way {
                arrangement: Some(placement.arrangement),
                micro_batch: Some(usual),
                ..Way::on(WaferCount::Exactly(placement.wafers), draft)
            };
            // Where it does not fit, single users go through.
            if let Ok(with_more) = self.mapped(way) {
                mapped = with_more;
            }
        }
        Ok(mapped)
    }

    /// Micro-batches worth trying on so many stages, the usual one first.
    pub(crate) fn micro_batches(&self, stages: u64, draft: Verification) -> Vec<u64> {
        let (users, step) = (self.inputs.load.users.max(1), self.inputs.load.tokens_per_step);
        match self.recipe.micro_batch.of(users) {
            Some(size) => vec![size.min(users)],
            None => candidate_micro_batches(users, if draft == Verification::Stream { step } else { 1 }, stages),
        }
    }

    /// Tokens that a slot works on at once.
    fn tokens(&self, micro_batch: u64, draft: Verification) -> u64 {
        // A stream takes the tokens of a draft one after the other.
        let together = if draft == Verification::Stream { 1 } else { self.inputs.load.tokens_per_step };
        micro_batch.saturating_mul(together.max(1))
    }

    /// The mapping on one way.
    pub(crate) fn mapped(&self, way: Way) -> Result<Mapped, MappingError> {
        let load = &self.inputs.load;
        let micro_batch = match self.recipe.micro_batch.of(load.users) {
            Some(size) if size > load.users => {
                return Err(self.refuse("micro_batch", size, format!("at most the {} users", load.users)));
            }
            Some(size) => size,
            None => way.micro_batch.unwrap_or(1),
        };
        let placement = self.placement(way, self.tokens(micro_batch, way.draft))?;
        self.check(&placement)?;
        let (layers, tables) = self.decisions(&placement)?;
        let mapped = Mapped { placement, layers, tables, micro_batch, draft: way.draft, all_wide: way.all_wide };
        areas::check(&mapped, self.recipe)?;
        Ok(mapped)
    }

    /// Where every byte lives, where a slot works on so many tokens at once.
    fn placement(&self, way: Way, tokens: u64) -> Result<Arc<Placement>, MappingError> {
        let must = self.roles(|width| width == Width::Wide);
        let may = self.roles(|width| width != Width::Checkpoint);
        let settings = self.request(way, must, tokens).settings().ok();
        let decided = match (settings, &self.recipe.experts) {
            (Some(settings), Experts::Strategy { strategy, sharing, spare }) => {
                let experts = DecidedExperts { strategy: *strategy, sharing: *sharing, spare: *spare };
                Some(Decided { settings, wafers: way.wafers, may, all_wide: way.all_wide, experts })
            }
            _ => None,
        };
        if let Some(known) = decided.as_ref().and_then(|decided| self.common.known(decided)) {
            return Ok(known);
        }
        let dealt = self.dealt()?;
        let divided = |wide: Roles, way: Way, explained: bool| {
            let choices = self.choices(way, wide, dealt.as_deref());
            let request = Request { layers: choices.as_choices(), explained, ..self.request(way, wide, tokens) };
            Divided::new(&request, &self.common.kinds)
        };
        let divided = match way.all_wide {
            true => divided(may, way, self.explained)?,
            false => self.widened(must, may, way, &divided)?,
        };
        let placement = Arc::new(divided.placement());
        if let Some(decided) = decided {
            self.common.keep(decided, &placement);
        }
        Ok(placement)
    }

    /// The choices with no more stored wide than must be.
    pub(crate) fn narrowest(&self, way: Way) -> Result<Chosen, MappingError> {
        let must = self.roles(|width| width == Width::Wide);
        Ok(self.choices(way, must, self.dealt()?.as_deref()))
    }

    /// The question to placement for single tokens that goes with them.
    pub(crate) fn narrowest_request(&self, way: Way) -> Request<'a> {
        self.request(way, self.roles(|width| width == Width::Wide), self.tokens(1, way.draft))
    }

    /// The division with as much stored wide as fits without another one.
    fn widened(
        &self,
        must: Roles,
        may: Roles,
        way: Way,
        divided: &impl Fn(Roles, Way, bool) -> Result<Divided<'a>, PlaceError>,
    ) -> Result<Divided<'a>, PlaceError> {
        let narrow = divided(must, way, self.explained)?;
        let wafers = WaferCount::Exactly(narrow.wafers());
        let same = Way { wafers, arrangement: Some(narrow.arrangement()), ..way };
        // The first that fits: everything, then less and less of what is largest.
        let without = |left_out: &[Role]| -> Roles {
            may.iter().filter(|role| must.has(*role) || !left_out.contains(role)).collect()
        };
        let order = Stored::LARGEST_FIRST;
        let mut tried = vec![must];
        for count in 0..order.len() {
            let wide = without(&order[..count]);
            if tried.contains(&wide) {
                continue;
            }
            tried.push(wide);
            if let Ok(found) = divided(wide, same, false)
                && found.groups() == narrow.groups()
            {
                return Ok(found);
            }
        }
        Ok(narrow)
    }

    fn roles(&self, wanted: impl Fn(Width) -> bool) -> Roles {
        let (stored, precision) = (&self.recipe.stored, &self.inputs.load.precision);
        let is_narrow = |role: &Role| self.roles.has(*role) && !precision.stored(*role).is_arithmetic();
        Stored::ROLES.into_iter().filter(|role| is_narrow(role) && wanted(stored.of(*role))).collect()
    }

    fn request(&self, way: Way, wide: Roles, micro_batch: u64) -> Request<'a> {
        let (load, division) = (self.inputs.load, self.recipe.division);
        Request {
            precision: load.precision,
            users: load.users,
            context: load.context,
            micro_batch,
            wafers: way.wafers,
            experts: match &self.recipe.experts {
                Experts::Strategy { strategy, .. } => *strategy,
                Experts::File { .. } | Experts::Own(_) => ExpertPlacement::Clustered,
            },
            fill: division.fill,
            order: division.order,
            kv_layout: self.kv_choice(way),
            arrangement: way.arrangement,
            division: Division {
                slots: division.slots,
                columns: division.columns,
                rows: division.rows,
                layers_per_slot: division.layers_per_slot,
            },
            wide,
            ..Request::new(self.inputs.model, self.machine)
        }
    }

    fn kv_choice(&self, way: Way) -> KvLayoutChoice {
        let kv = &self.recipe.kv;
        KvLayoutChoice::Given(KvSizes {
            heads_per_block: kv.heads_per_block,
            head_copies: way.cache.and_then(|cache| cache.head_copies).unwrap_or(kv.head_copies),
            dimension_split: way.cache.map_or(kv.dimension_split, |cache| cache.dimension_split),
            sequence_split: kv.sequence_split,
        })
    }

    /// Choices for each kind of layer, or for each layer where a file deals its experts.
    fn choices(&self, way: Way, wide: Roles, dealt: Option<&Dealt>) -> Chosen {
        let kv = self.kv_choice(way);
        let kinds = &self.common.kinds;
        let of_kind: Vec<ExpertChoice> = kinds.firsts().iter().map(|layer| self.expert_choice(layer)).collect();
        let Some(dealt) = dealt else {
            return Chosen::OfKinds(of_kind.into_iter().map(|experts| LayerChoices { kv, experts, wide }).collect());
        };
        let mut assignments: Vec<&[Vec<u16>]> = Vec::new();
        let of_layer = |(number, kind): (u64, &usize)| {
            let mut experts = of_kind.get(*kind).copied().unwrap_or(ExpertPlacement::Spread.into());
            let has_experts =
                kinds.firsts().get(*kind).is_some_and(|layer| matches!(layer.feed_forward, FeedForward::Moe(_)));
            if has_experts {
                let homes = dealt.homes_in(number);
                let known = assignments.iter().position(|known| *known == homes);
                let assignment = known.unwrap_or(assignments.len());
                if known.is_none() {
                    assignments.push(homes);
                }
                experts = ExpertChoice {
                    grid: Some((dealt.across, dealt.down)),
                    fullest: Some(fullest(homes, dealt.across.saturating_mul(dealt.down))),
                    assignment: u32::try_from(assignment).unwrap_or(u32::MAX),
                    ..ExpertPlacement::Clustered.into()
                };
            }
            LayerChoices { kv, experts, wide }
        };
        Chosen::OfLayers((0..).zip(kinds.of_layer()).map(of_layer).collect())
    }

    /// What the recipe says of the experts of a layer, where no file says it.
    fn expert_choice(&self, layer: &Layer) -> ExpertChoice {
        match (&layer.feed_forward, &self.recipe.experts) {
            (FeedForward::Moe(moe), Experts::Strategy { strategy, sharing, spare }) => {
                let together = sharing.of(moe.experts).unwrap_or(moe.top_k).min(moe.experts);
                let spare = spare.of(together).unwrap_or(1);
                let spare = if makes_copies(*strategy) { spare } else { 0 };
                ExpertChoice { sharing: *sharing, spare, ..(*strategy).into() }
            }
            (FeedForward::Moe(moe), Experts::Own(own)) => {
                let together = own.sharing.of(moe.experts).unwrap_or(1).min(moe.experts);
                let spare = if own.makes_copies() { own.spare.of(together).unwrap_or(1) } else { 0 };
                ExpertChoice { sharing: own.sharing, spare, ..ExpertPlacement::Clustered.into() }
            }
            _ => ExpertPlacement::Spread.into(),
        }
    }

    /// What a file of assignments says, checked against the model.
    fn dealt(&self) -> Result<Option<Box<Dealt>>, MappingError> {
        let Experts::File { file, dealt } = &self.recipe.experts else { return Ok(None) };
        let Some(dealt) = dealt else {
            return Err(self.refuse(
                "experts.file",
                file,
                "a recipe that was read from a file, so that its place is known",
            ));
        };
        if let Some((field, value, allowed)) = dealt.wrong() {
            return Err(self.refuse("experts.file", format!("'{file}' with {field}: {value}"), allowed));
        }
        for (number, layer) in (0..).zip(&self.inputs.model.layers) {
            if let FeedForward::Moe(moe) = &layer.feed_forward {
                let homes = dealt.homes_in(number).len() as u64;
                if homes != moe.experts {
                    let value = format!("a file with homes of {homes} experts for layer {number}");
                    return Err(self.refuse(
                        "experts.file",
                        value,
                        format!("the {} experts of the layer", moe.experts),
                    ));
                }
            }
        }
        Ok(Some(Box::new(dealt.clone())))
    }

    /// Whether everything that the recipe says has been kept.
    fn check(&self, placement: &Placement) -> Result<(), MappingError> {
        let kv = &self.recipe.kv;
        for layout in &placement.layouts {
            let (held, shape) = (&layout.kv, &layout.kv.shape);
            let of_copy = (held.columns_per_head / held.head_copies).max(1);
            for (field, size, whole, is) in [
                ("kv.heads_per_block", kv.heads_per_block, shape.kv_heads, held.heads_per_block),
                ("kv.head_copies", kv.head_copies, shape.queries_per_head, held.head_copies),
                ("kv.dimension_split", kv.dimension_split, of_copy, held.dimension_split),
                ("kv.sequence_split", kv.sequence_split, of_copy, held.sequence_split),
            ] {
                if size.of(whole).is_some_and(|wanted| wanted != is) {
                    let allowed = format!(
                        "{is} with {} columns for a head in a region of {} x {}",
                        held.columns_per_head, layout.columns, layout.rows
                    );
                    return Err(self.refuse(field, size, allowed));
                }
            }
            if let (Some(experts), Experts::File { dealt: Some(dealt), .. }) = (&layout.experts, &self.recipe.experts)
                && (experts.grid.across, experts.grid.down) != (dealt.across, dealt.down)
            {
                let value = format!("{} x {} rectangles", dealt.across, dealt.down);
                let allowed = format!("at most the region's {} x {}", layout.columns, layout.rows);
                return Err(self.refuse("experts.file", value, allowed));
            }
        }
        Ok(())
    }

    /// Every decision of the layers of a layout.
    fn layer(&self, layout: &LayerLayout, placement: &Placement) -> Result<LayerMapping, MappingError> {
        let (recipe, load) = (self.recipe, &self.inputs.load);
        let region = RegionSize { columns: layout.columns, rows: layout.rows };
        let kv = KvMapping {
            heads_per_block: layout.kv.heads_per_block,
            columns_per_head: layout.kv.columns_per_head,
            dimension_split: layout.kv.dimension_split,
            sequence_split: layout.kv.sequence_split,
            head_copies: layout.kv.head_copies,
            append: recipe.kv.append,
        };
        let (experts, stored) = (self.experts(layout, placement)?, stored(layout, &load.precision));
        LayerMapping::resolved(recipe, &layout.layer, LayerPlace { region, kv, experts, stored })
    }

    fn experts(&self, layout: &LayerLayout, placement: &Placement) -> Result<Option<ExpertMapping>, MappingError> {
        let (Some(placed), FeedForward::Moe(moe)) = (&layout.experts, &layout.layer.feed_forward) else {
            return Ok(None);
        };
        let (across, down) = (placed.grid.across, placed.grid.down);
        let even = placed.most_in_a_cell();
        let chosen = &layout.choices.experts;
        let room = chosen.fullest.unwrap_or_else(|| even.saturating_add(chosen.spare));
        let expert_mapping =
            |strategy: Option<ExpertPlacement>, homes| ExpertMapping { strategy, across, down, room, homes };
        let wanted = || {
            let batch = placement.settings.micro_batch.min(MOST_TOKENS_DRAWN);
            let cells = usize::try_from(placed.grid.cells()).ok()?;
            Some((demand(moe, batch, self.inputs.expert_use())?, cells, usize::try_from(room).ok()?))
        };
        Ok(Some(match &self.recipe.experts {
            Experts::File { dealt, .. } => {
                let homes = dealt.as_ref().map(|dealt| dealt.homes_in(layout.first_layer).to_vec());
                expert_mapping(None, homes.unwrap_or_default())
            }
            Experts::Own(own) => {
                let Some((demand, cells, room)) = wanted() else {
                    let value = format!("own strategy '{}' for {} experts", own.strategy.id(), moe.experts);
                    return Err(self.refuse("experts", value, "at most 65,535 experts in a layer"));
                };
                expert_mapping(None, deal_own(&own.strategy, &demand, cells, room)?.homes)
            }
            Experts::Strategy { strategy, .. } => {
                let by_rule = || expert_mapping(Some(*strategy), Vec::new());
                let rule = matches!(
                    *strategy,
                    ExpertPlacement::Spread | ExpertPlacement::Clustered | ExpertPlacement::RoundRobin
                );
                if rule || placed.grid.cells() == 1 {
                    return Ok(Some(by_rule()));
                }
                let dealt: Option<Assignment> =
                    wanted().and_then(|(demand, cells, room)| deal(*strategy, &demand, cells, room));
                dealt.map_or_else(by_rule, |dealt| expert_mapping(Some(*strategy), dealt.homes))
            }
        }))
    }

    fn refuse(&self, field: &str, value: impl ToString, allowed: impl Into<String>) -> MappingError {
        MappingError::Decision {
            mapping: self.recipe.name.clone(),
            field: field.into(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }
}

/// Most tokens of a batch that is drawn to deal experts.
const MOST_TOKENS_DRAWN: u64 = 64;

/// What of a recipe concerns a table: one that has no heads and no experts.
pub(crate) fn table_mapping(recipe: &Recipe, table: &TableLayout) -> LayerMapping {
    let region = RegionSize { columns: table.columns, rows: table.rows };
    let kv = KvMapping::published(table.columns);
    LayerMapping {
        region,
        rewrites: recipe.rewrites,
        routes: recipe.routes,
        overlap: recipe.overlap,
        kv,
        experts: None,
        reductions: Reductions::resolved(&recipe.reductions, region, &kv, &BTreeMap::new()),
        rectangles: BTreeMap::new(),
        stored: BTreeMap::from([(table.matrix.role, table.matrix.data_type)]),
    }
}

/// Formats of the matrices of a layout that are not stored as the checkpoint has them.
fn stored(layout: &LayerLayout, precision: &Precision) -> BTreeMap<Role, DataType> {
    let wide = wide_type(precision);
    let matrices = layout.all_matrices().filter(|matrix| !matrix.is_bias && Stored::ROLES.contains(&matrix.role));
    matrices
        .filter(|matrix| matrix.data_type == wide && matrix.data_type != precision.stored(matrix.role))
        .map(|matrix| (matrix.role, matrix.data_type))
        .collect()
}

/// Micro-batch sizes worth trying on `stages` stages where a step has `passes` passes: single tokens while there are
/// stages for all; else as many micro-batches as stages take, and half as many. Passes of a stream may be single tokens
/// in any case: two of one token are about as long as one of two.
pub fn candidate_micro_batches(users: u64, passes: u64, stages: u64) -> Vec<u64> {
    let wanted = users.saturating_mul(passes);
    let even = wanted.div_ceil(stages.max(1)).max(1);
    let mut sizes = match () {
        () if wanted <= stages.max(1) => vec![1],
        () if passes > 1 => vec![1, even, even * 2],
        () => vec![even, even * 2],
    };
    sizes.retain(|size| *size <= users);
    sizes.dedup();
    sizes
}

/// Micro-batch sizes that do not depend on how many stages there are: octaves and the middles between them, up to all
/// users at once. Those of fewer users are among those of more, but for their last.
pub fn micro_batch_ladder(users: u64) -> Vec<u64> {
    let octaves = (0..u64::BITS - 2).flat_map(|power| [1 << power, 3 << power]);
    let mut sizes: Vec<u64> = octaves.take_while(|size| *size < users.saturating_mul(2)).collect();
    sizes.retain(|size| *size < users);
    sizes.push(users.max(1));
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}
