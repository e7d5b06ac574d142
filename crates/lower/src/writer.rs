//! A program being written: buffers with layouts, steps with formulas, reductions as the mapping wants them.

use std::borrow::Cow;
use std::rc::Rc;

use wafersim_graph::LayerGraph;
use wafersim_graph::layer::{self, LayerOperator};
use wafersim_mapping::{self as mapping, Collective, LayerMapping, LineKind, Reduction, Routes};
use wafersim_program::collective::{Along, Level, Neighbours, RootPlaces, Sharing, SplitRoots, Tree, TreeError};
use wafersim_program::pieces::ring_words;
use wafersim_program::{
    Action, Axis, BufferId, Compute, Digit, Dimension, Field, Formula, Layout, Math, Node, Operand, Operation, Program,
    ReduceOperator, Region, Root, Step, Work, collective,
};
use wafersim_spec::DataType;
use wafersim_spec::model::Role;

use crate::request::{LayerRequest, LowerError, Scope};

/// The lines of the program's region on which a reduction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Whole rows or columns.
    Whole(Axis),
    /// Segments of rows: `count` members, `stride` columns apart, one segment after the other.
    Segments {
        /// Members.
        count: u64,
        /// Columns between neighbouring members.
        stride: u64,
    },
}

/// A program being written.
pub(crate) struct Writer<'a> {
    /// The program so far. Steps are written for its region, which is set to the rectangle that is at work.
    pub program: Program,
    /// What is asked.
    pub request: &'a LayerRequest<'a>,
    /// Why the program cannot be written, where that was found on the way.
    pub refused: Option<LowerError>,
    /// Trees that have been made: the mapping's, the length of the line, and the program's.
    trees: Vec<KnownTree<'a>>,
}

/// A tree of a mapping over a line of a length.
struct KnownTree<'a> {
    of: &'a wafersim_mapping::Tree,
    length: u64,
    tree: Rc<Tree>,
}

impl<'a> Writer<'a> {
    pub fn new(name: &'static str, request: &'a LayerRequest<'a>) -> Self {
        let mut program = Program::new(name, request.mapping.whole());
        // About what a layer has.
        program.buffers.reserve(32);
        program.body.reserve(24);
        program.weights.reserve(12);
        Self { program, request, refused: None, trees: Vec::new() }
    }

