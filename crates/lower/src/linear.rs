//! Gated linear attention with the delta rule (Gated Delta Networks, arXiv 2412.06464; order and precision as in
//! `modeling_qwen3_next.py` of `transformers`), and the gate behind attention of the same family.
//!
//! Nobody has published it on a wafer: layouts, order of reductions and counts of operations are ours.
//!
//! Columns are divided into blocks, one for each key head (or several heads). A block's columns are groups of
//! neighbours: those of a group share the keys of its heads, groups and rows share the values of all value heads of the
//! block. So what a key reads of the state is a sum over a few neighbouring columns, and every row works on values of
//! its own. Queries and keys stay in the columns where their products leave them; values go to their rows along x (a
//! row of a block takes one or two of them), and what is read goes back to the columns along y.

use wafersim_mapping::LineKind;
use wafersim_program::formula::{StateHeads, StateSums};
use wafersim_program::{
    Axis, BufferId, Digit, Dimension, Field, Formula, GainName, Math, Node, Operand, Operation, Region, Spread, Work,
    collective,
};
use wafersim_spec::DataType;
use wafersim_spec::model::{LinearAttention, Role};

use crate::relayout::Way;
use crate::request::{LayerRequest, LowerError};
use crate::writer::{Lines, Writer, first};

/// States, and what is read of them, as the family's implementation has them.
const STATE: DataType = DataType::Fp32;

/// Exponentials of a head's gates: of the sigmoid, of the softplus and its logarithm (counted like an exponential), of
/// the decay; that of the rate is taken before the program starts. A guess, since no kernel was timed; low: 3, high: 6.
const GATE_EXPONENTIALS: u64 = 4;

/// Vector operations of the gated norm beside SiLU: scale, gain, product with the gate.
const GATED_NORM_OPERATIONS: u64 = 3;

/// Vector operations over the values of a place after a single read: the scales of key and query, the difference, its
/// strength, the query's share of what is written, and its sum.
const SINGLE_READ_OPERATIONS: u64 = 6;

/// Where the parts of a layer of linear attention lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateLies {
    key_heads: u64,
    /// Value heads that share a key head.
    group: u64,
    key_dim: u64,
    value_dim: u64,
    /// Tokens that the convolution reads again.
    tail: u64,
    blocks: u64,
    /// Columns that share the keys of a head.
    dims: u64,
    /// Groups of columns that share the values.
    groups: u64,
    rows: u64,
}

impl StateLies {
    pub fn new(request: &LayerRequest<'_>, linear: &LinearAttention) -> Self {
        let kv = &request.mapping.kv;
        Self {
            key_heads: linear.key_heads,
            group: linear.group(),
            key_dim: linear.key_dim,
            value_dim: linear.value_dim,
            tail: linear.kernel.saturating_sub(1),
            blocks: linear.key_heads.div_ceil(kv.heads_per_block.max(1)).max(1),
            dims: kv.dimension_split.max(1),
            groups: kv.sequence_split.max(1),
            rows: request.mapping.region.rows.max(1),
        }
    }

    /// Columns of a block.
    const fn pitch(&self) -> u64 {
        self.dims.saturating_mul(self.groups)
    }

    /// Columns of all blocks.
    const fn columns(&self) -> u64 {
        self.blocks.saturating_mul(self.pitch())
    }

    /// Whether a region has as many columns.
    pub const fn check(&self, columns: u64) -> Result<(), LowerError> {
        let wanted = self.columns();
        if wanted > columns {
            return Err(LowerError::KvColumns { wanted, blocks: self.blocks, columns });
        }
        Ok(())
    }

    /// The columns in use of a region.
    const fn in_use(&self, region: Region) -> Region {
        Region::new(region.x, region.y, self.columns(), region.rows)
    }

    /// Length of a query: the factor of softmax attention is here as well.
    fn query_scale(&self) -> f64 {
        1.0 / (self.key_dim as f64).sqrt()
    }

    const fn heads(&self) -> StateHeads {
        StateHeads { group: self.group, key_dim: self.key_dim, value_dim: self.value_dim }
    }

    fn head(&self) -> Dimension {
        Dimension::split(self.key_heads, Digit::blocks(Axis::X, self.pitch(), self.blocks))
    }

    const fn dims_digit(&self) -> Digit {
        Digit::inside(Axis::X, self.dims)
    }

