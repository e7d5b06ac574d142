//! Sparse attention in one processing element: scores of an indexer, the search for the best, and what was chosen side
//! by side.

use std::sync::Arc;

use half::{bf16, f16};
use wafersim_program::formula::Causal;
use wafersim_program::{BufferId, GainName, Operand};
use wafersim_spec::DataType;

use super::attention::seen;
use super::compute::Context;
use super::group::places;
use super::state::{PeState, Tile};
use super::weights::TileName;

/// What stands where there is no token: less than any score, and finite in every format, so that a place without any
/// has a maximum that a difference can be taken from.
const NOTHING: f32 = -65504.0;

/// `x[e] += vector[e mod width]`.
pub(super) fn add_vector(
    context: &Context<'_>,
    pe: &mut PeState,
    x: Operand,
    vector: GainName,
    width: u64,
) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let vector = context.tiles.vector(&TileName::plain(context.name(vector.role, vector.copy)), false)?;
    let tile = pe.tile_mut(x)?;
    let inner = Arc::clone(&tile.inner);
    for row in 0..tile.rows.len() {
        for (value, element) in tile.row_mut(row).iter_mut().zip(inner.iter()) {
            let added = vector.get((u64::from(*element) % width.max(1)) as usize).copied().unwrap_or(f32::NAN);
            *value = rounding.round(*value + added);
        }
    }
    Ok(())
}

/// `index[t] = sum of weights[h] max(scores[h, t], 0)` over the heads here.
pub(super) fn index_sum(
    context: &Context<'_>,
    pe: &mut PeState,
    [scores, weights, index]: [Operand; 3],
) -> Result<(), String> {
    let rounding = context.rounding(index.buffer);
    let tokens = context.last_size(scores)?.max(1);
    let mut result = pe.fresh(context.prepared, index, 0.0)?;
    let (scores, weights) = (pe.tile(scores)?, pe.tile(weights)?);
    let heads: Vec<u32> = scores.inner.iter().map(|element| element / tokens).collect();
    let of_head = places(&weights.inner, &heads)?;
    let of_token = places(&result.inner, &scores.inner.iter().map(|element| element % tokens).collect::<Vec<_>>())?;
    for row in 0..scores.rows.len() {
        let (products, weights) = (scores.row(row), weights.row(row));
        let sums = result.row_mut(row);
        for ((product, head), token) in products.iter().zip(&of_head).zip(&of_token) {
            sums[*token] = rounding.round(sums[*token] + weights[*head] * product.max(0.0));
        }
    }
    pe.put(index, result);
    Ok(())
}

/// The bits of a number in the order of numbers, the first of 32 where it has fewer.
fn key(context: &Context<'_>, buffer: BufferId, value: f32) -> Result<u32, String> {
    // Nothing stands beside both zeros.
    let value = if value == 0.0 { 0.0 } else { value };
    let (bits, rest) = match context.prepared.program.buffer_of(buffer).data_type {
        DataType::Fp16 => (u32::from(f16::from_f32(value).to_bits()) << 16, 0xffff),
        DataType::Bf16 => (u32::from(bf16::from_f32(value).to_bits()) << 16, 0xffff),
        DataType::Fp32 => (value.to_bits(), 0),
        other => return Err(format!("scores in {other} are not compared bit by bit")),
    };
    Ok(if bits >> 31 == 0 { bits | 1 << 31 } else { !bits & !rest })
}

/// Tokens here that a row sees, with their keys.
fn keys(
    context: &Context<'_>,
    index: Operand,
    (tile, row): (&Tile, usize),
    causal: Option<Causal>,
) -> Result<Vec<(u32, u32)>, String> {
    let number = tile.rows.get(row).copied().unwrap_or(0);
    let values = tile.inner.iter().zip(tile.row(row)).filter(|(token, _)| seen(causal, number, **token));
    values.map(|(token, value)| Ok((*token, key(context, index.buffer, *value)?))).collect()
}

/// A bound lies in two halves, whole numbers that a 32-bit float holds.
const HALF: u32 = 16;

fn bound_of(bounds: &Tile, row: usize) -> u32 {
    bounds.row(row).iter().fold(0, |bound, half| bound << HALF | *half as u32)
}

