//! How the answer moves with what is not known.

use wafersim_answer::{Answer, Drawn, Estimator, Range, Sampled, Shares, Uncertainty};
use wafersim_spec::Bytes;
use wafersim_spec::wafer::{DECLARATIONS, Evidence};

use crate::grid::{Grid, Side};
use crate::number::{duration, figure, plural, share, users, whole};
use crate::paragraph::{heading, labelled, wrapped};

/// Parameters that are listed.
const LISTED: usize = 8;

/// Shares of the variance that are listed, and from which size on.
const SHARES: usize = 6;
const SHARE_THAT_IS_SAID: f64 = 0.01;

/// What is seen in none of n draws has a probability below 3 / n, with a confidence of 95 %.
const RULE_OF_THREE: f64 = 3.0;

pub(super) fn text(answer: &Answer) -> String {
    let Some(ranges) = &answer.uncertainty else { return String::new() };
    let mut text = heading("How sure");
    text.push_str(&labelled("range", &range(answer, ranges)));
    text.push_str(&labelled("first token", &first_token(ranges)));
    let points = ranges.clock.iter().map(|point| {
        let reached = if point.reaches_target { "reached" } else { "not reached" };
        format!("{} GHz: {} tok/s ({reached})", point.ghz, figure(point.tokens_per_second_per_user))
    });
    text.push_str(&labelled("clock", &points.collect::<Vec<_>>().join("; ")));
    text.push_str(&labelled("memory", &memory(answer, ranges)));
    if let Some(sampled) = &ranges.sampled {
        text.push_str(&draws(sampled));
    }
    let moved = moved(ranges);
    if moved.is_empty() {
        return text;
    }
    let mut grid = Grid::new([
        ("what moves it most", Side::Left),
        ("low", Side::Right),
        ("high", Side::Right),
        ("unit", Side::Left),
        ("known from", Side::Left),
        ("tok/s", Side::Right),
    ]);
    for Moved { name, low, high, unit, evidence, speeds } in moved.iter().take(LISTED) {
        let speeds = format!("{} to {}", figure(speeds.low), figure(speeds.high));
        grid.row([*name, low, high, unit, known_from(*evidence), &speeds]);
    }
    text.push('\n');
    text.push_str(&grid.text());
    let more = moved.len().saturating_sub(LISTED);
    if more > 0 {
        text.push_str(&wrapped("  ", &format!("and {more} more that move it by more than 0.1 %")));
    }
    text
}

/// An input that moves the speed.
struct Moved {
    name: &'static str,
    low: String,
    high: String,
    unit: &'static str,
    evidence: Evidence,
    speeds: Range,
}

/// Inputs that move the speed by more than 0.1 %, largest first. A toggle has words in place of numbers.
fn moved(ranges: &Uncertainty) -> Vec<Moved> {
    let parameters = ranges.parameters.iter().map(|influence| Moved {
        name: influence.parameter,
        low: plain(influence.low),
        high: plain(influence.high),
        unit: DECLARATIONS.iter().find(|one| one.path == influence.parameter).map_or("", |declared| declared.unit),
        evidence: influence.evidence,
        speeds: influence.tokens_per_second_per_user,
    });
    let toggles = ranges.toggles.iter().map(|toggle| Moved {
        name: toggle.toggle.name(),
        low: toggle.assumed.to_string(),
        high: toggle.other.to_string(),
        unit: "",
        evidence: toggle.evidence,
        speeds: toggle.tokens_per_second_per_user,
    });
    let width = |moved: &Moved| moved.speeds.high - moved.speeds.low;
    let toggles = toggles.filter(|toggle| width(toggle) > toggle.speeds.high * 1e-3);
    let mut all: Vec<Moved> = parameters.chain(toggles).collect();
    // A stable sort: what moves it as much stays in order.
    all.sort_by(|one, other| width(other).total_cmp(&width(one)));
    all
}

fn range(answer: &Answer, ranges: &Uncertainty) -> String {
    let speeds = ranges.tokens_per_second_per_user;
    let target = answer.verdict.target;
    let safe = if (speeds.low >= target) == (speeds.high >= target) {
        "the verdict is the same at both ends"
    } else {
        "the target lies inside, so the verdict is not safe"
    };
    format!(
        "{} to {} tok/s each user, with every uncertain parameter at its slow or at its fast end; {safe}",
        figure(speeds.low),
        figure(speeds.high)
    )
}

/// The time to first token at both ends.
fn first_token(ranges: &Uncertainty) -> String {
    let Range { low, high } = ranges.time_to_first_token_ms;
    format!("{} to {}, in the same way", duration(low * 1e-3), duration(high * 1e-3))
}

