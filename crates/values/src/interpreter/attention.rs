//! Rotary embedding, attention over a cache and the cache itself, in one processing element.

use std::sync::Arc;

use wafersim_program::Operand;
use wafersim_program::formula::{Causal, ScorePart, Sinks};
use wafersim_spec::model::Role;

use super::cache::{Rows, RowsOfUsers};
use super::compute::Context;
use super::group::{Remembered, by_quotient, not_here, places};
use super::rounding::Rounding;
use super::state::{PeState, Tile, same};

/// A rotation of the leading dimensions of heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    pub head_dim: u64,
    /// Dimensions that are rotated.
    pub rotary: u64,
    /// Position of row 0.
    pub position: u64,
    /// Rows of one position.
    pub users: u64,
}

/// Rotates pairs `(i, i + rotary / 2)`, which must lie here together.
pub(super) fn rope(
    context: &Context<'_>,
    pe: &mut PeState,
    x: Operand,
    Rotation { head_dim, rotary, position, users }: Rotation,
) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let (head_dim, rotary) = (head_dim as u32, rotary.min(head_dim) as u32);
    let half = rotary / 2;
    let tile = pe.tile_mut(x)?;
    let inner = Arc::clone(&tile.inner);
    let rotated = inner.iter().filter(|element| *element % head_dim < rotary).count();
    let mut pairs = Vec::with_capacity(rotated / 2);
    for (low, element) in inner.iter().enumerate().filter(|(_, element)| *element % head_dim < half) {
        // Nearly always they lie at one distance.
        let guess = pairs.last().map_or(low + 1, |(before, partner, _)| low + partner - before);
        let is_there = inner.get(guess) == Some(&(element + half));
        let high = if is_there { Some(guess) } else { inner.iter().position(|other| *other == element + half) };
        pairs.push((low, high.ok_or_else(|| not_here(element + half))?, (element % head_dim) as usize));
    }
    if 2 * pairs.len() != rotated {
        return Err("a rotary pair is torn apart".into());
    }
    for row in 0..tile.rows.len() {
        let turns = context.tiles.turned(position + u64::from(tile.rows[row]) / users.max(1))?;
        let values = tile.row_mut(row);
        for (low, high, frequency) in &pairs {
            let [sine, cosine] = turns.get(*frequency).copied().unwrap_or([f32::NAN; 2]).map(|x| rounding.round(x));
            let (a, b) = (values[*low], values[*high]);
            values[*low] = rounding.round(rounding.round(a * cosine) - rounding.round(b * sine));
            values[*high] = rounding.round(rounding.round(b * cosine) + rounding.round(a * sine));
        }
    }
    Ok(())
}

/// Who shares keys and values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharing {
    /// Query heads of a KV head.
    pub group: u64,
    /// Users, each with a cache of its own.
    pub users: u64,
}

/// `scores[h, t] = sum of q[h, d] k[t, h / group, d]` over the dimensions here, part by part.
pub(super) fn scores(
    context: &Context<'_>,
    pe: &mut PeState,
    parts: &[ScorePart],
    scores: Operand,
    sharing: Sharing,
) -> Result<(), String> {
    let tokens = context.last_size(scores)?;
    let mut result = pe.fresh(context.prepared, scores, 0.0)?;
    for part in parts {
        add_scores(context.rounding(scores.buffer), pe, *part, &mut result, tokens, sharing)?;
    }
    pe.put(scores, result);
    Ok(())
}

fn add_scores(
    rounding: Rounding,
    pe: &PeState,
    ScorePart { query, keys, head_dim }: ScorePart,
    result: &mut Tile,
    tokens: u32,
    Sharing { group, users }: Sharing,
) -> Result<(), String> {
    let (query, keys) = (pe.tile(query)?, pe.tile(keys)?);
    let (head_dim, group, tokens) = (head_dim as u32, (group as u32).max(1), tokens.max(1));
    let heads = by_quotient(&query.inner, head_dim);
    let inner = Arc::clone(&result.inner);
    let (mut cached, mut columns) = (RowsOfUsers::new(keys, users), Remembered::default());
    for (head, at) in by_quotient(&inner, tokens) {
        let rows = cached.of(at.iter().map(|place| inner[*place] % tokens))?;
        let Some((_, dims)) = heads.iter().find(|(known, _)| *known == head) else { continue };
        let wanted = dims.iter().map(|place| head / group * head_dim + query.inner[*place] % head_dim);
        let columns = columns.places(&keys.inner, wanted)?;
        for row in 0..query.rows.len() {
            let queries = query.row(row);
            for (at, key) in at.iter().zip(rows.for_row(query.rows[row])) {
                let key = keys.row(*key);
                let sum = &mut result.row_mut(row)[*at];
                for (dim, column) in dims.iter().zip(columns) {
                    *sum = rounding.round(*sum + queries[*dim] * key[*column]);
                }
            }
        }
    }
    Ok(())
}

