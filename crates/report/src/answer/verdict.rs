//! The verdict in one sentence: reached or not, under whose kernels, by what margin, what binds, at which clock and
//! whether that matters; and what the other profiles say.

use wafersim_answer::{Answer, ClockPoint};
use wafersim_spec::Wafer;
use wafersim_spec::scenario::Profile;
use wafersim_spec::wafer::Key;

use crate::number::{figure, plural, whole};
use crate::paragraph::wrapped;

pub(super) fn text(answer: &Answer, wafer: &Wafer) -> String {
    let verdict = &answer.verdict;
    let word = if verdict.reachable { "REACHABLE" } else { "NOT REACHABLE" };
    let users = match answer.users {
        1 => "its one user".to_owned(),
        users => format!("each of {} users", whole(users)),
    };
    let sentence = format!(
        "{word}: {kernels}, {model} on {wafers} gives {users} {speed} tok/s, {margin} of {target}; it is \
         limited by {limit}; {clock}.",
        kernels = kernels(answer.profile),
        model = answer.model,
        wafers = plural(u64::from(answer.wafers), &format!("{} wafer", answer.wafer)),
        speed = figure(answer.tokens_per_second_per_user),
        margin = margin(verdict.margin),
        target = figure_of_target(verdict.target),
        limit = verdict.limit,
        clock = clock(answer, wafer),
    );
    wrapped("", &sentence) + &wrapped("", &others(answer))
}

/// The profile with what it assumes.
fn kernels(profile: Profile) -> String {
    let assumption = match profile {
        Profile::Waferllm => "with the published kernels",
        Profile::Optimised => "with hypothetical better kernels",
        Profile::Bound => "with these kernels on ideal hardware",
    };
    format!("{assumption} (profile {profile})")
}

/// `77 % below the target`, `10 % above the target`, `12 times the target`.
fn margin(margin: f64) -> String {
    let percent = margin.abs() * 100.0;
    let digits = if percent < 10.0 { format!("{percent:.1}") } else { format!("{percent:.0}") };
    match margin {
        _ if percent < 0.05 => "just at the target".into(),
        margin if margin < 0.0 => format!("{digits} % below the target"),
        margin if margin < 2.0 => format!("{digits} % above the target"),
        margin => format!("{} times the target", figure(margin + 1.0)),
    }
}

fn figure_of_target(target: f64) -> String {
    if target.fract() == 0.0 && target < 1e15 { whole(target as u64) } else { figure(target) }
}

/// The clock, where it comes from, and whether another published one changes the verdict.
fn clock(answer: &Answer, wafer: &Wafer) -> String {
    let used = answer.verdict.clock_ghz;
    let published = wafer.figure(Key::ClockGigahertz);
    let nominal = published.value;
    let named = if (used - nominal).abs() < 1e-9 {
        format!("the clock is the nominal {used} GHz")
    } else {
        format!("the clock is {used} GHz as asked (nominal: {nominal} GHz)")
    };
    let Some(ranges) = &answer.uncertainty else { return named };
    let (low, high) = (published.low, published.high);
    if low >= high {
        return named;
    }
    let reached = answer.verdict.reachable;
    let other: Vec<&ClockPoint> = ranges.clock.iter().filter(|point| point.reaches_target != reached).collect();
    let Some(first) = other.first() else {
        return format!("{named}, and no clock from {low} to {high} GHz would change the verdict");
    };
    let said = if reached { "not be reached" } else { "be reached" };
    format!(
        "{named}, and the verdict depends on it: at {} GHz ({} tok/s) the target would {said}",
        first.ghz,
        figure(first.tokens_per_second_per_user)
    )
}

/// Which of the other profiles say otherwise.
fn others(answer: &Answer) -> String {
    let speed = |profile: Profile| {
        answer.profiles.get(&profile).map_or_else(String::new, |said| figure(said.tokens_per_second_per_user))
    };
    let name = |profile: &Profile| format!("{profile} ({} tok/s)", speed(*profile));
    match answer.verdict.reachable_under.as_slice() {
        [] => format!("Under no profile is it reached: even {} gives {} tok/s.", Profile::Bound, speed(Profile::Bound)),
        all if all.len() == answer.profiles.len() => "It is reached under all profiles.".into(),
        some => format!("It is reached under {}.", some.iter().map(name).collect::<Vec<_>>().join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_said_in_words() {
        for (value, text) in [
            (-0.77, "77 % below the target"),
            (-0.031, "3.1 % below the target"),
            (0.1, "10 % above the target"),
            (0.0001, "just at the target"),
            (11.0, "12.00 times the target"),
        ] {
            assert_eq!(margin(value), text);
        }
        assert_eq!([figure_of_target(2000.0), figure_of_target(0.25)], ["2,000", "0.2500"]);
    }
}
