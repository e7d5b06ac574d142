//! Attention: grouped-query (Ainslie et al. 2023), latent (DeepSeek-V2 paper, section 2.1, in the absorbed form) and linear (Gated
//! Delta Networks, arXiv 2412.06464).
//!
//! q, k and v have no path between each other, and scores do not wait for v: it is appended beside k.

use wafersim_spec::model::{Attention, GroupedAttention, LatentAttention, LinearAttention, Reach, Role, Tensor};
use wafersim_spec::{Bytes, DataType};

use super::shelf::Shelf;
use super::{Builder, Tap, Weights, hold, product};
use crate::error::GraphError;
use crate::operator::{Operator, OperatorKind, Shape, elementwise};

/// What scores, softmax and values need to know, whatever the family.
struct Core {
    heads: u64,
    reach: Reach,
    /// Width of a head's query and key.
    key_width: u64,
    /// Width of a head's value.
    value_width: u64,
    /// Cached bytes of a token that the scores read.
    key_bytes: Bytes,
    /// Cached bytes of a token that the values read.
    value_bytes: Bytes,
}

impl Builder<'_> {
    /// The attention between its norm and its residual.
    pub(super) fn attention(
        &mut self,
        attention: &Attention,
        shelf: &mut Shelf,
        normed: Tap,
    ) -> Result<Tap, GraphError> {
        let mixed = match attention {
            Attention::Grouped(grouped) => self.grouped(grouped, shelf, normed)?,
            Attention::Latent(latent) => self.latent(latent, shelf, normed)?,
            Attention::Linear(linear) => self.linear(linear, shelf, normed)?,
        };
        self.take_projection("attention.output", Role::Output, shelf, mixed)
    }

    fn grouped(&mut self, attention: &GroupedAttention, shelf: &mut Shelf, normed: Tap) -> Result<Tap, GraphError> {
        let GroupedAttention { heads, kv_heads, head_dim, rotary_dim, .. } = *attention;
        let mut query = self.take_projection("attention.query", Role::Query, shelf, normed)?;
        let mut key = self.take_projection("attention.key", Role::Key, shelf, normed)?;
        let value = self.take_projection("attention.value", Role::Value, shelf, normed)?;
        if attention.qk_norm {
            query = self.head_norm("attention.query_norm", heads, &shelf.take(Role::AttentionInnerNorm)?, query);
            key = self.head_norm("attention.key_norm", kv_heads, &shelf.take(Role::AttentionInnerNorm)?, key);
        }
        if rotary_dim > 0 {
            query = self.rope("attention.query_rope", heads, rotary_dim, head_dim, query);
            key = self.rope("attention.key_rope", kv_heads, rotary_dim, head_dim, key);
        }
        // Keys and values of a token are stored as one block; the values take what the keys leave of it.
        let both = self.precision.kv_cache.storage(product([2, kv_heads, head_dim]));
        let key_bytes = self.precision.kv_cache.storage(product([kv_heads, head_dim]));
        let value_bytes = both.saturating_sub(key_bytes);
        let keys = self.append("attention.key_append", kv_heads * head_dim, key_bytes, key);
        let values = self.append("attention.value_append", kv_heads * head_dim, value_bytes, value);
        let (reach, key_width, value_width) = (attention.reach, head_dim, head_dim);
        let core = Core { heads, reach, key_width, value_width, key_bytes, value_bytes };
        let sinks = if attention.sinks { Some(shelf.take(Role::Sinks)?) } else { None };
        let gate = if attention.output_gate {
            Some(self.take_projection("attention.output_gate_projection", Role::OutputGate, shelf, normed)?)
        } else {
            None
        };
        let mixed = self.core(&core, sinks, &[query, keys], values);
        let Some(gate) = gate else { return Ok(mixed) };
        let shape = Shape::new(product([self.load.tokens, heads]), head_dim);
        let mut gated = Operator::new(self.name("attention.output_gate"), OperatorKind::OutputGate, shape, shape);
        gated.elementwise = product([elementwise::SIGMOID_GATE, shape.elements()]);
        Ok(self.add(gated, &[mixed, gate]))
    }

    /// The gated delta rule. Of a user's tokens that go through together each reads what the one before has left, so that
    /// the state is read and written once.
    fn linear(&mut self, linear: &LinearAttention, shelf: &mut Shelf, normed: Tap) -> Result<Tap, GraphError> {
        let tokens = self.load.tokens;
        let query = self.take_projection("attention.query", Role::Query, shelf, normed)?;
        let key = self.take_projection("attention.key", Role::Key, shelf, normed)?;
        let value = self.take_projection("attention.value", Role::Value, shelf, normed)?;
        let gate = self.take_projection("attention.output_gate_projection", Role::OutputGate, shelf, normed)?;
        let strength = self.take_projection("attention.write_strength", Role::WriteStrength, shelf, normed)?;
        let decay = self.take_projection("attention.decay", Role::Decay, shelf, normed)?;

        let users = self.load.users();
        let shape = Shape::new(tokens, linear.channels());
        let mut convolution =
            Operator::new(self.name("attention.convolution"), OperatorKind::Convolution, shape, shape);
        let taps = shelf.take(Role::Convolution)?;
        convolution.macs = product([tokens, taps.macs()]);
        convolution.elementwise = product([elementwise::SILU, shape.elements()]);
        hold(&mut convolution, Weights::whole(&taps, self.precision));
        let tail = self.precision.activations.storage(linear.tail_elements()) * users;
        (convolution.cache_bytes_read, convolution.bytes_written) = (tail, tail);
        let convolved = self.add(convolution, &[query, key, value]);

        let numbers = Shape::new(tokens, linear.value_heads);
        let mut gates = Operator::new(self.name("attention.state_gates"), OperatorKind::StateGates, numbers, numbers);
        gates.elementwise = product([elementwise::STATE_GATES, numbers.elements()]);
        hold(&mut gates, Weights::whole(&shelf.take(Role::DecayRate)?, self.precision));
        let gates = self.add(gates, &[strength, decay]);

        let heads = Shape::new(product([tokens, linear.key_heads]), linear.key_dim);
        let queries_and_keys = convolved.part(product([2, heads.elements()]));
        let both = Shape::new(product([2, heads.rows]), linear.key_dim);
        let mut unit = Operator::new(self.name("attention.unit_norm"), OperatorKind::UnitNorm, both, both);
        unit.elementwise = product([elementwise::UNIT_NORM, both.elements()]);
        let unit = self.add(unit, &[queries_and_keys]);

        let results = Shape::new(product([tokens, linear.value_heads]), linear.value_dim);
        let keys = Shape::new(results.rows, linear.key_dim);
        let mut rule = Operator::new(self.name("attention.delta_rule"), OperatorKind::DeltaRule, keys, results);
        rule.matrix = Some(Shape::new(linear.key_dim, linear.value_dim));
        // Read by the key, written, read by the query.
        rule.macs = product([3, tokens, linear.state_elements()]);
        // Decay; what is missing, times its strength.
        rule.elementwise = product([tokens, linear.state_elements()]).saturating_add(product([2, results.elements()]));
        let state = DataType::Fp32.storage(linear.state_elements()) * users;
        (rule.cache_bytes_read, rule.bytes_written) = (state, state);
        let values = convolved.part(results.elements());
        let result = self.add(rule, &[unit, values, gates]);

        let mut norm = Operator::new(self.name("attention.gated_norm"), OperatorKind::GatedNorm, results, results);
        let each = elementwise::RMS_NORM + elementwise::GATED_ACTIVATION;
        norm.elementwise = product([each, results.elements()]);
        hold(&mut norm, Weights::whole(&shelf.take(Role::AttentionInnerNorm)?, self.precision));
        Ok(self.add(norm, &[result, gate]))
    }

    fn latent(&mut self, attention: &LatentAttention, shelf: &mut Shelf, normed: Tap) -> Result<Tap, GraphError> {
        let LatentAttention { heads, query_rank, kv_rank, nope_dim, rope_dim, value_dim } = *attention;
        let tokens = self.load.tokens;
        let rms_norm = OperatorKind::RmsNorm;
        let query = match query_rank {
            None => self.take_projection("attention.query", Role::Query, shelf, normed)?,
            Some(_) => {
                let down = self.take_projection("attention.query_down", Role::QueryDown, shelf, normed)?;
                let gain = shelf.take(Role::AttentionInnerNorm)?;
                let compressed = self.norm("attention.query_norm", rms_norm, &gain, tokens, down);
                self.take_projection("attention.query_up", Role::QueryUp, shelf, compressed)?
            }
        };
        let down = self.take_projection("attention.kv_down", Role::KvDown, shelf, normed)?;
        let gain = shelf.take(Role::AttentionInnerNorm)?;
        let latent = self.norm("attention.latent_norm", rms_norm, &gain, tokens, down);

        // KvUp has a part for keys and one for values; neither is applied to the cache. The keys' part moves to the
        // query before the scores, the values' part to what comes out of the weighted sum of latents.
        let up = shelf.take(Role::KvUp)?;
        let key_up = Tensor { outputs: heads * nope_dim, ..up };
        let value_up = Tensor { outputs: heads * value_dim, ..up };
        let nope_query = query.part(product([tokens, heads, nope_dim]));
        let absorbed =
            self.per_head("attention.query_absorb", &key_up, heads, Shape::new(nope_dim, kv_rank), nope_query);

        let mut rope_query = query.part(product([tokens, heads, rope_dim]));
        let mut rope_key = down.part(product([tokens, rope_dim]));
        if rope_dim > 0 {
            rope_query = self.rope("attention.query_rope", heads, rope_dim, rope_dim, rope_query);
            rope_key = self.rope("attention.key_rope", 1, rope_dim, rope_dim, rope_key);
        }

        let key_bytes = self.precision.kv_cache.storage(kv_rank + rope_dim);
        let value_bytes = self.precision.kv_cache.storage(kv_rank);
        let latents = self.append("attention.latent_append", kv_rank, value_bytes, latent);
        let rope_bytes = key_bytes.saturating_sub(value_bytes);
        let rope_keys = self.append("attention.rope_key_append", rope_dim, rope_bytes, rope_key);
        let (key_width, value_width) = (kv_rank + rope_dim, kv_rank);
        let core = Core { heads, reach: Reach::Full, key_width, value_width, key_bytes, value_bytes };
        let mixed = self.core(&core, None, &[absorbed, rope_query, latents, rope_keys], latents);
        Ok(self.per_head("attention.value_up", &value_up, heads, Shape::new(kv_rank, value_dim), mixed))
    }

    /// Scores over `operands`, softmax, weighted sum of `values`.
    fn core(&mut self, core: &Core, sinks: Option<Tensor>, operands: &[Tap], values: Tap) -> Tap {
        let attended = self.load.attended(core.reach);
        let rows = product([self.load.tokens, core.heads]);
        let pairs = product([core.heads, attended.pairs]);
        let queries = Shape::new(rows, core.key_width);
        let rectangle = Shape::new(rows, attended.widest);
        let mixed = Shape::new(rows, core.value_width);

        let name = self.name("attention.scores");
        let mut scores = Operator::new(name, OperatorKind::AttentionScores, queries, rectangle);
        scores.matrix = Some(Shape::new(core.key_width, attended.widest));
        scores.macs = product([pairs, core.key_width]);
        scores.cache_bytes_read = core.key_bytes * attended.entries_read;
        let scores = self.add(scores, operands).part(pairs);

        let name = self.name("attention.softmax");
        let mut softmax = Operator::new(name, OperatorKind::Softmax, rectangle, rectangle);
        let logits = if sinks.is_some() { pairs.saturating_add(rows) } else { pairs };
        softmax.elementwise = product([elementwise::SOFTMAX, logits]);
        if let Some(sinks) = sinks {
            hold(&mut softmax, Weights::whole(&sinks, self.precision));
        }
        let softmax = self.add(softmax, &[scores]).part(pairs);

        let name = self.name("attention.values");
        let mut weighted = Operator::new(name, OperatorKind::AttentionValues, rectangle, mixed);
        weighted.matrix = Some(Shape::new(attended.widest, core.value_width));
        weighted.macs = product([pairs, core.value_width]);
        weighted.cache_bytes_read = core.value_bytes * attended.entries_read;
        self.add(weighted, &[softmax, values])
    }

    /// The norm of each head, with one gain for all.
    fn head_norm(&mut self, path: &'static str, heads: u64, gain: &Tensor, source: Tap) -> Tap {
        self.norm(path, OperatorKind::QkNorm, gain, product([self.load.tokens, heads]), source)
    }

    /// Rotates the first `rotary_dim` of each head's `head_dim` elements; the others pass through.
    fn rope(&mut self, path: &'static str, heads: u64, rotary_dim: u64, head_dim: u64, source: Tap) -> Tap {
        let rows = product([self.load.tokens, heads]);
        let shape = Shape::new(rows, head_dim);
        let mut operator = Operator::new(self.name(path), OperatorKind::Rope, shape, shape);
        operator.elementwise = product([elementwise::ROPE, rows, rotary_dim]);
        self.add(operator, &[source])
    }

    /// Writes one entry of `width` elements and `bytes` per token.
    fn append(&mut self, path: &'static str, width: u64, bytes: Bytes, source: Tap) -> Tap {
        let shape = Shape::new(self.load.tokens, width);
        let mut operator = Operator::new(self.name(path), OperatorKind::KvAppend, shape, shape);
        operator.bytes_written = bytes * self.load.tokens;
        self.add(operator, &[source])
    }

    /// A product of each head's row with a matrix of that head, all of which lie in `tensor`.
    fn per_head(&mut self, path: &'static str, tensor: &Tensor, heads: u64, matrix: Shape, source: Tap) -> Tap {
        let rows = product([self.load.tokens, heads]);
        let (input, output) = (Shape::new(rows, matrix.rows), Shape::new(rows, matrix.columns));
        let mut operator = Operator::new(self.name(path), OperatorKind::Projection(tensor.role), input, output);
        operator.matrix = Some(matrix);
        operator.macs = product([rows, matrix.rows, matrix.columns]);
        hold(&mut operator, Weights::whole(tensor, self.precision));
        self.add(operator, &[source])
    }
}
