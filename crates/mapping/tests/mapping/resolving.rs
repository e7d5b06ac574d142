//! From a recipe to every number, and back to a placement.

use proptest::prelude::*;
use wafersim_mapping::{
    Groups, Inputs, LineKind, Mapped, Mapper, MappingError, Recipe, Reduction, RegionSize, Resolved, Root, Tree,
    Verification, builtin, on_region, random_recipe_for, resolve,
};
use wafersim_place::{Machine, Request, place};
use wafersim_spec::model::Role;
use wafersim_spec::scenario::{RoutingModel, WaferCount};
use wafersim_spec::{DataType, Model, Precision, Size};

use crate::common::{inputs, load, tiny, wse3};

/// Every way that a recipe leaves, that of fewest bytes first.
fn all_ways(recipe: &Recipe, inputs: Inputs<'_>) -> Vec<Mapped> {
    let mapper = Mapper::new(recipe, inputs);
    let first = mapper.smallest(inputs.load.wafers, recipe.draft, 1).unwrap();
    let (wafers, wider) = (first.placement.wafers, mapper.wider(&first));
    assert!(mapper.holds(inputs.load.users, wafers, recipe.draft));
    assert!(!mapper.holds(u64::from(u32::MAX), wafers, recipe.draft));
    let fewer = mapper.on_fewer(wafers, recipe.draft);
    std::iter::once(first).chain(fewer).chain(wider).flat_map(|base| mapper.ways(base)).collect()
}

#[test]
fn the_published_recipe_is_what_placement_chooses() {
    let wafer = wse3();
    for name in ["llama-3.1-8b", "qwen3-coder-480b-a35b", "gpt-oss-120b", "deepseek-v3"] {
        let model = Model::builtin(name).unwrap();
        let inputs = inputs(&model, &wafer);
        let request = Request { context: 4096, ..Request::new(&model, Machine::from(&wafer)) };
        let placement = place(&request).unwrap();
        let published = Recipe::builtin("published").unwrap();
        let first = &all_ways(&published, inputs)[0];
        assert_eq!(first.placement.slots, placement.slots, "{name}");
        assert_eq!(first.placement.ledger, placement.ledger, "{name}");
        for (mapped, layout) in first.layers.iter().zip(&placement.layouts) {
            assert_eq!(
                (mapped.kv.dimension_split, mapped.kv.sequence_split, mapped.kv.head_copies),
                (layout.kv.dimension_split, layout.kv.sequence_split, 1)
            );
            let tree = Tree::PUBLISHED.on(layout.columns);
            assert_eq!(mapped.reduction("attention.output", LineKind::X), &Reduction::Tree(tree));
            assert!(mapped.stored.is_empty());
        }
    }
}

#[test]
fn a_resolved_mapping_leads_back_to_its_placement() {
    let wafer = wse3();
    for name in builtin::names() {
        for model in ["llama-3.1-8b", "qwen3-30b-a3b", "gpt-oss-120b", "grok-1"] {
            let model = Model::builtin(model).unwrap();
            let mut inputs = inputs(&model, &wafer);
            for (wafers, users) in [(WaferCount::Auto, 1), (WaferCount::Exactly(13), 1), (WaferCount::Exactly(13), 200)]
            {
                (inputs.load.wafers, inputs.load.users) = (wafers, users);
                let Ok(resolved) = resolve(&Recipe::builtin(name).unwrap(), inputs) else { continue };
                let read = Resolved::parse(&resolved.to_toml(), "saved").unwrap();
                let mapped =
                    read.mapped(inputs).unwrap_or_else(|error| panic!("{name} {} {users}: {error}", model.name));
                let again = Resolved::new(&mapped, &read.recipe, inputs);
                assert_eq!(again.to_toml(), resolved.to_toml(), "{name} {}", model.name);
            }
        }
    }
}

