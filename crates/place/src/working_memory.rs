//! Memory that a layer needs only while it works: activations, buffers for what arrives, and the tiles of a prefill.
//!
//! The rules, per token of the micro-batch and for the worst processing element. `hidden` lies along y, so a piece of
//! it is `hidden / rows`; everything that the first product of a pair makes lies along x.
//!
//! * The residual stays for the whole layer; the normed copy of it stays for each half.
//! * Attention: the pieces of query, key and value, the queries of all heads that the processing element scores (its
//!   result takes the same place), and a score for each token of one user that it caches. MLA in its absorbed form: the
//!   compressed query, the pieces of all heads' queries, and the queries brought into the latent space.
//! * Sparse attention: the indexer's queries, a score for each of its heads and cached tokens, and the latents that
//!   were chosen, side by side ([`crate::chosen_tokens`]).
//! * Feed-forward: gate and up of the widest part. Of the experts, as many as a token may use in one cell at once, the
//!   input once more where the cells are smaller than the region, and the sum of their outputs; router logits and the
//!   chosen experts with their weights.
//! * The halves run one after the other, so the larger counts.
//! * Receive buffers: the largest payload of a reduction once more.
//!
//! Not counted: stack and message headers (part of code and runtime), and buffers for tokens that wait.

use wafersim_spec::model::{Attention, FeedForward, Layer};

use crate::arithmetic::divide_up;
use crate::cells::CellGrid;
use crate::kv_cache::KvLayout;
use crate::sparse::chosen_tokens;

/// Elements in the worst processing element, in the activations' format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkingElements {
    pub activations: u64,
    pub receive: u64,
}

impl WorkingElements {
    fn times(self, tokens: u64) -> Self {
        Self { activations: self.activations.saturating_mul(tokens), receive: self.receive.saturating_mul(tokens) }
    }
}

/// What a half of a layer needs beside the residual.
struct Half {
    held: u64,
    /// The largest payload of one reduction.
    payload: u64,
}

/// A layer in decode. `grid` is the whole region for a layer without experts.
pub(crate) fn decode(
    layer: &Layer,
    hidden: u64,
    kv: &KvLayout,
    grid: &CellGrid,
    context: u64,
    tokens: u64,
) -> WorkingElements {
    let (columns, rows) = (grid.columns, grid.rows);
    let residual = divide_up(hidden, rows);
    let attention = attention_half(&layer.attention, kv, columns, rows, context);
    let feed_forward = feed_forward_half(&layer.feed_forward, hidden, grid);
    let normed = residual;
    WorkingElements {
        activations: sum([residual, normed, attention.held.max(feed_forward.held)]),
        receive: residual.max(attention.payload).max(feed_forward.payload),
    }
    .times(tokens)
}

