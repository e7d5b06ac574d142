//! The feed-forward part: a dense gated network (Shazeer 2020), or a router, its chosen experts and a shared one.
//!
//! The chosen experts have no path between each other; the shared expert does not wait for the router.

use wafersim_spec::model::{FeedForward, Moe, Role, Tensor};

use super::shelf::Shelf;
use super::{Builder, Tap, Weights, product};
use crate::error::GraphError;
use crate::operator::{ExpertStage, Operator, OperatorKind, OperatorName, Shape, elementwise};
use crate::routing::{expected_distinct_experts, share};

/// Names, kinds and tensors of a gated network.
struct Gated {
    /// Gate, up, activation, down.
    paths: [&'static str; 4],
    kinds: [OperatorKind; 4],
    /// Gate, up, down.
    tensors: [Tensor; 3],
}

/// One of the expert slots.
#[derive(Clone, Copy)]
struct Slot {
    index: u64,
    slots: u64,
    /// Copies that all slots read together.
    distinct: u64,
}

impl Slot {
    fn weights(self, tensor: &Tensor, builder: &Builder) -> Weights {
        let one = Tensor { copies: 1, active: 1, ..*tensor };
        Weights {
            parameters: one.parameters() * share(tensor.copies, self.slots, self.index),
            active_parameters: one.parameters() * share(tensor.active, self.slots, self.index),
            bytes: one.bytes(builder.precision) * share(self.distinct, self.slots, self.index),
        }
    }
}

impl Builder<'_> {
    /// The feed-forward part between its norm and its residual.
    pub(super) fn feed_forward(
        &mut self,
        feed_forward: &FeedForward,
        shelf: &mut Shelf,
        normed: Tap,
    ) -> Result<Tap, GraphError> {
        match feed_forward {
            FeedForward::Dense { .. } => {
                let kinds = [
                    OperatorKind::Projection(Role::Gate),
                    OperatorKind::Projection(Role::Up),
                    OperatorKind::GatedActivation,
                    OperatorKind::Projection(Role::Down),
                ];
                let paths = ["feed_forward.gate", "feed_forward.up", "feed_forward.activation", "feed_forward.down"];
                let tensors = [shelf.take(Role::Gate)?, shelf.take(Role::Up)?, shelf.take(Role::Down)?];
                Ok(self.gated(&Gated { paths, kinds, tensors }, None, normed))
            }
            FeedForward::Moe(moe) => self.mixture(moe, shelf, normed),
        }
    }

    fn mixture(&mut self, moe: &Moe, shelf: &mut Shelf, normed: Tap) -> Result<Tap, GraphError> {
        let (tokens, hidden) = (self.load.tokens, self.hidden);
        let rows = Shape::new(tokens, hidden);
        let choices = Shape::new(tokens, moe.top_k);

        let shared = if moe.shared_width > 0 { Some(self.shared_expert(shelf, normed)?) } else { None };

        let tensor = shelf.take(Role::Router)?;
        let weights = Weights::whole(&tensor, self.precision);
        let name = self.name("feed_forward.router");
        let logits = self.projection(name, OperatorKind::Router, &tensor, weights, tokens, normed);

        let scores = Shape::new(tokens, moe.experts);
        let mut top_k = Operator::new(self.name("feed_forward.top_k"), OperatorKind::TopK, scores, choices);
        // Softmax of the logits, then one pass of comparisons for each choice.
        top_k.elementwise = product([elementwise::SOFTMAX.saturating_add(moe.top_k), scores.elements()]);
        let chosen = self.add(top_k, &[logits]);

        let name = self.name("feed_forward.dispatch");
        let sent = Shape::new(product([tokens, moe.top_k]), hidden);
        let dispatch = Operator::new(name, OperatorKind::ExpertDispatch, rows, sent);
        let dispatched = self.add(dispatch, &[normed, chosen]).part(rows.elements());

        let kinds = STAGES.map(OperatorKind::Expert);
        let tensors = [shelf.take(Role::ExpertGate)?, shelf.take(Role::ExpertUp)?, shelf.take(Role::ExpertDown)?];
        let experts = Gated { paths: EXPERT_PATHS, kinds, tensors };
        let distinct = expected_distinct_experts(moe.experts, moe.top_k, tokens);
        let mut results = Vec::with_capacity(moe.top_k as usize + 2);
        for index in 0..moe.top_k {
            let slot = Slot { index, slots: moe.top_k, distinct };
            results.push(self.gated(&experts, Some(slot), dispatched));
        }

        let name = self.name("feed_forward.combine");
        let mut combine = Operator::new(name, OperatorKind::ExpertCombine, sent, rows);
        combine.elementwise = product([elementwise::COMBINE, sent.elements()]);
        results.push(chosen);
        if let Some(shared) = shared {
            combine.elementwise = combine.elementwise.saturating_add(rows.elements());
            results.push(shared);
        }
        Ok(self.add(combine, &results))
    }

