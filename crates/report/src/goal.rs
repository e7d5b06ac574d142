//! What must be true for a target, for people and for programs.

use wafersim_decide::goal::{Goal, Known, Lever, Pair, Part, Side, Value};

use wafersim_picture::{Tornado, TornadoRow};

use crate::error::ReportError;
use crate::grid::{Grid, Side as Column};
use crate::json::pretty;
use crate::number::{NOTHING, figure, plural, significant, whole};
use crate::paragraph::{heading, labelled, wrapped};

/// Levers that give less than this part of the speed at their end are named in one line.
const SMALL: f64 = 0.01;

/// For programs: one JSON object with the fields of [`Goal`].
///
/// # Errors
/// None that a goal can cause.
pub fn json(goal: &Goal) -> Result<String, ReportError> {
    pretty(goal)
}

/// For people.
pub fn text(goal: &Goal) -> String {
    let mut page = wrapped("", &sentence(goal));
    page.push_str(&heading(match goal.side {
        Side::Reach => "One at a time",
        Side::Lose => "How far each may go",
    }));
    let (told, small): (Vec<&Lever>, Vec<&Lever>) = goal.levers.iter().partition(|lever| is_told(goal, lever));
    page.push_str(&levers(goal, &told));
    if !small.is_empty() {
        let names: Vec<&str> = small.iter().map(|lever| lever.path.as_str()).collect();
        let words = format!("changes less than {} %: {}", SMALL * 100.0, names.join(", "));
        page.push('\n');
        page.push_str(&wrapped("  ", &words));
    }
    if goal.side == Side::Reach {
        page.push_str(&heading("Two at a time"));
        page.push_str(&pairs(&goal.pairs));
    }
    page.push_str(&heading("How this was found"));
    page.push_str(&labelled("mapping", &mapping(goal)));
    page.push_str(&labelled(
        "an octave",
        "is twice or half; two ways are added as the sides of a right angle. Words have none.",
    ));
    let from = &goal.provenance;
    page.push_str(&labelled("made by", &format!("wafersim {}, closed form, input {}", from.version, from.input_hash)));
    page
}

/// Levers that are drawn.
const DRAWN: usize = 30;

/// What each lever makes of the speed, and where the target lies; nothing where no lever changes anything.
pub fn tornado(goal: &Goal) -> Option<Tornado> {
    let mut told: Vec<&Lever> = goal.levers.iter().filter(|lever| is_told(goal, lever)).collect();
    told.truncate(DRAWN);
    let row = |lever: &&Lever| TornadoRow {
        name: lever.path.clone(),
        reach: lever.speed_at_limit,
        known: lever.published.map(|known| (known.speed_at_low, known.speed_at_high)),
        note: match (&lever.value, lever.state) {
            (Some(value), _) => format!("{} -> {}", shown(&lever.current), shown(value)),
            (None, Known::Excluded) => "excluded".into(),
            (None, _) if goal.side == Side::Lose => "never".into(),
            (None, _) => "not found".into(),
        },
    };
    let end = match goal.side {
        Side::Reach => "at the best end of what is tried",
        Side::Lose => "at the worst end of what is tried",
    };
    (!told.is_empty()).then(|| Tornado {
        title: format!("What must be true for {} tok/s", figure(goal.target)),
        caption: vec![
            sentence(goal),
            format!(
                "Light: the speed {end}, all else as it is. Dark: over the published range. Right: what it must become."
            ),
        ],
        axis: "tok/s of each user".into(),
        now: goal.current,
        target: goal.target,
        rows: told.iter().map(row).collect(),
    })
}

fn sentence(goal: &Goal) -> String {
    let (scenario, wafers) = (&goal.scenario, plural(u64::from(goal.wafers), "wafer"));
    let machine = format!(
        "{} on {wafers} {}, {} with {} tokens, profile {}",
        scenario.model,
        scenario.wafer,
        plural(scenario.users, "user"),
        whole(scenario.context),
        scenario.profile
    );
    let (current, target) = (figure(goal.current), figure(goal.target));
    let alone = goal.levers.iter().filter(|lever| lever.reached).count() as u64;
    match goal.side {
        Side::Reach => format!(
            "{machine}: {current} tok/s each, and {target} are wanted. {} of {} reach it alone.",
            whole(alone),
            plural(goal.levers.len() as u64, "parameter")
        ),
        Side::Lose => format!(
            "{machine}: {current} tok/s each reach the {target} that are wanted. {} of {} can lose it alone.",
            whole(alone),
            plural(goal.levers.len() as u64, "parameter")
        ),
    }
}

fn is_told(goal: &Goal, lever: &Lever) -> bool {
    lever.reached || (lever.speed_at_limit / goal.current - 1.0).abs() >= SMALL
}

fn levers(goal: &Goal, levers: &[&Lever]) -> String {
    let needed = if goal.side == Side::Reach { "needed" } else { "until" };
    let mut grid = Grid::new([
        ("parameter", Column::Left),
        ("is", Column::Right),
        (needed, Column::Right),
        ("octaves", Column::Right),
        ("published", Column::Right),
        ("at its end", Column::Right),
        ("tok/s", Column::Right),
    ]);
    for lever in levers {
        let with: String =
            lever.with.iter().map(|part| format!(" with {} {}", part.path, shown(&part.value))).collect();
        let needed = match (&lever.value, lever.state) {
            (Some(value), _) => shown(value),
            (None, Known::Excluded) => "excluded".into(),
            (None, _) if goal.side == Side::Lose => "never".into(),
            (None, _) => "not found".into(),
        };
        grid.row([
            format!("{}{with}{}", lever.path, if lever.searched { " *" } else { "" }),
            shown(&lever.current),
            needed,
            lever.octaves.map_or_else(|| NOTHING.to_owned(), |octaves| significant(octaves, 2)),
            lever.published.map_or_else(
                || NOTHING.to_owned(),
                |known| format!("{} to {}", significant(known.low, 3), significant(known.high, 3)),
            ),
            shown(&lever.limit),
            figure(lever.speed_at_limit),
        ]);
    }
    if grid.is_empty() { "  none\n".into() } else { grid.text() }
}

fn pairs(pairs: &[Pair]) -> String {
    let mut grid = Grid::new([
        ("one", Column::Left),
        ("the other", Column::Left),
        ("octaves", Column::Right),
        ("tok/s", Column::Right),
    ]);
    let part = |part: &Part| format!("{} {}", part.path, shown(&part.value));
    for pair in pairs {
        let [one, other] = &pair.levers;
        grid.row([part(one), part(other), significant(pair.octaves, 2), figure(pair.speed)]);
    }
    if grid.is_empty() { "  none within 5 octaves of each rate\n".into() } else { grid.text() }
}

fn mapping(goal: &Goal) -> String {
    let known = match (&goal.provenance.mapping, goal.provenance.search) {
        (Some(name), _) => format!("every change is priced with the mapping {name} that was given"),
        (None, Some(_)) => {
            "every change is priced with the mappings that were found for the question as it is, on as many wafers: \
             others may need less"
                .to_owned()
        }
        (None, None) => "every change is priced with the mappings that are built in".to_owned(),
    };
    match goal.searches {
        0 => known,
        count => format!("{known}; looked for anew at the end of {} (*)", plural(count, "lever")),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Whole(number) => whole(*number),
        Value::Real(number) => figure(*number),
        Value::Word(word) => word.clone(),
    }
}
