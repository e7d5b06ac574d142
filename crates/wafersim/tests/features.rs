//! An answer's figures are the same in every build, whatever features it has: `.ci/full` runs this without any.

use wafersim::prelude::*;

#[test]
fn features_change_no_figure() {
    let asked = [("llama-3.1-8b", "wse3", 1), ("qwen3-coder-480b-a35b", "wse3", 1), ("gpt-oss-120b", "wse2", 64)];
    let mut text = String::new();
    for (model, wafer, users) in asked {
        let scenario = Scenario { users, context: 4096, prompt: 1024, ..Scenario::default() };
        let models = (Model::builtin(model).expect("built in"), Wafer::builtin(wafer).expect("built in"));
        let question = Question::new(scenario, models.0, models.1).expect("a question");
        let answer = answer_without_ranges(&question).expect("an answer");
        text += &format!("{model}, {wafer}, {users} user(s): {} wafer(s)\n", answer.wafers);
        for (profile, said) in &answer.profiles {
            text += &format!("  {profile}: {:.3} tok/s\n", said.tokens_per_second_per_user);
        }
    }
    insta::assert_snapshot!(text);
}
