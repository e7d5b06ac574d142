//! Two machines after the same program: every buffer of every processing element, bit for bit.

use std::fmt;

use wafersim_program::Program;
use wafersim_values::interpreter::{MeshState, Tile};

/// How many differences are kept.
const KEPT: usize = 8;

/// An element in which two machines differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Column of the processing element.
    pub column: u64,
    /// Row.
    pub row: u64,
    /// Name of the buffer.
    pub buffer: String,
    /// Index of the field.
    pub field: u32,
    /// Number of the element in the processing element.
    pub element: u64,
    /// What the numeric reading holds there; nothing where it holds no such element.
    pub wanted: Option<f32>,
    /// What the wavelets have brought.
    pub carried: Option<f32>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, row, buffer, field, element, wanted, carried } = self;
        let value = |value: &Option<f32>| value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:e}"));
        let (wanted, carried) = (value(wanted), value(carried));
        write!(
            out,
            "column {column}, row {row}, '{buffer}' (field {field}, element {element}): {carried}, not {wanted}"
        )
    }
}

/// How far two machines agree.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Agreement {
    /// Elements that were compared.
    pub elements: u64,
    /// Elements that differ.
    pub different: u64,
    /// The first of them.
    pub first: Vec<Difference>,
}

impl Agreement {
    /// Whether nothing differs.
    pub const fn is_whole(&self) -> bool {
        self.different == 0
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.elements += other.elements;
        self.different += other.different;
        let room = KEPT.saturating_sub(self.first.len());
        self.first.extend(other.first.iter().take(room).cloned());
    }
}

/// Compares what two machines hold after the same program: `wanted` by the numeric reading, `carried` by wavelets.
pub fn compare(program: &Program, wanted: &MeshState, carried: &MeshState) -> Agreement {
    let mut agreement = Agreement::default();
    let none: &[Tile] = &[];
    for (wanted, carried) in wanted.pes.iter().zip(&carried.pes) {
        for (index, buffer) in program.buffers.iter().enumerate() {
            let of = |tiles: Option<&Vec<Tile>>| tiles.map_or(none, Vec::as_slice).to_vec();
            let (one, two) = (of(wanted.buffers.get(index)), of(carried.buffers.get(index)));
            for field in 0..one.len().max(two.len()) {
                let (one, two) = (one.get(field), two.get(field));
                // Where nothing lies, it does not matter whether nothing was written or no tile at all.
                let empty = |tile: Option<&Tile>| tile.is_none_or(|tile| tile.values.is_empty());
                let alike = match (one, two) {
                    (Some(one), Some(two)) if !one.values.is_empty() => one.rows == two.rows && one.inner == two.inner,
                    _ => empty(one) && empty(two),
                };
                let values = |tile: Option<&Tile>| tile.map_or_else(Vec::new, |tile| tile.values.clone());
                let (one, two) = (values(one), values(two));
                let count = one.len().max(two.len()).max(usize::from(!alike));
                agreement.elements += count as u64;
                for element in 0..count {
                    let (wanted_value, carried_value) = (one.get(element).copied(), two.get(element).copied());
                    if alike && wanted_value.map(f32::to_bits) == carried_value.map(f32::to_bits) {
                        continue;
                    }
                    agreement.different += 1;
                    if agreement.first.len() < KEPT {
                        agreement.first.push(Difference {
                            column: wanted.column,
                            row: wanted.row,
                            buffer: buffer.name.clone().into_owned(),
                            field: field as u32,
                            element: element as u64,
                            wanted: wanted_value,
                            carried: carried_value,
                        });
                    }
                }
            }
        }
    }
    agreement
}
