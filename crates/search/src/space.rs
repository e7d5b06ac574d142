//! The space: decisions, and the values that each may take where some others are made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use wafersim_mapping::recipe::DivisionRecipe;
use wafersim_mapping::{
    Append, Common, Inputs, KvRecipe, LayerMapping, Mapped, Mapper, OPERATORS, Overlap, Recipe, Reduction, Rewrite,
    Routes, Stored, Verification, Width,
};
use wafersim_place::{Arrangement, SlotOrder};
use wafersim_spec::scenario::WaferCount;
use wafersim_spec::{Size, TensorClass};

use crate::kv::KvLayout;
use crate::moves::Move;
use crate::trees;

/// A mapping as the search sees it: a recipe on so many wafers.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The recipe.
    pub recipe: Recipe,
    /// Wafers that it takes.
    pub wafers: u32,
    /// Users whose tokens go through together.
    pub micro_batch: u64,
    /// How a draft is verified.
    pub draft: Verification,
}

impl Point {
    /// The mapping with every number, if it fits.
    pub fn mapped<'a>(&'a self, inputs: Inputs<'a>, common: &Arc<Common<'a>>) -> Option<Mapped> {
        let count = WaferCount::Exactly(self.wafers);
        let mapper = Mapper::one_of_many(&self.recipe, inputs, common);
        mapper.smallest(count, self.draft, self.micro_batch).ok()
    }
}

/// Slots of a wafer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slots {
    slots: u64,
    /// Layers that share one; as it comes where there is no number.
    layers: Option<u64>,
    wafers: u32,
}

/// A decision that the search makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// How the wafers are divided, and how many of them are used.
    Division,
    /// How many columns and rows of a slot its region takes.
    Region,
    /// In which order slots follow each other.
    Order,
    /// Users whose tokens go through together.
    MicroBatch,
    /// How a draft is verified.
    Draft,
    /// How keys and values lie.
    Kv,
    /// Where new tokens go.
    Append,
    /// Sums along rows.
    X,
    /// Sums along columns.
    Y,
    /// Sums along parts of lines.
    Parts,
    /// Sums of an operator, by its index in [`OPERATORS`].
    Operator(usize),
    /// A rewrite.
    Rewrite(Rewrite),
    /// Whether routes change.
    Routes,
    /// Whether conversions run beside transfers.
    Conversion,
    /// Whether independent operators run at the same time.
    Independent,
    /// What is stored wide.
    Stored,
    /// A move from outside, by its index in [`Space::moves`].
    Own(usize),
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Division => "division",
            Self::Region => "division.region",
            Self::Order => "division.order",
            Self::MicroBatch => "micro_batch",
            Self::Draft => "draft",
            Self::Kv => "kv",
            Self::Append => "kv.append",
            Self::X => "reductions.x",
            Self::Y => "reductions.y",
            Self::Parts => "reductions.parts",
            Self::Operator(index) => {
                let name = OPERATORS.get(*index).map_or("", |operator| operator.name);
                return formatter.pad(&format!("reductions.operators.{name}"));
            }
            Self::Rewrite(rewrite) => return formatter.pad(&format!("rewrites.{rewrite}")),
            Self::Routes => "routes",
            Self::Conversion => "overlap.conversion",
            Self::Independent => "overlap.independent",
            Self::Stored => "stored",
            Self::Own(index) => return formatter.pad(&format!("own move {index}")),
        };
        formatter.pad(name)
    }
}

/// What a partial mapping fixes: the decisions that its file names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins(BTreeSet<String>);

impl Pins {
    /// The decisions that the text of a recipe names.
    pub fn of(text: &str) -> Self {
        let mut paths = BTreeSet::new();
        if let Ok(table) = text.parse::<toml::Table>() {
            collect("", &table, &mut paths);
        }
        Self(paths)
    }

    /// Whether a decision is fixed: where it is named, or a part of it, or a table that it is in.
    pub fn has(&self, decision: Decision) -> bool {
        let name = decision.to_string();
        let inside = |path: &str, of: &str| path == of || path.starts_with(&format!("{of}."));
        match decision {
            // All rewrites stand in one list.
            Decision::Rewrite(_) => self.0.contains("rewrites"),
            // The rest of the table is a decision of its own.
            Decision::Kv => self.0.iter().any(|path| inside(path, "kv") && path != "kv.append"),
            // Columns and rows say both.
            Decision::Region => self.has(Decision::Division),
            Decision::Division => self.0.iter().any(|path| inside(path, "division") && path != "division.order"),
            _ => self.0.iter().any(|path| inside(path, &name)),
        }
    }
}

