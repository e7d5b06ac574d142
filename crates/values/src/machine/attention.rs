//! Rotary embedding, attention over a cache and the cache itself, in one processing element.

use std::sync::Arc;

use wafersim_program::{BufferId, Operand};

use super::compute::{Context, places};
use super::rounding::Rounding;
use super::state::{PeState, Tile};

/// Rotates pairs `(i, i + head_dim / 2)`, which must lie here together.
pub(super) fn rope(
    context: &Context<'_>,
    pe: &mut PeState,
    x: Operand,
    head_dim: u64,
    position: u64,
) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let (head_dim, half) = (head_dim as u32, head_dim as u32 / 2);
    let frequencies = &context.tiles.checkpoint().rotary.frequencies;
    let tile = pe.tile_mut(x)?;
    let lower: Vec<u32> = tile.inner.iter().copied().filter(|element| element % head_dim < half).collect();
    let upper: Vec<u32> = lower.iter().map(|element| element + half).collect();
    if 2 * lower.len() != tile.inner.len() {
        return Err("a rotary pair is torn apart".into());
    }
    let (low, high) = (places(&tile.inner, &lower)?, places(&tile.inner, &upper)?);
    let rows = Arc::clone(&tile.rows);
    for (row, number) in rows.iter().enumerate() {
        let position = (position + u64::from(*number)) as f64;
        let values = tile.row_mut(row);
        for ((element, low), high) in lower.iter().zip(&low).zip(&high) {
            let frequency = frequencies.get((element % head_dim) as usize).copied().unwrap_or(f64::NAN);
            let (sine, cosine) = (position * frequency).sin_cos();
            let (sine, cosine) = (rounding.round(sine as f32), rounding.round(cosine as f32));
            let (a, b) = (values[*low], values[*high]);
            values[*low] = rounding.round(rounding.round(a * cosine) - rounding.round(b * sine));
            values[*high] = rounding.round(rounding.round(b * cosine) + rounding.round(a * sine));
        }
    }
    Ok(())
}

/// Elements that come in groups of neighbours with one quotient: (quotient, places), in order.
pub(super) fn by_quotient(inner: &[u32], divisor: u32) -> Vec<(u32, Vec<usize>)> {
    let mut groups: Vec<(u32, Vec<usize>)> = Vec::new();
    for (place, element) in inner.iter().enumerate() {
        let quotient = element / divisor.max(1);
        match groups.iter_mut().find(|(known, _)| *known == quotient) {
            Some((_, places)) => places.push(place),
            None => groups.push((quotient, vec![place])),
        }
    }
    groups
}

/// `scores[h, t] = sum of q[h, d] k[t, h / group, d]` over the dimensions here.
pub(super) fn scores(
    context: &Context<'_>,
    pe: &mut PeState,
    (query, keys, scores): (Operand, Operand, Operand),
    (group, head_dim): (u64, u64),
) -> Result<(), String> {
    let rounding = context.rounding(scores.buffer);
    let tokens = context.last_size(scores)?;
    let mut result = context.prepared.fresh(scores, context.index(pe), 0.0)?;
    let (query, keys) = (pe.tile(query)?, pe.tile(keys)?);
    let (head_dim, group) = (head_dim as u32, (group as u32).max(1));
    let heads = by_quotient(&query.inner, head_dim);
    for (head, at) in by_quotient(&result.inner, tokens) {
        let numbers: Vec<u32> = at.iter().map(|place| result.inner[*place] % tokens.max(1)).collect();
        let rows = places(&keys.rows, &numbers)?;
        let Some((_, dims)) = heads.iter().find(|(known, _)| *known == head) else { continue };
        let wanted: Vec<u32> =
            dims.iter().map(|place| head / group * head_dim + query.inner[*place] % head_dim).collect();
        let columns = places(&keys.inner, &wanted)?;
        for row in 0..query.rows.len() {
            let queries = query.row(row);
            for (at, key) in at.iter().zip(&rows) {
                let key = keys.row(*key);
                let mut sum = 0.0;
                for (dim, column) in dims.iter().zip(&columns) {
                    sum = rounding.round(sum + queries[*dim] * key[*column]);
                }
                result.row_mut(row)[*at] = sum;
            }
        }
    }
    pe.put(scores, result);
    Ok(())
}

