//! The memory of a processing element.

use std::collections::BTreeMap;
use std::sync::Arc;

use wafersim_program::{Axis, BufferId, Operand};

/// Numbers of rows, or of elements of a row.
pub type Numbers = Arc<[u32]>;

/// A field of a buffer in one processing element: a table that knows which rows and which elements of them it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// Numbers of the rows.
    pub rows: Numbers,
    /// Numbers of the elements of each row.
    pub inner: Numbers,
    /// The elements, row by row.
    pub values: Vec<f32>,
}

impl Tile {
    /// A tile of one value.
    pub fn filled(rows: Numbers, inner: Numbers, value: f32) -> Self {
        let values = vec![value; rows.len() * inner.len()];
        Self { rows, inner, values }
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.inner.len()
    }

    /// A row by its place in the tile; nothing where there is none.
    pub fn row(&self, place: usize) -> &[f32] {
        let width = self.width();
        self.values.get(place * width..(place + 1) * width).unwrap_or(&[])
    }

    /// The same to be changed.
    pub fn row_mut(&mut self, place: usize) -> &mut [f32] {
        let width = self.width();
        self.values.get_mut(place * width..(place + 1) * width).unwrap_or(&mut [])
    }

    /// Whether it holds the same elements as another.
    pub fn is_like(&self, rows: &Numbers, inner: &Numbers) -> bool {
        let same = |a: &Numbers, b: &Numbers| Arc::ptr_eq(a, b) || a == b;
        same(&self.rows, rows) && same(&self.inner, inner)
    }
}

/// A processing element: its place in the mesh and its buffers. A buffer that nothing was written to has no tiles.
#[derive(Debug, Clone, PartialEq)]
pub struct PeState {
    /// Column in the mesh.
    pub column: u64,
    /// Row in the mesh.
    pub row: u64,
    /// Tiles by buffer and field.
    pub buffers: Vec<Vec<Tile>>,
    /// Of buffers that move around rings, the pieces that lie here, by axis; the first is the one in front.
    pub queues: BTreeMap<(BufferId, Axis), Vec<u64>>,
}

impl PeState {
    /// A processing element with empty memory for so many buffers.
    pub fn new(column: u64, row: u64, buffers: usize) -> Self {
        Self { column, row, buffers: vec![Vec::new(); buffers], queues: BTreeMap::new() }
    }

    /// A tile.
    ///
    /// # Errors
    /// Where nothing was written there.
    pub fn tile(&self, operand: Operand) -> Result<&Tile, String> {
        let tiles = self.buffers.get(operand.buffer.index());
        tiles.and_then(|tiles| tiles.get(operand.field as usize)).ok_or_else(|| self.nothing(operand))
    }

    /// A tile to be changed.
    ///
    /// # Errors
    /// Where nothing was written there.
    pub fn tile_mut(&mut self, operand: Operand) -> Result<&mut Tile, String> {
        let message = self.nothing(operand);
        let tiles = self.buffers.get_mut(operand.buffer.index());
        tiles.and_then(|tiles| tiles.get_mut(operand.field as usize)).ok_or(message)
    }

    /// Puts a tile in its place. Fields before it that nothing was written to become empty.
    pub fn put(&mut self, operand: Operand, tile: Tile) {
        let Some(tiles) = self.buffers.get_mut(operand.buffer.index()) else { return };
        let field = operand.field as usize;
        while tiles.len() <= field {
            tiles.push(Tile::filled(Arc::from([]), Arc::from([]), 0.0));
        }
        tiles[field] = tile;
    }

    /// The tiles of a buffer.
    pub fn buffer(&self, buffer: BufferId) -> &[Tile] {
        self.buffers.get(buffer.index()).map_or(&[], Vec::as_slice)
    }

    fn nothing(&self, operand: Operand) -> String {
        let Operand { buffer, field } = operand;
        format!("buffer {} has no field {field} at column {}, row {}", buffer.index(), self.column, self.row)
    }
}
