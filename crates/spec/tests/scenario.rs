//! Scenario files: what they can say, how layers are merged, what is refused and in which words, and that no text
//! whatever makes the reader panic.

use proptest::prelude::*;
use wafersim_spec::model::builtin;
use wafersim_spec::scenario::{
    ExpertPlacement, PrecisionFile, Prefill, PrefillFile, PrefillPlace, Profile, RoutingModel, SETTINGS, Speculation,
    WaferCount,
};
use wafersim_spec::wafer::DECLARATIONS;
use wafersim_spec::{DataType, Model, Scenario, ScenarioFile, SpecError};

const FULL: &str = r#"
model = "qwen3-8b"
wafer = "wse2"
wafers = "auto"
users = 4
context = 8192
prompt = 1000
profile = "ideal"
placement = "clustered"
routing = "uniform"
target = 500
clock_ghz = 0.85

[precision]
weights = "fp16"
small_weights = "fp32"
kv_cache = "fp8"
activations = "bf16"

[speculation]
draft_length = 3
acceptance = 0.6
draft_cost = 0.1

[prefill]
where = "external"
bandwidth = 50e9
tokens_per_second = 20000

[wafer_parameters]
"pe.memory" = 65536
clock.frequency = 1.5
"#;

fn parse(text: &str) -> Result<ScenarioFile, SpecError> {
    ScenarioFile::parse(text, "s.toml")
}

fn check(text: &str) -> Result<Scenario, SpecError> {
    parse(text).and_then(|file| file.check("s.toml"))
}

#[test]
fn an_empty_file_is_the_default_question() {
    let speculation = Speculation { default_acceptance: true, ..Speculation::default() };
    let asked_precision = Some(PrecisionFile::default());
    let of_none = Scenario {
        default_context: true,
        default_placement: true,
        speculation,
        asked_precision,
        ..Scenario::default()
    };
    assert_eq!(check(""), Ok(of_none));
    let scenario = Scenario::default();
    assert_eq!((scenario.model.as_str(), scenario.wafer.as_str()), ("qwen3-coder-480b-a35b", "wse3"));
    assert_eq!((scenario.users, scenario.context, scenario.prompt), (1, 32_768, 32_768));
    assert_eq!((scenario.wafers, scenario.profile), (WaferCount::Auto, Profile::Best));
    assert_eq!((scenario.placement, scenario.routing), (ExpertPlacement::Spread, RoutingModel::Skewed));
    assert_eq!((scenario.clock_ghz, scenario.speculation.draft_length), (None, 0));
}

#[test]
fn a_full_file_is_read_whole() {
    let scenario = check(FULL).unwrap();
    assert_eq!(scenario.precision.weights, DataType::Fp16);
    assert_eq!(scenario.precision.kv_cache, DataType::Fp8);
    assert_eq!((scenario.users, scenario.context, scenario.prompt), (4, 8192, 1000));
    assert_eq!((scenario.profile, scenario.placement), (Profile::Ideal, ExpertPlacement::Clustered));
    assert_eq!((scenario.clock_ghz, scenario.target), (Some(0.85), 500.0));
    assert_eq!(scenario.speculation.draft_length, 3);
    let prefill = scenario.prefill;
    assert_eq!((prefill.place, prefill.wafers), (PrefillPlace::External, None));
    assert_eq!((prefill.bandwidth, prefill.tokens_per_second), (Some(50e9), Some(20_000.0)));
    let overrides = [("pe.memory".to_owned(), 65_536.0), ("clock.frequency".to_owned(), 1.5)];
    assert_eq!(scenario.wafer_overrides, overrides, "in the order of the file");
}

#[test]
fn what_is_written_reads_back() {
    let file = parse(FULL).unwrap();
    assert_eq!(parse(&toml::to_string(&file).unwrap()), Ok(file));
    assert_eq!(toml::to_string(&ScenarioFile::default()), Ok(String::new()));
}

#[test]
fn a_scenario_is_written_for_provenance() {
    let json = serde_json::to_value(check("wafers = 3").unwrap()).unwrap();
    assert_eq!((&json["wafers"], &json["profile"]), (&3.into(), &"best".into()));
    assert_eq!(serde_json::to_value(Scenario::default()).unwrap()["wafers"], "auto");
}