/// All ways of a recipe can be saved and read back, not the first alone.
#[test]
fn every_way_can_be_saved() {
    let (model, wafer) = (Model::builtin("qwen3-30b-a3b").unwrap(), wse3());
    let mut inputs = inputs(&model, &wafer);
    inputs.load.wafers = WaferCount::Exactly(3);
    inputs.load.users = 90;
    for name in ["published", "best", "many-users"] {
        let recipe = Recipe::builtin(name).unwrap();
        let ways = all_ways(&recipe, inputs);
        assert!(ways.len() > 3);
        for way in &ways {
            let mut asked = inputs;
            asked.load.wafers = WaferCount::Exactly(way.placement.wafers);
            let saved = Resolved::new(way, &recipe, asked);
            let mapped = saved.mapped(asked).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((&mapped.layers, mapped.micro_batch), (&way.layers, way.micro_batch));
            assert_eq!(mapped.placement.slots, way.placement.slots);
            assert_eq!(mapped.placement.ledger, way.placement.ledger);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn random_recipes_resolve_the_same_twice_and_lead_back(seed: u64, small: bool) {
        let wafer = wse3();
        let model = if small { tiny() } else { Model::builtin("qwen3-30b-a3b").unwrap() };
        let inputs = inputs(&model, &wafer);
        let recipe = random_recipe_for(seed, inputs).unwrap();
        let resolved = resolve(&recipe, inputs).unwrap();
        let text = resolved.to_toml();
        prop_assert_eq!(resolve(&recipe, inputs).unwrap().to_toml(), text.clone());
        let read = Resolved::parse(&text, "saved").unwrap();
        prop_assert_eq!(read.to_toml(), text.clone());
        let mapped = read.mapped(inputs).unwrap();
        prop_assert_eq!(Resolved::new(&mapped, &read.recipe, inputs).to_toml(), text);
    }
}

#[test]
fn other_inputs_are_refused_by_name() {
    let (model, mut wafer) = (Model::builtin("llama-3.1-8b").unwrap(), wse3());
    let (other_model, original) = (Model::builtin("qwen3-8b").unwrap(), wafer.clone());
    let resolved = resolve(&Recipe::builtin("best").unwrap(), inputs(&model, &original)).unwrap();
    // A name is no part of what a model is.
    let renamed = Model { name: "elsewhere/config.json".into(), ..model.clone() };
    resolved.mapped(inputs(&renamed, &original)).unwrap();
    wafer.set("fabric.hop_latency", 1.0).unwrap();
    let refused = |model, wafer, change: &dyn Fn(&mut wafersim_mapping::Load)| {
        let mut inputs = inputs(model, wafer);
        change(&mut inputs.load);
        match resolved.mapped(inputs).unwrap_err() {
            MappingError::OtherInputs { differences, .. } => {
                differences.iter().map(|difference| difference.input).collect::<Vec<_>>()
            }
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(&other_model, &original, &|_| ()), ["model"]);
    assert_eq!(refused(&model, &wafer, &|_| ()), ["wafer"]);
    assert_eq!(refused(&model, &original, &|load| load.users = 2), ["load"]);
    assert_eq!(refused(&model, &original, &|load| load.context = 2048), ["load"]);
    assert_eq!(refused(&model, &original, &|load| load.tokens_per_step = 5), ["load"]);
    assert_eq!(refused(&model, &original, &|load| load.routing = RoutingModel::Uniform), ["load"]);
    assert_eq!(refused(&model, &original, &|load| load.precision.kv_cache = DataType::Fp8), ["load"]);
    assert_eq!(refused(&model, &original, &|load| load.wafers = WaferCount::Exactly(7)), ["load"]);
    assert_eq!(refused(&other_model, &wafer, &|load| load.users = 2), ["model", "wafer", "load"]);
    let mut more = inputs(&model, &wafer);
    more.load.users = 3;
    let error = resolved.mapped(more).unwrap_err().to_string();
    assert!(error.contains("another wafer (wse3; here wse3, with other figures)"), "{error}");
    assert!(error.contains("1 user(s)") && error.contains("3 user(s)") && error.contains("allowed: "), "{error}");
    // The number of wafers that it says itself is no other load.
    let mut same = inputs(&model, &original);
    same.load.wafers = WaferCount::Exactly(resolved.division.wafers);
    resolved.mapped(same).unwrap();
}

#[test]
fn a_resolved_mapping_that_contradicts_itself_is_refused() {
    let (model, wafer) = (Model::builtin("qwen3-30b-a3b").unwrap(), wse3());
    let inputs = inputs(&model, &wafer);
    let resolved = resolve(&Recipe::builtin("published").unwrap(), inputs).unwrap();
    let refused = |change: &dyn Fn(&mut Resolved)| {
        let mut changed = resolved.clone();
        change(&mut changed);
        changed.mapped(inputs).unwrap_err().to_string()
    };
    let mapping = |changed: &mut Resolved| changed.kinds[0].mapping.clone();
    for (part, error) in [
        ("kinds[0].mapping.region", refused(&|changed| changed.kinds[0].mapping.region.rows += 1)),
        ("kinds[0].mapping.kv", refused(&|changed| changed.kinds[0].mapping.kv.columns_per_head -= 1)),
        ("kinds[0].mapping.kv", refused(&|changed| changed.kinds[0].mapping.kv.sequence_split = 1_000_000)),
        ("layer 47 is in none of them", refused(&|changed| changed.kinds[0].layers[0].count -= 1)),
        ("layers 0 to 49 of a model with 48", refused(&|changed| changed.kinds[0].layers[0].count += 1)),
        ("layer 0 is in kinds 0 and 1", refused(&|changed| changed.kinds.push(changed.kinds[0].clone()))),
        ("kinds[0].mapping.experts: are missing", refused(&|changed| changed.kinds[0].mapping.experts = None)),
        (
            "experts.room: is 3, but the fullest rectangle holds 128",
            refused(&|changed| {
                changed.kinds[0].mapping.experts.as_mut().unwrap().room = 3;
            }),
        ),
        ("slots[3]: layers 2", refused(&|changed| changed.slots[3].region.x += 1)),
        ("division.layers_per_slot: is 2, but", refused(&|changed| changed.division.layers_per_slot = 2)),
        ("division.wafers: is 4294967295; allowed: 1 to ", refused(&|changed| changed.division.wafers = u32::MAX)),
        ("micro_batch: is 2 of 1 users", refused(&|changed| changed.micro_batch = 2)),
        ("slots is 1 items in 1 slots; there are 50 items", refused(&|changed| changed.slots.truncate(1))),
        ("slots of at least one processing element", refused(&|changed| changed.division.across = 756)),
        (
            "kinds[0].mapping.reductions.x: root is 60000; allowed: \"middle\", or 0 to ",
            refused(&|changed| {
                changed.kinds[0].mapping.reductions.x = Reduction::Chain { root: Root::Index(60_000) };
            }),
        ),
        (
            "kinds[0].mapping.reductions.y: groups or roots of 65000; allowed: up to ",
            refused(&|changed| {
                let groups = Groups::Count(65_000);
                let tree = Tree { groups, root: Root::Middle };
                changed.kinds[0].mapping.reductions.y = Reduction::Tree(tree);
            }),
        ),
        (
            "is no operator",
            refused(&|changed| {
                let mut with = mapping(changed);
                with.reductions.operators.insert("rope".into(), Reduction::ReduceScatter);
                changed.kinds[0].mapping = with;
            }),
        ),
    ] {
        assert!(error.contains(part), "{error}\nlacks {part}");
    }
}

#[test]
fn a_resolved_mapping_that_is_cut_off_is_no_recipe() {
    let (model, wafer) = (Model::builtin("llama-3.1-8b").unwrap(), wse3());
    let text = resolve(&Recipe::builtin("published").unwrap(), inputs(&model, &wafer)).unwrap().to_toml();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.toml");
    for lines in 1..text.lines().count() - 1 {
        let start: String = text.split_inclusive('\n').take(lines).collect();
        std::fs::write(&file, &start).unwrap();
        let refused = match wafersim_mapping::Mapping::read(&file) {
            Ok(wafersim_mapping::Mapping::Recipe(_)) => panic!("{start}"),
            // Slots are missing.
            Ok(wafersim_mapping::Mapping::Resolved(resolved)) => resolved.mapped(inputs(&model, &wafer)).map(|_| ()),
            Err(error) => Err(error),
        };
        let Err(error) = refused else { continue };
        let is_of_placement = matches!(error, MappingError::Place(_));
        assert!(is_of_placement || error.to_string().contains("saved.toml"), "{error}");
    }
}

#[test]
fn decisions_are_kept_or_refused_with_numbers() {
    let (model, wafer) = (Model::builtin("llama-3.1-8b").unwrap(), wse3());
    let inputs = inputs(&model, &wafer);
    let refused = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = Recipe { name: "mine".into(), ..Recipe::default() };
        change(&mut recipe);
        resolve(&recipe, inputs).unwrap_err().to_string()
    };
    for (parts, error) in [
        (
            &["mapping 'mine': kv.dimension_split is 4000", "columns for a head in a region of"][..],
            refused(&|recipe| recipe.kv.dimension_split = Size::Exactly(4000)),
        ),
        (&["kv.head_copies is 5: 4 with"], refused(&|recipe| recipe.kv.head_copies = Size::Exactly(5))),
        (
            &["kv.sequence_split is 3"],
            refused(&|recipe| {
                (recipe.kv.dimension_split, recipe.kv.sequence_split) = (Size::Share(10_000), Size::Exactly(3));
            }),
        ),
        (&["micro_batch is 2: at most the 1 users"], refused(&|recipe| recipe.micro_batch = Size::Exactly(2))),
        (
            &["division.columns is 900: at most those of the wafer"],
            refused(&|recipe| recipe.division.columns = Size::Exactly(900)),
        ),
        (
            &["slots = 6, layers_per_slot = 32", "bytes of 41984"],
            refused(&|recipe| {
                (recipe.division.slots, recipe.division.layers_per_slot) = (Size::Exactly(6), Size::Exactly(32));
            }),
        ),
        (&["rectangles.\"router\"", "at (900, 0)", "a rectangle in a region of"], refused_router()),
        (
            &["rectangles is", "bytes more in the worst processing element", "has to spare"],
            refused(&|recipe| {
                recipe.rectangles.insert(
                    "attention.query_key_value".into(),
                    wafersim_mapping::RectangleRecipe {
                        columns: Size::Exactly(4),
                        rows: Size::Exactly(4),
                        ..Default::default()
                    },
                );
            }),
        ),
        (
            &["rectangles.\"attention.query_key_value\" is given: none with early_router"],
            refused(&|recipe| {
                recipe.rewrites = wafersim_mapping::Rewrites::ALL;
                recipe
                    .rectangles
                    .insert("attention.query_key_value".into(), wafersim_mapping::RectangleRecipe::default());
            }),
        ),
    ] {
        for part in parts {
            assert!(error.contains(part), "{error}\nlacks {part}");
        }
    }
}

fn refused_router() -> String {
    let (model, wafer) = (Model::builtin("qwen3-30b-a3b").unwrap(), wse3());
    let mut recipe = Recipe::default();
    recipe.rectangles.insert(
        "router".into(),
        wafersim_mapping::RectangleRecipe { x: Size::Exactly(900), columns: Size::Exactly(2), ..Default::default() },
    );
    resolve(&recipe, inputs(&model, &wafer)).unwrap_err().to_string()
}

#[test]
fn narrow_weights_are_stored_wide_where_they_fit() {
    let (model, wafer) = (Model::builtin("qwen3-32b").unwrap(), wse3());
    let recipe = Recipe::builtin("best").unwrap();
    let mut inputs = inputs(&model, &wafer);
    let stored = |inputs| resolve(&recipe, inputs).unwrap().kinds[0].mapping.stored.clone();
    inputs.load.wafers = WaferCount::Exactly(4);
    let all = stored(inputs);
    let matrices = [Role::Query, Role::Key, Role::Value, Role::Output, Role::Gate, Role::Up, Role::Down];
    assert!(matrices.iter().all(|role| all.get(role) == Some(&DataType::Fp16)), "{all:?}");
    // On fewer wafers some have to stay narrow: the largest.
    inputs.load.wafers = WaferCount::Exactly(2);
    let some = stored(inputs);
    assert!(!some.is_empty() && some.keys().all(|role| all.contains_key(role)), "{some:?}");
    assert!(!some.contains_key(&Role::Gate), "{some:?}");
    // A checkpoint in 16 bit has nothing narrow.
    inputs.load.wafers = WaferCount::Exactly(4);
    inputs.load.precision = Precision { weights: DataType::Bf16, ..Precision::default() };
    assert!(stored(inputs).is_empty());
    // In the same wafers it is placed as the wide checkpoint is, among its ways.
    let wide = all_ways(&recipe, inputs);
    inputs.load.precision = Precision::default();
    let narrow = all_ways(&recipe, inputs);
    let placed = |ways: &[Mapped]| ways.iter().map(|way| way.placement.ledger.totals.weights).max();
    assert_eq!(placed(&wide), placed(&narrow));
}

#[test]
fn a_stream_of_a_draft_needs_room_for_one_token() {
    let (model, wafer) = (Model::builtin("llama-3.1-8b").unwrap(), wse3());
    let mut inputs = inputs(&model, &wafer);
    inputs.load.tokens_per_step = 5;
    let held = |draft| {
        let recipe = Recipe { draft, ..Recipe::default() };
        all_ways(&recipe, inputs)[0].placement.settings.micro_batch
    };
    assert_eq!([Verification::Stream, Verification::MicroBatch, Verification::Faster].map(held), [1, 5, 5]);
}

#[test]
fn many_users_go_through_in_micro_batches() {
    let (model, wafer) = (Model::builtin("llama-3.1-8b").unwrap(), wse3());
    let mut inputs = inputs(&model, &wafer);
    (inputs.load.users, inputs.load.wafers) = (80, WaferCount::Exactly(2));
    let batch = |micro_batch| resolve(&Recipe { micro_batch, ..Recipe::default() }, inputs).unwrap().micro_batch;
    // 34 stages.
    assert_eq!(batch(Size::Auto), 3);
    assert_eq!((batch(Size::Divisor(8)), batch(Size::Exactly(7)), batch(Size::Share(500))), (10, 7, 4));
}

#[test]
fn a_region_of_ones_own_needs_no_wafer() {
    let (model, wafer) = (tiny(), wse3());
    let mut inputs = inputs(&model, &wafer);
    inputs.load = wafersim_mapping::Load { context: 16, ..load() };
    for name in builtin::names() {
        let layers = on_region(&Recipe::builtin(name).unwrap(), inputs, RegionSize { columns: 6, rows: 4 }).unwrap();
        assert_eq!(layers.len(), 3);
        for layer in &layers {
            assert_eq!((layer.region.columns, layer.region.rows), (6, 4));
            assert_eq!(layer.kv.columns_per_head, 3);
        }
        assert!(layers[0].experts.is_none() && layers[1].experts.is_some());
    }
    let published =
        on_region(&Recipe::builtin("published").unwrap(), inputs, RegionSize { columns: 6, rows: 4 }).unwrap();
    let tree = Tree { groups: Groups::Sizes(vec![3, 2]), root: Root::Index(4) };
    assert_eq!(published[0].reductions.x, Reduction::Tree(tree));
}
