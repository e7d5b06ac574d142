//! One compute step in one processing element.

use std::sync::Arc;

use wafersim_program::{Axis, BufferId, Chosen, Formula, Operand, Pair, Place, WeightId};
use wafersim_spec::model::Role;

use super::attention::{self, Softmax};
use super::norm;
use super::prepared::Prepared;
use super::ring;
use super::rounding::Rounding;
use super::state::{PeState, Tile};
use super::weights::Tiles;
use crate::checkpoint::WeightName;

/// What a processing element knows beside its memory: the program, the weights in place, and which layer it works for.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The program with its layouts.
    pub prepared: &'a Prepared,
    /// Weights in place.
    pub tiles: &'a Tiles<'a>,
    /// Number of the layer.
    pub layer: usize,
    /// Round of the innermost loop.
    pub round: u64,
}

impl Context<'_> {
    /// Index of a processing element.
    pub fn index(&self, pe: &PeState) -> usize {
        self.prepared.index(pe.column, pe.row)
    }

    /// Rounding of what is stored in a buffer.
    pub fn rounding(&self, buffer: BufferId) -> Rounding {
        Rounding::of(self.prepared.program.buffer_of(buffer).data_type)
    }

    /// Size of the last inner dimension of a field.
    ///
    /// # Errors
    /// Where the field has none.
    pub fn last_size(&self, operand: Operand) -> Result<u32, String> {
        let field = self.prepared.field(operand)?;
        field.inner.last().map(|last| last.size as u32).ok_or_else(|| format!("'{}' has no dimension", field.name))
    }

    /// The name of a weight of this layer.
    pub const fn name(&self, role: Role, copy: u64) -> WeightName {
        match role {
            Role::Embedding | Role::FinalNorm | Role::LmHead => WeightName { layer: 0, role, copy },
            _ => WeightName { layer: self.layer, role, copy },
        }
    }
}

/// Executes a formula in a processing element.
///
/// # Errors
/// Where an operand does not hold what the formula needs.
pub fn compute_at(context: &Context<'_>, pe: &mut PeState, formula: &Formula) -> Result<(), String> {
    match formula {
        Formula::Product { x, weight, y, chosen, bias } => {
            product(context, pe, (*x, *weight, *y), chosen.as_ref(), *bias)
        }
        Formula::SumOfSquares { x, sums, width } => norm::sum_of_squares(context, pe, *x, *sums, *width),
        Formula::RmsScale { x, sums, gain, y, width, epsilon } => {
            norm::rms_scale(context, pe, (*x, *sums, *y), *gain, (*width, *epsilon))
        }
        Formula::Gain { x, gain, y, width } => norm::gain(context, pe, (*x, *y), *gain, *width),
        Formula::Rescale { operands, sums, width, epsilon } => {
            norm::rescale(context, pe, operands, *sums, (*width, *epsilon))
        }
        Formula::Rope { x, head_dim, rotary, position, users } => {
            let [head_dim, rotary, position, users] = [*head_dim, *rotary, *position, *users];
            let rotation = attention::Rotation { head_dim, rotary, position, users };
            attention::rope(context, pe, *x, rotation)
        }
        Formula::SumOfLast { x, sums } => attention::sum_of_last(context, pe, *x, *sums),
        Formula::HeadScale { scores, keys, query_sums, key_sums, group, width, epsilon, token, users, scale } => {
            let of = attention::HeadScale {
                scores: *scores,
                keys: *keys,
                query_sums: *query_sums,
                key_sums: *key_sums,
                group: *group,
                width: *width,
                epsilon: *epsilon,
                token: *token,
                users: *users,
                scale: *scale,
            };
            attention::head_scale(context, pe, of)
        }
        Formula::Scores { query, keys, scores, group, head_dim, users } => {
            attention::scores(context, pe, (*query, *keys, *scores), (*group, *head_dim, *users))
        }
        Formula::WeightedValues { scores, values, output, group, head_dim, users } => {
            attention::weighted_values(context, pe, (*scores, *values, *output), (*group, *head_dim, *users))
        }
        Formula::Maximum { scores, statistic, causal, sinks } => {
            let of = Softmax { scores: *scores, statistic: *statistic, causal: *causal, sinks: *sinks };
            attention::maximum(context, pe, of)
        }
        Formula::ExpAndSum { scores, statistic, exponentials, sums, scale, causal, sinks } => {
            let of = Softmax { scores: *scores, statistic: *statistic, causal: *causal, sinks: *sinks };
            attention::exp_and_sum(context, pe, of, (*exponentials, *sums), *scale)
        }
        Formula::Convert { .. } | Formula::ConvertCache => Ok(()),
        Formula::Normalise { scores, statistic } => attention::normalise(context, pe, *scores, *statistic),
        Formula::GatedActivation { gate, up, weights } => gated(context, pe, *gate, *up, weights.as_ref()),
        Formula::Add { x, y } => add(context, pe, *x, *y),
        Formula::TopK { scores, experts, weights, top_k, normalise } => {
            top_k_of(context, pe, *scores, (*experts, *weights), (*top_k, *normalise))
        }
        Formula::Lookup { rows, tokens, table } => {
            let region = context.prepared.program.region;
            let place: Place = (pe.column - region.x, pe.row - region.y);
            let held = table.spread.indices(table.size, place);
            let mut tile = context.prepared.fresh(*rows, context.index(pe), 0.0)?;
            let inner = Arc::clone(&tile.inner);
            for (row, token) in tokens.iter().enumerate().filter(|(_, token)| held.contains(token)) {
                for (value, element) in tile.row_mut(row).iter_mut().zip(inner.iter()) {
                    *value = context.tiles.embedding(*token, *element)?;
                }
            }
            pe.put(*rows, tile);
            Ok(())
        }
        Formula::ArgMax { scores, best } => arg_max(context, pe, *scores, *best),
        Formula::Leave { before, after, entry } => attention::leave(context, pe, *before, *after, *entry),
        Formula::Enter { before, entry, new, after, row } => {
            attention::enter(context, pe, (*before, *entry, *after), *new, *row)
        }
        Formula::TileProduct { a, b, c, bias } => ring::tile_product(context, pe, (*a, *b, *c), *bias),
        Formula::PassingScores { query, keys, partial, group, head_dim, tokens } => {
            ring::passing_scores(context, pe, (*query, *keys, *partial), (*group, *head_dim, *tokens))
        }
        Formula::Collect { partial, whole, columns } => ring::collect(context, pe, (*partial, *whole), *columns),
        Formula::PassingValues { scores, values, output, group, head_dim } => {
            ring::passing_values(context, pe, (*scores, *values, *output), (*group, *head_dim))
        }
        Formula::Load { source, target } => ring::load(context, pe, *source, *target),
        Formula::Select { source, target } => {
            let tile = select(pe.tile(*source)?, context.prepared.fresh(*target, context.index(pe), 0.0)?)?;
            pe.put(*target, tile);
            Ok(())
        }
    }
}