/// `output[h, d] = sum of scores[h, t] v[t, h / group, d]` over the tokens here.
pub(super) fn weighted_values(
    context: &Context<'_>,
    pe: &mut PeState,
    (scores, values, output): (Operand, Operand, Operand),
    (group, head_dim): (u64, u64),
) -> Result<(), String> {
    let rounding = context.rounding(output.buffer);
    let tokens = context.last_size(scores)?;
    let mut result = context.prepared.fresh(output, context.index(pe), 0.0)?;
    let (scores, values) = (pe.tile(scores)?, pe.tile(values)?);
    let (head_dim, group) = (head_dim as u32, (group as u32).max(1));
    let heads = by_quotient(&scores.inner, tokens);
    for (head, dims) in by_quotient(&result.inner, head_dim) {
        let Some((_, at)) = heads.iter().find(|(known, _)| *known == head) else { continue };
        let numbers: Vec<u32> = at.iter().map(|place| scores.inner[*place] % tokens.max(1)).collect();
        let rows = places(&values.rows, &numbers)?;
        add_weighted(rounding, (scores, values), &mut result, (head / group * head_dim, head_dim), &dims, (at, &rows))?;
    }
    pe.put(output, result);
    Ok(())
}

/// `output[d] += sum of scores[t] v[t, first + d]` for the dimensions of a head that lie in the places `dims` of the output,
/// and tokens at `(place of the score, row of the value)`.
pub(super) fn add_weighted(
    rounding: Rounding,
    (scores, values): (&Tile, &Tile),
    output: &mut Tile,
    (first, head_dim): (u32, u32),
    dims: &[usize],
    (at, rows): (&[usize], &[usize]),
) -> Result<(), String> {
    let wanted: Vec<u32> = dims.iter().map(|place| first + output.inner[*place] % head_dim).collect();
    let columns = places(&values.inner, &wanted)?;
    for row in 0..scores.rows.len() {
        let weights = scores.row(row);
        let sums = output.row_mut(row);
        for (at, token) in at.iter().zip(rows) {
            let value = values.row(*token);
            for (dim, column) in dims.iter().zip(&columns) {
                sums[*dim] = rounding.round(sums[*dim] + weights[*at] * value[*column]);
            }
        }
    }
    Ok(())
}

/// Whether a key is seen by a query: all, or those not after it.
const fn seen(causal: Option<u64>, row: u32, token: u32) -> bool {
    match causal {
        None => true,
        Some(position) => token as u64 <= position + row as u64,
    }
}

/// Largest score of each head.
pub(super) fn maximum(
    context: &Context<'_>,
    pe: &mut PeState,
    scores: Operand,
    statistic: Operand,
    causal: Option<u64>,
) -> Result<(), String> {
    let tokens = context.last_size(scores)?.max(1);
    let mut result = context.prepared.fresh(statistic, context.index(pe), f32::NEG_INFINITY)?;
    let source = pe.tile(scores)?;
    let heads = heads_of(source, &result, tokens)?;
    for (row, number) in source.rows.iter().enumerate() {
        let most = result.row_mut(row);
        for ((value, head), element) in source.row(row).iter().zip(&heads).zip(source.inner.iter()) {
            if seen(causal, *number, element % tokens) {
                most[*head] = most[*head].max(*value);
            }
        }
    }
    pe.put(statistic, result);
    Ok(())
}

fn heads_of(scores: &Tile, statistic: &Tile, tokens: u32) -> Result<Vec<usize>, String> {
    places(&statistic.inner, &scores.inner.iter().map(|element| element / tokens).collect::<Vec<_>>())
}