#[test]
fn layers_above_win_field_by_field() {
    let mut flags = ScenarioFile { users: Some(9), ..ScenarioFile::default() };
    flags.set("precision.weights", "int8").unwrap();
    flags.set("wafer.pe.memory", "32768").unwrap();
    flags.set("context", "100").unwrap();
    let scenario = parse(FULL).unwrap().merge(flags).check("s.toml").unwrap();
    assert_eq!((scenario.users, scenario.context, scenario.prompt), (9, 100, 1000));
    assert_eq!((scenario.precision.weights, scenario.precision.kv_cache), (DataType::Int8, DataType::Fp8));
    let overrides = [("clock.frequency".to_owned(), 1.5), ("pe.memory".to_owned(), 32_768.0)];
    assert_eq!(scenario.wafer_overrides, overrides, "later layers are applied later");
    assert_eq!(parse(FULL).unwrap().merge(ScenarioFile::default()), parse(FULL).unwrap());
}

#[test]
fn the_prompt_is_the_context_unless_given() {
    assert_eq!(check("context = 77").unwrap().prompt, 77);
    let flags = ScenarioFile { context: Some(55), ..ScenarioFile::default() };
    assert_eq!(parse("context = 77").unwrap().merge(flags).check("").unwrap().prompt, 55);
}

#[test]
fn wrong_files_are_shown_with_their_line_and_what_is_allowed() {
    for (text, expected) in [
        (
            "users = 1\nuserz = 4",
            &[
                "s.toml: TOML parse error at line 2, column 1",
                "^^^^^",
                "unknown field `userz`, expected one of `model`, ",
            ][..],
        ),
        ("users = -3", &["at line 1, column 9", "invalid value: integer `-3`"]),
        ("users = \"many\"", &["at line 1, column 9", "invalid type: string \"many\", expected u64"]),
        ("users = ", &["at line 1, column 9"]),
        ("users = 1\nusers = 2", &["at line 2, column 1", "duplicate key"]),
        ("profile = \"fast\"", &["at line 1, column 11", "unknown profile 'fast'; allowed are published, best, ideal"]),
        (
            "wafers = 0",
            &["'0' is no number of wafers: allowed are 'auto', 'fewest', and whole numbers from 1 to 100000"],
        ),
        ("wafers = \"some\"", &["'some' is no number of wafers"]),
        ("wafers = 1.5", &["expected \"auto\", \"fewest\" or a whole number from 1 to 100000"]),
        ("[precision]\nweight = \"fp8\"", &["line 2", "unknown field `weight`, expected one of `weights`"]),
        ("[precision]\nweights = \"fp12\"", &["line 2", "unknown variant `fp12`"]),
        ("[speculation]\nlength = 1", &["unknown field `length`, expected one of `draft_length`"]),
        ("speculation.acceptance = 'eagle'", &["line 1", "unknown acceptance 'eagle'", "eagle3-qwen3-8b-coding"]),
        ("speculation.acceptance = true", &["line 1", "expected a number from 0 to 1, a list of such, or one of"]),
        ("speculation.verification = 'fast'", &["line 1", "micro_batch"]),
        ("wafer_parameters = 3", &["expected a table of wafer parameters"]),
        ("[wafer_parameters]\npe.memory = \"x\"", &["line 2", "expected a number"]),
        ("[wafer_parameters]\npe.memory = 1\n\"pe.memory\" = 2", &["wafer parameter 'pe.memory' is given twice"]),
    ] {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, SpecError::Syntax { .. }), "{error:?}");
        for part in expected {
            assert!(error.to_string().contains(part), "{text}\n{error}");
        }
    }
}

