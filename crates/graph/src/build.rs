//! From a model's tensors to operators and edges.
//!
//! An operator can only be added after the operators that it takes from, so the graph has no cycles and its indices are
//! a topological order. Every tensor of the model ends up in exactly one operator (an expert's: dealt out over slots).

mod experts;
mod layer;
mod shelf;

use petgraph::graph::{DiGraph, NodeIndex};
use wafersim_spec::model::{FeedForward, Layer, Role, Tensor};
use wafersim_spec::{Bytes, Model, Precision};

use self::shelf::Shelf;
use crate::error::GraphError;
use crate::load::PassLoad;
use crate::operator::{Flow, Operator, OperatorKind, OperatorName, Shape, elementwise};

/// The most operators that a graph is built with: about 200 MB. The largest public models have some thousands.
const OPERATOR_LIMIT: u64 = 1_000_000;

/// Operators of a layer beside those of the routed experts, at most; and operators of one expert slot.
const OPERATORS_PER_LAYER: u64 = 48;
const OPERATORS_PER_EXPERT: u64 = 4;

/// The graph of the whole model.
pub(crate) fn model_graph(
    model: &Model,
    load: PassLoad,
    precision: &Precision,
) -> Result<DiGraph<Operator, Flow>, GraphError> {
    let mut builder = Builder::new(model, &model.layers, load, precision)?;
    let mut shelf = Shelf::new(None, model.outer_tensors());

    let table = shelf.take(Role::Embedding)?;
    let mut stream = builder.embedding(&table);
    for (index, layer) in model.layers.iter().enumerate() {
        stream = builder.layer(index, layer, stream)?;
    }

    builder.layer = None;
    let rows = load.logit_rows();
    let stream = stream.part(product([rows, model.hidden]));
    let stream = builder.norm("final_norm", OperatorKind::FinalNorm, &shelf.take(Role::FinalNorm)?, rows, stream);
    let logits = if model.tied_embeddings {
        // The weights are the embedding's: read again, not counted again.
        let head = model.lm_head();
        let weights = Weights { bytes: head.bytes(precision), ..Weights::default() };
        builder.projection(builder.name("lm_head"), OperatorKind::LmHead, &head, weights, rows, stream)
    } else {
        let head = shelf.take(Role::LmHead)?;
        let weights = Weights::whole(&head, precision);
        builder.projection(builder.name("lm_head"), OperatorKind::LmHead, &head, weights, rows, stream)
    };
    let (input, output) = (Shape::new(rows, model.vocabulary), Shape::new(rows, 1));
    let mut sampling = Operator::new(builder.name("sampling"), OperatorKind::Sampling, input, output);
    sampling.elementwise = input.elements();
    builder.add(sampling, &[logits]);

    shelf.finish()?;
    builder.finish()
}

/// The graph of one layer, fed by a [`OperatorKind::LayerInput`].
pub(crate) fn layer_graph(
    model: &Model,
    index: usize,
    load: PassLoad,
    precision: &Precision,
) -> Result<DiGraph<Operator, Flow>, GraphError> {
    let layer = model.layers.get(index).ok_or_else(|| GraphError::LayerOutOfRange {
        model: model.name.clone(),
        layer: index,
        layers: model.layers.len(),
    })?;
    let mut builder = Builder::new(model, std::slice::from_ref(layer), load, precision)?;
    builder.layer = Some(index);
    let shape = Shape::new(load.tokens, model.hidden);
    let input = builder.add(Operator::new(builder.name("input"), OperatorKind::LayerInput, shape, shape), &[]);
    builder.layer(index, layer, input)?;
    builder.finish()
}

/// The product of all factors, `u64::MAX` where it leaves 64 bits: [`Builder::finish`] refuses such counts.
fn product<const N: usize>(factors: [u64; N]) -> u64 {
    // A factor of zero wins over an overflow before it.
    if factors.contains(&0) { 0 } else { factors.into_iter().fold(1, u64::saturating_mul) }
}

/// A result that later operators can take from.
#[derive(Clone, Copy)]
struct Tap {
    operator: NodeIndex,
    elements: u64,
}

impl Tap {
    /// Only `elements` of the result are needed.
    const fn part(self, elements: u64) -> Self {
        Self { elements, ..self }
    }
}

/// The weights that an operator holds and reads.
#[derive(Clone, Copy, Default)]
struct Weights {
    parameters: u64,
    active_parameters: u64,
    bytes: Bytes,
}

impl Weights {
    /// All copies of a tensor.
    fn whole(tensor: &Tensor, precision: &Precision) -> Self {
        Self {
            parameters: tensor.parameters(),
            active_parameters: tensor.active_parameters(),
            bytes: tensor.bytes(precision),
        }
    }
}

/// A graph under construction.
struct Builder<'a> {
    graph: DiGraph<Operator, Flow>,
    load: PassLoad,
    precision: &'a Precision,
    hidden: u64,
    layer: Option<usize>,
}

