//! The question to placement: which model in which precision on which machine, for whom, and by which strategies.

use serde::{Deserialize, Serialize};
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{Model, Precision};

use crate::arrangement::Arrangement;
use crate::choices::{Choices, Division, LayerChoices, Roles, SlotChoice};
use crate::error::PlaceError;
use crate::kv_cache::{KvLayoutChoice, KvLoad};
use crate::machine::Machine;

/// Most columns or rows of a machine: keeps every product of sizes far from overflow.
const LARGEST_SIDE: u64 = 1_000_000;

/// How much of a slot its items are spread over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// All of it: the most memory for users, the most processing elements at work.
    #[default]
    Slot,
    /// The smallest region with the slot's aspect that holds the items: the shortest distances.
    Tight,
}

/// In which order the slots of a wafer follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotOrder {
    /// The same on every wafer: from the last slot of a wafer the way to the first of the next goes back over all rows.
    #[default]
    Same,
    /// Every second wafer the other way round, so that wafers meet at the same rows.
    Turning,
}

/// Everything of the question but the model: what a placement is made for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Settings {
    /// What to place it on.
    pub machine: Machine,
    /// Data types.
    pub precision: Precision,
    /// Users whose KV cache must fit.
    pub users: u64,
    /// Tokens in the KV cache of each user.
    pub context: u64,
    /// Tokens that a slot works on at once in decode.
    pub micro_batch: u64,
    /// Where the experts live.
    pub experts: ExpertPlacement,
    /// How much of a slot its items take.
    pub fill: Fill,
    /// In which order slots follow each other.
    pub order: SlotOrder,
    /// How the KV cache is laid out.
    pub kv_layout: KvLayoutChoice,
    /// The only division of a wafer to consider, where the caller chooses it by other means than bytes and ways.
    pub arrangement: Option<Arrangement>,
    /// What else of the division is not for the search to choose.
    pub division: Division,
    /// Roles of the tables whose matrices are stored in 16 bit though the checkpoint has them narrower; layers have
    /// theirs in their choices.
    pub wide: Roles,
}

impl Settings {
    /// The load on caches.
    pub const fn kv_load(&self) -> KvLoad {
        KvLoad {
            users: self.users,
            context: self.context,
            micro_batch: self.micro_batch,
            cache: self.precision.kv_cache,
            activations: self.precision.activations,
        }
    }
}

/// The question to placement.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What to place.
    pub model: &'a Model,
    /// What to place it on.
    pub machine: Machine,
    /// Data types.
    pub precision: Precision,
    /// Users whose KV cache must fit.
    pub users: u64,
    /// Tokens in the KV cache of each user.
    pub context: u64,
    /// Tokens that a slot works on at once in decode.
    pub micro_batch: u64,
    /// Wafers to use.
    pub wafers: WaferCount,
    /// Where the experts live.
    pub experts: ExpertPlacement,
    /// How much of a slot its items take.
    pub fill: Fill,
    /// In which order slots follow each other.
    pub order: SlotOrder,
    /// How the KV cache is laid out.
    pub kv_layout: KvLayoutChoice,
    /// The only division of a wafer to consider, where the caller chooses it by other means than bytes and ways.
    pub arrangement: Option<Arrangement>,
    /// What else of the division is not for the search to choose.
    pub division: Division,
    /// Roles whose matrices are stored in 16 bit though the checkpoint has them narrower.
    pub wide: Roles,
    /// Choices in place of `experts`, `kv_layout` and `wide`.
    pub layers: Choices<'a>,
    /// What each slot holds and over which region, in place of a search and of `fill`; empty: by those. Takes an
    /// arrangement and a number of wafers.
    pub slots: &'a [SlotChoice],
    /// Whether a refusal says what is lacking and what would do, which takes a search of its own.
    pub explained: bool,
}

impl<'a> Request<'a> {
    /// One user with a full context of the model, the fewest wafers, and the default strategies.
    pub fn new(model: &'a Model, machine: Machine) -> Self {
        Self {
            model,
            machine,
            precision: Precision::default(),
            users: 1,
            context: model.max_positions,
            micro_batch: 1,
            wafers: WaferCount::Auto,
            experts: ExpertPlacement::Spread,
            fill: Fill::Slot,
            order: SlotOrder::Same,
            kv_layout: KvLayoutChoice::Balanced,
            arrangement: None,
            division: Division::default(),
            wide: Roles::NONE,
            layers: Choices::ForAll,
            slots: &[],
            explained: true,
        }
    }

    /// The choices where nothing else says them.
    pub(crate) fn for_all(&self) -> LayerChoices {
        LayerChoices { kv: self.kv_layout, experts: self.experts.into(), wide: self.wide }
    }

    /// The settings, checked.
    ///
    /// # Errors
    /// Where a number is not allowed.
    pub fn settings(&self) -> Result<Settings, PlaceError> {
        let at_least_one = [
            ("users", self.users),
            ("context", self.context),
            ("micro_batch", self.micro_batch),
            ("machine.columns", self.machine.columns),
            ("machine.rows", self.machine.rows),
        ];
        if let Some((field, value)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(PlaceError::Request { field, value: value.to_string(), allowed: "at least 1" });
        }
        let sides = [("machine.columns", self.machine.columns), ("machine.rows", self.machine.rows)];
        if let Some((field, value)) = sides.into_iter().find(|(_, value)| *value > LARGEST_SIDE) {
            return Err(PlaceError::Request { field, value: value.to_string(), allowed: "at most 1,000,000" });
        }
        if self.wafers == WaferCount::Exactly(0) {
            return Err(PlaceError::Request { field: "wafers", value: "0".into(), allowed: "at least 1" });
        }
        for (field, size, whole) in [
            ("division.columns", self.division.columns, self.machine.columns),
            ("division.rows", self.division.rows, self.machine.rows),
        ] {
            if let Some(value) = size.of(whole).filter(|size| *size > whole) {
                return Err(PlaceError::Request {
                    field,
                    value: value.to_string(),
                    allowed: "at most those of the wafer",
                });
            }
        }
        if self.machine.free_memory > self.machine.memory {
            let value = self.machine.free_memory.to_string();
            return Err(PlaceError::Request { field: "machine.free_memory", value, allowed: "at most machine.memory" });
        }
        Ok(Settings {
            machine: self.machine,
            precision: self.precision,
            users: self.users,
            context: self.context,
            micro_batch: self.micro_batch,
            experts: self.experts,
            fill: self.fill,
            order: self.order,
            kv_layout: self.kv_layout,
            arrangement: self.arrangement,
            division: self.division,
            wide: self.wide,
        })
    }
}