fn collect(before: &str, table: &toml::Table, paths: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if before.is_empty() { key.clone() } else { format!("{before}.{key}") };
        match value {
            // A reduction is one decision; so is a table of the division.
            toml::Value::Table(inner) if !inner.contains_key("kind") && !inner.is_empty() => {
                collect(&path, inner, paths);
            }
            _ => {
                paths.insert(path);
            }
        }
    }
}

/// What may be decided for some inputs.
#[derive(Debug, Clone)]
pub struct Space<'a> {
    /// Model, wafer and load; the number of wafers is the most that may be used.
    pub inputs: Inputs<'a>,
    /// The fewest wafers that are looked at; none that hold the model are fewer.
    pub fewest: u32,
    /// The most wafers.
    pub wafers: u32,
    /// What is fixed.
    pub pins: Pins,
    /// Moves from outside.
    pub moves: Vec<Arc<dyn Move>>,
}

impl Space<'_> {
    /// All decisions that are left, in the order in which they are refined: what moves most first.
    pub fn decisions(&self) -> Vec<Decision> {
        let operators = OPERATORS.iter().enumerate();
        let whole = operators.filter(|(_, operator)| operator.line.is_some_and(wafersim_mapping::LineKind::is_whole));
        let mut all: Vec<Decision> = (0..self.moves.len()).map(Decision::Own).collect();
        all.extend([Decision::Kv, Decision::Region, Decision::Y, Decision::X, Decision::Parts, Decision::Stored]);
        all.extend(whole.map(|(index, _)| Decision::Operator(index)));
        all.extend(Rewrite::ALL.map(Decision::Rewrite));
        all.extend([Decision::Order, Decision::MicroBatch, Decision::Draft, Decision::Routes, Decision::Conversion]);
        all.extend([Decision::Independent, Decision::Append]);
        all.retain(|decision| !self.pins.has(*decision));
        all
    }

    /// Every division that may be worth a look on any number of wafers: slots in every shape that items or shared slots
    /// fill, on all wafers of that number and on as few as have as many slots.
    pub fn divisions(&self, start: &Point) -> Vec<Point> {
        if self.pins.has(Decision::Division) {
            return vec![start.clone()];
        }
        let machine = self.inputs.machine();
        let mut points = Vec::new();
        for way in self.slots() {
            for arrangement in Arrangement::of_slots(way.slots, &machine) {
                let (columns, rows) = arrangement.slot_size(&machine);
                // Long and thin: no reduction is shorter for it.
                if columns > rows.saturating_mul(8) || rows > columns.saturating_mul(8) {
                    continue;
                }
                let mut point = Point { wafers: way.wafers, ..start.clone() };
                let division = &mut point.recipe.division;
                (division.columns, division.rows) =
                    (Size::Divisor(arrangement.across), Size::Divisor(arrangement.down));
                division.slots = Size::Exactly(way.slots);
                division.layers_per_slot = way.layers.map_or(Size::Auto, Size::Exactly);
                points.push(point);
            }
        }
        points
    }

    /// A point without the decisions that take memory for time, but for those that are pinned.
    pub(crate) fn lean(&self, mut point: Point) -> Point {
        const TAKE_MEMORY: [Rewrite; 3] =
            [Rewrite::ConcatenatedExperts, Rewrite::EarlyRouter, Rewrite::InterleavedGateUp];
        let recipe = &mut point.recipe;
        let stays = |rewrite: &Rewrite| {
            let is_pinned = self.pins.has(Decision::Rewrite(*rewrite));
            let has = recipe.rewrites.has(*rewrite);
            match rewrite {
                Rewrite::ConversionInStrips => has || !is_pinned,
                other => has && (is_pinned || !TAKE_MEMORY.contains(other)),
            }
        };
        recipe.rewrites = Rewrite::ALL.into_iter().filter(stays).collect();
        if !self.pins.has(Decision::Stored) {
            recipe.stored = Stored { default: Width::Checkpoint, ..Stored::default() };
        }
        point
    }

    /// The same with conversion in strips, where weights are stored narrow and nothing says how they are converted.
    pub(crate) fn in_strips(&self, point: &Point) -> Option<Point> {
        const STRIPS: Rewrite = Rewrite::ConversionInStrips;
        let is_open = !self.pins.has(Decision::Rewrite(STRIPS)) && !point.recipe.rewrites.has(STRIPS);
        (is_open && self.has_narrow_matrices()).then(|| {
            let mut point = point.clone();
            point.recipe.rewrites = point.recipe.rewrites.with(STRIPS, true);
            point
        })
    }

    /// Whether some matrix of the model is stored in a format that is converted before it is computed with.
    fn has_narrow_matrices(&self) -> bool {
        let Inputs { model, load, .. } = &self.inputs;
        let layers = model.layers.iter().flat_map(|layer| layer.tensors(model.hidden)).chain(model.outer_tensors());
        layers
            .filter(|tensor| tensor.class == TensorClass::Weights)
            .any(|tensor| !load.precision.stored(tensor.role).is_arithmetic())
    }

    /// How many slots a wafer may have, and how many layers share one; the same on more wafers once.
    fn slots(&self) -> BTreeSet<Slots> {
        let layers = self.inputs.model.layers.len() as u64;
        // The same slots with the same layers on further wafers are one division; tables may need one wafer more.
        let mut known: BTreeMap<(u64, u64, bool), u32> = BTreeMap::new();
        let mut all = BTreeSet::new();
        for wafers in self.fewest.max(1)..=self.wafers.max(1) {
            let count = u64::from(wafers);
            let most = layers.saturating_add(2).div_ceil(count).saturating_mul(2).max(8);
            for slots in 1..=most {
                let together = layers.div_ceil(slots.saturating_mul(count));
                for (layers, as_it_comes) in [(together, true), (together, false), (together + 1, false)] {
                    let seen = known.entry((slots, layers, as_it_comes)).or_insert(0);
                    *seen += 1;
                    if *seen <= 2 && (as_it_comes || layers > 1) {
                        all.insert(Slots { slots, layers: (!as_it_comes).then_some(layers), wafers });
                    }
                }
            }
        }
        all
    }

    /// Other values of a decision at a point, whose mapping is `at`.
    pub fn values(&self, decision: Decision, point: &Point, at: &Mapped) -> Vec<Point> {
        let Some(layout) = at.layers.first() else { return Vec::new() };
        let (columns, rows) = (layout.region.columns, layout.region.rows);
        let usual = &point.recipe.reductions;
        let mut values: Vec<Point> = Vec::new();
        let mut add = |change: &dyn Fn(&mut Recipe)| {
            let mut changed = point.clone();
            change(&mut changed.recipe);
            if changed != *point {
                values.push(changed);
            }
        };
        match decision {
            Decision::Division => return self.divisions(point),
            Decision::Own(index) => {
                let Some(own) = self.moves.get(index) else { return Vec::new() };
                let mut points = own.neighbours(&self.inputs, point, at);
                points.retain(|other| other != point);
                return points;
            }
            Decision::MicroBatch => {
                let (users, stages) = (self.inputs.load.users, at.placement.slots.len() as u64);
                let passes = if point.draft == Verification::Stream { self.inputs.load.tokens_per_step } else { 1 };
                let sizes = wafersim_mapping::candidate_micro_batches(users, passes, stages);
                return sizes.into_iter().map(|micro_batch| Point { micro_batch, ..point.clone() }).collect();
            }
            Decision::Draft if self.inputs.load.tokens_per_step > 1 => {
                let ways = [Verification::Stream, Verification::MicroBatch];
                return ways.map(|draft| Point { draft, ..point.clone() }).to_vec();
            }
            Decision::Draft => {}
            Decision::Kv => {
                let layouts = KvLayout::all(self.inputs.model, columns).into_iter();
                for kv in layouts.filter(|kv| kv.is_widest() || kv.is_like(&layout.kv)) {
                    add(&|recipe| recipe.kv = kv.recipe(&point.recipe.kv));
                }
            }
            Decision::Append => {
                for append in [Append::Shifted, Append::RoundRobin] {
                    add(&|recipe| recipe.kv.append = append);
                }
            }
            Decision::Region => {
                for (smaller, rows) in self.regions((columns, rows), at) {
                    let resized = |recipe: &mut Recipe| {
                        recipe.division.columns = Size::Exactly(smaller);
                        recipe.division.rows = Size::Exactly(rows);
                    };
                    add(&resized);
                    // What another layout of the cache leaves may be what a smaller region lacks.
                    if self.pins.has(Decision::Kv) {
                        continue;
                    }
                    let is_worth = |kv: &KvLayout| {
                        let now = &layout.kv;
                        kv.fills(smaller, layout) && if smaller == columns { kv.is_like(now) } else { kv.is_near(now) }
                    };
                    for kv in KvLayout::all(self.inputs.model, smaller).into_iter().filter(is_worth) {
                        add(&|recipe| {
                            resized(recipe);
                            recipe.kv = kv.recipe(&point.recipe.kv);
                        });
                    }
                }
            }
            Decision::Order => {
                for order in [SlotOrder::Same, SlotOrder::Turning] {
                    add(&|recipe| recipe.division.order = order);
                }
            }
            Decision::X => {
                for tree in trees::trees(columns) {
                    add(&|recipe| recipe.reductions.x = tree.clone());
                }
            }
            Decision::Y => {
                for tree in trees::trees(rows) {
                    add(&|recipe| recipe.reductions.y = tree.clone());
                }
            }
            Decision::Parts => {
                for reduction in trees::of_parts() {
                    add(&|recipe| recipe.reductions.parts = reduction.clone());
                }
            }
            Decision::Operator(index) => {
                let Some(operator) = OPERATORS.get(index) else { return Vec::new() };
                let along_x = operator.line == Some(wafersim_mapping::LineKind::X);
                let line = if along_x { &usual.x } else { &usual.y };
                add(&|recipe| {
                    recipe.reductions.operators.remove(operator.name);
                });
                for reduction in trees::split_roots(line) {
                    add(&|recipe| {
                        recipe.reductions.operators.insert(operator.name.into(), reduction.clone());
                    });
                }
            }
            Decision::Rewrite(rewrite) => add(&|recipe| {
                let has = recipe.rewrites.has(rewrite);
                let kept = Rewrite::ALL
                    .into_iter()
                    .filter(|other| if *other == rewrite { !has } else { recipe.rewrites.has(*other) });
                recipe.rewrites = kept.collect();
            }),
            Decision::Routes => {
                for routes in [Routes::Static, Routes::Changed] {
                    add(&|recipe| recipe.routes = routes);
                }
            }
            Decision::Conversion => add(&|recipe| recipe.overlap.conversion = !recipe.overlap.conversion),
            Decision::Independent => add(&|recipe| recipe.overlap.independent = !recipe.overlap.independent),
            Decision::Stored => {
                for width in [Width::Checkpoint, Width::Fit, Width::Wide] {
                    add(&|recipe| recipe.stored = Stored { default: width, ..Stored::default() });
                }
            }
        }
        values
    }

    /// Regions in a slot that are a little smaller than now: rows that leave each with as much of the stream as before
    /// or one element more, and fewer columns. Ways are shorter; whether what lies there still fits, placement says.
    fn regions(&self, (columns, rows): (u64, u64), at: &Mapped) -> Vec<(u64, u64)> {
        let slot = at.placement.arrangement.slot_size(&self.inputs.machine());
        let hidden = self.inputs.model.hidden;
        let share = hidden.div_ceil(slot.1.max(1));
        let mut all_rows: Vec<u64> = [share, share + 1].map(|share| hidden.div_ceil(share.max(1))).to_vec();
        all_rows.push(rows);
        let mut all_columns: Vec<u64> = (0..5).map(|step| slot.0 - slot.0 * step / 64).collect();
        all_columns.push(columns);
        let mut regions: Vec<(u64, u64)> = Vec::new();
        for rows in all_rows.into_iter().filter(|rows| *rows <= slot.1) {
            regions.extend(all_columns.iter().map(|columns| (*columns, rows)));
        }
        // A slot is what the wafer has for so many side by side and one below the other: smaller sizes must mean the
        // same.
        let machine = self.inputs.machine();
        let arrangement = at.placement.arrangement;
        let same = |(columns, rows): &(u64, u64)| {
            (machine.columns / columns.max(&1), machine.rows / rows.max(&1)) == (arrangement.across, arrangement.down)
        };
        regions.retain(same);
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// Layouts of the cache that leave no more than a tenth of the columns of the present region unused.
    pub(crate) fn kv_layouts_that_fill(&self, point: &Point, now: &LayerMapping) -> Vec<KvRecipe> {
        let columns = now.region.columns;
        let layouts = KvLayout::all(self.inputs.model, columns).into_iter().filter(|kv| kv.fills(columns, now));
        layouts.map(|kv| kv.recipe(&point.recipe.kv)).collect()
    }
}

