//! Parts of a layer in rectangles of their own (`rectangles` of a mapping). Ours: published kernels work on the whole
//! region.
//!
//! What such a part reads comes into its rectangle along the columns of the region, which all hold it; what it makes
//! leaves by one line, from the roots of its last reduction, and is multicast across. Steps cover no more than they
//! need, so that parts on disjoint rectangles run at the same time where every processing element follows its own
//! order. What others wait for on the whole region is written when it is wanted, not before.

use wafersim_graph::layer::{LayerOperation, NetworkKind, TensorId};
use wafersim_mapping::LineKind;
use wafersim_program::{Axis, BufferId, Dimension, Field, Formula, Math, Node, Operand, Operation, Region, collective};

use super::{Walk, nothing};
use crate::product::Product;
use crate::request::LowerError;
use crate::writer::{Lines, Writer, along, first, roles, table};

/// A tensor in a rectangle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inside {
    tensor: TensorId,
    rectangle: Region,
    operand: Operand,
}

/// What is still to be sent over the whole region.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    tensor: TensorId,
    operator: &'static str,
    nodes: Vec<Node>,
}

/// The part that an operator belongs to, and whether it reads what the part reads.
const fn part_of(operation: &LayerOperation, name: &'static str) -> Option<&'static str> {
    match operation {
        LayerOperation::GateUp { network, .. }
        | LayerOperation::Activation { network }
        | LayerOperation::Down { network, .. } => Some(part_of_network(*network)),
        LayerOperation::Norm { .. } | LayerOperation::Products | LayerOperation::Router { .. } => Some(name),
        _ => None,
    }
}

/// The part that a network is.
pub(super) const fn part_of_network(network: NetworkKind) -> &'static str {
    match network {
        NetworkKind::Dense => "feed_forward",
        NetworkKind::Shared => "shared_expert",
        NetworkKind::Experts => "experts",
    }
}

