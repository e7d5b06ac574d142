//! A program with its layouts worked out: which elements every processing element of the region holds of every field.

use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::prelude::*;
use wafersim_program::{Axis, BufferId, Field, Operand, Program, Region, WeightId};

use super::state::Numbers;

/// What a place holds of a field: rows, and elements of each.
pub(super) type Held = (Numbers, Numbers);

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
        let of_buffers: Vec<Vec<Lists>> = program
            .buffers
            .par_iter()
            .map(|buffer| {
                let Some(layout) = &buffer.layout else { return Vec::new() };
                layout.fields.iter().map(|field| Lists::of(field, layout.region, region)).collect()
            })
            .collect();
        let of_weights: Vec<[Lists; 2]> = program
            .weights
            .par_iter()
            .map(|weight| [&weight.inputs, &weight.outputs].map(|field| Lists::of(field, weight.region, region)))
            .collect();
        let mut known = Known::default();
        let fields = of_buffers
            .into_iter()
            .map(|fields| fields.into_iter().map(|lists| lists.rows.shared(&mut known, lists.inner)).collect());
        let fields = fields.collect();
        let weights = of_weights.into_iter().map(|[inputs, outputs]| inputs.inner.shared(&mut known, outputs.inner));
        let weights = weights.collect();
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

    /// The inputs and outputs of all tiles of a weight, by processing element.
    pub(super) fn weights_of(&self, weight: WeightId) -> &[Option<Held>] {
        self.weights.get(weight.index()).map_or(&[], Vec::as_slice)
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
}

/// The lists of a field by processing element of a program's region.
struct Lists {
    rows: ByPlace,
    inner: ByPlace,
}

impl Lists {
    fn of(field: &Field, of: Region, region: Region) -> Self {
        let differs = |axis: Axis| field.rows.spread.differs_along(axis);
        let inner_differs = |axis: Axis| {
            field.inner.iter().any(|dimension| dimension.spread.differs_along(axis))
                || field.shares.iter().any(|digit| digit.axis == axis)
        };
        Self {
            rows: ByPlace::of((of, region), differs, |place| field.rows_at(place)),
            inner: ByPlace::of((of, region), inner_differs, |place| field.inner_at(place)),
        }
    }
}

/// A list for each processing element of a region, or nothing outside of a part of it.
struct ByPlace {
    /// Lists that differ.
    lists: Vec<Vec<u32>>,
    /// Which of them it is, by processing element.
    numbers: Vec<Option<u32>>,
}

impl ByPlace {
    /// Lists of the places of a part (`of`) of a region; lines that do not differ have one.
    fn of(
        (of, region): (Region, Region),
        differs: impl Fn(Axis) -> bool,
        list: impl Fn((u64, u64)) -> Vec<u64>,
    ) -> Self {
        let columns = if differs(Axis::X) { of.columns } else { 1 };
        let rows = if differs(Axis::Y) { of.rows } else { 1 };
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
        let narrow = |list: Vec<u64>| list.into_iter().map(|number| number as u32).collect();
        let lists = places.map(|place| narrow(list(place))).collect();
        let number = |(column, row): (u64, u64)| {
            let inside = column >= of.x && row >= of.y && column < of.x + of.columns && row < of.y + of.rows;
            let (column, row) = (column.wrapping_sub(of.x), row.wrapping_sub(of.y));
            inside.then(|| (row.min(rows - 1) * columns + column.min(columns - 1)) as u32)
        };
        let everywhere = (region.y..region.y + region.rows)
            .flat_map(|row| (region.x..region.x + region.columns).map(move |column| (column, row)));
        Self { lists, numbers: everywhere.map(number).collect() }
    }

    /// These lists and others, place by place; lists that are the same are one.
    fn shared(self, known: &mut Known, others: Self) -> Vec<Option<Held>> {
        let of_both = [self.lists, others.lists].map(|lists| lists.into_iter().map(|list| known.share(list)).collect());
        let [own, other]: [Vec<Numbers>; 2] = of_both;
        let both = self.numbers.into_iter().zip(others.numbers);
        both.map(|(a, b)| Some((Arc::clone(own.get(a? as usize)?), Arc::clone(other.get(b? as usize)?)))).collect()
    }
}

/// Lists that there are.
#[derive(Default)]
struct Known(BTreeSet<Numbers>);

impl Known {
    fn share(&mut self, list: Vec<u32>) -> Numbers {
        if let Some(known) = self.0.get(list.as_slice()) {
            return Arc::clone(known);
        }
        let list: Numbers = list.into();
        self.0.insert(Arc::clone(&list));
        list
    }
}
