//! A placed run against a reference: the largest deviation of each kind of tensor.

use serde::Serialize;
use wafersim_values::{Comparison, Record, Tolerance};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::whole;
use crate::paragraph::{labelled, wrapped};

/// A run, described.
#[derive(Debug, Clone, Serialize)]
pub struct ValuesRun {
    /// The model.
    pub model: String,
    /// How it lies and in which formats, in words.
    pub placed: String,
    /// What it is compared with, in words.
    pub reference: String,
    /// Numbers of the prompt's tokens.
    pub prompt: Vec<u64>,
    /// The generated tokens.
    pub generated: Vec<u64>,
    /// Whether everything is within its tolerance.
    pub within: bool,
    /// What became of the numbers that wavelets carried, where they did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_fabric: Option<OnFabric>,
    /// What was allowed.
    pub tolerance: Tolerance,
    /// By kind of tensor.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// Programs whose numbers were carried by wavelets, against the numeric reading.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OnFabric {
    /// Programs that were run both ways.
    pub programs: u64,
    /// Words that arrived at a core.
    pub words: u64,
    /// Elements of buffers that were compared after each program, over all processing elements.
    pub elements: u64,
    /// Elements that differ in a bit.
    pub different: u64,
    /// The first of them, in words.
    pub first: Vec<String>,
}

impl ValuesRun {
    /// A run and its comparison.
    pub fn new(
        model: &str,
        (placed, reference): (String, String),
        run: &Record,
        (comparison, tolerance): (Comparison, Tolerance),
    ) -> Self {
        Self {
            model: model.to_owned(),
            placed,
            reference,
            prompt: run.prompt.clone(),
            generated: run.generated.clone(),
            within: comparison.is_within(),
            on_fabric: None,
            tolerance,
            comparison,
        }
    }
}

/// The run for people.
pub fn text(run: &ValuesRun) -> String {
    let ids = run.generated.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let mut text = [
        labelled("model", &run.model),
        labelled("placed", &run.placed),
        labelled("compared with", &run.reference),
        labelled("tokens", &format!("{} of a prompt, then generated {ids}", run.prompt.len())),
        "\n".to_owned(),
    ]
    .concat();
    let mut grid = Grid::new([
        ("tensor", Side::Left),
        ("elements", Side::Right),
        ("largest deviation", Side::Right),
        ("relative", Side::Right),
        ("largest value", Side::Right),
        ("tolerance", Side::Right),
        ("within", Side::Left),
    ]);
    for kind in &run.comparison.deviations {
        let is_choice = kind.is_choice();
        let figure = |value: f64| match value {
            value if value.is_infinite() => "any".to_owned(),
            value if is_choice => format!("{value:.0} differ"),
            value => format!("{value:.2e}"),
        };
        grid.row([
            kind.kind.clone(),
            whole(kind.elements),
            figure(kind.largest),
            if is_choice { String::new() } else { figure(kind.relative) },
            if is_choice { String::new() } else { figure(kind.magnitude) },
            figure(kind.tolerance),
            if kind.within { "yes".to_owned() } else { format!("NO: {}", kind.worst) },
        ]);
    }
    text.push_str(&grid.text());
    text.push('\n');
    if !run.comparison.missing.is_empty() {
        let missing = format!("Not in the run, or of another shape: {}.", run.comparison.missing.join(", "));
        text.push_str(&wrapped("", &missing));
    }
    let verdict = if run.within {
        "Every tensor is within its tolerance."
    } else {
        "OUT OF TOLERANCE: the placed program is not the reference."
    };
    let held = match run.tolerance {
        Tolerance::Elements { .. } => "the largest deviation",
        Tolerance::Whole(_) => "the relative error of a kind as a whole (a guess for rounded formats)",
    };
    text.push_str(&wrapped("", &format!("The tolerance holds for {held}. {verdict}")));
    if let Some(carried) = &run.on_fabric {
        text.push_str(&on_fabric(carried));
    }
    text
}

fn on_fabric(carried: &OnFabric) -> String {
    let OnFabric { programs, words, elements, different, first } = carried;
    let what = format!(
        "On the fabric: {} programs, {} words carried by wavelets, {} elements of buffers compared after them.",
        whole(*programs),
        whole(*words),
        whole(*elements)
    );
    let verdict = if *different == 0 {
        "Every buffer of every processing element is that of the numeric reading, bit for bit.".to_owned()
    } else {
        format!("DIFFERENT: {} elements, the first: {}.", whole(*different), first.join("; "))
    };
    format!("\n{}", wrapped("", &format!("{what} {verdict}")))
}

/// The run for programs: the fields of [`ValuesRun`].
///
/// # Errors
/// None that a run can cause.
pub fn json(run: &ValuesRun) -> Result<String, ReportError> {
    pretty(run)
}
