//! The operators of a layer by name, as programs and breakdowns call them, and along which line each one's sums travel.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Lines along which sums travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineKind {
    /// A row of the operator's rectangle.
    X,
    /// A column of the operator's rectangle.
    Y,
    /// All columns of one head.
    Head,
    /// The columns that share the width of a head.
    Width,
    /// The groups of columns that share the sequence.
    Sequence,
    /// A row of the rectangle of an expert.
    CellX,
    /// A column of the rectangle of an expert.
    CellY,
}

/// An operator of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorInfo {
    /// Its name.
    pub name: &'static str,
    /// The line of its own reduction; `None` where nothing is reduced.
    pub line: Option<LineKind>,
}

impl LineKind {
    /// Whether it runs through all of a rectangle.
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::X | Self::Y)
    }

    /// Whether it runs through all of a rectangle, that of an expert among them.
    pub const fn is_of_rectangle(self) -> bool {
        matches!(self, Self::X | Self::Y | Self::CellX | Self::CellY)
    }
}

impl fmt::Display for LineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::X => "x",
            Self::Y => "y",
            Self::Head => "head",
            Self::Width => "width",
            Self::Sequence => "sequence",
            Self::CellX => "cell_x",
            Self::CellY => "cell_y",
        })
    }
}

const fn operator(name: &'static str, line: Option<LineKind>) -> OperatorInfo {
    OperatorInfo { name, line }
}

/// All operators that a layer may have, in the order of use.
pub const OPERATORS: &[OperatorInfo] = &[
    operator("attention.norm", Some(LineKind::Y)),
    operator("attention.query_key_value", Some(LineKind::Y)),
    // Keys and values, where they are made in a rectangle of their own.
    operator("attention.key_value", Some(LineKind::Y)),
    operator("attention.value_of_key", None),
    operator("attention.head_norm", Some(LineKind::Head)),
    operator("attention.query_norm", Some(LineKind::X)),
    operator("attention.latent_norm", Some(LineKind::X)),
    operator("attention.convolution", None),
    operator("attention.state_gates", None),
    operator("attention.unit_norm", Some(LineKind::Head)),
    operator("attention.delta_rule", Some(LineKind::Width)),
    operator("attention.gated_norm", Some(LineKind::Head)),
    operator("attention.query_up", Some(LineKind::Y)),
    operator("attention.rope", None),
    operator("attention.index_norm", Some(LineKind::Head)),
    operator("attention.index_rope", None),
    operator("attention.absorbed_key", Some(LineKind::Y)),
    operator("attention.kv_append", None),
    operator("attention.index_scores", Some(LineKind::Width)),
    operator("attention.select", Some(LineKind::Y)),
    operator("attention.scores", Some(LineKind::Width)),
    operator("attention.head_scale", None),
    operator("attention.softmax", Some(LineKind::Y)),
    operator("attention.values", Some(LineKind::Y)),
    operator("attention.kv_forget", None),
    operator("attention.output_gate", None),
    operator("attention.absorbed_value", Some(LineKind::Head)),
    operator("attention.output", Some(LineKind::X)),
    operator("attention.output_norm", Some(LineKind::Y)),
    operator("feed_forward.norm", Some(LineKind::Y)),
    operator("feed_forward.gate_up", Some(LineKind::Y)),
    operator("feed_forward.activation", None),
    operator("feed_forward.down", Some(LineKind::X)),
    operator("router", Some(LineKind::Y)),
    operator("experts.dispatch", None),
    operator("experts.gate_up", Some(LineKind::Y)),
    operator("experts.activation", None),
    operator("experts.down", Some(LineKind::X)),
    operator("experts.combine", Some(LineKind::X)),
    operator("shared_expert.gate_up", Some(LineKind::Y)),
    operator("shared_expert.activation", None),
    operator("shared_expert.down", Some(LineKind::X)),
    operator("feed_forward.output_norm", Some(LineKind::Y)),
];

/// The operator with a name.
pub fn operator_named(name: &str) -> Option<&'static OperatorInfo> {
    OPERATORS.iter().find(|operator| operator.name == name)
}
