//! What moves between processing elements: chains, multicasts and shifts transfer by transfer, relayouts by meaning.

use std::sync::Arc;

use rayon::prelude::*;
use wafersim_program::{Action, Axis, Broadcast, BufferId, Operand, ReduceOperator, Relayout, Shift, Step};

use super::pieces;
use super::prepared::Prepared;
use super::rounding::Rounding;
use super::state::{PeState, Tile};

/// What an arriving payload does to what lies in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Takes its place; the layout must say that these elements lie there.
    Store,
    /// Takes its place, whatever it holds (a ring, an entry of a cache).
    Pass,
    /// Is combined with it, element by element; both must hold the same elements.
    Combine(ReduceOperator),
}

/// The words that a processing element sends of a buffer.
pub fn outgoing(pe: &PeState, payload: BufferId) -> Vec<Tile> {
    pe.buffer(payload).to_vec()
}

/// What the words do at their receiver.
///
/// # Errors
/// Where they are not what the receiver's layout, or its own partial result, says.
pub fn incoming(
    prepared: &Prepared,
    pe: &mut PeState,
    payload: BufferId,
    words: &[Tile],
    arrival: Arrival,
) -> Result<(), String> {
    let buffer = prepared.program.buffer_of(payload);
    let (column, row) = (pe.column, pe.row);
    let here = || format!("'{}' at column {column}, row {row}", buffer.name);
    let index = prepared.index(pe.column, pe.row);
    let Some(own) = pe.buffers.get_mut(payload.index()) else { return Err(format!("there is no {}", here())) };
    match arrival {
        Arrival::Pass => pe.store(payload, words),
        Arrival::Store => {
            for (field, tile) in (0..).zip(words) {
                match prepared.held(Operand::new(payload, field), index) {
                    Some((rows, inner)) if tile.is_like(rows, inner) => {}
                    _ => return Err(format!("{}: other elements arrive than its layout says", here())),
                }
            }
            pe.store(payload, words);
        }
        Arrival::Combine(operator) => {
            let rounding = Rounding::of(buffer.data_type);
            if own.len() != words.len() {
                return Err(format!("{}: {} fields meet {}", here(), words.len(), own.len()));
            }
            for (own, tile) in own.iter_mut().zip(words) {
                if !own.is_like(&tile.rows, &tile.inner) {
                    return Err(format!("{}: partial results of different elements meet", here()));
                }
                combine(operator, rounding, &mut own.values, &tile.values);
            }
        }
    }
    Ok(())
}

/// Combines what arrived with what lies here, element by element (pair by pair for `ArgMax`).
pub fn combine(operator: ReduceOperator, rounding: Rounding, own: &mut [f32], arrived: &[f32]) {
    match operator {
        ReduceOperator::Add => own.iter_mut().zip(arrived).for_each(|(own, other)| *own = rounding.round(*own + other)),
        ReduceOperator::Max => own.iter_mut().zip(arrived).for_each(|(own, other)| *own = own.max(*other)),
        ReduceOperator::ArgMax => {
            for (own, other) in own.chunks_exact_mut(2).zip(arrived.chunks_exact(2)) {
                if other[0] > own[0] || (other[0] == own[0] && other[1] < own[1]) {
                    own.copy_from_slice(other);
                }
            }
        }
    }
}

/// Runs a transfer step.
///
/// # Errors
/// Where it moves other elements than the layouts say.
pub fn transfer(prepared: &Prepared, pes: &mut [PeState], step: &Step) -> Result<(), String> {
    let (payload, arrival) = match &step.action {
        Action::ChainReduce(chain) => (chain.payload, Arrival::Combine(chain.operator)),
        Action::Multicast(cast) => (cast.payload, Arrival::Store),
        Action::Broadcast(cast) => return broadcast(prepared, pes, step, cast),
        Action::ReduceScatter(_) | Action::AllGather(_) => return pieces::transfer(prepared, pes, step),
        Action::Shift(shift) => return shift_all(prepared, pes, step, shift),
        Action::Relayout(moved) => return relayout(prepared, pes, step, moved),
        Action::Compute(_) | Action::RouteChange(_) | Action::Synchronise(_) => return Ok(()),
    };
    // Those of a chain come from the outside to the root.
    for one in step.transfers() {
        let (from, to) = (prepared.index(one.from.0, one.from.1), prepared.index(one.to.0, one.to.1));
        let Ok([sender, receiver]) = pes.get_disjoint_mut([from, to]) else {
            return Err("a transfer leaves the region".into());
        };
        incoming(prepared, receiver, payload, sender.buffer(payload), arrival)?;
    }
    Ok(())
}

