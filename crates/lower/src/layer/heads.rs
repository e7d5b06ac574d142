//! Attention of a layer up to its cache and behind its result: the products of queries, keys and values (of linear
//! attention with its gates), the norms of heads, the append, the output projection. What lies between, scores to
//! values, is the writer's (`crate::attention`); latent attention has a file of its own.

use wafersim_graph::layer::TensorId;
use wafersim_mapping::LineKind;
use wafersim_program::{Axis, Dimension, Field, Math, Node, Operand, Region, Rescaled};
use wafersim_spec::model::{Attention, GroupedAttention, HeadValues};

use super::own::KEY_VALUE;
use super::{Open, Walk, grouped_lies, nothing};
use crate::attention::Attending;
use crate::cache::{Cache, NewTokens};
use crate::lies::KvLies;
use crate::linear::{Remembering, StateLies};
use crate::norm::riding_sums;
use crate::product::{Product, in_first_of, interleave};
use crate::request::{LowerError, Scope};
use crate::router::Logits;
use crate::writer::{Lines, along, first, roles, table};

/// Compressed queries, along x as their product leaves them.
fn compressed_field(grouped: &GroupedAttention, tokens: u64, region: Region) -> Field {
    let rank = grouped.query_rank.unwrap_or(1);
    Field::new("compressed", Dimension::whole(tokens), vec![along(rank, Axis::X, region)])
}

/// New entries of a cache, with what has been written to make them.
pub(super) struct Appended {
    pub(super) lies: KvLies,
    pub(super) entry: Vec<Operand>,
    pub(super) nodes: Vec<Node>,
}

