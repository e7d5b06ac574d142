//! Graphs of layers that have been made before. Who writes layers again and again, as a search does, changes layouts
//! far more often than rewrites, and a graph knows no layout.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use wafersim_spec::model::Layer;

use super::{LayerGraph, LayerLoad, OwnRewrites, RewriteRefused, Rewrites};

/// The most graphs of one layer that are kept; then they are made anew.
const MOST: usize = 512;

/// The graphs of some layers under some loads, by their rewrites.
#[derive(Debug, Clone, Default)]
pub struct LayerGraphs {
    known: Vec<OfLayer>,
    /// Rewrites from outside, which all of them have.
    own: OwnRewrites,
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
    /// None yet; each that is made has these rewrites from outside, after those of its mapping.
    pub const fn with_own(own: OwnRewrites) -> Self {
        Self { known: Vec::new(), own }
    }

    /// The same with these rewrites from outside; what was made with others is made anew.
    pub fn rewrite_by(&mut self, own: &OwnRewrites) {
        if self.own != *own {
            *self = Self::with_own(own.clone());
        }
    }

    /// The graph of a layer under some rewrites.
    ///
    /// # Errors
    /// Where a rewrite from outside refuses.
    pub fn of(
        &mut self,
        layer: &Layer,
        hidden: u64,
        load: LayerLoad,
        rewrites: Rewrites,
    ) -> Result<&LayerGraph, RewriteRefused> {
        let is_same = |of: &OfLayer| of.hidden == hidden && of.load == load && of.layer == *layer;
        let at = self.known.iter().position(is_same).unwrap_or_else(|| {
            self.known.push(OfLayer { layer: layer.clone(), hidden, load, graphs: BTreeMap::new() });
            self.known.len() - 1
        });
        let graphs = &mut self.known[at].graphs;
        if graphs.len() >= MOST && !graphs.contains_key(&rewrites) {
            graphs.clear();
        }
        Ok(match graphs.entry(rewrites) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                place.insert(self.own.of(LayerGraph::new(layer, hidden, load).rewritten(rewrites))?)
            }
        })
    }
}
