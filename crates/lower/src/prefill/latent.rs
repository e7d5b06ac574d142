//! Latent attention for a chunk of a prompt: keys and values of every head are made of the latents, and heads go
//! through attention like heads with keys of their own (DeepSeek-V2, section 2.1; ours on a wafer). A query and a key
//! then take `nope + rope + value` multiply-accumulates where the absorbed form of decode takes `2 rank + rope`, three
//! times as many in DeepSeek-V3.
//!
//! Heads lie over the columns, whatever the layout of the cache: a block of columns for each, or several in one where
//! there are fewer columns. A chunk with others before it makes keys and values of their latents as well, block by
//! block.

use wafersim_program::{
    Axis, Digit, Dimension, Field, Formula, GainName, HeadPart, Math, Operand, Operation, Part, Region, Spread,
};
use wafersim_spec::model::{LatentAttention, Reach, Role};

use super::Chunk;
use super::attention::{repeated, values};
use crate::gemm::{Matrix, Rings};
use crate::lies::{Contents, HeadSizes, KvLies};
use crate::relayout::Way;
use crate::request::LayerRequest;
use crate::writer::first;

/// Where a chunk leaves latents and rotary keys: over all columns, pairs together.
pub(super) fn entry(region: Region, latent: &LatentAttention, tokens: u64) -> [Field; 2] {
    let rings = Rings::new(region);
    let pairs = Spread::Pairs(Digit::line(Axis::X, region.columns));
    let rotary = Dimension { size: latent.rope_dim, spread: pairs };
    let of = |name: &'static str, width: Dimension| {
        // One KV head, as the cache has it.
        Field::new(name, rings.rows(tokens), vec![Dimension::whole(1), width])
    };
    [of("latent", rings.inner(latent.kv_rank, false)), of("rotary_key", rotary)]
}

/// Heads over their blocks of columns.
fn expanded(request: &LayerRequest<'_>, latent: &LatentAttention) -> KvLies {
    let (columns, rows) = (request.mapping.region.columns, request.mapping.region.rows);
    let sizes = HeadSizes {
        kv_heads: latent.heads,
        group: 1,
        key_dim: latent.nope_dim + latent.rope_dim,
        value_dim: latent.value_dim,
        contents: Contents::Expanded { rotary: latent.rope_dim },
        reach: Reach::Full,
    };
    let heads_per_block = latent.heads.div_ceil(columns.max(1)).max(1);
    let blocks = latent.heads.div_ceil(heads_per_block).max(1);
    let kv =
        wafersim_mapping::KvMapping { heads_per_block, ..wafersim_mapping::KvMapping::published(columns / blocks) };
    KvLies::new(&kv, sizes, rows)
}

