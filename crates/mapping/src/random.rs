//! Random recipes that are valid for whoever asks: drawn with a seed, the same on every machine. Each decision takes
//! each of its values sooner or later, but for files of assignments, which a recipe without a place cannot name.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use toml::Value;
use wafersim_place::{Fill, SlotOrder};
use wafersim_spec::Size;
use wafersim_spec::scenario::ExpertPlacement;

use crate::areas::PARTS;
use crate::builtin;
use crate::experts::{Experts, makes_copies};
use crate::inputs::Inputs;
use crate::kv::Append;
use crate::layer::{Overlap, Routes};
use crate::mapped::Mapper;
use crate::operator::{LineKind, OPERATORS};
use crate::recipe::{DivisionRecipe, KvRecipe, Recipe, RectangleRecipe, ReductionRecipes, Stored, Width};
use crate::reduction::{Groups, Reduction, Root, Tree};
use wafersim_graph::layer::Rewrite;
use wafersim_spec::scenario::Verification;

/// Decisions in which a drawn recipe differs from each of those that are built in, at least.
pub const FEWEST_EDITS: usize = 2;

/// A recipe that `is_valid` accepts, and that no built-in one becomes by a single edit. `None` where none of very many
/// drawn ones is accepted.
pub fn random_recipe(seed: u64, mut is_valid: impl FnMut(&Recipe) -> bool) -> Option<Recipe> {
    const TRIES: u64 = 1000;
    let shipped: Vec<Recipe> = builtin::names().filter_map(|name| Recipe::builtin(name).ok()).collect();
    (0..TRIES)
        .map(|attempt| draw(seed, attempt))
        .find(|recipe| shipped.iter().all(|known| edits(known, recipe) >= FEWEST_EDITS) && is_valid(recipe))
}

/// The same for recipes that can be resolved for some inputs.
pub fn random_recipe_for(seed: u64, inputs: Inputs<'_>) -> Option<Recipe> {
    random_recipe(seed, |recipe| Mapper::new(recipe, inputs).first().is_ok())
}

/// The decisions of a recipe by name, in words: name, purpose and source are none.
pub fn decisions(recipe: &Recipe) -> BTreeMap<String, String> {
    let mut decisions: BTreeMap<String, String> = BTreeMap::new();
    for rewrite in Rewrite::ALL {
        decisions.insert(format!("rewrites.{rewrite}"), recipe.rewrites.has(rewrite).to_string());
    }
    // Values of these types always serialise.
    let table = toml::Table::try_from(recipe).unwrap_or_default();
    for (name, value) in table {
        if !["name", "about", "source", "rewrites"].contains(&name.as_str()) {
            flatten(name, value, &mut decisions);
        }
    }
    decisions
}

fn flatten(name: String, value: Value, decisions: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                flatten(format!("{name}.{key}"), value, decisions);
            }
        }
        Value::String(text) => {
            decisions.insert(name, text);
        }
        other => {
            decisions.insert(name, other.to_string());
        }
    }
}

/// Decisions in which two recipes differ.
pub fn edits(one: &Recipe, other: &Recipe) -> usize {
    let (one, other) = (decisions(one), decisions(other));
    let changed = one.iter().filter(|(name, value)| other.get(*name) != Some(*value)).count();
    changed + other.keys().filter(|name| !one.contains_key(*name)).count()
}

/// Draws.
struct Draw(ChaCha8Rng);

fn draw(seed: u64, attempt: u64) -> Recipe {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(attempt);
    let mut draw = Draw(random);
    let mut recipe = Recipe {
        name: format!("random-{seed}"),
        about: "Drawn at random.".into(),
        source: format!("seed {seed}"),
        rewrites: Rewrite::ALL.into_iter().filter(|_| draw.one_in(2)).collect(),
        routes: draw.of(&[Routes::Changed, Routes::Static]),
        micro_batch: draw.size(1),
        draft: draw.of(&[Verification::Faster, Verification::MicroBatch, Verification::Stream]),
        overlap: Overlap { conversion: draw.one_in(2), independent: draw.one_in(2) },
        division: draw.division(),
        reductions: draw.reductions(),
        kv: draw.kv(),
        experts: draw.experts(),
        stored: draw.stored(),
        rectangles: draw.rectangles(),
    };
    if recipe.rectangles.contains_key("experts") {
        // Those that have rectangles of their own have none in common.
        recipe.pin_experts(ExpertPlacement::Spread);
    }
    recipe
}

impl Draw {
    /// A whole number below `count`.
    fn below(&mut self, count: u64) -> u64 {
        (u64::from(self.0.next_u32()) * count) >> 32
    }

