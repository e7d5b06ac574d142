//! Gated linear attention in one processing element: convolution, gates, the delta rule, and what multiplies its
//! result.

use std::sync::Arc;

use wafersim_program::Operand;
use wafersim_program::formula::{StateHeads, StateSums};
use wafersim_spec::model::Role;

use super::compute::Context;
use super::group::places;
use super::norm::MeanSquare;
use super::state::{PeState, Tile};
use super::weights::TileName;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// `ln(1 + exp(x))`, without overflow.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `y = x sigmoid(gate)` for the elements of `y`.
pub(super) fn output_gate(context: &Context<'_>, pe: &mut PeState, [x, gate, y]: [Operand; 3]) -> Result<(), String> {
    let rounding = context.rounding(y.buffer);
    let mut result = pe.fresh(context.prepared, y, 0.0)?;
    let (source, gate) = (pe.tile(x)?, pe.tile(gate)?);
    if !gate.is_like(&result.rows, &result.inner) {
        return Err("a gate holds other elements than what it makes".into());
    }
    let columns = places(&source.inner, &result.inner)?;
    for row in 0..result.rows.len() {
        let (x, gate) = (source.row(row), gate.row(row));
        for ((value, column), gate) in result.row_mut(row).iter_mut().zip(&columns).zip(gate) {
            *value = rounding.round(x.get(*column).copied().unwrap_or(f32::NAN) * rounding.round(sigmoid(*gate)));
        }
    }
    pe.put(y, result);
    Ok(())
}

/// `x[h, d] *= sigmoid(gate[h])`.
pub(super) fn head_gate(context: &Context<'_>, pe: &mut PeState, x: Operand, gate: Operand) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let width = context.last_size(x)?.max(1);
    let (tile, gate) = pe.tile_beside(x, gate)?;
    let heads = places(&gate.inner, &tile.inner.iter().map(|element| element / width).collect::<Vec<_>>())?;
    for row in 0..tile.rows.len() {
        for (value, head) in tile.row_mut(row).iter_mut().zip(&heads) {
            let factor = gate.row(row).get(*head).map_or(f32::NAN, |gate| rounding.round(sigmoid(*gate)));
            *value = rounding.round(*value * factor);
        }
    }
    Ok(())
}

/// `x *= sigmoid(number)`, row by row.
pub(super) fn row_gate(context: &Context<'_>, pe: &mut PeState, x: Operand, numbers: Operand) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let (tile, numbers) = pe.tile_beside(x, numbers)?;
    for row in 0..tile.rows.len() {
        let factor = rounding.round(numbers.row(row).first().map_or(f32::NAN, |number| sigmoid(*number)));
        tile.row_mut(row).iter_mut().for_each(|value| *value = rounding.round(*value * factor));
    }
    Ok(())
}

/// A convolution of channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Convolution {
    pub x: Operand,
    pub y: Operand,
    pub tail: Operand,
    /// The channel of element 0.
    pub channel: u64,
    /// Tokens of the tail.
    pub tokens: u64,
    pub users: u64,
}

/// Convolution over the tail and the new tokens of each user, SiLU; the tail moves on.
pub(super) fn convolve(context: &Context<'_>, pe: &mut PeState, of: Convolution) -> Result<(), String> {
    let rounding = context.rounding(of.y.buffer);
    let weights = context.tiles.vector(&TileName::plain(context.name(Role::Convolution, 0)), false)?;
    let (before, users) = (of.tokens as usize, of.users.max(1) as usize);
    let kernel = before + 1;
    let mut result = pe.fresh(context.prepared, of.y, 0.0)?;
    let mut tail = pe.copy(of.tail, of.tail)?;
    let source = pe.tile(of.x)?;
    if source.inner != result.inner || (before > 0 && tail.inner != source.inner) {
        return Err("a convolution's inputs, outputs and last inputs are different channels".into());
    }
    let tokens = source.rows.len() / users;
    // The inputs of a user in order: those of the tail, then the new ones.
    let input = |tail: &Tile, user: usize, at: usize, column: usize| -> f32 {
        let row = if at < before { tail.row(at * users + user) } else { source.row((at - before) * users + user) };
        row.get(column).copied().unwrap_or(f32::NAN)
    };
    let inner = Arc::clone(&result.inner);
    for user in 0..users {
        for (column, element) in inner.iter().enumerate() {
            let first = (of.channel as usize + *element as usize) * kernel;
            for token in 0..tokens {
                let mut sum = 0.0;
                for tap in 0..kernel {
                    let weight = weights.get(first + tap).copied().unwrap_or(f32::NAN);
                    sum = rounding.round(sum + weight * input(&tail, user, token + tap, column));
                }
                result.row_mut(token * users + user)[column] = rounding.round(silu(sum));
            }
            let last: Vec<f32> = (0..before).map(|at| input(&tail, user, tokens + at, column)).collect();
            for (at, value) in last.into_iter().enumerate() {
                tail.row_mut(at * users + user)[column] = value;
            }
        }
    }
    pe.put(of.tail, tail);
    pe.put(of.y, result);
    Ok(())
}

