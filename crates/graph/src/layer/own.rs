//! Rewrites from outside: other forms, orders and neighbours of a layer's operators than those that are built in.
//!
//! What can be said of a graph alone is checked here. Whether it is still the same function, only numbers say.

use std::collections::BTreeSet;
use std::fmt;
use std::mem::discriminant;
use std::sync::Arc;

use super::{LayerGraph, LayerOperator, Tensor, TensorId, TensorKind};

/// A rewrite from outside. It changes what is computed where, never which function.
pub trait OwnRewrite: Send + Sync {
    /// What tells it from all others: its name with every number that it works by. Goes into hashes.
    fn id(&self) -> String;

    /// Changes a layer, which the built-in rewrites of its mapping have changed before; the same way whenever it is
    /// asked the same. A layer in which it finds nothing to change stays as it is.
    ///
    /// # Errors
    /// In words, where the layer cannot be written so; it is refused then.
    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String>;
}

/// Rewrites from outside, in the order in which they are made. Those of the same ids are the same.
#[derive(Clone, Default)]
pub struct OwnRewrites(Vec<Arc<dyn OwnRewrite>>);

/// Why a layer cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rewrite '{rewrite}': {problem}")]
pub struct RewriteRefused {
    /// Its id.
    pub rewrite: String,
    /// Why not, and what would be allowed.
    pub problem: String,
}

impl OwnRewrites {
    /// None.
    pub const NONE: Self = Self(Vec::new());

    /// One more, after the others.
    #[must_use]
    pub fn and(mut self, rewrite: Arc<dyn OwnRewrite>) -> Self {
        self.0.push(rewrite);
        self
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What tells each from all others.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|rewrite| rewrite.id())
    }

    /// A layer with all of them.
    ///
    /// # Errors
    /// Where one of them refuses, or leaves what is no layer any more.
    pub fn of(&self, mut layer: LayerGraph) -> Result<LayerGraph, RewriteRefused> {
        for rewrite in &self.0 {
            let before = layer.clone();
            let made = rewrite.rewrite(&mut layer).and_then(|()| check(&before, &layer));
            made.map_err(|problem| RewriteRefused { rewrite: rewrite.id(), problem })?;
        }
        Ok(layer)
    }
}

impl FromIterator<Arc<dyn OwnRewrite>> for OwnRewrites {
    fn from_iter<I: IntoIterator<Item = Arc<dyn OwnRewrite>>>(rewrites: I) -> Self {
        Self(rewrites.into_iter().collect())
    }
}

impl PartialEq for OwnRewrites {
    fn eq(&self, other: &Self) -> bool {
        self.ids().eq(other.ids())
    }
}

impl Eq for OwnRewrites {}

impl fmt::Debug for OwnRewrites {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.ids()).finish()
    }
}

impl LayerGraph {
    /// The operators, for a rewrite from outside.
    pub const fn operators_mut(&mut self) -> &mut Vec<LayerOperator> {
        &mut self.operators
    }

    /// One more tensor, for a rewrite from outside.
    pub fn add_tensor(&mut self, tensor: Tensor) -> TensorId {
        self.tensors.push(tensor);
        TensorId(self.tensors.len() as u32 - 1)
    }
}

/// Whether a rewritten layer is one: the operators that there were, each the same kind with its own reads and writes
/// and perhaps more behind them, in an order in which each follows what it reads; and no other matrices, for which
/// nothing would have made room.
fn check(before: &LayerGraph, after: &LayerGraph) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for operator in &after.operators {
        let LayerOperator { name, operation, reads, writes } = operator;
        if !names.insert(*name) {
            return Err(format!("leaves '{name}' twice; allowed: each operator once"));
        }
        let Some(was) = before.operator(name) else {
            return Err(format!("adds '{name}'; allowed: the operators of the layer, in other forms and orders"));
        };
        if discriminant(operation) != discriminant(&was.operation) {
            return Err(format!("makes '{name}' compute something else; allowed: another form of the same"));
        }
        if !reads.starts_with(&was.reads) || !writes.starts_with(&was.writes) {
            return Err(format!("takes reads or writes from '{name}'; allowed: further ones behind its own"));
        }
        if let Some(id) = reads.iter().chain(writes).find(|id| after.tensor(**id).is_none()) {
            return Err(format!("lets '{name}' use tensor {}, which the layer does not have", id.0));
        }
    }
    if let Some(gone) = before.operators.iter().find(|operator| !names.contains(operator.name)) {
        return Err(format!("drops '{}'; allowed: all operators of the layer", gone.name));
    }
    if matrices(before) != matrices(after) {
        return Err("reads other matrices than before; allowed: those that placement has made room for".into());
    }
    check_order(before, after)
}

/// The matrices and vectors at rest that a layer reads.
fn matrices(layer: &LayerGraph) -> BTreeSet<TensorId> {
    let at_rest = |id: &TensorId| {
        let kind = layer.tensor(*id).map(|tensor| tensor.kind);
        matches!(kind, Some(TensorKind::Weight { .. } | TensorKind::Formed { .. } | TensorKind::Vector { .. }))
    };
    layer.operators.iter().flat_map(|operator| &operator.reads).copied().filter(at_rest).collect()
}

/// Whether each operator still follows those whose results it reads.
fn check_order(before: &LayerGraph, after: &LayerGraph) -> Result<(), String> {
    let name = |layer: &LayerGraph, at: usize| layer.operators.get(at).map_or("", |operator| operator.name);
    let now = after.dependencies();
    for (at, sources) in before.dependencies().iter().enumerate() {
        let operator = name(before, at);
        let place = after.operators.iter().position(|other| other.name == operator);
        let kept: BTreeSet<&str> =
            place.and_then(|place| now.get(place)).into_iter().flatten().map(|at| name(after, *at)).collect();
        if let Some(lost) = sources.iter().map(|at| name(before, *at)).find(|source| !kept.contains(source)) {
            return Err(format!(
                "lets '{operator}' read before '{lost}' has written; allowed: operators after their sources"
            ));
        }
    }
    Ok(())
}