    fn from(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64) as usize;
        choices[index].clone()
    }

    /// A size of any kind; numbers and divisors up to `most`.
    fn size(&mut self, most: u64) -> Size {
        match self.below(5) {
            0 | 1 => Size::Auto,
            2 => Size::Exactly(self.from(1, most)),
            // 20 % to 100 % in steps of 2.5 %.
            3 => Size::Share(self.from(8, 40) as u16 * 250),
            _ => Size::Divisor(self.from(1, most.max(4))),
        }
    }

    fn division(&mut self) -> DivisionRecipe {
        let fill = self.of(&[Fill::Slot, Fill::Slot, Fill::Tight]);
        let order = self.of(&[SlotOrder::Same, SlotOrder::Turning]);
        let open = DivisionRecipe { fill, order, ..DivisionRecipe::default() };
        // More than one of them seldom go together.
        match self.below(6) {
            0 => DivisionRecipe { slots: self.size(8), ..open },
            1 => DivisionRecipe { layers_per_slot: self.size(8), ..open },
            2 => DivisionRecipe { columns: self.side(), ..open },
            3 => DivisionRecipe { rows: self.side(), ..open },
            4 => DivisionRecipe { columns: self.side(), rows: self.side(), ..open },
            _ => open,
        }
    }

    /// Columns or rows of a slot: numbers for small machines and for large ones.
    fn side(&mut self) -> Size {
        match self.below(4) {
            0 => Size::Exactly(self.from(2, 8)),
            1 => Size::Exactly(self.from(100, 400)),
            _ => self.size(4),
        }
    }

    fn reductions(&mut self) -> ReductionRecipes {
        let with_line: Vec<(&str, LineKind)> =
            OPERATORS.iter().filter_map(|operator| Some((operator.name, operator.line?))).collect();
        let count = self.below(3);
        ReductionRecipes {
            x: self.reduction(),
            y: self.reduction(),
            parts: self.reduction_of_parts(),
            operators: (0..count)
                .map(|_| {
                    let (name, line) = self.of(&with_line);
                    (name.to_owned(), if line.is_whole() { self.reduction() } else { self.reduction_of_parts() })
                })
                .collect(),
        }
    }

    /// One that parts of lines may have.
    fn reduction_of_parts(&mut self) -> Reduction {
        match self.reduction() {
            Reduction::SplitRoots { tree, .. } => Reduction::Tree(tree),
            other => other,
        }
    }

    fn reduction(&mut self) -> Reduction {
        match self.below(6) {
            0..=2 => Reduction::Tree(self.tree()),
            3 => Reduction::Chain { root: self.root() },
            4 => Reduction::ReduceScatter,
            _ => Reduction::SplitRoots { roots: self.from(1, 4), tree: self.tree() },
        }
    }

    fn tree(&mut self) -> Tree {
        let groups = match self.below(3) {
            0 => Groups::SquareRoot,
            1 => Groups::Count(self.from(1, 32)),
            _ => Groups::Sizes((0..self.from(1, 2)).map(|_| self.from(2, 12)).collect()),
        };
        Tree { groups, root: self.root() }
    }

    fn root(&mut self) -> Root {
        if self.one_in(2) { Root::Middle } else { Root::Index(self.below(200)) }
    }

    fn kv(&mut self) -> KvRecipe {
        // A number for one of the splits leaves the other to the program: both together seldom fit.
        let (dimension_split, sequence_split) = match self.below(4) {
            0 => (self.size(8), Size::Auto),
            1 => (Size::Auto, self.size(8)),
            2 => (Size::Exactly(self.from(1, 4)), Size::Exactly(self.from(1, 3))),
            _ => (Size::Auto, Size::Auto),
        };
        KvRecipe {
            heads_per_block: self.size(2),
            head_copies: self.size(3),
            dimension_split,
            sequence_split,
            append: self.of(&[Append::Shifted, Append::RoundRobin]),
        }
    }

    fn experts(&mut self) -> Experts {
        let strategy = self.of(ExpertPlacement::ALL);
        let sharing = if strategy == ExpertPlacement::Spread { Size::Auto } else { self.size(8) };
        let spare = if makes_copies(strategy) { self.size(3) } else { Size::Auto };
        Experts::Strategy { strategy, sharing, spare }
    }

    fn stored(&mut self) -> Stored {
        let widths = [Width::Checkpoint, Width::Wide, Width::Fit];
        let default = self.of(&widths);
        let count = self.below(4);
        Stored { default, roles: (0..count).map(|_| (self.of(&Stored::ROLES), self.of(&widths))).collect() }
    }

    fn rectangles(&mut self) -> BTreeMap<String, RectangleRecipe> {
        let allowed: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        let count = self.below(5).saturating_sub(2);
        (0..count).map(|_| (self.of(&allowed).to_owned(), self.area())).collect()
    }

    fn area(&mut self) -> RectangleRecipe {
        let mut along = || {
            let size = self.size(6);
            let from = if self.one_in(2) { Size::Auto } else { self.size(3) };
            (from, size)
        };
        let ((x, columns), (y, rows)) = (along(), along());
        RectangleRecipe { x, y, columns, rows }
    }
}

#[cfg(feature = "proptest")]
/// Random recipes that can be resolved for some inputs, as a proptest strategy. They shrink towards small seeds.
pub fn recipes(inputs: Inputs<'_>) -> impl proptest::strategy::Strategy<Value = Recipe> {
    use proptest::strategy::Strategy;
    proptest::arbitrary::any::<u64>()
        .prop_filter_map("no drawn recipe can be resolved", move |seed| random_recipe_for(seed, inputs))
}
