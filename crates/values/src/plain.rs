//! The model in 64-bit floating point, straight from its equations: what placed runs are compared with. Shares nothing
//! with the interpreter of programs.
//!
//! Sources of the equations: Attention Is All You Need (softmax attention), RoFormer (rotary embedding, pairs `i` and
//! `i + d / 2`), RMSNorm (arXiv 1910.07467), GLU Variants (SwiGLU), and the Qwen3 and Llama 3 reports for their order.

mod linear;
mod sparse;

use wafersim_spec::model::{
    Attention, FeedForward, Gating, GroupedAttention, HeadValues, LatentAttention, Moe, Reach, Role, Scoring,
};

use crate::checkpoint::{CachedPart, Checkpoint, WeightName, cached};
use crate::error::ValuesError;
use crate::record::{Record, Recorded};
use crate::tensors::Tensor;

/// Keys and values of a layer: one vector of all KV heads for each token; or latents and rotary keys.
#[derive(Debug, Clone, Default)]
struct Cache {
    keys: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    /// Keys of an indexer.
    index: Vec<Vec<f64>>,
}

/// What a layer keeps of the tokens that it has seen.
#[derive(Debug, Clone)]
enum Kept {
    Cache(Cache),
    State(linear::Memory),
}

/// Runs the prompt, then `steps` greedy decode steps.
///
/// # Errors
/// Where the prompt is empty, or holds a token that the vocabulary has not.
pub fn run(checkpoint: &Checkpoint, prompt: &[u64], steps: u64) -> Result<Record, ValuesError> {
    check_prompt(checkpoint, prompt)?;
    let model = &checkpoint.model;
    let nothing = |attention: &Attention| match attention {
        Attention::Linear(_) => Kept::State(linear::Memory::default()),
        Attention::Grouped(_) | Attention::Latent(_) => Kept::Cache(Cache::default()),
    };
    let mut caches: Vec<Kept> = model.layers.iter().map(|layer| nothing(&layer.attention)).collect();
    let mut record = Record { prompt: prompt.to_vec(), ..Record::default() };
    let mut next = 0;
    for token in prompt {
        next = step(checkpoint, &mut caches, *token, "prefill", &mut record)?;
    }
    for (index, kept) in caches.iter().enumerate() {
        let Some(layer) = model.layers.get(index) else { continue };
        let (keys, values) = match kept {
            Kept::Cache(cache) => (&cache.keys, &cache.values),
            Kept::State(memory) => {
                let shape = vec![memory.state.len()];
                let recorded = Recorded { shape, values: memory.state.clone() };
                record.tensors.insert(format!("prefill.layer{index}.state"), recorded);
                continue;
            }
        };
        for (CachedPart { name: kind, heads, width }, rows) in cached(&layer.attention).into_iter().zip([keys, values])
        {
            let rows = &rows[oldest(layer.attention.reach(), rows.len())..];
            let by_head =
                (0..heads).flat_map(|head| rows.iter().map(move |row| &row[head * width..(head + 1) * width]));
            let values = by_head.flatten().copied().collect();
            let shape = vec![heads, rows.len(), width];
            record.tensors.insert(format!("prefill.layer{index}.{kind}"), Recorded { shape, values });
        }
    }
    for _ in 0..steps {
        record.generated.push(next as u64);
        next = step(checkpoint, &mut caches, next as u64, "decode", &mut record)?;
    }
    Ok(record)
}

/// The oldest of so many tokens that the last one sees.
const fn oldest(reach: Reach, tokens: usize) -> usize {
    match reach {
        Reach::Full => 0,
        Reach::Window(limit) => tokens.saturating_sub(limit as usize),
        Reach::Chunk(limit) => tokens.saturating_sub(1) / limit as usize * limit as usize,
    }
}

/// Whether a prompt can be run.
///
/// # Errors
/// As [`run`].
pub fn check_prompt(checkpoint: &Checkpoint, prompt: &[u64]) -> Result<(), ValuesError> {
    if prompt.is_empty() {
        return Err(ValuesError::Prompt("is empty; it needs a token at least".into()));
    }
    let vocabulary = checkpoint.model.vocabulary;
    if let Some(token) = prompt.iter().find(|token| **token >= vocabulary) {
        return Err(ValuesError::Prompt(format!("holds token {token}; allowed is 0 to {}", vocabulary - 1)));
    }
    Ok(())
}

