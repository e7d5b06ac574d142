//! The router and the experts of a chunk of a prompt. Every row chooses for its own tokens, all rows work on all of
//! them: widths are turned to lie along y, as in decode, and back.

use wafersim_graph::layer::{ChoiceForm, LayerOperation, NetworkKind};
use wafersim_program::{Axis, BufferId, Dimension, Field, Node, Operand, Pairs, Region, collective};
use wafersim_spec::model::{Moe, Role};

use super::{Chunk, Gated, SHARED};
use crate::gemm::Matrix;
use crate::layer::nothing;
use crate::network::{Network, NetworkForm};
use crate::relayout::{Turned, Way, turn};
use crate::request::LowerError;
use crate::router::{Choice, ChoiceOf, Logits, check_selection};
use crate::writer::{along, everywhere, first, table};

impl Chunk<'_> {
    pub(super) fn experts(&mut self, moe: &Moe, x: Operand, normed: Operand) -> Result<(), LowerError> {
        let (region, tokens) = (self.writer.region(), self.tokens());
        check_selection(&moe.selection)?;
        if moe.shared_gate {
            return Err(nothing("a gate of the shared expert in a chunk of a prompt"));
        }
        let own = self.own("router");
        let (mut nodes, here) = self.enter(normed, own);
        let at = own.unwrap_or(region);
        let (routed, choice) = self.within(at, |chunk| chunk.router(moe, here));
        nodes.extend(routed);
        self.writer.program.push("router", nodes);

        // Every row has chosen for its own tokens; all rows work on all of them.
        let known = vec![everywhere("experts", tokens, moe.top_k), everywhere("weights", tokens, moe.top_k)];
        let known = self.writer.declare("router.known", known);
        let numbers = tokens.saturating_mul(moe.top_k).saturating_mul(2);
        let mut dispatch = match own {
            None => {
                let way = Way::Through { hops: region.rows, elements: numbers };
                vec![self.writer.relayout(Axis::Y, choice.buffer, known, way)]
            }
            Some(own) => {
                let columns = Region::new(own.x, region.y, own.columns, region.rows);
                let along_columns = self.writer.counted_relayout(Axis::Y, columns, [choice.buffer, known]);
                let across = collective::multicast(&mut self.writer.program, Axis::X, own.x - region.x, known);
                vec![along_columns, across]
            }
        };
        let known = Choice { buffer: known, waits: false };
        if let Some(own) = self.own("experts") {
            let (entered, here) = self.enter(normed, Some(own));
            dispatch.extend(entered);
            let back = self.within(own, |chunk| -> Result<Operand, LowerError> {
                let (turned, nodes) = chunk.turned(here);
                dispatch.extend(nodes);
                chunk.writer.program.push("experts.dispatch", dispatch);
                let output = chunk.spread(moe, turned, known)?;
                let (node, back) = chunk.turned_back(output);
                chunk.writer.program.push("experts.combine", vec![node]);
                Ok(back)
            })?;
            let (mut combine, back) = self.leave_to_stream(back, Some(own), "left");
            combine.push(self.writer.residual(x, back));
            self.writer.program.push("experts.combine", combine);
            self.shared(moe, x, normed);
            return Ok(());
        }
        let (x_of_experts, turn) = self.turned(normed);
        dispatch.extend(turn);
        let in_rectangles = self.writer.mapping().experts.as_ref().is_some_and(|experts| !experts.is_spread());
        let (mut combine, output) = if in_rectangles {
            self.in_rectangles(moe, x_of_experts, known, dispatch)?
        } else {
            self.writer.program.push("experts.dispatch", dispatch);
            (Vec::new(), self.spread(moe, x_of_experts, known)?)
        };
        let (node, back) = self.turned_back(output);
        combine.push(node);
        combine.push(self.writer.residual(x, back));
        self.writer.program.push("experts.combine", combine);
        self.shared(moe, x, normed);
        Ok(())
    }

    fn shared(&mut self, moe: &Moe, x: Operand, normed: Operand) {
        if moe.shared_width > 0 {
            self.dense(&SHARED, Gated { width: moe.shared_width, bias: false }, x, normed);
        }
    }

    /// Logits and the choice of each row of the region for its own tokens.
    fn router(&mut self, moe: &Moe, normed: Operand) -> (Vec<Node>, Choice) {
        let (region, tokens) = (self.writer.region(), self.tokens());
        let (mut nodes, a) = self.writer.aligned(normed);
        let field = Field::new("scores", self.rings().rows(tokens), vec![along(moe.experts, Axis::X, region)]);
        let scores = self.writer.declare("router.scores", vec![field]);
        let bias = moe.router_bias && !moe.selection.corrected;
        nodes.extend(self.writer.matrix_product(a, Matrix::new(Role::Router, bias), first(scores)));
        let single_pass = |operation: &LayerOperation| match operation {
            LayerOperation::Choose(form) => Some(form.single_pass),
            _ => None,
        };
        let form = ChoiceForm { single_pass: self.of_graph(single_pass).unwrap_or(false), single_choice: false };
        let logits = Logits { at: first(scores), axis: Axis::X, line: None, scale: None };
        let (select, choice) = self.writer.choose(moe, logits, ChoiceOf { form, waits: false, known: region }, normed);
        nodes.extend(select);
        (nodes, choice)
    }

    /// What experts read: widths along y, all tokens everywhere.
    fn turned(&mut self, normed: Operand) -> (Operand, Vec<Node>) {
        let (region, tokens, hidden) = (self.writer.region(), self.tokens(), self.hidden());
        let turned = self.writer.declare("experts.turned", vec![table("normed", tokens, hidden, Axis::Y, region)]);
        let nodes = turn(&mut self.writer, normed, turned, Turned { tokens, width: hidden, region });
        (first(turned), nodes)
    }

    /// What they make, back in the layout of the stream.
    fn turned_back(&mut self, output: BufferId) -> (Node, Operand) {
        let (rings, rows) = (self.rings(), self.writer.region().rows);
        let field = Field::new("output", rings.rows(self.tokens()), vec![rings.inner(self.hidden(), false)]);
        let back = self.writer.declare("experts.returned", vec![field]);
        let crossing = self.writer.program.buffer_of(back).elements.saturating_mul(rows).div_ceil(2);
        let way = Way::Through { hops: rows, elements: crossing };
        (self.writer.relayout(Axis::Y, output, back, way), first(back))
    }

    fn form(&self) -> NetworkForm {
        let experts = |operation: &LayerOperation| match operation {
            LayerOperation::GateUp { network: NetworkKind::Experts, interleaved, concatenated, .. } => {
                Some((*interleaved, *concatenated))
            }
            _ => None,
        };
        let (interleaved, concatenated) = self.of_graph(experts).unwrap_or_default();
        NetworkForm { interleaved, concatenated, accumulators_in_place: self.graph.accumulators_in_place }
    }

    /// What the first operator of the layer says that says anything of it.
    fn of_graph<T>(&self, said: impl Fn(&LayerOperation) -> Option<T>) -> Option<T> {
        self.graph.operators().iter().find_map(|operator| said(&operator.operation))
    }

    /// Experts over the whole region, as in decode. Returns their outputs, summed, along y.
    fn spread(&mut self, moe: &Moe, x: Operand, choice: Choice) -> Result<BufferId, LowerError> {
        let tokens = self.tokens();
        let network = Network {
            roles: crate::layer::EXPERT_ROLES,
            bias: moe.expert_bias,
            width: moe.width,
            hidden: self.hidden(),
            x,
            inputs: self.writer.field(x),
            chosen: Some((choice, Pairs::all(tokens, moe.top_k))),
            tiles: self.writer.expert_load().distinct,
            rows: Dimension::whole(tokens),
            gating: moe.gating,
            weighs_input: moe.selection.weighs_input,
            output_gate: None,
        };
        let form = self.form();
        let (nodes, made) = self.writer.gate_up("experts.gate_up", std::slice::from_ref(&network), form, None);
        self.writer.program.push("experts.gate_up", nodes);
        let Some(made) = made.first().copied() else { return Err(nothing("experts without a gate")) };
        let node = self.writer.gated_activation(&network, made);
        self.writer.program.push("experts.activation", vec![node]);
        let (nodes, output) = self.writer.down("experts.down", &[(network, made.gate)], form);
        self.writer.push_with_route_changes("experts.down", nodes);
        Ok(output)
    }

    /// Experts in rectangles, as in decode: every rectangle fetches the tokens that chose its experts. Returns the way
    /// back, not pushed yet, and the outputs, summed, along y.
    fn in_rectangles(
        &mut self,
        moe: &Moe,
        x: Operand,
        choice: Choice,
        mut dispatch: Vec<Node>,
    ) -> Result<(Vec<Node>, BufferId), LowerError> {
        let form = self.form();
        let (nodes, mut clusters) = self.writer.dispatch(moe, x, choice)?;
        dispatch.extend(nodes);
        self.writer.program.push("experts.dispatch", dispatch);
        self.writer.experts_in_cells(&mut clusters, form);
        for (part, name) in ["experts.gate_up", "experts.activation", "experts.down"].into_iter().enumerate() {
            self.writer.program.push(name, clusters.part(part));
        }
        Ok(self.writer.combine(&clusters, None))
    }
}
