//! The graph itself: order, levels, critical path and totals. Immutable once built.
//!
//! Operators are numbered in a topological order (layers from input to output, sources before their users), and every
//! listing follows that numbering: same model and load, same bytes.

use petgraph::Direction;
use petgraph::algo::has_path_connecting;
use petgraph::graph::DiGraph;
pub use petgraph::graph::NodeIndex as OperatorId;
use petgraph::visit::EdgeRef;
use wafersim_spec::{Bytes, Model, Precision};

use crate::build;
use crate::error::GraphError;
use crate::export;
use crate::load::PassLoad;
use crate::operator::{Flow, Operator};

/// The operators of a model, or of one layer, for one load; a directed graph without cycles.
#[derive(Debug, Clone)]
pub struct OperatorGraph {
    model: String,
    load: PassLoad,
    precision: Precision,
    graph: DiGraph<Operator, Flow>,
}

impl OperatorGraph {
    /// The whole model, from the embedding to the sampled token.
    ///
    /// # Errors
    /// Where the load has no tokens, or its counts leave 64 bits.
    pub fn of_model(model: &Model, load: PassLoad, precision: &Precision) -> Result<Self, GraphError> {
        let graph = build::model_graph(model, load, precision)?;
        Ok(Self { model: model.name.clone(), load, precision: *precision, graph })
    }