/// `output[h, d] = sum of scores[h, t] v[t, h / group, d]` over the tokens here.
pub(super) fn weighted_values(
    context: &Context<'_>,
    pe: &mut PeState,
    [scores, values, output]: [Operand; 3],
    head_dim: u64,
    Sharing { group, users }: Sharing,
) -> Result<(), String> {
    let rounding = context.rounding(output.buffer);
    let tokens = context.last_size(scores)?;
    let mut result = pe.fresh(context.prepared, output, 0.0)?;
    let (scores, values) = (pe.tile(scores)?, pe.tile(values)?);
    let (head_dim, group) = (head_dim as u32, (group as u32).max(1));
    let heads = by_quotient(&scores.inner, tokens);
    let (mut cached, mut columns) = (RowsOfUsers::new(values, users), Remembered::default());
    for (head, dims) in by_quotient(&result.inner, head_dim) {
        let Some((_, at)) = heads.iter().find(|(known, _)| *known == head) else { continue };
        let rows = cached.of(at.iter().map(|place| scores.inner[*place] % tokens.max(1)))?;
        let first = head / group * head_dim;
        let wanted = dims.iter().map(|place| first + result.inner[*place] % head_dim);
        let columns = columns.places(&values.inner, wanted)?;
        add_weighted(rounding, WeightedTokens { scores, values, at, rows, columns }, &mut result, &dims);
    }
    pe.put(output, result);
    Ok(())
}

/// Tokens whose values are weighed for a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightedTokens<'t> {
    /// Weights.
    pub scores: &'t Tile,
    /// Values.
    pub values: &'t Tile,
    /// Where the weights of the tokens lie in a row of scores.
    pub at: &'t [usize],
    /// The rows of their values.
    pub rows: Rows<'t>,
    /// Where the dimensions lie in a row of values.
    pub columns: &'t [usize],
}

/// `output[d] += sum of scores[t] v[t, d]` for the dimensions of a head that lie in the places `dims` of the output.
pub(super) fn add_weighted(rounding: Rounding, of: WeightedTokens<'_>, output: &mut Tile, dims: &[usize]) {
    let WeightedTokens { scores, values, at, rows, columns } = of;
    for row in 0..scores.rows.len() {
        let weights = scores.row(row);
        let sums = output.row_mut(row);
        for (at, token) in at.iter().zip(rows.for_row(scores.rows[row])) {
            let value = values.row(*token);
            for (dim, column) in dims.iter().zip(columns) {
                sums[*dim] = rounding.round(sums[*dim] + weights[*at] * value[*column]);
            }
        }
    }
}

/// Whether a key is seen by a query.
pub(super) fn seen(causal: Option<Causal>, row: u32, token: u32) -> bool {
    causal.is_none_or(|causal| causal.sees(u64::from(row), u64::from(token)))
}

/// Whose scores a step works on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Softmax {
    pub scores: Operand,
    pub statistic: Operand,
    pub causal: Option<Causal>,
    pub sinks: Option<Sinks>,
}

/// The sink logits, where they join here: in the first row of those that hold the statistic.
fn sinks_here<'a>(context: &Context<'a>, pe: &PeState, of: Softmax) -> Result<Option<&'a [f32]>, String> {
    let (Some(sinks), Some(layout)) = (of.sinks, &context.prepared.program.buffer_of(of.statistic.buffer).layout)
    else {
        return Ok(None);
    };
    match layout.place(pe.column, pe.row) {
        Some(place) if place.1 == 0 && sinks.columns.of(place) == Some(0) => {
            context.tiles.vector(&super::weights::TileName::plain(context.name(Role::Sinks, 0)), false).map(Some)
        }
        _ => Ok(None),
    }
}