/// What many draws give, and what causes their variance.
fn draws(sampled: &Sampled) -> String {
    let drawn = format!(
        "{} draws of all that is not known (seed {}); the target is reached in {}",
        whole(u64::from(sampled.samples)),
        sampled.seed,
        chance(sampled, "them")
    ) + &without_room(sampled);
    let mut grid =
        Grid::new([("of the draws", Side::Left), ("p5", Side::Right), ("p50", Side::Right), ("p95", Side::Right)]);
    let mut row = |title: &str, cell: &dyn Fn(&Drawn) -> String| {
        grid.row([title.to_owned(), cell(&sampled.p5), cell(&sampled.p50), cell(&sampled.p95)]);
    };
    row("tok/s each user", &|drawn| figure(drawn.tokens_per_second_per_user));
    row("tok/s all users", &|drawn| figure(drawn.tokens_per_second_total));
    row("first token", &|drawn| duration(drawn.time_to_first_token_ms * 1e-3));
    row("users at full speed", &|drawn| users(drawn.users_at_full_speed));
    row("fewest wafers", &|drawn| drawn.fewest_wafers.map_or_else(|| "none".into(), |fewest| whole(fewest.into())));
    row("users that fit", &|drawn| users(drawn.max_users));
    let speed = variance("the speed", &sampled.shares);
    let others = [
        variance("the first token", &sampled.first_token),
        variance("the fewest wafers", &sampled.fewest_wafers),
        variance("the users that fit", &sampled.max_users),
    ];
    let variances = format!("{speed}; {}", others.join("; "));
    format!("{}{}\n{}", labelled("sampled", &drawn), labelled("variance", &variances), grid.text())
}

/// `12 % of 200 draws (standard error 2.3 %)`.
pub(super) fn chance(sampled: &Sampled, draws: &str) -> String {
    let rare = || share(RULE_OF_THREE / f64::from(sampled.samples));
    match sampled.probability {
        0.0 => format!("none of {draws} (less than {})", rare()),
        1.0 => format!("all of {draws} (but for less than {})", rare()),
        part => format!("{} of {draws} (standard error {})", share(part), share(sampled.standard_error)),
    }
}

/// `; in 12 % of them the users do not fit`, where that is so in any.
pub(super) fn without_room(sampled: &Sampled) -> String {
    match 1.0 - sampled.fits {
        left if left > 0.0 => format!("; in {} of them the users do not fit on the wafers", share(left)),
        _ => String::new(),
    }
}

/// What causes the variance of a figure, and how that is known.
fn variance(of: &str, shares: &Shares) -> String {
    let by = match shares.estimator {
        Estimator::Nothing => return format!("nothing moves {of}"),
        Estimator::Alone => {
            let names: Vec<&str> = shares.each.iter().map(|one| one.parameter.as_ref()).collect();
            return format!("{} alone moves {of}", names.join(", "));
        }
        Estimator::Regression { adjusted_r_squared } => {
            format!("by regression on the draws (R2 {adjusted_r_squared:.3})")
        }
        Estimator::Exchange { runs } => format!("by exchange of inputs between draws, {} runs more", whole(runs)),
    };
    let each = shares.each.iter().filter(|one| one.first_order >= SHARE_THAT_IS_SAID).take(SHARES);
    let each: Vec<String> = each.map(|one| format!("{} {}", one.parameter, share(one.first_order))).collect();
    let left = 1.0 - shares.together;
    let together = match left {
        _ if left.abs() < SHARE_THAT_IS_SAID => String::new(),
        left if left > 0.0 => format!(" ({} to inputs together, or not found)", share(left)),
        left => format!(" (more than the whole by {}, an error of the estimate)", share(-left)),
    };
    format!("of {of}: {}; all together {}{together}, {by}", each.join(", "), share(shares.together))
}

/// What wafers and users are with the least and with the most memory free.
fn memory(answer: &Answer, ranges: &Uncertainty) -> String {
    let [low, high] = [ranges.free_memory.low, ranges.free_memory.high].map(Option::unwrap_or_default);
    if low >= high {
        return format!("{} bytes of a PE are free for data", whole(low.0));
    }
    let end = |free: Bytes, fewest: Option<u32>, held: u64| {
        let fewest = fewest.map_or_else(
            || "no number of wafers is enough".into(),
            |fewest| format!("at least {}", plural(u64::from(fewest), "wafer")),
        );
        let here = whole(u64::from(answer.wafers));
        let held = match held {
            0 => "do not hold one user".to_owned(),
            held => format!("hold {} users", users(held)),
        };
        format!("with {} bytes of a PE free {fewest}, and {here} {held}", whole(free.0))
    };
    format!(
        "{}; {}",
        end(low, ranges.wafers.high, ranges.max_users.low.unwrap_or(0)),
        end(high, ranges.wafers.low, ranges.max_users.high.unwrap_or(0))
    )
}

/// A parameter's value as it stands in the file.
fn plain(value: f64) -> String {
    if value.abs() < 1e15 { value.to_string() } else { figure(value) }
}

/// A guess is called a guess.
const fn known_from(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Guess => "a guess",
        other => other.name(),
    }
}
