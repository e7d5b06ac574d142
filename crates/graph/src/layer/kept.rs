//! Graphs of layers that have been made before. Who writes layers again and again, as a search does, changes layouts
//! far more often than rewrites, and a graph knows no layout.

use std::collections::BTreeMap;

use wafersim_spec::model::Layer;

use super::{LayerGraph, LayerLoad, Rewrites};

/// The most graphs of one layer that are kept; then they are made anew.
const MOST: usize = 512;

/// The graphs of some layers under some loads, by their rewrites.
#[derive(Debug, Clone, Default)]
pub struct LayerGraphs {
    known: Vec<OfLayer>,
}

/// The graphs of a layer under a load.
#[derive(Debug, Clone)]
struct OfLayer {
    layer: Layer,
    hidden: u64,
    load: LayerLoad,
    graphs: BTreeMap<Rewrites, LayerGraph>,
}

impl LayerGraphs {
    /// The graph of a layer under some rewrites.
    pub fn of(&mut self, layer: &Layer, hidden: u64, load: LayerLoad, rewrites: Rewrites) -> &LayerGraph {
        let is_same = |of: &OfLayer| of.hidden == hidden && of.load == load && of.layer == *layer;
        let at = self.known.iter().position(is_same).unwrap_or_else(|| {
            self.known.push(OfLayer { layer: layer.clone(), hidden, load, graphs: BTreeMap::new() });
            self.known.len() - 1
        });
        let graphs = &mut self.known[at].graphs;
        if graphs.len() >= MOST && !graphs.contains_key(&rewrites) {
            graphs.clear();
        }
        graphs.entry(rewrites).or_insert_with(|| LayerGraph::new(layer, hidden, load).rewritten(rewrites))
    }
}
