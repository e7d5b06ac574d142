//! Systolic products: runs of pieces that move around rings, and what is computed with the pieces in front.
//!
//! A place of a ring holds a run of pieces of one dimension of its operand. It uses the first, sends it on to the place
//! with the next lower ring number, and puts what arrives behind its last. How far a place is, is kept beside its
//! memory ([`PeState::queues`]): the layout says where a run begins and, for operands that are aligned, where alignment
//! has to end.

use std::sync::Arc;

use wafersim_program::layout::ring_number;
use wafersim_program::{Action, Axis, BufferId, ChainReduce, Field, Operand, Ring, Shift, Spread, Step};
use wafersim_spec::model::Role;

use super::attention::{WeightedTokens, add_weighted};
use super::cache::Rows;
use super::compute::Context;
use super::group::{by_quotient, places};
use super::prepared::Prepared;
use super::rounding::Rounding;
use super::state::{PeState, Tile};
use super::transfer::{Arrival, incoming};
use super::weights::TileName;

/// The dimension of a field that a ring along an axis shares out.
#[derive(Debug, Clone, Copy)]
struct Ringed {
    /// Whether it is the rows.
    is_rows: bool,
    ring: Ring,
    /// Its whole size.
    size: u64,
}

fn ring_of(field: &Field, axis: Axis) -> Option<Ringed> {
    if let Some(last) = field.inner.last()
        && let Spread::Ring(ring) = last.spread
        && ring.axis == axis
    {
        return Some(Ringed { is_rows: false, ring, size: last.size });
    }
    match field.rows.spread {
        Spread::Ring(ring) if ring.axis == axis => Some(Ringed { is_rows: true, ring, size: field.rows.size }),
        _ => None,
    }
}

fn place_of(prepared: &Prepared, operand: Operand, pe: &PeState) -> Option<(u64, u64)> {
    prepared.program.buffer_of(operand.buffer).layout.as_ref()?.place(pe.column, pe.row)
}

/// The pieces that lie here, the first one in front, and the elements of that one.
fn front(prepared: &Prepared, pe: &PeState, operand: Operand, axis: Axis) -> Result<(Vec<u64>, Vec<u32>), String> {
    let field = prepared.field(operand)?;
    let Ringed { ring, size, .. } = ring_of(field, axis).ok_or_else(|| format!("'{}' lies on no ring", field.name))?;
    let queue = match pe.queues.get(&(operand.buffer, axis)) {
        Some(queue) => queue.clone(),
        None => place_of(prepared, operand, pe).map(|place| ring.pieces_at(place)).unwrap_or_default(),
    };
    let first = *queue.first().ok_or_else(|| format!("'{}' has no piece here", field.name))?;
    Ok((queue, ring.elements_of(size, first).into_iter().map(|element| element as u32).collect()))
}

/// Copies a tile to where it will be moved from; its run begins as the source's layout says.
pub(super) fn load(context: &Context<'_>, pe: &mut PeState, source: Operand, target: Operand) -> Result<(), String> {
    let tile = pe.tile(source)?.clone();
    pe.put(target, tile);
    for axis in [Axis::X, Axis::Y] {
        if let Some(Ringed { ring, .. }) = ring_of(context.prepared.field(source)?, axis)
            && let Some(place) = place_of(context.prepared, source, pe)
        {
            pe.queues.insert((target.buffer, axis), ring.pieces_at(place));
        }
    }
    Ok(())
}