fn attention_half(attention: &Attention, kv: &KvLayout, columns: u64, rows: u64, context: u64) -> Half {
    let is_linear = matches!(attention, Attention::Linear(_));
    let scores = if is_linear { 0 } else { kv.query_heads_per_pe().saturating_mul(kv.tokens_of_one_user(context)) };
    let queries = kv.query_elements_per_pe();
    match attention {
        Attention::Grouped(grouped) => {
            let query = divide_up(grouped.heads * grouped.head_dim, columns);
            let of_heads = |width: u64| divide_up(grouped.kv_heads * width, columns);
            let key_and_value = of_heads(grouped.head_dim) + of_heads(grouped.value_dim());
            let compressed = grouped.query_rank.map_or(0, |rank| divide_up(rank, columns) + divide_up(rank, rows));
            let by_head = if grouped.head_gate { kv.query_heads_per_pe() } else { 0 };
            let gate = if grouped.output_gate { query } else { by_head };
            Half {
                held: sum([query.max(queries), key_and_value, compressed, gate, scores]),
                payload: (query + key_and_value + compressed + gate).max(scores).max(queries),
            }
        }
        Attention::Linear(linear) => {
            let keys = divide_up(linear.key_width(), columns);
            let values = divide_up(linear.value_width(), columns);
            let heads = kv.query_heads_per_pe();
            // What a row reads of the state, in 32 bit: by the key, by the query; and the row's values.
            let here = kv.state_values_per_pe().saturating_mul(kv.heads_per_block);
            let made = sum([2 * keys, 2 * values, 2 * heads]);
            Half { held: sum([made, 5 * here, values]), payload: made.max(2 * here) }
        }
        Attention::Latent(latent) => {
            let compressed = latent.query_rank.map_or(0, |rank| divide_up(rank, columns));
            let key = divide_up(latent.kv_rank + latent.rope_dim, columns);
            let query = divide_up(latent.heads * (latent.nope_dim + latent.rope_dim), rows);
            let (indexing, scores) = match latent.indexer {
                Some(indexer) => {
                    let here = kv.tokens_of_one_user(context);
                    let chosen = chosen_tokens(here, kv.token_places(), context, indexer.top_k);
                    let heads = divide_up(indexer.heads, kv.head_copies);
                    let dims = divide_up(indexer.head_dim, kv.dimension_split);
                    let packed = chosen.saturating_mul(kv.dimensions_per_pe());
                    let of_heads = heads.saturating_mul(here);
                    let half =
                        Half { held: sum([heads.saturating_mul(dims), of_heads, here, packed]), payload: of_heads };
                    (half, kv.query_heads_per_pe().saturating_mul(chosen))
                }
                None => (Half { held: 0, payload: 0 }, scores),
            };
            Half {
                held: sum([compressed, key, query, queries, scores, indexing.held]),
                payload: (compressed + key).max(query).max(queries).max(scores).max(indexing.payload),
            }
        }
    }
}

fn feed_forward_half(feed_forward: &FeedForward, hidden: u64, grid: &CellGrid) -> Half {
    match feed_forward {
        FeedForward::Dense { width, .. } => {
            let inner = 2 * divide_up(*width, grid.columns);
            Half { held: inner, payload: inner }
        }
        FeedForward::Moe(moe) => {
            let (cell_columns, cell_rows) = grid.smallest_cell();
            let at_once = moe.top_k.min(grid.most_copies_in_a_cell(moe.experts));
            let routed = at_once.saturating_mul(2 * divide_up(moe.width, cell_columns));
            let shared = 2 * divide_up(moe.shared_width, grid.columns);
            let router = divide_up(moe.experts, grid.columns) + 2 * moe.top_k;
            let output = divide_up(hidden, cell_rows);
            let input = if grid.cells() > 1 { output } else { 0 };
            Half { held: sum([router, routed.max(shared), input, output]), payload: routed.max(shared).max(output) }
        }
    }
}

/// The embedding of a token: its piece of the table's row.
pub(crate) fn embedding(hidden: u64, rows: u64, tokens: u64) -> WorkingElements {
    let piece = divide_up(hidden, rows);
    WorkingElements { activations: piece, receive: piece }.times(tokens)
}

/// Final norm and LM head over `vocabulary` entries: residual, normed copy and logits.
pub(crate) fn lm_head(hidden: u64, vocabulary: u64, columns: u64, rows: u64, tokens: u64) -> WorkingElements {
    let (piece, logits) = (divide_up(hidden, rows), divide_up(vocabulary, columns));
    WorkingElements { activations: sum([piece, piece, logits]), receive: logits.max(piece) }.times(tokens)
}

/// Keys that prefill attention works on at once: longer prompts go block by block, with the running maximum and sum of
/// the online softmax (FlashAttention, Dao et al. 2022). Longer than any published prefill on a wafer (4,620 tokens).
pub const PREFILL_KEY_BLOCK: u64 = 8192;