    /// One layer, from a [`LayerInput`](crate::OperatorKind::LayerInput) to its last residual addition.
    ///
    /// # Errors
    /// As [`OperatorGraph::of_model`], and where there is no such layer.
    pub fn of_layer(model: &Model, layer: usize, load: PassLoad, precision: &Precision) -> Result<Self, GraphError> {
        let graph = build::layer_graph(model, layer, load, precision)?;
        Ok(Self { model: model.name.clone(), load, precision: *precision, graph })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The load that the counts are for.
    pub const fn load(&self) -> PassLoad {
        self.load
    }

    /// The precision that the bytes are in.
    pub const fn precision(&self) -> &Precision {
        &self.precision
    }

    /// The graph underneath, for the algorithms of petgraph.
    pub const fn as_petgraph(&self) -> &DiGraph<Operator, Flow> {
        &self.graph
    }

    /// How many operators there are.
    pub fn operator_count(&self) -> usize {
        self.graph.node_count()
    }

    /// How many edges there are.
    pub fn flow_count(&self) -> usize {
        self.graph.edge_count()
    }

    /// The operator with that number.
    pub fn operator(&self, id: OperatorId) -> Option<&Operator> {
        self.graph.node_weight(id)
    }

    /// The operator with that name, for example `layers.3.attention.query`. Looks through all of them.
    pub fn find(&self, name: &str) -> Option<OperatorId> {
        self.operators().find(|(_, operator)| operator.name.to_string() == name).map(|(id, _)| id)
    }

    /// All operators in topological order.
    pub fn operators(&self) -> impl Iterator<Item = (OperatorId, &Operator)> {
        self.topological_order().zip(self.graph.node_weights())
    }

    /// The operators of one layer in topological order.
    pub fn layer_operators(&self, layer: usize) -> impl Iterator<Item = (OperatorId, &Operator)> {
        self.operators().filter(move |(_, operator)| operator.layer() == Some(layer))
    }

    /// All edges as (sender, receiver, flow), by receiver in topological order.
    pub fn flows(&self) -> impl Iterator<Item = (OperatorId, OperatorId, &Flow)> {
        self.graph.edge_references().map(|edge| (edge.source(), edge.target(), edge.weight()))
    }

    /// What flows into an operator and from where, in the order of its operands.
    pub fn inputs(&self, id: OperatorId) -> Vec<(OperatorId, &Flow)> {
        let mut edges: Vec<_> = self.graph.edges_directed(id, Direction::Incoming).collect();
        edges.sort_unstable_by_key(EdgeRef::id);
        edges.into_iter().map(|edge| (edge.source(), edge.weight())).collect()
    }

    /// What flows out of an operator and where to, receivers in topological order.
    pub fn outputs(&self, id: OperatorId) -> Vec<(OperatorId, &Flow)> {
        let mut edges: Vec<_> = self.graph.edges_directed(id, Direction::Outgoing).collect();
        edges.sort_unstable_by_key(EdgeRef::id);
        edges.into_iter().map(|edge| (edge.target(), edge.weight())).collect()
    }

    /// Whether `later` needs something that comes, over whatever detours, from `earlier`. No operator needs itself.
    pub fn depends_on(&self, later: OperatorId, earlier: OperatorId) -> bool {
        earlier < later
            && later.index() < self.operator_count()
            && has_path_connecting(&self.graph, earlier, later, None)
    }

    /// Numbers of all operators, every one after those that it takes from.
    pub fn topological_order(&self) -> impl ExactSizeIterator<Item = OperatorId> + use<> {
        self.graph.node_indices()
    }

    /// Sets of operators that could run at the same time: level n holds those whose longest chain of predecessors has n
    /// operators. Inside a level in topological order.
    pub fn parallel_sets(&self) -> Vec<Vec<OperatorId>> {
        let mut level_of = vec![0_usize; self.operator_count()];
        let mut levels: Vec<Vec<OperatorId>> = Vec::new();
        for id in self.topological_order() {
            let sources = self.graph.neighbors_directed(id, Direction::Incoming);
            let level = sources.map(|source| level_of[source.index()] + 1).max().unwrap_or(0);
            level_of[id.index()] = level;
            match levels.get_mut(level) {
                Some(set) => set.push(id),
                None => levels.push(vec![id]),
            }
        }
        levels
    }

    /// Operators on the longest chain: the number of [`parallel_sets`](Self::parallel_sets).
    pub fn critical_path_depth(&self) -> usize {
        self.critical_path(|_| 1.0).len()
    }

    /// The chain whose operators' weights add up to the most, from first to last. Weights below zero and NaN count as
    /// zero; among equals the operator with the lower number wins.
    pub fn critical_path(&self, weight: impl Fn(&Operator) -> f64) -> Vec<OperatorId> {
        let mut best: Vec<(f64, Option<OperatorId>)> = Vec::with_capacity(self.operator_count());
        let mut end: Option<(f64, OperatorId)> = None;
        for (id, operator) in self.operators() {
            let mut start: Option<(f64, OperatorId)> = None;
            for (source, _) in self.inputs(id) {
                let sum = best[source.index()].0;
                if start.is_none_or(|(most, first)| sum > most || (sum == most && source < first)) {
                    start = Some((sum, source));
                }
            }
            let sum = weight(operator).max(0.0) + start.map_or(0.0, |(sum, _)| sum);
            best.push((sum, start.map(|(_, source)| source)));
            if end.is_none_or(|(most, _)| sum > most) {
                end = Some((sum, id));
            }
        }
        let mut path: Vec<_> = std::iter::successors(end.map(|(_, id)| id), |id| best[id.index()].1).collect();
        path.reverse();
        path
    }

    /// Parameters of all operators: those of the model, each once.
    pub fn parameters(&self) -> u64 {
        self.graph.node_weights().map(|operator| operator.parameters).sum()
    }

    /// Parameters that one token uses.
    pub fn active_parameters(&self) -> u64 {
        self.graph.node_weights().map(|operator| operator.active_parameters).sum()
    }

    /// Multiply-accumulates of the whole load.
    pub fn macs(&self) -> u64 {
        self.graph.node_weights().map(|operator| operator.macs).sum()
    }

    /// Other arithmetic of the whole load.
    pub fn elementwise(&self) -> u64 {
        self.graph.node_weights().map(|operator| operator.elementwise).sum()
    }

    /// Weights and cache read by the whole load.
    pub fn bytes_read(&self) -> Bytes {
        self.graph.node_weights().map(Operator::bytes_read).sum()
    }

    /// Weights read by the whole load.
    pub fn weight_bytes_read(&self) -> Bytes {
        self.graph.node_weights().map(|operator| operator.weight_bytes_read).sum()
    }

    /// KV cache read by the whole load.
    pub fn cache_bytes_read(&self) -> Bytes {
        self.graph.node_weights().map(|operator| operator.cache_bytes_read).sum()
    }

    /// KV cache written by the whole load.
    pub fn bytes_written(&self) -> Bytes {
        self.graph.node_weights().map(|operator| operator.bytes_written).sum()
    }

    /// The graph in Graphviz's language, one cluster per layer.
    pub fn to_dot(&self) -> String {
        export::dot(self)
    }

    /// The graph as JSON: model, load, precision, totals, operators, flows.
    pub fn to_json(&self) -> serde_json::Value {
        export::json(self)
    }
}
