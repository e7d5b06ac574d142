//! The memory of a processing element.
//!
//! A program writes each buffer anew for every layer and token, most of them as large as before: tiles that are no
//! longer needed are kept as spare memory, and tiles share the lists of what they hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use wafersim_program::{Axis, BufferId, Operand};

use super::prepared::Prepared;

/// Numbers of rows, or of elements of a row.
pub type Numbers = Arc<[u32]>;

/// A field of a buffer in one processing element: a table that knows which rows and which elements of them it holds.
#[derive(Debug, PartialEq)]
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
        same(&self.rows, rows) && same(&self.inner, inner)
    }

    /// Takes over the lists of another tile.
    fn share(&mut self, rows: &Numbers, inner: &Numbers) {
        for (own, other) in [(&mut self.rows, rows), (&mut self.inner, inner)] {
            if !Arc::ptr_eq(own, other) {
                *own = Arc::clone(other);
            }
        }
    }
}

impl Clone for Tile {
    fn clone(&self) -> Self {
        Self { rows: Arc::clone(&self.rows), inner: Arc::clone(&self.inner), values: self.values.clone() }
    }

    /// Without new memory where there is enough.
    fn clone_from(&mut self, source: &Self) {
        self.share(&source.rows, &source.inner);
        self.values.clone_from(&source.values);
    }
}

/// Whether two lists are the same; nearly always they are one.
pub(super) fn same(a: &Numbers, b: &Numbers) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Tiles that nobody needs any more, by buffer; those that will be wanted first come last. Not part of what a
/// processing element is: it is equal to any other, and a clone has none.
#[derive(Debug, Default)]
struct Spare(Vec<Vec<Tile>>);

impl Spare {
    /// Most tiles that are kept of a buffer: steps that make tiles in memory of their own would make them ever more.
    const MOST: usize = 8;

    fn take(&mut self, buffer: usize) -> Option<Tile> {
        self.0.get_mut(buffer).and_then(Vec::pop)
    }

    /// Keeps a tile.
    fn leave(&mut self, buffer: usize, tile: Tile) {
        let spare = self.of(buffer);
        if spare.len() < Self::MOST {
            spare.push(tile);
        }
    }

    /// Keeps all tiles of a buffer, and leaves it empty.
    fn leave_all(&mut self, buffer: usize, tiles: &mut Vec<Tile>) {
        let spare = self.of(buffer);
        tiles.reverse();
        if spare.is_empty() {
            std::mem::swap(spare, tiles);
        } else {
            tiles.drain(..).for_each(|tile| self.leave(buffer, tile));
        }
    }

    /// Gives the room of an empty list of spare tiles to an empty buffer: it has been looked at just now.
    fn lend(&mut self, buffer: usize, tiles: &mut Vec<Tile>) {
        if let Some(spare) = self.0.get_mut(buffer).filter(|spare| spare.is_empty()) {
            std::mem::swap(spare, tiles);
        }
    }

    fn of(&mut self, buffer: usize) -> &mut Vec<Tile> {
        if self.0.len() <= buffer {
            self.0.resize_with(buffer + 1, Vec::new);
        }
        &mut self.0[buffer]
    }
}

impl Clone for Spare {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Spare {
    fn eq(&self, _: &Self) -> bool {
        true
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
    spare: Spare,
}

impl PeState {
    /// A processing element with empty memory for so many buffers.
    pub fn new(column: u64, row: u64, buffers: usize) -> Self {
        Self { column, row, buffers: vec![Vec::new(); buffers], queues: BTreeMap::new(), spare: Spare::default() }
    }

    /// Forgets what was written, for a program of so many buffers; the memory is kept.
    pub(super) fn forget(&mut self, buffers: usize) {
        for (number, tiles) in self.buffers.iter_mut().enumerate() {
            self.spare.leave_all(number, tiles);
        }
        self.queues.clear();
        self.buffers.resize(buffers, Vec::new());
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
        let place = (self.column, self.row);
        let tiles = self.buffers.get_mut(operand.buffer.index());
        tiles.and_then(|tiles| tiles.get_mut(operand.field as usize)).ok_or_else(|| nothing(operand, place))
    }

    /// A tile to be changed, and another one.
    ///
    /// # Errors
    /// Where nothing was written to one of them, or both are the same.
    pub(super) fn tile_beside(&mut self, changed: Operand, read: Operand) -> Result<(&mut Tile, &Tile), String> {
        let place = (self.column, self.row);
        let (to, from) = (changed.buffer.index(), read.buffer.index());
        let (field_to, field_from) = (changed.field as usize, read.field as usize);
        let (changed_tile, read_tile) = if to == from {
            let tiles = self.buffers.get_mut(to).map(|tiles| tiles.get_disjoint_mut([field_to, field_from]));
            let [changed_tile, read_tile] = tiles.and_then(Result::ok).ok_or_else(|| nothing(read, place))?;
            (Some(changed_tile), Some(&*read_tile))
        } else {
            let [to, from] = self.buffers.get_disjoint_mut([to, from]).map_err(|_| nothing(read, place))?;
            (to.get_mut(field_to), from.get(field_from))
        };
        let read_tile = read_tile.ok_or_else(|| nothing(read, place))?;
        Ok((changed_tile.ok_or_else(|| nothing(changed, place))?, read_tile))
    }

