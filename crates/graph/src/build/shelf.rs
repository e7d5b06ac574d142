//! The tensors that a part of the graph still has to use: each is taken exactly once, which is what makes the graph's
//! parameters those of the model.

use wafersim_spec::model::{Role, Tensor};

use crate::error::GraphError;

/// Tensors that no operator holds yet.
pub(super) struct Shelf {
    layer: Option<usize>,
    tensors: Vec<Tensor>,
}

impl Shelf {
    /// All of `tensors`. Gains that come in several copies (q and k norm, further norms of Grok) lie there one by one.
    pub(super) fn new(layer: Option<usize>, tensors: Vec<Tensor>) -> Self {
        let mut single = Vec::with_capacity(tensors.len() + 2);
        for tensor in tensors {
            if tensor.inputs == 1 {
                single.extend((0..tensor.copies).map(|_| Tensor { copies: 1, active: 1, ..tensor }));
            } else {
                single.push(tensor);
            }
        }
        Self { layer, tensors: single }
    }

    /// Tensors of `role` that are left.
    pub(super) fn count(&self, role: Role) -> usize {
        self.tensors.iter().filter(|tensor| tensor.role == role).count()
    }

    /// Takes the first tensor of `role`.
    pub(super) fn take(&mut self, role: Role) -> Result<Tensor, GraphError> {
        let position = self.tensors.iter().position(|tensor| tensor.role == role);
        position.map(|index| self.tensors.remove(index)).ok_or_else(|| self.mismatch(role, "missed"))
    }

    /// Refuses what is left over.
    pub(super) fn finish(self) -> Result<(), GraphError> {
        self.tensors.first().map_or(Ok(()), |tensor| Err(self.mismatch(tensor.role, "not used")))
    }

    fn mismatch(&self, role: Role, problem: &'static str) -> GraphError {
        let layer = self.layer.map_or_else(|| "outside the layers".into(), |layer| format!("layer {layer}"));
        GraphError::TensorMismatch { layer, role, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wafersim_spec::TensorClass;

    fn gains(copies: u64) -> Tensor {
        let (role, class) = (Role::FeedForwardNorm, TensorClass::SmallWeights);
        Tensor { role, inputs: 1, outputs: 4, bias: false, copies, active: copies, class }
    }

    #[test]
    fn a_tensor_is_taken_once() {
        let mut shelf = Shelf::new(Some(2), vec![gains(2)]);
        assert_eq!(shelf.count(Role::FeedForwardNorm), 2);
        assert_eq!(shelf.take(Role::FeedForwardNorm), Ok(gains(1)));
        assert_eq!(shelf.take(Role::FeedForwardNorm), Ok(gains(1)));
        let message = shelf.take(Role::FeedForwardNorm).unwrap_err().to_string();
        assert!(message.contains("layer 2") && message.contains("FeedForwardNorm is missed"), "{message}");
        assert_eq!(shelf.finish(), Ok(()));
    }

    #[test]
    fn what_is_left_is_refused() {
        let message = Shelf::new(None, vec![gains(1)]).finish().unwrap_err().to_string();
        assert!(message.contains("outside the layers") && message.contains("not used"), "{message}");
    }
}