impl Decision {
    /// The decision as WaferLLM published it, in place of that of a recipe.
    pub fn published(self, recipe: &Recipe) -> Recipe {
        let (mut changed, published) = (recipe.clone(), Recipe::default());
        match self {
            // All of the slot.
            Self::Region => {}
            Self::Division => {
                changed.division = DivisionRecipe { order: recipe.division.order, ..published.division };
            }
            Self::Order => changed.division.order = published.division.order,
            // What a move from outside changes belongs to other decisions.
            Self::MicroBatch | Self::Draft | Self::Own(_) => {}
            Self::Kv => changed.kv = KvRecipe { append: recipe.kv.append, ..published.kv },
            Self::Append => changed.kv.append = published.kv.append,
            Self::X => changed.reductions.x = Reduction::PUBLISHED,
            Self::Y => changed.reductions.y = Reduction::PUBLISHED,
            Self::Parts => changed.reductions.parts = Reduction::PUBLISHED,
            Self::Operator(index) => {
                let name = OPERATORS.get(index).map_or("", |operator| operator.name);
                changed.reductions.operators.remove(name);
            }
            Self::Rewrite(rewrite) => {
                changed.rewrites =
                    Rewrite::ALL.into_iter().filter(|other| *other != rewrite && recipe.rewrites.has(*other)).collect();
            }
            Self::Routes => changed.routes = published.routes,
            Self::Conversion => changed.overlap = Overlap { conversion: false, ..recipe.overlap },
            Self::Independent => changed.overlap = Overlap { independent: false, ..recipe.overlap },
            Self::Stored => changed.stored = published.stored,
        }
        changed
    }
}