/// Where the elements `wanted` lie among those `held`.
pub(super) fn places(held: &[u32], wanted: &[u32]) -> Result<Vec<usize>, String> {
    if held == wanted {
        return Ok((0..held.len()).collect());
    }
    let mut sorted: Vec<(u32, usize)> = held.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    wanted
        .iter()
        .map(|element| {
            let at = sorted.binary_search_by_key(element, |(held, _)| *held);
            at.ok()
                .and_then(|at| sorted.get(at))
                .map(|(_, place)| *place)
                .ok_or_else(|| format!("element {element} is wanted where it does not lie"))
        })
        .collect()
}

fn select(source: &Tile, mut target: Tile) -> Result<Tile, String> {
    let rows = places(&source.rows, &target.rows)?;
    let columns = places(&source.inner, &target.inner)?;
    for (to, from) in rows.into_iter().enumerate() {
        let row = source.row(from);
        for (value, column) in target.row_mut(to).iter_mut().zip(&columns) {
            *value = row.get(*column).copied().unwrap_or(0.0);
        }
    }
    Ok(target)
}

/// The expert of a pair.
fn expert_of(pe: &PeState, experts: Operand, pair: &Pair) -> Result<u64, String> {
    let chosen = pe.tile(experts)?.row(pair.token as usize).get(pair.slot as usize).copied();
    chosen.map(|expert| expert as u64).ok_or_else(|| format!("token {} has no choice {}", pair.token, pair.slot))
}

fn product(
    context: &Context<'_>,
    pe: &mut PeState,
    (x, weight, y): (Operand, WeightId, Operand),
    chosen: Option<&Chosen>,
    bias: Option<Axis>,
) -> Result<(), String> {
    let index = context.index(pe);
    // Outside the weight's region there is nothing to do.
    let Some(held) = context.prepared.weight(weight, index) else { return Ok(()) };
    let declared = &context.prepared.program.weights.get(weight.0 as usize);
    let Some(declared) = declared else { return Err("there is no such weight".into()) };
    let mut result = context.prepared.fresh(y, index, 0.0)?;
    if result.inner != held.1 {
        return Err("the outputs of a weight are not those of its product".into());
    }
    let rounding = context.rounding(y.buffer);
    if let Some(axis) = bias {
        let first = match axis {
            Axis::X => pe.column == declared.region.x,
            Axis::Y => pe.row == declared.region.y,
        };
        if first {
            let bias = context.tiles.vector(context.name(declared.role, declared.copy), true)?;
            let inner = Arc::clone(&result.inner);
            for row in 0..result.rows.len() {
                for (value, element) in result.row_mut(row).iter_mut().zip(inner.iter()) {
                    *value = rounding.round(bias.get(*element as usize).copied().unwrap_or(f32::NAN));
                }
            }
        }
    }
    let source = pe.tile(x)?;
    let columns = places(&source.inner, &held.0)?;
    let mut multiply = |copy: u64, from: usize, to: usize| -> Result<(), String> {
        let tile = context.tiles.tile(context.name(declared.role, copy), index, held)?;
        let input = source.row(from);
        for (row, column) in tile.rows().into_iter().zip(&columns) {
            let value = input.get(*column).copied().unwrap_or(0.0);
            let row = row.to_slice().unwrap_or(&[]);
            rounding.accumulate(result.row_mut(to), value, row);
        }
        Ok(())
    };
    match chosen {
        None => {
            for row in 0..source.rows.len() {
                multiply(declared.copy, row, row)?;
            }
        }
        Some(chosen) => {
            for pair in &chosen.pairs {
                let expert = expert_of(pe, chosen.experts, pair)?;
                multiply(expert, pair.from as usize, pair.to as usize)?;
            }
        }
    }
    pe.put(y, result);
    Ok(())
}