    pub fn mapping(&self) -> &'a LayerMapping {
        self.request.mapping
    }

    pub fn region(&self) -> Region {
        self.program.region
    }

    pub fn activations(&self) -> DataType {
        self.request.precision.activations
    }

    /// Writes with another rectangle as the program's region.
    pub fn within<T>(&mut self, region: Region, write: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.program.region, region);
        let written = write(self);
        self.program.region = outer;
        written
    }

    /// Declares a buffer of activations on the region.
    pub fn declare(&mut self, name: impl Into<Cow<'static, str>>, fields: Vec<Field>) -> BufferId {
        self.declare_typed(name, self.activations(), fields)
    }

    /// The same with a data type.
    pub fn declare_typed(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        data_type: DataType,
        fields: Vec<Field>,
    ) -> BufferId {
        let layout = Layout { region: self.region(), fields };
        self.program.laid_buffer(name, data_type, layout)
    }

    /// How an operand lies.
    pub fn laid(&self, operand: Operand) -> &Field {
        static NOTHING: Field =
            Field { name: Cow::Borrowed(""), rows: Dimension::whole(0), inner: Vec::new(), shares: Vec::new() };
        let layout = self.program.buffer_of(operand.buffer).layout.as_ref();
        layout.and_then(|layout| layout.fields.get(operand.field as usize)).unwrap_or(&NOTHING)
    }

    /// A field like that of an operand, for another buffer.
    pub fn field(&self, operand: Operand) -> Field {
        self.laid(operand).clone()
    }

    /// Elements of an operand in the fullest processing element.
    pub fn most(&self, operand: Operand) -> u64 {
        self.laid(operand).most()
    }

    /// Work in the precision of activations.
    pub fn work(&self, operation: Operation, length: u64, count: u64) -> Work {
        Work::new(operation, self.activations(), length, count)
    }

    /// A compute step over the region.
    pub fn compute(&self, math: Math, reads: &[BufferId], writes: BufferId, work: Vec<Work>, formula: Formula) -> Node {
        let compute = Compute { math, reads: reads.to_vec(), writes, work, formula: Some(formula) };
        Node::Step(Step { region: self.region(), action: Action::Compute(compute) })
    }

    /// The reduction that the mapping wants of an operator along a kind of line, and its result in every member.
    pub fn reduce(&mut self, operator: &str, line: LineKind, on: Lines, payload: BufferId) -> Vec<Node> {
        self.reduce_by(operator, line, on, payload, ReduceOperator::Add)
    }

    /// The same with another way to combine.
    pub fn reduce_by(
        &mut self,
        operator: &str,
        line: LineKind,
        on: Lines,
        payload: BufferId,
        combine: ReduceOperator,
    ) -> Vec<Node> {
        let reduction = self.mapping().reduction(operator, line);
        let (axis, count, stride) = match on {
            Lines::Whole(axis) => (axis, self.region().along(axis), 1),
            Lines::Segments { count, stride } => (Axis::X, count, stride),
        };
        if count <= 1 {
            return Vec::new();
        }
        let along = Along { axis, payload, operator: combine };
        let tree = match reduction {
            Reduction::Tree(tree) => self.tree(tree, count),
            // A largest element and its number stay together.
            Reduction::ReduceScatter | Reduction::SplitRoots { .. } if combine == ReduceOperator::ArgMax => {
                tree_over(&wafersim_mapping::Tree::PUBLISHED, count).map(Rc::new)
            }
            Reduction::Own(own) => match own.code() {
                Some(collective) if collective.combines(combine) => {
                    let lines = mapping::Lines { region: self.region(), axis, members: count, stride };
                    return self.by_own(operator, collective, lines, along);
                }
                Some(_) => tree_over(&wafersim_mapping::Tree::PUBLISHED, count).map(Rc::new),
                None => {
                    let problem = format!("'{}' is code that is not there; allowed: a mapping that has it", own.id());
                    self.refuse(operator, count, problem);
                    return Vec::new();
                }
            },
            Reduction::Chain { root } => chain_over(*root, count).map(Rc::new),
            Reduction::ReduceScatter => return self.in_pieces(count, stride, along),
            Reduction::SplitRoots { roots, tree } => {
                let tree = self.tree(tree, count);
                match (on, tree) {
                    (Lines::Whole(_), Ok(tree)) => return self.split_roots(&tree, *roots, along),
                    (Lines::Whole(_), tree) => tree,
                    (Lines::Segments { .. }, _) => {
                        self.refuse(operator, count, "split roots are written for whole lines alone".into());
                        return Vec::new();
                    }
                }
            }
        };
        let tree = match tree {
            Ok(tree) => tree,
            Err(problem) => {
                self.refuse(operator, count, problem.to_string());
                return Vec::new();
            }
        };
        match on {
            Lines::Segments { .. } => collective::segment_tree_all_reduce(&mut self.program, &tree, stride, along),
            Lines::Whole(_) => {
                let region = self.region();
                let mut nodes = collective::tree_reduce(&mut self.program, region, &tree, along);
                nodes.push(collective::multicast(&mut self.program, axis, tree.root(0), payload));
                nodes
            }
        }
    }

    /// The steps of a collective from outside; they stay in the rectangle at work.
    fn by_own(
        &mut self,
        operator: &str,
        collective: &dyn Collective,
        lines: mapping::Lines,
        along: Along,
    ) -> Vec<Node> {
        let region = self.region();
        let problem = match collective.all_reduce(&mut self.program, lines, along) {
            Ok(nodes) => {
                let outside = nodes.iter().filter_map(Node::region).find(|used| region.around(used) != region);
                match outside {
                    None => return nodes,
                    Some(used) => format!("'{}' has steps on {used:?}; allowed: inside {region:?}", collective.id()),
                }
            }
            Err(problem) => format!("'{}': {problem}", collective.id()),
        };
        self.program.region = region;
        self.refuse(operator, lines.members, problem);
        Vec::new()
    }

    /// The tree of the mapping over a line.
    fn tree(&mut self, of: &'a wafersim_mapping::Tree, length: u64) -> Result<Rc<Tree>, TreeError> {
        let is_it = |known: &&KnownTree<'_>| std::ptr::eq(known.of, of) && known.length == length;
        if let Some(known) = self.trees.iter().find(is_it) {
            return Ok(Rc::clone(&known.tree));
        }
        let tree = Rc::new(tree_over(of, length)?);
        self.trees.push(KnownTree { of, length, tree: Rc::clone(&tree) });
        Ok(tree)
    }

    /// Remembers why the program is not written; the first reason counts.
    fn refuse(&mut self, operator: &str, length: u64, problem: String) {
        let refused = LowerError::Reduction { operator: operator.to_owned(), length, problem };
        self.refused.get_or_insert(refused);
    }

    /// Every member of a line, or of its segments, sums a piece of a payload; then all gather the pieces.
    fn in_pieces(&mut self, count: u64, stride: u64, along: Along) -> Vec<Node> {
        let block = count.saturating_mul(stride);
        let digit = Digit { axis: along.axis, first: 0, modulus: block, limit: block, stride, parts: count };
        let pieces = self.pieces_of(along.payload, &[digit]);
        let (region, words) = (self.region(), ring_words(self.request.queue));
        let Along { axis, payload, operator } = along;
        let scatter = Sharing { axis, count, stride, words, source: payload, target: pieces };
        let gather = Sharing { source: pieces, target: payload, ..scatter };
        let mut nodes = collective::reduce_scatter(&mut self.program, region, scatter, operator);
        nodes.extend(collective::all_gather(&mut self.program, region, gather));
        nodes
    }

    /// A tree whose neighbouring roots sum a piece each, and multicast it.
    fn split_roots(&mut self, tree: &Tree, roots: u64, along: Along) -> Vec<Node> {
        let RootPlaces { first, stride, count } = tree.split_places(roots);
        let Along { axis, payload, .. } = along;
        let (region, limit) = (self.region(), count.saturating_mul(stride));
        // Of the places between two roots only the root itself has something.
        let part = Digit { axis, first, modulus: u64::MAX, limit, stride, parts: count };
        let root = Digit { axis, first, modulus: stride, limit: 1, stride: 1, parts: 1 };
        let target = self.pieces_of(payload, &[part, root]);
        let split = SplitRoots { roots: count, target };
        let mut nodes = collective::split_reduce(&mut self.program, region, tree, along, split);
        let owners = Neighbours { axis, first, stride, count, source: target, target: payload };
        nodes.push(collective::gather(&mut self.program, region, owners));
        nodes
    }

    /// A buffer for the pieces of a payload that some digits share out.
    fn pieces_of(&mut self, payload: BufferId, digits: &[Digit]) -> BufferId {
        let buffer = self.program.buffer_of(payload);
        let (data_type, layout) = (buffer.data_type, buffer.layout.clone());
        let share = |field: Field| digits.iter().fold(field, |field, digit| field.shared(*digit));
        let region = layout.as_ref().map_or(self.program.region, |layout| layout.region);
        let fields = layout.map_or_else(Vec::new, |layout| layout.fields.into_iter().map(share).collect());
        self.program.laid_buffer("reduction.piece", data_type, Layout { region, fields })
    }

    /// A payload in pieces that go round segments of the columns.
    pub const fn segment(&self, count: u64, stride: u64, source: BufferId, target: BufferId) -> Sharing {
        Sharing { axis: Axis::X, count, stride, words: ring_words(self.request.queue), source, target }
    }

    /// Appends an operator between two route changes: the published WSE-3 kernel changes its routes when the axis of
    /// its reductions changes, six times a layer.
    pub fn push_with_route_changes(&mut self, name: impl Into<Cow<'static, str>>, body: Vec<Node>) {
        let nodes = self.between_route_changes(body);
        self.program.push(name, nodes);
    }

    /// Nodes between two route changes of the region, where routes change while the layer runs.
    pub fn between_route_changes(&self, body: Vec<Node>) -> Vec<Node> {
        match self.mapping().routes {
            Routes::Static => body,
            Routes::Changed => {
                let mut nodes = Vec::with_capacity(body.len() + 2);
                nodes.push(self.program.route_change(1));
                nodes.extend(body);
                nodes.push(self.program.route_change(1));
                nodes
            }
        }
    }

    /// The exponential of a softmax. Measured layers stop after two squarings (kernels of WaferLLM, 2025).
    pub fn exponential(&self) -> Operation {
        match self.request.scope {
            Scope::Model => Operation::Exponential,
            Scope::Measured => Operation::UnfinishedExponential,
        }
    }

    /// How the matrices of a role are stored.
    pub fn stored(&self, role: Role) -> DataType {
        match role {
            // A small weight: stored in 16 bit, never converted.
            Role::Router | Role::WriteStrength | Role::Decay | Role::SharedOutputGate => {
                self.request.precision.stored(role)
            }
            _ => self.mapping().stored(role, &self.request.precision),
        }
    }
}

