//! Gated networks (Shazeer 2020): dense, shared, and routed ones as slots of chosen experts.
//!
//! The chosen experts have no path between each other; the shared expert does not wait for the router.

use wafersim_spec::model::{Role, Tensor};

use super::layer::Walk;
use super::{Builder, Tap, Weights, product};
use crate::error::GraphError;
use crate::layer::{LayerOperator, NetworkKind};
use crate::operator::{ExpertStage, Operator, OperatorKind, OperatorName, Shape, elementwise};
use crate::routing::{expected_distinct_experts, share};

/// A network on its way: one part of it, or a part for each slot.
#[derive(Default)]
pub(super) struct Network {
    slots: Option<Slot>,
    /// Inner width.
    width: u64,
    /// Gate and up, then the inner vector.
    inner: Vec<Vec<Tap>>,
    /// Who has chosen.
    chosen: Option<Tap>,
    /// The number whose sigmoid multiplies what the network makes.
    output_gate: Option<Tap>,
}

/// One of the expert slots.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) index: u64,
    pub(super) slots: u64,
    /// Copies that all slots read together.
    pub(super) distinct: u64,
}

impl Slot {
    fn weights(self, tensor: &Tensor, builder: &Builder<'_>) -> Weights {
        let one = Tensor { copies: 1, active: 1, ..*tensor };
        Weights {
            parameters: one.parameters() * share(tensor.copies, self.slots, self.index),
            active_parameters: one.parameters() * share(tensor.active, self.slots, self.index),
            bytes: one.bytes(builder.precision) * share(self.distinct, self.slots, self.index),
        }
    }
}

impl Walk<'_, '_> {
    pub(super) fn gate_up(&mut self, operator: &LayerOperator, network: NetworkKind) -> Result<(), GraphError> {
        let mut source = self.tap(operator, 0)?;
        let normed = source;
        let mut made = Network::default();
        if let Some((top_k, experts)) = self.slots_of(operator) {
            let (tokens, hidden) = (self.tokens(), self.builder.hidden);
            let rows = Shape::new(tokens, hidden);
            let shapes = [rows, Shape::new(product([tokens, top_k]), hidden)];
            let dispatch = self.named("feed_forward.dispatch", OperatorKind::ExpertDispatch, shapes);
            made.chosen = self.chosen(operator);
            let sources: Vec<Tap> = std::iter::once(source).chain(made.chosen).collect();
            source = self.builder.add(dispatch, &sources).part(rows.elements());
            let distinct = expected_distinct_experts(experts, top_k, tokens);
            made.slots = Some(Slot { index: 0, slots: top_k, distinct });
        }
        let mut shared = Network::default();
        for role in self.roles(operator) {
            let tensor = self.shelf.take(role)?;
            match role {
                Role::SharedOutputGate => {
                    let weights = Weights::whole(&tensor, self.builder.precision);
                    let name = self.builder.name("feed_forward.shared_expert.output_gate_logit");
                    let (kind, tokens) = (OperatorKind::Projection(role), self.tokens());
                    shared.output_gate = Some(self.builder.projection(name, kind, &tensor, weights, tokens, normed));
                }
                Role::SharedGate | Role::SharedUp => self.part(&mut shared, &tensor, normed),
                _ => self.part(&mut made, &tensor, source),
            }
        }
        // Where the shared expert goes beside the routed ones, it is a network of its own.
        if network == NetworkKind::Shared {
            self.networks.insert(NetworkKind::Shared, shared);
        } else {
            self.networks.insert(network, made);
            if !shared.inner.is_empty() {
                self.networks.insert(NetworkKind::Shared, shared);
            }
        }
        Ok(())
    }

    /// A product of a network, for each of its slots.
    fn part(&mut self, network: &mut Network, tensor: &Tensor, source: Tap) {
        network.width = tensor.outputs;
        for (at, slot) in Self::slots(network.slots).into_iter().enumerate() {
            let made = self.projection_of(tensor, slot, source);
            match network.inner.get_mut(at) {
                Some(known) => known.push(made),
                None => network.inner.push(vec![made]),
            }
        }
    }

    fn projection_of(&mut self, tensor: &Tensor, slot: Option<Slot>, source: Tap) -> Tap {
        let builder = &mut *self.builder;
        let weights =
            slot.map_or_else(|| Weights::whole(tensor, builder.precision), |slot| slot.weights(tensor, builder));
        let (path, kind) = path_and_kind(tensor.role);
        let (name, tokens) = (slot_name(builder, path, slot), builder.load.tokens);
        builder.projection(name, kind, tensor, weights, tokens, source)
    }

