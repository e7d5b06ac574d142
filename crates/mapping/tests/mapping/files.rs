//! TOML both ways, and what is said of wrong text.

use proptest::prelude::*;
use wafersim_mapping::{MappingError, Recipe, Resolved, Rewrite, Rewrites, Routes, builtin, random_recipe, resolve};
use wafersim_spec::Model;

use crate::common::{inputs, wse3};

#[test]
fn every_built_in_recipe_is_read_and_named_and_resolves() {
    let wafer = wse3();
    for name in builtin::names() {
        let recipe = Recipe::builtin(name).unwrap();
        assert_eq!(recipe.name, name);
        assert!(!recipe.about.is_empty() && !recipe.source.is_empty() && recipe.about.len() <= 120, "{name}");
        for model in ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b"] {
            let model = Model::builtin(model).unwrap();
            resolve(&recipe, inputs(&model, &wafer))
                .unwrap_or_else(|error| panic!("{name} on {}: {error}", model.name));
        }
    }
    let error = Recipe::builtin("pubished").unwrap_err().to_string();
    assert!(error.contains("did you mean 'published'") && error.contains("best"), "{error}");
    let published = Recipe::builtin("published").unwrap();
    assert_eq!((published.rewrites, published.routes), (Rewrites::NONE, Routes::Changed));
}

#[test]
fn best_has_every_rewrite_that_saves_time() {
    let all = Rewrites::ALL.with(Rewrite::ConversionInStrips, false);
    assert_eq!(Recipe::builtin("best").unwrap().rewrites, all);
}

#[test]
fn what_is_left_out_is_as_published() {
    let published = Recipe::builtin("published").unwrap();
    let empty = Recipe::parse("", "empty.toml").unwrap();
    let (about, source) = (published.about.clone(), published.source.clone());
    assert_eq!(Recipe { about, source, ..Recipe::published() }, published);
    let named =
        Recipe { name: empty.name.clone(), about: empty.about.clone(), source: empty.source.clone(), ..published };
    assert_eq!(named, empty);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_recipe_is_the_same_bytes_when_printed_and_read_again(seed: u64) {
        let recipe = random_recipe(seed, |_| true).unwrap();
        let text = recipe.to_toml();
        let read = Recipe::parse(&text, "drawn.toml").unwrap();
        prop_assert_eq!(&read, &recipe);
        prop_assert_eq!(read.to_toml(), text);
    }

    /// Whatever happens to the text, the answer is an error or a recipe.
    #[test]
    fn damage_is_an_error_or_a_recipe(seed in 0_u64..50, at in 0_usize..3000, with in "[a-z0-9=\\[\\]\"{}.,% -]{0,4}") {
        let mut text = random_recipe(seed, |_| true).unwrap().to_toml();
        let at = at.min(text.len());
        text.insert_str(at, &with);
        if let Err(error) = Recipe::parse(&text, "damaged.toml") {
            let MappingError::Text { line, .. } = &error else { panic!("{error}") };
            prop_assert!(*line >= 1);
            prop_assert!(error.to_string().starts_with("damaged.toml: line "));
        }
    }
}

#[test]
fn a_resolved_mapping_is_the_same_bytes_when_printed_and_read_again() {
    let wafer = wse3();
    for model in ["llama-3.1-8b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3"] {
        let model = Model::builtin(model).unwrap();
        for name in builtin::names() {
            let resolved = resolve(&Recipe::builtin(name).unwrap(), inputs(&model, &wafer)).unwrap();
            let text = resolved.to_toml();
            let read = Resolved::parse(&text, "saved.toml").unwrap();
            assert_eq!((&read, read.to_toml()), (&resolved, text));
        }
    }
}