    const fn groups_digit(&self) -> Digit {
        let pitch = self.pitch();
        Digit { axis: Axis::X, first: 0, modulus: pitch, limit: pitch, stride: self.dims, parts: self.groups }
    }

    /// A dimension that two digits share out, one after the other.
    fn twice(&self, size: u64, outer: Digit, inner: Digit) -> Dimension {
        match (outer.parts, inner.parts) {
            (_, 1) => Dimension::split(size, outer),
            (1, _) => Dimension::split(size, inner),
            _ => {
                let spread = Spread::Shared { spread: Box::new(Spread::Split(outer)), digit: inner };
                Dimension { size, spread }
            }
        }
    }

    /// Keys of a head as they are made: over all columns of the block.
    fn made_keys(&self) -> Dimension {
        self.twice(self.key_dim, self.dims_digit(), self.groups_digit())
    }

    /// Keys of a head where a state wants them.
    fn keys(&self) -> Dimension {
        Dimension::split(self.key_dim, self.dims_digit())
    }

    /// Values of all heads that share a key head, over the columns of the block.
    fn column_values(&self) -> Dimension {
        self.twice(self.group * self.value_dim, self.groups_digit(), self.dims_digit())
    }

    /// The same over groups of columns and rows.
    fn row_values(&self) -> Dimension {
        self.twice(self.group * self.value_dim, self.groups_digit(), Digit::line(Axis::Y, self.rows))
    }

    fn field(&self, name: &'static str, rows: u64, inner: Dimension) -> Field {
        Field::new(name, Dimension::whole(rows), vec![self.head(), inner])
    }

    /// A number for each value head, in all columns of its block.
    fn numbers(&self, name: &'static str, rows: u64) -> Field {
        self.field(name, rows, Dimension::whole(self.group))
    }

    /// What the products of the layer's input make of a tensor.
    pub fn made(&self, tensor: &str, tokens: u64) -> Field {
        match tensor {
            "attention.query" => self.field("q", tokens, self.made_keys()),
            "attention.key" => self.field("k", tokens, self.made_keys()),
            "attention.value" => self.field("v", tokens, self.column_values()),
            "attention.output_gate" => self.field("gate", tokens, self.column_values()),
            "attention.write_strength" => self.numbers("strength", tokens),
            _ => self.numbers("decay", tokens),
        }
    }
}

/// Linear attention of a layer while it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remembering {
    pub lies: StateLies,
    pub query: Operand,
    pub key: Operand,
    pub value: Operand,
    pub gate: Operand,
    pub strength: Operand,
    pub decay: Operand,
}