impl Chunk<'_> {
    pub(super) fn latent(&mut self, latent: &LatentAttention, x: Operand, normed: Operand) {
        let request = self.writer.request;
        let (region, tokens, rings) = (self.writer.region(), self.tokens(), self.rings());
        let lies = expanded(request, latent);
        let rows = rings.rows(tokens);
        let with_rows = |field: Field| Field { rows: rows.clone(), ..field };
        let (rank, rope) = (latent.kv_rank, latent.rope_dim);
        let key_width = latent.nope_dim + rope;
        let of_query = |role: Role| Matrix {
            part: Part::RotatedFirst { width: key_width, rotated: rope },
            ..Matrix::new(role, false)
        };

        let query = first(self.writer.declare("attention.query", vec![with_rows(lies.query(tokens))]));
        let (mut nodes, a) = self.writer.aligned(normed);
        let compressed = latent.query_rank.map(|rank| {
            let field = Field::new("compressed", rows.clone(), vec![rings.inner(rank, false)]);
            first(self.writer.declare("attention.compressed", vec![field]))
        });
        nodes.extend(match compressed {
            Some(compressed) => self.writer.matrix_product(a, Matrix::new(Role::QueryDown, false), compressed),
            None => self.writer.matrix_product(a, of_query(Role::Query), query),
        });
        let [latents, rotary] = entry(region, latent, tokens);
        let latents = first(self.writer.declare("attention.latent", vec![latents]));
        let rotary = first(self.writer.declare("attention.rotary_key", vec![rotary]));
        let part = |first: u64, size: u64| HeadPart { width: rank + rope, first, size };
        for (part, c) in [(Part::Outputs(part(0, rank)), latents), (Part::Rotated(part(rank, rope)), rotary)] {
            nodes.extend(self.writer.matrix_product(a, Matrix { part, ..Matrix::new(Role::KvDown, false) }, c));
        }
        self.writer.program.push("attention.query_key_value", nodes);

        if let Some(compressed) = compressed {
            self.norm_to(compressed, compressed, GainName::first(Role::AttentionInnerNorm), "attention.query_norm");
            let (mut nodes, a) = self.writer.aligned(compressed);
            nodes.extend(self.writer.matrix_product(a, of_query(Role::QueryUp), query));
            self.writer.program.push("attention.query_up", nodes);
        }
        let copy = u64::from(compressed.is_some());
        self.norm_to(latents, latents, GainName { role: Role::AttentionInnerNorm, copy }, "attention.latent_norm");
        let ropes = [query, rotary].map(|x| self.writer.rope(self.graph, x, rope)).to_vec();
        self.writer.program.push("attention.rope", ropes);

        let [key, value] = self.expand(&lies, latent, [latents, rotary]);
        let result = self.core(&lies, [query, key, value], request.context);
        let inner = latent.heads.saturating_mul(latent.value_dim);
        self.output(&lies, (result, inner), false, x);
    }

    /// Keys and values of all heads from latents, and from rotary keys, which all heads share.
    fn expand(&mut self, lies: &KvLies, latent: &LatentAttention, [latents, rotary]: [Operand; 2]) -> [Operand; 2] {
        let (visible, tokens) = (self.writer.request.context, self.tokens());
        let (blocks, seen) = self.key_blocks(visible);
        let (region, rings) = (self.writer.region(), self.rings());
        let rows = rings.rows(seen);
        let with_rows = |field: Field| Field { rows: rows.clone(), ..field };
        let [mut of_latents, mut of_rotary] = [latents, rotary];
        if visible != tokens {
            // Those of the tokens before, a block of them.
            let [field, other] = entry(region, latent, seen);
            of_latents = first(self.writer.declare("attention.seen_latents", vec![field]));
            of_rotary = first(self.writer.declare("attention.seen_rotary_keys", vec![other]));
        }
        let (mut nodes, a) = self.writer.aligned(of_latents);
        let (nope, value) = (latent.nope_dim, latent.value_dim);
        let nope_key =
            first(self.writer.declare("attention.nope_key", vec![with_rows(lies.of_kv_heads("k", seen, nope))]));
        let values = values(region, lies, with_rows(lies.new_values(seen)));
        let values = first(self.writer.declare("attention.value", vec![values]));
        let part = |first: u64, size: u64| Part::Outputs(HeadPart { width: nope + value, first, size });
        for (part, c) in [(part(0, nope), nope_key), (part(nope, value), values)] {
            nodes.extend(self.writer.matrix_product(a, Matrix { part, ..Matrix::new(Role::KvUp, false) }, c));
        }
        // Every block of columns wants all of the rotary key, shared out among its columns.
        let wanted = Field::new("rotary_key", rows.clone(), vec![Dimension::whole(1), lies.rotated_width()]);
        let spread = first(self.writer.declare("attention.rotary_of_heads", vec![wanted]));
        let passing = latent.rope_dim.saturating_mul(rows.most());
        let way = Way::Through { hops: region.columns - 1, elements: passing };
        nodes.push(self.writer.relayout(Axis::X, of_rotary.buffer, spread.buffer, way));
        let key = first(self.writer.declare("attention.key", vec![with_rows(lies.new_keys(seen))]));
        let work = vec![self.writer.work(Operation::Copy, self.writer.most(key), 1)];
        let formula = Formula::Join { first: spread, behind: nope_key, y: key };
        nodes.push(self.writer.compute(Math::Copy, &[spread.buffer, nope_key.buffer], key.buffer, work, formula));
        self.writer.program.push("attention.expand", repeated(blocks, nodes));
        [key, values]
    }
}
