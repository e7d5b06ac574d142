//! A recipe pinned at a mapping leads to the same mapping where the question is easier, where all layers have the same
//! kind of cache.

use wafersim_mapping::{Mapped, Mapper, Recipe, Verification, micro_batch_ladder};
use wafersim_spec::Model;
use wafersim_spec::scenario::WaferCount;

use crate::common::{inputs, wse3};

#[test]
fn a_pinned_recipe_is_the_same_mapping_on_an_easier_question() {
    let wafer = wse3();
    for (name, wafers) in [("qwen3-30b-a3b", 3), ("llama-3.1-8b", 2), ("mixtral-8x7b", 4), ("qwen3-32b", 3)] {
        let model = Model::builtin(name).unwrap();
        for recipe in ["best", "published", "many-users"] {
            let recipe = Recipe::builtin(recipe).unwrap();
            let on = |recipe: &Recipe, context: u64, users: u64| -> Option<Mapped> {
                let mut inputs = inputs(&model, &wafer);
                (inputs.load.context, inputs.load.users) = (context, users);
                Mapper::new(recipe, inputs).smallest(WaferCount::Exactly(wafers), Verification::Faster, 1).ok()
            };
            let Some(hard) = on(&recipe, 16_384, 8) else { continue };
            let pinned = recipe.pinned(&hard);
            assert_eq!(on(&pinned, 16_384, 8).unwrap().layers, hard.layers, "{name} by {}", recipe.name);
            for (context, users) in [(16_384, 1), (2_000, 8), (100, 1)] {
                let easy = on(&pinned, context, users).unwrap();
                assert_eq!(easy.layers, hard.layers, "{name} by {} at {context} for {users}", recipe.name);
                assert_eq!(easy.placement.arrangement, hard.placement.arrangement);
            }
        }
    }
}

#[test]
fn micro_batches_of_fewer_users_are_among_those_of_more() {
    for users in 1..300 {
        let (fewer, more) = (micro_batch_ladder(users), micro_batch_ladder(users + 1));
        assert_eq!(fewer.last(), Some(&users));
        assert!(fewer[..fewer.len() - 1].iter().all(|size| more.contains(size)), "{users}");
        assert!(fewer.is_sorted_by(|one, two| one < two));
    }
}