/// One sends, all others of the region store it.
fn broadcast(prepared: &Prepared, pes: &mut [PeState], step: &Step, cast: &Broadcast) -> Result<(), String> {
    let region = step.region;
    let from = prepared.index(region.x + cast.column, region.y + cast.row);
    let words = pes.get(from).map(|pe| outgoing(pe, cast.payload)).ok_or("a broadcast begins outside its region")?;
    let columns = region.x..region.x + region.columns;
    let rows = region.y..region.y + region.rows;
    let others = pes.par_iter_mut().enumerate().filter(|(index, _)| *index != from);
    let others = others.filter(|(_, pe)| columns.contains(&pe.column) && rows.contains(&pe.row));
    others.map(|(_, pe)| incoming(prepared, pe, cast.payload, &words, Arrival::Store)).collect()
}

/// All send at the same time; who receives nothing is left with nothing.
fn shift_all(prepared: &Prepared, pes: &mut [PeState], step: &Step, shift: &Shift) -> Result<(), String> {
    let (region, payload) = (step.region, shift.payload);
    if region.along(shift.axis) <= 1 {
        return Ok(());
    }
    let transfers = step.transfers();
    let mut moving = Vec::with_capacity(transfers.len());
    for one in &transfers {
        let sender = pes.get_mut(prepared.index(one.from.0, one.from.1));
        moving.push(sender.and_then(|pe| pe.buffers.get_mut(payload.index())).map(std::mem::take).unwrap_or_default());
    }
    for pe in pes.iter_mut().filter(|pe| region.seen(pe.column, pe.row).is_some()) {
        pe.receive(payload, Vec::new());
    }
    for (one, words) in transfers.iter().zip(moving) {
        let receiver = pes.get_mut(prepared.index(one.to.0, one.to.1));
        receiver.ok_or("a transfer leaves the region")?.receive(payload, words);
    }
    Ok(())
}

/// An element that somebody on a line holds: which, who, its value.
type Held = (Key, u64, f32);

/// A row, an element of it, and which of several rows of that number in one tile (pairs of a token with several
/// experts).
type Key = (u32, u32, u32);

/// Every processing element gets what the target's layout says from those of its line that hold it. Lines do not know
/// each other: they are collected in any order and stored in one.
fn relayout(prepared: &Prepared, pes: &mut [PeState], step: &Step, moved: &Relayout) -> Result<(), String> {
    let known: &[PeState] = pes;
    let lines = (0..step.region.along(moved.axis.across())).into_par_iter();
    let collected = lines.map(|line| relayout_line(prepared, known, step, moved, line));
    for (member, target, tile) in collected.collect::<Result<Vec<_>, String>>()?.into_iter().flatten() {
        if let Some(pe) = pes.get_mut(member) {
            pe.put(target, tile);
        }
    }
    Ok(())
}

/// A tile for a field of a processing element.
type Collected = (usize, Operand, Tile);