/// From two numbers for each head to strength and decay.
pub(super) fn state_gates(
    context: &Context<'_>,
    pe: &mut PeState,
    strength: Operand,
    decay: Operand,
) -> Result<(), String> {
    let rounding = context.rounding(decay.buffer);
    let rates = context.tiles.vector(&TileName::plain(context.name(Role::DecayRate, 0)), false)?;
    pe.tile_mut(strength)?.values.iter_mut().for_each(|value| *value = rounding.round(sigmoid(*value)));
    let tile = pe.tile_mut(decay)?;
    let inner = Arc::clone(&tile.inner);
    for row in 0..tile.rows.len() {
        for (value, head) in tile.row_mut(row).iter_mut().zip(inner.iter()) {
            let rate = rates.get(*head as usize).copied().unwrap_or(f32::NAN).exp();
            *value = rounding.round((-rate * softplus(*value)).exp());
        }
    }
    Ok(())
}

/// The length that vectors are brought to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    /// Elements of a vector.
    pub width: u64,
    /// Added to the sum of squares.
    pub epsilon: f64,
    /// The length.
    pub scale: f64,
}

/// `x *= scale / sqrt(sum + epsilon)`.
pub(super) fn unit_scale(
    context: &Context<'_>,
    pe: &mut PeState,
    [x, sums]: [Operand; 2],
    length: Length,
) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let (tile, sums) = pe.tile_beside(x, sums)?;
    let heads: Vec<u32> = tile.inner.iter().map(|element| element / (length.width as u32).max(1)).collect();
    let groups = places(&sums.inner, &heads)?;
    for row in 0..tile.rows.len() {
        let sums = sums.row(row);
        for (value, group) in tile.row_mut(row).iter_mut().zip(&groups) {
            let sum = sums.get(*group).copied().unwrap_or(f32::NAN);
            let factor = length.scale as f32 / (sum + length.epsilon as f32).sqrt();
            *value = rounding.round(*value * rounding.round(factor));
        }
    }
    Ok(())
}

/// Where the elements of a state find the numbers of their head, their key and their value.
struct Elements {
    heads: Vec<usize>,
    keys: Vec<usize>,
    values: Vec<usize>,
}

/// Elements of a state that lie here, and the tiles that hold what belongs to them.
fn elements(state: &Tile, of: StateHeads, heads: &Tile, keys: &Tile, values: &Tile) -> Result<Elements, String> {
    let [group, key_dim, value_dim] = [of.group, of.key_dim, of.value_dim].map(|size| (size as u32).max(1));
    let all = |wanted: &dyn Fn(u32) -> u32| state.inner.iter().map(|element| wanted(*element)).collect::<Vec<u32>>();
    let value = |element: u32| element / key_dim;
    let head = |element: u32| value(element) / value_dim;
    Ok(Elements {
        heads: places(&heads.inner, &all(&head))?,
        keys: places(&keys.inner, &all(&|element| head(element) / group * key_dim + element % key_dim))?,
        values: places(&values.inner, &all(&value))?,
    })
}

/// The row of a user's token of the round that is running.
const fn row_of(context: &Context<'_>, users: u64, user: usize) -> usize {
    (context.round * users) as usize + user
}