    /// A tile of one value for an operand, of the elements that the layout says.
    ///
    /// # Errors
    /// Where the layout holds nothing there.
    pub(crate) fn fresh(&mut self, prepared: &Prepared, operand: Operand, value: f32) -> Result<Tile, String> {
        let Some((rows, inner)) = prepared.held(operand, prepared.index(self.column, self.row)) else {
            let name = &prepared.program.buffer_of(operand.buffer).name;
            return Err(format!("the buffer '{name}' is written where its layout has no place"));
        };
        let Some(mut tile) = self.spare.take(operand.buffer.index()) else {
            return Ok(Tile::filled(Arc::clone(rows), Arc::clone(inner), value));
        };
        tile.share(rows, inner);
        tile.values.clear();
        tile.values.resize(rows.len() * inner.len(), value);
        Ok(tile)
    }

    /// A tile of zeros for an operand, of other rows than its layout may say.
    pub(super) fn of_rows(&mut self, operand: Operand, rows: &[u32], inner: &Numbers) -> Tile {
        let Some(mut tile) = self.spare.take(operand.buffer.index()) else {
            return Tile::filled(rows.into(), Arc::clone(inner), 0.0);
        };
        let rows = if *tile.rows == *rows { Arc::clone(&tile.rows) } else { rows.into() };
        tile.share(&rows, inner);
        tile.values.clear();
        tile.values.resize(rows.len() * inner.len(), 0.0);
        tile
    }

    /// A copy of a tile that will be put in the place of another.
    ///
    /// # Errors
    /// Where nothing was written to it.
    pub(super) fn copy(&mut self, source: Operand, target: Operand) -> Result<Tile, String> {
        let spare = self.spare.take(target.buffer.index());
        let source = self.tile(source)?;
        Ok(copied(spare, source))
    }

    /// Makes a tile what another one is, where they are two, for steps that change the one from the other.
    ///
    /// # Errors
    /// Where nothing was written to the source.
    pub(super) fn begin_with(&mut self, target: Operand, source: Operand) -> Result<(), String> {
        if target != source {
            let copy = self.copy(source, target)?;
            self.put(target, copy);
        }
        Ok(())
    }

    /// Puts a tile in its place. Fields before it that nothing was written to become empty.
    pub fn put(&mut self, operand: Operand, tile: Tile) {
        let Some(tiles) = self.buffers.get_mut(operand.buffer.index()) else { return };
        let field = operand.field as usize;
        while tiles.len() < field {
            tiles.push(Tile::filled(Arc::from([]), Arc::from([]), 0.0));
        }
        match tiles.get_mut(field) {
            Some(place) => {
                let before = std::mem::replace(place, tile);
                self.spare.leave(operand.buffer.index(), before);
            }
            None => {
                if tiles.is_empty() {
                    self.spare.lend(operand.buffer.index(), tiles);
                }
                tiles.push(tile);
            }
        }
    }

    /// Puts copies of tiles in the place of a buffer where they are what its layout says. They have the layout's lists.
    pub(crate) fn lay(&mut self, prepared: &Prepared, buffer: BufferId, tiles: &[Tile]) -> Result<(), String> {
        for (field, tile) in (0..).zip(tiles) {
            let operand = Operand::new(buffer, field);
            let held = prepared.held(operand, prepared.index(self.column, self.row));
            let Some((rows, inner)) = held.filter(|(rows, inner)| tile.is_like(rows, inner)) else {
                return Err(format!("'{}' is handed over in another layout", prepared.program.buffer_of(buffer).name));
            };
            let mut laid = match self.spare.take(buffer.index()) {
                Some(spare) => spare,
                None => Tile { rows: Arc::clone(rows), inner: Arc::clone(inner), values: Vec::new() },
            };
            laid.share(rows, inner);
            laid.values.clone_from(&tile.values);
            self.put(operand, laid);
        }
        Ok(())
    }

    /// Takes in what has arrived for a buffer, whatever it holds.
    pub(super) fn receive(&mut self, buffer: BufferId, words: Vec<Tile>) {
        if let Some(own) = self.buffers.get_mut(buffer.index()) {
            let mut before = std::mem::replace(own, words);
            self.spare.leave_all(buffer.index(), &mut before);
        }
    }

    /// Puts copies of tiles in the place of a buffer.
    pub(super) fn store(&mut self, buffer: BufferId, tiles: &[Tile]) {
        let Some(own) = self.buffers.get_mut(buffer.index()) else { return };
        own.truncate(tiles.len());
        let known = own.len();
        own.iter_mut().zip(tiles).for_each(|(own, tile)| own.clone_from(tile));
        for tile in tiles.iter().skip(known) {
            own.push(copied(self.spare.take(buffer.index()), tile));
        }
    }

    /// The tiles of a buffer.
    pub fn buffer(&self, buffer: BufferId) -> &[Tile] {
        self.buffers.get(buffer.index()).map_or(&[], Vec::as_slice)
    }

    fn nothing(&self, operand: Operand) -> String {
        nothing(operand, (self.column, self.row))
    }
}

fn nothing(operand: Operand, (column, row): (u64, u64)) -> String {
    let Operand { buffer, field } = operand;
    format!("buffer {} has no field {field} at column {column}, row {row}", buffer.index())
}

fn copied(spare: Option<Tile>, source: &Tile) -> Tile {
    match spare {
        Some(mut tile) => {
            tile.clone_from(source);
            tile
        }
        None => source.clone(),
    }
}
