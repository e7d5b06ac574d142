//! Latent attention (MLA) in the absorbed form: the cache holds one latent and one rotary key a token for all heads,
//! queries are brought into the space of latents and results out of it (DeepSeek-V2, section 2.1.2). Where things lie
//! is ours: nobody has published such a kernel for a wafer.
//!
//! The query heads lie over the copies of the cache, everything of a head in the columns of its copy. Compressed
//! queries are turned to lie along y, so that the next product leaves the queries of each head in its columns; their
//! part that is not rotated is turned likewise, for the product of each head. The columns that share a sequence make a
//! part each of absorbed queries, rotated queries and new entries, and gather the rest from each other. Each copy makes
//! its new entries itself.

use wafersim_graph::layer::TensorId;
use wafersim_mapping::LineKind;
use wafersim_program::{
    Axis, BufferId, Digit, Dimension, Field, Formula, GainName, HeadPart, Math, Node, Operand, Operation, Part,
    Rescaled, collective,
};
use wafersim_spec::model::{Attention, LatentAttention, Role};

use super::heads::Appended;
use super::{Walk, latent_lies, nothing};
use crate::attention::Made;
use crate::lies::KvLies;
use crate::norm::{NormOf, riding_sums};
use crate::product::{Product, interleave};
use crate::relayout::Way;
use crate::request::LowerError;
use crate::writer::{Lines, Writer, along, first};

/// The parts of the matrices of latent attention.
#[derive(Clone, Copy)]
struct Parts {
    latent: Part,
    rotary_key: Part,
    query: Part,
    rotary_query: Part,
    absorbed_key: Part,
    absorbed_value: Part,
}

impl Parts {
    fn new(latent: &LatentAttention) -> Self {
        let (rank, rope) = (latent.kv_rank, latent.rope_dim);
        let (nope, value) = (latent.nope_dim, latent.value_dim);
        let of = |width: u64, first: u64, size: u64| HeadPart { width, first, size };
        Self {
            latent: Part::Outputs(of(rank + rope, 0, rank)),
            rotary_key: Part::Rotated(of(rank + rope, rank, rope)),
            query: Part::Outputs(of(nope + rope, 0, nope)),
            rotary_query: Part::Rotated(of(nope + rope, nope, rope)),
            absorbed_key: Part::OfHeadsTurned { part: of(nope + value, 0, nope), inputs: rank },
            absorbed_value: Part::OfHeads { part: of(nope + value, nope, value), inputs: rank },
        }
    }
}

/// Queries as their product leaves them: each column of a copy with a part of those of its heads; of the rotated part
/// what it scores, shared out among the columns that share a sequence.
fn query_fields(lies: &KvLies, latent: &LatentAttention, tokens: u64) -> [Field; 2] {
    let query = lies.heads("query", tokens, Dimension::whole(latent.nope_dim));
    let rotary = lies.heads("rotary_query", tokens, lies.rotated_width());
    [over_columns(lies, query), lies.made(rotary)]
}

/// What all columns of a copy share out.
fn over_columns(lies: &KvLies, field: Field) -> Field {
    if lies.of_copy() > 1 { field.shared(lies.copy_digit()) } else { field }
}

/// A list that is shared out evenly among `source` places of a line, each of which has it in pieces of neighbours, goes
/// to `target` groups of places that each want all of their part.
#[derive(Debug, Clone, Copy)]
struct Turn {
    size: u64,
    source: u64,
    target: u64,
}

impl Turn {
    /// Elements of the pieces that the places of a part want, by owner.
    fn pieces_of(self, part: u64) -> Vec<u64> {
        let Self { size, source, target } = self;
        let (each, rest) = (size / target.max(1), size % target.max(1));
        let held = size / source.max(1);
        let mut pieces = Vec::new();
        let (mut at, end) = (each * part, each * (part + 1));
        while at < end {
            // The last elements lie one each in the first places.
            let next = if held > 0 && at < held * source { (at / held + 1) * held } else { at + 1 };
            pieces.push(next.min(end) - at);
            at = next;
        }
        if part < rest {
            pieces.push(1);
        }
        pieces
    }