impl Walk<'_> {
    /// The rectangle of a part, where that is not the whole region.
    pub(super) fn own(&self, part: &str) -> Option<Region> {
        self.writer.mapping().rectangle(part)
    }

    pub(super) fn own_network(&self, network: NetworkKind) -> Option<Region> {
        self.own(part_of_network(network))
    }

    /// Whether a norm may ride: everybody who reads it works on the whole region, and so does the norm.
    pub(super) fn may_ride(&self, name: &'static str, normed: Option<&TensorId>) -> bool {
        let Some(normed) = normed else { return true };
        let mut readers = self.graph.operators().iter().filter(|operator| operator.reads.contains(normed));
        self.own(name).is_none() && readers.all(|reader| !self.reads_elsewhere(&reader.operation, reader.name))
    }

    fn reads_elsewhere(&self, operation: &LayerOperation, name: &'static str) -> bool {
        let beside = matches!(operation, LayerOperation::Products) && self.own(KEY_VALUE).is_some();
        beside || part_of(operation, name).is_some_and(|part| self.own(part).is_some())
    }

    /// What an operator reads on the whole region, and is still in a rectangle, is sent there.
    pub(super) fn settle(&mut self, index: usize) {
        if self.leaving.is_empty() {
            return;
        }
        let (wanted, later): (Vec<Leaving>, Vec<Leaving>) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition(|leaving| self.wants_everywhere(index, leaving.tensor));
        self.leaving = later;
        for Leaving { operator, nodes, .. } in wanted {
            self.writer.program.push(operator, nodes);
        }
    }

    /// Whether an operator reads a tensor that does not lie in its rectangle, or rectangles, already.
    fn wants_everywhere(&self, index: usize, tensor: TensorId) -> bool {
        let operator = &self.graph.operators()[index];
        if !operator.reads.contains(&tensor) {
            return false;
        }
        let lies_there =
            |rectangle: Region| self.inside.iter().any(|known| known.tensor == tensor && known.rectangle == rectangle);
        let beside =
            matches!(operator.operation, LayerOperation::Products).then_some(KEY_VALUE).and_then(|part| self.own(part));
        let own = part_of(&operator.operation, operator.name).and_then(|part| self.own(part));
        own.is_none_or(|own| !lies_there(own)) || beside.is_some_and(|beside| !lies_there(beside))
    }

    /// A tensor of the stream's width in a rectangle.
    pub(super) fn inside(
        &mut self,
        id: Option<&TensorId>,
        rectangle: Region,
        nodes: &mut Vec<Node>,
    ) -> Result<Operand, LowerError> {
        let known = self.inside.iter().find(|known| Some(&known.tensor) == id && known.rectangle == rectangle);
        if let Some(known) = known {
            return Ok(known.operand);
        }
        let x = self.operand(id)?;
        let operand = self.writer.fetched(x, rectangle, nodes);
        self.inside.extend(id.map(|tensor| Inside { tensor: *tensor, rectangle, operand }));
        Ok(operand)
    }

    /// A norm in a rectangle of its own.
    pub(super) fn norm_inside(&mut self, rectangle: Region, norm: super::NormInside<'_>) -> Result<(), LowerError> {
        let super::NormInside { name, gain, normed_name, reads, writes } = norm;
        let mut nodes = Vec::new();
        let x = self.inside(reads.first(), rectangle, &mut nodes)?;
        let (tokens, width) = (self.writer.request.tokens, self.writer.request.hidden);
        let y = self.writer.within(rectangle, |writer| {
            let y = first(writer.declare(normed_name, vec![table("normed", tokens, width, Axis::Y, rectangle)]));
            let norm = crate::norm::NormOf { operator: name, x, y, gain, line: LineKind::Y, axis: Axis::Y };
            nodes.extend(writer.norm(norm));
            y
        });
        let Some(tensor) = writes.first().copied() else { return Err(nothing("a norm that nobody reads")) };
        self.inside.push(Inside { tensor, rectangle, operand: y });
        self.writer.program.push(name, nodes);
        // Others want it on the whole region, or bring it from there into their own.
        let mut left = Vec::new();
        let out = self.writer.leave(&mut left, y, rectangle, rectangle.columns / 2);
        self.at.insert(tensor, out.0);
        left.push(out.1);
        self.leaving.push(Leaving { tensor, operator: name, nodes: left });
        Ok(())
    }

    /// Queries, or keys and values, or all of them in a rectangle: outputs along its columns, which one row sends to
    /// where heads lie.
    pub(super) fn products_inside(
        &mut self,
        index: usize,
        name: &'static str,
        rectangle: Region,
        which: std::ops::Range<usize>,
    ) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let made: Vec<TensorId> = operator.writes.get(which.clone()).unwrap_or_default().to_vec();
        let wanted = self.head_fields(&made)?;
        let mut nodes = Vec::new();
        let x = self.inside(operator.reads.first(), rectangle, &mut nodes)?;
        let tokens = self.writer.request.tokens;
        let target = self.writer.declare(name, wanted.clone());
        let in_place = self.graph.accumulators_in_place;
        let weights = roles(self.graph, operator);
        let whole = self.writer.region();
        let (source, row) = self.writer.within(rectangle, |writer| {
            let here = |field: &Field| {
                Field::new(
                    field.name.clone(),
                    Dimension::whole(tokens),
                    vec![along(field.row_size(), Axis::X, rectangle)],
                )
            };
            let source = writer.declare("products.inside", wanted.iter().map(here).collect());
            for ((role, bias), field) in weights.into_iter().skip(which.start).zip(0u32..).take(made.len()) {
                let product = Product::plain(writer, role, x, Operand::new(source, field)).with_bias(bias, Axis::Y);
                nodes.extend(writer.product(product, in_place));
            }
            nodes.extend(writer.reduce(name, LineKind::Y, Lines::Whole(Axis::Y), source));
            (source, writer.stay_at_root(&mut nodes, Axis::Y))
        });
        let row = rectangle.y - whole.y + row;
        let line = Region::new(whole.x, whole.y + row, whole.columns, 1);
        nodes.push(self.writer.counted_relayout(Axis::X, line, [source, target]));
        nodes.push(collective::multicast(&mut self.writer.program, Axis::Y, row, target));
        for (id, field) in made.iter().zip(0u32..) {
            self.at.insert(*id, Operand::new(target, field));
        }
        self.writer.program.push(name, nodes);
        Ok(())
    }

    /// Queries, keys and values that were made apart, in one buffer where columns share out the sequence: they go round
    /// together. Nothing where one of them is still to come.
    pub(super) fn joined(&mut self, name: &'static str) -> Result<(), LowerError> {
        if super::grouped_lies(self.writer.request, self.grouped()?).groups == 1 {
            return Ok(());
        }
        let id = |name: &str| self.graph.tensors().find(|(_, tensor)| tensor.name == name).map(|(id, _)| id);
        let ids: Vec<TensorId> =
            ["attention.query", "attention.key", "attention.value"].into_iter().filter_map(id).collect();
        if ids.iter().any(|id| !self.at.contains_key(id)) {
            return Ok(());
        }
        let sources = ids.iter().map(|id| self.operand(Some(id))).collect::<Result<Vec<_>, _>>()?;
        // By the names under which they are wanted elsewhere: values may be copies of keys.
        let named =
            |(source, name): (&Operand, &'static str)| Field { name: name.into(), ..self.writer.field(*source) };
        let fields = sources.iter().zip(["q", "k", "v"]).map(named).collect();
        let target = self.writer.declare("attention.joined", fields);
        let mut nodes = Vec::new();
        for ((id, source), field) in ids.iter().zip(sources).zip(0u32..) {
            let target = Operand::new(target, field);
            nodes.push(self.writer.copied(source, target));
            self.at.insert(*id, target);
        }
        self.writer.program.push(name, nodes);
        Ok(())
    }

    /// The shared expert in a rectangle of its own does not wait for the router: it is written before it.
    pub(super) fn shared_first(&mut self) -> Result<(), LowerError> {
        if self.own_network(NetworkKind::Shared).is_none() {
            return Ok(());
        }
        for index in 0..self.graph.operators().len() {
            let operation = &self.graph.operators()[index].operation;
            if part_of(operation, "") == Some(part_of_network(NetworkKind::Shared)) {
                self.operator(index)?;
                self.done.insert(index);
            }
        }
        Ok(())
    }

    /// Gate and up of a network in a rectangle of its own.
    pub(super) fn gate_up_inside(
        &mut self,
        index: usize,
        kind: NetworkKind,
        rectangle: Region,
    ) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let (form, mut nodes) = (self.form(index), Vec::new());
        let x = self.inside(operator.reads.first(), rectangle, &mut nodes)?;
        let network = self.network(kind, x)?;
        let (products, made) = self
            .writer
            .within(rectangle, |writer| writer.gate_up(operator.name, std::slice::from_ref(&network), form, None));
        nodes.extend(products);
        self.gates.extend(made.first().map(|made| (kind, *made)));
        self.writer.program.push(operator.name, nodes);
        Ok(())
    }

    /// Down of a network in a rectangle of its own: the sums stay in the column of their roots, and leave from there.
    pub(super) fn down_inside(&mut self, index: usize, kind: NetworkKind, rectangle: Region) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let (form, inner) = (self.form(index), self.gate(kind)?.gate);
        let network = self.network(kind, inner)?;
        let (mut nodes, output, column) = self.writer.within(rectangle, |writer| {
            let (mut nodes, output) = writer.down(operator.name, &[(network, inner)], form);
            let column = writer.stay_at_root(&mut nodes, Axis::X);
            (nodes, output, column)
        });
        let (out, multicast) = self.writer.leave(&mut nodes, first(output), rectangle, column);
        let changed = self.writer.within(rectangle, |writer| writer.between_route_changes(nodes));
        self.writer.program.push(operator.name, changed);
        if let Some(tensor) = operator.writes.first().copied() {
            self.at.insert(tensor, out);
            self.leaving.push(Leaving { tensor, operator: operator.name, nodes: vec![multicast] });
        }
        Ok(())
    }

    /// Where a choice has to be known: on the whole region, unless those who read it work where it is made.
    pub(super) fn choice_known(&self, made: Region) -> Region {
        let of_experts = self.own_network(NetworkKind::Experts).filter(|_| !self.in_rectangles(NetworkKind::Experts));
        match of_experts {
            Some(experts) if made.covers(&experts) => made,
            _ => self.writer.region(),
        }
    }
}

