//! What a caller has chosen by other means than bytes and ways: the division of the wafers, and for each kind of layer
//! KV layout, rectangles of experts and what is stored wide. What is left open, placement chooses.

use serde::Serialize;
use wafersim_spec::model::Role;
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_spec::{DataType, Precision, Size};

use crate::arrangement::Arrangement;
use crate::kv_cache::KvLayoutChoice;
use crate::machine::Machine;

/// How the wafers are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Division {
    /// Slots of a wafer; parts are of the layers of the model.
    pub slots: Size,
    /// Columns of a slot's region; parts are of those of the wafer.
    pub columns: Size,
    /// Rows of a slot's region; parts are of those of the wafer.
    pub rows: Size,
    /// Layers that share a slot, all but the last with exactly so many; parts are of the layers of the model. Where it
    /// is left open, layers share slots as little as possible.
    pub layers_per_slot: Size,
}

impl Division {
    /// Whether everything is left open.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Columns and rows of the regions in an arrangement's slots.
    pub(crate) fn region(&self, arrangement: Arrangement, machine: &Machine) -> (u64, u64) {
        let (columns, rows) = arrangement.slot_size(machine);
        let within = |size: Size, whole: u64, slot: u64| size.of(whole).map_or(slot, |size| size.clamp(1, slot));
        (within(self.columns, machine.columns, columns), within(self.rows, machine.rows, rows))
    }

    /// Whether an arrangement is one of those that are left.
    pub(crate) fn allows(&self, arrangement: Arrangement, machine: &Machine, layers: u64) -> bool {
        let along = |size: Size, whole: u64, across: u64| match size {
            Size::Auto => true,
            Size::Divisor(divisor) => across == divisor,
            Size::Exactly(_) | Size::Share(_) => {
                size.of(whole).is_some_and(|size| across == (whole / size.max(1)).max(1))
            }
        };
        along(self.columns, machine.columns, arrangement.across)
            && along(self.rows, machine.rows, arrangement.down)
            && self.slots.of(layers).is_none_or(|slots| arrangement.slots() == slots)
    }
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotChoice {
    /// Consecutive items.
    pub items: usize,
    /// Columns of the region that they are spread over.
    pub columns: u64,
    /// Rows of that region.
    pub rows: u64,
}

/// Where the routed experts of a layer live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ExpertChoice {
    /// The strategy.
    pub placement: ExpertPlacement,
    /// Experts that share a rectangle; parts are of the experts of a layer. Left open: one for clustered experts, for
    /// others as many as a token chooses. Ignored for spread experts.
    pub sharing: Size,
    /// Copies that a rectangle has room for beyond the experts that share it.
    pub spare: u64,
    /// Rectangles side by side and one below the other; `None`: what takes the fewest bytes.
    pub grid: Option<(u64, u64)>,
    /// Experts that the fullest rectangle holds, where who has dealt them says so; `None`: as evenly as can be, and
    /// `spare`.
    pub fullest: Option<u64>,
    /// Number of the assignment, where layers of one kind have several. Placement does not read it.
    pub assignment: u32,
}

impl From<ExpertPlacement> for ExpertChoice {
    fn from(placement: ExpertPlacement) -> Self {
        let spare = u64::from(placement == ExpertPlacement::Replicated);
        Self { placement, sharing: Size::Auto, spare, grid: None, fullest: None, assignment: 0 }
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Roles(u64);

impl Roles {
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether a role is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u32) != 0
    }

    /// The same with a role.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | 1 << role as u32)
    }

    /// Those among them, in the order of use.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The format in which matrices that the checkpoint has narrow are stored where they are stored wide: 16 bit, that of
/// the activations where they have 16.
pub fn wide_type(precision: &Precision) -> DataType {
    if precision.activations.bits() == 16 { precision.activations } else { DataType::Fp16 }
}

/// The format of a role's matrices that the checkpoint has in `stored`.
pub(crate) fn stored_type(role: Role, stored: DataType, wide: Roles, precision: &Precision) -> DataType {
    if wide.has(role) && !stored.is_arithmetic() { wide_type(precision) } else { stored }
}

/// What is chosen for the layers of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choices<'a> {
    /// The same for all: what the request says.
    #[default]
    ForAll,
    /// For each kind of layer, in the order of [`crate::Kinds::firsts`].
    OfKinds(&'a [LayerChoices]),
    /// For each layer. Layers of one kind with the same choices share a layout.
    OfLayers(&'a [LayerChoices]),
}

/// What is chosen for a kind of layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayerChoices {
    /// How the KV cache is laid out.
    pub kv: KvLayoutChoice,
    /// Where the experts live.
    pub experts: ExpertChoice,
    /// Roles whose matrices are stored in 16 bit though the checkpoint has them narrower.
    pub wide: Roles,
}