    /// Wavelets that the busiest line carries, where `wavelets` says how many carry so many elements.
    fn wavelets(self, wavelets: impl Fn(u64) -> u64) -> u64 {
        let of_part = |part: u64| self.pieces_of(part).into_iter().map(&wavelets).sum();
        (0..self.target).map(of_part).max().unwrap_or(0)
    }
}

impl Writer<'_> {
    /// Wavelets of a turn on its busiest line.
    fn turn_wavelets(&self, turn: Turn) -> u64 {
        let (tokens, kind) = (self.request.tokens, self.activations());
        turn.wavelets(|elements| kind.wavelets(elements.saturating_mul(tokens)))
    }

    /// Queries of a copy's heads, without the rotated part, from the columns of the copy to its rows.
    fn turned_query(&mut self, lies: KvLies, latent: &LatentAttention, query: Operand) -> (Node, Operand) {
        let (tokens, rows) = (self.request.tokens, self.region().rows);
        let wanted = lies.heads("query", tokens, Dimension::whole(latent.nope_dim));
        let size = wanted.most_inner();
        let wanted = wanted.shared(Digit::line(Axis::Y, rows));
        let target = self.declare("attention.turned_query", vec![wanted]);
        let wavelets = self.turn_wavelets(Turn { size, source: lies.of_copy(), target: rows });
        let way = Way::Pieces { hops: lies.of_copy() - 1, wavelets };
        (self.relayout(Axis::X, query.buffer, target, way), first(target))
    }

    /// Results of a copy's heads from its rows to its columns, where the output projection reads them.
    pub(crate) fn turned_result(&mut self, lies: KvLies, latent: &LatentAttention, result: Operand) -> (Node, Operand) {
        let (tokens, rows) = (self.request.tokens, self.region().rows);
        let wanted = lies.heads("result", tokens, Dimension::whole(latent.value_dim));
        let size = wanted.most_inner();
        let target = self.declare("attention.turned_result", vec![over_columns(&lies, wanted)]);
        let wavelets = self.turn_wavelets(Turn { size, source: rows, target: lies.of_copy() });
        let way = Way::Pieces { hops: rows - 1, wavelets };
        (self.relayout(Axis::Y, result.buffer, target, way), first(target))
    }

    /// Copies of operands in a buffer that leaves with others.
    fn together(&mut self, name: &'static str, operands: &[Operand]) -> (Vec<Node>, BufferId) {
        let fields = operands.iter().map(|operand| self.field(*operand)).collect();
        let target = self.declare(name, fields);
        let copies = operands.iter().zip(0..).map(|(source, field)| {
            let work = vec![self.work(Operation::Copy, self.most(*source), 1)];
            let formula = Formula::Load { source: *source, target: Operand::new(target, field) };
            self.compute(Math::Copy, &[source.buffer], target, work, formula)
        });
        (copies.collect(), target)
    }

    /// What the columns that share a sequence have made between them, to all of them: absorbed and rotated queries, a
    /// new entry, and what an indexer needs.
    fn latents_to_groups(&mut self, lies: KvLies, made: &[Operand], indexing: Vec<Field>) -> (Vec<Node>, Vec<Operand>) {
        if lies.groups == 1 {
            return (Vec::new(), made.to_vec());
        }
        let tokens = self.request.tokens;
        let (mut nodes, source) = self.together("attention.to_share", made);
        let absorbed = Field { name: "absorbed".into(), ..lies.query(tokens) };
        let rotary = lies.heads("rotary_query", tokens, lies.rotated_width());
        let mut wanted = vec![absorbed, rotary, lies.new_keys(tokens), lies.new_values(tokens)];
        wanted.extend(indexing);
        let target = self.declare("attention.shared", wanted);
        let segment = self.segment(lies.groups, 1, source, target);
        let region = lies.in_use(self.region());
        nodes.extend(collective::all_gather(&mut self.program, region, segment));
        (nodes, (0..).take(made.len()).map(|field| Operand::new(target, field)).collect())
    }
}

