//! A recipe: a mapping that fits any model. Sizes are shares, divisors, numbers or left to the program.
//!
//! What a file leaves out is as published; what it writes is either kept or refused. Printed, every decision is there.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use wafersim_place::experts::strategies::Strategy;
use wafersim_place::{Fill, SlotOrder};
use wafersim_spec::error::nearest_name;
use wafersim_spec::model::Role;
use wafersim_spec::{Size, SpecError};

use crate::areas::PARTS;
use crate::collective::Collective;
use crate::error::MappingError;
use crate::experts::{Dealt, Experts};
use crate::kv::Append;
use crate::layer::{Overlap, Routes};
use crate::operator::{OPERATORS, operator_named};
use crate::own::Own;
use crate::reduction::Reduction;
use crate::text;
use wafersim_graph::layer::Rewrites;
use wafersim_spec::scenario::{ExpertPlacement, Verification};

/// A mapping that fits any model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Where it comes from.
    pub source: String,
    /// Fusions.
    pub rewrites: Rewrites,
    /// Whether routes change while a layer runs.
    pub routes: Routes,
    /// Users whose tokens go through a slot together; parts are of all users.
    pub micro_batch: Size,
    /// How a draft is verified.
    pub draft: Verification,
    /// What runs at the same time.
    pub overlap: Overlap,
    /// How the wafers are divided.
    pub division: DivisionRecipe,
    /// How sums travel.
    pub reductions: ReductionRecipes,
    /// How the KV cache lies.
    pub kv: KvRecipe,
    /// Where the routed experts live.
    pub experts: Experts,
    /// How matrices are stored that the checkpoint has narrow.
    pub stored: Stored,
    /// Rectangles of parts of a layer; absent: the whole region.
    #[serde(deserialize_with = "of_parts", skip_serializing_if = "BTreeMap::is_empty")]
    pub rectangles: BTreeMap<String, RectangleRecipe>,
}

/// How the wafers are divided into slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DivisionRecipe {
    /// Slots of a wafer; parts are of the layers of the model.
    pub slots: Size,
    /// Columns of a slot's region; parts are of those of the wafer.
    pub columns: Size,
    /// Rows of a slot's region; parts are of those of the wafer.
    pub rows: Size,
    /// Layers that share a slot, each processing element with a tile of all of them; parts are of the layers of the
    /// model. `auto`: as few as can be.
    pub layers_per_slot: Size,
    /// How much of a slot its layers take.
    pub fill: Fill,
    /// In which order the slots of a wafer follow each other.
    pub order: SlotOrder,
}

/// How sums travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReductionRecipes {
    /// Along the rows of a region.
    pub x: Reduction,
    /// Along the columns of a region.
    pub y: Reduction,
    /// Along parts of a line: the columns of a head, rectangles of experts. Split roots are for whole lines alone.
    #[serde(deserialize_with = "of_parts_of_lines")]
    pub parts: Reduction,
    /// Of single operators, along their own line.
    #[serde(deserialize_with = "of_operators", skip_serializing_if = "BTreeMap::is_empty")]
    pub operators: BTreeMap<String, Reduction>,
}

impl Default for ReductionRecipes {
    fn default() -> Self {
        let published = || Reduction::PUBLISHED;
        Self { x: published(), y: published(), parts: published(), operators: BTreeMap::new() }
    }
}

/// How keys and values lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KvRecipe {
    /// KV heads of one block of columns; parts are of all KV heads. `auto`: one, more where there are fewer columns
    /// than heads.
    pub heads_per_block: Size,
    /// Copies of keys and values, among which the query heads of a KV head are shared out; parts are of those query
    /// heads.
    pub head_copies: Size,
    /// Columns that share the width of a head; parts are of the columns of a copy.
    pub dimension_split: Size,
    /// Groups of columns that share the sequence; parts are of the columns of a copy.
    pub sequence_split: Size,
    /// Where new tokens go.
    pub append: Append,
}

impl Default for KvRecipe {
    fn default() -> Self {
        Self {
            heads_per_block: Size::Auto,
            head_copies: Size::Exactly(1),
            dimension_split: Size::Auto,
            sequence_split: Size::Auto,
            append: Append::Shifted,
        }
    }
}

/// How the matrices of a role are stored that the checkpoint has narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    /// As in the checkpoint; converted in front of each product.
    #[default]
    Checkpoint,
    /// In 16 bit: no conversion.
    Wide,
    /// In 16 bit where all that are to be so fit without another division of the wafers.
    Fit,
}