    pub(super) fn activation(&mut self, network: NetworkKind) -> Result<(), GraphError> {
        let Some(mut made) = self.networks.remove(&network) else { return Ok(()) };
        let (path, kind) = match network {
            NetworkKind::Dense => ("feed_forward.activation", OperatorKind::GatedActivation),
            NetworkKind::Shared => {
                ("feed_forward.shared_expert.activation", OperatorKind::SharedExpert(ExpertStage::Activation))
            }
            NetworkKind::Experts => {
                ("feed_forward.experts.*.activation", OperatorKind::Expert(ExpertStage::Activation))
            }
        };
        let shape = Shape::new(self.tokens(), made.width);
        for (slot, inner) in Self::slots(made.slots).into_iter().zip(&mut made.inner) {
            let mut activation = Operator::new(slot_name(self.builder, path, slot), kind, shape, shape);
            activation.elementwise = product([elementwise::GATED_ACTIVATION, shape.elements()]);
            *inner = vec![self.builder.add(activation, inner)];
        }
        self.networks.insert(network, made);
        Ok(())
    }

    pub(super) fn down(&mut self, operator: &LayerOperator, network: NetworkKind) -> Result<(), GraphError> {
        let mut results = Vec::new();
        let mut shared = None;
        for role in self.roles(operator) {
            let tensor = self.shelf.take(role)?;
            let kind = if role == Role::SharedDown { NetworkKind::Shared } else { network };
            let Some(made) = self.networks.remove(&kind) else { continue };
            let mut outputs = Vec::new();
            for (slot, inner) in Self::slots(made.slots).into_iter().zip(&made.inner) {
                outputs.extend(inner.first().map(|inner| self.projection_of(&tensor, slot, *inner)));
            }
            match (kind, made.output_gate) {
                (NetworkKind::Shared, gate) => shared = outputs.first().map(|output| self.gated(*output, gate)),
                _ => {
                    results = outputs;
                    results.extend(made.chosen);
                }
            }
        }
        let made = if network == NetworkKind::Experts {
            Some(self.combine(operator, results, shared))
        } else {
            results.first().copied().or(shared)
        };
        if let Some(made) = made {
            self.made(operator, made);
        }
        Ok(())
    }

    /// What the shared expert makes, times the sigmoid of a number of its token.
    fn gated(&mut self, output: Tap, logit: Option<Tap>) -> Tap {
        let Some(logit) = logit else { return output };
        let shape = Shape::new(self.tokens(), self.builder.hidden);
        let mut gated = self.named("feed_forward.shared_expert.output_gate", OperatorKind::OutputGate, [shape; 2]);
        gated.elementwise = product([elementwise::SIGMOID_GATE, self.tokens()]).saturating_add(shape.elements());
        self.builder.add(gated, &[output, logit])
    }

    fn combine(&mut self, operator: &LayerOperator, mut results: Vec<Tap>, shared: Option<Tap>) -> Tap {
        let (tokens, hidden) = (self.tokens(), self.builder.hidden);
        let top_k = self.slots_of(operator).map_or(0, |(top_k, _)| top_k);
        let rows = Shape::new(tokens, hidden);
        let sent = Shape::new(product([tokens, top_k]), hidden);
        let mut combine = self.named("feed_forward.combine", OperatorKind::ExpertCombine, [sent, rows]);
        combine.elementwise = product([elementwise::COMBINE, sent.elements()]);
        if let Some(shared) = shared {
            combine.elementwise = combine.elementwise.saturating_add(rows.elements());
            results.push(shared);
        }
        self.builder.add(combine, &results)
    }
}

fn slot_name(builder: &Builder<'_>, path: &'static str, slot: Option<Slot>) -> OperatorName {
    OperatorName { slot: slot.map(|slot| slot.index), ..builder.name(path) }
}

/// The name of a matrix of a network, and what its product is.
const fn path_and_kind(role: Role) -> (&'static str, OperatorKind) {
    match role {
        Role::Gate => ("feed_forward.gate", OperatorKind::Projection(Role::Gate)),
        Role::Up => ("feed_forward.up", OperatorKind::Projection(Role::Up)),
        Role::ExpertGate => ("feed_forward.experts.*.gate", OperatorKind::Expert(ExpertStage::Gate)),
        Role::ExpertUp => ("feed_forward.experts.*.up", OperatorKind::Expert(ExpertStage::Up)),
        Role::ExpertDown => ("feed_forward.experts.*.down", OperatorKind::Expert(ExpertStage::Down)),
        Role::SharedGate => ("feed_forward.shared_expert.gate", OperatorKind::SharedExpert(ExpertStage::Gate)),
        Role::SharedUp => ("feed_forward.shared_expert.up", OperatorKind::SharedExpert(ExpertStage::Up)),
        Role::SharedDown => ("feed_forward.shared_expert.down", OperatorKind::SharedExpert(ExpertStage::Down)),
        _ => ("feed_forward.down", OperatorKind::Projection(Role::Down)),
    }
}