impl<'a> Walk<'a> {
    pub(super) fn latent(&self) -> Result<&'a LatentAttention, LowerError> {
        match &self.writer.request.layer.attention {
            Attention::Latent(latent) => Ok(latent),
            Attention::Grouped(_) => Err(nothing("grouped attention")),
            Attention::Linear(_) => Err(nothing("linear attention")),
        }
    }

    /// Products of one input whose sums one reduction carries: compressed queries (or queries) with a new entry of the
    /// cache; or queries from compressed ones, with which the norms of these and of latents ride.
    pub(super) fn latent_products(&mut self, index: usize) -> Result<(), LowerError> {
        let latent = self.latent()?;
        let operator = &self.graph.operators()[index];
        let request = self.writer.request;
        let (lies, tokens, parts) = (latent_lies(request, latent), request.tokens, Parts::new(latent));
        let from_stream = operator.name == "attention.query_key_value";
        let mut x = self.operand(operator.reads.first())?;
        let mut nodes = Vec::new();
        if !from_stream && self.riding.is_none() {
            let (turn, turned) = self.turned_compressed(x, None)?;
            nodes.push(turn);
            x = turned;
        }
        let riding = self.riding.take();
        let latent_riding = if from_stream { None } else { self.latent_riding.take() };

        let queries = query_fields(&lies, latent, tokens);
        let region = self.writer.region();
        let of_queries = |role: Role| [(role, parts.query), (role, parts.rotary_query)];
        // Matrices, each with the fields that its parts make.
        let (mut fields, mut matrices) = match latent.query_rank {
            Some(rank) if from_stream => {
                let compressed = Field::new("compressed", Dimension::whole(tokens), vec![along(rank, Axis::X, region)]);
                (vec![compressed], vec![vec![(Role::QueryDown, Part::Whole)]])
            }
            Some(_) => {
                let (mut fields, mut matrices) = (queries.to_vec(), vec![of_queries(Role::QueryUp).to_vec()]);
                if let Some((of_indexer, _)) = self.indexing(lies) {
                    fields.push(lies.made(of_indexer.query(tokens)));
                    matrices.push(vec![(Role::IndexQuery, Part::Whole)]);
                }
                (fields, matrices)
            }
            None => (queries.to_vec(), vec![of_queries(Role::Query).to_vec()]),
        };
        if from_stream {
            fields.extend([lies.new_keys(tokens), lies.new_values(tokens)].map(|field| lies.made(field)));
            matrices.push(vec![(Role::KvDown, parts.latent), (Role::KvDown, parts.rotary_key)]);
            if let Some((of_indexer, _)) = self.indexing(lies) {
                let weights = of_indexer.statistic("index_weights", tokens);
                fields.extend([of_indexer.new_keys(tokens), weights].map(|field| lies.made(field)));
                matrices.extend([Role::IndexKey, Role::IndexWeight].map(|role| vec![(role, Part::Whole)]));
            }
        }
        let count = fields.len() as u32;
        fields.extend(riding.map(|_| riding_sums(tokens)));
        let latent_sums = fields.len() as u32;
        fields.extend(latent_riding.map(|_| Field { name: "latent_sums".into(), ..riding_sums(tokens) }));
        let early_field = fields.len() as u32;
        let early = self.early_logits(&operator.writes);
        fields.extend(early.clone());
        let made = self.writer.declare(operator.name, fields);
        let [sums, latent_sums] = [count, latent_sums].map(|field| Operand::new(made, field));
        nodes.extend(self.writer.ride(riding, sums));
        nodes.extend(self.writer.ride(latent_riding, latent_sums));
        if early.is_some() {
            let early = Operand::new(made, early_field);
            let stream = self.operand(operator.reads.get(operator.reads.len() - 2))?;
            nodes.extend(self.writer.logits_of_stream(stream, early, self.graph.accumulators_in_place));
            self.early = Some(early);
        }
        let mut operands = (0..count).map(|field| Operand::new(made, field));
        let mut scaled = Vec::new();
        for parts in matrices {
            let mut products = Vec::new();
            for (role, part) in parts {
                let Some(y) = operands.next() else { break };
                scaled.push(Rescaled { operand: y, bias: None });
                let product = Product { part, ..Product::plain(&self.writer, role, x, y) };
                products.extend(self.writer.product(product, self.graph.accumulators_in_place));
            }
            // The parts of one matrix are one tile.
            nodes.extend(interleave(products));
        }
        for (id, scaled) in operator.writes.iter().zip(&scaled) {
            self.at.insert(*id, scaled.operand);
        }
        nodes.extend(self.writer.reduce(operator.name, LineKind::Y, Lines::Whole(Axis::Y), made));
        nodes.extend(self.writer.scale(riding, sums, scaled));
        if latent_riding.is_some() {
            let entry = vec![Rescaled { operand: self.named("attention.latent")?, bias: None }];
            nodes.extend(self.writer.scale(latent_riding, latent_sums, entry));
        }
        self.writer.program.push(operator.name, nodes);
        Ok(())
    }

    /// Where the tensor of a name lies.
    pub(super) fn named(&self, name: &str) -> Result<Operand, LowerError> {
        let id = self.graph.tensors().find(|(_, tensor)| tensor.name == name).map(|(id, _)| id);
        self.operand(id.as_ref())
    }

    /// Compressed queries from along x to along y; new latents with them where their norm rides with the queries.
    pub(super) fn turned_compressed(
        &mut self,
        x: Operand,
        latents: Option<Operand>,
    ) -> Result<(Node, Operand), LowerError> {
        let writer = &mut self.writer;
        let (region, tokens) = (writer.region(), writer.request.tokens);
        let size = writer.field(x).row_size();
        let turned = |name: &'static str, size: u64| {
            Field::new(name, Dimension::whole(tokens), vec![along(size, Axis::Y, region)])
        };
        let mut fields = vec![turned("compressed", size)];
        let mut wavelets = writer.turn_wavelets(Turn { size, source: region.columns, target: region.rows });
        if let Some(latents) = latents {
            let size = writer.field(latents).row_size();
            fields.push(turned("latent", size));
            // Neighbours among latents lie in different columns.
            wavelets += writer.activations().wavelets(tokens).saturating_mul(size.div_ceil(region.rows));
        }
        let target = writer.declare("attention.turned", fields);
        let way = Way::Pieces { hops: region.columns - 1, wavelets };
        Ok((writer.relayout(Axis::X, x.buffer, target, way), first(target)))
    }

    /// The norm of compressed queries where it rides with their product: they are turned, and get their gain. New
    /// latents are turned with them, for their sum of squares.
    pub(super) fn query_norm(&mut self, name: &'static str, reads: &[TensorId]) -> Result<(), LowerError> {
        let (x, latents) = (self.operand(reads.first())?, self.named("attention.latent")?);
        let (turn, turned) = self.turned_compressed(x, Some(latents))?;
        let field = Field { name: "normed".into(), ..self.writer.field(turned) };
        let normed = first(self.writer.declare("attention.normed_query", vec![field]));
        let gain = GainName::first(Role::AttentionInnerNorm);
        let norm = NormOf { operator: name, x: turned, y: normed, gain, line: LineKind::Y, axis: Axis::Y };
        let (mut nodes, riding) = self.writer.gain(norm);
        nodes.insert(0, turn);
        self.riding = Some(riding);
        self.latent_riding = Some(crate::norm::Riding {
            x: Operand::new(turned.buffer, 1),
            width: self.writer.field(latents).row_size(),
        });
        if let Some(id) = reads.first() {
            self.at.insert(*id, normed);
        }
        self.writer.program.push(name, nodes);
        Ok(())
    }

    /// A norm over vectors along x, in place: of compressed queries, or of new latents. Of latents that ride only the
    /// gain.
    pub(super) fn latent_norm(
        &mut self,
        name: &'static str,
        riding: bool,
        reads: &[TensorId],
    ) -> Result<(), LowerError> {
        let x = self.operand(reads.first())?;
        // Grouped heads have compressed queries alone.
        let of_latents = self.latent().ok().filter(|_| name == "attention.latent_norm");
        let copy = u64::from(of_latents.is_some_and(|latent| latent.query_rank.is_some()));
        let gain = GainName { role: Role::AttentionInnerNorm, copy };
        let norm = NormOf { operator: name, x, y: x, gain, line: LineKind::X, axis: Axis::X };
        let lies = of_latents.map(|latent| latent_lies(self.writer.request, latent)).filter(|lies| lies.copies > 1);
        let nodes = match lies {
            _ if riding => self.writer.gain(norm).0,
            Some(lies) => self.writer.norm_of_copies(norm, lies),
            None => self.writer.norm(norm),
        };
        self.writer.program.push(name, nodes);
        Ok(())
    }

    /// The product of each head: queries into the space of latents, or results out of it.
    pub(super) fn per_head(
        &mut self,
        name: &'static str,
        reads: &[TensorId],
        writes: &[TensorId],
    ) -> Result<(), LowerError> {
        let latent = self.latent()?;
        let request = self.writer.request;
        let (lies, tokens, parts) = (latent_lies(request, latent), request.tokens, Parts::new(latent));
        let in_place = self.graph.accumulators_in_place;
        let rows = self.writer.region().rows;
        if name == "attention.absorbed_key" {
            let query = self.operand(reads.first())?;
            let (turn, turned) = self.writer.turned_query(lies, latent, query);
            let made = first(self.writer.declare(name, vec![lies.shared_latents("absorbed", tokens)]));
            let product = Product::plain(&self.writer, Role::KvUp, turned, made);
            let mut nodes = vec![turn];
            nodes.extend(self.writer.product(Product { part: parts.absorbed_key, ..product }, in_place));
            nodes.extend(self.writer.reduce(name, LineKind::Y, Lines::Whole(Axis::Y), made.buffer));
            if let Some(id) = writes.first() {
                self.at.insert(*id, made);
            }
            self.writer.program.push(name, nodes);
            return Ok(());
        }
        let Some(Made { result: mixed, .. }) = self.result else {
            return Err(nothing("values of heads without attention"));
        };
        let result = lies.heads("result", tokens, Dimension::whole(latent.value_dim));
        let result =
            first(self.writer.declare("attention.head_result", vec![result.shared(Digit::line(Axis::Y, rows))]));
        let product = Product::plain(&self.writer, Role::KvUp, mixed, result);
        let inputs = lies.shared_latents("result", tokens);
        let mut nodes = self.writer.product(Product { part: parts.absorbed_value, inputs, ..product }, in_place);
        let region = self.writer.region();
        nodes.extend(if lies.of_copy() >= region.columns {
            self.writer.reduce(name, LineKind::X, Lines::Whole(Axis::X), result.buffer)
        } else {
            let lines = Lines::Segments { count: lies.of_copy(), stride: 1 };
            let reduce = |writer: &mut Writer<'_>| writer.reduce(name, LineKind::Head, lines, result.buffer);
            self.writer.within(lies.in_use(region), reduce)
        });
        self.mixed = Some((result, self.writer.field(result)));
        self.writer.program.push(name, nodes);
        Ok(())
    }

    /// New entries to the columns that hold them and into the cache; queries to the columns that score them.
    pub(super) fn latent_append(&mut self, name: &'static str, reads: &[TensorId]) -> Result<(), LowerError> {
        let latent = self.latent()?;
        let request = self.writer.request;
        let lies = latent_lies(request, latent);
        let entry = [self.operand(reads.first())?, self.operand(reads.get(1))?];
        let mut names =
            vec!["attention.absorbed", "attention.rotary_query", "attention.latent", "attention.rotary_key"];
        let mut made = vec![self.named(names[0])?, self.named(names[1])?, entry[0], entry[1]];
        let mut wanted = Vec::new();
        if let Some((of_indexer, _)) = self.indexing(lies) {
            let (tokens, ours) =
                (request.tokens, ["attention.index_key", "attention.index_query", "attention.index_weights"]);
            let weights = of_indexer.statistic("index_weights", tokens);
            wanted = vec![of_indexer.new_keys(tokens), of_indexer.query(tokens), weights];
            for name in ours {
                made.push(self.named(name)?);
                names.push(name);
            }
        }
        let (nodes, there) = self.writer.latents_to_groups(lies, &made, wanted);
        for (tensor, operand) in names.into_iter().zip(&there) {
            let id = self.graph.tensors().find(|(_, known)| known.name == tensor).map(|(id, _)| id);
            self.at.extend(id.map(|id| (id, *operand)));
        }
        // Latent, rotary key, and the indexer's key behind them.
        let entry = there.into_iter().skip(2).take(3).collect();
        let cache = self.cached(name, Appended { lies, entry, nodes });
        self.attend(lies, cache, false, latent.nope_dim + latent.rope_dim);
        Ok(())
    }
}