/// Elements of a prefill of `tokens` at once in the worst processing element (sources.md#waferllm, one prefill
/// layer): sequence along y, widths along x; the input tile twice (double buffer), the widest intermediate twice, and
/// the scores of the query heads that share a KV head against a block of keys, which lie along the head's columns.
pub(crate) fn prefill(layer: &Layer, hidden: u64, columns: u64, rows: u64, context: u64, tokens: u64) -> u64 {
    let (attention, kv_heads, queries) = match &layer.attention {
        Attention::Grouped(grouped) => {
            (grouped.heads * grouped.head_dim, grouped.kv_heads, divide_up(grouped.heads, grouped.kv_heads))
        }
        Attention::Latent(latent) => (latent.heads * (latent.nope_dim + latent.rope_dim), 1, latent.heads),
        // No scores.
        Attention::Linear(linear) => (2 * (linear.key_width() + linear.value_width()), 1, 0),
    };
    let feed_forward = match &layer.feed_forward {
        FeedForward::Dense { width, .. } => *width,
        FeedForward::Moe(moe) => moe.width.max(moe.shared_width),
    };
    let visible = layer.attention.reach().visible(context).max(tokens.min(context)).min(PREFILL_KEY_BLOCK);
    let head_columns = (columns / kv_heads.max(1)).max(1);
    let scores = divide_up(tokens.saturating_mul(queries), rows).saturating_mul(divide_up(visible, head_columns));
    let per_token = [2 * divide_up(hidden, columns), 2 * divide_up(attention.max(feed_forward), columns)];
    divide_up(tokens, rows).saturating_mul(sum(per_token)).saturating_add(scores)
}

fn sum<const N: usize>(parts: [u64; N]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use wafersim_spec::Model;

    use super::*;
    use crate::kv_cache::KvContents;

    fn elements(
        name: &str,
        layer: usize,
        region: (u64, u64),
        cells: (u64, u64),
        split: u64,
        context: u64,
    ) -> (u64, u64) {
        let model = Model::builtin(name).unwrap();
        let layer = &model.layers[layer];
        let kv = KvLayout::with_dimension_split(KvContents::new(&layer.attention), region, split);
        let grid = CellGrid::new(region.0, region.1, cells.0, cells.1);
        let one = decode(layer, model.hidden, &kv, &grid, context, 1);
        let three = decode(layer, model.hidden, &kv, &grid, context, 3);
        assert_eq!((three.activations, three.receive), (3 * one.activations, 3 * one.receive));
        (one.activations, one.receive)
    }

    #[test]
    fn figures_worked_out_by_hand() {
        // Qwen3-Coder on 755 x 234, 16 columns a head: 5 groups of columns, 7 tokens (8192 / 1170, rounded up: 8).
        // Two pieces of 27; 12 queries of 8 dimensions, 2 * 2 of k and v, 12 * 8 scores. Payload: queries and scores
        // alike.
        assert_eq!(elements("qwen3-coder-480b-a35b", 0, (755, 234), (1, 1), 16, 8192), (2 * 27 + 96 + 4 + 96, 96));
        // In 8 x 20 cells of 94 x 11 the experts need more: 2 * 28 of gate and up, input and output of 559, 17 for
        // routing.
        assert_eq!(
            elements("qwen3-coder-480b-a35b", 0, (755, 234), (8, 20), 16, 8192),
            (2 * 27 + 17 + 2 * 28 + 2 * 559, 559)
        );
        // Llama-3.1-8B on 151 x 167, 8 columns a head, 1 token each: 4 * 16 queries, 28 + 2 * 7 of q, k, v, 4 * 1
        // scores; gate and up of 95 are more.
        assert_eq!(elements("llama-3.1-8b", 0, (151, 167), (1, 1), 8, 100), (2 * 25 + 2 * 95, 2 * 95));
        // DeepSeek-V3 on 755 x 390, 144 columns for the latent of 576: 5 groups, 17 tokens. 3 of compressed query, 1 of
        // latent, 64 of 128 heads' queries, 128 * 4 latent queries, 128 * 17 scores.
        assert_eq!(
            elements("deepseek-v3", 3, (755, 390), (1, 1), 144, 32_768),
            (2 * 19 + 3 + 1 + 64 + 512 + 2176, 2176)
        );
    }
}
