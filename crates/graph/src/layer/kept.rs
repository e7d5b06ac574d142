//! Graphs of one layer that have been made before. Who writes a layer again and again, as a search does, changes layouts far more
//! often than rewrites, and a graph knows no layout.

use std::collections::BTreeMap;

use wafersim_spec::model::Layer;

use super::{LayerGraph, LayerLoad, Rewrites};

/// The graphs of a layer under a load, by their rewrites. Another layer or load begins anew.
#[derive(Debug, Clone, Default)]
pub struct LayerGraphs {
    of: Option<Of>,
    known: BTreeMap<Rewrites, LayerGraph>,
}

/// What graphs are of.
#[derive(Debug, Clone, PartialEq)]
struct Of {
    layer: Layer,
    hidden: u64,
    load: LayerLoad,
}

impl LayerGraphs {
    /// The graph of a layer under some rewrites.
    pub fn of(&mut self, layer: &Layer, hidden: u64, load: LayerLoad, rewrites: Rewrites) -> &LayerGraph {
        let is_same = |of: &Of| of.hidden == hidden && of.load == load && of.layer == *layer;
        if !self.of.as_ref().is_some_and(is_same) {
            self.known.clear();
            self.of = Some(Of { layer: layer.clone(), hidden, load });
        }
        self.known.entry(rewrites).or_insert_with(|| LayerGraph::new(layer, hidden, load).rewritten(rewrites))
    }
}