/// Largest score of each head.
pub(super) fn maximum(context: &Context<'_>, pe: &mut PeState, of: Softmax) -> Result<(), String> {
    let Softmax { scores, statistic, causal, sinks } = of;
    let rounding = context.rounding(scores.buffer);
    let tokens = context.last_size(scores)?.max(1);
    let mut result = pe.fresh(context.prepared, statistic, f32::NEG_INFINITY)?;
    if let (Some(logits), Some(sinks)) = (sinks_here(context, pe, of)?, sinks) {
        let inner = Arc::clone(&result.inner);
        for row in 0..result.rows.len() {
            for (value, head) in result.row_mut(row).iter_mut().zip(inner.iter()) {
                let logit = logits.get(*head as usize).copied().unwrap_or(f32::NAN);
                *value = rounding.round(logit / sinks.scale as f32);
            }
        }
    }
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

/// `exp(scale (score - maximum))`, and their sum.
pub(super) fn exp_and_sum(
    context: &Context<'_>,
    pe: &mut PeState,
    of: Softmax,
    [exponentials, target]: [Operand; 2],
    scale: f64,
) -> Result<(), String> {
    let Softmax { scores, statistic, causal, sinks } = of;
    let rounding = context.rounding(scores.buffer);
    let factor = rounding.round(scale as f32);
    let tokens = context.last_size(scores)?.max(1);
    let mut sums = pe.copy(statistic, target)?;
    sums.values.fill(0.0);
    let exponential =
        |value: f32, most: f32| rounding.round(rounding.round(rounding.round(value - most) * factor).exp());
    if let (Some(logits), Some(sinks)) = (sinks_here(context, pe, of)?, sinks) {
        let most = pe.tile(statistic)?;
        for row in 0..sums.rows.len() {
            for ((sum, most), head) in sums.row_mut(row).iter_mut().zip(most.row(row)).zip(most.inner.iter()) {
                let logit = logits.get(*head as usize).copied().unwrap_or(f32::NAN);
                *sum = exponential(rounding.round(logit / sinks.scale as f32), *most);
            }
        }
    }
    pe.begin_with(exponentials, scores)?;
    let (table, most) = pe.tile_beside(exponentials, statistic)?;
    let heads = heads_of(table, most, tokens)?;
    let (rows, inner) = (Arc::clone(&table.rows), Arc::clone(&table.inner));
    for (row, number) in rows.iter().enumerate() {
        let (most, sums) = (most.row(row), sums.row_mut(row));
        for ((value, head), element) in table.row_mut(row).iter_mut().zip(&heads).zip(inner.iter()) {
            *value = if seen(causal, *number, element % tokens) { exponential(*value, most[*head]) } else { 0.0 };
            sums[*head] = rounding.round(sums[*head] + *value);
        }
    }
    put_spread(context, pe, sums, target)
}

/// Puts numbers in the place of an operand that may have a last dimension more: each of its elements gets the number
/// that it belongs to.
fn put_spread(context: &Context<'_>, pe: &mut PeState, source: Tile, operand: Operand) -> Result<(), String> {
    let laid = context.prepared.held(operand, context.index(pe));
    if laid.is_some_and(|(_, inner)| same(inner, &source.inner)) {
        pe.put(operand, source);
        return Ok(());
    }
    let mut target = pe.fresh(context.prepared, operand, 0.0)?;
    let last = context.last_size(operand)?.max(1);
    let columns = places(&source.inner, &target.inner.iter().map(|element| element / last).collect::<Vec<_>>())?;
    for row in 0..target.rows.len() {
        let known = source.row(row);
        for (value, column) in target.row_mut(row).iter_mut().zip(&columns) {
            *value = known.get(*column).copied().unwrap_or(f32::NAN);
        }
    }
    pe.put(operand, target);
    Ok(())
}

/// Sums over the last dimension.
pub(super) fn sum_of_last(context: &Context<'_>, pe: &mut PeState, x: Operand, sums: Operand) -> Result<(), String> {
    let rounding = context.rounding(sums.buffer);
    let last = context.last_size(x)?.max(1);
    let source = pe.tile(x)?;
    let groups = by_quotient(&source.inner, last);
    let inner: Arc<[u32]> = groups.iter().map(|(quotient, _)| *quotient).collect();
    let mut result = Tile::filled(Arc::clone(&source.rows), inner, 0.0);
    for row in 0..source.rows.len() {
        let values = source.row(row);
        for (sum, (_, places)) in result.row_mut(row).iter_mut().zip(&groups) {
            *sum = places.iter().fold(0.0, |sum, place| rounding.round(sum + values[*place]));
        }
    }
    put_spread(context, pe, result, sums)
}

/// What the scale of heads is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadScale {
    pub scores: Operand,
    pub keys: Operand,
    pub query_sums: Operand,
    pub key_sums: Operand,
    pub group: u64,
    pub width: u64,
    pub epsilon: f64,
    pub token: u64,
    pub users: u64,
    pub scale: f64,
}