/// What is wrong in which line, in which field, and what would be allowed.
#[test]
fn wrong_text_is_refused_with_its_place() {
    for (text, parts) in [
        ("rewrites = [\"fused_norm\"]", &["line 1", "field 'rewrites'", "did you mean 'fused_norms'", "allowed: "][..]),
        ("rewrites = [\"fused_norms\", \"fused_norms\"]", &["listed twice"]),
        ("routes = \"dynamic\"", &["field 'routes'", "dynamic", "allowed: ", "changed", "static"]),
        ("\nrutes = \"static\"", &["line 2", "field 'rutes'", "unknown field", "allowed: ", "routes"]),
        ("[overlap]\nconversion = 1", &["line 2", "field 'overlap.conversion'", "`1`", "allowed: a boolean"]),
        ("[division]\nslots = 0", &["field 'division.slots'", "'0' is no size", "allowed: \"auto\""]),
        ("[division]\nslots = -3", &["field 'division.slots'", "-3"]),
        ("[division]\ncolumns = \"50\"\nrows = \"150%\"", &["line 3", "field 'division.rows'", "'150%' is no size"]),
        ("[division]\nslots = 1.5", &["field 'division.slots'", "1.5"]),
        ("[kv]\nappend = \"shift\"", &["field 'kv.append'", "shifted", "round_robin"]),
        ("[reductions]\nx = { kind = \"star\" }", &["field 'reductions.x'", "star", "tree", "reduce_scatter"]),
        ("[reductions]\nx = { kind = \"tree\", groups = 0 }", &["field 'reductions.x'", "groups are 0"]),
        (
            "[reductions.operators]\nrooter = { kind = \"chain\" }",
            &["'rooter' is no operator", "did you mean 'router'"],
        ),
        ("[reductions.operators]\n\"attention.rope\" = { kind = \"chain\" }", &["reduces nothing", "attention.output"]),
        ("[rectangles]\nrouters = {}", &["did you mean 'router'"]),
        ("[rectangles]\nrouter = { width = 3 }", &["field 'rectangles.router'", "width", "columns"]),
        ("[experts]\nstrategy = \"round_robin\"", &["field 'experts.strategy'", "round-robin"]),
        ("[experts]\nsharing = 3", &["spread experts share the whole region"]),
        ("[experts]\nstrategy = \"linear\"\nspare = 3", &["makes no copies", "'replicated' and 'annealed'"]),
        ("[experts]\nfile = \"a.toml\"\nstrategy = \"linear\"", &["allowed beside 'file': nothing"]),
        ("[stored.roles]\nrouter = \"wide\"", &["'router' is no role", "expert_gate"]),
        ("[stored]\ndefault = \"narrow\"", &["field 'stored.default'", "checkpoint", "fit"]),
        ("draft = \"microbatch\"", &["field 'draft'", "micro_batch", "stream"]),
        ("name = ", &["line 1"]),
    ] {
        let error = Recipe::parse(text, "mine.toml").unwrap_err().to_string();
        assert!(error.starts_with("mine.toml: line ") && !error.contains('\n'), "{error}");
        for part in parts {
            assert!(error.contains(part), "{text}\n{error}\nlacks {part}");
        }
    }
}

#[test]
fn a_file_of_assignments_is_read_beside_its_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let read = || Recipe::read(&folder.path().join("mine.toml"));
    write("mine.toml", "[experts]\nfile = \"dealt.toml\"\n");
    assert!(read().unwrap_err().to_string().contains("dealt.toml: cannot be read"));
    for (text, part) in [
        ("across = 0\ndown = 3\nhomes = []", "1 to 65,536 rectangles"),
        (
            "across = 2\ndown = 1\nhomes = [[0], [2]]",
            "expert 1 is in [2]; allowed: one or more different rectangles from 0 to 1",
        ),
        ("across = 2\ndown = 1\nhomes = [[0, 0]]", "expert 0 is in [0, 0]"),
        ("across = 2\ndown = 1\nhomes = [[]]", "expert 0 is in []"),
        ("across = 2\ndown = 1\nhomes = [[0]]\n[layers]\nfirst = [[0]]", "'first' is no layer"),
        ("across = 2\ndown = 1\n", "missing field `homes`"),
    ] {
        write("dealt.toml", text);
        let error = read().unwrap_err().to_string();
        assert!(error.contains(part), "{text}\n{error}");
    }
    // Two of eight experts in each rectangle; the second layer with experts the other way round.
    let homes = |of: fn(usize) -> usize| format!("{:?}", (0..8).map(|expert| vec![of(expert)]).collect::<Vec<_>>());
    let (one, other) = (homes(|expert| expert / 2), homes(|expert| 3 - expert / 2));
    write("dealt.toml", &format!("across = 2\ndown = 2\nhomes = {one}\n[layers]\n2 = {other}\n"));
    let recipe = read().unwrap();
    assert_eq!(recipe.name, "mine");
    let (model, wafer) = (crate::common::tiny(), wse3());
    let resolved = resolve(&recipe, inputs(&model, &wafer)).unwrap();
    // A dense layer and two with experts, each dealt in its own way.
    assert_eq!(resolved.kinds.len(), 3);
    let homes_of = |kind: usize, expert| resolved.kinds[kind].mapping.experts.as_ref().unwrap().homes_of(expert);
    assert_eq!((homes_of(1, 7), homes_of(2, 7)), (vec![3], vec![0]));
    assert!(resolved.kinds[0].mapping.experts.is_none());
    // The text alone has lost its place.
    let lost = Recipe::parse(&recipe.to_toml(), "text").unwrap();
    assert!(resolve(&lost, inputs(&model, &wafer)).unwrap_err().to_string().contains("experts.file"));
    // Resolved, it needs the file no more.
    std::fs::remove_file(folder.path().join("dealt.toml")).unwrap();
    Resolved::parse(&resolved.to_toml(), "saved").unwrap().mapped(inputs(&model, &wafer)).unwrap();
    // For another model the file is refused.
    let other = Model::builtin("qwen3-30b-a3b").unwrap();
    let error = resolve(&recipe, inputs(&other, &wafer)).unwrap_err().to_string();
    assert!(error.contains("homes of 8 experts for layer 0") && error.contains("128 experts"), "{error}");
}
