//! Rewrites from outside, computed: one that is a rewrite changes no result, one that changes the function is found out.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::sync::Arc;

use common::{TINY, TINY_DENSE, checkpoint, outside, setup_of};
use wafersim_graph::LayerGraph;
use wafersim_graph::layer::LayerOperation;
use wafersim_mapping::{KvMapping, LayerMapping, OwnRewrite, OwnRewrites, Rewrites};
use wafersim_values::{
    Checkpoint, Comparison, Prefill, Record, RunInput, Tolerance, compare, plain, random_prompt, run,
    run_users_rewritten,
};

/// One norm alone rides, or not; the built-in rewrite has all or none.
struct OneNorm {
    operator: &'static str,
    rides: bool,
}

impl OwnRewrite for OneNorm {
    fn id(&self) -> String {
        format!("{} rides: {}", self.operator, self.rides)
    }

    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String> {
        let norm = layer.operators_mut().iter_mut().find(|operator| operator.name == self.operator);
        norm.ok_or("there is no such norm")?.operation = LayerOperation::Norm { riding: self.rides };
        Ok(())
    }
}

/// Fewer dimensions of each head are rotated: another function.
struct LessRotated;

impl OwnRewrite for LessRotated {
    fn id(&self) -> String {
        "less rotated".into()
    }

    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String> {
        for operator in layer.operators_mut() {
            if let LayerOperation::Rope { rotary } = &mut operator.operation {
                *rotary /= 2;
            }
        }
        Ok(())
    }
}

fn mapping(rewrites: Rewrites) -> LayerMapping {
    let kv = KvMapping { columns_per_head: 3, dimension_split: 3, ..KvMapping::published(1) };
    LayerMapping { kv, rewrites, ..LayerMapping::published(6, 5) }
}

fn compared(checkpoint: &Checkpoint, rewrites: Rewrites, own: &OwnRewrites) -> Vec<Comparison> {
    let prompts: Vec<Vec<u64>> = (0..2).map(|user| random_prompt(checkpoint.model.vocabulary, 5, 20 + user)).collect();
    let against =
        |prompt: &[u64], record: &Record| compare(record, &plain::run(checkpoint, prompt, 2).unwrap(), Tolerance::FP32);
    let setup = |prefill| setup_of(&mapping(rewrites), prefill);
    let (first, tokens) = (&prompts[0], setup(Prefill::Tokens));
    let alone = [Prefill::Tokens, Prefill::Drafts(2), Prefill::Chunk].map(|prefill| {
        let record = run(checkpoint, &setup(prefill), RunInput::new(first, 2).rewritten(own), |_, _| ()).unwrap();
        against(first, &record)
    });
    let together = run_users_rewritten(checkpoint, &tokens, &prompts, 2, own).unwrap();
    let together = prompts.iter().zip(&together).map(|(prompt, record)| against(prompt, record));
    alone.into_iter().chain(together).collect()
}

#[test]
fn a_norm_that_rides_alone_changes_no_result() {
    for config in [TINY, TINY_DENSE] {
        let checkpoint = checkpoint(config, 3);
        for (rewrites, rides) in [(Rewrites::NONE, true), (Rewrites::ALL, false)] {
            let own = OwnRewrites::NONE.and(Arc::new(OneNorm { operator: "attention.norm", rides }));
            for comparison in compared(&checkpoint, rewrites, &own) {
                assert!(comparison.is_within(), "{own:?}: {}", outside(&comparison));
            }
        }
    }
}

/// Norms of heads leave their sums of squares to the scores, and nobody scales them: another function.
struct Unscaled;

impl OwnRewrite for Unscaled {
    fn id(&self) -> String {
        "unscaled".into()
    }

    fn rewrite(&self, layer: &mut LayerGraph) -> Result<(), String> {
        for operator in layer.operators_mut() {
            if let LayerOperation::HeadNorm { riding } = &mut operator.operation {
                *riding = true;
            }
        }
        Ok(())
    }
}

/// By numbers that are not the model's, or because none can be computed.
#[test]
fn another_function_is_found_out() {
    let checkpoint = checkpoint(TINY, 3);
    let prompt = random_prompt(checkpoint.model.vocabulary, 5, 20);
    let wanted = plain::run(&checkpoint, &prompt, 2).unwrap();
    let setup = setup_of(&mapping(Rewrites::NONE), Prefill::Tokens);
    let is_right = |own: &OwnRewrites| {
        let record = run(&checkpoint, &setup, RunInput::new(&prompt, 2).rewritten(own), |_, _| ());
        record.is_ok_and(|record| compare(&record, &wanted, Tolerance::FP32).is_within())
    };
    assert!(is_right(&OwnRewrites::NONE));
    for wrong in [Arc::new(LessRotated) as Arc<dyn OwnRewrite>, Arc::new(Unscaled)] {
        let own = OwnRewrites::NONE.and(wrong);
        assert!(!is_right(&own), "{own:?}");
    }
}