/// `c += a b` over the front pieces.
pub(super) fn tile_product(
    context: &Context<'_>,
    pe: &mut PeState,
    [a, b, c]: [Operand; 3],
    bias: Option<Role>,
) -> Result<(), String> {
    let prepared = context.prepared;
    let rounding = context.rounding(c.buffer);
    let mut result = match pe.tile(c) {
        Ok(known) => known.clone(),
        Err(_) => {
            let mut fresh = pe.fresh(prepared, c, 0.0)?;
            if let Some(role) = bias {
                let bias = context.tiles.vector(&TileName::plain(context.name(role, 0)), true)?;
                let inner = Arc::clone(&fresh.inner);
                for row in 0..fresh.rows.len() {
                    for (value, element) in fresh.row_mut(row).iter_mut().zip(inner.iter()) {
                        *value = rounding.round(bias.get(*element as usize).copied().unwrap_or(f32::NAN));
                    }
                }
            }
            fresh
        }
    };
    let ((left_queue, k), (right_queue, other)) = (front(prepared, pe, a, Axis::X)?, front(prepared, pe, b, Axis::Y)?);
    if left_queue.first() != right_queue.first() || k != other {
        return Err(format!("piece {:?} meets piece {:?}", left_queue.first(), right_queue.first()));
    }
    let (left, right) = (pe.tile(a)?, pe.tile(b)?);
    if result.rows != left.rows || result.inner != right.inner {
        return Err("a product does not fit its result".into());
    }
    let (columns, rows) = (places(&left.inner, &k)?, places(&right.rows, &k)?);
    for row in 0..left.rows.len() {
        let input = left.row(row);
        let terms = columns.iter().zip(&rows).map(|(column, from)| (input[*column], right.row(*from)));
        rounding.accumulate(result.row_mut(row), terms);
    }
    pe.put(c, result);
    Ok(())
}

/// Heads of attention whose keys and values pass by.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassingHeads {
    /// Query heads of a KV head.
    pub group: u64,
    /// Width of a head.
    pub head_dim: u64,
}

/// Scores against the keys that are here now, over the dimensions that are here.
pub(super) fn passing_scores(
    context: &Context<'_>,
    pe: &mut PeState,
    [query, keys, partial]: [Operand; 3],
    PassingHeads { group, head_dim }: PassingHeads,
    tokens: u64,
) -> Result<(), String> {
    let rounding = context.rounding(partial.buffer);
    let (head_dim, group, tokens) = (head_dim as u32, (group as u32).max(1), tokens as u32);
    // Which heads these are the layout says: places without dimensions pass sums of zero on.
    let declared = pe.fresh(context.prepared, partial, 0.0)?;
    let (query, keys) = (pe.tile(query)?, pe.tile(keys)?);
    let declared = declared_heads(context, partial, pe, &declared)?;
    let inner: Vec<u32> =
        declared.iter().flat_map(|head| keys.rows.iter().map(move |key| head * tokens + key)).collect();
    let mut result = Tile::filled(Arc::clone(&query.rows), inner.into(), 0.0);
    let heads = by_quotient(&query.inner, head_dim);
    for (number, head) in declared.iter().enumerate() {
        let Some((_, dims)) = heads.iter().find(|(known, _)| known == head) else { continue };
        let wanted: Vec<u32> =
            dims.iter().map(|place| head / group * head_dim + query.inner[*place] % head_dim).collect();
        let columns = places(&keys.inner, &wanted)?;
        for row in 0..query.rows.len() {
            let queries = query.row(row);
            for key in 0..keys.rows.len() {
                let values = keys.row(key);
                let mut sum = 0.0;
                for (dim, column) in dims.iter().zip(&columns) {
                    sum = rounding.round(sum + queries[*dim] * values[*column]);
                }
                result.row_mut(row)[number * keys.rows.len() + key] = sum;
            }
        }
    }
    pe.put(partial, result);
    Ok(())
}

/// The heads of a place: the leading inner dimensions of the declared field.
fn declared_heads(context: &Context<'_>, operand: Operand, pe: &PeState, fallback: &Tile) -> Result<Vec<u32>, String> {
    let field = context.prepared.field(operand)?;
    let Some((_, leading)) = field.inner.split_last() else { return Ok(fallback.inner.to_vec()) };
    let heads = Field { inner: leading.to_vec(), ..field.clone() };
    let place = place_of(context.prepared, operand, pe).ok_or("a head lies outside its region")?;
    Ok(heads.inner_at(place).into_iter().map(|head| head as u32).collect())
}