impl Writer<'_> {
    fn state_work(&self, operation: Operation, length: u64, count: u64) -> Work {
        Work::new(operation, STATE, length, count)
    }

    /// Values to their rows, the convolution of queries, keys and values, and the inputs that it will read again.
    /// Leaves queries and keys in a buffer of their own.
    pub fn convolution(&mut self, of: Remembering) -> (Vec<Node>, Remembering) {
        let (lies, tokens, users) = (of.lies, self.request.tokens, self.request.users.max(1));
        let activations = self.activations();
        let tails = vec![
            lies.field("q", lies.tail * users, lies.made_keys()),
            lies.field("k", lies.tail * users, lies.made_keys()),
            lies.field("v", lies.tail * users, lies.row_values()),
        ];
        let tail = self.declare_typed("tail", activations, tails);
        let rows = self.declare("attention.row_values", vec![lies.field("v", tokens, lies.row_values())]);
        let both = vec![lies.field("q", tokens, lies.made_keys()), lies.field("k", tokens, lies.made_keys())];
        let convolved = self.declare("attention.convolved", both);

        // A row's values lie with one owner of its group, or with a few neighbours.
        let each = |dimension: Dimension| dimension.most().max(1);
        let (wanted, held) = (each(lies.row_values()), each(lies.column_values()));
        let (owners, heads) = (wanted.div_ceil(held), lies.head().most());
        let elements = wanted.min(held).saturating_mul(heads).saturating_mul(tokens);
        let way = Way::AllGather { before: 0, owners: owners.min(lies.dims), members: lies.dims, elements };
        let mut nodes = vec![self.relayout(Axis::X, of.value.buffer, rows, way)];

        let keys = lies.key_heads * lies.key_dim;
        let targets = [(of.query, first(convolved), 0), (of.key, Operand::new(convolved, 1), keys)];
        let all = targets.into_iter().chain([(first(rows), first(rows), 2 * keys)]);
        for ((x, y, channel), field) in all.zip(0..) {
            let (elements, vectors) = (self.most(y), lies.tail + 1);
            let here = self.field(Operand::new(tail, field)).most();
            let work = vec![
                self.work(Operation::Multiply, elements, 1),
                self.work(Operation::Fma, elements, vectors - 1),
                self.work(Operation::Silu, elements, 1),
                self.work(Operation::Copy, here, 1),
            ];
            let formula =
                Formula::Convolve { x, y, tail: Operand::new(tail, field), channel, tail_tokens: lies.tail, users };
            nodes.push(self.compute(Math::Convolution, &[x.buffer, tail], y.buffer, work, formula));
        }
        (nodes, Remembering { query: first(convolved), key: Operand::new(convolved, 1), value: first(rows), ..of })
    }

    /// How strongly a token is written, and how much of the state stays.
    pub fn state_gates(&self, of: Remembering) -> Node {
        let numbers = self.most(of.decay);
        let work = vec![
            self.work(Operation::Exponential, numbers, GATE_EXPONENTIALS),
            self.work(Operation::Divide, numbers, 1),
            self.work(Operation::Multiply, numbers, 1),
        ];
        let formula = Formula::StateGates { strength: of.strength, decay: of.decay };
        self.compute(Math::StateGates, &[of.decay.buffer], of.decay.buffer, work, formula)
    }

    /// Queries and keys to length 1, where their sums do not ride with what is read; then to all groups of columns that
    /// share values.
    pub fn unit_norm(&mut self, of: Remembering, riding: bool) -> (Vec<Node>, Remembering) {
        let (lies, tokens) = (of.lies, self.request.tokens);
        let mut nodes = if riding { Vec::new() } else { self.made_unit(of) };
        if lies.groups == 1 {
            return (nodes, of);
        }
        let wanted = vec![lies.field("q", tokens, lies.keys()), lies.field("k", tokens, lies.keys())];
        let shared = self.declare("attention.shared", wanted);
        let segment = self.segment(lies.groups, lies.dims, of.query.buffer, shared);
        let region = lies.in_use(self.region());
        nodes.extend(collective::all_gather(&mut self.program, region, segment));
        (nodes, Remembering { query: first(shared), key: Operand::new(shared, 1), ..of })
    }

    fn made_unit(&mut self, of: Remembering) -> Vec<Node> {
        let (lies, tokens) = (of.lies, self.request.tokens);
        let names = ["query_squares", "key_squares"];
        let fields = names.map(|name| Field::new(name, Dimension::whole(tokens), vec![lies.head()])).to_vec();
        let sums = self.declare("attention.squares", fields);
        let mut nodes = Vec::new();
        let both = [of.query, of.key];
        for (x, field) in both.into_iter().zip(0..) {
            let work = vec![self.work(Operation::ScalarReduce, self.most(x), 1)];
            let formula = Formula::SumOfSquares { x, sums: Operand::new(sums, field), width: lies.key_dim };
            nodes.push(self.compute(Math::SumOfSquares, &[x.buffer], sums, work, formula));
        }
        nodes.extend(self.over_block("attention.unit_norm", LineKind::Head, lies.pitch(), lies, sums));
        for ((x, scale), field) in both.into_iter().zip([lies.query_scale(), 1.0]).zip(0..) {
            let sums = Operand::new(sums, field);
            let heads = self.most(sums);
            let work = vec![
                self.work(Operation::Divide, 1, heads),
                self.work(Operation::SquareRoot, 1, heads),
                self.work(Operation::Multiply, self.most(x), 1),
            ];
            let formula = Formula::UnitScale { x, sums, width: lies.key_dim, epsilon: UNIT_EPSILON, scale };
            nodes.push(self.compute(Math::RmsScale, &[x.buffer, sums.buffer], x.buffer, work, formula));
        }
        nodes
    }

    /// A reduction over the first `count` columns of each segment of as many.
    fn over_block(
        &mut self,
        operator: &'static str,
        line: LineKind,
        count: u64,
        lies: StateLies,
        payload: BufferId,
    ) -> Vec<Node> {
        let region = lies.in_use(self.region());
        let lines = Lines::Segments { count, stride: 1 };
        self.within(region, |writer| writer.reduce(operator, line, lines, payload))
    }

    /// The recurrence, for one token of each user after the other; then what was read goes to the columns where the
    /// output projection wants it.
    pub fn delta_rule(&mut self, of: Remembering, single_read: bool) -> (Vec<Node>, Operand) {
        let (lies, tokens, users) = (of.lies, self.request.tokens, self.request.users.max(1));
        let inner = vec![lies.head(), lies.row_values(), lies.keys()];
        let whole = Field::new("state", Dimension::whole(users), inner);
        let state = first(self.declare_typed("state", STATE, vec![whole]));
        let kept = self.declare("attention.row_result", vec![lies.field("result", tokens, lies.row_values())]);
        let result = self.declare("attention.result", vec![lies.field("result", tokens, lies.column_values())]);
        let (mut body, read) = if single_read { self.single_read(of, state) } else { self.read_twice(of, state) };
        let all_values = self.most(read);
        let work = vec![self.work(Operation::Copy, all_values, 1)];
        let formula = Formula::KeepRows { source: read, target: first(kept), users };
        body.push(self.compute(Math::Copy, &[read.buffer], kept, work, formula));
        let mut nodes = match self.request.consecutive() {
            1 => body,
            times => vec![Node::Repeat { times, body: Box::new(Node::Sequence(body)) }],
        };

        // A column's values lie in as many rows, or in fewer; the first columns of a block want those of the first
        // rows.
        let (wanted, held) = (lies.column_values().most().max(1), lies.row_values().most().max(1));
        let elements = wanted.min(held).saturating_mul(lies.head().most()).saturating_mul(tokens);
        let owners = wanted.div_ceil(held).min(lies.rows);
        let way = Way::AllGather { before: 0, owners, members: lies.rows, elements };
        nodes.push(self.relayout(Axis::Y, kept, result, way));
        (nodes, first(result))
    }

    /// A multiply-accumulate for each element of the states here. Values of a key head in one place share its keys: an
    /// operation for each key, over them.
    fn state_product(&self, lies: StateLies, operation: Operation) -> Work {
        let users = self.request.users.max(1);
        let keys = lies.keys().most().saturating_mul(lies.head().most()).saturating_mul(users);
        self.state_work(operation, lies.row_values().most(), keys)
    }

    /// As the equations have it: the key reads, the token is written, the query reads.
    fn read_twice(&mut self, of: Remembering, state: Operand) -> (Vec<Node>, Operand) {
        let (lies, users) = (of.lies, self.request.users.max(1));
        let recalled =
            self.declare_typed("attention.recalled", STATE, vec![lies.field("read", users, lies.row_values())]);
        let read = self.declare_typed("attention.read", STATE, vec![lies.field("read", users, lies.row_values())]);
        let product = self.state_product(lies, Operation::MappedFma);
        let setup = |count: u64| self.state_work(Operation::Setup, 1, count);
        let all_values = self.most(first(read));
        let recall = vec![self.state_product(lies, Operation::Multiply), setup(1), product];
        let write = vec![
            self.state_work(Operation::Add, all_values, 1),
            self.state_work(Operation::Multiply, all_values, 1),
            setup(2),
            product,
            product,
        ];
        let Remembering { query, key, value, strength, decay, .. } = of;
        let heads = lies.heads();
        let formula = Formula::Recall { state, decay, key, recalled: first(recalled), ahead: None, heads, users };
        let reads = [state.buffer, decay.buffer, key.buffer];
        let mut body = vec![self.compute(Math::DeltaRule, &reads, recalled, recall, formula)];
        body.extend(self.over_block("attention.delta_rule", LineKind::Width, lies.dims, lies, recalled));
        let (recalled, read) = (first(recalled), first(read));
        let formula = Formula::Write { state, recalled, value, strength, key, query, read, ahead: None, heads, users };
        let reads = [state.buffer, recalled.buffer, value.buffer, strength.buffer, key.buffer];
        body.push(self.compute(Math::DeltaRule, &reads, read.buffer, write, formula));
        body.extend(self.over_block("attention.delta_rule", LineKind::Width, lies.dims, lies, read.buffer));
        (body, read)
    }

    /// Key and query read together, as they were made; with the sums of both squares and of their product.
    fn single_read(&mut self, of: Remembering, state: Operand) -> (Vec<Node>, Operand) {
        let (lies, users) = (of.lies, self.request.users.max(1));
        let fields = vec![
            lies.field("recalled", users, lies.row_values()),
            lies.field("read", users, lies.row_values()),
            lies.field("sums", users, Dimension::whole(StateSums::COUNT)),
        ];
        let payload = self.declare_typed("attention.read", STATE, fields);
        let [recalled, read, sums] = [0, 1, 2].map(|field| Operand::new(payload, field));
        let product = self.state_product(lies, Operation::MappedFma);
        let keys = lies.keys().most().saturating_mul(users);
        let (all_values, heads_here) = (self.most(read), lies.head().most().saturating_mul(users));
        let recall = vec![
            self.state_product(lies, Operation::Multiply),
            self.state_work(Operation::Setup, 1, 2),
            product,
            product,
            // Two squares and a product.
            self.state_work(Operation::ScalarReduce, keys.saturating_mul(lies.head().most()), StateSums::COUNT),
        ];
        let write = vec![
            self.state_work(Operation::Divide, 1, 2 * heads_here),
            self.state_work(Operation::SquareRoot, 1, 2 * heads_here),
            // Both scales, difference and strength, the query's share of the token.
            self.state_work(Operation::Multiply, all_values, SINGLE_READ_OPERATIONS),
            self.state_work(Operation::Setup, 1, 1),
            product,
        ];
        let Remembering { query, key, value, strength, decay, .. } = of;
        let (heads, scale) = (lies.heads(), lies.query_scale());
        let ahead = Some(StateSums { query, read, sums, epsilon: UNIT_EPSILON, scale });
        let formula = Formula::Recall { state, decay, key, recalled, ahead, heads, users };
        let reads = [state.buffer, decay.buffer, key.buffer];
        let mut body = vec![self.compute(Math::DeltaRule, &reads, payload, recall, formula)];
        body.extend(self.over_block("attention.delta_rule", LineKind::Width, lies.dims, lies, payload));
        let formula = Formula::Write { state, recalled, value, strength, key, query, read, ahead, heads, users };
        let reads = [state.buffer, payload, value.buffer, strength.buffer, key.buffer];
        body.push(self.compute(Math::DeltaRule, &reads, payload, write, formula));
        (body, read)
    }

    /// RMSNorm of each head's result, times SiLU of the gate, in place.
    pub fn gated_norm(&mut self, of: Remembering, result: Operand) -> Vec<Node> {
        let (lies, tokens) = (of.lies, self.request.tokens);
        let sums = self.declare("attention.norm_sums", vec![lies.numbers("sums", tokens)]);
        let width = lies.value_dim;
        let mut nodes = vec![self.sum_of_squares(result, first(sums), width)];
        nodes.extend(self.over_block("attention.gated_norm", LineKind::Head, lies.pitch(), lies, sums));
        let (heads, elements) = (self.most(first(sums)), self.most(result));
        let work = vec![
            self.work(Operation::Divide, 1, heads),
            self.work(Operation::SquareRoot, 1, heads),
            self.work(Operation::Multiply, elements, GATED_NORM_OPERATIONS),
            self.work(Operation::Silu, elements, 1),
        ];
        let gain = GainName::first(Role::AttentionInnerNorm);
        let epsilon = self.request.norm_epsilon;
        let formula = Formula::GatedNorm { x: result, sums: first(sums), gain, gate: of.gate, width, epsilon };
        nodes.push(self.compute(Math::RmsScale, &[result.buffer, sums, of.gate.buffer], result.buffer, work, formula));
        nodes
    }

    /// What each head makes times the sigmoid of its number, in place.
    pub fn head_gate(&mut self, result: Operand, gate: Operand) -> Node {
        let work =
            vec![self.work(Operation::Silu, self.most(gate), 1), self.work(Operation::Multiply, self.most(result), 1)];
        let formula = Formula::HeadGate { x: result, gate };
        self.compute(Math::GatedActivation, &[gate.buffer], result.buffer, work, formula)
    }

    /// What grouped attention makes times the sigmoid of its gate, as far as a place multiplies it with the output
    /// projection.
    pub fn output_gate(&mut self, result: Operand, gate: Operand) -> (Node, Operand) {
        let gated = self.declare("attention.gated", vec![Field { name: "result".into(), ..self.field(gate) }]);
        let elements = self.most(gate);
        let work = vec![self.work(Operation::Silu, elements, 1), self.work(Operation::Multiply, elements, 1)];
        let formula = Formula::OutputGate { x: result, gate, y: first(gated) };
        (self.compute(Math::GatedActivation, &[result.buffer, gate.buffer], gated, work, formula), first(gated))
    }
}

/// Added to the sum of squares of a query or key (`l2norm` of the implementation).
const UNIT_EPSILON: f64 = 1e-6;