/// The state decays, and its key reads it; where the query reads ahead, it does too.
pub(super) fn recall(
    context: &Context<'_>,
    pe: &mut PeState,
    [state, decay, key, recalled]: [Operand; 4],
    ahead: Option<StateSums>,
    heads: StateHeads,
    users: u64,
) -> Result<(), String> {
    let rounding = context.rounding(state.buffer);
    let mut result = pe.fresh(context.prepared, recalled, 0.0)?;
    let (decays, keys) = (pe.tile(decay)?.clone(), pe.tile(key)?.clone());
    let queries = ahead.map(|ahead| pe.tile(ahead.query).cloned()).transpose()?;
    let mut read = result.clone();
    let tile = pe.tile_mut(state)?;
    let at = elements(tile, heads, &decays, &keys, &result)?;
    for user in 0..tile.rows.len() {
        let row = row_of(context, users, user);
        let (decays, keys) = (decays.row(row), keys.row(row));
        let sums = result.row_mut(user);
        for (index, value) in tile.row_mut(user).iter_mut().enumerate() {
            *value = rounding.round(*value * decays[at.heads[index]]);
            let sum = &mut sums[at.values[index]];
            *sum = rounding.round(*sum + *value * keys[at.keys[index]]);
            if let Some(queries) = &queries {
                let sum = &mut read.row_mut(user)[at.values[index]];
                *sum = rounding.round(*sum + *value * queries.row(row)[at.keys[index]]);
            }
        }
    }
    pe.put(recalled, result);
    if let (Some(ahead), Some(queries)) = (ahead, queries) {
        if queries.inner != keys.inner {
            return Err("queries and keys of a state hold different elements".into());
        }
        let mut sums = pe.fresh(context.prepared, ahead.sums, 0.0)?;
        let of_head = StateSums::COUNT as u32;
        let head = |element: u32| element / (heads.key_dim as u32).max(1) * of_head;
        let first = places(&sums.inner, &keys.inner.iter().map(|element| head(*element)).collect::<Vec<_>>())?;
        for user in 0..sums.rows.len() {
            let row = row_of(context, users, user);
            for ((query, key), first) in queries.row(row).iter().zip(keys.row(row)).zip(&first) {
                let products = [query * query, key * key, query * key];
                for (sum, product) in sums.row_mut(user).iter_mut().skip(*first).zip(products) {
                    *sum = rounding.round(*sum + product);
                }
            }
        }
        pe.put(ahead.read, read);
        pe.put(ahead.sums, sums);
    }
    Ok(())
}

/// Operands of a write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    pub state: Operand,
    pub recalled: Operand,
    pub value: Operand,
    pub strength: Operand,
    pub key: Operand,
    pub query: Operand,
    pub read: Operand,
    pub ahead: Option<StateSums>,
}

/// What is missing to the value is written with the key, and the query reads; or gets its share of what was written,
/// where it has read before.
pub(super) fn write(
    context: &Context<'_>,
    pe: &mut PeState,
    of: Writing,
    heads: StateHeads,
    users: u64,
) -> Result<(), String> {
    let rounding = context.rounding(of.state.buffer);
    let mut result = pe.fresh(context.prepared, of.read, 0.0)?;
    let [recalled, values, strengths, keys, queries] =
        [of.recalled, of.value, of.strength, of.key, of.query].map(|operand| pe.tile(operand).cloned());
    let (recalled, values, strengths, keys, queries) = (recalled?, values?, strengths?, keys?, queries?);
    if values.inner != result.inner || recalled.inner != result.inner || keys.inner != queries.inner {
        return Err("values, or keys and queries, of a state hold different elements".into());
    }
    let of_value = value_heads(heads, &result, &strengths)?;
    let before = of.ahead.map(|ahead| read_before(pe, ahead, heads, &result)).transpose()?;
    let tile = pe.tile_mut(of.state)?;
    let at = elements(tile, heads, &strengths, &keys, &result)?;
    for user in 0..tile.rows.len() {
        let row = row_of(context, users, user);
        let (values, recalled, strengths) = (values.row(row), recalled.row(user), strengths.row(row));
        let (keys, queries) = (keys.row(row), queries.row(row));
        let sums = result.row_mut(user);
        // What is written of each value, for keys as they are.
        let mut written = Vec::with_capacity(values.len());
        for (value, head) in of_value.iter().enumerate() {
            let lengths = before.as_ref().map(|before| before.lengths(user, value));
            let key_scale = lengths.map_or(1.0, |lengths| rounding.round(lengths.key));
            let missing = rounding.round(values[value] - rounding.round(recalled[value] * key_scale));
            let token = rounding.round(missing * strengths[*head]);
            written.push(rounding.round(token * key_scale));
            if let Some(lengths) = lengths {
                let known = rounding.round(lengths.read * lengths.query);
                let share = rounding.round(lengths.both * lengths.key * lengths.query);
                sums[value] = rounding.round(known + rounding.round(share * token));
            }
        }
        for (index, state) in tile.row_mut(user).iter_mut().enumerate() {
            let value = at.values[index];
            *state = rounding.round(*state + keys[at.keys[index]] * written[value]);
            if before.is_none() {
                sums[value] = rounding.round(sums[value] + *state * queries[at.keys[index]]);
            }
        }
    }
    pe.put(of.read, result);
    Ok(())
}

