//! Recipes as a user writes them, resolved for a small Qwen3-MoE and executed: every one that is built in, and random
//! valid ones, against the equations in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it")]

mod common;

use std::collections::BTreeMap;

use common::{TINY, TINY_DENSE, checkpoint, outside, precision};
use wafersim_mapping::{
    Collective, Inputs, LayerMapping, Lines, Load, Own, Recipe, Reduction, RegionSize, builtin, on_region,
    random_recipe,
};
use wafersim_program::collective::{Along, Tree, segment_tree_all_reduce};
use wafersim_program::{Node, Program};
use wafersim_spec::scenario::{RoutingModel, WaferCount};
use wafersim_spec::{DataType, Wafer};
use wafersim_values::{Checkpoint, Prefill, RunInput, Setup, Tolerance, compare, plain, random_prompt, run};

/// Random recipes in each test run; more with `WAFERSIM_RECIPES`.
const RECIPES: u64 = 200;

/// The recipe's mappings on a small region, as `simctl values --mapping` makes them.
fn mappings(checkpoint: &Checkpoint, recipe: &Recipe, region: RegionSize) -> Option<Vec<LayerMapping>> {
    let wafer = Wafer::builtin("wse3").unwrap();
    let load = Load {
        wafers: WaferCount::Auto,
        users: 1,
        context: 16,
        tokens_per_step: 1,
        precision: precision(DataType::Fp32),
        routing: RoutingModel::Skewed,
    };
    on_region(recipe, Inputs::new(&checkpoint.model, &wafer, load), region).ok()
}

/// Deviations of a run by kind, or what is wrong with it.
fn deviations(
    checkpoint: &Checkpoint,
    mappings: Vec<LayerMapping>,
    prefill: Prefill,
) -> Result<BTreeMap<String, f64>, String> {
    let setup = Setup { mappings, prefill, precision: precision(DataType::Fp32) };
    let prompt = random_prompt(checkpoint.model.vocabulary, 4, 7);
    let plain = plain::run(checkpoint, &prompt, 2).map_err(|error| error.to_string())?;
    let placed = run(checkpoint, &setup, RunInput::new(&prompt, 2), |_, _| ()).map_err(|error| error.to_string())?;
    let comparison = compare(&placed, &plain, Tolerance::FP32);
    if !comparison.is_within() {
        return Err(outside(&comparison));
    }
    Ok(comparison.deviations.into_iter().map(|kind| (kind.kind.to_string(), kind.largest)).collect())
}

const PREFILLS: [Prefill; 3] = [Prefill::Chunk, Prefill::Tokens, Prefill::Drafts(3)];

#[test]
fn every_built_in_recipe_is_the_model_s() {
    for (model, config) in [("experts", TINY), ("dense", TINY_DENSE)] {
        let checkpoint = checkpoint(config, 3);
        for name in builtin::names() {
            let recipe = Recipe::builtin(name).unwrap();
            for (columns, rows) in [(12, 8), (7, 5), (9, 20)] {
                let mappings = mappings(&checkpoint, &recipe, RegionSize { columns, rows }).unwrap();
                for prefill in PREFILLS {
                    let done = deviations(&checkpoint, mappings.clone(), prefill);
                    let what = || format!("{model}, {name} on {columns} x {rows}, {prefill:?}");
                    done.unwrap_or_else(|problem| panic!("{}: {problem}", what()));
                }
            }
        }
    }
}

/// Chains over groups of three, then one over their middles. A wrong one forgets the first.
struct Threes {
    is_wrong: bool,
}

impl Collective for Threes {
    fn id(&self) -> String {
        format!("threes, wrong: {}", self.is_wrong)
    }

    fn all_reduce(&self, program: &mut Program, lines: Lines, along: Along) -> Result<Vec<Node>, String> {
        let both = [lines.members.min(3), lines.members.div_ceil(3)];
        let sizes: Vec<u64> = both.into_iter().filter(|size| *size > 1).collect();
        let tree = Tree::of_sizes(lines.members, &sizes).map_err(|error| error.to_string())?;
        let mut steps = segment_tree_all_reduce(program, &tree, lines.stride, along);
        if self.is_wrong {
            steps.remove(0);
        }
        Ok(steps)
    }
}

#[test]
fn a_collective_from_outside_is_computed_and_a_wrong_one_found() {
    let checkpoint = checkpoint(TINY, 3);
    let done = |is_wrong| {
        let mut recipe = Recipe::builtin("best").unwrap();
        let own = || Reduction::Own(Own::collective(Threes { is_wrong }));
        recipe.reductions.x = own();
        recipe.reductions.y = own();
        recipe.reductions.parts = own();
        let mappings = mappings(&checkpoint, &recipe, RegionSize { columns: 12, rows: 8 }).unwrap();
        PREFILLS.map(|prefill| deviations(&checkpoint, mappings.clone(), prefill).map(|_| ()))
    };
    assert_eq!(done(false), [Ok(()), Ok(()), Ok(())]);
    assert!(done(true).iter().all(Result::is_err));
}

#[test]
fn random_recipes_are_the_model_s() {
    let checkpoint = checkpoint(TINY, 3);
    let count = std::env::var("WAFERSIM_RECIPES").ok().and_then(|count| count.parse().ok()).unwrap_or(RECIPES);
    let (mut worst, mut wrong): (BTreeMap<String, f64>, Vec<String>) = Default::default();
    for seed in 0..count {
        let region = RegionSize { columns: 6 + seed * 5 % 9, rows: 4 + seed * 3 % 7 };
        let recipe = random_recipe(seed, |recipe| mappings(&checkpoint, recipe, region).is_some()).unwrap();
        let mapped = mappings(&checkpoint, &recipe, region).unwrap();
        let prefill = PREFILLS[seed as usize % 3];
        match deviations(&checkpoint, mapped, prefill) {
            Ok(found) => {
                for (kind, largest) in found {
                    let known = worst.entry(kind).or_default();
                    *known = known.max(largest);
                }
            }
            Err(problem) => wrong.push(format!("seed {seed}, {region}, {prefill:?}: {problem}")),
        }
    }
    println!("{count} recipes; worst deviations: {worst:?}");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}
