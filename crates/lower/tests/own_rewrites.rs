//! Rewrites from outside: one that says what a built-in one says gives the same program, what is no layer any more is
//! refused with its id, and nothing that is let through makes the writer panic.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use proptest::prelude::*;
use wafersim_graph::layer::{LayerOperation, Tensor, TensorKind};
use wafersim_graph::{LayerGraph, LayerGraphs, OwnRewrite, OwnRewrites};
use wafersim_lower::{ExpertLoad, LayerRequest, LowerError, Routed, Scope, decode_layer, decode_layer_with};
use wafersim_mapping::{KvMapping, LayerMapping, Rewrite, Rewrites};
use wafersim_program::Program;
use wafersim_spec::{Model, Precision};

/// A rewrite by what it does.
struct By<F>(&'static str, F);

impl<F: Fn(&mut LayerGraph) -> Result<(), String> + Send + Sync> OwnRewrite for By<F> {
    fn id(&self) -> String {
        self.0.into()
    }

    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String> {
        (self.1)(layer)
    }
}

fn own(rewrite: impl Fn(&mut LayerGraph) -> Result<(), String> + Send + Sync + 'static) -> OwnRewrites {
    OwnRewrites::NONE.and(Arc::new(By("mine", rewrite)))
}

fn written(model: &Model, layer: usize, rewrites: Rewrites, own: OwnRewrites) -> Result<Program, LowerError> {
    let mapping = LayerMapping { rewrites, kv: KvMapping::published(4), ..LayerMapping::published(64, 24) };
    let request = LayerRequest {
        layer: &model.layers[layer],
        hidden: model.hidden,
        norm_epsilon: model.norm_epsilon,
        mapping: &mapping,
        precision: Precision::default(),
        tokens: 2,
        users: 2,
        context: 300,
        routed: Routed::Expected(ExpertLoad::spread(16, 14)),
        scope: Scope::Model,
        queue: 4,
    };
    if own.is_empty() {
        return decode_layer(&request);
    }
    decode_layer_with(&request, &mut LayerGraphs::with_own(own))
}

fn model(name: &str) -> Model {
    Model::builtin(name).unwrap()
}

#[test]
fn what_a_built_in_rewrite_says_gives_its_program() {
    let models = [model("llama-3.1-8b"), model("qwen3-30b-a3b")];
    for model in &models {
        let fuse = |layer: &mut LayerGraph| {
            let norms = layer.operators_mut().iter_mut().filter(|operator| operator.name.ends_with(".norm"));
            norms.for_each(|norm| norm.operation = LayerOperation::Norm { riding: true });
            Ok(())
        };
        let fused = Rewrites::from_iter([Rewrite::FusedNorms]);
        let built_in = written(model, 0, fused, OwnRewrites::NONE).unwrap();
        let mine = written(model, 0, Rewrites::NONE, own(fuse)).unwrap();
        // Programs have marks of their own; their nodes say all else.
        assert_eq!(format!("{:?}", mine.body), format!("{:?}", built_in.body), "{}", model.name);
        let neither = written(model, 0, Rewrites::NONE, OwnRewrites::NONE).unwrap();
        assert_ne!(format!("{:?}", mine.body), format!("{:?}", neither.body), "{}", model.name);
    }
}

#[test]
fn what_is_no_layer_any_more_is_refused() {
    let model = model("qwen3-30b-a3b");
    let refused = |own: OwnRewrites| written(&model, 0, Rewrites::NONE, own).unwrap_err().to_string();
    let twice = |layer: &mut LayerGraph| {
        let first = layer.operators()[0].clone();
        layer.operators_mut().push(first);
        Ok(())
    };
    let dropped = |layer: &mut LayerGraph| {
        layer.operators_mut().remove(3);
        Ok(())
    };
    let early = |layer: &mut LayerGraph| {
        layer.operators_mut().swap(0, 1);
        Ok(())
    };
    let other = |layer: &mut LayerGraph| {
        layer.operators_mut()[0].operation = LayerOperation::Residual;
        Ok(())
    };
    let fewer = |layer: &mut LayerGraph| {
        layer.operators_mut()[1].reads.pop();
        Ok(())
    };
    let matrix = |layer: &mut LayerGraph| {
        let weight = layer.tensors().find(|(_, tensor)| matches!(tensor.kind, TensorKind::Weight { .. }));
        let copy: Tensor = weight.map(|(_, tensor)| tensor.clone()).ok_or("no matrix")?;
        let id = layer.add_tensor(copy);
        layer.operators_mut()[1].reads.push(id);
        Ok(())
    };
    let foreign = |layer: &mut LayerGraph| {
        let mut larger = layer.clone();
        let activation = larger.tensors().next().map(|(_, tensor)| tensor.clone()).ok_or("no tensor")?;
        let id = larger.add_tensor(activation);
        layer.operators_mut()[1].reads.push(id);
        Ok(())
    };
    for (own, words) in [
        (own(twice), "twice"),
        (own(dropped), "drops"),
        (own(early), "has written"),
        (own(other), "something else"),
        (own(fewer), "takes reads"),
        (own(matrix), "other matrices"),
        (own(foreign), "does not have"),
        (own(|_| Err("not today".into())), "not today"),
    ] {
        let said = refused(own);
        assert!(said.starts_with("rewrite 'mine': ") && said.contains(words), "{words}: {said}");
    }
}

/// Changes here and there, as drawn: forms of operators, switches, neighbours in the order.
fn scrambled(layer: &mut LayerGraph, drawn: &[(u8, u8)]) {
    for (at, what) in drawn {
        let count = layer.operators().len();
        let (at, on) = (usize::from(*at) % count, what % 2 == 0);
        match what % 12 {
            0 => layer.accumulators_in_place ^= true,
            1 => layer.interleaved_products ^= true,
            2 => layer.divided_activation ^= true,
            3 => layer.choice_beside_stream ^= true,
            4 => layer.norm_beside_choice ^= true,
            5 if at + 1 < count => layer.operators_mut().swap(at, at + 1),
            6 => {
                let tensor = layer.tensors().nth(at).map(|(id, _)| id);
                layer.operators_mut()[at].writes.extend(tensor);
            }
            _ => match &mut layer.operators_mut()[at].operation {
                LayerOperation::Norm { riding }
                | LayerOperation::HeadNorm { riding }
                | LayerOperation::UnitNorm { riding } => *riding = on,
                LayerOperation::Rope { rotary } => *rotary = u64::from(*what),
                LayerOperation::Softmax(form) => {
                    (form.divided, form.sum_rides, form.local) = (on, what % 3 == 0, what % 5 == 0);
                }
                LayerOperation::Values { sum_rides } => *sum_rides = on,
                LayerOperation::Output { logits_beside } => *logits_beside = on,
                LayerOperation::DeltaRule { single_read } => *single_read = on,
                LayerOperation::Router { early } => *early = on,
                LayerOperation::Choose(form) => (form.single_pass, form.single_choice) = (on, what % 3 == 0),
                LayerOperation::GateUp { interleaved, concatenated, shared_beside, .. } => {
                    (*interleaved, *concatenated, *shared_beside) = (on, what % 3 == 0, what % 5 == 0);
                }
                LayerOperation::Down { concatenated, shared_beside, .. } => {
                    (*concatenated, *shared_beside) = (on, what % 3 == 0);
                }
                LayerOperation::Select { top_k } => *top_k = u64::from(*what),
                _ => {}
            },
        }
    }
}

/// Of every kind of attention and network.
const NAMES: [&str; 5] = ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b", "qwen3-next-80b-a3b"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Written or refused; no panic.
    #[test]
    fn no_rewrite_makes_the_writer_panic(
        name in prop::sample::select(NAMES.to_vec()),
        last in any::<bool>(),
        all in any::<bool>(),
        drawn in prop::collection::vec(any::<(u8, u8)>(), 1..6),
    ) {
        let model = model(name);
        let layer = if last { model.layers.len() - 1 } else { 0 };
        let rewrites = if all { Rewrites::ALL } else { Rewrites::NONE };
        let changed = move |layer: &mut LayerGraph| {
            scrambled(layer, &drawn);
            Ok(())
        };
        if let Err(refused) = written(&model, layer, rewrites, own(changed)) {
            prop_assert!(!refused.to_string().is_empty());
        }
    }
}