/// The place where this round's sums have ended keeps them.
pub(super) fn collect(
    context: &Context<'_>,
    pe: &mut PeState,
    [partial, whole]: [Operand; 2],
    columns: u64,
) -> Result<(), String> {
    let columns = columns.max(1);
    let region = context.prepared.program.region;
    let number = ring_number(columns, (pe.column - region.x) % columns);
    let arrived = pe.tile(partial)?.clone();
    let mut known = match pe.tile(whole) {
        Ok(known) => known.clone(),
        Err(_) => Tile::filled(Arc::clone(&arrived.rows), Arc::from([]), 0.0),
    };
    if context.round % columns == number {
        known = beside(&known, &arrived)?;
    }
    pe.put(whole, known);
    Ok(())
}

/// Two tiles of the same rows side by side.
fn beside(a: &Tile, b: &Tile) -> Result<Tile, String> {
    if a.rows != b.rows {
        return Err("tiles of different rows lie side by side".into());
    }
    let inner = a.inner.iter().chain(b.inner.iter()).copied().collect();
    let values = (0..a.rows.len()).flat_map(|row| a.row(row).iter().chain(b.row(row)).copied().collect::<Vec<_>>());
    Ok(Tile { rows: Arc::clone(&a.rows), inner, values: values.collect() })
}

/// Scores x V over the front pieces.
pub(super) fn passing_values(
    context: &Context<'_>,
    pe: &mut PeState,
    [scores, values, output]: [Operand; 3],
    PassingHeads { group, head_dim }: PassingHeads,
) -> Result<(), String> {
    let prepared = context.prepared;
    let rounding = context.rounding(output.buffer);
    let (head_dim, group) = (head_dim as u32, (group as u32).max(1));
    let tokens = context.last_size(scores)?;
    let mut result = match pe.tile(output) {
        Ok(known) => known.clone(),
        Err(_) => pe.fresh(prepared, output, 0.0)?,
    };
    // Columns that the blocks of heads leave over have no part in it, and no ring goes through them.
    if result.inner.is_empty() && pe.tile(scores)?.inner.is_empty() {
        pe.put(output, result);
        return Ok(());
    }
    let ((left, keys), (right, other)) = (front(prepared, pe, scores, Axis::X)?, front(prepared, pe, values, Axis::Y)?);
    if left.first() != right.first() || keys != other {
        return Err(format!("piece {:?} of the scores meets piece {:?} of the values", left.first(), right.first()));
    }
    let (scores, values) = (pe.tile(scores)?, pe.tile(values)?);
    let rows = places(&values.rows, &keys)?;
    for (head, dims) in by_quotient(&result.inner, head_dim) {
        let at = places(&scores.inner, &keys.iter().map(|key| head * tokens + key).collect::<Vec<_>>())?;
        let wanted: Vec<u32> =
            dims.iter().map(|place| head / group * head_dim + result.inner[*place] % head_dim).collect();
        let (rows, columns) = (Rows::of_all(&rows), places(&values.inner, &wanted)?);
        add_weighted(rounding, WeightedTokens { scores, values, at: &at, rows, columns: &columns }, &mut result, &dims);
    }
    pe.put(output, result);
    Ok(())
}

/// Which way the pieces of a place move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The first piece goes to the next lower ring number.
    On,
    /// The last piece goes to the next higher one.
    Back,
    /// It rests.
    Rest,
}

/// A piece on its way around a ring.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Its number.
    pub number: u64,
    /// Which way it goes.
    pub way: Way,
    /// Its elements.
    pub tile: Tile,
}