/// Acceptance and accepted length say the same thing, so the upper layer's one replaces the lower layer's other.
#[test]
fn speculation_is_written_in_several_ways() {
    let lower = "[speculation]\ndraft_length = 4\nacceptance = [0.8, 0.7, 0.6, 0.5, 0.4]";
    let speculation = check(lower).unwrap().speculation;
    assert_eq!(speculation.positions(), [0.8, 0.7, 0.6, 0.5]);
    assert!((speculation.tokens_per_step() - (1.0 + 0.8 + 0.56 + 0.336 + 0.168)).abs() < 1e-12);
    let mut flags = ScenarioFile::default();
    flags.set("speculation.accepted_length", "2.4").unwrap();
    let merged = parse(lower).unwrap().merge(flags).check("s.toml").unwrap();
    assert_eq!(merged.speculation.tokens_per_step(), 2.4);
    let back = "[speculation]\ndraft_length = 4\nacceptance = 'eagle3-qwen3-8b-coding'";
    let speculation =
        parse("speculation.accepted_length = 2").unwrap().merge(parse(back).unwrap()).check("s").unwrap().speculation;
    assert!((speculation.tokens_per_step() - 3.06).abs() < 1e-12);
    // Two that say the same do not contradict each other.
    assert!(check("[speculation]\ndraft_length = 1\nacceptance = 0.81\naccepted_length = 1.81").is_ok());
    let written = toml::to_string(&parse(back).unwrap()).unwrap();
    assert!(written.contains("acceptance = \"eagle3-qwen3-8b-coding\""), "{written}");
}

/// A rate is one of something else that computes prompts, and needed there; a number of wafers is one of other wafers.
#[test]
fn settings_of_prompts_elsewhere_go_together() {
    for (written, field, allowed) in [
        ("tokens_per_second = 5", "prefill.tokens_per_second", "external"),
        ("where = 'same'\nbandwidth = 1e9", "prefill.bandwidth", "other wafers"),
        ("where = 'same'\nwafers = 3", "prefill.wafers", "other wafers"),
        ("where = 'other wafers'\ntokens_per_second = 5", "prefill.tokens_per_second", "external"),
        ("where = 'external'", "prefill.tokens_per_second", "from 0.001 to 1e12"),
        ("where = 'external'\ntokens_per_second = 5\nwafers = 3", "prefill.wafers", "other wafers"),
        ("where = 'external'\ntokens_per_second = 0", "prefill.tokens_per_second", "from 0.001"),
        ("where = 'other wafers'\nwafers = 0", "prefill.wafers", "from 1"),
        ("where = 'other wafers'\nbandwidth = nan", "prefill.bandwidth", "from 1"),
    ] {
        let message = check(&format!("[prefill]\n{written}")).unwrap_err().to_string();
        assert!(message.contains(&format!("field '{field}'")) && message.contains(allowed), "{written}: {message}");
    }
    let message = check("[prefill]\nwhere = 'elsewhere'").unwrap_err().to_string();
    assert!(message.contains("same, other wafers, external"), "{message}");
    // A layer that moves prompts elsewhere leaves nothing of the place before.
    let mut flags = ScenarioFile::default();
    flags.set("prefill.where", "other wafers").unwrap();
    flags.set("prefill.wafers", "4").unwrap();
    let moved = parse(FULL).unwrap().merge(flags.clone()).check("s.toml").unwrap().prefill;
    let expected = Prefill { place: PrefillPlace::OtherWafers, wafers: Some(4), ..Prefill::default() };
    assert_eq!(moved, expected);
    flags.set("prefill.where", "same").unwrap();
    assert!(flags.check("--set").is_err());
}