    fn shared_expert(&mut self, shelf: &mut Shelf, normed: Tap) -> Result<Tap, GraphError> {
        let kinds = STAGES.map(OperatorKind::SharedExpert);
        let tensors = [shelf.take(Role::SharedGate)?, shelf.take(Role::SharedUp)?, shelf.take(Role::SharedDown)?];
        let output = self.gated(&Gated { paths: SHARED_PATHS, kinds, tensors }, None, normed);
        if shelf.count(Role::SharedOutputGate) == 0 {
            return Ok(output);
        }
        let path = "feed_forward.shared_expert.output_gate_logit";
        let logit = self.take_projection(path, Role::SharedOutputGate, shelf, normed)?;
        let shape = Shape::new(self.load.tokens, self.hidden);
        let name = self.name("feed_forward.shared_expert.output_gate");
        let mut gated = Operator::new(name, OperatorKind::OutputGate, shape, shape);
        gated.elementwise = product([elementwise::SIGMOID_GATE, self.load.tokens]).saturating_add(shape.elements());
        Ok(self.add(gated, &[output, logit]))
    }

    /// Gate and up side by side, activation, down.
    fn gated(&mut self, network: &Gated, slot: Option<Slot>, source: Tap) -> Tap {
        let [gate_path, up_path, activation_path, down_path] = network.paths;
        let [gate_kind, up_kind, activation_kind, down_kind] = network.kinds;
        let [gate_tensor, up_tensor, down_tensor] = &network.tensors;
        let gate = self.gated_projection(gate_path, gate_kind, gate_tensor, slot, source);
        let up = self.gated_projection(up_path, up_kind, up_tensor, slot, source);

        let shape = Shape::new(self.load.tokens, gate_tensor.outputs);
        let mut activation = Operator::new(self.slot_name(activation_path, slot), activation_kind, shape, shape);
        activation.elementwise = product([elementwise::GATED_ACTIVATION, shape.elements()]);
        let inner = self.add(activation, &[gate, up]);
        self.gated_projection(down_path, down_kind, down_tensor, slot, inner)
    }

    fn gated_projection(
        &mut self,
        path: &'static str,
        kind: OperatorKind,
        tensor: &Tensor,
        slot: Option<Slot>,
        source: Tap,
    ) -> Tap {
        let weights = slot.map_or_else(|| Weights::whole(tensor, self.precision), |slot| slot.weights(tensor, self));
        self.projection(self.slot_name(path, slot), kind, tensor, weights, self.load.tokens, source)
    }

    fn slot_name(&self, path: &'static str, slot: Option<Slot>) -> OperatorName {
        OperatorName { slot: slot.map(|slot| slot.index), ..self.name(path) }
    }
}

const STAGES: [ExpertStage; 4] = [ExpertStage::Gate, ExpertStage::Up, ExpertStage::Activation, ExpertStage::Down];

const EXPERT_PATHS: [&str; 4] = [
    "feed_forward.experts.*.gate",
    "feed_forward.experts.*.up",
    "feed_forward.experts.*.activation",
    "feed_forward.experts.*.down",
];

const SHARED_PATHS: [&str; 4] = [
    "feed_forward.shared_expert.gate",
    "feed_forward.shared_expert.up",
    "feed_forward.shared_expert.activation",
    "feed_forward.shared_expert.down",
];
