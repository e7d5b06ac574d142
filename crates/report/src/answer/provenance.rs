//! Where the answer comes from, and how wrong the model was where it could be checked.

use wafersim_answer::Answer;
use wafersim_spec::scenario::Profile;

use crate::grid::{Grid, Side};
use crate::paragraph::{heading, labelled, wrapped};

pub(super) fn text(answer: &Answer) -> String {
    let from = &answer.provenance;
    let mut text = heading("Where this comes from");
    let way = match from.fidelity {
        "fabric" => "layers on the fabric, all else in closed form (fabric)".to_owned(),
        other => format!("closed form ({other})"),
    };
    text.push_str(&labelled("made by", &format!("wafersim {}, {way}, input {}", from.version, from.input_hash)));
    if from.known_errors.is_empty() {
        let words = format!("nothing was measured on {}: every figure here is unchecked", answer.wafer);
        text.push_str(&labelled("known errors", &words));
        return text;
    }
    text.push_str(&labelled("known errors", &format!("against silicon of {}, published kernels:", answer.wafer)));
    let mut grid = Grid::new([
        ("kernel", Side::Left),
        ("rows", Side::Right),
        ("mean error", Side::Right),
        ("worst error", Side::Right),
    ]);
    for error in &from.known_errors {
        grid.row([
            error.kernel.clone(),
            error.rows.to_string(),
            format!("{:.1} %", error.mape_percent),
            format!("{:.1} %", error.worst_percent),
        ]);
    }
    text.push('\n');
    text.push_str(&grid.text());
    let reach = match answer.profile {
        Profile::Published => {
            "They hold for the measured sizes: models of 8 to 13 billion parameters, one token, one wafer."
        }
        Profile::Best | Profile::Ideal => {
            "They hold for the published kernels (profile published): this profile's programs were run nowhere."
        }
    };
    text.push('\n');
    text.push_str(&wrapped("  ", reach));
    text
}