impl<'a> Builder<'a> {
    fn new(model: &Model, layers: &[Layer], load: PassLoad, precision: &'a Precision) -> Result<Self, GraphError> {
        if load.tokens == 0 {
            return Err(GraphError::NoTokens);
        }
        let operators = layers.iter().map(operator_bound).fold(OPERATORS_PER_LAYER, u64::saturating_add);
        if operators > OPERATOR_LIMIT {
            let (model, limit) = (model.name.clone(), OPERATOR_LIMIT);
            return Err(GraphError::TooManyOperators { model, operators, limit });
        }
        let graph = DiGraph::with_capacity(operators as usize, 2 * operators as usize);
        Ok(Self { graph, load, precision, hidden: model.hidden, layer: None })
    }

    /// Refuses saturated counts, so that later sums cannot overflow.
    fn finish(self) -> Result<DiGraph<Operator, Flow>, GraphError> {
        let mut totals = [0_u64; 5];
        for operator in self.graph.node_weights() {
            let bytes = operator.bytes_read() + operator.bytes_written;
            let (parameters, active) = (operator.parameters, operator.active_parameters);
            let counts = [operator.macs, operator.elementwise, bytes.0, parameters, active];
            for (total, count) in totals.iter_mut().zip(counts) {
                *total = total.saturating_add(count);
            }
        }
        let mut elements = self.graph.edge_weights().map(|flow| flow.elements);
        if totals.contains(&u64::MAX) || elements.any(|elements| elements == u64::MAX) {
            return Err(GraphError::LoadTooLarge { tokens: self.load.tokens, context: self.load.context });
        }
        Ok(self.graph)
    }

    fn name(&self, path: &'static str) -> OperatorName {
        OperatorName { layer: self.layer, path, slot: None }
    }

    /// Adds an operator behind its sources.
    fn add(&mut self, operator: Operator, sources: &[Tap]) -> Tap {
        let elements = operator.output.elements();
        let index = self.graph.add_node(operator);
        for source in sources {
            let bytes = self.precision.activations.storage(source.elements);
            self.graph.add_edge(source.operator, index, Flow { elements: source.elements, bytes });
        }
        Tap { operator: index, elements }
    }

    fn embedding(&mut self, table: &Tensor) -> Tap {
        let (tokens, hidden) = (self.load.tokens, table.outputs);
        let name = self.name("embedding");
        let mut operator =
            Operator::new(name, OperatorKind::Embedding, Shape::new(tokens, 1), Shape::new(tokens, hidden));
        operator.parameters = table.parameters();
        operator.active_parameters = table.active_parameters();
        operator.weight_bytes_read = self.precision.stored(table.role).storage(hidden) * tokens;
        self.add(operator, &[])
    }

    /// A norm of `rows` rows as wide as its gain.
    fn norm(&mut self, path: &'static str, kind: OperatorKind, gain: &Tensor, rows: u64, source: Tap) -> Tap {
        let shape = Shape::new(rows, gain.outputs);
        let mut operator = Operator::new(self.name(path), kind, shape, shape);
        operator.elementwise = product([elementwise::RMS_NORM, shape.elements()]);
        hold(&mut operator, Weights::whole(gain, self.precision));
        self.add(operator, &[source.part(shape.elements())])
    }

    /// A product of `rows` rows with one copy of a weight matrix, and the sum with its bias.
    fn projection(
        &mut self,
        name: OperatorName,
        kind: OperatorKind,
        tensor: &Tensor,
        weights: Weights,
        rows: u64,
        source: Tap,
    ) -> Tap {
        let (input, output) = (Shape::new(rows, tensor.inputs), Shape::new(rows, tensor.outputs));
        let mut operator = Operator::new(name, kind, input, output);
        operator.matrix = Some(Shape::new(tensor.inputs, tensor.outputs));
        operator.macs = product([rows, tensor.inputs, tensor.outputs]);
        operator.elementwise = if tensor.bias { output.elements() } else { 0 };
        hold(&mut operator, weights);
        self.add(operator, &[source.part(input.elements())])
    }

    /// A projection with a whole tensor from the shelf.
    fn take_projection(
        &mut self,
        path: &'static str,
        role: Role,
        shelf: &mut Shelf,
        source: Tap,
    ) -> Result<Tap, GraphError> {
        let tensor = shelf.take(role)?;
        let weights = Weights::whole(&tensor, self.precision);
        let (name, kind) = (self.name(path), OperatorKind::Projection(role));
        Ok(self.projection(name, kind, &tensor, weights, self.load.tokens, source))
    }
}

/// Notes on an operator which weights it holds and reads.
fn hold(operator: &mut Operator, weights: Weights) {
    operator.parameters = weights.parameters;
    operator.active_parameters = weights.active_parameters;
    operator.weight_bytes_read = weights.bytes;
}

/// An upper bound of the operators of a layer.
fn operator_bound(layer: &Layer) -> u64 {
    let slots = match &layer.feed_forward {
        FeedForward::Dense { .. } => 0,
        FeedForward::Moe(moe) => moe.top_k,
    };
    slots.saturating_mul(OPERATORS_PER_EXPERT).saturating_add(OPERATORS_PER_LAYER)
}
