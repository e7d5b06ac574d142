//! What services were seen to do beside what the model says: speeds, prompts, how each was asked about, what was left
//! out, and what services have made of the best that was found.

use wafersim_check::production::{Compared, Drafts, Figures, Metric, Production, Realised};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{figure, plural};
use crate::paragraph::{heading, wrapped};

/// For a terminal.
pub fn text(production: &Production) -> String {
    let mut text = String::new();
    for (title, grid) in sections(production) {
        text.push_str(&heading(title));
        text.push_str(&grid.text());
    }
    let text = text.trim_start().to_owned() + "\n" + &wrapped("", &summary(production));
    production.realised.iter().fold(text, |text, class| text + &wrapped("", &realised(class)))
}

/// For the documentation.
pub fn markdown(production: &Production) -> String {
    let mut text = summary(production) + "\n";
    for (index, class) in production.realised.iter().enumerate() {
        text.push_str(&format!("{}* {}\n", if index == 0 { "\n" } else { "" }, realised(class)));
    }
    for (title, grid) in sections(production) {
        text.push_str(&format!("\n{title}:\n\n{}", grid.markdown()));
    }
    text
}

/// For programs: one JSON object with the fields of [`Production`].
///
/// # Errors
/// None that it can cause.
pub fn json(production: &Production) -> Result<String, ReportError> {
    pretty(production)
}

fn sections(production: &Production) -> Vec<(&'static str, Grid)> {
    let mut sections = vec![
        ("Speeds, tokens a second for each user", compared(production, Metric::Speed)),
        ("Speeds of services that draft, with a draft", drafted(production)),
        ("Prompts, ms", compared(production, Metric::Prompt)),
        ("How they were asked about", configurations(production)),
        ("Not compared", skipped(production)),
    ];
    sections.retain(|(_, grid)| !grid.is_empty());
    sections
}

const FIGURES: [(&str, Side); 7] = [
    ("record", Side::Left),
    ("measured", Side::Right),
    ("published", Side::Right),
    ("best", Side::Right),
    ("ideal", Side::Right),
    ("no mapping beats", Side::Right),
    ("measured/best", Side::Right),
];

fn cells(record: &Compared, figures: &Figures) -> Vec<String> {
    let Figures { published, best, ideal, no_mapping_beats, ratio_to_best } = *figures;
    let mut cells = vec![record.id.clone()];
    cells.extend([record.measured, published, best, ideal, no_mapping_beats].map(figure));
    cells.push(format!("{ratio_to_best:.2}"));
    cells
}

fn compared(production: &Production, metric: Metric) -> Grid {
    let mut grid = Grid::new(FIGURES.into_iter().chain([("lies", Side::Left)]));
    for record in production.records.iter().filter(|record| record.metric == metric) {
        let mut cells = cells(record, &record.figures);
        cells.push(record.lies.name().into());
        grid.row(cells);
    }
    grid
}

fn drafted(production: &Production) -> Grid {
    let mut grid = Grid::new(FIGURES.into_iter().chain([("draft", Side::Left)]));
    for record in &production.records {
        let Some(draft) = &record.with_draft else { continue };
        let mut cells = cells(record, &draft.figures);
        cells.push(format!("{} x {}", draft.draft_length, draft.acceptance));
        grid.row(cells);
    }
    grid
}

fn configurations(production: &Production) -> Grid {
    let mut grid = Grid::new([
        ("record", Side::Left),
        ("model", Side::Left),
        ("wafers", Side::Right),
        ("context", Side::Right),
        ("prompt", Side::Right),
        ("weights", Side::Left),
        ("drafts", Side::Left),
        ("seen by", Side::Left),
    ]);
    for record in &production.records {
        let Compared { id, model, wafers, context, prompt, weights, drafts, seen, .. } = record;
        grid.row([
            id.clone(),
            model.clone(),
            wafers.to_string(),
            context.to_string(),
            prompt.to_string(),
            weights.to_string(),
            drafts.name().to_owned(),
            seen.name().to_owned(),
        ]);
    }
    grid
}

fn skipped(production: &Production) -> Grid {
    let mut grid = Grid::new([("record", Side::Left), ("why", Side::Left)]);
    for row in &production.skipped {
        grid.row([row.id.clone(), row.why.clone()]);
    }
    grid
}

fn summary(production: &Production) -> String {
    let others = match production.others {
        0 => String::new(),
        count => format!("; {} of other kinds", plural(count as u64, "row")),
    };
    format!(
        "{} compared, {} not{others}. Nothing is fitted to them: settings of services are not public, so they can neither \
         confirm nor refute. Prompt times are without queue, network and the 1 to 6 ms that a service spends besides.",
        plural(production.records.len() as u64, "record"),
        production.skipped.len(),
    )
}

/// What a class of services has made of the best that was found.
fn realised(class: &Realised) -> String {
    format!("Services {} have made {}.", kind(class), fractions(class))
}

/// How much that is, and how many records say so.
pub(crate) fn fractions(class: &Realised) -> String {
    let Realised { records, models, low, median, high, .. } = *class;
    let (records, models) = (plural(records as u64, "record"), plural(models as u64, "model"));
    format!("{low:.2} to {high:.2} of the best that was found (middle of {records} of {models}: {median:.2})")
}

/// Which services a class is of.
pub(crate) const fn kind(class: &Realised) -> &'static str {
    match class.drafts {
        Drafts::No => "without drafts",
        Drafts::Yes => "with drafts",
        Drafts::Unknown => "of which nobody says whether they draft",
    }
}