impl<'a> Walk<'a> {
    pub(super) fn grouped(&self) -> Result<&'a GroupedAttention, LowerError> {
        match &self.writer.request.layer.attention {
            Attention::Grouped(grouped) => Ok(grouped),
            Attention::Latent(_) => Err(nothing("latent attention")),
            Attention::Linear(_) => Err(nothing("linear attention")),
        }
    }

    /// Products of one input whose sums one reduction carries: q, k and v.
    pub(super) fn products(&mut self, index: usize) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let beside = self.own(KEY_VALUE);
        // Keys without values are both.
        let all = 2 + usize::from(self.grouped().is_ok_and(|grouped| grouped.values != HeadValues::OfKeys));
        if let Some(rectangle) = beside {
            self.products_inside(index, KEY_VALUE, rectangle, 1..all)?;
        }
        if let Some(rectangle) = self.own(operator.name) {
            self.products_inside(index, operator.name, rectangle, 0..if beside.is_some() { 1 } else { all })?;
            return if beside.is_some() { self.joined(operator.name) } else { Ok(()) };
        }
        let x = self.operand(operator.reads.first())?;
        let riding = self.riding.take();
        let made = operator.writes.len() - usize::from(self.early_logits(&operator.writes).is_some());
        let heads = if beside.is_some() { 1 } else { made };
        let mut fields = self.head_fields(&operator.writes[..heads])?;
        let count = fields.len();
        fields.extend(riding.map(|_| riding_sums(self.writer.request.tokens)));
        let early = fields.len() as u32;
        fields.extend(self.early_logits(&operator.writes));
        let made = self.writer.declare(operator.name, fields);
        let sums = Operand::new(made, count as u32);
        let mut nodes = self.writer.ride(riding, sums);
        if self.early_logits(&operator.writes).is_some() {
            let early = Operand::new(made, early);
            let stream = self.operand(operator.reads.get(operator.reads.len() - 2))?;
            nodes.extend(self.writer.logits_of_stream(stream, early, self.graph.accumulators_in_place));
            self.early = Some(early);
        }
        let operands: Vec<Operand> = (0..count as u32).map(|field| Operand::new(made, field)).collect();
        // A bias is not normed: where a norm rides, it comes after that.
        let mut scaled = Vec::new();
        let mut products = Vec::new();
        for ((role, bias), y) in roles(self.graph, operator).into_iter().zip(&operands) {
            let product = Product::plain(&self.writer, role, x, *y).with_bias(bias && riding.is_none(), Axis::Y);
            scaled.push(Rescaled { operand: *y, bias: bias.then_some(role) });
            products.extend(self.writer.product(product, self.graph.accumulators_in_place));
        }
        nodes.extend(if self.graph.interleaved_products { interleave(products) } else { products });
        nodes.extend(self.writer.reduce(operator.name, LineKind::Y, Lines::Whole(Axis::Y), made));
        nodes.extend(self.writer.scale(riding, sums, scaled));
        for (id, operand) in operator.writes.iter().zip(&operands) {
            self.at.insert(*id, *operand);
        }
        if let (Attention::Linear(linear), [query, key, value, gate, strength, decay]) =
            (&self.writer.request.layer.attention, operands.as_slice())
        {
            let lies = StateLies::new(self.writer.request, linear);
            let [query, key, value, gate, strength, decay] = [*query, *key, *value, *gate, *strength, *decay];
            self.remembering = Some(Remembering { lies, query, key, value, gate, strength, decay });
        }
        self.writer.program.push(operator.name, nodes);
        if beside.is_some() { self.joined(operator.name) } else { Ok(()) }
    }

    /// The field of the router's logits that are made beside some tensors, where they are among them.
    pub(super) fn early_logits(&self, made: &[TensorId]) -> Option<Field> {
        let experts = self.moe().ok()?.experts;
        let is_early = self.graph.of(made).any(|tensor| tensor.name == "router.early_scores");
        let writer = &self.writer;
        is_early.then(|| table("scores", writer.request.tokens, experts, Axis::X, writer.region()))
    }

    /// Where q, k and v are made: where their keys and values lie.
    pub(super) fn head_fields(&self, made: &[TensorId]) -> Result<Vec<Field>, LowerError> {
        let request = self.writer.request;
        if let Attention::Linear(linear) = &request.layer.attention {
            let lies = StateLies::new(request, linear);
            return Ok(self.graph.of(made).map(|tensor| lies.made(tensor.name, request.tokens)).collect());
        }
        let grouped = self.grouped()?;
        let lies = grouped_lies(request, grouped);
        let field = |name: &str| match name {
            "attention.query" => lies.made(lies.query(request.tokens)),
            "attention.compressed" => compressed_field(grouped, request.tokens, self.writer.region()),
            "attention.key" => lies.made(lies.new_keys(request.tokens)),
            // Every column of a head makes its number.
            "attention.head_gate" => lies.statistic("gate", request.tokens),
            "attention.output_gate" => Field { name: "gate".into(), ..lies.projected(request.tokens) },
            _ => lies.made(lies.new_values(request.tokens)),
        };
        Ok(self.graph.of(made).map(|tensor| field(tensor.name)).collect())
    }

    pub(super) fn head_norm(&mut self, name: &'static str, riding: bool, reads: &[TensorId]) -> Result<(), LowerError> {
        let lies = grouped_lies(self.writer.request, self.grouped()?);
        let mut nodes = Vec::new();
        if riding {
            let (ids, new) = self.new_tokens()?;
            let (mut local, riding) = self.writer.head_norm_rides(lies, new);
            if self.graph.interleaved_products {
                in_first_of(&mut local, |compute| compute.math == Math::RmsScale);
            }
            nodes.extend(local);
            self.keep(&ids, riding);
        } else {
            for (copy, id) in (0..2).zip(reads) {
                let x = self.operand(Some(id))?;
                nodes.extend(self.writer.head_norm(lies, x, copy));
            }
        }
        self.writer.program.push(name, nodes);
        Ok(())
    }

    /// Queries, keys and values as they are now, and their tensors.
    fn new_tokens(&self) -> Result<([TensorId; 3], NewTokens), LowerError> {
        let id = |name: &str| self.graph.tensors().find(|(_, tensor)| tensor.name == name).map(|(id, _)| id);
        let ids = ["attention.query", "attention.key", "attention.value"].map(id);
        let [Some(query), Some(key), Some(value)] = ids else {
            return Err(nothing("attention without queries, keys and values"));
        };
        let new = NewTokens {
            query: self.operand(Some(&query))?,
            key: self.operand(Some(&key))?,
            value: self.operand(Some(&value))?,
            squares: self.squares,
        };
        Ok(([query, key, value], new))
    }

    /// Queries from compressed ones (Step-3): turned to lie along y, then a product that leaves each head's in its
    /// columns.
    pub(super) fn query_up(&mut self, index: usize) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let x = self.operand(operator.reads.first())?;
        let (turn, turned) = self.turned_compressed(x, None)?;
        let field = self.head_fields(&operator.writes)?;
        let made = self.writer.declare(operator.name, field);
        let mut nodes = vec![turn];
        for (role, _) in roles(self.graph, operator) {
            let product = Product::plain(&self.writer, role, turned, first(made));
            nodes.extend(self.writer.product(product, self.graph.accumulators_in_place));
        }
        nodes.extend(self.writer.reduce(operator.name, LineKind::Y, Lines::Whole(Axis::Y), made));
        self.at.extend(operator.writes.first().map(|id| (*id, first(made))));
        self.writer.program.push(operator.name, nodes);
        self.joined(operator.name)
    }

    /// Values that are what the projection of keys has made (Gemma 4): copied where they lie.
    pub(super) fn value_of_key(
        &mut self,
        name: &'static str,
        reads: &[TensorId],
        writes: &[TensorId],
    ) -> Result<(), LowerError> {
        let key = self.operand(reads.first())?;
        let Some(value) = writes.first().copied() else { return Err(nothing("values that nobody reads")) };
        self.at.insert(value, key);
        if grouped_lies(self.writer.request, self.grouped()?).groups > 1 {
            return self.joined(name);
        }
        let field = Field { name: "v".into(), ..self.writer.field(key) };
        let target = first(self.writer.declare("attention.value", vec![field]));
        let node = self.writer.copied(key, target);
        self.at.insert(value, target);
        self.writer.program.push(name, vec![node]);
        Ok(())
    }

    fn keep(&mut self, ids: &[TensorId; 3], new: NewTokens) {
        self.at.extend(ids.iter().copied().zip([new.query, new.key, new.value]));
        self.squares = new.squares;
    }

    /// The cache that attention looks at: as it rests where the layer was measured, else with the new entries in it.
    pub(super) fn cached(&mut self, name: &'static str, appended: Appended) -> Cache {
        let Appended { lies, entry, mut nodes } = appended;
        let request = self.writer.request;
        let cache = match request.scope {
            Scope::Measured => self.writer.resting_cache(lies, request.context),
            Scope::Model => {
                let (append, cache) = self.writer.append(lies, &entry, request.position());
                nodes.extend(append);
                cache
            }
        };
        if !nodes.is_empty() {
            self.writer.program.push(name, nodes);
        }
        cache
    }

    /// Attention begins: queries meet a cache whose scores are as wide as heads would be.
    pub(super) fn attend(&mut self, lies: KvLies, cache: Cache, sinks: bool, score_width: u64) {
        let request = self.writer.request;
        self.attending = Some(Attending {
            lies,
            cache,
            tokens: request.tokens,
            consecutive: request.consecutive(),
            context: request.context,
            sinks,
            score_width,
            accumulators_in_place: self.graph.accumulators_in_place,
        });
    }

    pub(super) fn append(&mut self, name: &'static str) -> Result<(), LowerError> {
        let grouped = self.grouped()?;
        let request = self.writer.request;
        let lies = grouped_lies(request, grouped);
        let (ids, new) = self.new_tokens()?;
        let (nodes, new) = self.writer.spread_to_groups(lies, new);
        self.keep(&ids, new);
        let appended = Appended { lies, entry: vec![new.key, new.value], nodes };
        let cache = self.cached(name, appended);
        self.attend(lies, cache, grouped.sinks, grouped.head_dim);
        Ok(())
    }

    pub(super) fn output(&mut self, index: usize) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let Some((result, inputs)) = self.mixed.take() else {
            return Err(nothing("an output projection without attention"));
        };
        let request = self.writer.request;
        let whole = self.writer.region();
        let mut fields = vec![table("projected", request.tokens, request.hidden, Axis::Y, whole)];
        // Logits that are made beside end along y, like the stream.
        let early = self.early.take().map(|early| (early, self.moe()));
        if let Some((_, Ok(moe))) = &early {
            fields.push(self.writer.logits_along_y(moe, self.choice_form().single_choice));
        }
        let output = self.writer.declare("attention.projected", fields);
        let Some((role, bias)) = roles(self.graph, operator).first().copied() else {
            return Err(nothing("an output projection without a matrix"));
        };
        let mut body = Vec::new();
        let (result, inputs) = match self.latent() {
            Ok(latent) => {
                let (nodes, turned) = self.writer.turned_result(self.attending()?.lies, latent, result);
                body.push(nodes);
                (turned, self.writer.field(turned))
            }
            Err(_) => (result, inputs),
        };
        let product = Product::plain(&self.writer, role, result, first(output)).with_bias(bias, Axis::X);
        let in_place = self.graph.accumulators_in_place;
        let mut products = self.writer.product(Product { inputs: inputs.clone(), ..product }, in_place);
        let mut sum = None;
        if let Some((early, _)) = early {
            let logits = Operand::new(output, 1);
            let added = (early, logits);
            let mut beside = self.writer.logits_of_attention((result, inputs), added, (bias, in_place));
            sum = beside.pop();
            products.extend(beside);
            if self.graph.interleaved_products {
                products = interleave(products);
            }
            self.logits = Some(Logits { at: logits, axis: Axis::Y, line: None, scale: None });
        }
        body.extend(products.into_iter().chain(sum));
        body.extend(self.writer.reduce(operator.name, LineKind::X, Lines::Whole(Axis::X), output));
        if let Some(id) = operator.writes.first() {
            self.at.insert(*id, first(output));
        }
        self.open = Some(Open { name: operator.name, body });
        Ok(())
    }
}
