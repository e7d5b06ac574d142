//! Gated networks: dense, shared, and experts, spread over the region or in a rectangle.
//!
//! Spread experts need no dispatch: every processing element holds a tile of every expert, and the sum over the chosen
//! experts is taken before the one reduction that a dense network needs as well. The shared expert may go beside them:
//! then one reduction carries the sums of both.

use wafersim_graph::Rewrite;
use wafersim_mapping::LineKind;
use wafersim_program::collective::{self, Sharing};
use wafersim_program::pieces::ring_words;
use wafersim_program::{
    Axis, BufferId, Chosen, Digit, Dimension, Field, Formula, Math, Node, Operand, Operation, Pairs, Part, Rescaled,
    Spread, Work,
};
use wafersim_spec::model::{Gating, Moe, Role};

use crate::norm::{Beside, Riding, riding_sums};
use crate::overlap::{beside_each, beside_reduction, is_conversion};
use crate::product::{Concatenated, Product, interleave};
use crate::request::{ExpertLoad, Routed, Scope};
use crate::router::Choice;
use crate::writer::{Lines, Writer, along, everywhere, first, table};

/// Rows that share out an activation, at most: parts go round one hop at a time.
const MOST_SHARING_ROWS: u64 = 16;

/// How many neighbours share out an activation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActivationSharing {
    /// By elements of a vector: neighbouring rows.
    elements: u64,
    /// By vectors: groups of these.
    vectors: u64,
}

/// A network while it is written.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Roles of gate, up and down, and whether they have biases.
    pub roles: [Role; 3],
    pub bias: bool,
    /// Inner width.
    pub width: u64,
    pub hidden: u64,
    /// Input, and which of its elements a place of the region at work multiplies.
    pub x: Operand,
    pub inputs: Field,
    /// For experts: the choice, and the pairs of tokens and experts in the order in which they are worked on. `from`
    /// and `to` are rows of input and output.
    pub chosen: Option<(Choice, Pairs)>,
    /// Different tiles that vectors go through.
    pub tiles: u64,
    /// Rows of the output.
    pub rows: Dimension,
    pub gating: Gating,
    /// Whether the router's weights multiply the input.
    pub weighs_input: bool,
    /// The product whose sigmoid multiplies what the network makes, where there is one (the shared expert of some
    /// families).
    pub output_gate: Option<Role>,
}

/// Gate and up of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GateUp {
    pub gate: Operand,
    pub up: Operand,
    /// A number for each token, whose sigmoid multiplies what the network makes.
    pub output_gate: Option<Operand>,
}

/// In which form gate, up and down are computed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NetworkForm {
    pub interleaved: bool,
    pub concatenated: bool,
    pub accumulators_in_place: bool,
}

/// A norm that rides with the reduction of gate and up, and what waits for it beside these.
#[derive(Debug, Clone)]
pub(crate) struct Waiting<'a> {
    pub riding: Riding,
    /// Where its sum travels beside the choice of experts instead.
    pub beside: Option<Beside>,
    /// The norm's input, where somebody reads it later.
    pub x: Option<Operand>,
    /// A choice whose weights are logits still.
    pub choice: Option<(Choice, &'a Moe)>,
}

impl Network {
    /// Vectors that go through.
    fn vectors(&self) -> u64 {
        self.chosen.as_ref().map_or(self.rows.most(), |(_, pairs)| pairs.len())
    }

    /// The pairs into the inner vectors.
    fn chosen_at_inner(&self) -> Option<Chosen> {
        let chosen = self.chosen.as_ref();
        chosen.map(|(choice, pairs)| {
            let (experts, pairs) = (choice.experts(), pairs.into_own_rows());
            Chosen { experts, pairs, bias_weights: None }
        })
    }

    /// The pairs out of them. Inner vectors have the router's weights already; biases have not.
    fn out_of_inner(&self) -> Option<Chosen> {
        let weighs = self.bias && !self.weighs_input;
        self.chosen.as_ref().map(|(choice, pairs)| Chosen {
            experts: choice.experts(),
            pairs: pairs.from_own_rows(),
            bias_weights: weighs.then_some(choice.weights()),
        })
    }
}

