//! The feed-forward part of a layer: the router and its choice, and the gated networks, dense, shared or routed, over
//! the whole region or with experts in rectangles.

use wafersim_graph::layer::{ChoiceForm, LayerOperation, NetworkKind, TensorId};
use wafersim_program::{Axis, Dimension, Operand, Pairs};
use wafersim_spec::model::{FeedForward, Gating, Moe, Role};

use super::{EXPERT_ROLES, Open, Walk, nothing};
use crate::network::{GateUp, Network, NetworkForm, Waiting};
use crate::request::LowerError;
use crate::router::{ChoiceOf, Logits, can_wait, check_selection};
use crate::writer::first;

impl<'a> Walk<'a> {
    pub(super) fn moe(&self) -> Result<&'a Moe, LowerError> {
        match &self.writer.request.layer.feed_forward {
            FeedForward::Moe(moe) => Ok(moe),
            FeedForward::Dense { .. } => Err(nothing("a router in a dense layer")),
        }
    }

    pub(super) fn choice_form(&self) -> ChoiceForm {
        let forms = self.graph.operators().iter().filter_map(|operator| match &operator.operation {
            LayerOperation::Choose(form) => Some(*form),
            _ => None,
        });
        forms.into_iter().next().unwrap_or(ChoiceForm { single_pass: false, single_choice: false })
    }

    /// Whether the routed experts lie in rectangles.
    pub(super) fn in_rectangles(&self, network: NetworkKind) -> bool {
        let experts = self.writer.mapping().experts.as_ref();
        network == NetworkKind::Experts && experts.is_some_and(|experts| !experts.is_spread())
    }

    /// Logits of all experts. Where they were made beside attention, they are left unscaled if the norm's sum can ride
    /// on.
    pub(super) fn router(&mut self, name: &'static str, early: bool, reads: &[TensorId]) -> Result<(), LowerError> {
        let moe = self.moe()?;
        check_selection(&moe.selection)?;
        self.shared_first()?;
        let form = self.choice_form();
        let mut body = Vec::new();
        if early {
            let (Some(logits), x) = (self.logits, self.operand(reads.get(1))?) else {
                return Err(nothing("a router whose logits nobody has made"));
            };
            let rides_on = can_wait(moe) && !self.in_rectangles(NetworkKind::Experts);
            let riding = if rides_on { None } else { self.riding.take() };
            if self.riding.is_none() {
                body.extend(self.writer.scale_early(moe, logits.at, (x, riding), self.norm_sums));
            }
            // Where nothing is added to the logits, their sums are complete in the line of the roots before all others
            // have them.
            let root = crate::overlap::last_root(&self.writer.program, Axis::X);
            let root = root.filter(|_| self.graph.choice_beside_stream && body.is_empty());
            self.choice_beside = root.is_some() && form.single_choice;
            let line = form.single_choice.then(|| root.unwrap_or(self.writer.region().columns / 2));
            self.logits = Some(Logits { line, ..logits });
        } else if let Some(rectangle) = self.own(name) {
            let x = self.inside(reads.first(), rectangle, &mut body)?;
            let how = (self.graph.accumulators_in_place, form.single_choice);
            let (nodes, logits) = self.writer.within(rectangle, |writer| writer.router(moe, x, None, how));
            body.extend(nodes);
            self.logits = Some(logits);
        } else {
            let x = self.operand(reads.first())?;
            let riding = self.riding.take();
            let how = (self.graph.accumulators_in_place, form.single_choice);
            let (nodes, logits) = self.writer.router(moe, x, riding, how);
            body.extend(nodes);
            self.logits = Some(logits);
        }
        // The choice belongs to the same operator of the breakdown.
        self.open = Some(Open { name, body });
        Ok(())
    }

    pub(super) fn choose(&mut self, form: ChoiceForm, reads: &[TensorId]) -> Result<(), LowerError> {
        let moe = self.moe()?;
        let Some(logits) = self.logits else { return Err(nothing("a choice without logits")) };
        let router = self.graph.operator("router");
        let x = router.and_then(|router| router.reads.iter().find(|id| !reads.contains(id)));
        let x = self.operand(x)?;
        let waits = self.riding.is_some();
        let made = self.own("router").unwrap_or(self.writer.region());
        let known = self.choice_known(made);
        let (mut nodes, choice) =
            self.writer.within(made, |writer| writer.choose(moe, logits, ChoiceOf { form, waits, known }, x));
        self.choice = Some(choice);
        if waits && self.graph.norm_beside_choice && self.own_network(NetworkKind::Experts).is_none() {
            self.beside = self.riding.take().map(|riding| self.writer.norm_beside(riding, &mut nodes));
        }
        if let Some(open) = &mut self.open {
            open.body.extend(nodes);
        }
        self.close();
        Ok(())
    }

    /// A network over the whole region.
    pub(super) fn network(&self, kind: NetworkKind, x: Operand) -> Result<Network, LowerError> {
        let request = self.writer.request;
        let tokens = request.tokens;
        let (hidden, inputs, rows) = (request.hidden, self.writer.field(x), Dimension::whole(tokens));
        let plain = |roles: [Role; 3], width: u64, bias: bool| {
            let (chosen, gating) = (None, Gating::Silu);
            Network {
                roles,
                bias,
                width,
                hidden,
                x,
                inputs,
                chosen,
                tiles: 1,
                rows,
                gating,
                weighs_input: false,
                output_gate: None,
            }
        };
        match (kind, &request.layer.feed_forward) {
            (NetworkKind::Dense, FeedForward::Dense { width, bias }) => {
                Ok(plain([Role::Gate, Role::Up, Role::Down], *width, *bias))
            }
            (NetworkKind::Shared, FeedForward::Moe(moe)) => {
                let output_gate = moe.shared_gate.then_some(Role::SharedOutputGate);
                let shared = plain([Role::SharedGate, Role::SharedUp, Role::SharedDown], moe.shared_width, false);
                Ok(Network { output_gate, ..shared })
            }
            (NetworkKind::Experts, FeedForward::Moe(moe)) => {
                let Some(choice) = self.choice else { return Err(nothing("experts that nobody has chosen")) };
                Ok(Network {
                    chosen: Some((choice, Pairs::all(tokens, moe.top_k))),
                    tiles: self.writer.expert_load().distinct,
                    gating: moe.gating,
                    weighs_input: moe.selection.weighs_input,
                    ..plain(EXPERT_ROLES, moe.width, moe.expert_bias)
                })
            }
            _ => Err(nothing("a network that the layer does not have")),
        }
    }

    pub(super) fn gate_up(&mut self, index: usize, kind: NetworkKind, shared_beside: bool) -> Result<(), LowerError> {
        if let Some(rectangle) = self.own_network(kind) {
            return self.gate_up_inside(index, kind, rectangle);
        }
        let operator = &self.graph.operators()[index];
        let form = self.form(index);
        let x = self.operand(operator.reads.first())?;
        let mut kinds = vec![kind];
        if self.in_rectangles(kind) {
            let Some(choice) = self.choice else { return Err(nothing("experts that nobody has chosen")) };
            let (nodes, mut clusters) = self.writer.dispatch(self.moe()?, x, choice)?;
            self.writer.program.push("experts.dispatch", nodes);
            self.writer.experts_in_cells(&mut clusters, form);
            self.writer.program.push(operator.name, clusters.part(0));
            self.clusters = Some(clusters);
            kinds.clear();
        }
        if shared_beside {
            kinds.push(NetworkKind::Shared);
        }
        if kinds.is_empty() {
            return Ok(());
        }
        let networks = kinds.iter().map(|kind| self.network(*kind, x)).collect::<Result<Vec<_>, _>>()?;
        let later = self.graph.operators()[index + 1..].iter();
        let read_later = operator.reads.first().is_some_and(|id| later.clone().any(|other| other.reads.contains(id)));
        let waiting = match (self.choice, self.moe()) {
            (Some(choice), Ok(moe)) if choice.waits => Some((choice, moe)),
            _ => None,
        };
        let beside = self.beside.take();
        let riding = self.riding.take().or(beside.as_ref().map(|beside| beside.riding));
        let waiting = riding.map(|riding| Waiting { riding, beside, x: read_later.then_some(x), choice: waiting });
        let name = if kinds == [NetworkKind::Shared] { "shared_expert.gate_up" } else { operator.name };
        let (nodes, made) = self.writer.gate_up(name, &networks, form, waiting);
        self.gates.extend(kinds.into_iter().zip(made));
        self.writer.program.push(name, nodes);
        Ok(())
    }

    pub(super) fn form(&self, index: usize) -> NetworkForm {
        let in_place = self.graph.accumulators_in_place;
        match &self.graph.operators()[index].operation {
            LayerOperation::GateUp { interleaved, concatenated, .. } => {
                NetworkForm { interleaved: *interleaved, concatenated: *concatenated, accumulators_in_place: in_place }
            }
            LayerOperation::Down { concatenated, .. } => {
                NetworkForm { interleaved: false, concatenated: *concatenated, accumulators_in_place: in_place }
            }
            _ => NetworkForm { accumulators_in_place: in_place, ..NetworkForm::default() },
        }
    }

    pub(super) fn gate(&self, kind: NetworkKind) -> Result<GateUp, LowerError> {
        self.gates.get(&kind).copied().ok_or_else(|| nothing("a network without a gate"))
    }

    pub(super) fn activation(&mut self, name: &'static str, kind: NetworkKind) -> Result<(), LowerError> {
        let in_rectangles = self.in_rectangles(kind);
        let nodes = match &mut self.clusters {
            Some(clusters) if in_rectangles => clusters.part(1),
            _ => {
                let made = self.gate(kind)?;
                let network = self.network(kind, made.gate)?;
                let at = self.own_network(kind).unwrap_or(self.writer.region());
                let divided = self.graph.divided_activation;
                let (nodes, inner) = self.writer.within(at, |writer| {
                    let sharing = writer.activation_sharing(made).filter(|_| divided);
                    let (mut nodes, inner) = match sharing {
                        Some(sharing) => writer.divided_activation(&network, made, sharing),
                        None => (vec![writer.gated_activation(&network, made)], made.gate),
                    };
                    nodes.extend(writer.gate_of_output(GateUp { gate: inner, ..made }));
                    (nodes, inner)
                });
                self.gates.insert(kind, GateUp { gate: inner, ..made });
                nodes
            }
        };
        self.writer.program.push(name, nodes);
        Ok(())
    }

    pub(super) fn down(&mut self, index: usize, kind: NetworkKind, shared_beside: bool) -> Result<(), LowerError> {
        if let Some(rectangle) = self.own_network(kind) {
            return self.down_inside(index, kind, rectangle);
        }
        let operator = &self.graph.operators()[index];
        let form = self.form(index);
        let clusters = self.clusters.take().filter(|_| self.in_rectangles(kind));
        let mut kinds = if clusters.is_some() { Vec::new() } else { vec![kind] };
        if shared_beside {
            kinds.push(NetworkKind::Shared);
        }
        let of_kind = |kind: &NetworkKind| {
            let inner = self.gate(*kind)?.gate;
            Ok::<_, LowerError>((self.network(*kind, inner)?, inner))
        };
        let networks = kinds.iter().map(of_kind).collect::<Result<Vec<_>, _>>()?;
        let (name, body, output) = match clusters {
            None => {
                let (nodes, output) = self.writer.down(operator.name, &networks, form);
                (operator.name, nodes, output)
            }
            Some(mut clusters) => {
                self.writer.program.push(operator.name, clusters.part(2));
                let mut also = None;
                if !networks.is_empty() {
                    let (nodes, partial) = self.writer.partial_down(&networks, form);
                    self.writer.program.push("shared_expert.down", nodes);
                    also = Some(partial);
                }
                let (nodes, output) = self.writer.combine(&clusters, also);
                ("experts.combine", nodes, output)
            }
        };
        if let Some(id) = operator.writes.first() {
            self.at.insert(*id, first(output));
        }
        self.open = Some(Open { name, body });
        Ok(())
    }
}