/// The tree of a mapping over a line. One that is the published tree is written as that one.
fn tree_over(tree: &wafersim_mapping::Tree, length: u64) -> Result<Tree, TreeError> {
    let (sizes, root) = (tree.sizes(length), tree.root(length));
    let published = Tree::two_level(length, sizes.iter().skip(1).product::<u64>().max(1));
    let members = published.levels().iter().map(|level| level.members).filter(|members| *members > 1);
    if members.eq(sizes.iter().copied()) && published.root(0) == root {
        return Ok(published);
    }
    if tree.root == wafersim_mapping::Root::Middle {
        return Tree::of_sizes(length, &sizes);
    }
    let mut stride = 1;
    let levels = sizes.iter().map(|members| {
        let level = Level { members: *members, root: Root::At(root / stride % members) };
        stride *= members;
        level
    });
    Tree::new(length, levels.collect())
}

/// A single chain to a root.
fn chain_over(root: wafersim_mapping::Root, length: u64) -> Result<Tree, TreeError> {
    let root = match root {
        wafersim_mapping::Root::Middle => Root::Middle,
        wafersim_mapping::Root::Index(index) if index == length / 2 => Root::Middle,
        wafersim_mapping::Root::Index(index) => Root::At(index.min(length.saturating_sub(1))),
    };
    Tree::new(length, vec![Level { members: length, root }])
}

/// A dimension shared out evenly along a whole axis of a region.
pub(crate) fn along(size: u64, axis: Axis, region: Region) -> Dimension {
    Dimension::split(size, Digit::line(axis, region.along(axis)))
}

/// A table that one axis of a region shares out.
pub(crate) fn table(name: &'static str, rows: u64, width: u64, axis: Axis, region: Region) -> Field {
    Field::new(name, Dimension::whole(rows), vec![along(width, axis, region)])
}

/// A table that every place holds.
pub(crate) fn everywhere(name: &'static str, rows: u64, width: u64) -> Field {
    Field::new(name, Dimension::whole(rows), vec![Dimension::whole(width)])
}

/// The first field of a buffer.
pub(crate) const fn first(buffer: BufferId) -> Operand {
    Operand::new(buffer, 0)
}

/// The weights of an operator: role, bias, copies.
pub(crate) fn roles(graph: &LayerGraph, operator: &LayerOperator) -> Vec<(Role, bool)> {
    let of = |tensor: &layer::Tensor| match tensor.kind {
        layer::TensorKind::Weight { role, bias, .. } => Some((role, bias)),
        _ => None,
    };
    graph.weights(operator).filter_map(of).collect()
}