/// Takes the piece that a place sends out of its memory; nothing where the place rests. In a systolic loop every place
/// moves one piece on; elsewhere (`aligning`) it moves one on or back until its run begins where its layout says.
///
/// # Errors
/// Where the payload lies on no ring along the shift's axis, or has no piece here.
pub fn leave_ring(
    prepared: &Prepared,
    pe: &mut PeState,
    moved: &Shift,
    aligning: bool,
) -> Result<Option<Piece>, String> {
    let operand = Operand::new(moved.payload, 0);
    let field = prepared.field(operand)?;
    let Ringed { is_rows, ring, size } =
        ring_of(field, moved.axis).ok_or_else(|| format!("'{}' lies on no ring", field.name))?;
    let (mut queue, _) = front(prepared, pe, operand, moved.axis)?;
    let way = if aligning { way_to_layout(prepared, pe, operand, &ring, &queue) } else { Way::On };
    let number = match way {
        Way::Rest => return Ok(None),
        Way::On => queue.remove(0),
        Way::Back => queue.pop().unwrap_or(0),
    };
    let elements: Vec<u32> = ring.elements_of(size, number).into_iter().map(|element| element as u32).collect();
    let (tile, rest) = take(pe.tile(operand)?, &elements, is_rows, size);
    pe.put(operand, rest);
    pe.queues.insert((operand.buffer, moved.axis), queue);
    Ok(Some(Piece { number, way, tile }))
}

/// Puts a piece that has arrived behind the last one of a place (in front of the first where it came back).
///
/// # Errors
/// Where it does not fit what lies there.
pub fn join_ring(prepared: &Prepared, pe: &mut PeState, moved: &Shift, piece: Piece) -> Result<(), String> {
    let operand = Operand::new(moved.payload, 0);
    let field = prepared.field(operand)?;
    let Ringed { is_rows, .. } =
        ring_of(field, moved.axis).ok_or_else(|| format!("'{}' lies on no ring", field.name))?;
    let known = pe.tile(operand)?.clone();
    let joined = if is_rows { below(&known, &piece.tile)? } else { beside(&known, &piece.tile)? };
    incoming(prepared, pe, operand.buffer, &[joined], Arrival::Pass)?;
    let mut queue = match pe.queues.get(&(operand.buffer, moved.axis)) {
        Some(queue) => queue.clone(),
        None => front(prepared, pe, operand, moved.axis)?.0,
    };
    match piece.way {
        Way::Back => queue.insert(0, piece.number),
        _ => queue.push(piece.number),
    }
    pe.queues.insert((operand.buffer, moved.axis), queue);
    Ok(())
}

/// A shift around rings. In a systolic loop every place moves one piece on; elsewhere (`aligning`) a place moves one
/// piece on or back until its run begins where its layout says.
pub(super) fn shift(
    prepared: &Prepared,
    pes: &mut [PeState],
    step: &Step,
    moved: &Shift,
    aligning: bool,
) -> Result<(), String> {
    let transfers = step.transfers();
    let region = step.region;
    let mut moves: Vec<(usize, Piece)> = Vec::new();
    let members = (region.y..region.y + region.rows)
        .flat_map(|row| (region.x..region.x + region.columns).map(move |column| (column, row)));
    let mut next: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
    for one in &transfers {
        next.insert(prepared.index(one.from.0, one.from.1), prepared.index(one.to.0, one.to.1));
    }
    let before: std::collections::BTreeMap<usize, usize> = next.iter().map(|(from, to)| (*to, *from)).collect();
    for (column, row) in members {
        let index = prepared.index(column, row);
        let Some(pe) = pes.get_mut(index) else { return Err("a ring leaves the region".into()) };
        let Some(piece) = leave_ring(prepared, pe, moved, aligning)? else { continue };
        let to = if piece.way == Way::Back { before.get(&index) } else { next.get(&index) };
        moves.push((*to.unwrap_or(&index), piece));
    }
    for (to, piece) in moves {
        let Some(pe) = pes.get_mut(to) else { return Err("a ring leaves the region".into()) };
        join_ring(prepared, pe, moved, piece)?;
    }
    Ok(())
}