fn relayout_line(
    prepared: &Prepared,
    pes: &[PeState],
    step: &Step,
    moved: &Relayout,
    line: u64,
) -> Result<Vec<Collected>, String> {
    let region = step.region;
    let members: Vec<usize> = (0..region.along(moved.axis))
        .map(|index| match moved.axis {
            Axis::X => prepared.index(region.x + index, region.y + line),
            Axis::Y => prepared.index(region.x + line, region.y + index),
        })
        .collect();
    let mut collected = Vec::new();
    let layout = |buffer: BufferId| prepared.program.buffer_of(buffer).layout.as_ref();
    let (Some(from), Some(to)) = (layout(moved.source), layout(moved.target)) else {
        return Err("a relayout between buffers without layouts".into());
    };
    for (target_field, field) in (0u32..).zip(&to.fields) {
        let target = Operand::new(moved.target, target_field);
        let sources = moved.sources(from, to, target_field as usize);
        if sources.is_empty() {
            let names = [moved.source, moved.target].map(|buffer| &prepared.program.buffer_of(buffer).name);
            return Err(format!("'{}' has no field '{}' for '{}'", names[0], field.name, names[1]));
        }
        let sources: Vec<Operand> = sources.iter().map(|(number, _)| Operand::new(moved.source, *number)).collect();
        let held = held_on_line(pes, &members, &sources);
        for (index, member) in (0u64..).zip(&members) {
            let Some(pe) = pes.get(*member) else { continue };
            if let Some(tile) = gather(prepared, pe, (index, *member), &held, (moved, target))? {
                collected.push((*member, target, tile));
            }
        }
    }
    Ok(collected)
}

/// What one member of a line collects of a field.
fn gather(
    prepared: &Prepared,
    pe: &PeState,
    (index, member): (u64, usize),
    held: &[Held],
    (moved, target): (&Relayout, Operand),
) -> Result<Option<Tile>, String> {
    let Some((rows, inner)) = prepared.held(target, member) else { return Ok(None) };
    let buffer = prepared.program.buffer_of(moved.target);
    let rounding = Rounding::of(buffer.data_type);
    let mut tile = Tile::filled(Arc::clone(rows), Arc::clone(inner), 0.0);
    if moved.accumulate
        && let Ok(known) = pe.tile(target)
        && known.is_like(rows, inner)
    {
        tile.values.copy_from_slice(&known.values);
    }
    for (value, key) in tile.values.iter_mut().zip(keys(rows, inner)) {
        let first = held.partition_point(|held| held.0 < (key.0, key.1, 0));
        let of_element = |held: &&Held| (held.0.0, held.0.1) == (key.0, key.1);
        let owners = held.get(first..).unwrap_or(&[]).iter().take_while(of_element);
        if moved.accumulate {
            owners.for_each(|held| *value = rounding.round(*value + held.2));
            continue;
        }
        // A row that the source has once serves every row of that number.
        let several = owners.clone().any(|held| held.0.2 > 0);
        let copies = owners.filter(|held| held.0.2 == if several { key.2 } else { 0 });
        let nearest = copies.clone().min_by_key(|held| (held.1.abs_diff(index), held.1));
        let Some(nearest) = nearest else {
            return Err(format!(
                "column {}, row {} wants element {} of row {} for '{}', which nobody on its line holds",
                pe.column, pe.row, key.1, key.0, buffer.name
            ));
        };
        if copies.into_iter().any(|held| held.2.to_bits() != nearest.2.to_bits()) {
            let source = &prepared.program.buffer_of(moved.source).name;
            return Err(format!("copies of an element of '{source}' differ from each other"));
        }
        *value = nearest.2;
    }
    Ok(Some(tile))
}

/// The keys of a tile's elements, in the order in which they lie.
fn keys(rows: &[u32], inner: &[u32]) -> impl Iterator<Item = Key> {
    rows.iter().enumerate().flat_map(move |(at, row)| {
        let before = rows.iter().take(at).filter(|known| *known == row).count() as u32;
        inner.iter().map(move |element| (*row, *element, before))
    })
}

/// What the members of a line hold of some fields, ordered by element and then by place.
fn held_on_line(pes: &[PeState], members: &[usize], sources: &[Operand]) -> Vec<Held> {
    let mut held = Vec::new();
    for source in sources {
        for (index, member) in (0u64..).zip(members) {
            let Some(Ok(tile)) = pes.get(*member).map(|pe| pe.tile(*source)) else { continue };
            held.extend(keys(&tile.rows, &tile.inner).zip(&tile.values).map(|(key, value)| (key, index, *value)));
        }
    }
    held.sort_by_key(|held| (held.0, held.1));
    held
}