/// Scores and new keys get the norms of their heads.
pub(super) fn head_scale(context: &Context<'_>, pe: &mut PeState, of: HeadScale) -> Result<(), String> {
    let rounding = context.rounding(of.scores.buffer);
    let tokens = context.last_size(of.scores)?.max(1);
    // Columns that are left over hold no heads.
    let roots = |pe: &PeState, operand: Operand, dimensions: usize| -> Result<Tile, String> {
        let field = context.prepared.field(operand)?;
        let last = if field.inner.len() > dimensions { context.last_size(operand)?.max(1) } else { 1 };
        let mut tile = pe.tile(operand)?.clone();
        tile.inner = tile.inner.iter().map(|element| element / last).collect();
        let root = |sum: f32| 1.0 / (sum / of.width as f32 + of.epsilon as f32).sqrt();
        tile.values.iter_mut().for_each(|value| *value = rounding.round(root(*value)));
        Ok(tile)
    };
    let (queries, keys) = (roots(pe, of.query_sums, 2)?, roots(pe, of.key_sums, 1)?);
    let table = pe.tile_mut(of.scores)?;
    let inner = Arc::clone(&table.inner);
    let heads = places(&queries.inner, &inner.iter().map(|element| element / tokens).collect::<Vec<_>>())?;
    let group = (of.group as u32).max(1);
    let users = of.users.max(1);
    // The row of a new token, from its row in the cache.
    let new = |row: u64| row.checked_sub(of.token * users).filter(|row| (*row as usize) < keys.rows.len());
    for row in 0..table.rows.len() {
        let user = u64::from(table.rows[row]) % users;
        let factors: Vec<f32> = queries.row(row).iter().map(|root| rounding.round(root * of.scale as f32)).collect();
        for ((value, element), head) in table.row_mut(row).iter_mut().zip(inner.iter()).zip(&heads) {
            *value = rounding.round(*value * factors[*head]);
            if let Some(new) = new(u64::from(element % tokens) * users + user) {
                let place = places(&keys.inner, &[element / tokens / group])?;
                let root = place.first().and_then(|place| keys.row(new as usize).get(*place));
                *value = rounding.round(*value * root.copied().unwrap_or(f32::NAN));
            }
        }
    }
    let stored = context.rounding(of.keys.buffer);
    let cache = pe.tile_mut(of.keys)?;
    let (rows, inner) = (Arc::clone(&cache.rows), Arc::clone(&cache.inner));
    let heads = places(&keys.inner, &inner.iter().map(|element| element / of.width as u32).collect::<Vec<_>>())?;
    for (row, token) in rows.iter().enumerate() {
        let Some(new) = new(u64::from(*token)) else { continue };
        let roots = keys.row(new as usize);
        for (value, head) in cache.row_mut(row).iter_mut().zip(&heads) {
            *value = stored.round(*value * roots.get(*head).copied().unwrap_or(f32::NAN));
        }
    }
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
    let (table, sums) = pe.tile_beside(scores, statistic)?;
    let heads = heads_of(table, sums, tokens)?;
    for row in 0..table.rows.len() {
        let sums = sums.row(row);
        for (value, head) in table.row_mut(row).iter_mut().zip(&heads) {
            *value = rounding.round(*value / sums[*head]);
        }
    }
    Ok(())
}

/// From relative to one maximum to relative to another.
#[derive(Clone, Copy)]
pub(super) struct Relative {
    pub own: Operand,
    pub all: Operand,
    pub scale: f64,
}

/// `x exp(scale (own - all))` of each head.
pub(super) fn relative_to(
    context: &Context<'_>,
    pe: &mut PeState,
    operand: Operand,
    of: Relative,
) -> Result<(), String> {
    let rounding = context.rounding(operand.buffer);
    let scale = rounding.round(of.scale as f32);
    let (own, all) = (pe.tile(of.own)?, pe.tile(of.all)?);
    let mut factors = own.clone();
    for row in 0..factors.rows.len() {
        for (factor, all) in factors.row_mut(row).iter_mut().zip(all.row(row)) {
            *factor = rounding.round(rounding.round(rounding.round(*factor - *all) * scale).exp());
        }
    }
    let width = context.last_size(operand)?.max(1);
    let table = pe.tile_mut(operand)?;
    let heads =
        if table.inner == factors.inner { (0..table.inner.len()).collect() } else { heads_of(table, &factors, width)? };
    for row in 0..table.rows.len() {
        let factors = factors.row(row);
        for (value, head) in table.row_mut(row).iter_mut().zip(&heads) {
            *value = rounding.round(*value * factors[*head]);
        }
    }
    Ok(())
}
