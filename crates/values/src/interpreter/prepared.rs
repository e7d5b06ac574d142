//! A program with its layouts worked out: which elements every processing element of the region holds of every field.

use std::sync::Arc;

use rayon::prelude::*;
use wafersim_program::{BufferId, Field, Operand, Program, Region, WeightId};

use super::state::{Numbers, Tile};

/// What a place holds of a field: rows, and elements of each.
type Held = (Numbers, Numbers);

/// A program and what its layouts say, by processing element of its region (row by row).
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The program.
    pub program: Program,
    fields: Vec<Vec<Vec<Option<Held>>>>,
    weights: Vec<Vec<Option<Held>>>,
}

impl Prepared {
    /// Works out the layouts of a program.
    pub fn new(program: Program) -> Self {
        let region = program.region;
        let places: Vec<(u64, u64)> = (region.y..region.y + region.rows)
            .flat_map(|row| (region.x..region.x + region.columns).map(move |column| (column, row)))
            .collect();
        let numbers = |list: Vec<u64>| -> Numbers { list.into_iter().map(|number| number as u32).collect() };
        let held = |field: &Field, of: Region, (column, row): (u64, u64)| -> Option<Held> {
            let inside = column >= of.x && row >= of.y && column < of.x + of.columns && row < of.y + of.rows;
            let place = (column.wrapping_sub(of.x), row.wrapping_sub(of.y));
            inside.then(|| (numbers(field.rows_at(place)), numbers(field.inner_at(place))))
        };
        let fields = program
            .buffers
            .par_iter()
            .map(|buffer| {
                let Some(layout) = &buffer.layout else { return Vec::new() };
                let of = |field: &Field| places.iter().map(|place| held(field, layout.region, *place)).collect();
                layout.fields.iter().map(of).collect()
            })
            .collect();
        let weights = program
            .weights
            .par_iter()
            .map(|weight| {
                let at = |place: &(u64, u64)| {
                    let (_, inputs) = held(&weight.inputs, weight.region, *place)?;
                    let (_, outputs) = held(&weight.outputs, weight.region, *place)?;
                    Some((inputs, outputs))
                };
                places.iter().map(at).collect()
            })
            .collect();
        Self { program, fields, weights }
    }

    /// Index of a processing element in row-by-row order.
    pub fn index(&self, column: u64, row: u64) -> usize {
        let region = self.program.region;
        (row.saturating_sub(region.y) * region.columns + column.saturating_sub(region.x)) as usize
    }

    /// What a processing element holds of a field; nothing outside the field's region.
    pub fn held(&self, operand: Operand, pe: usize) -> Option<&Held> {
        self.fields.get(operand.buffer.index())?.get(operand.field as usize)?.get(pe)?.as_ref()
    }

    /// The inputs and outputs of a processing element's tile of a weight.
    pub fn weight(&self, weight: WeightId, pe: usize) -> Option<&Held> {
        self.weights.get(weight.index())?.get(pe)?.as_ref()
    }

    /// The declared field of an operand.
    ///
    /// # Errors
    /// Where the buffer has no layout.
    pub fn field(&self, operand: Operand) -> Result<&Field, String> {
        let buffer = self.program.buffer_of(operand.buffer);
        let fields = buffer.layout.as_ref().map(|layout| layout.fields.as_slice()).unwrap_or(&[]);
        fields.get(operand.field as usize).ok_or_else(|| format!("the buffer '{}' has no such field", buffer.name))
    }

    /// Number of fields of a buffer.
    pub fn fields_of(&self, buffer: BufferId) -> u32 {
        self.fields.get(buffer.index()).map_or(0, |fields| fields.len() as u32)
    }

    /// A tile of one value, of the elements that the layout says.
    ///
    /// # Errors
    /// Where the layout holds nothing there.
    pub fn fresh(&self, operand: Operand, pe: usize, value: f32) -> Result<Tile, String> {
        match self.held(operand, pe) {
            Some((rows, inner)) => Ok(Tile::filled(Arc::clone(rows), Arc::clone(inner), value)),
            None => Err(format!(
                "the buffer '{}' is written where its layout has no place",
                self.program.buffer_of(operand.buffer).name
            )),
        }
    }
}