/// Keys and values as a part of their own.
pub(crate) const KEY_VALUE: &str = "attention.key_value";

impl Writer<'_> {
    /// A copy where a tensor lies.
    pub fn copied(&self, source: Operand, target: Operand) -> Node {
        let work = vec![self.work(Operation::Copy, self.most(target), 1)];
        self.compute(Math::Copy, &[source.buffer], target.buffer, work, Formula::Load { source, target })
    }

    /// A tensor along y, which every column of the region holds, along y in a rectangle.
    pub fn fetched(&mut self, x: Operand, rectangle: Region, nodes: &mut Vec<Node>) -> Operand {
        let whole = self.region();
        if (rectangle.y, rectangle.rows) == (whole.y, whole.rows) {
            // It lies there as it is.
            return x;
        }
        let (name, rows, width) = {
            let field = self.laid(x);
            (field.name.clone(), field.rows.clone(), field.row_size())
        };
        let field = Field::new(name, rows, vec![along(width, Axis::Y, rectangle)]);
        let target = self.within(rectangle, |writer| writer.declare("fetched", vec![field]));
        let columns = Region::new(rectangle.x, whole.y, rectangle.columns, whole.rows);
        nodes.push(self.counted_relayout(Axis::Y, columns, [x.buffer, target]));
        first(target)
    }

    /// A tensor along y in column `column` of a rectangle over the rows of the region; and the step that multicasts it,
    /// still to come.
    pub fn leave(&mut self, nodes: &mut Vec<Node>, y: Operand, rectangle: Region, column: u64) -> (Operand, Node) {
        let whole = self.region();
        let field = self.laid(y);
        let field = Field::new(field.name.clone(), field.rows.clone(), vec![along(field.row_size(), Axis::Y, whole)]);
        let out = self.declare("left", vec![field]);
        let line = Region::new(rectangle.x + column, whole.y, 1, whole.rows);
        nodes.push(if (rectangle.y, rectangle.rows) == (whole.y, whole.rows) {
            self.within(line, |writer| {
                let work = vec![writer.work(Operation::Copy, writer.most(first(out)), 1)];
                let formula = Formula::Select { source: y, target: first(out) };
                writer.compute(Math::Copy, &[y.buffer], out, work, formula)
            })
        } else {
            self.counted_relayout(Axis::Y, line, [y.buffer, out])
        });
        let from = rectangle.x - whole.x + column;
        (first(out), collective::multicast(&mut self.program, Axis::X, from, out))
    }

    /// A relayout along the lines of a rectangle, its way counted piece by piece.
    pub fn counted_relayout(&mut self, axis: Axis, region: Region, buffers: [BufferId; 2]) -> Node {
        self.within(region, |writer| {
            let way = writer.counted_way(axis, buffers);
            writer.relayout(axis, buffers[0], buffers[1], way)
        })
    }
}
