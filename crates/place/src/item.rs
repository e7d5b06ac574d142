//! The items of the pipeline that slots hold. It knows no sizes.

use std::fmt;

use serde::Serialize;

/// Consecutive rows of an embedding table or LM head that is cut over several slots by vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TablePart {
    /// Number of this part, from 0.
    pub part: u64,
    /// Parts in all.
    pub parts: u64,
    /// First vocabulary entry.
    pub first_entry: u64,
    /// Vocabulary entries.
    pub entries: u64,
}

/// One step of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Embedding table, or a part of it. Absent where the LM head is the embedding table: then tokens are looked up
    /// there.
    Embedding(TablePart),
    /// A layer, counted from 0.
    Layer(u64),
    /// Final norm and LM head, or a part of it.
    LmHead(TablePart),
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, part) = match self {
            Self::Layer(layer) => return write!(formatter, "layer {layer}"),
            Self::Embedding(part) => ("embedding", part),
            Self::LmHead(part) => ("LM head", part),
        };
        match part.parts {
            1 => formatter.write_str(name),
            parts => write!(formatter, "{name} part {} of {parts}", part.part + 1),
        }
    }
}