/// How matrices are stored that the checkpoint has narrow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stored {
    /// Of all roles that are not named.
    pub default: Width,
    /// Of single roles.
    #[serde(deserialize_with = "of_roles", skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<Role, Width>,
}

impl Stored {
    /// Roles whose matrices checkpoints may have narrow.
    pub const ROLES: [Role; 21] = [
        Role::Embedding,
        Role::Query,
        Role::Key,
        Role::Value,
        Role::QueryDown,
        Role::QueryUp,
        Role::KvDown,
        Role::KvUp,
        Role::IndexQuery,
        Role::IndexKey,
        Role::Output,
        Role::Gate,
        Role::Up,
        Role::Down,
        Role::SharedGate,
        Role::SharedUp,
        Role::SharedDown,
        Role::ExpertGate,
        Role::ExpertUp,
        Role::ExpertDown,
        Role::LmHead,
    ];

    /// Those whose matrices take most first: what is left narrow where not everything fits wide.
    pub const LARGEST_FIRST: [Role; 21] = [
        Role::ExpertGate,
        Role::ExpertUp,
        Role::ExpertDown,
        Role::Gate,
        Role::Up,
        Role::Down,
        Role::Embedding,
        Role::LmHead,
        Role::SharedGate,
        Role::SharedUp,
        Role::SharedDown,
        Role::Query,
        Role::Output,
        Role::QueryUp,
        Role::KvUp,
        Role::QueryDown,
        Role::KvDown,
        Role::Key,
        Role::Value,
        Role::IndexQuery,
        Role::IndexKey,
    ];

    /// How a role is to be stored.
    pub fn of(&self, role: Role) -> Width {
        self.roles.get(&role).copied().unwrap_or(self.default)
    }
}

/// A rectangle in the region of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RectangleRecipe {
    /// Columns west of it; parts are of those of the region. `auto`: none.
    pub x: Size,
    /// Rows north of it; parts are of those of the region. `auto`: none.
    pub y: Size,
    /// Columns; parts are of those of the region. `auto`: all that are left.
    pub columns: Size,
    /// Rows; parts are of those of the region. `auto`: all that are left.
    pub rows: Size,
}

/// A table by operator; names of no operator are refused, as are reductions of what reduces nothing.
fn of_operators<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Reduction>, D::Error> {
    let table = BTreeMap::<String, Reduction>::deserialize(deserializer)?;
    let with_line: Vec<&str> =
        OPERATORS.iter().filter(|operator| operator.line.is_some()).map(|operator| operator.name).collect();
    for name in table.keys() {
        match operator_named(name) {
            None => return Err(D::Error::custom(unknown_name(name, "operator", &with_line))),
            Some(operator) if operator.line.is_none() => {
                let allowed = with_line.join(", ");
                return Err(D::Error::custom(format!("'{name}' reduces nothing; allowed: {allowed}")));
            }
            Some(operator) => {
                let parts = operator.line.is_some_and(|line| !line.is_whole());
                if let (true, Some(Reduction::SplitRoots { .. })) = (parts, table.get(name)) {
                    return Err(D::Error::custom(format!("'{name}' {NO_SPLIT_ROOTS}")));
                }
            }
        }
    }
    Ok(table)
}

/// Why parts of lines have no split roots.
const NO_SPLIT_ROOTS: &str =
    "sums parts of a line, and split roots are for whole lines; allowed kinds: tree, chain, reduce_scatter";

fn of_parts_of_lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reduction, D::Error> {
    match Reduction::deserialize(deserializer)? {
        Reduction::SplitRoots { .. } => Err(D::Error::custom(format!("'parts' {NO_SPLIT_ROOTS}"))),
        reduction => Ok(reduction),
    }
}

/// A table by part of a layer; names of no part are refused.
fn of_parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, RectangleRecipe>, D::Error> {
    let table = BTreeMap::<String, RectangleRecipe>::deserialize(deserializer)?;
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    match table.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(D::Error::custom(unknown_name(name, "part that has rectangles", &names))),
        None => Ok(table),
    }
}

fn unknown_name(name: &str, what: &str, allowed: &[&str]) -> String {
    let nearest = nearest_name(name, allowed.iter().copied());
    let hint = nearest.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
    format!("'{name}' is no {what}{hint}; allowed: {}", allowed.join(", "))
}

