//! The router: logits of all experts, the choice of the best, their weights.
//!
//! The published kernels (WaferLLM, OSDI 2025) have no router; everything here is ours. In the plain form logits come
//! out of one product and one reduction, are gathered along the line that shares them out, and every processing element
//! chooses alike. Rewrites change where logits are made and who chooses, never which experts are chosen of equal
//! logits.

use wafersim_graph::layer::ChoiceForm;
use wafersim_mapping::LineKind;
use wafersim_program::{
    Action, Axis, BufferId, Digit, Dimension, Factor, Field, Formula, GainName, Math, Multicast, Node, Operand,
    Operation, Region, Rescaled, Spread, Step, collective,
};
use wafersim_spec::model::{Moe, Role, Scoring, Selection};

use crate::norm::{Riding, riding_sums};
use crate::product::Product;
use crate::relayout::Way;
use crate::request::LowerError;
use crate::writer::{Lines, Writer, first, table};

/// Logits of all experts before the choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logits {
    /// Where they are.
    pub at: Operand,
    /// The axis that shares them out; across it every line has them all, or only one.
    pub axis: Axis,
    /// The only line across that axis that has them all.
    pub line: Option<u64>,
    /// Where a norm rode and its scale is known on that line only: the scale.
    pub scale: Option<Operand>,
}

/// Experts of all tokens, everywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// Numbers, weights, and the scale of a norm where that came along.
    pub buffer: BufferId,
    /// Whether the weights are logits still, to be scaled and weighed when a norm's sum is known.
    pub waits: bool,
}

impl Choice {
    pub const fn experts(self) -> Operand {
        Operand::new(self.buffer, 0)
    }

    pub const fn weights(self) -> Operand {
        Operand::new(self.buffer, 1)
    }

    const fn scale(self) -> Operand {
        Operand::new(self.buffer, 2)
    }
}

/// How experts are chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChoiceOf {
    pub form: ChoiceForm,
    /// Whether the weights are weighed later.
    pub waits: bool,
    /// Where the choice will be known: the region at work, or one that holds it.
    pub known: Region,
}

/// Whether experts can be chosen, and weighed later, by logits that lack the scale of a norm.
pub(crate) const fn can_wait(moe: &Moe) -> bool {
    moe.selection.follows_logits() && moe.selection.weighs_chosen_alone() && !moe.router_bias
}

/// Refuses a selection that nothing is written for.
pub(crate) fn check_selection(selection: &Selection) -> Result<(), LowerError> {
    if selection.scoring == Scoring::Softmax && !selection.follows_logits() {
        return Err(LowerError::Unknown {
            what: "a choice by corrected or grouped shares of a softmax".into(),
            part: "a router",
            allowed: "corrections and groups of sigmoid scores, as published models have them",
        });
    }
    Ok(())
}

/// What one place does to find the `best` largest of `count`, for each row: (elements, times).
///
/// Either a pass over all for each of them (the plainest way), or one pass in the cheaper of two ways. The first keeps
/// the best so far: it compares each with the least of the best, and puts those that are larger among them: of elements
/// in random order the i-th is one of the largest `best` with probability best / i, so that best (1 + 1 / (best + 1) +
/// ... + 1 / count) are expected to be put in, each past half of the list, with a comparison and a move a place.
/// Low: `best` (falling elements), high: all (rising). The second keeps the largest of each block: every time the
/// largest of these is taken, crossed out, and the next of its block found, with two moves; it depends on no order.
fn selection_passes(count: u64, best: u64, single_pass: bool) -> Vec<(u64, u64)> {
    if !single_pass || best >= count {
        return vec![(count, best.min(count))];
    }
    let share: f64 = (best + 1..=count).map(|place| 1.0 / place as f64).sum();
    let put_in = (best as f64 * (1.0 + share)).ceil() as u64;
    let listed = vec![(count, 1), (best, put_in)];
    let in_blocks =
        |blocks: u64| vec![(count, 1), (blocks, 1 + best), (count.div_ceil(blocks) + 2, best.saturating_sub(1))];
    let elements = |passes: &Vec<(u64, u64)>| passes.iter().map(|(elements, times)| elements * times).sum::<u64>();
    // Blocks are best near the square root of all.
    let blocked = (2..=count.isqrt() + 2).map(in_blocks);
    std::iter::once(listed).chain(blocked).min_by_key(elements).unwrap_or_default()
}