/// For each value its head among the numbers of heads.
fn value_heads(of: StateHeads, values: &Tile, heads: &Tile) -> Result<Vec<usize>, String> {
    let value_dim = (of.value_dim as u32).max(1);
    places(&heads.inner, &values.inner.iter().map(|value| value / value_dim).collect::<Vec<_>>())
}

/// What a query has read, and what is known of the lengths of query and key.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    read: f32,
    /// What the query is multiplied with.
    query: f32,
    /// What the key is multiplied with.
    key: f32,
    /// The sum of their products as they are.
    both: f32,
}

struct ReadBefore {
    read: Tile,
    sums: Tile,
    /// For each value the first sum of its key head.
    first: Vec<usize>,
    epsilon: f32,
    scale: f32,
}

impl ReadBefore {
    fn lengths(&self, user: usize, value: usize) -> Lengths {
        let sums = self.sums.row(user);
        let sum = |number: usize| sums.get(self.first[value] + number).copied().unwrap_or(f32::NAN);
        let scale = |number: usize, length: f32| length / (sum(number) + self.epsilon).sqrt();
        let read = self.read.row(user).get(value).copied().unwrap_or(f32::NAN);
        Lengths { read, query: scale(0, self.scale), key: scale(1, 1.0), both: sum(2) }
    }
}

fn read_before(pe: &PeState, of: StateSums, heads: StateHeads, values: &Tile) -> Result<ReadBefore, String> {
    let (read, sums) = (pe.tile(of.read)?.clone(), pe.tile(of.sums)?.clone());
    let width = ((heads.group * heads.value_dim) as u32).max(1);
    let wanted: Vec<u32> = values.inner.iter().map(|value| value / width * StateSums::COUNT as u32).collect();
    let first = places(&sums.inner, &wanted)?;
    Ok(ReadBefore { read, sums, first, epsilon: of.epsilon as f32, scale: of.scale as f32 })
}

/// The rows of a round into a table of all tokens.
pub(super) fn keep_rows(
    context: &Context<'_>,
    pe: &mut PeState,
    source: Operand,
    target: Operand,
    users: u64,
) -> Result<(), String> {
    let rounding = context.rounding(target.buffer);
    let from = pe.tile(source)?.clone();
    let mut tile = match (context.round, pe.tile(target)) {
        (1.., Ok(known)) => known.clone(),
        _ => pe.fresh(context.prepared, target, 0.0)?,
    };
    if from.inner != tile.inner {
        return Err("the rows of a round are not those of the table".into());
    }
    for user in 0..from.rows.len() {
        let row = tile.row_mut(row_of(context, users, user));
        row.iter_mut().zip(from.row(user)).for_each(|(to, from)| *to = rounding.round(*from));
    }
    pe.put(target, tile);
    Ok(())
}

/// `x = x / sqrt(sum / width + epsilon) * gain * silu(gate)`.
pub(super) fn gated_norm(
    context: &Context<'_>,
    pe: &mut PeState,
    [x, sums, gate]: [Operand; 3],
    gain: &[f32],
    mean: MeanSquare,
) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let (sums, gate) = (pe.tile(sums)?.clone(), pe.tile(gate)?.clone());
    let tile = pe.tile_mut(x)?;
    if !gate.is_like(&tile.rows, &tile.inner) {
        return Err("a gate holds other elements than what it multiplies".into());
    }
    let width = mean.width.max(1);
    let heads: Vec<u32> = tile.inner.iter().map(|element| element / width as u32).collect();
    let groups = places(&sums.inner, &heads)?;
    let inner = Arc::clone(&tile.inner);
    for row in 0..tile.rows.len() {
        let (sums, gate) = (sums.row(row), gate.row(row));
        for (index, value) in tile.row_mut(row).iter_mut().enumerate() {
            let scaled = rounding.round(*value * rounding.round(mean.scale(sums[groups[index]])));
            let gain = gain.get((u64::from(inner[index]) % width) as usize).copied().unwrap_or(f32::NAN);
            *value = rounding.round(rounding.round(scaled * gain) * rounding.round(silu(gate[index])));
        }
    }
    Ok(())
}