/// A table by role; roles whose matrices are never narrow are refused.
fn of_roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Role, Width>, D::Error> {
    let table = BTreeMap::<String, Width>::deserialize(deserializer)?;
    table
        .into_iter()
        .map(|(name, width)| {
            let known = Stored::ROLES.into_iter().find(|role| role.name() == name);
            known.map(|role| (role, width)).ok_or_else(|| {
                let allowed = Stored::ROLES.map(Role::name).join(", ");
                D::Error::custom(format!("'{name}' is no role of a matrix that is stored narrow; allowed: {allowed}"))
            })
        })
        .collect()
}

impl Recipe {
    /// A recipe from TOML text. `file` is named in errors. A file of assignments that it names is not read.
    ///
    /// # Errors
    /// Where the text is no TOML, a field is unknown, or a value is not allowed.
    pub fn parse(text: &str, file: &str) -> Result<Self, MappingError> {
        text::read(text, file)
    }

    /// A recipe from a file, with the file of assignments that it names.
    ///
    /// # Errors
    /// As [`Recipe::parse`], and where a file cannot be read.
    pub fn read(path: &Path) -> Result<Self, MappingError> {
        let text = wafersim_spec::file::read_text(path, "name the .toml file itself")?;
        let mut recipe = Self::parse(&text, &path.display().to_string())?;
        recipe.load(path)?;
        Ok(recipe)
    }

    /// Reads the file of assignments that a recipe at `path` names, and gives it a name where it has none.
    pub(crate) fn load(&mut self, path: &Path) -> Result<(), MappingError> {
        if self.name.is_empty() {
            self.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        }
        if let Experts::File { file, dealt } = &mut self.experts {
            let beside = path.parent().map_or_else(|| file.clone().into(), |folder| folder.join(&*file));
            *dealt = Some(read_dealt(&beside)?);
        }
        Ok(())
    }

    /// The same with the experts by a strategy: where that is the recipe's own, its sizes stay.
    pub fn pin_experts(&mut self, strategy: ExpertPlacement) {
        if !matches!(&self.experts, Experts::Strategy { strategy: own, .. } if *own == strategy) {
            self.experts = Experts::of(strategy);
        }
    }

    /// The same with code from outside, in place of the ids of it that a file holds. Ids of none of it stay, and are
    /// refused where the recipe is resolved or a layer written.
    #[must_use]
    pub fn with_own(mut self, strategies: &[Own<dyn Strategy>], collectives: &[Own<dyn Collective>]) -> Self {
        if let Experts::Own(own) = &mut self.experts {
            own.strategy.take_from(strategies);
        }
        let ReductionRecipes { x, y, parts, operators } = &mut self.reductions;
        for reduction in [x, y, parts].into_iter().chain(operators.values_mut()) {
            if let Reduction::Own(own) = reduction {
                own.take_from(collectives);
            }
        }
        self
    }

    /// What the file of assignments that it names says, where it names one that has been read.
    pub const fn assignments(&self) -> Option<&Dealt> {
        match &self.experts {
            Experts::File { dealt, .. } => dealt.as_ref(),
            Experts::Strategy { .. } | Experts::Own(_) => None,
        }
    }

    /// The code from outside that it works by: its kind and its id.
    pub fn own(&self) -> Vec<(&'static str, &str)> {
        let mut found = Vec::new();
        if let Experts::Own(own) = &self.experts {
            found.push(("experts", own.strategy.id()));
        }
        let ReductionRecipes { x, y, parts, operators } = &self.reductions;
        for reduction in [x, y, parts].into_iter().chain(operators.values()) {
            if let Reduction::Own(own) = reduction {
                found.push(("collective", own.id()));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The recipe as TOML, every decision in it.
    pub fn to_toml(&self) -> String {
        // Values of these types always serialise: sizes are below 2^63.
        toml::to_string(self).unwrap_or_default()
    }
}

fn read_dealt(path: &Path) -> Result<Dealt, MappingError> {
    let name = path.display().to_string();
    let text = wafersim_spec::file::read_text(path, "name the .toml file itself")?;
    let dealt: Dealt = text::read(&text, &name)?;
    match dealt.wrong() {
        None => Ok(dealt),
        Some((field, problem, allowed)) => {
            Err(MappingError::Spec(SpecError::Field { file: name, field: field.into(), problem, allowed }))
        }
    }
}