impl Writer<'_> {
    /// Logits of all experts, along x. A norm that rides is applied to them and to the input, which the experts read;
    /// where one place will choose, the sums stay on the line of their roots and the input is scaled later.
    pub fn router(
        &mut self,
        moe: &Moe,
        x: Operand,
        riding: Option<Riding>,
        (in_place, single): (bool, bool),
    ) -> (Vec<Node>, Logits) {
        let tokens = self.request.tokens;
        let mut fields = vec![table("scores", tokens, moe.experts, Axis::X, self.region())];
        fields.extend(riding.map(|_| riding_sums(tokens)));
        let scores = self.declare("router.scores", fields);
        let sums = Operand::new(scores, 1);
        let bias = moe.router_bias && !moe.selection.corrected;
        let mut nodes = self.ride(riding, sums);
        let product = Product::plain(self, Role::Router, x, first(scores));
        nodes.extend(self.product(product.with_bias(bias && riding.is_none(), Axis::Y), in_place));
        nodes.extend(self.reduce("router", LineKind::Y, Lines::Whole(Axis::Y), scores));
        let late_bias = bias.then_some(Role::Router);
        if !single {
            let scaled =
                vec![Rescaled { operand: first(scores), bias: late_bias }, Rescaled { operand: x, bias: None }];
            nodes.extend(self.scale(riding, sums, scaled));
            return (nodes, Logits { at: first(scores), axis: Axis::X, line: None, scale: None });
        }
        let line = self.stay_at_root(&mut nodes, Axis::Y);
        let logits = Logits { at: first(scores), axis: Axis::X, line: Some(line), scale: riding.map(|_| sums) };
        let scale = riding
            .map(|riding| self.within(self.line_of(logits), |writer| writer.scale_logits(logits, riding, late_bias)));
        nodes.extend(scale.into_iter().flatten());
        (nodes, logits)
    }

    /// Takes the multicast off a reduction along whole lines; returns the index of the member that has the sum. Where
    /// there is none, every member has it: the middle one is taken.
    pub fn stay_at_root(&self, nodes: &mut Vec<Node>, axis: Axis) -> u64 {
        let line = self.region().along(axis);
        let middle = line / 2;
        match nodes.last() {
            Some(Node::Step(Step { action: Action::Multicast(Multicast { from, span, stride: 1, .. }), .. }))
                if *span == line =>
            {
                let from = *from;
                nodes.pop();
                from
            }
            _ => middle,
        }
    }

    /// The scale of a norm in place of its sum, and the logits scaled.
    fn scale_logits(&self, logits: Logits, riding: Riding, bias: Option<Role>) -> Vec<Node> {
        let Some(sums) = logits.scale else { return Vec::new() };
        let elements = self.most(logits.at);
        let mut nodes = vec![self.norm_scale(riding, sums), self.times(vec![logits.at], sums, None)];
        nodes.extend(bias.map(|role| {
            let work = vec![self.work(Operation::Add, elements, 1)];
            let formula = Formula::Bias { y: logits.at, role, chosen: None };
            self.compute(Math::Add, &[logits.at.buffer], logits.at.buffer, work, formula)
        }));
        nodes
    }

    /// The places that have logits: one line, or the region.
    fn line_of(&self, logits: Logits) -> Region {
        let Region { x, y, columns, rows } = self.region();
        match (logits.line, logits.axis) {
            (Some(line), Axis::X) => Region::new(x, y + line, columns, 1),
            (Some(line), Axis::Y) => Region::new(x + line, y, 1, rows),
            (None, _) => self.region(),
        }
    }

    /// The first part of logits that are made beside attention: the router's product with the stream, which rides with
    /// the reduction of the attention's first products.
    pub fn logits_of_stream(&mut self, stream: Operand, y: Operand, in_place: bool) -> Vec<Node> {
        let product = Product { behind: vec![NORM_GAIN], ..Product::plain(self, Role::Router, stream, y) };
        self.product(product, in_place)
    }

    /// The second part, from what attention makes of its result: Wr (g Wo) a, which rides with the reduction of the
    /// output projection and begins with the first part. That lies in rows of columns: each expert's is added once
    /// along every row, where the column that holds it meets the row that shares out its number.
    pub fn logits_of_attention(
        &mut self,
        (result, inputs): (Operand, Field),
        (early, y): (Operand, Operand),
        (output_bias, in_place): (bool, bool),
    ) -> Vec<Node> {
        let behind = vec![Factor::Matrix(Role::Output), NORM_GAIN];
        let product = Product { behind, inputs, ..Product::plain(self, Role::Router, result, y) };
        let mut nodes = self.product(product.with_bias(output_bias, Axis::X), in_place);
        let here = self.most(early).min(self.most(y));
        let work = vec![self.work(Operation::Add, here, 1)];
        let formula = Formula::AddHeld { x: y, y: early };
        nodes.push(self.compute(Math::Add, &[early.buffer], y.buffer, work, formula));
        nodes
    }

    /// Logits that were made beside attention get the scale of the norm: from the sum that the norm has left, or from
    /// one that was to ride and finds nothing to ride with.
    pub fn scale_early(
        &mut self,
        moe: &Moe,
        logits: Operand,
        (x, riding): (Operand, Option<Riding>),
        known: Option<Operand>,
    ) -> Vec<Node> {
        let tokens = self.request.tokens;
        let bias = (moe.router_bias && !moe.selection.corrected).then_some(Role::Router);
        let logits = Rescaled { operand: logits, bias };
        match (riding, known) {
            (Some(riding), _) => {
                let sums = self.declare("router.sums", vec![riding_sums(tokens)]);
                let mut nodes = self.ride(Some(riding), first(sums));
                nodes.extend(self.reduce("router", LineKind::Y, Lines::Whole(Axis::Y), sums));
                nodes.push(self.rescale(riding, first(sums), vec![logits, Rescaled { operand: x, bias: None }]));
                nodes
            }
            (None, Some(sums)) => {
                let riding = Riding { x, width: self.laid(x).row_size() };
                vec![self.rescale(riding, sums, vec![logits])]
            }
            (None, None) => Vec::new(),
        }
    }

    /// The best experts of each token and their weights, everywhere.
    ///
    /// Where every place chooses, scores are gathered along the axis that shares them out. Where one does, they are
    /// gathered in it alone, and numbers and weights are broadcast. `x`: what a norm's scale that came along is applied
    /// to.
    pub fn choose(
        &mut self,
        moe: &Moe,
        logits: Logits,
        ChoiceOf { form, waits, known }: ChoiceOf,
        x: Operand,
    ) -> (Vec<Node>, Choice) {
        // In prefill every row of the region chooses for its own tokens.
        let rows = self.laid(logits.at).rows.clone();
        let (whole, line) = (self.region(), self.line_of(logits));
        let (mut nodes, compared) = self.within(line, |writer| writer.compared_scores(moe, logits, whole));
        let table = |name: &'static str, width: u64| Field::new(name, rows.clone(), vec![Dimension::whole(width)]);
        let mut fields = vec![table("scores", moe.experts)];
        fields.extend(moe.selection.corrected.then(|| table("corrected", moe.experts)));
        // Logits without the scale of their norm are not what anybody else calls so.
        let name = if waits { "router.unscaled_scores" } else { "router.all_scores" };
        let mut chosen = vec![table("experts", moe.top_k), table("weights", moe.top_k)];
        let tokens = rows.most();
        chosen.extend(logits.scale.map(|_| riding_sums(tokens)));
        if !form.single_choice {
            let all = self.declare(name, fields);
            let way = self.gather_way(logits, moe, (None, tokens));
            nodes.push(self.relayout(logits.axis, compared, all, way));
            let choice = self.within(known, |writer| writer.declare("router.choice", chosen));
            let choice = Choice { buffer: choice, waits };
            nodes.extend(self.best(moe, all, choice, form));
            if known != whole {
                let from = (whole.x - known.x + whole.columns / 2, whole.y - known.y + whole.rows / 2);
                nodes.push(collective::broadcast(&mut self.program, known, from, choice.buffer));
            }
            return (nodes, choice);
        }
        // All scores pass one place wherever it lies, so that the middle is best: from there the choice is soonest
        // everywhere.
        let at = whole.along(logits.axis) / 2;
        let place = match logits.axis {
            Axis::X => Region::new(whole.x + at, line.y, 1, 1),
            Axis::Y => Region::new(line.x, whole.y + at, 1, 1),
        };
        let all = self.within(place, |writer| writer.declare(name, fields));
        let way = self.gather_way(logits, moe, (Some(at), tokens));
        nodes.push(self.within(line, |writer| writer.relayout(logits.axis, compared, all, way)));
        let choice = self.within(known, |writer| writer.declare("router.choice", chosen));
        let choice = Choice { buffer: choice, waits };
        nodes.extend(self.within(place, |writer| {
            let mut nodes = writer.best(moe, all, choice, form);
            nodes.extend(logits.scale.map(|scale| {
                let work = vec![writer.work(Operation::Copy, tokens, 1)];
                let formula = Formula::Select { source: scale, target: choice.scale() };
                writer.compute(Math::Copy, &[scale.buffer], choice.buffer, work, formula)
            }));
            nodes
        }));
        let from = (place.x - known.x, place.y - known.y);
        nodes.push(collective::broadcast(&mut self.program, known, from, choice.buffer));
        nodes.extend(logits.scale.map(|_| self.times(vec![x], choice.scale(), None)));
        (nodes, choice)
    }

    /// Sigmoid scores of the experts here, and what is compared, where that is not the logits. Returns the buffer that
    /// holds it. `whole`: the region of its layout.
    fn compared_scores(&mut self, moe: &Moe, logits: Logits, whole: Region) -> (Vec<Node>, BufferId) {
        let selection = &moe.selection;
        if selection.follows_logits() {
            return (Vec::new(), logits.at.buffer);
        }
        let field = self.field(logits.at);
        let elements = field.most();
        let mut fields = vec![Field { name: "scores".into(), ..field.clone() }];
        let mut work = vec![self.work(Operation::Exponential, elements, 1), self.work(Operation::Divide, elements, 1)];
        if selection.corrected {
            fields.push(Field { name: "corrected".into(), ..field });
            work.push(self.work(Operation::Add, elements, 1));
        }
        let compared = self.within(whole, |writer| writer.declare("router.compared", fields));
        let corrected = selection.corrected.then_some(Operand::new(compared, 1));
        let formula = Formula::Score { logits: logits.at, scores: first(compared), corrected };
        (vec![self.compute(Math::TopK, &[logits.at.buffer], compared, work, formula)], compared)
    }

    /// The choice where all scores lie.
    fn best(&mut self, moe: &Moe, all: BufferId, choice: Choice, form: ChoiceForm) -> Vec<Node> {
        let (selection, tokens) = (moe.selection, self.laid(first(all)).rows.most());
        let mut passes = Vec::new();
        let mut candidates = moe.experts;
        if selection.groups > 1 {
            // The two best of each group, then the best groups; the experts of those are left.
            let size = moe.experts / selection.groups;
            let of_group = selection_passes(size, 2, form.single_pass).into_iter();
            passes.extend(of_group.map(|(elements, times)| (elements, times * selection.groups)));
            passes.extend(selection_passes(selection.groups, selection.kept_groups, form.single_pass));
            candidates = size * selection.kept_groups;
        }
        passes.extend(selection_passes(candidates, moe.top_k, form.single_pass));
        let work =
            passes.into_iter().map(|(elements, times)| self.work(Operation::ScalarReduce, elements, times * tokens));
        let work = work.collect();
        let keys = Operand::new(all, u32::from(selection.corrected));
        let formula = Formula::Choose {
            keys,
            values: first(all),
            experts: choice.experts(),
            chosen: choice.weights(),
            top_k: moe.top_k,
            groups: selection.groups,
            kept_groups: selection.kept_groups,
        };
        let mut nodes = vec![self.compute(Math::TopK, &[all], choice.buffer, work, formula)];
        if !choice.waits {
            nodes.push(self.weigh(moe, choice, Some(all)));
        }
        nodes
    }

    /// From what was kept of the chosen to their weights.
    pub fn weigh(&self, moe: &Moe, choice: Choice, all: Option<BufferId>) -> Node {
        let (selection, top_k) = (moe.selection, moe.top_k);
        let tokens = self.laid(choice.weights()).rows.most();
        let chosen = top_k.saturating_mul(tokens);
        let all = all.filter(|_| !selection.weighs_chosen_alone());
        let mut work = Vec::new();
        match selection.scoring {
            Scoring::Softmax => {
                let counted = if all.is_some() { moe.experts } else { top_k };
                work.push(self.work(Operation::Exponential, counted.saturating_mul(tokens), 1));
            }
            Scoring::Sigmoid if selection.follows_logits() => {
                work.push(self.work(Operation::Exponential, chosen, 1));
                work.push(self.work(Operation::Divide, chosen, 1));
            }
            Scoring::Sigmoid => {}
        }
        let divided = selection.scoring == Scoring::Softmax || selection.normalise;
        if divided {
            // One division a token; its quotient, with the scale, multiplies the weights.
            let counted = if all.is_some() { moe.experts } else { top_k };
            work.push(self.work(Operation::ScalarReduce, counted, tokens));
            work.push(self.work(Operation::Divide, 1, tokens));
        }
        if divided || selection.scale != 1.0 {
            work.push(self.work(Operation::Multiply, chosen, 1));
        }
        let formula = Formula::Weigh { weights: choice.weights(), all: all.map(first), selection };
        let reads = all.unwrap_or(choice.buffer);
        self.compute(Math::TopK, &[reads], choice.buffer, work, formula)
    }

    /// How scores of all experts get from the places along an axis that hold them to all of these, or to one.
    fn gather_way(&self, logits: Logits, moe: &Moe, (to, tokens): (Option<u64>, u64)) -> Way {
        let length = self.region().along(logits.axis);
        let fields = if moe.selection.corrected { 2 } else { 1 };
        // Where there are fewer experts than places, the first of those that share them out hold one each.
        let (first, parts) = match self.laid(logits.at).inner.last().map(|dimension| &dimension.spread) {
            Some(Spread::Split(digit)) => (digit.first, digit.parts.clamp(1, length)),
            _ => (0, length),
        };
        let owners = moe.experts.min(parts);
        let elements = moe.experts.div_ceil(parts).saturating_mul(tokens).saturating_mul(fields);
        match to {
            Some(at) => {
                let before = at.saturating_sub(first).min(owners);
                let between = at.saturating_sub(first + owners);
                Way::Gather { before, behind: owners.saturating_sub(before + 1), between, elements }
            }
            None => Way::AllGather { before: first, owners, members: length, elements },
        }
    }

    /// Logits that end along y, in the order of their places, for who chooses: in the middle of the line where one
    /// place does, else where the last of them come soonest to all. Two to a place, which go through in one wavelet.
    pub fn logits_along_y(&self, moe: &Moe, single: bool) -> Field {
        let rows = self.region().rows;
        let each = moe.experts.div_ceil(rows).max(2).min(moe.experts.max(1));
        let owners = moe.experts.div_ceil(each).max(1);
        let rest = rows.saturating_sub(owners);
        // Onwards it is so far from the first owner to the last place; back, first to the last owner, then to the first
        // place.
        let first = if single { rest / 2 } else { ((rows + 2).saturating_sub(2 * owners) / 2).min(rest) };
        let digit = Digit { first, ..Digit::blocks(Axis::Y, 1, owners) };
        let tokens = Dimension::whole(self.request.tokens);
        Field::new("scores", tokens, vec![Dimension::split(moe.experts, digit)])
    }
}

/// The gain of the norm before the router.
const NORM_GAIN: Factor = Factor::Gain(GainName::first(Role::FeedForwardNorm));
