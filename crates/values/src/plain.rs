//! The model in 64-bit floating point, straight from its equations: what placed runs are compared with. Shares nothing with
//! the interpreter of programs.
//!
//! Sources of the equations: Attention Is All You Need (softmax attention), RoFormer (rotary embedding, pairs `i` and
//! `i + d / 2`), RMSNorm (arXiv 1910.07467), GLU Variants (SwiGLU), and the Qwen3 and Llama 3 reports for their order.

use wafersim_spec::model::{FeedForward, Moe, Role};

use crate::checkpoint::{Checkpoint, WeightName, check_reach, grouped};
use crate::error::ValuesError;
use crate::record::{Record, Recorded};
use crate::tensors::Tensor;

/// Keys and values of a layer: one vector of all KV heads for each token.
type Cache = (Vec<Vec<f64>>, Vec<Vec<f64>>);

/// Runs the prompt, then `steps` greedy decode steps.
///
/// # Errors
/// Where the prompt is empty, holds a token that the vocabulary has not, or is longer than a window.
pub fn run(checkpoint: &Checkpoint, prompt: &[u64], steps: u64) -> Result<Record, ValuesError> {
    check_prompt(checkpoint, prompt, steps)?;
    let model = &checkpoint.model;
    let mut caches: Vec<Cache> = vec![Cache::default(); model.layers.len()];
    let mut record = Record { prompt: prompt.to_vec(), ..Record::default() };
    let mut next = 0;
    for token in prompt {
        next = step(checkpoint, &mut caches, *token, "prefill", &mut record)?;
    }
    for (index, (keys, values)) in caches.iter().enumerate() {
        let attention = grouped(model, index)?;
        for (kind, rows) in [("k_cache", keys), ("v_cache", values)] {
            let (heads, width) = (attention.kv_heads as usize, attention.head_dim as usize);
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

/// Whether a prompt can be run.
///
/// # Errors
/// As [`run`].
pub fn check_prompt(checkpoint: &Checkpoint, prompt: &[u64], steps: u64) -> Result<(), ValuesError> {
    if prompt.is_empty() {
        return Err(ValuesError::Prompt("is empty; it needs a token at least".into()));
    }
    let vocabulary = checkpoint.model.vocabulary;
    if let Some(token) = prompt.iter().find(|token| **token >= vocabulary) {
        return Err(ValuesError::Prompt(format!("holds token {token}; allowed is 0 to {}", vocabulary - 1)));
    }
    check_reach(&checkpoint.model, (prompt.len() as u64).saturating_add(steps))
}

fn step(
    checkpoint: &Checkpoint,
    caches: &mut [Cache],
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
        let attended = attend(checkpoint, index, &normed, cache)?;
        note("attn_out", &attended);
        add(&mut x, &attended);
        let normed = rms(checkpoint, &x, WeightName::new(index, Role::FeedForwardNorm))?;
        note("moe_in", &normed);
        let out = match &model.layers[index].feed_forward {
            FeedForward::Dense { bias, .. } => network(checkpoint, index, None, &normed, *bias)?,
            FeedForward::Moe(moe) => {
                let choice = route(checkpoint, index, moe, &normed)?;
                note("router_logits", &choice.scores);
                note("router_experts", &choice.experts.iter().map(|expert| *expert as f64).collect::<Vec<_>>());
                note("router_weights", &choice.weights);
                let mut sum = vec![0.0; hidden];
                for (expert, weight) in choice.experts.iter().zip(&choice.weights) {
                    let out = network(checkpoint, index, Some(*expert as u64), &normed, false)?;
                    sum.iter_mut().zip(out).for_each(|(sum, out)| *sum += weight * out);
                }
                sum
            }
        };
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

fn attend(checkpoint: &Checkpoint, layer: usize, x: &[f64], cache: &mut Cache) -> Result<Vec<f64>, ValuesError> {
    let attention = grouped(&checkpoint.model, layer)?;
    let width = attention.head_dim as usize;
    let position = cache.0.len() as f64;
    let named = |role: Role| projection(checkpoint, WeightName::new(layer, role), attention.qkv_bias, x);
    let (query, key, value) = (named(Role::Query)?, named(Role::Key)?, named(Role::Value)?);
    let prepared = |vector: Vec<f64>, copy: u64| -> Result<Vec<f64>, ValuesError> {
        let mut heads = Vec::with_capacity(vector.len());
        for head in vector.chunks(width) {
            let name = WeightName { layer, role: Role::AttentionInnerNorm, copy };
            let head = if attention.qk_norm { rms(checkpoint, head, name)? } else { head.to_vec() };
            let half = width / 2;
            for index in 0..width {
                let angle = position * checkpoint.rotary.frequencies[index % half];
                let partner = if index < half { -head[index + half] } else { head[index - half] };
                heads.push(head[index] * angle.cos() + partner * angle.sin());
            }
        }
        Ok(heads)
    };
    let query = prepared(query, 0)?;
    cache.0.push(prepared(key, 1)?);
    cache.1.push(value);
    let group = (attention.heads / attention.kv_heads) as usize;
    let mut result = Vec::with_capacity(query.len());
    for (head, query) in query.chunks(width).enumerate() {
        let place = head / group * width..(head / group + 1) * width;
        let dot = |row: &Vec<f64>| row[place.clone()].iter().zip(query).map(|(k, q)| k * q).sum::<f64>();
        let mut weights: Vec<f64> = cache.0.iter().map(|row| dot(row) / (width as f64).sqrt()).collect();
        softmax(&mut weights);
        for index in place {
            result.push(cache.1.iter().zip(&weights).map(|(row, weight)| row[index] * weight).sum());
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
    scores: Vec<f64>,
    experts: Vec<usize>,
    weights: Vec<f64>,
}

fn route(checkpoint: &Checkpoint, layer: usize, moe: &Moe, x: &[f64]) -> Result<Choice, ValuesError> {
    let scores = product(checkpoint.weight(WeightName::new(layer, Role::Router))?, x);
    let mut shares = scores.clone();
    softmax(&mut shares);
    let mut experts: Vec<usize> = (0..shares.len()).collect();
    experts.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]).then(a.cmp(b)));
    experts.truncate(moe.top_k as usize);
    let mut weights: Vec<f64> = experts.iter().map(|expert| shares[*expert]).collect();
    if moe.normalise_top_k {
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    Ok(Choice { scores, experts, weights })
}

/// `down(silu(gate(x)) * up(x))`.
fn network(
    checkpoint: &Checkpoint,
    layer: usize,
    expert: Option<u64>,
    x: &[f64],
    bias: bool,
) -> Result<Vec<f64>, ValuesError> {
    let [gate, up, down] = match expert {
        Some(_) => [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown],
        None => [Role::Gate, Role::Up, Role::Down],
    }
    .map(|role| WeightName { layer, role, copy: expert.unwrap_or(0) });
    let gate = projection(checkpoint, gate, bias, x)?;
    let up = projection(checkpoint, up, bias, x)?;
    let inner: Vec<f64> = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
    projection(checkpoint, down, bias, &inner)
}