fn step(
    checkpoint: &Checkpoint,
    caches: &mut [Kept],
    token: u64,
    phase: &str,
    record: &mut Record,
) -> Result<usize, ValuesError> {
    let model = &checkpoint.model;
    let hidden = model.hidden as usize;
    let table = checkpoint.weight(WeightName::new(0, Role::Embedding))?;
    let mut x: Vec<f64> = (0..hidden).map(|index| table.at(token as usize * hidden + index)).collect();
    record.push_row(format!("{phase}.embed"), x.iter().copied());
    for (index, cache) in caches.iter_mut().enumerate() {
        let mut note =
            |kind: &str, row: &[f64]| record.push_row(format!("{phase}.layer{index}.{kind}"), row.iter().copied());
        let normed = rms(checkpoint, &x, WeightName::new(index, Role::AttentionNorm))?;
        let mut attended = match (&model.layers[index].attention, cache) {
            (Attention::Grouped(grouped), Kept::Cache(cache)) => attend(checkpoint, (index, grouped), &normed, cache)?,
            (Attention::Latent(latent), Kept::Cache(cache)) => {
                attend_latent(checkpoint, (index, latent), &normed, cache)?
            }
            (Attention::Linear(linear), Kept::State(memory)) => {
                linear::attend(checkpoint, index, linear, (&normed, memory))?
            }
            _ => return Err(ValuesError::Prompt("meets a layer that keeps something else".into())),
        };
        if model.layers[index].norms > 2 {
            attended = rms(checkpoint, &attended, further_norm(index, 1))?;
        }
        note("attn_out", &attended);
        add(&mut x, &attended);
        let normed = rms(checkpoint, &x, WeightName::new(index, Role::FeedForwardNorm))?;
        note("moe_in", &normed);
        let out = match &model.layers[index].feed_forward {
            FeedForward::Dense { bias, .. } => {
                let matrices = [Role::Gate, Role::Up, Role::Down].map(|role| WeightName::new(index, role));
                network(checkpoint, matrices, &normed, (*bias, Gating::Silu))?
            }
            FeedForward::Moe(moe) => {
                let choice = route(checkpoint, index, moe, &normed)?;
                note("router_logits", &choice.logits);
                note("router_experts", &choice.experts.iter().map(|expert| *expert as f64).collect::<Vec<_>>());
                note("router_weights", &choice.weights);
                mixture(checkpoint, index, moe, (&normed, &choice))?
            }
        };
        let out = if model.layers[index].norms > 3 { rms(checkpoint, &out, further_norm(index, 2))? } else { out };
        note("moe_out", &out);
        add(&mut x, &out);
        note("out", &x);
    }
    let last = rms(checkpoint, &x, WeightName::new(0, Role::FinalNorm))?;
    let logits = product(checkpoint.weight(WeightName::new(0, Role::LmHead))?, &last);
    let best = (0..logits.len()).fold(0, |best, index| if logits[index] > logits[best] { index } else { best });
    record.push_row(format!("{phase}.final_norm"), last);
    record.push_row(format!("{phase}.logits"), logits);
    Ok(best)
}

