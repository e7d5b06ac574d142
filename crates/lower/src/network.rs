//! Gated networks over the whole region: dense, shared, and spread experts.
//!
//! Spread experts need no dispatch: every processing element holds a tile of every expert, and the sum over the chosen
//! experts is taken before the one reduction that a dense network needs as well.

use wafersim_mapping::LineKind;
use wafersim_program::{
    Axis, BufferId, Chosen, Dimension, Field, Formula, Math, Node, Operand, Operation, Pair, Rescaled,
};
use wafersim_spec::model::Role;

use crate::norm::{Riding, riding_sums};
use crate::product::Product;
use crate::request::{ExpertLoad, Routed, Scope};
use crate::writer::{Lines, Writer, along, first, table};

/// A network while it is written.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Roles of gate, up and down, and whether they have biases.
    pub roles: [Role; 3],
    pub bias: bool,
    /// Inner width.
    pub width: u64,
    pub hidden: u64,
    /// Input.
    pub x: Operand,
    /// For experts: the choice, and the pairs of tokens and experts in the order in which they are worked on.
    pub chosen: Option<(BufferId, Vec<Pair>)>,
    pub load: ExpertLoad,
    /// Rows of the output.
    pub rows: Dimension,
}

/// Gate and up of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GateUp {
    pub gate: Operand,
    pub up: Operand,
}

/// In which form gate, up and down are computed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NetworkForm {
    pub interleaved: bool,
    pub accumulators_in_place: bool,
}

/// All pairs of `tokens` tokens with `top_k` experts each, whose outputs are summed for each token.
pub(crate) fn all_pairs(tokens: u64, top_k: u64) -> Vec<Pair> {
    (0..tokens).flat_map(|token| (0..top_k).map(move |slot| Pair { token, slot, from: token, to: token })).collect()
}

impl Network {
    /// Vectors that go through.
    fn vectors(&self) -> u64 {
        self.chosen.as_ref().map_or(self.rows.most(), |(_, pairs)| pairs.len() as u64)
    }

    /// The pairs into the inner vectors.
    fn into_inner(&self) -> Option<Chosen> {
        let pairs = |pairs: &[Pair]| (0..).zip(pairs).map(|(to, pair)| Pair { to, ..*pair }).collect();
        self.chosen.as_ref().map(|(choice, list)| Chosen { experts: first(*choice), pairs: pairs(list) })
    }

    /// The pairs out of them.
    fn out_of_inner(&self) -> Option<Chosen> {
        let pairs = |pairs: &[Pair]| (0..).zip(pairs).map(|(from, pair)| Pair { from, ..*pair }).collect();
        self.chosen.as_ref().map(|(choice, list)| Chosen { experts: first(*choice), pairs: pairs(list) })
    }
}

impl Writer<'_> {
    /// Gate and up, reduced along y, and outputs along x.
    pub fn gate_up(
        &mut self,
        operator: &'static str,
        network: &Network,
        form: NetworkForm,
        riding: Option<Riding>,
    ) -> (Vec<Node>, GateUp) {
        let region = self.region();
        let vectors = network.vectors();
        let mut fields = ["gate", "up"].map(|name| table(name, vectors, network.width, Axis::X, region)).to_vec();
        fields.extend(riding.map(|_| riding_sums(network.rows.most())));
        let made = self.declare("feed_forward.gate_up", fields);
        let (gate, up, sums) = (first(made), Operand::new(made, 1), Operand::new(made, 2));
        let mut nodes = self.ride(riding, sums);
        let product = |role: Role, y: Operand| Product {
            role,
            x: network.x,
            inputs: Field::new("", Dimension::whole(0), Vec::new()),
            y,
            bias: (network.bias && riding.is_none()).then_some(Axis::Y),
            chosen: network.into_inner(),
            vectors,
            tiles: network.load.distinct,
        };
        let inputs = self.field(network.x);
        let both = [(network.roles[0], gate), (network.roles[1], up)]
            .map(|(role, y)| Product { inputs: inputs.clone(), ..product(role, y) });
        nodes.extend(if form.interleaved {
            self.interleaved(both, form.accumulators_in_place)
        } else {
            let [gate, up] = both.map(|product| self.product(product, form.accumulators_in_place));
            [gate, up].concat()
        });
        let line = if self.is_cell() { LineKind::CellY } else { LineKind::Y };
        nodes.extend(self.reduce(operator, line, Lines::Whole(Axis::Y), made));
        let late = |role: Role, operand: Operand| Rescaled { operand, bias: network.bias.then_some(role) };
        let scaled = vec![late(network.roles[0], gate), late(network.roles[1], up)];
        nodes.extend(self.scale(riding, sums, scaled));
        (nodes, GateUp { gate, up })
    }

    /// `silu(gate) * up`, times the router's weight for experts, in place of gate.
    pub fn gated_activation(&self, network: &Network, made: GateUp) -> Node {
        let elements = self.most(made.gate);
        // Measured layers run their SiLU over the elements of the residual stream (kernels of WaferLLM, 2025).
        let silu = match self.request.scope {
            Scope::Model => elements,
            Scope::Measured => elements.min(self.most(network.x)),
        };
        let work = vec![self.work(Operation::Silu, silu, 1), self.work(Operation::Multiply, elements, 2)];
        let weights = network.chosen.as_ref().map(|(choice, pairs)| (Operand::new(*choice, 1), pairs.clone()));
        let formula = Formula::GatedActivation { gate: made.gate, up: made.up, weights };
        self.compute(Math::GatedActivation, &[made.gate.buffer], made.gate.buffer, work, formula)
    }

    /// Down, reduced along x, outputs along y.
    pub fn down(
        &mut self,
        operator: &'static str,
        network: &Network,
        form: NetworkForm,
        inner: Operand,
    ) -> (Vec<Node>, BufferId) {
        let field = Field::new("output", network.rows.clone(), vec![along(network.hidden, Axis::Y, self.region())]);
        let output = self.declare("feed_forward.output", vec![field]);
        let product = Product {
            role: network.roles[2],
            x: inner,
            inputs: self.field(inner),
            y: first(output),
            bias: network.bias.then_some(Axis::X),
            chosen: network.out_of_inner(),
            vectors: network.vectors(),
            tiles: network.load.distinct,
        };
        let mut nodes = self.product(product, form.accumulators_in_place);
        let line = if self.is_cell() { LineKind::CellX } else { LineKind::X };
        nodes.extend(self.reduce(operator, line, Lines::Whole(Axis::X), output));
        (nodes, output)
    }

    /// Two products of one input whose tiles lie interleaved: one operation of twice the length does the work of both.
    fn interleaved(&mut self, [gate, up]: [Product; 2], in_place: bool) -> Vec<Node> {
        let mut nodes = self.product(gate, in_place);
        nodes.extend(self.product(up, in_place));
        crate::product::interleave(nodes)
    }

    /// Whether the region at work is a part of the layer's.
    fn is_cell(&self) -> bool {
        self.region() != self.mapping().whole()
    }

    /// The load of the experts, as far as it is known.
    pub fn expert_load(&self, top_k: u64) -> ExpertLoad {
        match &self.request.routed {
            Routed::Expected(load) => *load,
            Routed::Chosen(_) => {
                let tokens = self.request.tokens;
                ExpertLoad { pairs: tokens.saturating_mul(top_k), distinct: top_k, busiest: tokens }
            }
        }
    }
}