#[test]
fn values_out_of_range_are_refused() {
    for (text, expected) in [
        ("users = 0", "s.toml: field 'users': is 0; allowed: a whole number from 1 to 1000000"),
        ("context = 16777217", "field 'context': is 16777217; "),
        ("prompt = 0", "field 'prompt': is 0; "),
        ("target = 0", "field 'target': is 0; "),
        ("target = nan", "field 'target': is NaN; "),
        ("target = inf", "field 'target': is inf; "),
        ("clock_ghz = 0.001", "field 'clock_ghz': is 0.001; allowed: a number from 0.01 to 100"),
        ("speculation.acceptance = 1.1", "field 'speculation.acceptance': is 1.1; allowed: a number from 0 to 1"),
        ("speculation.draft_cost = -0.1", "field 'speculation.draft_cost': is -0.1; "),
        ("speculation.draft_length = 65", "field 'speculation.draft_length': is 65; "),
        ("speculation.acceptance = [0.9, 2]", "field 'speculation.acceptance': is [0.9, 2]; "),
        ("speculation.acceptance = []", "field 'speculation.acceptance': is []; "),
        (
            "speculation.accepted_length = 0.5",
            "field 'speculation.accepted_length': is 0.5; allowed: a number from 1 to 65",
        ),
        (
            "speculation.accepted_length = 2.4",
            "field 'speculation.accepted_length': is 2.4, and speculation.draft_length is 0; allowed: a number from 1 to 1",
        ),
        (
            "[speculation]\ndraft_length = 3\nacceptance = [0.8, 0.7]",
            "field 'speculation.acceptance': knows 2 position(s), and speculation.draft_length is 3; allowed: a position for each",
        ),
        (
            "[speculation]\ndraft_length = 8\nacceptance = 'eagle3-qwen3-8b-coding'",
            "field 'speculation.acceptance': knows 7 position(s), and speculation.draft_length is 8",
        ),
        (
            "[speculation]\ndraft_length = 4\nacceptance = 0.9\naccepted_length = 2.4",
            "field 'speculation.accepted_length': is 2.4, and speculation.acceptance is 0.9, which leads to 4.10 tokens a step",
        ),
        ("precision.activations = \"fp8\"", "is 'fp8'; allowed: one of fp32, fp16, bf16"),
        ("model = \"\"", "field 'model': is ''; allowed: a built-in name or a path"),
        ("[wafer_parameters]\npe.memry = 1", "unknown wafer parameter 'pe.memry' (did you mean 'pe.memory'?)"),
        ("[wafer_parameters]\npe.memory = nan", "field 'wafer_parameters.pe.memory': NaN is out of range; "),
    ] {
        let message = check(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{text}\n{message}");
    }
    let hand_made = ScenarioFile { wafers: Some(WaferCount::Exactly(0)), ..ScenarioFile::default() };
    assert!(hand_made.check("flags").unwrap_err().to_string().contains("field 'wafers': is '0'"));
}

#[test]
fn settings_that_do_not_exist_suggest_the_nearest() {
    for (path, nearest) in [
        ("user", Some("users")),
        ("precision.weight", Some("precision.weights")),
        ("kv_cache", Some("precision.kv_cache")),
        ("wafer.pe.memry", Some("wafer.pe.memory")),
        ("pe.memory", Some("wafer.pe.memory")),
        ("memory", Some("wafer.pe.memory")),
        ("wafer.", Some("wafer")),
        ("", None),
        ("entirely.different", None),
    ] {
        match ScenarioFile::default().set(path, "1") {
            Err(SpecError::UnknownName { kind: "setting", nearest: found, .. }) => {
                assert_eq!(found.as_deref(), nearest, "{path}");
            }
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn settings_of_the_wrong_type_are_refused() {
    for (path, value, expected) in [
        ("users", "four", "--set: field 'users': is 'four'; allowed: a whole number from 1 to 1000000"),
        ("profile", "quick", "is 'quick'; allowed: one of published, best, ideal"),
        ("profile", "optimised", "is 'optimised', which is called 'best' now; allowed: one of published, best, ideal"),
        ("wafers", "-1", "is '-1'; allowed: auto, fewest, or a whole number from 1 to 100000"),
        (
            "wafer.pe.memory",
            "lots",
            "field 'wafer.pe.memory': 'lots' is not a number; allowed: a whole number of bytes",
        ),
        ("wafer.pe.memory", "1e99", "is out of range; "),
    ] {
        let message = ScenarioFile::default().set(path, value).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn words_for_flags_read_and_print() {
    for profile in Profile::ALL {
        assert_eq!(profile.to_string().parse(), Ok(*profile));
    }
    assert_eq!("12".parse(), Ok(WaferCount::Exactly(12)));
    assert_eq!("auto".parse::<WaferCount>().unwrap().to_string(), "auto");
    let messages = [
        "publisht".parse::<Profile>().unwrap_err().to_string(),
        "bound".parse::<Profile>().unwrap_err().to_string(),
        "x".parse::<RoutingModel>().unwrap_err().to_string(),
        "100001".parse::<WaferCount>().unwrap_err().to_string(),
    ];
    assert_eq!(
        messages,
        [
            "unknown profile 'publisht' (did you mean 'published'?); allowed are published, best, ideal",
            "unknown profile 'bound': it is called 'ideal' now; allowed are published, best, ideal",
            "unknown routing 'x'; allowed are uniform, skewed",
            "'100001' is no number of wafers: allowed are 'auto', 'fewest', and whole numbers from 1 to 100000",
        ]
    );
}

#[test]
fn relative_paths_begin_at_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("mine.json", "{}");
    write("mine.toml", "");
    write("qwen3-8b", "a file with the name of a built-in");
    write("a.toml", "model = \"mine.json\"\nwafer = \"./mine.toml\"");
    write("b.toml", "model = \"elsewhere.json\"\nwafer = \"wse3\"");
    write("c.toml", "model = \"qwen3-8b\"");
    let read = |name: &str| ScenarioFile::read(&folder.path().join(name)).unwrap();
    let found = read("a.toml").model.unwrap();
    assert_eq!(found, folder.path().join("mine.json").to_str().unwrap());
    assert!(std::path::Path::new(&read("a.toml").wafer.unwrap()).is_absolute());
    assert_eq!(read("b.toml").model.as_deref(), Some("elsewhere.json"));
    assert_eq!(read("b.toml").wafer.as_deref(), Some("wse3"));
    assert_eq!(read("c.toml").model.as_deref(), Some("qwen3-8b"));
    let message = ScenarioFile::read(folder.path()).unwrap_err().to_string();
    assert!(message.ends_with("is a directory (name the scenario file in it)"), "{message}");
}

#[test]
fn a_context_may_be_four_times_what_the_model_was_made_for() {
    let model = Model::builtin("qwen3-coder-30b-a3b").unwrap();
    check("context = 1048576").unwrap().check_against(&model).unwrap();
    let message = check("context = 1048577").unwrap().check_against(&model).unwrap_err().to_string();
    assert!(message.contains("'context': is 1048577 tokens, too long for qwen3-coder-30b-a3b"), "{message}");
    assert!(message.contains("1 to 1048576: 4 times the 262144 positions"), "{message}");
    let message = check("prompt = 1048577").unwrap().check_against(&model).unwrap_err().to_string();
    assert!(message.contains("'prompt'"), "{message}");
}

#[test]
fn nesting_and_lists_without_end_are_refused() {
    assert!(parse(&format!("model = {}", "[".repeat(100_000))).is_err());
    assert!(parse(&format!("[wafer_parameters]\n{}a = 1", "a.".repeat(100_000))).is_err());
    let many: String = (0..1001).map(|number| format!("a{number} = 1\n")).collect();
    let message = parse(&format!("[wafer_parameters]\n{many}")).unwrap_err().to_string();
    assert!(message.contains("more than 1000 wafer parameters"), "{message}");
}

fn any_text_value() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("nan".to_owned()),
        1 => Just("-inf".to_owned()),
        1 => Just("1e308".to_owned()),
        1 => Just("[[1]]".to_owned()),
        1 => Just("{ a = { b = 1 } }".to_owned()),
        1 => Just("\"auto\"".to_owned()),
        1 => Just("99999999999999999999".to_owned()),
        1 => Just("1979-05-27".to_owned()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        4 => (0_i64..100).prop_map(|number| number.to_string()),
        4 => prop::sample::select(vec!["\"fp16\"", "\"ideal\"", "\"uniform\"", "0.5", "true"]).prop_map(str::to_owned),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        1 => any::<String>().prop_map(|text| format!("{text:?}")),
        1 => any::<String>(),
    ]
}

/// Limits that the rest of the program relies on.
fn assert_in_range(scenario: &Scenario) {
    assert!((1..=1_000_000).contains(&scenario.users));
    assert!((1..=16_777_216).contains(&scenario.context) && (1..=16_777_216).contains(&scenario.prompt));
    assert!(scenario.target > 0.0 && scenario.target <= 1e9);
    assert!(scenario.clock_ghz.is_none_or(|clock| (0.01..=100.0).contains(&clock)));
    assert!(scenario.precision.activations.is_arithmetic());
    let speculation = &scenario.speculation;
    assert!(speculation.positions().iter().all(|acceptance| (0.0..=1.0).contains(acceptance)));
    assert_eq!(speculation.positions().len(), speculation.draft_length as usize);
    assert!((1.0..=f64::from(speculation.draft_length) + 1.0).contains(&speculation.tokens_per_step()));
    assert!(speculation.draft_cost.is_none_or(|cost| (0.0..=1.0).contains(&cost)));
    assert!(scenario.wafer_overrides.iter().all(|(_, value)| value.is_finite()));
}

fn quick() -> ProptestConfig {
    ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn changed_lines_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8, any_text_value()), 1..4),
    ) {
        let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
        for (index, kind, value) in changes {
            let place = index.index(lines.len());
            let key = lines[place].split(" = ").next().unwrap_or_default().to_owned();
            match kind {
                0 => lines[place] = value,
                1 => lines.insert(place, format!("{key} = {value}")),
                2 | 3 if lines.len() > 1 => drop(lines.remove(place)),
                _ => lines[place] = format!("{key} = {value}"),
            }
        }
        if let Ok(scenario) = check(&lines.join("\n")) {
            assert_in_range(&scenario);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        length in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = FULL.as_bytes().to_vec();
        for (index, byte) in flips {
            let place = index.index(bytes.len());
            bytes[place] = byte;
        }
        if truncate {
            bytes.truncate(length.index(bytes.len()));
        }
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &bytes).expect("writes");
        if let Ok(scenario) = ScenarioFile::read(file.path()).and_then(|written| written.check("s.toml")) {
            assert_in_range(&scenario);
        }
    }

    #[test]
    fn what_can_be_set_can_be_asked(path in any_path(), value in any_text_value()) {
        let mut file = ScenarioFile::default();
        match file.set(&path, &value) {
            Ok(()) => {
                // What is said of prompts elsewhere needs a place, and one that is no wafer its rate.
                let prefill = &mut file.prefill;
                if *prefill != PrefillFile::default() {
                    let rate = prefill.tokens_per_second;
                    let place = if rate.is_some() { PrefillPlace::External } else { PrefillPlace::OtherWafers };
                    let needs_rate = *prefill.place.get_or_insert(place) == PrefillPlace::External;
                    prefill.tokens_per_second = rate.or(needs_rate.then_some(1000.0));
                }
                // An accepted length is one of a draft.
                file.speculation.draft_length =
                    file.speculation.draft_length.or(file.speculation.accepted_length.map(|_| 64));
                assert_in_range(&file.check("--set").expect("set has checked it"));
            }
            Err(_) => prop_assert_eq!(file, ScenarioFile::default()),
        }
    }
}

fn any_path() -> impl Strategy<Value = String> {
    let own = SETTINGS.iter().map(|setting| setting.path.to_owned());
    let of_wafer = DECLARATIONS.iter().map(|declared| format!("wafer.{}", declared.path));
    let known = prop::sample::select(own.chain(of_wafer).collect::<Vec<_>>());
    prop_oneof![4 => known, 1 => any::<String>()]
}

/// A draft model from a file is stored as its file says, unless a format was asked for.
#[test]
fn a_draft_model_has_the_formats_of_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let quantised = r#""quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}, "model_type""#;
    std::fs::write(&path, builtin::config("llama-3.1-8b").unwrap().replacen("\"model_type\"", quantised, 1)).unwrap();
    let main = Model::builtin("llama-3.3-70b").unwrap();
    let of_draft = |sets: &[(&str, &str)]| {
        let mut file = ScenarioFile::default();
        for (path, value) in sets {
            file.set(path, value).unwrap();
        }
        let mut scenario = file.check("test").unwrap();
        let name = scenario.speculation.draft_model.clone().unwrap();
        let asked = scenario.asked_precision;
        scenario.fit_default_precision(&main);
        scenario.fit_draft_precision(asked, &main.draft_model(&name).unwrap());
        (scenario.draft_precision.map(|precision| precision.weights.name()), scenario.precision_source)
    };
    let draft = ("speculation.draft_model", path.to_str().unwrap());
    let (weights, source) = of_draft(&[draft]);
    assert_eq!(weights, Some("int4"));
    assert!(source.unwrap().starts_with("the draft model: quantization_config: awq, 4 bit in groups of 128"));
    assert_eq!(of_draft(&[draft, ("precision.weights", "fp8")]).0, Some("fp8"));
    assert_eq!(of_draft(&[("speculation.draft_model", "llama-3.1-8b")]), (None, None));
}