fn gated(
    context: &Context<'_>,
    pe: &mut PeState,
    gate: Operand,
    up: Operand,
    weights: Option<&(Operand, Vec<Pair>)>,
) -> Result<(), String> {
    // Processing elements outside an expert's rectangle hold none of it.
    if context.prepared.held(gate, context.index(pe)).is_none() {
        return Ok(());
    }
    let rounding = context.rounding(gate.buffer);
    let up = pe.tile(up)?.clone();
    let mut factors = vec![1.0; up.rows.len()];
    if let Some((operand, pairs)) = weights {
        let tile = pe.tile(*operand)?;
        for (factor, pair) in factors.iter_mut().zip(pairs) {
            let weight = tile.row(pair.token as usize).get(pair.slot as usize).copied();
            *factor = weight.ok_or_else(|| format!("token {} has no weight {}", pair.token, pair.slot))?;
        }
    }
    let weighted = weights.is_some();
    let gate = pe.tile_mut(gate)?;
    if !gate.is_like(&up.rows, &up.inner) {
        return Err("gate and up hold different elements".into());
    }
    for (row, factor) in factors.into_iter().enumerate() {
        for (gate, up) in gate.row_mut(row).iter_mut().zip(up.row(row)) {
            let silu = rounding.round(*gate / (1.0 + (-*gate).exp()));
            *gate = rounding.round(silu * up);
            if weighted {
                *gate = rounding.round(*gate * factor);
            }
        }
    }
    Ok(())
}

fn add(context: &Context<'_>, pe: &mut PeState, x: Operand, y: Operand) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let y = pe.tile(y)?.clone();
    let x = pe.tile_mut(x)?;
    if !x.is_like(&y.rows, &y.inner) {
        return Err("two operands of a sum hold different elements".into());
    }
    x.values.iter_mut().zip(&y.values).for_each(|(x, y)| *x = rounding.round(*x + y));
    Ok(())
}

fn top_k_of(
    context: &Context<'_>,
    pe: &mut PeState,
    scores: Operand,
    (experts, weights): (Operand, Operand),
    (top_k, normalise): (u64, bool),
) -> Result<(), String> {
    let index = context.index(pe);
    let rounding = context.rounding(weights.buffer);
    let source = pe.tile(scores)?;
    let mut numbers = context.prepared.fresh(experts, index, 0.0)?;
    let mut shares = context.prepared.fresh(weights, index, 0.0)?;
    let by_number = places(&source.inner, &(0..source.inner.len() as u32).collect::<Vec<_>>())?;
    for row in 0..source.rows.len() {
        let scores: Vec<f32> =
            by_number.iter().map(|place| source.row(row).get(*place).copied().unwrap_or(f32::NAN)).collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        let most = order.first().map_or(0.0, |first| scores[*first]);
        let exponential = |score: &f32| rounding.round((*score - most).exp());
        let counted = if normalise { top_k as usize } else { order.len() };
        let sum = order.iter().take(counted).fold(0.0, |sum, at| rounding.round(sum + exponential(&scores[*at])));
        for (slot, at) in order.into_iter().take(top_k as usize).enumerate() {
            if let (Some(number), Some(share)) = (numbers.row_mut(row).get_mut(slot), shares.row_mut(row).get_mut(slot))
            {
                (*number, *share) = (at as f32, rounding.round(exponential(&scores[at]) / sum));
            }
        }
    }
    pe.put(experts, numbers);
    pe.put(weights, shares);
    Ok(())
}

fn arg_max(context: &Context<'_>, pe: &mut PeState, scores: Operand, best: Operand) -> Result<(), String> {
    let mut result = context.prepared.fresh(best, context.index(pe), f32::NEG_INFINITY)?;
    let source = pe.tile(scores)?;
    for row in 0..source.rows.len() {
        let mut found = [f32::NEG_INFINITY, f32::MAX];
        for (value, number) in source.row(row).iter().zip(source.inner.iter()) {
            if *value > found[0] || (*value == found[0] && (*number as f32) < found[1]) {
                found = [*value, *number as f32];
            }
        }
        if let Some(result) = result.row_mut(row).get_mut(..2) {
            result.copy_from_slice(&found);
        }
    }
    pe.put(best, result);
    Ok(())
}