/// The recipe that a search begins with: every rewrite but conversion in strips, which takes time for memory; static
/// routes, overlap.
pub fn start() -> Recipe {
    Recipe {
        name: "found".into(),
        about: "The best mapping found for one question.".into(),
        source: "search".into(),
        rewrites: Rewrite::ALL.into_iter().filter(|rewrite| *rewrite != Rewrite::ConversionInStrips).collect(),
        routes: Routes::Static,
        overlap: Overlap { conversion: true, independent: true },
        kv: KvRecipe { append: Append::RoundRobin, ..KvRecipe::default() },
        stored: Stored { default: Width::Fit, ..Stored::default() },
        division: DivisionRecipe { order: SlotOrder::Turning, ..DivisionRecipe::default() },
        ..Recipe::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_mapping_pins_what_it_names() {
        let pins = Pins::of(
            "routes = \"static\"\n[kv]\nhead_copies = 4\n[reductions]\nx = { kind = \"chain\" }\n\
             [reductions.operators]\n\"attention.output\" = { kind = \"reduce_scatter\" }\n",
        );
        let output = OPERATORS.iter().position(|operator| operator.name == "attention.output").unwrap();
        for pinned in [Decision::Routes, Decision::Kv, Decision::X, Decision::Operator(output)] {
            assert!(pins.has(pinned), "{pinned}");
        }
        for open in [Decision::Append, Decision::Y, Decision::Division, Decision::Rewrite(Rewrite::FusedNorms)] {
            assert!(!pins.has(open), "{open}");
        }
        assert!(!Pins::default().has(Decision::Kv));
    }

    #[test]
    fn setting_every_decision_back_gives_the_published_recipe() {
        let mut recipe = start();
        for rewrite in Rewrite::ALL {
            recipe = Decision::Rewrite(rewrite).published(&recipe);
        }
        use Decision::{Append, Conversion, Division, Independent, Kv, Order, Parts, Routes, Stored, X, Y};
        for decision in [Division, Order, Kv, Append, X, Y, Parts, Routes, Conversion, Independent, Stored] {
            recipe = decision.published(&recipe);
        }
        let named = Recipe { name: recipe.name.clone(), about: recipe.about.clone(), ..Recipe::default() };
        assert_eq!(recipe, Recipe { source: recipe.source.clone(), ..named });
    }
}
