//! The model that drafts: one of its own, or the layers for multi-token prediction that a checkpoint brings.
//!
//! Such a module (DeepSeek-V3 technical report, section 2.2) norms the last hidden state and the embedding of the last
//! token, projects both together from twice `hidden` to `hidden`, and sends the result through a layer like the model's
//! last and the LM head. Longer drafts use it again and again. Here it has an embedding and an LM head of its own: the
//! model shares its, but they lie at the two ends of the pipeline.

use super::{FeedForward, Layer, Model, Moe};
use crate::error::SpecError;
use crate::scenario::Speculation;

impl Model {
    /// The draft model that a scenario names: [`Speculation::MTP`] for this model's own, else a built-in or a path.
    ///
    /// # Errors
    /// Where the checkpoint has no such layers, and as [`Model::from_name_or_path`].
    pub fn draft_model(&self, name: &str) -> Result<Self, SpecError> {
        if name != Speculation::MTP {
            return Self::from_name_or_path(name);
        }
        self.next_token_predictor().ok_or_else(|| SpecError::Field {
            file: self.name.clone(),
            field: "num_nextn_predict_layers".into(),
            problem: "is missing or 0, and speculation.draft_model is 'mtp'".into(),
            allowed: "a checkpoint with layers for multi-token prediction, or another draft model".into(),
        })
    }

    /// The layers for multi-token prediction as a model, where the checkpoint has some, stored as its files say of
    /// them.
    pub fn next_token_predictor(&self) -> Option<Self> {
        let like = self.layers.last().filter(|_| self.next_token_layers > 0)?;
        let layer = Layer {
            feed_forward: with_projection(&like.feed_forward, self.hidden),
            norms: like.norms + 2,
            ..like.clone()
        };
        Some(Self {
            name: format!("{} (mtp)", self.name),
            layers: vec![layer; usize::try_from(self.next_token_layers).unwrap_or(usize::MAX)],
            next_token_layers: 0,
            checkpoint: self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.predictor.as_deref()).cloned(),
            ..self.clone()
        })
    }
}

/// The projection of twice `hidden` to `hidden` counts as so much more width of the dense or shared network, whose
/// three matrices are `hidden` long: the same weights and the same multiply-accumulates.
fn with_projection(feed_forward: &FeedForward, hidden: u64) -> FeedForward {
    let more = (2 * hidden).div_ceil(3);
    match feed_forward {
        FeedForward::Dense { width, bias } => FeedForward::Dense { width: width + more, bias: *bias },
        FeedForward::Moe(moe) => FeedForward::Moe(Moe { shared_width: moe.shared_width + more, ..moe.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DeepSeek-V3 publishes 14 B of parameters for its module, both tables of 0.93 B included.
    #[test]
    fn deepseek_v3_brings_14_billion_parameters_of_a_draft() {
        let model = Model::builtin("deepseek-v3").unwrap();
        let draft = model.draft_model("mtp").unwrap();
        let billions = draft.parameters().total as f64 / 1e9;
        assert!((13.0..14.5).contains(&billions), "{billions}");
        assert_eq!((draft.layers.len(), draft.hidden), (1, 7168));
    }

    #[test]
    fn a_checkpoint_without_such_layers_says_so() {
        let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
        let message = model.draft_model("mtp").unwrap_err().to_string();
        assert!(
            message.contains("qwen3-coder-480b-a35b: field 'num_nextn_predict_layers': is missing or 0"),
            "{message}"
        );
        assert_eq!(model.draft_model("qwen3-8b").unwrap().name, "qwen3-8b");
    }
}