/// A norm of what a branch adds to the stream (Grok): 1 of attention, 2 of the network.
const fn further_norm(layer: usize, copy: u64) -> WeightName {
    WeightName { layer, role: Role::FeedForwardNorm, copy }
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `y[o] = sum of W[o, i] x[i]`.
fn product(weight: Tensor<'_>, x: &[f64]) -> Vec<f64> {
    let width = x.len().max(1);
    (0..weight.len() / width)
        .map(|output| x.iter().enumerate().map(|(input, x)| weight.at(output * width + input) * x).sum())
        .collect()
}

fn projection(checkpoint: &Checkpoint, name: WeightName, bias: bool, x: &[f64]) -> Result<Vec<f64>, ValuesError> {
    let mut y = product(checkpoint.weight(name)?, x);
    if bias {
        add(&mut y, &checkpoint.bias(name)?.values());
    }
    Ok(y)
}

fn rms(checkpoint: &Checkpoint, x: &[f64], name: WeightName) -> Result<Vec<f64>, ValuesError> {
    let gain = checkpoint.weight(name)?;
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let scale = (mean + checkpoint.model.norm_epsilon).sqrt();
    Ok(x.iter().enumerate().map(|(index, x)| x / scale * gain.at(index)).collect())
}

/// Latent attention as the modeling file of DeepSeek-V3 has it (DeepSeek-V2, section 2.1, equations 9 to 19): keys and
/// values of every head made of the latents of all tokens, nothing absorbed. Of what is cached, rotated keys and
/// latents with their norm.
fn attend_latent(
    checkpoint: &Checkpoint,
    (layer, attention): (usize, &LatentAttention),
    x: &[f64],
    cache: &mut Cache,
) -> Result<Vec<f64>, ValuesError> {
    let name = |role: Role, copy: u64| WeightName { layer, role, copy };
    let matrix = |role: Role| checkpoint.weight(name(role, 0));
    let [rank, nope, rope, value] =
        [attention.kv_rank, attention.nope_dim, attention.rope_dim, attention.value_dim].map(|size| size as usize);
    let position = cache.keys.len() as f64;
    // The modeling file takes the pairs (2 i, 2 i + 1) apart, then rotates (i, i + half).
    let rotated = |vector: &[f64]| -> Vec<f64> {
        let half = vector.len() / 2;
        let apart: Vec<f64> =
            (0..2 * half).map(|i| vector[if i < half { 2 * i } else { 2 * (i - half) + 1 }]).collect();
        let turned = |i: usize| {
            let angle = position * checkpoint.rotary.frequencies[i % half];
            let partner = if i < half { -apart[i + half] } else { apart[i - half] };
            apart[i] * angle.cos() + partner * angle.sin()
        };
        (0..2 * half).map(turned).collect()
    };
    let mut chosen = vec![true; cache.keys.len() + 1];
    let query = match attention.query_rank {
        Some(_) => {
            let compressed = rms(checkpoint, &product(matrix(Role::QueryDown)?, x), name(Role::AttentionInnerNorm, 0))?;
            if let Some(indexer) = attention.indexer {
                chosen = sparse::chosen(checkpoint, (layer, indexer, rope), [x, &compressed], &mut cache.index)?;
            }
            product(matrix(Role::QueryUp)?, &compressed)
        }
        None => product(matrix(Role::Query)?, x),
    };
    let entry = product(matrix(Role::KvDown)?, x);
    let copy = u64::from(attention.query_rank.is_some());
    cache.keys.push(rms(checkpoint, &entry[..rank], name(Role::AttentionInnerNorm, copy))?);
    cache.values.push(rotated(&entry[rank..]));
    let made: Vec<Vec<f64>> =
        cache.keys.iter().map(|latent| Ok(product(matrix(Role::KvUp)?, latent))).collect::<Result<_, ValuesError>>()?;
    let mut result = Vec::new();
    for (head, query) in query.chunks(nope + rope).enumerate() {
        let (of_query, rotary) = (&query[..nope], rotated(&query[nope..]));
        let first = head * (nope + value);
        let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
        let score = |(made, key): (&Vec<f64>, &Vec<f64>)| dot(of_query, &made[first..first + nope]) + dot(&rotary, key);
        let scale = ((nope + rope) as f64).sqrt();
        let mut weights: Vec<f64> = made.iter().zip(&cache.values).map(|pair| score(pair) / scale).collect();
        for (weight, is_chosen) in weights.iter_mut().zip(&chosen) {
            *weight = if *is_chosen { *weight } else { f64::NEG_INFINITY };
        }
        softmax(&mut weights);
        let of_value = |index: usize| made.iter().zip(&weights).map(|(row, weight)| row[index] * weight).sum();
        result.extend((first + nope..first + nope + value).map(of_value).collect::<Vec<f64>>());
    }
    Ok(product(matrix(Role::Output)?, &result))
}

fn attend(
    checkpoint: &Checkpoint,
    (layer, attention): (usize, &GroupedAttention),
    x: &[f64],
    cache: &mut Cache,
) -> Result<Vec<f64>, ValuesError> {
    let width = attention.head_dim as usize;
    let position = cache.keys.len() as f64;
    let named = |role: Role| projection(checkpoint, WeightName::new(layer, role), attention.qkv_bias, x);
    let query = match attention.query_rank {
        None => named(Role::Query)?,
        Some(_) => {
            let gain = WeightName::new(layer, Role::AttentionInnerNorm);
            let compressed = rms(checkpoint, &named(Role::QueryDown)?, gain)?;
            product(checkpoint.weight(WeightName::new(layer, Role::QueryUp))?, &compressed)
        }
    };
    let key = named(Role::Key)?;
    let value = if attention.values == HeadValues::OfKeys { key.clone() } else { named(Role::Value)? };
    let value_width = attention.value_dim() as usize;
    let prepared = |vector: Vec<f64>, copy: u64| -> Result<Vec<f64>, ValuesError> {
        let mut heads = Vec::with_capacity(vector.len());
        for head in vector.chunks(width) {
            let name = WeightName { layer, role: Role::AttentionInnerNorm, copy };
            let head = if attention.qk_norm.is_some() { rms(checkpoint, head, name)? } else { head.to_vec() };
            // Only the leading dimensions are rotated (GLM, NoPE layers of Llama 4).
            let (rotary, half) = (attention.rotary_dim as usize, attention.rotary_dim as usize / 2);
            for index in 0..rotary {
                let angle = position * checkpoint.rotary.frequencies[index % half];
                let partner = if index < half { -head[index + half] } else { head[index - half] };
                heads.push(head[index] * angle.cos() + partner * angle.sin());
            }
            heads.extend(&head[rotary..]);
        }
        Ok(heads)
    };
    let query = prepared(query, 0)?;
    cache.keys.push(prepared(key, 1)?);
    cache.values.push(value);
    let group = (attention.heads / attention.kv_heads) as usize;
    let mut result = Vec::with_capacity(query.len());
    for (head, query) in query.chunks(width).enumerate() {
        let place = head / group * width..(head / group + 1) * width;
        let dot = |row: &Vec<f64>| row[place.clone()].iter().zip(query).map(|(k, q)| k * q).sum::<f64>();
        let mut weights: Vec<f64> = cache.keys.iter().map(|row| dot(row) / (width as f64).sqrt()).collect();
        let hidden = oldest(attention.reach, weights.len());
        weights.iter_mut().take(hidden).for_each(|x| *x = f64::NEG_INFINITY);
        // A sink is a logit more that has no value.
        if attention.sinks {
            weights.push(checkpoint.weight(WeightName::new(layer, Role::Sinks))?.at(head));
        }
        softmax(&mut weights);
        for index in head / group * value_width..(head / group + 1) * value_width {
            result.push(cache.values.iter().zip(&weights).map(|(row, weight)| row[index] * weight).sum());
        }
    }
    if attention.output_gate {
        let gate = named(Role::OutputGate)?;
        result.iter_mut().zip(gate).for_each(|(x, gate)| *x /= 1.0 + (-gate).exp());
    }
    if attention.head_gate {
        let gate = product(checkpoint.weight(WeightName::new(layer, Role::OutputGate))?, x);
        for (head, gate) in result.chunks_mut(value_width).zip(gate) {
            head.iter_mut().for_each(|x| *x /= 1.0 + (-gate).exp());
        }
    }
    projection(checkpoint, WeightName::new(layer, Role::Output), attention.output_bias, &result)
}

fn softmax(x: &mut [f64]) {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    x.iter_mut().for_each(|x| *x = (*x - most).exp());
    let sum: f64 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
}

/// What a router says about a token.
struct Choice {
    logits: Vec<f64>,
    experts: Vec<usize>,
    weights: Vec<f64>,
}

/// Numbers by falling values; the smaller number first among equals.
fn falling(values: &[f64], among: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut order: Vec<usize> = among.collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order
}

/// The choice of a token, as the families' modeling files make it.
fn route(checkpoint: &Checkpoint, layer: usize, moe: &Moe, x: &[f64]) -> Result<Choice, ValuesError> {
    let (name, selection) = (WeightName::new(layer, Role::Router), &moe.selection);
    let logits = projection(checkpoint, name, moe.router_bias && !selection.corrected, x)?;
    let mut scores = logits.clone();
    match selection.scoring {
        Scoring::Softmax => softmax(&mut scores),
        Scoring::Sigmoid => scores.iter_mut().for_each(|score| *score = 1.0 / (1.0 + (-*score).exp())),
    }
    let mut compared = scores.clone();
    if selection.corrected {
        add(&mut compared, &checkpoint.bias(name)?.values());
    }
    let size = moe.experts as usize / selection.groups as usize;
    let best_two = |group: usize| -> f64 {
        let best = falling(&compared, group * size..(group + 1) * size);
        best.iter().take(2).map(|expert| compared[*expert]).sum()
    };
    let groups: Vec<f64> = (0..selection.groups as usize).map(best_two).collect();
    let mut kept = falling(&groups, 0..groups.len());
    kept.truncate(selection.kept_groups as usize);
    let mut experts = falling(&compared, (0..scores.len()).filter(|expert| kept.contains(&(expert / size))));
    experts.truncate(moe.top_k as usize);
    let mut weights: Vec<f64> = experts.iter().map(|expert| scores[*expert]).collect();
    if selection.normalise {
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    weights.iter_mut().for_each(|weight| *weight *= selection.scale);
    Ok(Choice { logits, experts, weights })
}

/// The weighted sum of the chosen experts, and the shared expert.
fn mixture(
    checkpoint: &Checkpoint,
    layer: usize,
    moe: &Moe,
    (x, choice): (&[f64], &Choice),
) -> Result<Vec<f64>, ValuesError> {
    let mut sum = vec![0.0; x.len()];
    for (expert, weight) in choice.experts.iter().zip(&choice.weights) {
        let name = |role| WeightName { layer, role, copy: *expert as u64 };
        let matrices = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown].map(name);
        let (before, after) = if moe.selection.weighs_input { (*weight, 1.0) } else { (1.0, *weight) };
        let x: Vec<f64> = x.iter().map(|x| x * before).collect();
        let out = network(checkpoint, matrices, &x, (moe.expert_bias, moe.gating))?;
        sum.iter_mut().zip(out).for_each(|(sum, out)| *sum += after * out);
    }
    if moe.shared_width > 0 {
        let matrices = [Role::SharedGate, Role::SharedUp, Role::SharedDown].map(|role| WeightName::new(layer, role));
        let mut shared = network(checkpoint, matrices, x, (false, Gating::Silu))?;
        if moe.shared_gate {
            let gate = product(checkpoint.weight(WeightName::new(layer, Role::SharedOutputGate))?, x);
            let factor = gate.first().map_or(1.0, |gate| 1.0 / (1.0 + (-gate).exp()));
            shared.iter_mut().for_each(|x| *x *= factor);
        }
        add(&mut sum, &shared);
    }
    Ok(sum)
}

/// A gated network: down of what the gating makes of gate and up.
fn network(
    checkpoint: &Checkpoint,
    [gate, up, down]: [WeightName; 3],
    x: &[f64],
    (bias, gating): (bool, Gating),
) -> Result<Vec<f64>, ValuesError> {
    let gate = projection(checkpoint, gate, bias, x)?;
    let up = projection(checkpoint, up, bias, x)?;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let gated = |(gate, up): (&f64, f64)| match gating {
        Gating::Silu => gate * sigmoid(*gate) * up,
        Gating::Clamped { alpha, limit } => {
            let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
            gate * sigmoid(alpha * gate) * (up + 1.0)
        }
    };
    let inner: Vec<f64> = gate.iter().zip(up).map(gated).collect();
    projection(checkpoint, down, bias, &inner)
}
