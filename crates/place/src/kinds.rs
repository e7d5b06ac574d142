//! What of a model is the same for every placement of it: which of its layers are of one kind, and what each kind keeps
//! of weights. Found once for who places a model again and again.

use std::sync::{Arc, Mutex, PoisonError};

use wafersim_spec::model::Layer;
use wafersim_spec::{Model, Precision};

use crate::blueprint::LayerWeights;
use crate::choices::Roles;

/// The kinds of layers of a model.
#[derive(Debug)]
pub struct Kinds<'m> {
    model: &'m Model,
    /// The first layer of each kind.
    firsts: Vec<&'m Layer>,
    /// The kind of each layer.
    of_layer: Vec<usize>,
    weights: Mutex<Vec<KnownWeights>>,
}

/// The weights of a kind of layer.
#[derive(Debug)]
struct KnownWeights {
    kind: usize,
    precision: Precision,
    wide: Roles,
    weights: Arc<LayerWeights>,
}

impl<'m> Kinds<'m> {
    /// The kinds of layers of a model.
    pub fn new(model: &'m Model) -> Self {
        let mut firsts: Vec<&Layer> = Vec::new();
        let mut of_layer = Vec::with_capacity(model.layers.len());
        for layer in &model.layers {
            let known = firsts.iter().position(|first| *first == layer);
            of_layer.push(known.unwrap_or(firsts.len()));
            if known.is_none() {
                firsts.push(layer);
            }
        }
        Self { model, firsts, of_layer, weights: Mutex::default() }
    }

    /// The model.
    pub const fn model(&self) -> &'m Model {
        self.model
    }

    /// Roles of the model's tensors.
    pub fn roles(&self) -> Roles {
        let hidden = self.model.hidden;
        let of_layers = self.firsts.iter().flat_map(|layer| layer.tensors(hidden));
        self.model.outer_tensors().into_iter().chain(of_layers).map(|tensor| tensor.role).collect()
    }

    /// The first layer of each kind.
    pub fn firsts(&self) -> &[&'m Layer] {
        &self.firsts
    }

    /// The kind of each layer.
    pub fn of_layer(&self) -> &[usize] {
        &self.of_layer
    }

    /// The first layer of a kind, and its weights where some roles are stored wide.
    pub(crate) fn layer(&self, kind: usize, precision: &Precision, wide: Roles) -> (&'m Layer, Arc<LayerWeights>) {
        let layer = self.firsts[kind];
        let mut known = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &&KnownWeights| known.kind == kind && known.wide == wide && known.precision == *precision;
        if let Some(found) = known.iter().find(is_it) {
            return (layer, Arc::clone(&found.weights));
        }
        let weights = Arc::new(LayerWeights::new(layer, self.model.hidden, precision, wide));
        known.push(KnownWeights { kind, precision: *precision, wide, weights: Arc::clone(&weights) });
        (layer, weights)
    }
}
