//! The router: scores of all experts, and the choice.

use wafersim_graph::layer::ChoiceForm;
use wafersim_mapping::LineKind;
use wafersim_program::{Axis, BufferId, Dimension, Field, Formula, Math, Node, Operand, Operation, Rescaled};
use wafersim_spec::model::{Moe, Role};

use crate::norm::{Riding, riding_sums};
use crate::product::Product;
use crate::relayout::Way;
use crate::writer::{Lines, Writer, first, table};

impl Writer<'_> {
    /// Logits of all experts, along x. A norm that rides is applied to them and to the input, which the experts read.
    pub fn router(&mut self, moe: &Moe, x: Operand, riding: Option<Riding>, in_place: bool) -> (Vec<Node>, BufferId) {
        let tokens = self.request.tokens;
        let mut fields = vec![table("scores", tokens, moe.experts, Axis::X, self.region())];
        fields.extend(riding.map(|_| riding_sums(tokens)));
        let scores = self.declare("router.scores", fields);
        let sums = Operand::new(scores, 1);
        let mut nodes = self.ride(riding, sums);
        let product = Product::plain(self, Role::Router, x, first(scores)).with_bias(false, Axis::Y);
        nodes.extend(self.product(product, in_place));
        nodes.extend(self.reduce("router", LineKind::Y, Lines::Whole(Axis::Y), scores));
        nodes.extend(self.scale(
            riding,
            sums,
            [first(scores), x].map(|operand| Rescaled { operand, bias: None }).to_vec(),
        ));
        (nodes, scores)
    }

    /// The best experts of each token, and their weights: scores are gathered along x, so that every processing element
    /// chooses the same.
    ///
    /// The choice reads the scores once for each of the `top_k` (a guess: the published kernels have no router, and this is
    /// the plainest one), then exponentials and a division of the chosen weights.
    pub fn choose(&mut self, moe: &Moe, scores: BufferId, form: ChoiceForm) -> (Vec<Node>, BufferId) {
        // In prefill every row of the region chooses for its own tokens.
        let rows = self.field(first(scores)).rows;
        let tokens = rows.most();
        let (experts, top_k) = (moe.experts, moe.top_k);
        let field = |name: &'static str, width: u64| Field::new(name, rows.clone(), vec![Dimension::whole(width)]);
        let all = self.declare("router.all_scores", vec![field("scores", experts)]);
        let columns = self.region().columns;
        let elements = experts.div_ceil(columns).saturating_mul(tokens);
        let way = Way::AllGather { owners: experts.min(columns), members: columns, elements };
        let mut nodes = vec![self.relayout(Axis::X, scores, all, way)];
        let choice = self.declare("router.choice", vec![field("experts", top_k), field("weights", top_k)]);
        let chosen = top_k.saturating_mul(tokens);
        let passes = if form.single_pass { tokens } else { chosen };
        let work = vec![
            self.work(Operation::ScalarReduce, experts, passes),
            self.work(Operation::Exponential, chosen, 1),
            self.work(Operation::Divide, 1, tokens),
        ];
        let formula = Formula::TopK {
            scores: first(all),
            experts: first(choice),
            weights: Operand::new(choice, 1),
            top_k,
            normalise: moe.normalise_top_k,
        };
        nodes.push(self.compute(Math::TopK, &[all], choice, work, formula));
        (nodes, choice)
    }
}