/// `exp(scale (score - maximum))`, and their sum in place of the maximum.
pub(super) fn exp_and_sum(
    context: &Context<'_>,
    pe: &mut PeState,
    (scores, statistic, target): (Operand, Operand, Operand),
    (scale, causal): (f64, Option<u64>),
) -> Result<(), String> {
    let rounding = context.rounding(scores.buffer);
    let scale = rounding.round(scale as f32);
    let tokens = context.last_size(scores)?.max(1);
    let most = pe.tile(statistic)?.clone();
    let mut sums = Tile { values: vec![0.0; most.values.len()], ..most.clone() };
    let table = pe.tile_mut(scores)?;
    let heads = heads_of(table, &most, tokens)?;
    let (rows, inner) = (Arc::clone(&table.rows), Arc::clone(&table.inner));
    for (row, number) in rows.iter().enumerate() {
        let (most, sums) = (most.row(row), sums.row_mut(row));
        for ((value, head), element) in table.row_mut(row).iter_mut().zip(&heads).zip(inner.iter()) {
            *value = if seen(causal, *number, element % tokens) {
                rounding.round(rounding.round(rounding.round(*value - most[*head]) * scale).exp())
            } else {
                0.0
            };
            sums[*head] = rounding.round(sums[*head] + *value);
        }
    }
    pe.put(target, sums);
    Ok(())
}

/// Division by the sums.
pub(super) fn normalise(
    context: &Context<'_>,
    pe: &mut PeState,
    scores: Operand,
    statistic: Operand,
) -> Result<(), String> {
    let rounding = context.rounding(scores.buffer);
    let tokens = context.last_size(scores)?.max(1);
    let sums = pe.tile(statistic)?.clone();
    let table = pe.tile_mut(scores)?;
    let heads = heads_of(table, &sums, tokens)?;
    for row in 0..table.rows.len() {
        let sums = sums.row(row);
        for (value, head) in table.row_mut(row).iter_mut().zip(&heads) {
            *value = rounding.round(*value / sums[*head]);
        }
    }
    Ok(())
}

/// Copies the entries that the layout after an append no longer holds here.
pub(super) fn leave(
    context: &Context<'_>,
    pe: &mut PeState,
    before: BufferId,
    after: BufferId,
    entry: BufferId,
) -> Result<(), String> {
    let index = context.index(pe);
    for field in 0..2 {
        let Some((staying, _)) = context.prepared.held(Operand::new(after, field), index) else { continue };
        let known = pe.tile(Operand::new(before, field))?;
        let leaving: Vec<usize> = (0..known.rows.len()).filter(|row| !staying.contains(&known.rows[*row])).collect();
        let rows = leaving.iter().map(|row| known.rows[*row]).collect();
        let values = leaving.iter().flat_map(|row| known.row(*row).iter().copied()).collect();
        let tile = Tile { rows, inner: Arc::clone(&known.inner), values };
        pe.put(Operand::new(entry, field), tile);
    }
    Ok(())
}

/// Puts the cache after an append together.
pub(super) fn enter(
    context: &Context<'_>,
    pe: &mut PeState,
    (before, entry, after): (BufferId, BufferId, BufferId),
    new: [Operand; 2],
    token: u64,
) -> Result<(), String> {
    let index = context.index(pe);
    let rounding = context.rounding(after);
    for (field, new) in (0..).zip(new) {
        let target = Operand::new(after, field);
        let mut cache = context.prepared.fresh(target, index, 0.0)?;
        let (rows, inner) = (Arc::clone(&cache.rows), Arc::clone(&cache.inner));
        for (row, number) in rows.iter().enumerate() {
            let stored = [before, entry].into_iter().find_map(|buffer| {
                let tile = pe.tile(Operand::new(buffer, field)).ok()?;
                let at = tile.rows.iter().position(|known| known == number)?;
                (tile.inner == inner).then(|| tile.row(at))
            });
            if let Some(stored) = stored {
                cache.row_mut(row).copy_from_slice(stored);
            } else if u64::from(*number) == token {
                let tile = pe.tile(new)?;
                let columns = places(&tile.inner, &inner)?;
                for (value, column) in cache.row_mut(row).iter_mut().zip(columns) {
                    *value = rounding.round(tile.row(0)[column]);
                }
            } else {
                return Err(format!(
                    "token {number} of the cache has not arrived at column {}, row {}",
                    pe.column, pe.row
                ));
            }
        }
        pe.put(target, cache);
    }
    Ok(())
}
