//! `simctl bound`, and the bound in other commands.

use crate::surface::simctl;

#[test]
fn it_says_the_same_as_an_answer() {
    let flags = "--model llama-3.1-8b --context 4k --wafers 1 --target 90000 --format json";
    let (bound, answer) = (simctl(&format!("bound {flags}")).json(), simctl(&format!("run {flags}")).json());
    for name in ["no_mapping_beats", "no_mapping_beats_at_measured_rate"] {
        let key = "tokens_per_second_per_user";
        assert!(bound[name][key].as_f64().is_some_and(|speed| speed > 10_000.0));
        assert_eq!(answer["profiles"][name][key], bound[name][key]);
    }
    assert_eq!(answer["verdict"]["state"], "excluded");
    let text = simctl("run --model llama-3.1-8b --context 4k --wafers 1 --target 90000").data();
    assert!(text.starts_with("EXCLUDED: no mapping beats "), "{text}");
    assert!(simctl("bound").data().contains("What it rests on"));
}