impl Writer<'_> {
    /// Gate and up of one or two networks of one input, reduced along y together, outputs along x.
    pub fn gate_up(
        &mut self,
        operator: &'static str,
        networks: &[Network],
        form: NetworkForm,
        waiting: Option<Waiting<'_>>,
    ) -> (Vec<Node>, Vec<GateUp>) {
        let region = self.region();
        let mut fields = Vec::new();
        // Fields of one payload have names of their own: pieces find each other by them.
        for (network, names) in networks.iter().zip([["gate", "up"], ["gate beside", "up beside"]]) {
            fields.extend(names.map(|name| table(name, network.vectors(), network.width, Axis::X, region)));
        }
        let rows = networks.first().map_or(0, |network| network.rows.most());
        let riding = waiting.as_ref().filter(|waiting| waiting.beside.is_none()).map(|waiting| waiting.riding);
        let gates_field = fields.len() as u32;
        let gated = networks.iter().filter(|network| network.output_gate.is_some()).count();
        fields.extend((0..gated).map(|_| everywhere("output gate", rows, 1)));
        let sums_field = fields.len() as u32;
        fields.extend(riding.map(|_| riding_sums(rows)));
        let payload = self.declare("feed_forward.gate_up", fields);
        let sums = Operand::new(payload, sums_field);
        let mut nodes = self.ride(riding, sums);
        let mut made = Vec::new();
        for (network, at) in networks.iter().zip((0u32..).step_by(2)) {
            let (gate, up) = (Operand::new(payload, at), Operand::new(payload, at + 1));
            let before = made.iter().filter(|made: &&GateUp| made.output_gate.is_some()).count() as u32;
            let output_gate = network.output_gate.map(|role| (role, Operand::new(payload, gates_field + before)));
            made.push(GateUp { gate, up, output_gate: output_gate.map(|(_, numbers)| numbers) });
            if let Some((role, numbers)) = output_gate {
                // Every column makes it for itself: one output for each of its inputs.
                let product =
                    Product { inputs: network.inputs.clone(), ..Product::plain(self, role, network.x, numbers) };
                nodes.extend(self.product(product, form.accumulators_in_place));
            }
            let both = [(network.roles[0], gate), (network.roles[1], up)];
            nodes.extend(self.both_products(network, both, form, waiting.is_some()));
        }
        let line = if self.is_cell() { LineKind::CellY } else { LineKind::Y };
        let mut reduction = self.reduce(operator, line, Lines::Whole(Axis::Y), payload);
        let Some(mut waiting) = waiting else {
            nodes.extend(reduction);
            return (nodes, made);
        };
        if let Some(Beside { sums, travels, .. }) = waiting.beside.take() {
            // What is cut into strips later has to be found then.
            let (conversions, cut) =
                (self.mapping().overlap.conversion, self.mapping().has(Rewrite::ConversionInStrips));
            nodes = beside_each(travels, nodes, |node| !cut && (conversions || !is_conversion(node)));
            let [early, late] = self.scale_network(networks, &made, &waiting, sums);
            beside_reduction(&mut reduction, early);
            nodes.extend(reduction.into_iter().chain(late));
        } else {
            nodes.extend(reduction);
            let [early, late] = self.scale_network(networks, &made, &waiting, sums);
            nodes.extend(early.into_iter().chain(late));
        }
        (nodes, made)
    }

    /// The scale of a norm that rode, applied to all that waits for it; biases, which are not normed, come afterwards.
    /// First what does not read gate and up, then what does.
    fn scale_network(
        &self,
        networks: &[Network],
        made: &[GateUp],
        Waiting { riding, x, choice, .. }: &Waiting<'_>,
        sums: Operand,
    ) -> [Vec<Node>; 2] {
        let (riding, x, choice) = (*riding, *x, *choice);
        if networks.iter().all(|network| network.chosen.is_none()) {
            let mut scaled: Vec<Rescaled> = x.map(|operand| Rescaled { operand, bias: None }).into_iter().collect();
            for (network, made) in networks.iter().zip(made) {
                let late = |(role, operand)| Rescaled { operand, bias: network.bias.then_some(role) };
                scaled.extend([(network.roles[0], made.gate), (network.roles[1], made.up)].map(late));
                scaled.extend(made.output_gate.map(|operand| Rescaled { operand, bias: None }));
            }
            return [Vec::new(), vec![self.rescale(riding, sums, scaled)]];
        }
        let (mut early, mut late) = (vec![self.norm_scale(riding, sums)], Vec::new());
        let mut by_token: Vec<Operand> = x.into_iter().collect();
        by_token.extend(choice.map(|(choice, _)| choice.weights()));
        if !by_token.is_empty() {
            early.push(self.times(by_token, sums, None));
        }
        early.extend(choice.map(|(choice, moe)| self.weigh(moe, choice, None)));
        let mut by_token: Vec<Operand> = made.iter().filter_map(|made| made.output_gate).collect();
        for (network, GateUp { gate, up, .. }) in networks.iter().zip(made) {
            let Some((_, pairs)) = &network.chosen else {
                by_token.extend([*gate, *up]);
                continue;
            };
            late.push(self.times(vec![*gate, *up], sums, Some(pairs.clone())));
            for (role, y) in [(network.roles[0], *gate), (network.roles[1], *up)] {
                if let (true, Some(chosen)) = (network.bias, network.chosen_at_inner()) {
                    let work = vec![self.work(Operation::Add, self.most(y), 1)];
                    let formula = Formula::Bias { y, role, chosen: Some(chosen) };
                    late.push(self.compute(Math::Add, &[y.buffer], y.buffer, work, formula));
                }
            }
        }
        if !by_token.is_empty() {
            late.push(self.times(by_token, sums, None));
        }
        [early, late]
    }

    /// The local products of gate and up.
    fn both_products(
        &mut self,
        network: &Network,
        both: [(Role, Operand); 2],
        form: NetworkForm,
        rides: bool,
    ) -> Vec<Node> {
        let concatenated = (form.concatenated && network.chosen.is_some()).then_some(Concatenated::Outputs);
        let mut nodes = Vec::new();
        for (role, y) in both {
            let product = Product {
                role,
                behind: Vec::new(),
                x: network.x,
                inputs: network.inputs.clone(),
                y,
                bias: (network.bias && !rides).then_some(Axis::Y),
                chosen: network.chosen_at_inner(),
                vectors: network.vectors(),
                tiles: network.tiles,
                concatenated,
                part: Part::Whole,
            };
            nodes.extend(self.product(product, form.accumulators_in_place));
        }
        // Two products of one input whose tiles lie interleaved: one operation of twice the length does the work of
        // both.
        if form.interleaved { interleave(nodes) } else { nodes }
    }

    /// The inner vector times the sigmoid of the network's own gate. Down is linear, so that this is what multiplies
    /// what it makes.
    pub fn gate_of_output(&self, made: GateUp) -> Option<Node> {
        let numbers = made.output_gate?;
        let (tokens, elements) = (self.most(numbers), self.most(made.gate));
        let work = vec![
            self.work(Operation::Exponential, tokens, 1),
            self.work(Operation::Divide, tokens, 1),
            self.work(Operation::Multiply, elements.div_ceil(tokens.max(1)), tokens),
        ];
        let formula = Formula::RowGate { x: made.gate, numbers };
        Some(self.compute(Math::GatedActivation, &[made.gate.buffer], made.gate.buffer, work, formula))
    }

    /// What the gating makes of gate and up, times the router's weight for experts, in place of gate.
    pub fn gated_activation(&self, network: &Network, made: GateUp) -> Node {
        let elements = self.most(made.gate);
        // Measured layers run their SiLU over the elements of the residual stream (kernels of WaferLLM, 2025).
        let silu = match self.request.scope {
            Scope::Model => elements,
            Scope::Measured => self.region().share(Axis::X, network.hidden).saturating_mul(network.rows.most()),
        };
        // Two products: with up, and with the router's weight (or a copy).
        let mut work = vec![self.work(Operation::Silu, silu, 1), self.work(Operation::Multiply, elements, 2)];
        work.extend(self.further_gating(network, elements));
        let chosen = network.chosen.as_ref();
        let weights = chosen.map(|(choice, pairs)| (choice.weights(), pairs.clone()));
        let (gating, weighs_input) = (network.gating, network.weighs_input);
        let formula = Formula::GatedActivation { gate: made.gate, up: made.up, gating, weights, weighs_input };
        self.compute(Math::GatedActivation, &[made.gate.buffer], made.gate.buffer, work, formula)
    }

    /// Rows among which an activation is shared out: as many neighbours as divide the rows of the region, by elements
    /// of a vector, then by vectors. Nothing where there are no two of them.
    pub fn activation_sharing(&self, made: GateUp) -> Option<ActivationSharing> {
        let (rows, field) = (self.region().rows, self.laid(made.gate));
        let most = |among: u64, each: u64| {
            let fits = |count: &u64| rows.is_multiple_of(each * *count) && *count <= among;
            (1..=MOST_SHARING_ROWS / each).filter(fits).max().unwrap_or(1)
        };
        let elements = most(field.most_inner(), 1);
        let vectors = most(field.rows.most(), elements);
        (elements * vectors > 1).then_some(ActivationSharing { elements, vectors })
    }

    /// The same among neighbouring rows, each of which holds all of gate and up: each takes a part, then the parts go
    /// round. Returns what all rows have then.
    pub fn divided_activation(
        &mut self,
        network: &Network,
        made: GateUp,
        sharing: ActivationSharing,
    ) -> (Vec<Node>, Operand) {
        let ActivationSharing { elements, vectors } = sharing;
        let count = elements * vectors;
        let of_vectors = Digit { stride: elements, parts: vectors, ..Digit::inside(Axis::Y, count) };
        let mut nodes = Vec::new();
        let parts = [made.gate, made.up].map(|operand| {
            let field = self.field(operand);
            let mut part = field.shared(Digit::inside(Axis::Y, elements));
            if vectors > 1 {
                part.rows.spread = Spread::Split(of_vectors);
            }
            let part = first(self.declare("feed_forward.part", vec![part]));
            // A part is read where it lies.
            let formula = Formula::Select { source: operand, target: part };
            nodes.push(self.compute(Math::Copy, &[operand.buffer], part.buffer, Vec::new(), formula));
            part
        });
        let [gate, up] = parts;
        nodes.push(self.gated_activation(network, GateUp { gate, up, ..made }));
        let field = self.field(made.gate);
        let whole = self.declare("feed_forward.inner", vec![field]);
        let sharing = Sharing {
            axis: Axis::Y,
            count,
            stride: 1,
            words: ring_words(self.request.queue),
            source: gate.buffer,
            target: whole,
        };
        let region = self.region();
        nodes.extend(collective::all_gather(&mut self.program, region, sharing));
        (nodes, first(whole))
    }

    /// Vector operations of a gating beyond those of `silu(gate) * up`.
    fn further_gating(&self, network: &Network, elements: u64) -> Vec<Work> {
        let mut operations = 0;
        if let Gating::Clamped { .. } = network.gating {
            // Gate cut off above, up on both sides, up + 1; the factor in the sigmoid.
            operations += 5;
        }
        if network.weighs_input {
            // Gate and up each, in place of the result.
            operations += 1;
        }
        (operations > 0).then(|| self.work(Operation::Multiply, elements, operations)).into_iter().collect()
    }

    /// Down of networks whose outputs are added, reduced along x, outputs along y. Each with its inner vectors.
    pub fn down(
        &mut self,
        operator: &'static str,
        networks: &[(Network, Operand)],
        form: NetworkForm,
    ) -> (Vec<Node>, BufferId) {
        let (mut nodes, output) = self.partial_down(networks, form);
        let line = if self.is_cell() { LineKind::CellX } else { LineKind::X };
        nodes.extend(self.reduce(operator, line, Lines::Whole(Axis::X), output));
        (nodes, output)
    }

    /// The same before the reduction.
    pub fn partial_down(&mut self, networks: &[(Network, Operand)], form: NetworkForm) -> (Vec<Node>, BufferId) {
        let (mut nodes, mut outputs) = (Vec::new(), Vec::new());
        for (network, inner) in networks {
            let field = Field::new("output", network.rows.clone(), vec![along(network.hidden, Axis::Y, self.region())]);
            let output = self.declare("feed_forward.output", vec![field]);
            let concatenated = form.concatenated && network.chosen.is_some();
            let product = Product {
                role: network.roles[2],
                behind: Vec::new(),
                x: *inner,
                inputs: self.field(*inner),
                y: first(output),
                bias: network.bias.then_some(Axis::X),
                chosen: network.out_of_inner(),
                vectors: network.vectors(),
                tiles: network.tiles,
                concatenated: concatenated.then_some(Concatenated::Inputs),
                part: Part::Whole,
            };
            nodes.extend(self.product(product, form.accumulators_in_place));
            outputs.push(output);
        }
        let output = outputs.first().copied().unwrap_or(BufferId::NONE);
        nodes.extend(outputs.iter().skip(1).map(|other| self.residual(first(output), first(*other))));
        (nodes, output)
    }

    /// Whether the region at work is a part of the layer's.
    pub fn is_cell(&self) -> bool {
        self.region() != self.mapping().whole()
    }

    /// The load of the experts: as expected, or counted.
    pub fn expert_load(&self) -> ExpertLoad {
        match &self.request.routed {
            Routed::Expected(load) => *load,
            Routed::Chosen(chosen) => {
                let spread = wafersim_mapping::ExpertMapping::spread(u64::MAX);
                ExpertLoad::counted(chosen, self.mapping().experts.as_ref().unwrap_or(&spread))
            }
        }
    }
}