fn way_to_layout(prepared: &Prepared, pe: &PeState, operand: Operand, ring: &Ring, queue: &[u64]) -> Way {
    let wanted = place_of(prepared, operand, pe).and_then(|place| ring.pieces_at(place).first().copied());
    let (Some(wanted), Some(now)) = (wanted, queue.first()) else { return Way::Rest };
    let pieces = ring.pieces.max(1);
    match (wanted + pieces - now) % pieces {
        0 => Way::Rest,
        distance if distance <= pieces / 2 => Way::On,
        _ => Way::Back,
    }
}

/// Two tiles of the same columns, one below the other.
fn below(a: &Tile, b: &Tile) -> Result<Tile, String> {
    if a.inner != b.inner {
        return Err("tiles of different elements lie one below the other".into());
    }
    let rows = a.rows.iter().chain(b.rows.iter()).copied().collect();
    Ok(Tile { rows, inner: Arc::clone(&a.inner), values: [a.values.as_slice(), &b.values].concat() })
}

/// The elements of a piece, and what is left.
fn take(tile: &Tile, elements: &[u32], is_rows: bool, size: u64) -> (Tile, Tile) {
    let mut sorted = elements.to_vec();
    sorted.sort_unstable();
    let inside = |element: u32| sorted.binary_search(&(element % (size as u32).max(1))).is_ok();
    let part = |wanted: bool| -> Tile {
        if is_rows {
            let kept: Vec<usize> = (0..tile.rows.len()).filter(|row| inside(tile.rows[*row]) == wanted).collect();
            let values = kept.iter().flat_map(|row| tile.row(*row).iter().copied()).collect();
            let rows = kept.iter().map(|row| tile.rows[*row]).collect();
            Tile { rows, inner: Arc::clone(&tile.inner), values }
        } else {
            let kept: Vec<usize> = (0..tile.inner.len()).filter(|at| inside(tile.inner[*at]) == wanted).collect();
            let values = (0..tile.rows.len()).flat_map(|row| kept.iter().map(move |at| tile.row(row)[*at])).collect();
            let inner = kept.iter().map(|at| tile.inner[*at]).collect();
            Tile { rows: Arc::clone(&tile.rows), inner, values }
        }
    };
    (part(true), part(false))
}

/// A reduction whose root is, in round `round`, the place of ring number `round mod count` of each segment: partial
/// sums go from both ends to it.
pub(super) fn rotating(
    prepared: &Prepared,
    pes: &mut [PeState],
    step: &Step,
    chain: &ChainReduce,
    round: u64,
) -> Result<(), String> {
    let count = chain.count.max(1);
    let region = step.region;
    let at = |line: u64, index: u64| match chain.axis {
        Axis::X => prepared.index(region.x + index, region.y + line),
        Axis::Y => prepared.index(region.x + line, region.y + index),
    };
    for line in 0..region.along(chain.axis.across()) {
        for segment in 0..region.along(chain.axis) / count {
            let start = segment * count;
            let root = (0..count).find(|index| ring_number(count, *index) == round % count).unwrap_or(0);
            let forward = (0..root).map(|index| (index, index + 1));
            let backward = (root + 1..count).rev().map(|index| (index, index - 1));
            for (from, to) in forward.chain(backward) {
                let words = pes.get(at(line, start + from)).map(|pe| pe.buffer(chain.payload).to_vec());
                let Some(words) = words else { return Err("a chain leaves the region".into()) };
                let Some(receiver) = pes.get_mut(at(line, start + to)) else {
                    return Err("a chain leaves the region".into());
                };
                incoming(prepared, receiver, chain.payload, &words, Arrival::Combine(chain.operator))?;
            }
        }
    }
    Ok(())
}

/// Whether a step is a shift around rings.
pub(super) const fn ring_shift(step: &Step) -> Option<&Shift> {
    match &step.action {
        Action::Shift(shift) if shift.ring => Some(shift),
        _ => None,
    }
}

/// Rounds a resident tile to the format of its buffer.
pub(super) fn rounded(prepared: &Prepared, buffer: BufferId, mut values: Vec<f32>) -> Vec<f32> {
    Rounding::of(prepared.program.buffer_of(buffer).data_type).round_all(&mut values);
    values
}