/// How many tokens here reach each of the bounds that a digit may make.
pub(super) fn count_reaching(
    context: &Context<'_>,
    pe: &mut PeState,
    [index, bound, counts]: [Operand; 3],
    shift: u32,
    causal: Option<Causal>,
) -> Result<(), String> {
    if pe.tile(bound).is_err() {
        let zeros = pe.fresh(context.prepared, bound, 0.0)?;
        pe.put(bound, zeros);
    }
    let mut result = pe.fresh(context.prepared, counts, 0.0)?;
    let (tokens, bounds) = (pe.tile(index)?, pe.tile(bound)?);
    for row in 0..tokens.rows.len() {
        let (keys, bound) = (keys(context, index, (tokens, row), causal)?, bound_of(bounds, row));
        for (count, digit) in result.row_mut(row).iter_mut().zip(1..) {
            let wanted = bound + (digit << shift);
            *count = keys.iter().filter(|(_, key)| *key >= wanted).count() as f32;
        }
    }
    pe.put(counts, result);
    Ok(())
}

/// The largest of the bounds that enough tokens reach.
pub(super) fn narrow(pe: &mut PeState, [counts, bound]: [Operand; 2], top_k: u64, shift: u32) -> Result<(), String> {
    let (bounds, counts) = pe.tile_beside(bound, counts)?;
    for row in 0..bounds.rows.len() {
        let reached = counts.row(row).iter().filter(|count| **count >= top_k as f32).count() as u32;
        let bound = bound_of(bounds, row) + (reached << shift);
        for (half, value) in bounds.row_mut(row).iter_mut().zip([bound >> HALF, bound & ((1 << HALF) - 1)]) {
            *half = value as f32;
        }
    }
    Ok(())
}

/// What is put side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    pub index: Operand,
    pub bound: Operand,
    pub cache: [Operand; 2],
    pub packed: [Operand; 2],
    pub filled: Operand,
    pub users: u64,
    pub causal: Option<Causal>,
}

/// The entries of the chosen tokens, for each row of new tokens by itself.
pub(super) fn pack(context: &Context<'_>, pe: &mut PeState, of: Packing) -> Result<(), String> {
    let mut filled = pe.fresh(context.prepared, of.filled, 0.0)?;
    let mut packed = Vec::new();
    for (target, source) in of.packed.into_iter().zip(of.cache) {
        packed.push((target, source, pe.fresh(context.prepared, target, 0.0)?));
    }
    let (index, bounds) = (pe.tile(of.index)?, pe.tile(of.bound)?);
    let (caches, own) = ((of.users.max(1)) as u32, (index.rows.len() as u32).max(1));
    for row in 0..index.rows.len() {
        let (number, bound) = (index.rows.get(row).copied().unwrap_or(0), bound_of(bounds, row));
        let chosen: Vec<u32> = keys(context, of.index, (index, row), of.causal)?
            .into_iter()
            .filter(|(_, key)| *key >= bound)
            .map(|(token, _)| token * caches + number % caches)
            .collect();
        let slots: Vec<usize> = (0..filled.rows.len()).filter(|slot| filled.rows[*slot] % own == number).collect();
        if chosen.len() > slots.len() {
            let (here, room) = (chosen.len(), slots.len());
            return Err(format!(
                "{here} chosen tokens lie at column {}, row {}, which has room for {room}",
                pe.column, pe.row
            ));
        }
        for (slot, entry) in slots.iter().zip(&chosen) {
            filled.row_mut(*slot).fill(1.0);
            for (_, source, tile) in &mut packed {
                let cache = pe.tile(*source)?;
                let from = places(&cache.rows, &[*entry])?;
                if cache.inner != tile.inner {
                    return Err("chosen entries lie over other columns than the cache".into());
                }
                let from = from.first().map_or(&[] as &[f32], |row| cache.row(*row));
                tile.row_mut(*slot).copy_from_slice(from);
            }
        }
    }
    pe.put(of.filled, filled);
    packed.into_iter().for_each(|(target, _, tile)| pe.put(target, tile));
    Ok(())
}

/// Scores of places without a token.
pub(super) fn mask(context: &Context<'_>, pe: &mut PeState, scores: Operand, filled: Operand) -> Result<(), String> {
    let slots = context.last_size(scores)?.max(1);
    let filled = pe.tile(filled)?.clone();
    let tile = pe.tile_mut(scores)?;
    let own = (tile.rows.len() as u32).max(1);
    let (rows, inner) = (Arc::clone(&tile.rows), Arc::clone(&tile.inner));
    for (row, number) in rows.iter().enumerate() {
        let wanted: Vec<u32> = inner.iter().map(|element| element % slots * own + number).collect();
        for (value, at) in tile.row_mut(row).iter_mut().zip(places(&filled.rows, &wanted)?) {
            if filled.row(at).first().is_none_or(|mark| *mark == 0.0) {
                *value = NOTHING;
            }
        }
    }
    Ok(())
}
